/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The tap: every packet of every socket, at the cgroup-v2 root, on its way out and in. Cheapest question first: most packets
 * leave after a few comparisons. See docs/architecture for what it rests on. */
#include "begin.h"
#include "dns.h"
#include "parsers.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Up to eight bytes of the payload, zero filled. */
static __always_inline __u64 first_bytes(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 n = packet->length > 8 ? 8 : packet->length;
	__u64 w = 0;

	if (n)
		bpf_skb_load_bytes(skb, packet->payload, &w, BETWEEN_1_AND(8, n));
	return w;
}

/* Which protocol, and which way do requests go? True: known now. */
static __always_inline bool recognise(struct __sk_buff *skb, struct conn *conn, const struct packet *packet, bool egress)
{
	__u32 n = packet->length > 8 ? 8 : packet->length;
	__u64 w = first_bytes(skb, packet);
	bool request = http_request_begins(w, n) || (conn->fresh && http_token_begins(w, n));

	if (!request && !(!conn->fresh && http_response_begins(w, n))) {
		if (conn->fresh)
			conn->protocol = PROTOCOL_OTHER;
		return false;
	}
	conn->protocol = PROTOCOL_HTTP;
	conn->requests = egress == request;
	return true;
}

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
			count(UNPARSED_GAP);
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

/* A socket may connect again after it was disconnected: then its state is another connection's. */
static __always_inline bool connects(const struct packet *packet)
{
	return (packet->flags & (FLAG_SYN | FLAG_ACK)) == FLAG_SYN;
}

/* A packet of a connection that may speak HTTP. True: there is something to read, from run->offset on. */
static __always_inline bool segment(struct __sk_buff *skb, struct bpf_sock *sk, struct conn *conn, struct packet *packet,
				    bool known, struct run *run)
{
	__u32 egress = is_egress(skb); /* asked again: the verifier knows it by now */
	struct stream *stream = &conn->stream[egress];
	bool turn, request;

	/* A FIN counts once everything before it has been seen. Not a plain truth value: the verifier would look at all that
	 * follows twice. */
	if (packet->flags & FLAG_FIN && (!(stream->flags & STREAM_SEEN) || packet->seq == stream->seq ||
					 packet->seq + packet->length == stream->seq))
		run->ends = packet->flags;
	if (!packet->length || !in_order(sk, conn, stream, packet, egress, known))
		return false;
	turn = takes_turn(stream, packet);
	if (conn->protocol == PROTOCOL_UNKNOWN) {
		if ((!turn && !conn->fresh) || !recognise(skb, conn, packet, egress))
			return false;
	}
	request = conn->requests == egress;
	/* Refused before a byte of its body was sent (100-continue): then the body may never come. Once begun it has to be ended. */
	if (unlikely(request && stream->flags & STREAM_WAITS)) {
		stream->flags &= ~STREAM_WAITS;
		if (turn && !waiting(conn) && conn->stream[egress ^ 1].state == STREAM_START && method(first_bytes(skb, packet)))
			stream->state = STREAM_START;
	}
	/* Asked again although the last answer's body, if it had one, goes on: if an answer begins here, it had none. */
	if (unlikely((stream->state == STREAM_BODY || stream->state == STREAM_PART) && turn && !request &&
		     stream->flags & STREAM_DOUBT && waiting(conn) && http_response_begins(first_bytes(skb, packet), 8)))
		stream->state = STREAM_START;
	if (stream->state == STREAM_REST || conn->protocol == PROTOCOL_TUNNEL || (stream->state == STREAM_LOST && !turn))
		return false;
	if (stream->state == STREAM_BODY || stream->state == STREAM_PART) {
		if (packet->length < stream->left) {
			stream->left -= packet->length;
			return false;
		}
		packet->payload += stream->left;
		packet->length -= stream->left;
		stream->left = 0;
		body_ends(skb, conn, stream, request, egress);
		if (!packet->length)
			return false;
	}
	run->offset = packet->payload;
	return true;
}

SEC("cgroup/skb")
int tap(struct __sk_buff *skb)
{
	__u32 egress = is_egress(skb);
	struct run run = kept(skb);
	struct bpf_sock *sk;
	struct conn *conn;

	if (likely(!run.offset)) {
		struct packet packet;

		if (likely(!run.cost))
			run.cost = cost_begin();
		if (!read_packet(skb, &packet))
			return leave(egress, run.cost);
		if (packet.protocol == IPPROTO_UDP) {
			if (!egress)
				dns(skb, &packet);
			return leave(egress, run.cost);
		}
		if (!packet.length && !(packet.flags & (FLAG_FIN | FLAG_SYN | FLAG_RST))) /* RST: may have to adopt its state */
			return leave(egress, run.cost);
		sk = sock_of(skb);
		if (!sk)
			return leave(egress, run.cost);
		if (unlikely(sk->state == TCP_LISTEN)) { /* on egress: SYN and ACK */
			if (!egress && packet.length)
				call(skb, PART_EARLY, &run);
			return leave(egress, run.cost);
		}
		conn = bpf_sk_storage_get(&sockets, sk, 0, 0);
		if (unlikely(!conn || (egress && connects(&packet) && conn->stream[1].seq != packet.seq))) {
			call(skb, PART_BEGIN, &run);
			return leave(egress, run.cost);
		}
		if (conn->protocol == PROTOCOL_OTHER)
			return leave(egress, run.cost);
		if (!segment(skb, sk, conn, &packet, true, &run))
			return finish(skb, conn, &run);
	} else {
		sk = sock_of(skb);
		conn = sk ? bpf_sk_storage_get(&sockets, sk, 0, 0) : 0;
		if (!conn)
			return leave(egress, run.cost);
	}
	http(skb, sk, conn, PART_TAP, &run);
	return finish(skb, conn, &run);
}

/* A connection's first payload: makes its state, then that part begins again. */
SEC("cgroup/skb")
int tap_begin(struct __sk_buff *skb)
{
	__u32 egress = is_egress(skb);
	struct bpf_sock *sk = sock_of(skb);
	struct run run = kept(skb);
	struct packet packet;

	if (sk && read_packet(skb, &packet) && packet.protocol == IPPROTO_TCP) {
		if (sk->state == TCP_LISTEN) {
			if (new_early_conn(skb, sk, &packet))
				call(skb, PART_EARLY, &run);
		} else {
			if (egress && connects(&packet))
				bpf_sk_storage_delete(&sockets, sk);
			if (new_conn(skb, sk, &packet, egress))
				call(skb, PART_TAP, &run);
		}
	}
	return leave(egress, run.cost);
}

/* Payload that reaches a listener. */
SEC("cgroup/skb")
int tap_early(struct __sk_buff *skb)
{
	struct bpf_sock *sk = sock_of(skb);
	struct run run = kept(skb);
	struct packet packet;
	struct conn *conn;

	if (!sk || !read_packet(skb, &packet) || packet.protocol != IPPROTO_TCP)
		return leave(false, run.cost);
	conn = early_conn(skb, &packet);
	if (!conn) {
		call(skb, PART_BEGIN, &run);
		return leave(false, run.cost);
	}
	if (conn->protocol == PROTOCOL_OTHER)
		return leave(false, run.cost);
	if (run.offset || segment(skb, sk, conn, &packet, false, &run))
		http(skb, sk, conn, PART_EARLY, &run);
	return finish(skb, conn, &run);
}
