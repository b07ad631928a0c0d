/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which bytes of a segment are next in their stream, and whose turn it is. */
#ifndef APPSTATUS_ORDER_H
#define APPSTATUS_ORDER_H

#include "conn.h"
#include "http.h"

/* Have bytes that the stream waits for reached the socket unseen? */
static __always_inline bool went_by(struct bpf_sock *sk, const struct stream *stream)
{
	struct bpf_tcp_sock *tcp = bpf_tcp_sock(sk);

	return tcp && (__s32)(tcp->rcv_nxt - stream->seq) > 0;
}

/* Bytes seen before are cut off. Before missing ones the stream waits on ingress, as its socket does, until they are sent
 * again, except inside a body. False: nothing to read. */
static __always_inline bool in_order(struct bpf_sock *sk, struct conn *conn, struct stream *stream, struct packet *packet,
				     __u32 egress, bool known)
{
	__s32 ahead = packet->seq - stream->seq;
	__u32 next = packet->seq + packet->length;

	if (unlikely(!(stream->flags & STREAM_SEEN))) {
		const struct stream *other = &conn->stream[egress ^ 1];

		stream->flags |= STREAM_SEEN;
		/* On its way already when the other direction's first segment seen was sent: no turn. */
		if (other->flags & STREAM_SEEN && (__s32)(packet->ack - other->seq) < 0)
			stream->acked = packet->ack;
	} else if (unlikely(ahead < 0)) {
		if (packet->length <= -(__u32)ahead)
			return false;
		packet->payload += -(__u32)ahead;
		packet->length -= -(__u32)ahead;
	} else if (unlikely(ahead > 0)) {
		if ((stream->state == STREAM_BODY || stream->state == STREAM_PART) && stream->left >= ahead) {
			stream->left -= ahead; /* comes late, and says nothing */
		} else if (stream->state == STREAM_LOST) {
			stream->flags |= STREAM_GAP | STREAM_MISSED;
		} else if (stream->state != STREAM_REST) {
			if (!egress && (conn->fresh || conn->protocol) && !(known && went_by(sk, stream))) {
				bool more = stream->flags & STREAM_HOLE;

				if (!more || (__s32)(packet->seq - conn->hole_from) < 0)
					conn->hole_from = packet->seq;
				if (!more || (__s32)(next - conn->hole_end) > 0)
					conn->hole_end = next;
				stream->flags |= STREAM_HOLE;
				return false;
			}
			not_parsed(conn, UNPARSED_GAP);
			give_up(stream);
		}
	}
	stream->seq = next;
	return true;
}

/* Has the other direction had the last word? Its sender acknowledges then what he had not before: what comes in order
 * never acknowledges less. (A multiple of 64 KiB at once is missed.) */
static __always_inline bool takes_turn(struct stream *stream, const struct packet *packet)
{
	__u16 acked = packet->ack;

	if (acked == stream->acked)
		return false;
	stream->acked = acked;
	return true;
}

#endif
