/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The part of the tap that each protocol but HTTP has: a packet of such a connection, up to its bytes, and on to the next run. */
#ifndef APPSTATUS_PART_H
#define APPSTATUS_PART_H

#include "begin.h"
#include "run.h"

/* A packet of a connection whose protocol is known. True: there is something to read, from run->offset on. */
static __always_inline bool further_segment(struct __sk_buff *skb, struct bpf_sock *sk, struct conn *conn, struct packet *packet,
					    bool known, struct run *run)
{
	__u32 egress = is_egress(skb);
	struct stream *stream = &conn->stream[egress];
	bool turn;

	if (packet->flags & FLAG_FIN && (!(stream->flags & STREAM_SEEN) || packet->seq == stream->seq ||
					 packet->seq + packet->length == stream->seq))
		run->ends = packet->flags;
	if (!packet->length || !in_order(sk, conn, stream, packet, egress, known))
		return false;
	turn = takes_turn(stream, packet);
	if (stream->state == STREAM_REST || (stream->state == STREAM_LOST && !turn))
		return false;
	if (stream->state == STREAM_BODY) {
		if (packet->length < stream->left) {
			stream->left -= packet->length;
			return false;
		}
		packet->payload += stream->left;
		packet->length -= stream->left;
		stream->left = 0;
		stream->state = STREAM_START;
		if (conn->requests == egress && !*more_of(conn, egress))
			request_complete(conn, stream, time_of(skb, egress));
		if (!packet->length)
			return false;
	}
	run->offset = packet->payload;
	return true;
}

/* A part of the tap, whole. */
static __always_inline int further(struct __sk_buff *skb, __u32 protocol, step_function step)
{
	struct bpf_sock *sk = sock_of(skb);
	struct run run = kept(skb);
	struct scratch *scratch;
	struct stream *stream;
	struct packet packet;
	struct conn *conn;
	struct reading *r;
	__u32 egress;
	bool known;

	if (!sk || !read_packet(skb, &packet) || packet.protocol != IPPROTO_TCP)
		return leave(is_egress(skb), run.cost);
	known = sk->state != TCP_LISTEN;
	conn = known ? bpf_sk_storage_get(&sockets, sk, 0, 0) : early_conn(skb, &packet);
	if (!conn)
		return leave(is_egress(skb), run.cost);
	if (!run.offset && !further_segment(skb, sk, conn, &packet, known, &run))
		return finish(skb, conn, &run);
	egress = is_egress(skb);
	stream = &conn->stream[egress];
	scratch = claim(egress);
	if (!scratch) {
		not_parsed(conn, UNPARSED_BUSY);
		give_up(stream);
		return finish(skb, conn, &run);
	}
	r = &scratch->reading;
	r->offset = run.offset;
	egress = is_egress(skb);
	r->egress = egress;
	r->request = conn->requests == egress;
	forget();
	steps(skb, sk, conn, stream, scratch, protocol, step);
	forget();
	egress = run_ends(conn, scratch);
	if (unlikely(egress)) /* else that of an earlier run stays */
		run.sample = egress;
	forget();
	run.offset = r->offset;
	egress = r->more; /* what the verifier need not follow any more */
	if (r->stop == STOP_LOST && conn->protocol == protocol)
		not_parsed(conn, UNPARSED_INVALID);
	release(scratch, is_egress(skb));
	if (egress) {
		call(skb, PART_OF(protocol), &run);
		not_parsed(conn, UNPARSED_SEGMENT);
		give_up(stream);
	}
	return finish(skb, conn, &run);
}

#endif
