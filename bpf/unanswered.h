/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Ends the requests of sockets that die without a packet: time-outs, a client that gave up. */
#ifndef APPSTATUS_UNANSWERED_H
#define APPSTATUS_UNANSWERED_H

#include "series.h"
#include "sock.h"

/* The storage's value where its helper may not be called (5.10, at tracepoints): found through the kernel's own lists. A
 * socket carries at most a few values; other agents' maps are told apart by id. */
static __always_inline bool read_conn(const struct sock *sk, struct conn *conn)
{
	struct bpf_local_storage *storage = BPF_CORE_READ(sk, sk_bpf_storage);
	struct hlist_node *node;

	if (!storage)
		return false;
	node = BPF_CORE_READ(storage, list.first);
#pragma nounroll
	for (int i = 0; i < 4; i++) {
		struct bpf_local_storage_elem *elem;

		if (!node)
			return false;
		elem = (void *)node - bpf_core_field_offset(struct bpf_local_storage_elem, snode);
		if (BPF_CORE_READ(elem, sdata.smap, map.id) == config.sockets_map)
			return !bpf_core_read(conn, sizeof(*conn), &elem->sdata.data);
		node = BPF_CORE_READ(node, next);
	}
	return false;
}

/* The state of a socket that had no packet of its own since (`early`). Nobody else ends it: it is taken out. */
static __always_inline bool take_early(const struct sock *sk, struct conn *conn)
{
	struct early *known;
	struct tuple tuple;
	__u64 *stray;

	tuple_of_sock(sk, &tuple);
	known = bpf_map_lookup_elem(&early, &tuple);
	if (!known)
		return false;
	*conn = known->conn;
	bpf_map_delete_elem(&early, &tuple);
	stray = bpf_map_lookup_elem(&stray_sockets, &tuple); /* the listener could not name it */
	if (stray && conn->owner == OWNER_UNKNOWN)
		conn->owner = *stray;
	return true;
}

/* Requests still waiting when the socket's state becomes CLOSE: by RST, by its own side, or without a packet. */
static __always_inline void unanswered(const struct sock *sk)
{
	__u32 pending, overdue = 0;
	struct series_key key = {};
	struct tuple tuple;
	struct conn conn;
	__u8 peer;

	if (!config.sockets_map || (!read_conn(sk, &conn) && !take_early(sk, &conn)))
		return;
	pending = waiting(&conn);
	if (!pending)
		return;
	peer = conn.peer & SLOT_PEER;
#pragma unroll
	for (int i = 0; i < PIPELINE; i++) {
		if (!in_use(&conn, i))
			continue;
		peer = conn.start[i] & SLOT_PEER;
		if (conn.start[i] & SLOT_OVERDUE)
			overdue++;
	}
	if (pending <= overdue || !ends_first(&conn))
		return;
	key.owner = conn.owner;
	key.direction = conn.requests == 1 ? OUTBOUND : INBOUND;
	key.protocol = protocol_of(&conn);
	if (key.direction == OUTBOUND) {
		tuple_of_sock(sk, &tuple);
		if (unset(&conn.actual))
			look_up_nat(&tuple, &conn.actual, &conn.actual_port);
		key.destination = tuple.remote;
		key.destination_port = tuple.remote_port;
		key.actual = conn.actual;
		key.actual_port = conn.actual_port;
	} else {
		key.peer = peer;
	}
	request_ended(&key, without_answer(&conn, BPF_CORE_READ(sk, sk_err) ? STATUS_RESET : STATUS_CLOSED), NO_LATENCY,
		      bpf_ktime_get_ns(), pending - overdue);
}

#endif
