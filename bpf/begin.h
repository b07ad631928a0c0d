/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The state of a connection, made with its first payload. */
#ifndef APPSTATUS_BEGIN_H
#define APPSTATUS_BEGIN_H

#include "conn.h"

static __always_inline void begin(struct conn *conn, struct bpf_sock *sk, const struct tuple *tuple)
{
	conn->id = bpf_get_prandom_u32();
	conn->lookups = 8;
	conn->owner = owner_of(sk, tuple);
	if (unlikely(owner_is_watched(conn->owner)))
		conn->watched = WATCHED_REQUESTS;
	conn->peer = peer_of(tuple);
}

/* The streams of a connection, at a segment of `egress`. `fresh`: seen from its first payload on, no byte before `seq` is missing,
 * and none was sent the other way. */
static __always_inline void begin_streams(struct conn *conn, const struct packet *packet, bool egress, bool fresh, __u32 seq)
{
	/* This segment has the turn, whoever had it before. */
	struct stream mine = { .acked = packet->ack - 1 }, other = { .acked = packet->seq };

	conn->fresh = fresh;
	if (fresh) {
		mine.seq = seq;
		mine.flags = STREAM_SEEN;
		if (packet->flags & FLAG_ACK) {
			other.seq = packet->ack;
			other.flags = STREAM_SEEN;
		}
	} else {
		mine.state = other.state = STREAM_LOST;
		mine.flags = other.flags = STREAM_GAP;
	}
	if (conn->hole_from != conn->hole_end) {
		if (egress)
			other.flags |= STREAM_HOLE;
		else
			mine.flags |= STREAM_HOLE;
	}
	if (egress) { /* constant offsets: `conn` may be on the stack */
		conn->stream[1] = mine;
		conn->stream[0] = other;
		forget(); /* else the compiler makes these one copy to a place that the verifier does not know */
	} else {
		conn->stream[0] = mine;
		conn->stream[1] = other;
	}
}

#define EARLY_WINDOW (1 << 20) /* of sequence numbers that belong to the same connection */

/* For payload that reaches a listener. Else 0: none, or of an old connection whose child never came, or of a segment that had
 * overtaken this one. */
static __always_inline struct conn *early_conn(struct __sk_buff *skb, const struct packet *packet)
{
	struct early *known;
	struct tuple tuple;

	if (!tuple_of_packet(skb, packet, false, &tuple))
		return 0;
	known = bpf_map_lookup_elem(&early, &tuple);
	return known && packet->seq - known->first < EARLY_WINDOW ? &known->conn : 0;
}

static __always_inline bool new_early_conn(struct __sk_buff *skb, struct bpf_sock *sk, const struct packet *packet)
{
	struct early fresh = { .first = packet->seq };
	struct tuple tuple;

	if (!tuple_of_packet(skb, packet, false, &tuple))
		return false;
	begin(&fresh.conn, sk, &tuple);
	begin_streams(&fresh.conn, packet, false, true, packet->seq);
	return !bpf_map_update_elem(&early, &tuple, &fresh, BPF_ANY);
}

static __always_inline struct conn *new_conn(struct __sk_buff *skb, struct bpf_sock *sk, const struct packet *packet,
					     bool egress)
{
	struct bpf_tcp_sock *tcp = bpf_tcp_sock(sk);
	struct tuple tuple, header;
	struct conn fresh = {};
	struct early *known;
	struct conn *conn;

	if (sk->type != SOCK_STREAM || sk->protocol != IPPROTO_TCP) /* a raw socket's */
		return 0;
	tuple_of_socket(sk, packet->ipv6, &tuple);
	known = bpf_map_lookup_elem(&early, &tuple);
	if (known) {
		__u32 seq = egress ? packet->ack : packet->seq;
		struct conn *adopted = 0;

		if (seq - known->first + EARLY_WINDOW < 2 * EARLY_WINDOW) {
			if (tcp && (__s32)(tcp->rcv_nxt - known->first) < 0) { /* not the connection's first bytes */
				fresh.hole_from = known->first;
				fresh.hole_end = known->conn.stream[0].seq;
			} else {
				adopted = bpf_sk_storage_get(&sockets, sk, &known->conn, BPF_SK_STORAGE_GET_F_CREATE);
			}
		}
		bpf_map_delete_elem(&early, &tuple);
		if (adopted)
			return adopted;
	}
	if (!packet->length)
		return 0;
	begin(&fresh, sk, &tuple);
	if (tcp && !tcp->bytes_received && tcp->bytes_acked <= 1)
		begin_streams(&fresh, packet, egress, true, egress || sk->state == TCP_SYN_SENT ? packet->seq : tcp->rcv_nxt);
	else
		begin_streams(&fresh, packet, egress, false, 0);
	/* On the host network the header already carries the backend while the socket keeps the service's address. */
	if (egress && tuple_of_packet(skb, packet, egress, &header) &&
	    (!same(&header.remote, &tuple.remote) || header.remote_port != tuple.remote_port)) {
		fresh.actual = header.remote;
		fresh.actual_port = header.remote_port;
	}
	conn = bpf_sk_storage_get(&sockets, sk, &fresh, BPF_SK_STORAGE_GET_F_CREATE);
	if (!conn)
		count(FULL_SOCKETS);
	return conn;
}

#endif
