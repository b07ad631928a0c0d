/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The programs that read on where another one must stop: by tail call, since the verifier would have to go through a parser
 * twice, or since a packet holds more than one run may read. */
#ifndef APPSTATUS_PARSERS_H
#define APPSTATUS_PARSERS_H

#include "http_run.h"

/* What a run hands to the next one over a tail call, in skb->cb. */
struct run {
	__u64 cost; /* begin of the measured time, or 0 */
	__u32 offset; /* of the bytes to read next */
	__u32 ends; /* not 0: a FIN follows these bytes */
};

enum parser { PARSER_END, PARSER_HTTP_REQUEST, PARSER_HTTP_RESPONSE, PARSERS };

int end_in(struct __sk_buff *skb);
int end_out(struct __sk_buff *skb);
int http_request_in(struct __sk_buff *skb);
int http_request_out(struct __sk_buff *skb);
int http_response_in(struct __sk_buff *skb);
int http_response_out(struct __sk_buff *skb);

/* Two tables: the kernel lets one hold programs of one attach type only (6.18). */
#define TABLE(NAME, ...)                                                                                               \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_PROG_ARRAY);                                                                 \
		__uint(max_entries, PARSERS);                                                                          \
		__uint(key_size, sizeof(__u32));                                                                       \
		__array(values, int(void *));                                                                          \
	} NAME SEC(".maps") = { .values = { __VA_ARGS__ } }
TABLE(parsers_in, [PARSER_END] = (void *)end_in, [PARSER_HTTP_REQUEST] = (void *)http_request_in,
      [PARSER_HTTP_RESPONSE] = (void *)http_response_in);
TABLE(parsers_out, [PARSER_END] = (void *)end_out, [PARSER_HTTP_REQUEST] = (void *)http_request_out,
      [PARSER_HTTP_RESPONSE] = (void *)http_response_out);

#define PASS 1

static __always_inline struct run kept(struct __sk_buff *skb)
{
	struct run run = { .offset = skb->cb[0], .ends = skb->cb[1], .cost = skb->cb[2] | (__u64)skb->cb[3] << 32 };

	return run;
}

/* Returns only if the kernel allows no further call in a row (33), or the table is empty. */
static __always_inline void call(struct __sk_buff *skb, void *table, __u32 parser, const struct run *run)
{
	skb->cb[0] = run->offset;
	skb->cb[1] = run->ends;
	skb->cb[2] = run->cost;
	skb->cb[3] = run->cost >> 32;
	bpf_tail_call(skb, table, parser);
}

static __always_inline int leave(struct __sk_buff *skb, bool egress, __u64 cost)
{
	cost_end(egress ? PROGRAM_EGRESS : PROGRAM_INGRESS, cost);
	return PASS;
}

/* The full socket of a packet. */
static __always_inline struct bpf_sock *sock_of(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	return sk ? bpf_sk_fullsock(sk) : 0;
}

/* Its state, as the first program has found or made it. */
static __always_inline struct conn *conn_of(struct __sk_buff *skb, struct bpf_sock *sk, bool maybe_early)
{
	if (maybe_early && unlikely(sk->state == TCP_LISTEN)) {
		struct packet packet;
		struct early *found;
		struct tuple tuple;

		if (!read_packet(skb, &packet) || !tuple_of_packet(skb, &packet, false, &tuple))
			return 0;
		found = bpf_map_lookup_elem(&early, &tuple);
		return found ? &found->conn : 0;
	}
	return bpf_sk_storage_get(&sockets, sk, 0, 0);
}

/* All bytes of a body, or of a chunk, have passed. */
static __always_inline void body_ends(struct __sk_buff *skb, struct conn *conn, struct stream *stream, bool request, bool egress)
{
	if (stream->state == STREAM_PART) {
		stream->state = HTTP_CHUNK_SIZE;
		return;
	}
	stream->state = STREAM_START;
	if (request)
		request_complete(conn, stream, time_of(skb, egress));
}

/* What came ahead of a hole is passed by when the hole is filled: inside a body it says nothing. */
static __always_inline void pass_hole(struct __sk_buff *skb, struct conn *conn, struct stream *stream, bool request)
{
	__s32 length = conn->hole_end - stream->seq;

	if ((__s32)(conn->hole_from - stream->seq) > 0)
		return;
	stream->flags &= ~STREAM_HOLE;
	if (length <= 0)
		return;
	stream->seq += length;
	if ((stream->state == STREAM_BODY || stream->state == STREAM_PART) && stream->left >= length) {
		stream->left -= length;
		if (stream->left)
			return;
		body_ends(skb, conn, stream, request, false);
	} else if (stream->state != STREAM_REST) {
		if (stream->state != STREAM_LOST)
			count(UNPARSED_GAP);
		give_up(stream);
	}
}

/* Reads on from run->offset. What is left for another run goes through the table, as does the connection's end. */
static __always_inline int http(struct __sk_buff *skb, struct bpf_sock *sk, struct conn *conn, void *table, bool egress,
				bool request, struct run *run)
{
	struct stream *stream = stream_of(conn, egress);
	struct scratch *scratch = claim(egress);
	struct tuple tuple;
	__u32 more;
	bool lost;

	if (!scratch) {
		count(UNPARSED_BUSY);
		give_up(stream);
		return leave(skb, egress, run->cost);
	}
	scratch->reading.offset = run->offset;
	if (request) {
		http_request_run(skb, conn, stream, scratch, egress);
	} else {
		tuple_of_socket(sk, skb->protocol == bpf_htons(ETH_P_IPV6), &tuple);
		http_response_run(skb, conn, stream, scratch, &tuple, egress);
	}
	run->offset = scratch->reading.offset;
	more = scratch->reading.more;
	lost = scratch->reading.stop == STOP_LOST;
	release(scratch, egress);
	if (unlikely(lost && conn->protocol == PROTOCOL_HTTP))
		count(UNPARSED_INVALID);
	if (unlikely(more)) {
		call(skb, table, request ? PARSER_HTTP_REQUEST : PARSER_HTTP_RESPONSE, run);
		count(UNPARSED_SEGMENT);
		give_up(stream);
	}
	if (!egress && unlikely(stream->flags & STREAM_HOLE))
		pass_hole(skb, conn, stream, request);
	if (unlikely(run->ends))
		call(skb, table, PARSER_END, run);
	return leave(skb, egress, run->cost);
}

static __always_inline int http_again(struct __sk_buff *skb, void *table, bool egress, bool request)
{
	struct bpf_sock *sk = sock_of(skb);
	struct conn *conn = sk ? conn_of(skb, sk, !egress && request) : 0;
	struct run run = kept(skb);

	if (!conn)
		return leave(skb, egress, run.cost);
	return http(skb, sk, conn, table, egress, request, &run);
}

SEC("cgroup_skb/ingress")
int http_request_in(struct __sk_buff *skb)
{
	return http_again(skb, &parsers_in, false, true);
}

SEC("cgroup_skb/egress")
int http_request_out(struct __sk_buff *skb)
{
	return http_again(skb, &parsers_out, true, true);
}

SEC("cgroup_skb/ingress")
int http_response_in(struct __sk_buff *skb)
{
	return http_again(skb, &parsers_in, false, false);
}

SEC("cgroup_skb/egress")
int http_response_out(struct __sk_buff *skb)
{
	return http_again(skb, &parsers_out, true, false);
}

/* The side that owes answers ends the connection by FIN. (A client's FIN alone may be a half-close. RST, and everything else
 * that ends a connection, is counted when the socket's state becomes CLOSE, in tcp.bpf.c: only the socket knows whether it
 * believes a RST, and its lock keeps answers from leaving meanwhile.) */
static __always_inline int end(struct __sk_buff *skb, bool egress)
{
	struct bpf_sock *sk = sock_of(skb);
	struct conn *conn = sk ? bpf_sk_storage_get(&sockets, sk, 0, 0) : 0;
	struct run run = kept(skb);
	struct tuple tuple;
	__u32 pending;

	if (!conn)
		return leave(skb, egress, run.cost);
	pending = waiting(conn);
	if (pending && conn->requests != egress && ends_first(conn)) {
		tuple_of_socket(sk, skb->protocol == bpf_htons(ETH_P_IPV6), &tuple);
		requests_end(conn, &tuple, pending, without_answer(conn, STATUS_CLOSED));
	}
	return leave(skb, egress, run.cost);
}

SEC("cgroup_skb/ingress")
int end_in(struct __sk_buff *skb)
{
	return end(skb, false);
}

SEC("cgroup_skb/egress")
int end_out(struct __sk_buff *skb)
{
	return end(skb, true);
}

#endif
