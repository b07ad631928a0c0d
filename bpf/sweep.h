/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What no packet tells: walks the sockets when user space asks, ends overdue requests, and counts those in flight (so a
 * request costs nothing for that gauge, and the gauge cannot drift). A hardened kernel may refuse the iterators that hand out a
 * map's values (seen on 6.18); then a walk over the files of all processes, and one call for all elements, do the same. Kernels
 * before 5.13 do not have these. */
#ifndef APPSTATUS_SWEEP_H
#define APPSTATUS_SWEEP_H

#include "conn.h"
#include "sock.h"

static __always_inline void sweep_conn(struct conn *conn, const struct tuple *tuple, __u32 number)
{
	__u32 in_flight = waiting(conn), overdue = 0;
	__u64 now = bpf_ktime_get_ns();
	struct request_series *series;
	__u8 peer = conn->peer & SLOT_PEER;
	/* The end of the request will not be seen. */
	bool lost = of_requests(conn, conn->stream[0].state, conn->stream[1].state) == STREAM_LOST;
	struct series_key key;

	/* The order of the slots does not matter here, and the iterator's buffer allows constant offsets only. */
#pragma unroll
	for (int i = 0; i < PIPELINE; i++) {
		__u64 slot = conn->start[i];

		if (!in_use(conn, i) || !in_flight)
			continue;
		peer = slot & SLOT_PEER;
		if (slot & SLOT_OVERDUE) {
			in_flight--;
		} else if ((slot & SLOT_COMPLETE || lost) && since(slot, now) >= config.overdue_ns) {
			add(&conn->start[i], SLOT_OVERDUE); /* its other bits may change meanwhile */
			in_flight--;
			overdue++;
		}
	}
	if (!in_flight && !overdue)
		return;
	key_of(conn, tuple, peer, &key);
	if (overdue)
		request_ended(&key, without_answer(conn, STATUS_OVERDUE), NO_LATENCY, now, overdue);
	series = find_series(&requests, &zero_request, &key, FULL_REQUESTS);
	if (!series)
		return;
	if (series->sweep != number) {
		series->sweep = number;
		series->in_flight = 0;
	}
	series->in_flight += in_flight;
	series->last_used = now;
}

static __always_inline void sweep_socket(struct conn *conn, const struct sock *sk, __u32 number)
{
	struct tuple tuple;

	/* Its mapping may have come late: one more look with the next request. */
	if (conn->requests == 1 && !conn->lookups && unset(&conn->actual))
		conn->lookups = 1;
	if (!waiting(conn) || BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_CLOSE)
		return;
	tuple_of_sock(sk, &tuple);
	sweep_conn(conn, &tuple, number);
}

SEC("iter/bpf_sk_storage_map")
int sweep_sockets(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	__u32 zero = 0, *number = bpf_map_lookup_elem(&sweep_number, &zero);
	struct conn *conn = ctx->value;
	struct sock *sk = ctx->sk;

	if (sk && conn && number)
		sweep_socket(conn, sk, *number);
	return 0;
}

/* Instead of it. Of MPTCP the socket that processes hold is not the one whose packets are seen: its requests are never overdue. */
SEC("iter/task_file")
int sweep_files(struct bpf_iter__task_file *ctx)
{
	__u32 zero = 0, *number = bpf_map_lookup_elem(&sweep_number, &zero);
	struct file *file = ctx->file;
	struct socket *socket;
	struct conn *conn;
	struct sock *sk;

	if (!file || !number)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk)
		return 0;
	conn = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!conn || conn->swept == *number)
		return 0;
	conn->swept = *number;
	sweep_socket(conn, sk, *number);
	return 0;
}

/* Requests whose server never sent a byte after a deferred accept. */
static __always_inline void sweep_before_accept(const struct tuple *key, struct early *early)
{
	__u32 zero = 0, *number = bpf_map_lookup_elem(&sweep_number, &zero);
	struct tuple tuple = *key;

	if (number && waiting(&early->conn))
		sweep_conn(&early->conn, &tuple, *number);
}

SEC("iter/bpf_map_elem")
int sweep_early(struct bpf_iter__bpf_map_elem *ctx)
{
	struct tuple *key = ctx->key;
	struct early *early = ctx->value;

	if (key && early)
		sweep_before_accept(key, early);
	return 0;
}

static long sweep_one(struct bpf_map *map, const struct tuple *key, struct early *early, void *context)
{
	sweep_before_accept(key, early);
	return 0;
}

SEC("iter/bpf_map")
int sweep_early_at_once(struct bpf_iter__bpf_map *ctx)
{
	if (!ctx->meta->seq_num)
		bpf_for_each_map_elem(&early, sweep_one, 0, 0);
	return 0;
}

#endif
