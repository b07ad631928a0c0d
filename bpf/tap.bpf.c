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
				     bool egress, bool known)
{
	__s32 ahead = packet->seq - stream->seq;
	__u32 next = packet->seq + packet->length;

	if (unlikely(!(stream->flags & STREAM_SEEN))) {
		stream->flags |= STREAM_SEEN;
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

/* Has the other direction had the last word? Its sender acknowledges then what he had not before. */
static __always_inline bool takes_turn(struct stream *stream, const struct packet *packet)
{
	if ((__s32)(packet->ack - stream->acked) <= 0)
		return false;
	stream->acked = packet->ack;
	return true;
}

/* A packet of a connection that may speak HTTP. `known`: its state is socket storage, and the parser runs right here; else
 * through the table, as the verifier would have to go through it twice. */
static __always_inline int segment(struct __sk_buff *skb, struct bpf_sock *sk, struct conn *conn, struct packet *packet,
				   void *table, bool egress, bool known, __u64 cost)
{
	struct stream *stream = stream_of(conn, egress);
	struct run run = { .cost = cost };
	bool turn, request;

	/* A FIN counts once everything before it has been seen. Not a plain truth value: the verifier would look at all that
	 * follows twice. */
	if (packet->flags & FLAG_FIN && (!(stream->flags & STREAM_SEEN) || packet->seq == stream->seq ||
					 packet->seq + packet->length == stream->seq))
		run.ends = packet->flags;
	if (!packet->length || !in_order(sk, conn, stream, packet, egress, known))
		goto over;
	turn = takes_turn(stream, packet);
	if (conn->protocol == PROTOCOL_UNKNOWN) {
		if ((!turn && !conn->fresh) || !recognise(skb, conn, packet, egress))
			goto over;
	}
	request = conn->requests == egress;
	/* Refused before a byte of its body was sent (100-continue): then the body may never come. Once begun it has to be ended. */
	if (unlikely(request && stream->flags & STREAM_WAITS)) {
		stream->flags &= ~STREAM_WAITS;
		if (turn && !waiting(conn) && stream_of(conn, !egress)->state == STREAM_START && method(first_bytes(skb, packet)))
			stream->state = STREAM_START;
	}
	/* Asked again although the last answer's body, if it had one, goes on: if an answer begins here, it had none. */
	if (unlikely((stream->state == STREAM_BODY || stream->state == STREAM_PART) && turn && !request &&
		     stream->flags & STREAM_DOUBT && waiting(conn) && http_response_begins(first_bytes(skb, packet), 8)))
		stream->state = STREAM_START;
	if (stream->state == STREAM_REST || conn->protocol == PROTOCOL_TUNNEL || (stream->state == STREAM_LOST && !turn))
		goto over;
	if (stream->state == STREAM_BODY || stream->state == STREAM_PART) {
		if (packet->length < stream->left) {
			stream->left -= packet->length;
			goto over;
		}
		packet->payload += stream->left;
		packet->length -= stream->left;
		stream->left = 0;
		body_ends(skb, conn, stream, request, egress);
		if (!packet->length)
			goto over;
	}
	run.offset = packet->payload;
	if (known) {
		if (request)
			return http(skb, sk, conn, table, egress, true, &run);
		return http(skb, sk, conn, table, egress, false, &run);
	}
	call(skb, table, PARSER_HTTP_REQUEST, &run);
over:
	if (!egress && unlikely(stream->flags & STREAM_HOLE))
		pass_hole(skb, conn, stream, conn->requests == egress);
	if (unlikely(run.ends))
		call(skb, table, PARSER_END, &run);
	return leave(skb, egress, cost);
}

static __always_inline int tap(struct __sk_buff *skb, void *table, bool egress)
{
	__u64 cost = cost_begin();
	struct packet packet;
	struct bpf_sock *sk;
	struct conn *conn;

	if (!read_packet(skb, &packet))
		return leave(skb, egress, cost);
	if (packet.protocol == IPPROTO_UDP) {
		if (!egress)
			dns(skb, &packet);
		return leave(skb, egress, cost);
	}
	if (!packet.length && !(packet.flags & (FLAG_FIN | FLAG_SYN | FLAG_RST))) /* RST: may have to adopt its state */
		return leave(skb, egress, cost);
	sk = sock_of(skb);
	if (!sk)
		return leave(skb, egress, cost);
	if (!egress && unlikely(sk->state == TCP_LISTEN)) {
		conn = packet.length ? early_conn(skb, sk, &packet) : 0;
		if (!conn || conn->protocol == PROTOCOL_OTHER)
			return leave(skb, egress, cost);
		return segment(skb, sk, conn, &packet, table, egress, false, cost);
	}
	/* A socket may connect again after it was disconnected. */
	if (egress && unlikely(packet.flags & FLAG_SYN))
		bpf_sk_storage_delete(&sockets, sk);
	conn = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (unlikely(!conn)) {
		conn = new_conn(skb, sk, &packet, egress);
		if (!conn)
			return leave(skb, egress, cost);
	}
	if (conn->protocol == PROTOCOL_OTHER)
		return leave(skb, egress, cost);
	return segment(skb, sk, conn, &packet, table, egress, true, cost);
}

SEC("cgroup_skb/ingress")
int tap_in(struct __sk_buff *skb)
{
	return tap(skb, &parsers_in, false);
}

SEC("cgroup_skb/egress")
int tap_out(struct __sk_buff *skb)
{
	return tap(skb, &parsers_out, true);
}
