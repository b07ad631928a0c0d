/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What HTTP/1.x looks like, eight bytes (zero filled) at a time. */
#ifndef APPSTATUS_HTTP_TEXT_H
#define APPSTATUS_HTTP_TEXT_H

#include "maps.h"

#define LOWER 0x2020202020202020ULL
#define TEXT(a, b, c, d, e, f, g, h)                                                                                   \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | (__u64)(f) << 40 |    \
	 (__u64)(g) << 48 | (__u64)(h) << 56)
#define FIRST(n) (~0ULL >> (64 - 8 * (n)))

/* Length of the known method (and its space) that the word begins with, or 0. */
static __always_inline __u32 method(__u64 w)
{
	switch (w & FIRST(4)) {
	case TEXT('G', 'E', 'T', ' ', 0, 0, 0, 0):
	case TEXT('P', 'U', 'T', ' ', 0, 0, 0, 0):
		return 4;
	case TEXT('P', 'O', 'S', 'T', 0, 0, 0, 0):
	case TEXT('H', 'E', 'A', 'D', 0, 0, 0, 0):
		return (w >> 32 & 255) == ' ' ? 5 : 0;
	}
	if ((w & FIRST(6)) == TEXT('P', 'A', 'T', 'C', 'H', ' ', 0, 0) || (w & FIRST(6)) == TEXT('T', 'R', 'A', 'C', 'E', ' ', 0, 0))
		return 6;
	if ((w & FIRST(7)) == TEXT('D', 'E', 'L', 'E', 'T', 'E', ' ', 0))
		return 7;
	if (w == TEXT('O', 'P', 'T', 'I', 'O', 'N', 'S', ' ') || w == TEXT('C', 'O', 'N', 'N', 'E', 'C', 'T', ' '))
		return 8;
	return 0;
}

/* A proxy's line about the real client, before the first request (PROXY protocol, version 1). */
#define PROXY_LINE TEXT('P', 'R', 'O', 'X', 'Y', ' ', 'T', 'C')

/* Does a segment's beginning (n bytes, zero filled) look like a request, or like the beginning of one? */
static __always_inline bool http_request_begins(__u64 w, __u32 n)
{
	static const __u64 methods[] = {
		TEXT('G', 'E', 'T', ' ', 0, 0, 0, 0),	      TEXT('P', 'O', 'S', 'T', ' ', 0, 0, 0),
		TEXT('H', 'E', 'A', 'D', ' ', 0, 0, 0),	      TEXT('P', 'U', 'T', ' ', 0, 0, 0, 0),
		TEXT('P', 'A', 'T', 'C', 'H', ' ', 0, 0),     TEXT('T', 'R', 'A', 'C', 'E', ' ', 0, 0),
		TEXT('D', 'E', 'L', 'E', 'T', 'E', ' ', 0),   TEXT('O', 'P', 'T', 'I', 'O', 'N', 'S', ' '),
		TEXT('C', 'O', 'N', 'N', 'E', 'C', 'T', ' '),
	};

	if (method(w) || w == PROXY_LINE)
		return true;
	if (n >= 8 || n == 0)
		return false;
#pragma unroll
	for (int i = 0; i < 9; i++)
		if (w == (methods[i] & (~0ULL >> (64 - 8 * n))))
			return true;
	return false;
}

/* On a connection's first bytes: a method that we do not know? Its line's end decides (request_line). */
static __always_inline bool http_token_begins(__u64 w, __u32 n)
{
#pragma unroll
	for (__u32 i = 0; i < 8; i++) {
		__u8 c = w >> (8 * i);

		if (i >= n || c == ' ')
			return i;
		if (c != '-' && (__u8)(c - 'A') > 25)
			return false;
	}
	return true;
}

static __always_inline bool http_response_begins(__u64 w, __u32 n)
{
	const __u64 version = TEXT('H', 'T', 'T', 'P', '/', '1', '.', 0);

	if (n >= 7)
		return (w & FIRST(7)) == version;
	return n && w == (version & (~0ULL >> (64 - 8 * n)));
}

static __always_inline bool digit(__u8 c)
{
	return c - '0' <= 9u;
}

#define MARKS 0x8080808080808080ULL

/* Within MARKS: the first line feed of eight bytes, and those behind it as they come. */
static __always_inline __u64 lf_marks(__u64 w)
{
	__u64 x = w ^ 0x0a0a0a0a0a0a0a0aULL;

	return (x - 0x0101010101010101ULL) & ~x;
}

/* Of marks in the bytes' top bits (not all 0): which byte has the first? */
static __always_inline __u32 first_marked(__u64 marks)
{
	return ((marks & -marks) >> 7) * 0x0001020304050607ULL >> 56;
}

/* The value of a number of 1 to 7 digits at the word's beginning, before a line's end; else -1. */
static __always_inline __s64 short_number(__u64 w)
{
	__u64 x = w ^ TEXT('0', '0', '0', '0', '0', '0', '0', '0'); /* a digit becomes its value */
	__u64 other = (x | ((x & 0x7f7f7f7f7f7f7f7fULL) + 0x7676767676767676ULL)) & 0x8080808080808080ULL;
	__u32 bits;
	__u8 after;

	if (!other)
		return -1;
	bits = first_marked(other) * 8; /* of the digits */
	after = w >> bits;
	if (!bits || (after != '\r' && after != '\n'))
		return -1;
	x <<= 64 - bits; /* zeros in front */
	x = (x * 10 + (x >> 8)) & 0x00ff00ff00ff00ffULL; /* pairs, then fours, then all eight */
	x = (x * 100 + (x >> 16)) & 0x0000ffff0000ffffULL;
	return (x * 10000 + (x >> 32)) & 0xffffffff;
}

#endif
