/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Redis (RESP2, RESP3), in values: a line, and behind a bulk string's line its bytes. Nested ones need no stack: an array of n adds
 * n to the values that are still to come.
 *
 * One request is one command: an array of bulk strings, or an inline line. It ends with the next answer: any value at top level but
 * a push (`>`). Bad is an error (`-`, whose first word tells whose it
 * is: redis_clients(); `!`), and no answer. Long by intent, so outside the latency and never overdue: B*POP,
 * BLMOVE, BLMPOP, BZMPOP, BRPOPLPUSH, WAIT, XREAD and XREADGROUP (with or without BLOCK); SUBSCRIBE and MONITOR, after which what
 * comes unasked is no answer. Not read any more: after SYNC and PSYNC, a replica's stream. Not followed: CLIENT REPLY OFF.
 * tshark: resp, client to server, values at top level / resp.error. */
#ifndef APPSTATUS_REDIS_H
#define APPSTATUS_REDIS_H

#include "redis_text.h"

/* conn.more: values still to come, and */
#define REDIS_VALUES 0xffffff
#define REDIS_COMMAND (1U << 24) /* the next bulk string is a command's name */
#define REDIS_LONG (1U << 25)
#define REDIS_PUSHES (1U << 26) /* subscribed, or a monitor */
#define REDIS_NONE ((1ULL << 48) - 1) /* a length of -1 */
#define REDIS_MOST (1ULL << 30)

/* r->value: its name's first eight bytes, zero filled, in lower case. */
static __always_inline void redis_command(struct conn *conn, struct stream *stream, struct reading *r, __u32 *more)
{
	__u64 name = r->value;
	__u32 flags = 0;

	if ((name & FIRST(5)) == TEXT('p', 's', 'y', 'n', 'c', 0, 0, 0) || name == TEXT('s', 'y', 'n', 'c', 0, 0, 0, 0)) {
		conn->protocol = PROTOCOL_OTHER;
		r->stop = STOP_SHORT;
		return;
	}
	stream->flags &= ~(STREAM_GAP | STREAM_MISSED);
	request_begins(conn, stream, r->now);
	if (redis_subscribes(name))
		flags = REDIS_LONG | REDIS_PUSHES;
	else if (redis_waits_long(name))
		flags = REDIS_LONG;
	*more = (*more & ~(REDIS_COMMAND | REDIS_LONG)) | flags;
	if (flags)
		request_continues(conn, stream, r->now, SLOT_VALID | SLOT_LONG | (conn->peer & SLOT_PEER), 0);
}

/* What a step may find (reading.found). */
#define REDIS_FOUND_NUMBER 1 /* the end of a line with the number `value`, of a value of `kind` */
#define REDIS_FOUND_COMMAND 2 /* that begins with `value` */
#define REDIS_FOUND_ANSWER 4 /* a value at top level */

/* A line with a number has ended. */
static __always_inline void redis_number(struct conn *conn, struct stream *stream, struct reading *r, __u32 *more)
{
	bool none = r->value == REDIS_NONE;
	__u32 values, number;

	stream->state = REDIS_START;
	stream->left = 0;
	number = none ? 0 : r->value;
	if (!none && r->value > (r->kind == REDIS_BULK ? REDIS_MOST : REDIS_VALUES / 4)) {
		not_understood(r);
		return;
	}
	if (r->kind == REDIS_BULK) {
		*more -= 1;
		if (*more & REDIS_COMMAND) {
			stream->state = REDIS_NAME;
			stream->left = number;
			if (!number || number > 32)
				not_understood(r);
		} else if (!none) {
			stream->state = STREAM_BODY;
			stream->left = number + 2;
		}
		return;
	}
	values = (*more & REDIS_VALUES) + (r->kind == REDIS_MANY ? number : 2 * number) - (r->kind != REDIS_ATTRIBUTES);
	if (values > REDIS_VALUES)
		not_understood(r);
	*more = (*more & ~REDIS_VALUES) | (values & REDIS_VALUES) | (r->request && values ? REDIS_COMMAND : 0);
}

static __always_inline void redis_answer(struct conn *conn, struct stream *stream, struct reading *r, __u64 error)
{
	r->kind = STATUS_OK;
	if (r->value == '!' || r->value == '-')
		r->kind = r->value == '-' && redis_clients(error) ? STATUS_CLIENT_ERROR : STATUS_FAILED;
	forget();
	if (awaited(conn, r))
		answer(conn, r, r->kind, latency_now(conn, stream, r));
	else if (!(*more_of(conn, !r->egress) & REDIS_PUSHES))
		not_parsed(conn, UNPARSED_UNASKED);
}

/* At a value's first byte. */
static __always_inline void redis_value(struct conn *conn, struct stream *stream, struct reading *r, __u32 *more, __u64 w)
{
	__u32 values = *more & REDIS_VALUES, have = r->end - r->at;
	__u64 ends = lf_marks(w) & MARKS;
	__u8 c = w;

	if (r->request && r->kind != (values ? REDIS_BULK : REDIS_MANY)) {
		stream->state = REDIS_LINE; /* an empty line, or an inline command */
		if (c == '\r' || c == '\n')
			return;
		r->value = 0;
		r->found = REDIS_FOUND_COMMAND;
		*more += 1;
		if (values || stream->flags & STREAM_GAP || (__u8)((c | 32) - 'a') > 25)
			not_understood(r);
		return;
	}
	if (!r->kind)
		not_understood(r);
	if (!values && c == '-' && have < 8 && (!ends || first_marked(ends) >= have)) {
		r->stop = STOP_SHORT; /* before its first word has come */
		return;
	}
	if (!values) {
		*more += 1;
		if (!r->request && c != '>')
			r->found = REDIS_FOUND_ANSWER;
	}
	r->value = c;
	r->at++;
	stream->left = 0;
	stream->state = r->kind;
}

/* In a line with a number: all of it at once if it is short and at hand, else a byte. */
static __always_inline void redis_digits(struct stream *stream, struct reading *r, __u64 w)
{
	__u64 ends = lf_marks(w) & MARKS;
	__s64 number = short_number(w);
	__u8 c = w;

	r->kind = stream->state;
	if (number >= 0 && ends && !stream->left && r->end - r->at >= 8) {
		r->at += first_marked(ends) + 1;
		r->value = number;
		r->found = REDIS_FOUND_NUMBER;
		return;
	}
	r->at++;
	if (c == '\n') {
		r->value = stream->left;
		r->found = REDIS_FOUND_NUMBER;
	} else if (c == '-') {
		stream->left = REDIS_NONE;
	} else if (c != '\r' && !digit(c)) {
		not_understood(r);
	} else if (c != '\r' && stream->left <= REDIS_MOST) {
		stream->left = stream->left * 10 + (c - '0');
	}
}

/* A command's name, of which the length is known. */
static __always_inline void redis_name(struct stream *stream, struct reading *r, __u64 w)
{
	__u32 length = stream->left;

	if (r->end - r->at < length) {
		r->stop = STOP_SHORT;
		return;
	}
	w |= LOWER;
	if ((__u8)(w - 'a') > 25)
		not_understood(r);
	if (length < 8)
		w &= (1ULL << (8 * (length & 7))) - 1;
	r->value = w;
	r->found = REDIS_FOUND_COMMAND;
	stream->left = length + 2;
	stream->state = STREAM_BODY;
}

static __always_inline void redis_line(struct conn *conn, struct stream *stream, struct reading *r, __u32 *more, __u64 w)
{
	__u64 ends = lf_marks(w) & MARKS;
	__u32 at = r->at + (ends ? first_marked(ends) + 1 : 8);

	r->at = at > r->end ? r->end : at;
	if (!ends || at > r->end)
		return;
	stream->state = REDIS_START;
	if (*more & REDIS_VALUES)
		*more -= 1;
	if (r->request && !*more)
		request_complete(conn, stream, r->now);
}

static __always_inline void redis_step(struct conn *conn, struct stream *stream, struct reading *r, const struct scratch *scratch)
{
	__u32 *more = more_of(conn, r->egress);

	r->found = 0;
	if (stream->state == REDIS_START) {
		r->kind = redis_kind(word(scratch, r->at));
		forget();
		redis_value(conn, stream, r, more, word(scratch, r->at));
	} else if (stream->state == REDIS_NAME) {
		redis_name(stream, r, word(scratch, r->at));
	} else if (stream->state == REDIS_LINE) {
		redis_line(conn, stream, r, more, word(scratch, r->at));
	} else {
		redis_digits(stream, r, word(scratch, r->at));
	}
	forget();
	if (r->stop)
		return;
	if (r->found == REDIS_FOUND_NUMBER)
		redis_number(conn, stream, r, more);
	else if (r->found == REDIS_FOUND_COMMAND)
		redis_command(conn, stream, r, more);
	else if (r->found)
		redis_answer(conn, stream, r, word(scratch, r->at));
}

#endif
