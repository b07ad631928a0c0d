/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Kafka, in frames: size, then API key, version, correlation id, client id; an answer's are size and correlation id.
 *
 * One request is one frame of the client's, and answers come in the order of requests (correlation ids are not compared). Bad is no
 * answer, and an error code where it stands right behind the throttle time of a flexible version: Fetch 12, JoinGroup 6, SyncGroup 4,
 * Heartbeat 4, LeaveGroup 4, InitProducerId 2, and later ones (not MEMBER_ID_REQUIRED, by which each member joins; whose error it is: kafka_outcome). Codes of single
 * partitions, as all of Produce are, those of older versions, and those beyond four requests in flight are not read: ok means answered. A Produce with acks=0 has no
 * answer: ok, without latency, as soon as its acks are read. Long by intent: Fetch, ShareFetch, JoinGroup, SyncGroup.
 * Not read any more: after SaslHandshake version 0, whose tokens come without a header.
 * tshark: kafka.api_key / kafka.correlation_id from the server's port, kafka.error. */
#ifndef APPSTATUS_KAFKA_H
#define APPSTATUS_KAFKA_H

#include "run.h"

/* stream.state; stream.left is what is left of the frame */
#define KAFKA_PRODUCE (STREAM_START + 1) /* in a Produce, before its acks */
#define KAFKA_ANSWER (STREAM_START + 2) /* behind an answer's size */
/* conn.more of what carries requests: how many bytes come before the next field, and what is still to be read */
#define KAFKA_BYTES 0xffff
#define KAFKA_TAGS (1U << 16)
#define KAFKA_TRANSACTION (1U << 17) /* its id */
#define KAFKA_COMPACT (1U << 18) /* lengths are of one byte, and one more than what they tell */
#define KAFKA_GOES_ON (1U << 19)
/* conn.more of answers: its latency, in units of 1,024 ns */
#define KAFKA_UNIT_SHIFT 10
#define KAFKA_NO_LATENCY (~0U)

/* What a step may find (reading.found). */
#define KAFKA_FOUND_REQUEST 1 /* with `value` as its slot's flags */
#define KAFKA_FOUND_UNANSWERED 2
#define KAFKA_FOUND_ANSWER 4 /* with `value` as its code */

#define SLOT_CODE SLOT_HEAD /* the answer has an error code of its own */
#define KAFKA_HEADER 14
#define KAFKA_MOST (1U << 27)
#define KAFKA_KEYS 93
#define KAFKA_VERSIONS 21 /* of any key */
#define KAFKA_FETCH 1
#define KAFKA_JOIN 11
#define KAFKA_SYNC 14
#define KAFKA_SASL 17
#define KAFKA_MEMBER_ID_REQUIRED 79

static __always_inline __u16 kafka_short(__u64 w)
{
	return bpf_ntohs((__u16)w);
}

static __always_inline bool kafka_text(__u8 c)
{
	return c >= ' ' && c != 127;
}

/* A request's header up to the begin of the client's name. */
static __always_inline enum verdict kafka_recognise(__u64 w0, __u64 w1, __u32 n)
{
	__u16 key = kafka_short(w0 >> 32), id = kafka_short(w1 >> 32);
	__u32 size = big_endian(w0);

	if ((__u8)w0 || (n > 4 && (__u8)(w0 >> 32)) || (n > 6 && (__u8)(w0 >> 48)))
		return NO;
	if (n > 3 && size < KAFKA_HEADER - 4)
		return NO;
	if (n > 7 && (key >= KAFKA_KEYS || kafka_short(w0 >> 48) >= KAFKA_VERSIONS))
		return NO;
	if (n < KAFKA_HEADER + 1)
		return n == KAFKA_HEADER && size == KAFKA_HEADER - 4 && key && (!id || id == 0xffff) ? YES : MAYBE;
	if (!id || id == 0xffff) /* a Produce of an empty name would look like a request of ZooKeeper's */
		return key || id ? YES : NO;
	return id < 256 && id <= size - (KAFKA_HEADER - 4) && kafka_text(w1 >> 48) ? YES : NO;
}

static __always_inline bool kafka_answer_begins(__u64 w, __u32 n)
{
	return (__u8)w < KAFKA_MOST >> 24 && (n < 4 || big_endian(w) - 4 < KAFKA_MOST);
}

/* Does the answer begin with tags, a throttle time and its error code? */
static __always_inline bool kafka_has_code(__u16 key, __u16 version)
{
	return (key == KAFKA_FETCH && version >= 12) || (key == KAFKA_JOIN && version >= 6) ||
	       ((key == 12 || key == 13 || key == KAFKA_SYNC) && version >= 4) || (key == 22 && version >= 2);
}

static __always_inline void kafka_request(struct conn *conn, struct stream *stream, struct reading *r, __u32 *more, __u64 w0, __u64 w1)
{
	__u32 size = big_endian(w0), rest = size - (KAFKA_HEADER - 4);
	__u16 key = kafka_short(w0 >> 32), version = kafka_short(w0 >> 48), id = kafka_short(w1 >> 32);
	__u64 flags = 0;

	if (id == 0xffff)
		id = 0;
	if (r->end - r->at < KAFKA_HEADER)
		r->stop = STOP_SHORT;
	else if (rest >= KAFKA_MOST || key >= KAFKA_KEYS || version >= KAFKA_VERSIONS || id > rest)
		not_understood(r);
	if (r->stop)
		return;
	if (key == KAFKA_SASL && !version) {
		conn->protocol = PROTOCOL_OTHER;
		r->stop = STOP_SHORT;
		return;
	}
	stream->left = rest;
	r->at += KAFKA_HEADER;
	if (!key) {
		*more = id | KAFKA_GOES_ON | (version >= 3 ? KAFKA_TRANSACTION : 0) | (version >= 9 ? KAFKA_TAGS | KAFKA_COMPACT : 0);
		stream->state = KAFKA_PRODUCE;
		return;
	}
	*more = 0;
	r->found = KAFKA_FOUND_REQUEST;
	if (key == KAFKA_FETCH || key == KAFKA_JOIN || key == KAFKA_SYNC || key == 78 /* ShareFetch */) {
		flags = SLOT_LONG;
		*more = KAFKA_GOES_ON; /* never complete, so never overdue */
	}
	if (kafka_has_code(key, version))
		flags |= SLOT_CODE;
	r->value = flags;
	stream->state = STREAM_BODY;
}

/* One field of a Produce up to its acks, or a part of it. */
static __always_inline void kafka_produce(struct conn *conn, struct stream *stream, struct reading *r, __u32 *more, __u64 w)
{
	__u32 have = r->end - r->at, takes = *more & KAFKA_BYTES, bytes = 0;
	bool one = *more & KAFKA_TAGS || (*more & KAFKA_TRANSACTION && *more & KAFKA_COMPACT);

	if (takes) {
		if (takes > have)
			takes = have;
		*more -= takes;
	} else {
		takes = one ? 1 : 2;
		if (have < takes) {
			r->stop = STOP_SHORT;
			return;
		}
		if (*more & KAFKA_TAGS) {
			if ((__u8)w)
				not_understood(r);
			*more &= ~KAFKA_TAGS;
		} else if (*more & KAFKA_TRANSACTION) {
			bytes = one ? (__u8)w : kafka_short(w);
			if (one && bytes > 127)
				not_understood(r);
			if (one && bytes)
				bytes--;
			if (!one && bytes == 0xffff)
				bytes = 0;
			*more = (*more & ~KAFKA_TRANSACTION) | (bytes & KAFKA_BYTES);
		} else {
			stream->state = STREAM_BODY;
			r->value = 0;
			if ((__u16)w) {
				r->found = KAFKA_FOUND_REQUEST;
				*more = 0;
			} else {
				r->found = KAFKA_FOUND_UNANSWERED; /* *more stays: what completes is nobody's slot */
			}
		}
	}
	if (stream->left < takes + bytes) {
		not_understood(r);
		return;
	}
	stream->left -= takes;
	r->at += takes;
}

static __always_inline void kafka_answer(struct conn *conn, struct stream *stream, struct reading *r, __u32 *more, __u64 w0, __u64 w1)
{
	__u32 have = r->end - r->at, size = big_endian(w0);
	__u64 latency;

	r->value = 0;

	if (stream->state == STREAM_START) {
		if (have < 4)
			r->stop = STOP_SHORT;
		else if (size < 4 || size >= KAFKA_MOST)
			not_understood(r);
		if (r->stop)
			return;
		latency = latency_now(conn, stream, r);
		if (latency != NO_LATENCY)
			latency >>= KAFKA_UNIT_SHIFT;
		*more = latency >= KAFKA_NO_LATENCY ? KAFKA_NO_LATENCY : latency;
		stream->left = size;
		stream->state = KAFKA_ANSWER;
		r->at += 4;
		return;
	}
	/* Correlation id, tags (none), throttle time, code. */
	if (asked(conn, r) & SLOT_CODE) {
		if (stream->left < 11 || (have >= 11 && (__u8)(w0 >> 32)))
			not_understood(r);
		else if (have < 11)
			r->stop = STOP_SHORT;
		if (r->stop)
			return;
		r->value = kafka_short(w1 >> 8);
	}
	r->found = KAFKA_FOUND_ANSWER;
	stream->state = STREAM_BODY;
}

/* What a group's rebalancing, another node or the client itself explains: 16 NOT_COORDINATOR, 22 ILLEGAL_GENERATION, 23 to 27 (protocol,
 * group id, member id, session time-out, rebalance), 29 to 31 no rights, 35 version, 42 request, 43 format, 47 to 51 (epoch, state,
 * mapping of transactions, one that still ends), 90 fenced; 70 and 71 a fetch session that ended, 81 group full, 82 fenced. */
static __always_inline enum outcome kafka_outcome(__u64 code)
{
	const __u64 clients = 1ULL << 16 | 0x3fULL << 22 | 7ULL << 29 | 1ULL << 35 | 3ULL << 42 | 0x1fULL << 47;

	if (!code || code == KAFKA_MEMBER_ID_REQUIRED)
		return STATUS_OK;
	return (code < 64 && clients >> code & 1) || code == 70 || code == 71 || code == 81 || code == 82 || code == 90 ? STATUS_CLIENT_ERROR :
													   STATUS_FAILED;
}

static __always_inline void kafka_answered(struct conn *conn, struct reading *r, __u32 *more)
{
	__u64 latency = *more == KAFKA_NO_LATENCY ? NO_LATENCY : (__u64)*more << KAFKA_UNIT_SHIFT;

	if (awaited(conn, r))
		answer(conn, r, kafka_outcome(r->value), latency);
	else
		not_parsed(conn, UNPARSED_UNASKED);
	*more = 0;
}

static __always_inline void kafka_step(struct conn *conn, struct stream *stream, struct reading *r, const struct scratch *scratch)
{
	__u32 *more = more_of(conn, r->egress);
	__u64 w0 = word(scratch, r->at), w1 = word(scratch, r->at + 8);

	r->found = 0;
	if (!r->request)
		kafka_answer(conn, stream, r, more, w0, w1);
	else if (stream->state == KAFKA_PRODUCE)
		kafka_produce(conn, stream, r, more, w0);
	else
		kafka_request(conn, stream, r, more, w0, w1);
	forget();
	if (r->stop)
		return;
	if (r->found == KAFKA_FOUND_REQUEST) {
		stream->flags &= ~(STREAM_GAP | STREAM_MISSED);
		request_begins(conn, stream, r->now);
		request_continues(conn, stream, r->now, SLOT_VALID | (conn->peer & SLOT_PEER) | r->value, 0);
	} else if (r->found == KAFKA_FOUND_UNANSWERED) {
		r->ok++;
	} else if (r->found) {
		kafka_answered(conn, r, more);
	}
	forget();
	if (stream->state == STREAM_BODY)
		r->at += pass(conn, stream, r, r->end - r->at);
}

#endif
