/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* PostgreSQL (protocol 3), in frames: type, length, body; those of the beginning have no type.
 *
 * One request is what the server ends with ReadyForQuery: a Query, a FunctionCall, or whatever a Sync ends (Parse, Bind, Execute).
 * It ends with that, or with ErrorResponse if that comes first; bad is an ErrorResponse, by the class of its SQLSTATE (sql.h), and no
 * answer.
 * Long by intent, so outside the latency: COPY both ways (replication), which ends the request at once, and COPY FROM STDIN, whose
 * data is the request going on. Not read any more: after SSLRequest or GSSENCRequest was granted. Starting up is no request.
 * tshark: pgsql.type == "Simple query" || "Sync" || "Function call" / "Ready for query" / "Error". */
#ifndef APPSTATUS_POSTGRES_H
#define APPSTATUS_POSTGRES_H

#include "run.h"
#include "sql.h"

/* conn.more of what carries requests */
#define POSTGRES_GROUP 1 /* behind messages that a Sync will end */
#define POSTGRES_ASKS 2 /* whether to encrypt */
/* of answers; above them the latency of the one that has begun */
#define POSTGRES_BEGUN 1
#define POSTGRES_ERROR 2
#define POSTGRES_CLIENT_ERROR 4
#define POSTGRES_COUNTED 8 /* what ReadyForQuery is still to come for */
#define POSTGRES_LONG 16
#define POSTGRES_LATENCY_SHIFT 5
#define POSTGRES_UNIT_SHIFT 10 /* of ns */

/* stream.state: at, and inside of, a field of an ErrorResponse, of which stream.left bytes are left */
#define POSTGRES_FIELD (STREAM_START + 1)
#define POSTGRES_IN_FIELD (STREAM_START + 2)

#define POSTGRES_VERSION 0x00030000
#define POSTGRES_CANCEL 80877102
#define POSTGRES_TLS 80877103
#define POSTGRES_GSS 80877104
#define POSTGRES_MOST (1U << 30)

static __always_inline bool one_of(__u8 c, __u64 upper, __u64 lower)
{
	return (c >= '@' && c < '`' && upper >> (c - '@') & 1) || (c >= '`' && c <= 127 && lower >> (c - '`') & 1);
}
#define UPPER(c) (1ULL << ((c) - '@'))
#define LOWER_BIT(c) (1ULL << ((c) - '`'))

static __always_inline bool postgres_asks(__u8 c)
{
	return one_of(c, UPPER('Q') | UPPER('P') | UPPER('B') | UPPER('D') | UPPER('E') | UPPER('C') | UPPER('F') | UPPER('H') | UPPER('S') |
				 UPPER('X'),
		      LOWER_BIT('p') | LOWER_BIT('d') | LOWER_BIT('c') | LOWER_BIT('f'));
}

static __always_inline bool postgres_answers(__u8 c)
{
	return (__u8)(c - '1') <= 2 ||
	       one_of(c, UPPER('R') | UPPER('S') | UPPER('K') | UPPER('Z') | UPPER('T') | UPPER('D') | UPPER('C') | UPPER('E') |
				 UPPER('I') | UPPER('N') | UPPER('A') | UPPER('G') | UPPER('H') | UPPER('W') | UPPER('V'),
		      LOWER_BIT('n') | LOWER_BIT('t') | LOWER_BIT('s') | LOWER_BIT('c') | LOWER_BIT('d') | LOWER_BIT('v'));
}

static __always_inline bool postgres_text(__u8 c)
{
	return (c >= ' ' && c != 127) || c == '\n' || c == '\t' || c == '\r';
}

/* A client's first message: one of the beginning, or, in the middle, a Query, or a Parse, Bind, Execute, Close or Describe. */
static __always_inline enum verdict postgres_recognise(__u64 w0, __u64 w1, __u32 n)
{
	__u8 c = w0, first = w0 >> 40, second = w0 >> 48, third = w0 >> 56;
	__u32 length = big_endian(w0 >> 8);

	if (!c) {
		__u32 code = big_endian(w0 >> 32);

		length = big_endian(w0);
		if (n < 8)
			return n < 3 || !(w0 >> 8 & 255) ? MAYBE : NO;
		if (code == POSTGRES_TLS || code == POSTGRES_GSS)
			return length == 8 ? YES : NO;
		if (code >> 2 != POSTGRES_VERSION >> 2 || length < 9 || length > 10000)
			return NO;
		if (n < 9)
			return MAYBE;
		return (__u8)((w1 & 255) - 'a') < 26 || (w1 & 255) == '_' ? YES : NO;
	}
	if (c != 'Q' && c != 'P' && c != 'B' && c != 'E' && c != 'C' && c != 'D')
		return NO;
	if (n < 8)
		return n < 2 || !(w0 >> 8 & 255) ? MAYBE : NO;
	if (length < 5 || length >= 1 << 24)
		return NO;
	if (c == 'Q')
		return postgres_text(first) && (length < 6 || second == 0 || postgres_text(second)) ? YES : NO;
	if (c == 'C' || c == 'D')
		return (first == 'S' || first == 'P') && (second == 0 || postgres_text(second)) ? YES : NO;
	/* Names are text, and an unnamed statement's text or portal's name follows. */
	return (first == 0 || postgres_text(first)) && (second == 0 || postgres_text(second)) && (third == 0 || postgres_text(third)) ? YES :
																      NO;
}

static __always_inline bool postgres_answer_begins(__u64 w, __u32 n)
{
	return postgres_answers(w) && (n < 5 ? n < 2 || !(w >> 8 & 255) : big_endian(w >> 8) - 4 < 1 << 24);
}

/* Length of the message that begins with these bytes; 0: not known, or not to be read on. */
static __always_inline __u32 postgres_request(struct conn *conn, struct stream *stream, struct reading *r, __u32 *more, __u64 w, __u32 have)
{
	__u8 c = w;
	__u32 length = big_endian(w >> 8), code = big_endian(w >> 32);

	if (!c) {
		if (have < 8) {
			r->stop = STOP_SHORT;
			return 0;
		}
		length = big_endian(w);
		*more = code == POSTGRES_TLS || code == POSTGRES_GSS ? POSTGRES_ASKS : POSTGRES_GROUP;
		if (length < 8 || length > 10000 ||
		    (code != POSTGRES_TLS && code != POSTGRES_GSS && code != POSTGRES_CANCEL && code >> 2 != POSTGRES_VERSION >> 2))
			not_understood(r);
		return length;
	}
	if (have < 5) {
		r->stop = STOP_SHORT;
		return 0;
	}
	if (!postgres_asks(c) || length < 4 || length > POSTGRES_MOST || (c == 'S' && length != 4)) {
		not_understood(r);
		return 0;
	}
	if (c == 'Q' || c == 'S' || c == 'F') {
		stream->flags &= ~(STREAM_GAP | STREAM_MISSED);
		request_begins(conn, stream, r->now);
		*more = 0;
	} else if (c == 'c' || c == 'f') {
		*more = 0;
	} else {
		if (c == 'd')
			request_continues(conn, stream, r->now, SLOT_VALID | (conn->peer & SLOT_PEER), SLOT_OVERDUE);
		*more = POSTGRES_GROUP;
	}
	return length + 1;
}

static __always_inline void postgres_begins(struct conn *conn, struct stream *stream, struct reading *r, __u32 *more)
{
	__u64 latency = latency_now(conn, stream, r);

	if (*more & (POSTGRES_BEGUN | POSTGRES_COUNTED) || !awaited(conn, r))
		return;
	*more |= POSTGRES_BEGUN;
	if (latency == NO_LATENCY)
		*more |= POSTGRES_LONG;
	else if (latency >> POSTGRES_UNIT_SHIFT < 1U << (32 - POSTGRES_LATENCY_SHIFT))
		*more |= latency >> POSTGRES_UNIT_SHIFT << POSTGRES_LATENCY_SHIFT;
	else
		*more |= ~0U << POSTGRES_LATENCY_SHIFT;
}

static __always_inline __u32 postgres_answer(struct conn *conn, struct stream *stream, struct reading *r, __u32 *more, __u64 w, __u32 have)
{
	__u8 c = w;
	__u32 length = big_endian(w >> 8);

	/* One byte, whether to encrypt. (Nothing else is awaited then.) */
	if (unlikely(*more_of(conn, !r->egress) == POSTGRES_ASKS) && (c == 'S' || c == 'G' || c == 'N')) {
		if (c != 'N') {
			conn->protocol = PROTOCOL_OTHER;
			r->stop = STOP_SHORT;
		}
		return 1;
	}
	if (have < 5) {
		r->stop = STOP_SHORT;
		return 0;
	}
	if (!postgres_answers(c) || length < 4 || length > POSTGRES_MOST || (c == 'Z' && length != 5)) {
		not_understood(r);
		return 0;
	}
	if (c != 'N' && c != 'A' && c != 'S')
		postgres_begins(conn, stream, r, more);
	if (c == 'G' || c == 'W')
		*more |= POSTGRES_LONG;
	if (c == 'E' && length > 4 && !(*more & POSTGRES_COUNTED)) {
		stream->state = POSTGRES_FIELD;
		stream->left = length - 4;
		return 5;
	}
	if (c == 'W' || c == 'Z')
		r->found = c;
	return length + 1;
}

/* Fields of a letter and a text that ends with 0; the code's is C. Without one, the error is the server's. */
static __always_inline void postgres_field(struct stream *stream, struct reading *r, __u32 *more, __u64 w, __u32 have)
{
	__u64 ends = (w - 0x0101010101010101ULL) & ~w & MARKS;
	__u32 length = ends ? first_marked(ends) + 1 : 8;

	if (stream->state == POSTGRES_FIELD && (__u8)w == 'C') {
		if (have < 3) {
			r->stop = STOP_SHORT;
			return;
		}
		*more |= outcome_of_sqlstate(w >> 8, w >> 16) == STATUS_FAILED ? POSTGRES_ERROR : POSTGRES_CLIENT_ERROR;
		r->found = 'E';
		stream->state = STREAM_BODY;
		return;
	}
	stream->state = length > have || !ends ? POSTGRES_IN_FIELD : POSTGRES_FIELD;
	if (length > have)
		length = have;
	if (length >= stream->left) {
		length = stream->left;
		*more |= POSTGRES_ERROR;
		r->found = 'E';
		stream->state = STREAM_BODY;
	}
	stream->left -= length;
	r->at += length;
}

/* ReadyForQuery, CopyBothResponse, or an error, which ends what is awaited already. */
static __always_inline void postgres_found(struct conn *conn, struct reading *r, __u32 *more)
{
	if (!(*more & POSTGRES_COUNTED) && awaited(conn, r)) {
		answer(conn, r,
		       *more & POSTGRES_ERROR	     ? STATUS_FAILED :
		       *more & POSTGRES_CLIENT_ERROR ? STATUS_CLIENT_ERROR :
						       STATUS_OK,
		       *more & POSTGRES_LONG ? NO_LATENCY : (__u64)(*more >> POSTGRES_LATENCY_SHIFT) << POSTGRES_UNIT_SHIFT);
		*more = POSTGRES_COUNTED;
	}
	if (r->found == 'Z')
		*more = 0;
}

static __always_inline void postgres_step(struct conn *conn, struct stream *stream, struct reading *r, const struct scratch *scratch)
{
	__u32 *more = more_of(conn, r->egress), have = r->end - r->at, length;
	__u64 w = word(scratch, r->at);

	r->found = 0;
	if (stream->state != STREAM_START) {
		postgres_field(stream, r, more, w, have);
	} else {
		length = r->request ? postgres_request(conn, stream, r, more, w, have) : postgres_answer(conn, stream, r, more, w, have);
		if (stream->state == STREAM_START) {
			stream->left = length;
			stream->state = STREAM_BODY;
		} else {
			r->at += length;
		}
	}
	forget();
	if (r->stop)
		return;
	if (r->found)
		postgres_found(conn, r, more);
	forget();
	if (stream->state == STREAM_BODY)
		r->at += pass(conn, stream, r, r->end - r->at);
}

#endif
