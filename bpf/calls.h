/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Requests of HTTP/2 that are told by their stream, whatever order their answers come in. Their number, and the slots of the first
 * ones in flight, are the connection's as of other protocols: in flight, closed and overdue are counted by them. */
#ifndef APPSTATUS_CALLS_H
#define APPSTATUS_CALLS_H

#include "hpack.h"

struct exchange_key {
	__u32 conn;
	__u32 id;
};

struct exchange {
	__u64 asked; /* when the last byte of the request was sent, or, until then, of its header */
	__u64 latency; /* of its answer's first header; none where the request goes on */
	__u16 number; /* of the request on its connection */
	__u8 content; /* enum content; none: nobody knows */
	__u8 answered; /* 1 + class of the answer's first header, 0 if unknown; 0: none came */
	__u8 whole; /* the request */
	__u8 zero[3];
};
MAP(exchanges, LRU_HASH, struct exchange_key, struct exchange, 16384, 0);

#define CANCEL_NS 1000000000ULL /* who cancels sooner did not wait in vain */

/* What a block, or the end of a stream, tells (reading.kind). */
#define TELLS_STATUS(kind) ((kind) & 15)
#define TELLS_GRPC_STATUS(kind) ((kind) >> 4 & 15)
#define TELLS_CONTENT(kind) ((kind) >> 8 & 3)
#define TELLS_UNKNOWN (1 << 10)
#define TELLS_END (1 << 11) /* of the stream's direction */
#define TELLS_BLOCK (1 << 12)
#define TELLS_RESET (1 << 13)

/* What has ended (reading.ending): status, and */
#define ENDING_STATUS 15
#define ENDING_GRPC (1 << 4)
#define ENDING_LATENCY (1 << 5)
#define ENDING (1 << 6)

/* The slot of a waiting request, as far as the connection has one for it. */
static __always_inline __u64 *slot_of(struct conn *conn, __u16 number)
{
	__u32 i = number & (PIPELINE - 1);

	barrier_var(i);
	return &conn->start[i & (PIPELINE - 1)];
}

static __always_inline void exchange_begins(struct conn *conn, struct stream *stream, struct reading *r, const struct exchange_key *key)
{
	__u16 n = conn->stream[0].requests;
	struct exchange fresh = { .asked = r->now, .number = n, .content = TELLS_CONTENT(r->kind) };
	__u32 before = waiting(conn);

	if (!fresh.content && !(r->kind & TELLS_UNKNOWN))
		fresh.content = CONTENT_OTHER;
	if (before >= MOST_WAITING || bpf_map_update_elem(&exchanges, key, &fresh, BPF_ANY)) {
		not_parsed(conn, UNPARSED_PIPELINE);
		return;
	}
	if (before < PIPELINE)
		*slot_of(conn, n) = slot_time(r->now) | lap_of(n) | SLOT_VALID | (conn->peer & SLOT_PEER);
	conn->stream[0].requests = n + 1;
	conn->understood = fresh.content == CONTENT_GRPC ? UNDERSTOOD_GRPC : 1;
}

static __always_inline void exchange_asked(struct conn *conn, struct reading *r, struct exchange *e)
{
	__u64 *slot = slot_of(conn, e->number);

	e->asked = r->now;
	e->whole = 1;
	if (is_slot_of(*slot, e->number) && !e->answered)
		*slot = slot_time(r->now) | lap_of(e->number) | SLOT_COMPLETE | (*slot & 255);
}

/* How it ends, of which nothing more will come. */
static __always_inline __u32 exchange_outcome(const struct exchange *e, const struct reading *r, bool first)
{
	__u32 class = e->answered - 1, said = TELLS_GRPC_STATUS(r->kind), ending = ENDING | ENDING_LATENCY;

	if (said)
		return said == GRPC_CANCELLED ? ENDING | ENDING_GRPC | STATUS_CLIENT_ERROR : ending | ENDING_GRPC | said;
	if (e->content == CONTENT_GRPC) {
		if (class < 4)
			return ENDING | ENDING_GRPC | STATUS_UNKNOWN;
		return ending | ENDING_GRPC | (class == 4 ? STATUS_CLIENT_ERROR : STATUS_FAILED);
	}
	if (!e->content && r->kind & TELLS_UNKNOWN) { /* the last block of it: gRPC's, whose status nobody knows? */
		if (!first)
			return ENDING | ENDING_GRPC | STATUS_UNKNOWN;
		if (class == 2)
			return ENDING | STATUS_UNKNOWN;
	}
	return class ? ending | (class - 1) : ENDING | STATUS_UNKNOWN;
}

/* The header of an answer, or its trailers. */
static __always_inline void exchange_header(struct conn *conn, struct reading *r, struct exchange *e)
{
	__u32 class = TELLS_STATUS(r->kind), content = TELLS_CONTENT(r->kind);
	__u64 *slot = slot_of(conn, e->number), latency = r->first - e->asked;

	if (!e->answered) {
		r->found = 1;
		latency &= ~-(latency >> 63);
		e->latency = latency | -(__u64)!e->whole;
		e->answered = 1 + class;
		if (is_slot_of(*slot, e->number) && *slot & SLOT_COMPLETE)
			add(slot, -SLOT_COMPLETE); /* never overdue any more */
	}
	forget();
	if (!content && r->found && !e->content && !(r->kind & TELLS_UNKNOWN))
		content = CONTENT_OTHER;
	if (content && e->content != CONTENT_GRPC)
		e->content = content == CONTENT_OTHER && e->content ? e->content : content;
}

/* Something of the answer. r->ending: how it ends by that, if it does. */
static __always_inline void exchange_answered(struct conn *conn, struct reading *r, struct exchange *e)
{
	r->found = 0; /* 1: the answer's first header */
	if (r->kind & TELLS_RESET) {
		r->ending = ENDING | STATUS_RESET | (e->content == CONTENT_GRPC ? ENDING_GRPC : 0);
		return;
	}
	if (r->kind & TELLS_BLOCK && TELLS_STATUS(r->kind) == 1)
		return;
	if (r->kind & TELLS_BLOCK)
		exchange_header(conn, r, e);
	forget();
	if (e->answered && (r->kind & TELLS_END || e->content == CONTENT_OTHER))
		r->ending = exchange_outcome(e, r, r->found);
}

/* The client takes it back. */
static __always_inline void exchange_cancelled(struct conn *conn, struct reading *r, const struct exchange *e)
{
	__u32 grpc = e->content == CONTENT_GRPC ? ENDING_GRPC : 0;

	conn->stream[0].requests--; /* as if it had not been: what has ended is counted by the other hook */
	r->ending = ENDING | grpc | (e->answered || r->now - e->asked < CANCEL_NS ? STATUS_CLIENT_ERROR : STATUS_CLOSED);
}

/* It has ended as r->ending says. */
static __always_inline void exchange_counts(struct reading *r, __u64 latency)
{
	__u64 below = 0;
	__u32 status = r->ending & ENDING_STATUS, i = !!(r->ending & ENDING_GRPC);
	struct ended *ended;

	i &= 1;
	barrier_var(i);
	ended = &r->ended[i];
	ended->any = 1;
	ended->status[status]++;
	/* Good answers only, and what the client made bad. */
	if (!(r->ending & ENDING_LATENCY) || status >= STATUS_FAILED || latency == NO_LATENCY)
		return;
#pragma unroll
	for (__u32 step = 16; step; step >>= 1) { /* bucket_of() in arithmetic */
		__u64 at = below + step - 1;

		barrier_var(at);
		below += step & -less(bounds[at & 31], latency);
	}
	below &= 31;
	barrier_var(below);
	ended->bucket[below & 31]++;
	ended->latency_sum += latency;
}

/* What a step found of a stream. */
static __always_inline void exchange_goes_on(struct conn *conn, struct stream *stream, struct reading *r, const struct exchange_key *key)
{
	struct exchange *e = bpf_map_lookup_elem(&exchanges, key);

	r->ending = 0;
	if (!e && r->request && r->kind & TELLS_BLOCK) {
		exchange_begins(conn, stream, r, key);
		e = bpf_map_lookup_elem(&exchanges, key);
	} else if (!e && r->kind & TELLS_BLOCK && TELLS_STATUS(r->kind) > 1 && key->id & 1) {
		not_parsed(conn, UNPARSED_UNASKED);
	}
	forget();
	if (!e)
		return;
	if (!r->request)
		exchange_answered(conn, r, e);
	else if (r->kind & TELLS_RESET)
		exchange_cancelled(conn, r, e);
	else if (r->kind & TELLS_END)
		exchange_asked(conn, r, e);
	forget();
	if (!(r->ending & ENDING))
		return;
	r->answers += !r->request;
	if (is_slot_of(*slot_of(conn, e->number), e->number) && *slot_of(conn, e->number) & SLOT_OVERDUE) {
		*slot_of(conn, e->number) = 0; /* counted already */
	} else {
		exchange_counts(r, e->latency);
	}
	bpf_map_delete_elem(&exchanges, key);
}

/* How many ended so, of HTTP's or gRPC's, and how long they waited. */
static __always_inline void count_ended(const struct ended *ended, struct series_key *key, __u64 now)
{
	struct request_series *series = find_series(&requests, &zero_request, key, FULL_REQUESTS);

	if (!series)
		return;
#pragma unroll
	for (__u32 i = 0; i < STATUSES; i++)
		if (ended->status[i])
			add(&series->ended[i], ended->status[i]);
#pragma unroll
	for (__u32 i = 0; i < BUCKETS; i++)
		if (ended->bucket[i])
			add(&series->latency[i], ended->bucket[i]);
	add(&series->latency_sum, ended->latency_sum);
	series->last_used = now;
}

/* What the steps of a run found, in order. */
static __always_inline void count_calls(struct __sk_buff *skb, struct bpf_sock *sk, struct conn *conn, struct stream *stream,
					struct reading *r)
{
	struct exchange_key at = { .conn = conn->id };
	struct series_key key;
	struct tuple tuple;

	if (!r->calls)
		return;
	__builtin_memset(r->ended, 0, sizeof(r->ended));
#pragma unroll
	for (__u32 i = 0; i < CALLS; i++) {
		forget();
		if (i >= r->calls)
			break;
		at.id = r->call[i].id;
		r->kind = r->call[i].kind;
		r->first = r->call[i].first;
		exchange_goes_on(conn, stream, r, &at);
	}
	forget();
	if (!r->request) {
		conn->stream[1].requests += r->answers;
		if (r->answers && !waiting(conn))
			stream->flags &= ~STREAM_MISSED;
	}
	if (!(r->ended[0].any | r->ended[1].any))
		return;
	tuple_of_socket(sk, skb->protocol == bpf_htons(ETH_P_IPV6), &tuple);
	key_of(conn, &tuple, conn->peer & SLOT_PEER, &key);
	if (r->ended[0].any) {
		key.protocol = PROTOCOL_HTTP;
		count_ended(&r->ended[0], &key, r->now);
	}
	if (r->ended[1].any) {
		key.protocol = PROTOCOL_GRPC;
		count_ended(&r->ended[1], &key, r->now);
	}
}

#endif
