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
	__u64 owner; /* of the newest one; who made a connection is told by it unless `shared` */
	__u64 sockets; /* SO_REUSEPORT, or several addresses */
	__u64 shared; /* there are, or were, several owners */
};
MAP(listeners, HASH, struct listener_key, struct listener, 16384, BPF_F_NO_PREALLOC);
MAP(listener_owners, HASH, __u64, __u64, 16384, BPF_F_NO_PREALLOC); /* by the socket's address in the kernel */
/* v1 hierarchies only: whose listener made a socket that is not established yet. */
MAP(child_owners, LRU_HASH, __u64, __u64, 1, 0);

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

/* Called once for each socket. */
static __always_inline void note_listener(const struct listener_key *key, __u64 owner)
{
	struct listener *known = bpf_map_lookup_elem(&listeners, key), fresh = { .owner = owner, .sockets = 1 };

	if (!known) {
		long error = bpf_map_update_elem(&listeners, key, &fresh, BPF_NOEXIST);

		if (!error)
			return;
		known = error == -17 /* EEXIST: another one listens at the same moment */ ? bpf_map_lookup_elem(&listeners, key) : 0;
		if (!known) {
			count(FULL_LISTENERS);
			return;
		}
	}
	if (known->owner != owner)
		known->shared = 1;
	known->owner = owner;
	add(&known->sockets, 1);
}

static __always_inline void listen_begins(const struct sock *sk)
{
	__u64 id = (__u64)sk, owner = owner_of_sock(sk, (void *)bpf_get_current_task());
	__u16 port = local_port(sk);
	struct listener_key key = listener_of(sk, port);

	bpf_map_update_elem(&listener_owners, &id, &owner, BPF_ANY);
	note_listener(&key, owner);
	report_listener(sk, owner, key.netns, port, EVENT_LISTEN);
}

static __always_inline void listen_ends(const struct sock *sk)
{
	__u16 port = local_port(sk);
	struct listener_key key = listener_of(sk, port);
	struct listener *known = bpf_map_lookup_elem(&listeners, &key);
	__u64 id = (__u64)sk, *owner = bpf_map_lookup_elem(&listener_owners, &id);

	report_listener(sk, owner ? *owner : known ? known->owner : cgroup_of_sock(sk), key.netns, port, EVENT_LISTEN_END);
	bpf_map_delete_elem(&listener_owners, &id);
	if (!known)
		return;
	add(&known->sockets, -1);
	if ((__s64)known->sockets <= 0)
		bpf_map_delete_elem(&listeners, &key);
}

/* Nothing in a new socket names the listener that made it, but for a moment it is its copy: so is its place in the list of the
 * port's sockets. Others may have come before the listener in that list meanwhile, but they do not listen. */
static __always_inline const struct sock *parent_of(const struct sock *child)
{
	struct hlist_node **place = BPF_CORE_READ(child, __sk_common.skc_bind_node.pprev), *node = 0;

	if (bpf_probe_read_kernel(&node, sizeof(node), place))
		return 0;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		const struct sock *sk = (void *)node - bpf_core_field_offset(struct sock, __sk_common.skc_bind_node);

		if (!node)
			return 0;
		if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_LISTEN)
			return sk;
		node = BPF_CORE_READ(node, next);
	}
	return 0;
}

static __always_inline void child_begins(const struct sock *child)
{
	struct listener_key at;
	struct listener *known;
	__u64 parent, id = (__u64)child, *owner = 0;

	if (cgroup_of_sock(child) != config.root_cgroup) /* says it itself, and nobody would take the entry out */
		return;
	at = listener_of(child, local_port(child));
	known = bpf_map_lookup_elem(&listeners, &at);
	if (known && known->shared) {
		parent = (__u64)parent_of(child);
		owner = bpf_map_lookup_elem(&listener_owners, &parent);
	}
	if (owner)
		bpf_map_update_elem(&child_owners, &id, owner, BPF_ANY);
	else
		bpf_map_delete_elem(&child_owners, &id); /* of this memory's last socket, which was never established */
}

/* Of a socket that was just accepted and whose cgroup says nothing. */
static __always_inline __u64 owner_of_child(const struct sock *child)
{
	struct listener_key at = listener_of(child, local_port(child));
	struct listener *listener = bpf_map_lookup_elem(&listeners, &at);
	/* One of several is not guessed. */
	__u64 id = (__u64)child, owner = listener && !listener->shared ? listener->owner : OWNER_UNKNOWN, *known;

	known = bpf_map_lookup_elem(&child_owners, &id);
	if (known) {
		owner = *known;
		bpf_map_delete_elem(&child_owners, &id);
	}
	return owner;
}

#endif
