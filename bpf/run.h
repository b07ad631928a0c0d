/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Protocols other than HTTP: brings bytes into the buffer, steps through them, counts what was found, keeps what a segment cut.
 *
 * A protocol is three functions, in its own NAME.h, and a fourth where the server may speak first (GREETING_PROTOCOLS):
 *
 *   enum verdict NAME_recognise(w0, w1, n)   are these the first `n` (zero filled, at most 16) bytes of a client's message?
 *   enum verdict NAME_greets(w0, w1, n)      are these the first bytes of a server, before the client's on a new connection?
 *   bool NAME_answer_begins(w0, n)           may these be the first bytes of a server's message in the middle of a connection?
 *   void NAME_step(conn, stream, r, scratch) reads one line, or one frame's header, at r->at, and moves r->at behind it
 *
 * What a step may do: set stream->left and STREAM_BODY (these bytes are passed by), stop at STOP_SHORT (comes again when there are
 * more bytes, at most CARRY), not_understood(), request_begins(), answer(). conn->more[r->egress & 1] is the protocol's own word for
 * what it must know of a message that goes on; where it is 0 behind a part of a request, the request is complete. */
#ifndef APPSTATUS_RUN_H
#define APPSTATUS_RUN_H

#include "order.h"
#include "parsers.h"

enum verdict { NO, MAYBE, YES };

/* What one run reads at most: each step is looked at by the verifier. */
#define FURTHER_STEPS 24
#define CALL_STEPS 12 /* HTTP/2's */

/* HTTP/2's, in calls.h. */
static __always_inline void count_calls(struct __sk_buff *skb, struct bpf_sock *sk, struct conn *conn, struct stream *stream,
					struct reading *r);

static __always_inline __u32 *more_of(struct conn *conn, __u32 egress)
{
	egress &= 1;
	barrier_var(egress);
	return &conn->more[egress];
}

/* No message where one had to be. */
static __always_inline void not_understood(struct reading *r)
{
	r->stop = STOP_LOST;
}

static __always_inline __u32 big_endian(__u64 w)
{
	return bpf_ntohl((__u32)w);
}

/* Skips what is left of a body, at most `here` bytes; returns how many. */
static __always_inline __u32 pass(struct conn *conn, struct stream *stream, struct reading *r, __u32 here)
{
	__u32 passed = here;

	if (stream->left > here) {
		stream->left -= here;
		return passed;
	}
	passed = stream->left;
	stream->left = 0;
	stream->state = STREAM_START;
	if (r->request && !*more_of(conn, r->egress))
		request_complete(conn, stream, r->now);
	return passed;
}

/* The slot of the request that the next answer is for; 0: it has none. */
static __always_inline __u64 asked(const struct conn *conn, const struct reading *r)
{
	__u16 n = conn->stream[1].requests + r->answers;
	__u32 i = n & (PIPELINE - 1);
	__u64 slot;

	barrier_var(i);
	slot = conn->start[i & (PIPELINE - 1)];
	return is_slot_of(slot, n) ? slot : 0;
}

/* Has a request been seen that this run has not met the answer of? */
static __always_inline bool awaited(const struct conn *conn, const struct reading *r)
{
	return waiting(conn) > r->answers;
}

/* When the byte at hand came. */
static __always_inline __u64 came(const struct reading *r)
{
	return r->at || !r->began ? r->now : r->began;
}

/* Latency of the next answer, whose first byte came then. */
static __always_inline __u64 latency_at(const struct conn *conn, const struct stream *stream, const struct reading *r, __u64 when)
{
	__u64 slot = asked(conn, r);

	if (!slot || slot & SLOT_LONG || (stream->flags & STREAM_GAP && waiting(conn) > 1))
		return NO_LATENCY;
	return since(slot, when);
}

/* Of the answer whose first byte is at hand, and is not of the segment before. */
static __always_inline __u64 latency_now(const struct conn *conn, const struct stream *stream, const struct reading *r)
{
	return latency_at(conn, stream, r, r->now);
}

/* An answer, of which nobody waits for more to tell how it ends. Only where one is awaited. */
static __always_inline void answer(struct conn *conn, struct reading *r, __u32 outcome, __u64 latency)
{
	__u64 slot = asked(conn, r);
	__u32 i;

	r->answers++;
	r->last_status = 0;
	r->last_latency = NO_LATENCY;
	if (slot & SLOT_OVERDUE)
		return;
	r->last_status = outcome;
	r->last_latency = latency;
	if (outcome == STATUS_FAILED) {
		r->failed++;
		return;
	}
	if (outcome == STATUS_UNKNOWN) {
		r->unknown++;
		return;
	}
	if (outcome == STATUS_CLIENT_ERROR)
		r->client_errors++;
	else
		r->ok++;
	if (latency == NO_LATENCY || r->latencies >= PIPELINE)
		return;
	i = r->latencies++ & (PIPELINE - 1);
	barrier_var(i);
	r->latency[i & (PIPELINE - 1)] = latency;
}

/* Everything that the run found, at once: a segment may hold hundreds of answers. (And requests that are good without one: r->ok of
 * what carries requests.) */
static __always_inline void count_answers(struct __sk_buff *skb, struct bpf_sock *sk, struct conn *conn, struct stream *stream,
					  struct reading *r)
{
	__u32 pending = waiting(conn);
	struct request_series *series;
	struct series_key key;
	struct tuple tuple;

	if (!(r->answers + r->ok))
		return;
	tuple_of_socket(sk, skb->protocol == bpf_htons(ETH_P_IPV6), &tuple);
	if (!r->request) {
		if (stream->flags & STREAM_GAP && pending > r->answers)
			requests_end(conn, &tuple, pending - r->answers, STATUS_UNKNOWN);
		stream->flags &= ~(STREAM_GAP | STREAM_MISSED);
	}
	conn->stream[1].requests += r->answers;
	if (!(r->ok + r->client_errors + r->failed + r->unknown))
		return;
	key_of(conn, &tuple, conn->peer & SLOT_PEER, &key);
	series = find_series(&requests, &zero_request, &key, FULL_REQUESTS);
	if (!series)
		return;
	add(&series->ended[STATUS_OK], r->ok);
	add(&series->ended[STATUS_CLIENT_ERROR], r->client_errors);
	add(&series->ended[STATUS_FAILED], r->failed);
	add(&series->ended[STATUS_UNKNOWN], r->unknown);
#pragma unroll
	for (__u32 i = 0; i < PIPELINE; i++) {
		__u32 bucket;

		if (i >= r->latencies)
			break;
		bucket = bucket_of(r->latency[i]);
		if (bucket < BUCKETS)
			add(&series->latency[bucket], 1);
		add(&series->latency_sum, r->latency[i]);
	}
	series->last_used = r->now;
}

/* Brings the bytes from r->offset on into the buffer, behind those that an earlier segment left. False: cannot. */
static __always_inline bool bring(struct __sk_buff *skb, struct conn *conn, struct stream *stream, struct scratch *scratch)
{
	struct reading *r = &scratch->reading;
	__u32 length = skb->len - r->offset, carried = 0;

	r->stop = 0;
	r->began = 0;
	r->more = 0;
	r->answers = r->ok = r->client_errors = r->failed = r->unknown = r->latencies = r->calls = 0;
	if (stream->state == STREAM_LOST) {
		stream->state = STREAM_START;
		*more_of(conn, r->egress) = 0;
	}
	if (stream->flags & STREAM_CUT) {
		struct message_key key = { .conn = conn->id, .egress = r->egress };
		struct message *kept = bpf_map_lookup_elem(&messages, &key);

		stream->flags &= ~STREAM_CUT;
		if (!kept) {
			not_parsed(conn, UNPARSED_MESSAGE);
			return false;
		}
		carried = kept->carried & (CARRY - 1);
		r->began = kept->first;
		__builtin_memcpy(scratch->bytes, kept->carry, CARRY);
		bpf_map_delete_elem(&messages, &key);
	}
	if (length > CHUNK) {
		length = CHUNK;
		r->more = 1;
	}
	r->at = 0;
	r->carried = carried;
	r->end = carried + length;
	if (!length)
		return false;
	if (bpf_skb_load_bytes(skb, r->offset, scratch->bytes + carried, BETWEEN_1_AND(1024, length))) {
		not_parsed(conn, UNPARSED_READ);
		return false;
	}
	r->now = time_of(skb, r->egress);
	return true;
}

/* Where the next run, or the next segment, goes on. */
static __always_inline void keep(struct __sk_buff *skb, struct conn *conn, struct stream *stream, struct scratch *scratch)
{
	struct reading *r = &scratch->reading;
	__u32 at = r->at;

	if (at < r->end && r->stop == STOP_SHORT && !r->more) {
		struct message_key key = { .conn = conn->id, .egress = r->egress };

		next_message_at(r);
		if (!at && r->began)
			r->message.first = r->began;
		r->message.carried = r->end - at;
		at &= BYTES - 1;
		barrier_var(at);
		__builtin_memcpy(r->message.carry, scratch->bytes + at, CARRY);
		bpf_map_update_elem(&messages, &key, &r->message, BPF_ANY);
		stream->flags |= STREAM_CUT;
		return;
	}
	r->offset += at - r->carried;
	if (stream->state == STREAM_BODY && r->offset < skb->len)
		r->offset += pass(conn, stream, r, skb->len - r->offset);
	r->more = r->offset < skb->len;
}

typedef void (*step_function)(struct conn *conn, struct stream *stream, struct reading *r, const struct scratch *scratch);

/* Of HTTP/2, whose steps are long. Unrolled: the verifier remembers what it has seen by place, and forgets what it meets there seldom,
 * as in a loop, whose turns share theirs. */
static __always_inline void call_steps(struct conn *conn, struct stream *stream, struct reading *r, struct scratch *scratch,
				       step_function step)
{
#pragma unroll
	for (int i = 0; i < CALL_STEPS; i++) {
		forget();
		if (stream->state == STREAM_BODY)
			r->at += pass(conn, stream, r, r->end - r->at);
		if (r->at < r->end && !r->stop && r->calls < CALLS)
			step(conn, stream, r, scratch);
	}
}

static __always_inline void steps(struct __sk_buff *skb, struct bpf_sock *sk, struct conn *conn, struct stream *stream,
				  struct scratch *scratch, __u32 protocol, step_function step)
{
	struct reading *r = &scratch->reading;

	run_begins(conn, stream, r);
	if (!bring(skb, conn, stream, scratch)) {
		lose(conn, stream, r);
		return;
	}
	if (protocol == PROTOCOL_GRPC)
		call_steps(conn, stream, r, scratch, step);
#pragma nounroll
	for (int i = 0; i < (protocol == PROTOCOL_GRPC ? 0 : FURTHER_STEPS); i++) {
		forget();
		if (stream->state == STREAM_BODY)
			r->at += pass(conn, stream, r, r->end - r->at);
		if (r->at >= r->end || r->stop)
			break;
		step(conn, stream, r, scratch);
	}
	forget();
	if (protocol == PROTOCOL_GRPC)
		count_calls(skb, sk, conn, stream, r);
	else
		count_answers(skb, sk, conn, stream, r);
	forget();
	if (r->stop == STOP_LOST) {
		*more_of(conn, r->egress) = 0;
		lose(conn, stream, r);
	} else if (conn->protocol == PROTOCOL_OTHER) {
		r->more = 0;
	} else {
		keep(skb, conn, stream, scratch);
	}
}

#endif
