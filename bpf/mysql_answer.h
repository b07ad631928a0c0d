/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* MySQL's answers: where one begins, its results, and where it ends. */
#ifndef APPSTATUS_MYSQL_ANSWER_H
#define APPSTATUS_MYSQL_ANSWER_H

#include "mysql_text.h"
#include "sql.h"

/* The first frame of an answer. Later ones know then that it has begun, and how long it took. */
static __always_inline void mysql_begins(struct conn *conn, struct stream *stream, struct reading *r, __u32 *more)
{
	__u64 units = latency_now(conn, stream, r);

	if (units == NO_LATENCY) {
		*more = MYSQL_BEGUN | MYSQL_LONG;
		return;
	}
	units >>= MYSQL_UNIT_SHIFT;
	if (units >> (32 - MYSQL_ABOVE_SHIFT))
		units = (1 << (32 - MYSQL_ABOVE_SHIFT)) - 1;
	*more = MYSQL_BEGUN | (__u32)units << MYSQL_ABOVE_SHIFT;
}

/* A frame outside of an answer. */
static __always_inline void mysql_outside(struct conn *conn, struct reading *r, __u32 *more, __u64 w)
{
	__u32 length = w & MYSQL_FULL;
	__u8 number = w >> 24, c = w >> 32;

	if (*more & MYSQL_GREETED) {
		*more = 0;
	} else if (c == MYSQL_EOF && length == 5 && number != 1) { /* behind definitions */
		return;
	} else if (*more & MYSQL_DEFINITIONS) {
		*more -= 1 << MYSQL_ABOVE_SHIFT;
		if (!(*more >> MYSQL_ABOVE_SHIFT))
			*more = 0;
	} else if (!awaited(conn, r)) {
		if (!number && c == MYSQL_GREETING && !conn->understood)
			*more = MYSQL_GREETED;
	} else if (number) {
		r->found = MYSQL_FOUND_BEGIN;
	} else if (c != MYSQL_ERR) { /* that: why the server leaves */
		not_understood(r);
	}
}

/* The first frame of a result that is no ERR. */
static __always_inline void mysql_first(struct reading *r, __u32 *more, __u32 length, __u8 c, __u64 kind)
{
	if (kind == MYSQL_DUMPS) {
		r->found = MYSQL_FOUND_OK;
	} else if (c == MYSQL_OK) {
		if (kind == MYSQL_FETCHES)
			*more |= MYSQL_RESULT | MYSQL_ROWS;
		else
			r->found = kind == MYSQL_PREPARES ? MYSQL_FOUND_OK : MYSQL_FOUND_OK_PACKET;
	} else if (c == MYSQL_EOF) {
		r->found = MYSQL_FOUND_OK;
		if (length != 5)
			not_understood(r);
	} else if (c == MYSQL_ASKS_FOR_FILE && length > 1) {
		*more |= MYSQL_FILE | MYSQL_LONG;
	} else if (length <= 4) { /* a number of columns */
		*more |= MYSQL_RESULT;
	} else if (c == MYSQL_COLUMN) { /* of COM_FIELD_LIST */
		*more |= MYSQL_RESULT | MYSQL_ROWS;
	} else { /* a text: COM_STATISTICS */
		r->found = MYSQL_FOUND_OK;
	}
}

/* A frame of columns and rows that is no ERR. No row begins with EOF's byte but in a full frame. */
static __always_inline void mysql_row(struct reading *r, __u32 *more, __u64 w, __u32 have)
{
	__u32 length = w & MYSQL_FULL;

	if ((__u8)(w >> 32) != MYSQL_EOF || length == MYSQL_FULL)
		return;
	if (length != 5) {
		r->found = MYSQL_FOUND_OK_PACKET;
		return;
	}
	r->value = w >> 56;
	if (have < 8)
		r->stop = STOP_SHORT;
	else if (!(*more & MYSQL_ROWS) && !(r->value & MYSQL_HAS_CURSOR))
		*more |= MYSQL_ROWS;
	else
		r->found = MYSQL_FOUND_STATUS;
}

static __always_inline void mysql_answer(struct conn *conn, struct reading *r, __u32 *more, __u64 w, __u32 have)
{
	__u32 length = w & MYSQL_FULL;

	if (have < 5 && (have < 4 || length))
		r->stop = STOP_SHORT;
	else if (*more & MYSQL_CONTINUES)
		*more &= ~(length == MYSQL_FULL ? 0 : MYSQL_CONTINUES);
	else if (!length)
		not_understood(r);
	else if (*more & MYSQL_BEGUN)
		r->found = MYSQL_FOUND_MORE;
	else
		mysql_outside(conn, r, more, w);
}

/* A frame of an answer that has begun. */
static __always_inline void mysql_inside(struct conn *conn, struct reading *r, __u32 *more, __u64 w, __u32 have)
{
	__u32 length = w & MYSQL_FULL;
	__u8 c = w >> 32;

	r->found = 0;
	*more &= ~MYSQL_FILE;
	if (c == MYSQL_ERR) {
		if (length > 2 && have < (length < 6 ? 7 : 10))
			r->stop = STOP_SHORT;
		else if (length > 2 && (w >> 40 & 0xffff) != MYSQL_PROGRESS)
			r->found = length >= 6 && w >> 56 == '#' ? MYSQL_FOUND_ERROR : MYSQL_FOUND_FAILED;
	} else if (*more & MYSQL_RESULT) {
		mysql_row(r, more, w, have);
	} else {
		mysql_first(r, more, length, c, r->kind);
	}
	if (length == MYSQL_FULL && !r->found)
		*more |= MYSQL_CONTINUES;
}

/* Behind two numbers: the server's status. */
static __always_inline void mysql_status(struct reading *r, const struct scratch *scratch, __u32 length)
{
	r->line = r->at + 5;
	r->line += mysql_number(word(scratch, r->line));
	forget();
	r->line += mysql_number(word(scratch, r->line));
	forget();
	r->found = MYSQL_FOUND_STATUS;
	r->value = word(scratch, r->line);
	if (r->line + 2 > r->at + length + 4)
		not_understood(r);
	else if (r->end < r->line + 2)
		r->stop = STOP_SHORT;
}

/* Of a statement that was prepared: how many columns and parameters are defined behind. */
static __always_inline void mysql_prepared(struct reading *r, const struct scratch *scratch, __u32 length)
{
	__u32 both = word(scratch, r->at + 9);

	r->value = (both & 0xffff) + (both >> 16);
	if (length < 12)
		not_understood(r);
	else if (r->end - r->at < 13)
		r->stop = STOP_SHORT;
}

#endif
