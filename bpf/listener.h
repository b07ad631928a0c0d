/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who listens where, told to user space as it changes. */
#ifndef APPSTATUS_LISTENER_H
#define APPSTATUS_LISTENER_H

#include "series.h"
#include "sock.h"

struct listener_key {
	__u32 netns;
	__u32 port;
};
struct listener {
	__u64 owner;
	__u64 sockets; /* SO_REUSEPORT, or several addresses */
};
MAP(listeners, HASH, struct listener_key, struct listener, 16384, BPF_F_NO_PREALLOC);

static __always_inline struct listener_key listener_of(const struct sock *sk, __u16 port)
{
	struct listener_key key = { .netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum), .port = port };

	return key;
}

static __always_inline void report_listener(const struct sock *sk, __u64 owner, __u32 netns, __u16 port, __u16 kind)
{
	struct tuple tuple;
	struct event *event;

	event = bpf_ringbuf_reserve(&events, sizeof(*event) + sizeof(union addr), 0);
	if (!event) {
		count(LOST_EVENTS);
		return;
	}
	tuple_of_sock(sk, &tuple);
	__builtin_memset(event, 0, sizeof(*event));
	event->at = bpf_ktime_get_ns();
	event->kind = kind;
	event->owner = owner;
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->number = netns;
	event->port = port;
	event->length = sizeof(union addr);
	__builtin_memcpy(event + 1, &tuple.local, sizeof(union addr));
	bpf_ringbuf_submit(event, 0);
}

static __always_inline void listen_begins(const struct sock *sk)
{
	__u16 port = local_port(sk);
	struct listener_key key = listener_of(sk, port);
	struct listener *known = bpf_map_lookup_elem(&listeners, &key), fresh = { .sockets = 1 };

	fresh.owner = owner_of_sock(sk, (void *)bpf_get_current_task());
	if (known) {
		known->owner = fresh.owner;
		add(&known->sockets, 1);
	} else if (bpf_map_update_elem(&listeners, &key, &fresh, BPF_ANY)) {
		count(FULL_LISTENERS);
	}
	report_listener(sk, fresh.owner, key.netns, port, EVENT_LISTEN);
}

static __always_inline void listen_ends(const struct sock *sk)
{
	__u16 port = local_port(sk);
	struct listener_key key = listener_of(sk, port);
	struct listener *known = bpf_map_lookup_elem(&listeners, &key);

	report_listener(sk, known ? known->owner : cgroup_of_sock(sk), key.netns, port, EVENT_LISTEN_END);
	if (!known)
		return;
	add(&known->sockets, -1);
	if ((__s64)known->sockets <= 0)
		bpf_map_delete_elem(&listeners, &key);
}

#endif
