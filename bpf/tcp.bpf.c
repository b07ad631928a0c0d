/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* TCP connections by owner and destination, from the kernel's own state changes. */
#include "connection.h"
#include "listener.h"
#include "unanswered.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define GIVE_UP_NS 1000000000ULL

static __always_inline void connect_begins(const struct sock *sk)
{
	struct connection c = { .state = CONNECTING, .started = bpf_ktime_get_ns() }, *before;
	__u64 id = (__u64)sk;

	before = bpf_map_lookup_elem(&connections, &id);
	if (before && before->end && claim(&id)) { /* of this memory's last socket: the walker has not come by yet */
		account_end(before, &id);
		release(&id);
	}
	c.owner = owner_of_sock(sk, (void *)bpf_get_current_task());
	tuple_of_sock(sk, &c.tuple);
	if (bpf_map_update_elem(&connections, &id, &c, BPF_ANY))
		count(FULL_CONNECTIONS);
}

static __always_inline void accepted(const struct sock *sk)
{
	__u16 port = local_port(sk);
	__u64 owner = cgroup_of_sock(sk);
	struct series_key key = {};
	struct tcp_series *series;
	struct tuple tuple;

	if (owner == config.root_cgroup && config.v1_owners) {
		owner = owner_of_child(sk);
		remember_stray(sk, owner);
	}
	tuple_of_sock(sk, &tuple);
	key.owner = owner;
	key.direction = INBOUND;
	key.destination = tuple.local;
	key.destination_port = port;
	series = find_series(&tcp, &zero_tcp, &key, FULL_TCP);
	if (series) {
		add(&series->accepted, 1);
		series->last_used = bpf_ktime_get_ns();
	}
}

/* The application closed its socket so soon that it cannot have waited for an answer: it dialled several addresses and another
 * one was faster (Happy Eyeballs), or its user left. */
static __always_inline bool given_up(const struct sock *sk, const struct connection *c)
{
	return !BPF_CORE_READ(sk, sk_err) && BPF_CORE_READ(sk, sk_shutdown) && bpf_ktime_get_ns() - c->started < GIVE_UP_NS;
}

static __always_inline void closed(const struct sock *sk, int from)
{
	__u64 id = (__u64)sk;
	struct connection *c;
	bool ours;

	if (from != TCP_SYN_SENT)
		unanswered(sk);
	c = bpf_map_lookup_elem(&connections, &id); /* late: adopt_connection may add it until the state changes */
	if (!c)
		return;
	read_totals(sk, &c->last);
	ours = claim(&id);
	c->end = c->state != CONNECTING ? CLOSED : given_up(sk, c) ? GIVEN_UP : FAILED;
	if (!ours) /* the walker is at it, and accounts the end now or when it comes by again */
		return;
	account_end(c, &id);
	release(&id);
}

static __always_inline void established(const struct sock *sk)
{
	__u64 id = (__u64)sk;
	struct connection *c = bpf_map_lookup_elem(&connections, &id);

	if (!c)
		return;
	c->connect_time = bpf_ktime_get_ns() - c->started;
	tuple_of_sock(sk, &c->tuple); /* the local port is known by now */
	c->state = OPEN;
	remember_stray(sk, c->owner);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_state, const struct sock *sk, int from, int to)
{
	__u64 cost = cost_begin();

	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	if (to == TCP_SYN_SENT)
		connect_begins(sk);
	else if (to == TCP_LISTEN)
		listen_begins(sk);
	else if (to == TCP_SYN_RECV && from == TCP_LISTEN && config.v1_owners)
		child_begins(sk);
	else if (to == TCP_ESTABLISHED && from == TCP_SYN_SENT)
		established(sk);
	else if (to == TCP_ESTABLISHED && from == TCP_SYN_RECV)
		accepted(sk);
	else if (to == TCP_CLOSE && from == TCP_LISTEN)
		listen_ends(sk);
	else if (to == TCP_CLOSE)
		closed(sk, from);
	cost_end(PROGRAM_TCP, cost);
	return 0;
}
