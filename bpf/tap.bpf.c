/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The tap: every packet of every socket, at the cgroup-v2 root, on its way out and in. Cheapest question first: most packets
 * leave after a few comparisons. See docs/architecture for what it rests on. */
#include "begin.h"
#include "dns.h"
#include "order.h"
#include "recognise.h"

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

/* Most connections of one sort are told at once; a part of its own does the others. True: HTTP. */
static __always_inline bool recognise(struct __sk_buff *skb, struct conn *conn, const struct packet *packet, bool egress, struct run *run)
{
	__u64 w = first_bytes(skb, packet);
	bool request = method(w);

	if (packet->length < 8 || conn->stream[egress].flags & STREAM_CUT ||
	    (!request && (conn->fresh || !http_response_begins(w, 8)))) {
		run->offset = packet->payload;
		call(skb, PART_RECOGNISE, run);
		run->offset = 0;
		return false;
	}
	conn->protocol = PROTOCOL_HTTP;
	conn->requests = egress == request;
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
		if ((!turn && !conn->fresh && !(stream->flags & STREAM_CUT)) || !recognise(skb, conn, packet, egress, run))
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
		if (unlikely(conn->protocol > PROTOCOL_HTTP)) {
			if (conn->protocol == PROTOCOL_OTHER)
				return leave(egress, run.cost);
			if (conn->protocol != PROTOCOL_TUNNEL) {
				call(skb, PART_OF(conn->protocol), &run);
				return leave(egress, run.cost);
			}
		}
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
	if (unlikely(conn->protocol > PROTOCOL_HTTP)) {
		if (conn->protocol != PROTOCOL_OTHER && conn->protocol != PROTOCOL_TUNNEL)
			call(skb, PART_OF(conn->protocol), &run);
		return leave(false, run.cost);
	}
	if (run.offset || segment(skb, sk, conn, &packet, false, &run))
		http(skb, sk, conn, PART_EARLY, &run);
	return finish(skb, conn, &run);
}

#define ITS_TAP(NAME, name)                                                                                            \
	SEC("cgroup/skb")                                                                                              \
	int tap_##name(struct __sk_buff *skb)                                                                          \
	{                                                                                                              \
		return further(skb, PROTOCOL_##NAME, name##_step);                                                     \
	}
FURTHER_PROTOCOLS(ITS_TAP)
