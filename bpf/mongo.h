/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* MongoDB, in frames: length, id, id that is answered, opcode (4 bytes each, little-endian), body: OP_MSG since 3.6, OP_QUERY and OP_REPLY
 * for a driver's first words, OP_COMPRESSED around either.
 *
 * One request is one frame of the client's that is answered; answers come in order. A frame that asks for no answer (OP_MSG's
 * moreToCome, OP_INSERT, OP_UPDATE, OP_DELETE, OP_KILL_CURSORS) is good at once, without latency. Bad is no answer, a document that
 * begins with `ok: 0`, one with `writeErrors` among its small first fields, and OP_REPLY's QueryFailure; the error's code tells whose
 * it is (mongo_outcome). What a compressed answer says is unknown. Further frames of an exhaust cursor's, or of an exhaust hello's
 * answer are none. Long by intent: getMore, which may wait for data, and a hello that waits for a change (exhaustAllowed).
 * tshark: mongo.opcode / mongo.element of the reply. */
#ifndef APPSTATUS_MONGO_H
#define APPSTATUS_MONGO_H

#include "run.h"

/* stream.state of answers; stream.left: what is left of the frame, and above it of a value that is passed by */
#define MONGO_FIELD (STREAM_START + 1)
#define MONGO_LEFT_BITS 28
#define MONGO_LEFT ((1ULL << MONGO_LEFT_BITS) - 1)
#define MONGO_MOST_PASSED 4096
/* conn.more of answers: */
#define MONGO_ERROR 1 /* ok is 0: its code is looked for */
#define MONGO_LATE 2 /* no latency */
#define MONGO_LATENCY_SHIFT 2
#define MONGO_UNIT_SHIFT 10 /* of ns */
/* and of what carries requests */
#define MONGO_GOES_ON 1

#define MONGO_HEADER 16
#define MONGO_DOCUMENT (MONGO_HEADER + 4 + 1) /* flags, kind of section */
#define MONGO_MOST (1U << 26)

enum mongo_opcode {
	MONGO_REPLY = 1,
	MONGO_UPDATE = 2001,
	MONGO_INSERT,
	MONGO_QUERY = 2004,
	MONGO_GET_MORE,
	MONGO_DELETE,
	MONGO_KILL_CURSORS,
	MONGO_COMPRESSED = 2012,
	MONGO_MSG,
};
#define MONGO_MORE_TO_COME 2
#define MONGO_EXHAUST_ALLOWED (1U << 16)
#define MONGO_QUERY_FAILURE 2

/* What a step may find (reading.found). */
#define MONGO_FOUND_REQUEST 1
#define MONGO_FOUND_UNANSWERED 2
#define MONGO_FOUND_BEGIN 3 /* of an answer */
#define MONGO_FOUND_END 4 /* its outcome is reading.kind */

static __always_inline bool mongo_asks(__u32 opcode)
{
	return opcode == MONGO_MSG || opcode == MONGO_QUERY || opcode == MONGO_COMPRESSED ||
	       (opcode >= MONGO_UPDATE && opcode <= MONGO_KILL_CURSORS && opcode != MONGO_INSERT + 1);
}

/* A whole header of a client's. */
static __always_inline enum verdict mongo_recognise(__u64 w0, __u64 w1, __u32 n)
{
	__u32 length = w0;

	if (n > 3 && (length < MONGO_HEADER + 5 || length >= MONGO_MOST))
		return NO;
	if (n > 8 && (__u32)w1)
		return NO;
	if (n > 13 && (__u8)(w1 >> 40) != MONGO_MSG >> 8)
		return NO;
	if (n < MONGO_HEADER)
		return n < 4 && (w0 >> 24) ? NO : MAYBE;
	return mongo_asks(w1 >> 32) ? YES : NO;
}

static __always_inline bool mongo_answer_begins(__u64 w, __u32 n)
{
	return n > 3 && (__u32)w >= MONGO_HEADER + 5 && (__u32)w < MONGO_MOST;
}

/* Of errors that the client made: 2 BadValue, 9 FailedToParse, 11 UserNotFound, 13 Unauthorized, 14 TypeMismatch, 16 InvalidLength, 18
 * AuthenticationFailed, 20 IllegalOperation, 26 to 28 (no such namespace, index, path), 40 (conflicting update operators), 43
 * CursorNotFound, 48 NamespaceExists, 52 to 57 (field names), 59 CommandNotFound, 66 ImmutableField, 67 CannotCreateIndex, 72
 * InvalidOptions, 85 and 86 (an index exists), 112 WriteConflict is the server's, 121 DocumentValidationFailure, 11000 DuplicateKey, and
 * what is above 15900: the parts of an aggregation, by number. */
static __always_inline enum outcome mongo_outcome(__u32 code)
{
	const __u64 low = 1ULL << 2 | 1ULL << 9 | 1ULL << 11 | 1ULL << 13 | 1ULL << 14 | 1ULL << 16 | 1ULL << 18 | 1ULL << 20 | 7ULL << 26 |
			  1ULL << 40 | 1ULL << 43 | 1ULL << 48 | 0x3fULL << 52 | 1ULL << 59;

	if (code < 64)
		return low >> code & 1 ? STATUS_CLIENT_ERROR : STATUS_FAILED;
	return code == 66 || code == 67 || code == 72 || code == 85 || code == 86 || code == 121 || code == 11000 || code > 15900 ?
		       STATUS_CLIENT_ERROR :
		       STATUS_FAILED;
}

/* A client's header, flags and, of OP_MSG, the name of the command. */
static __always_inline void mongo_request(struct reading *r, const struct scratch *scratch)
{
	__u64 w1 = word(scratch, r->at + 8), w2 = word(scratch, r->at + MONGO_HEADER), name = word(scratch, r->at + MONGO_DOCUMENT + 5);
	__u32 have = r->end - r->at, length = word(scratch, r->at), opcode = w1 >> 32, flags = w2;
	__u32 needed = length < MONGO_DOCUMENT + 13 ? length : MONGO_DOCUMENT + 13;

	r->value = 0;
	r->found = MONGO_FOUND_REQUEST;
	if (have < MONGO_HEADER || (opcode == MONGO_MSG && have < needed)) {
		r->stop = STOP_SHORT;
	} else if (length < MONGO_HEADER + 5 || length >= MONGO_MOST || !mongo_asks(opcode)) {
		not_understood(r);
	} else if (opcode == MONGO_MSG) {
		if (flags & MONGO_MORE_TO_COME)
			r->found = MONGO_FOUND_UNANSWERED;
		if (flags & MONGO_EXHAUST_ALLOWED || name == TEXT('g', 'e', 't', 'M', 'o', 'r', 'e', 0))
			r->value = SLOT_LONG;
	} else if (opcode == MONGO_GET_MORE) {
		r->value = SLOT_LONG;
	} else if (opcode != MONGO_QUERY && opcode != MONGO_COMPRESSED) {
		r->found = MONGO_FOUND_UNANSWERED;
	}
}

/* A server's header, up to its first document. */
static __always_inline void mongo_answer(struct conn *conn, struct stream *stream, struct reading *r, const struct scratch *scratch)
{
	__u32 have = r->end - r->at, length = word(scratch, r->at), opcode = word(scratch, r->at + 12);
	__u32 flags = word(scratch, r->at + MONGO_HEADER);

	if (have < MONGO_HEADER + 4 || (opcode == MONGO_MSG && have < MONGO_DOCUMENT + 4)) {
		r->stop = STOP_SHORT;
		return;
	}
	if (length < MONGO_HEADER + 5 || length >= MONGO_MOST || (opcode != MONGO_MSG && opcode != MONGO_REPLY && opcode != MONGO_COMPRESSED)) {
		not_understood(r);
		return;
	}
	stream->left = length;
	stream->state = STREAM_BODY;
	if (!awaited(conn, r)) /* one more of an exhaust cursor's */
		return;
	r->line = 1;
	r->found = MONGO_FOUND_END;
	r->kind = STATUS_OK;
	if (opcode == MONGO_COMPRESSED)
		r->kind = STATUS_UNKNOWN;
	else if (opcode == MONGO_REPLY && flags & MONGO_QUERY_FAILURE)
		r->kind = STATUS_FAILED;
	else if (opcode == MONGO_MSG && !(__u8)word(scratch, r->at + MONGO_HEADER + 4)) {
		r->found = 0;
		stream->left = length - (MONGO_DOCUMENT + 4);
		stream->state = MONGO_FIELD;
		r->at += MONGO_DOCUMENT + 4;
	}
}

/* Bytes of a value of this type, whose first four are `w`; MONGO_MOST_PASSED: not to be passed by. */
static __always_inline __u32 mongo_size(__u8 type, __u32 w)
{
	if (type == 0x01 || type == 0x09 || type == 0x11 || type == 0x12)
		return 8;
	if (type == 0x10)
		return 4;
	if (type == 0x02 || type == 0x0d || type == 0x0e)
		return w < MONGO_MOST_PASSED ? w + 4 : MONGO_MOST_PASSED;
	if (type == 0x03 || type == 0x04)
		return w < MONGO_MOST_PASSED ? w : MONGO_MOST_PASSED;
	if (type == 0x05)
		return w < MONGO_MOST_PASSED ? w + 5 : MONGO_MOST_PASSED;
	return type == 0x08 ? 1 : type == 0x07 ? 12 : type == 0x13 ? 16 : type == 0x06 || type == 0x0a ? 0 : MONGO_MOST_PASSED;
}

/* A field of the answer's document: type, name, value. Decided by `ok`, by `writeErrors`, or where fields become large. */
static __always_inline void mongo_field(struct stream *stream, struct reading *r, __u32 *more, const struct scratch *scratch)
{
	__u64 w = word(scratch, r->at), name = w >> 8 | word(scratch, r->at + 8) << 56, ends = (name - 0x0101010101010101ULL) & ~name & MARKS;
	__u32 have = r->end - r->at, left = stream->left & MONGO_LEFT, passed = stream->left >> MONGO_LEFT_BITS, size, value;
	__u64 next = word(scratch, r->at + 9);
	__u8 type = w;

	if (passed) {
		if (passed > have)
			passed = have;
		r->at += passed;
		stream->left -= passed | (__u64)passed << MONGO_LEFT_BITS;
		return;
	}
	if (have < (left < 48 ? left : 48)) {
		r->stop = STOP_SHORT;
		return;
	}
	r->found = MONGO_FOUND_END;
	r->kind = *more & MONGO_ERROR ? STATUS_FAILED : STATUS_OK;
	if (!type)
		return;
	if (name == TEXT('w', 'r', 'i', 't', 'e', 'E', 'r', 'r') && type == 0x04) {
		/* writeErrors: [{index: 0, code: N, ...}, ...] */
		r->kind = (word(scratch, r->at + 36) & FIRST(4)) == TEXT('c', 'o', 'd', 'e', 0, 0, 0, 0) ?
				  mongo_outcome(word(scratch, r->at + 41)) :
				  STATUS_CLIENT_ERROR;
		return;
	}
	/* Names end within eight bytes, or within sixteen. */
	value = 2 + (ends ? first_marked(ends) : 8);
	if (!ends) {
		ends = (next - 0x0101010101010101ULL) & ~next & MARKS;
		if (!ends)
			return;
		value += first_marked(ends);
	}
	next = word(scratch, r->at + value);
	if ((name & FIRST(3)) == TEXT('o', 'k', 0, 0, 0, 0, 0, 0)) {
		size = type == 0x01 || type == 0x12 ? 8 : type == 0x10 ? 4 : 1;
		if (size < 8)
			next &= (1ULL << (8 * size)) - 1;
		if (next)
			return;
		*more |= MONGO_ERROR;
	} else if (*more & MONGO_ERROR && (name & FIRST(5)) == TEXT('c', 'o', 'd', 'e', 0, 0, 0, 0)) {
		r->kind = mongo_outcome(next);
		return;
	} else {
		size = mongo_size(type, next);
	}
	if (size >= MONGO_MOST_PASSED || value + size > left)
		return;
	r->found = 0;
	r->at += value;
	stream->left = left - value + ((__u64)size << MONGO_LEFT_BITS);
}

static __always_inline void mongo_begins(struct conn *conn, struct stream *stream, struct reading *r, __u32 *more)
{
	__u64 latency = latency_at(conn, stream, r, r->first);

	if (latency == NO_LATENCY)
		*more = MONGO_LATE;
	else if (latency >> MONGO_UNIT_SHIFT >> (32 - MONGO_LATENCY_SHIFT))
		*more = ~0U << MONGO_LATENCY_SHIFT;
	else
		*more = latency >> MONGO_UNIT_SHIFT << MONGO_LATENCY_SHIFT;
}

static __always_inline void mongo_asked(struct conn *conn, struct stream *stream, struct reading *r, __u32 *more)
{
	stream->flags &= ~(STREAM_GAP | STREAM_MISSED);
	*more = r->value || r->found == MONGO_FOUND_UNANSWERED ? MONGO_GOES_ON : 0; /* never complete, so never overdue */
	if (r->found == MONGO_FOUND_UNANSWERED) {
		r->ok++;
		return;
	}
	request_begins(conn, stream, r->now);
	if (r->value)
		request_continues(conn, stream, r->now, SLOT_VALID | r->value | (conn->peer & SLOT_PEER), 0);
}

static __always_inline void mongo_step(struct conn *conn, struct stream *stream, struct reading *r, const struct scratch *scratch)
{
	__u32 *more = more_of(conn, r->egress);

	r->found = 0;
	r->first = came(r);
	r->line = 0;
	if (r->request)
		mongo_request(r, scratch);
	else if (stream->state == MONGO_FIELD)
		mongo_field(stream, r, more, scratch);
	else
		mongo_answer(conn, stream, r, scratch);
	forget();
	if (r->stop)
		return;
	if (r->line)
		mongo_begins(conn, stream, r, more);
	forget();
	if (r->request) {
		mongo_asked(conn, stream, r, more);
		stream->left = (__u32)word(scratch, r->at);
		stream->state = STREAM_BODY;
	} else if (r->found) {
		stream->left &= MONGO_LEFT;
		stream->state = STREAM_BODY;
		r->value = *more & MONGO_LATE ? NO_LATENCY : (__u64)(*more >> MONGO_LATENCY_SHIFT) << MONGO_UNIT_SHIFT;
		*more = 0;
		forget();
		if (awaited(conn, r))
			answer(conn, r, r->kind, r->value);
	}
	forget();
	if (stream->state == STREAM_BODY)
		r->at += pass(conn, stream, r, r->end - r->at);
}

#endif
