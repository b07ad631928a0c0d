/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What no packet tells: walks the sockets when user space asks, ends overdue requests, and counts those in flight (so a
 * request costs nothing for that gauge, and the gauge cannot drift). */
#ifndef APPSTATUS_SWEEP_H
#define APPSTATUS_SWEEP_H

#include "conn.h"
#include "sock.h"

static __always_inline void sweep_conn(struct conn *conn, const struct tuple *tuple, __u32 number)
{
	__u32 in_flight = waiting(conn), overdue = 0;
	__u64 now = bpf_ktime_get_ns();
	struct request_series *series;
	__u8 peer = conn->peer & SLOT_PEER, in = conn->stream[0].state, out = conn->stream[1].state;
	struct series_key key;
	bool lost;

	barrier_var(in);
	barrier_var(out);
	lost = (conn->requests == 1 ? out : in) == STREAM_LOST; /* the request's end will not be seen */
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
	key_of(conn, tuple, &key);
	if (key.direction == INBOUND)
		key.peer = peer;
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

SEC("iter/bpf_sk_storage_map")
int sweep_sockets(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct conn *conn = ctx->value;
	struct sock *sk = ctx->sk;
	struct tuple tuple;
	__u32 zero = 0, *number = bpf_map_lookup_elem(&sweep_number, &zero);

	if (!sk || !conn || !number)
		return 0;
	/* Its mapping may have come late: one more look with the next request. */
	if (conn->requests == 1 && !conn->lookups && unset(&conn->actual))
		conn->lookups = 1;
	if (!waiting(conn))
		return 0;
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_CLOSE)
		return 0;
	tuple_of_sock(sk, &tuple);
	sweep_conn(conn, &tuple, *number);
	return 0;
}

/* Requests whose server never sent a byte after a deferred accept. */
SEC("iter/bpf_map_elem")
int sweep_early(struct bpf_iter__bpf_map_elem *ctx)
{
	struct tuple *key = ctx->key, tuple;
	struct early *early = ctx->value;
	__u32 zero = 0, *number = bpf_map_lookup_elem(&sweep_number, &zero);

	if (!key || !early || !number || !waiting(&early->conn))
		return 0;
	tuple = *key;
	sweep_conn(&early->conn, &tuple, *number);
	return 0;
}

#endif
