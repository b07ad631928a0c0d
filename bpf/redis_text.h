/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What Redis' protocol looks like: first bytes, kinds of values, commands that matter. */
#ifndef APPSTATUS_REDIS_TEXT_H
#define APPSTATUS_REDIS_TEXT_H

#include "run.h"

enum redis_state {
	REDIS_START = STREAM_START, /* at a value's first byte */
	REDIS_LINE, /* in a line that nobody reads */
	REDIS_BULK, /* these: in a number, which stream.left collects */
	REDIS_MANY,
	REDIS_PAIRS,
	REDIS_ATTRIBUTES,
	REDIS_NAME, /* stream.left: length of a command's name, which follows */
};

static __always_inline __u32 redis_kind(__u8 c)
{
	switch (c) {
	case '$':
	case '!':
	case '=':
		return REDIS_BULK;
	case '*':
	case '~':
	case '>':
		return REDIS_MANY;
	case '%':
		return REDIS_PAIRS;
	case '|':
		return REDIS_ATTRIBUTES;
	case '+':
	case '-':
	case ':':
	case ',':
	case '_':
	case '#':
	case '(':
		return REDIS_LINE;
	}
	return 0;
}

/* `*`, a number, line end, `$` */
static __always_inline enum verdict redis_recognise(__u64 w0, __u64 w1, __u32 n)
{
	__u64 rest = w0 >> 8 | w1 << 56;

	if ((w0 & 255) != '*')
		return NO;
#pragma unroll
	for (__u32 i = 1; i < 8; i++) {
		__u8 c = rest;

		if (i >= n)
			return MAYBE;
		rest >>= 8;
		if (digit(c))
			continue;
		if (c != '\r' || i < 2)
			return NO;
		if ((rest & 255) == '\n' && (rest >> 8 & 255) == '$')
			return i + 2 < n ? YES : MAYBE;
		return i + 1 >= n || ((rest & 255) == '\n' && i + 2 >= n) ? MAYBE : NO;
	}
	return NO;
}

static __always_inline bool redis_answer_begins(__u64 w, __u32 n)
{
	__u8 c = w, next = w >> 8;

	if (c == '*' || c == '$' || c == ':' || c == '%')
		return n < 2 || digit(next) || next == '-';
	return c == '+' || (c == '-' && (n < 2 || (__u8)(next - 'A') <= 25));
}

/* Errors of what a client asked for, or asked the wrong node, by the first letters behind `-`. Not so: LOADING, OOM, MISCONF, READONLY,
 * MASTERDOWN, NOREPLICAS, CLUSTERDOWN, TRYAGAIN, BUSY (a script that runs) and what nobody knows. */
static __always_inline bool redis_clients(__u64 w)
{
	__u64 four = w & FIRST(4);

	return four == TEXT('E', 'R', 'R', ' ', 0, 0, 0, 0) || four == TEXT('W', 'R', 'O', 'N', 0, 0, 0, 0) /* TYPE, PASS */ ||
	       four == TEXT('N', 'O', 'A', 'U', 0, 0, 0, 0) /* TH */ || four == TEXT('N', 'O', 'P', 'E', 0, 0, 0, 0) /* RM */ ||
	       four == TEXT('N', 'O', 'S', 'C', 0, 0, 0, 0) /* RIPT */ || four == TEXT('N', 'O', 'P', 'R', 0, 0, 0, 0) /* OTO */ ||
	       four == TEXT('E', 'X', 'E', 'C', 0, 0, 0, 0) /* ABORT */ || four == TEXT('M', 'O', 'V', 'E', 0, 0, 0, 0) /* D */ ||
	       four == TEXT('A', 'S', 'K', ' ', 0, 0, 0, 0) || four == TEXT('C', 'R', 'O', 'S', 0, 0, 0, 0) /* SSLOT */ ||
	       four == TEXT('N', 'O', 'T', 'B', 0, 0, 0, 0) /* USY */ || (w & FIRST(5)) == TEXT('B', 'U', 'S', 'Y', 'K', 0, 0, 0) /* EY */ ||
	       (w & FIRST(5)) == TEXT('B', 'U', 'S', 'Y', 'G', 0, 0, 0) /* ROUP */;
}

static __always_inline bool redis_waits_long(__u64 name)
{
	__u64 three = name & FIRST(3);

	return three == TEXT('b', 'l', 'p', 0, 0, 0, 0, 0) || three == TEXT('b', 'r', 'p', 0, 0, 0, 0, 0) ||
	       three == TEXT('b', 'z', 'p', 0, 0, 0, 0, 0) || three == TEXT('b', 'z', 'm', 0, 0, 0, 0, 0) ||
	       three == TEXT('b', 'l', 'm', 0, 0, 0, 0, 0) || (name & FIRST(4)) == TEXT('w', 'a', 'i', 't', 0, 0, 0, 0) ||
	       (name & FIRST(5)) == TEXT('x', 'r', 'e', 'a', 'd', 0, 0, 0);
}

static __always_inline bool redis_subscribes(__u64 name)
{
	return name == TEXT('s', 'u', 'b', 's', 'c', 'r', 'i', 'b') || name == TEXT('p', 's', 'u', 'b', 's', 'c', 'r', 'i') ||
	       name == TEXT('s', 's', 'u', 'b', 's', 'c', 'r', 'i') || (name & FIRST(7)) == TEXT('m', 'o', 'n', 'i', 't', 'o', 'r', 0);
}

#endif
