/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the parts of the tap have in common. They call each other by tail call: since a packet holds more than one run may read, and
 * so that the verifier, which follows every way that leads to the parser, finds one to each copy of it. */
#ifndef APPSTATUS_PARSERS_H
#define APPSTATUS_PARSERS_H

#include "http_run.h"

/* What a run on a packet hands to the next one over a tail call, in skb->cb. */
struct run {
	__u64 cost; /* begin of the measured time, or 0 */
	__u32 offset; /* of the bytes to read next */
	__u32 ends; /* not 0: a FIN follows these bytes */
	__u32 sample; /* not 0: see run_ends() */
};

/* Behind these: the further protocols, each with a part of its own. In the order of kernel/loader.py, which fills the table with what
 * the kernel takes. */
enum part { PART_TAP, PART_BEGIN, PART_EARLY, PART_END, PART_SAMPLE, PART_RECOGNISE, PART_FURTHER };
#define PART_OF(protocol) (PART_FURTHER + (protocol) - (PROTOCOL_HTTP + 1))
#define PARTS PART_OF(PROTOCOLS)

MAP(parts, PROG_ARRAY, __u32, __u32, PARTS, 0);

#define PASS 1

static __always_inline struct run kept(struct __sk_buff *skb)
{
	struct run run = { .offset = skb->cb[0], .ends = skb->cb[1], .cost = skb->cb[2] | (__u64)skb->cb[3] << 32,
			   .sample = skb->cb[4] };

	return run;
}

/* Returns only if the kernel allows no further call in a row (33), or the table is empty. */
static __always_inline void call(struct __sk_buff *skb, __u32 part, const struct run *run)
{
	skb->cb[0] = run->offset;
	skb->cb[1] = run->ends;
	skb->cb[2] = run->cost;
	skb->cb[3] = run->cost >> 32;
	skb->cb[4] = run->sample;
	bpf_tail_call(skb, &parts, part);
}

/* One program is at both hooks: what is on its way out came from no device. */
static __always_inline __u32 is_egress(struct __sk_buff *skb)
{
	__u64 device = skb->ingress_ifindex;

	barrier_var(device); /* arithmetic, not a branch: the verifier would look at all that follows twice */
	return (device - 1) >> 63;
}

static __always_inline int leave(bool egress, __u64 cost)
{
	cost_end(PROGRAM_INGRESS + egress, cost);
	return PASS;
}

/* The full socket of a packet. */
static __always_inline struct bpf_sock *sock_of(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	return sk ? bpf_sk_fullsock(sk) : 0;
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
			not_parsed(conn, UNPARSED_GAP);
		give_up(stream);
	}
}

/* Reads messages from run->offset on; `own`: the part that reads what is left for another run. */
static __always_inline void http(struct __sk_buff *skb, struct bpf_sock *sk, struct conn *conn, __u32 own, struct run *run)
{
	__u32 egress = is_egress(skb), more;
	struct scratch *scratch = claim(egress);
	struct stream *stream;
	struct reading *r;
	bool lost;

	if (!scratch) {
		not_parsed(conn, UNPARSED_BUSY);
		give_up(&conn->stream[egress]);
		return;
	}
	r = &scratch->reading;
	r->offset = run->offset;
	egress = is_egress(skb);
	r->egress = egress;
	r->request = conn->requests == egress;
	stream = &conn->stream[egress];
	forget();
	http_run(skb, sk, conn, stream, scratch);
	forget();
	more = run_ends(conn, scratch);
	if (unlikely(more))
		run->sample = more;
	forget();
	run->offset = r->offset;
	more = r->more;
	lost = r->stop == STOP_LOST;
	release(scratch, is_egress(skb));
	if (unlikely(lost && conn->protocol == PROTOCOL_HTTP))
		not_parsed(conn, UNPARSED_INVALID);
	if (unlikely(more)) {
		call(skb, own, run);
		not_parsed(conn, UNPARSED_SEGMENT);
		give_up(stream);
	}
}

/* After a packet's bytes. */
static __always_inline int finish(struct __sk_buff *skb, struct conn *conn, const struct run *run)
{
	__u32 egress = is_egress(skb);

	if (!egress && unlikely(conn->stream[0].flags & STREAM_HOLE))
		pass_hole(skb, conn, &conn->stream[0], !conn->requests);
	if (unlikely(run->sample))
		call(skb, PART_SAMPLE, run);
	if (unlikely(run->ends))
		call(skb, PART_END, run);
	return leave(egress, run->cost);
}

/* Tells of a request that ended badly, or late. */
SEC("cgroup/skb")
int tap_sample(struct __sk_buff *skb)
{
	struct bpf_sock *sk = sock_of(skb);
	struct conn *conn = sk ? bpf_sk_storage_get(&sockets, sk, 0, 0) : 0;
	struct run run = kept(skb);
	struct series_key key;
	struct tuple tuple;

	if (conn) {
		tuple_of_socket(sk, skb->protocol == bpf_htons(ETH_P_IPV6), &tuple);
		key_of(conn, &tuple, conn->peer & SLOT_PEER, &key);
		tell(conn, &key, run.sample);
	}
	if (run.ends)
		call(skb, PART_END, &run);
	return leave(is_egress(skb), run.cost);
}

/* The side that owes answers ends the connection by FIN. (A client's FIN alone may be a half-close. RST, and everything else
 * that ends a connection, is counted when the socket's state becomes CLOSE, in tcp.bpf.c: only the socket knows whether it
 * believes a RST, and its lock keeps answers from leaving meanwhile.) */
SEC("cgroup/skb")
int tap_end(struct __sk_buff *skb)
{
	struct bpf_sock *sk = sock_of(skb);
	struct conn *conn = sk ? bpf_sk_storage_get(&sockets, sk, 0, 0) : 0;
	struct run run = kept(skb);
	bool egress = is_egress(skb);
	struct tuple tuple;
	__u32 pending;

	if (!conn)
		return leave(egress, run.cost);
	pending = waiting(conn);
	if (pending && conn->requests != egress && ends_first(conn)) {
		tuple_of_socket(sk, skb->protocol == bpf_htons(ETH_P_IPV6), &tuple);
		requests_end(conn, &tuple, pending, without_answer(conn, STATUS_CLOSED));
	}
	return leave(egress, run.cost);
}

#endif
