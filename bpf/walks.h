/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Iterators that user space runs: connections for their counters, and once, at start, the sockets that were open before. */
#ifndef APPSTATUS_WALKS_H
#define APPSTATUS_WALKS_H

#include "connection.h"
#include "listener.h"

/* What walk_files does: listeners must be known before a connection can be told to be outbound. */
enum walk { WALK_LISTENERS, WALK_CONNECTIONS };
MAP(walk_kind, ARRAY, __u32, __u32, 1, 0);

static __always_inline void walk(struct connection *c, const __u64 *id, __u32 sweep)
{
	const struct sock *sk = (const void *)*id;
	struct tcp_series *series;
	struct series_key key;
	struct totals now;

	if (!c->end && c->state == CONNECTING) {
		if (!c->failed && bpf_ktime_get_ns() - c->started >= config.connect_ms * 1000000ULL)
			count_failure(c); /* a black hole: TCP gives up after two minutes only */
		return;
	}
	read_totals(sk, &now);
	if (c->end) { /* and the socket's memory may be another's already */
		account_end(c, id);
		return;
	}
	if (unset(&c->actual)) /* known late, what was counted stays where it was */
		look_up_nat(&c->tuple, &c->actual, &c->actual_port);
	series = series_of(c, true, &key);
	if (!series)
		return;
	if (!c->counted)
		count_connection(c, series);
	flush(c, &now, series);
	if (series->sweep != sweep) {
		series->sweep = sweep;
		series->active = 0;
		series->rtt_sum = 0;
		series->rtt_count = 0;
	}
	series->active++;
	series->rtt_sum += BPF_CORE_READ((const struct tcp_sock *)sk, srtt_us) >> 3;
	series->rtt_count++;
}

static __always_inline void walk_claimed(const __u64 *key)
{
	__u32 zero = 0, *number = bpf_map_lookup_elem(&sweep_number, &zero);
	struct connection *c;
	__u64 id = *key;

	if (!number || !claim(&id)) /* it ends right now */
		return;
	c = bpf_map_lookup_elem(&connections, &id);
	if (c)
		walk(c, &id, *number);
	release(&id);
}

SEC("iter/bpf_map_elem")
int walk_connections(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *key = ctx->key;

	if (key)
		walk_claimed(key);
	return 0;
}

static long walk_one(struct bpf_map *map, const __u64 *key, struct connection *c, void *context)
{
	walk_claimed(key);
	return 0;
}

/* Instead of it, see sweep.h. */
SEC("iter/bpf_map")
int walk_connections_at_once(struct bpf_iter__bpf_map *ctx)
{
	if (!ctx->meta->seq_num)
		bpf_for_each_map_elem(&connections, walk_one, 0, 0);
	return 0;
}

/* ---- sockets that were open before ---- */

static __always_inline void adopt_connection(const struct sock *sk, const struct found_socket *found)
{
	struct connection c = { .state = OPEN_AT_START };
	struct listener_key at = { .netns = found->netns, .port = found->local_port };
	__u64 id = (__u64)sk;
	long error;

	remember_stray(sk, found->owner);
	if (bpf_map_lookup_elem(&listeners, &at))
		return;
	tuple_of_sock(sk, &c.tuple);
	c.owner = found->owner;
	read_totals(sk, &c.flushed);
	error = bpf_map_update_elem(&connections, &id, &c, BPF_NOEXIST);
	if (error == -7 /* E2BIG */)
		count(FULL_CONNECTIONS);
	/* If it closed meanwhile, its end has found no entry, and no other will come. */
	if (!error && BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_CLOSE)
		bpf_map_delete_elem(&connections, &id);
}

/* The socket that the state changes name: of MPTCP its first TCP one. */
static __always_inline const struct sock *tcp_of(const struct sock *sk, __u16 protocol)
{
	const struct mptcp_sock *mptcp = (const void *)sk;
	const struct sock *first = 0;

	if (protocol == IPPROTO_MPTCP && bpf_core_field_exists(mptcp->first))
		first = BPF_CORE_READ(mptcp, first);
	return first ? first : sk;
}

SEC("iter/task_file")
int walk_files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	__u32 zero = 0, *kind = bpf_map_lookup_elem(&walk_kind, &zero);
	struct found_socket found = {};
	struct tuple tuple;
	struct socket *socket;
	__u16 protocol;
	struct sock *sk;

	if (!task || !file || !kind)
		return 0;
	if (BPF_CORE_READ(file, f_inode, i_sb, s_magic) != SOCKFS_MAGIC)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	if (!sk)
		return 0;
	found.state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (found.state != (*kind == WALK_LISTENERS ? TCP_LISTEN : TCP_ESTABLISHED))
		return 0;
	if (BPF_CORE_READ(sk, __sk_common.skc_family) != AF_INET && BPF_CORE_READ(sk, __sk_common.skc_family) != AF_INET6)
		return 0;
	protocol = BPF_CORE_READ(sk, sk_protocol);
	/* Go listens with MPTCP; what it accepts from others is plain TCP. */
	if (protocol != IPPROTO_TCP && !(protocol == IPPROTO_MPTCP && *kind == WALK_LISTENERS))
		return 0;
	tuple_of_sock(sk, &tuple);
	found.owner = owner_of_sock(sk, task);
	found.local = tuple.local;
	found.remote = tuple.remote;
	found.local_port = tuple.local_port;
	found.remote_port = tuple.remote_port;
	found.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	found.pid = BPF_CORE_READ(task, tgid);
	found.inode = BPF_CORE_READ(file, f_inode, i_ino);
	if (*kind == WALK_LISTENERS) {
		struct listener_key key = { .netns = found.netns, .port = found.local_port };
		__u64 id = (__u64)tcp_of(sk, protocol), owner = found.owner;

		/* Held by several processes it is found several times. */
		if (bpf_map_update_elem(&listener_owners, &id, &owner, BPF_NOEXIST) != -17 /* EEXIST */)
			note_listener(&key, owner);
	} else {
		adopt_connection(sk, &found);
	}
	bpf_seq_write(ctx->meta->seq, &found, sizeof(found));
	return 0;
}

#endif
