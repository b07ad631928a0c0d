/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Memcached: lines, of which some have a block of data behind, or (binary) frames of 24 bytes and a body.
 *
 * One request is one command's line: get, gets, gat, gats (of however many keys), set, add, replace, append, prepend, cas, delete, incr,
 * decr, touch, the meta commands mg, ms, md, ma, mn, me, and the others that are answered; it begins with the line's end, since only
 * that tells `noreply`: then it is good at once, without latency. It ends with END, or with the line that is no VALUE, STAT or ITEM
 * (HD, VA, EN … of meta commands). Bad is SERVER_ERROR, and no answer; ERROR, CLIENT_ERROR and ME… are the client's; a miss is good.
 * Not followed: a meta command that wants silence (flag q), which may be answered or not; an answer of more than some 60 values in
 * one segment (ends as unknown). Quit and shutdown are no requests.
 * (An inline command of Redis' that begins a connection and looks like one of these is taken for it.)
 * Binary: one frame of an opcode that is always answered (not the quiet ones); bad by its status: out of memory, not supported,
 * internal, busy, temporary; the client's: too large, invalid, not numeric, authentication, unknown command.
 * tshark: memcache.command / memcache.response, memcache.opcode, memcache.status. */
#ifndef APPSTATUS_MEMCACHED_H
#define APPSTATUS_MEMCACHED_H

#include "run.h"

/* stream.state, in a line; stream.left: bytes of data behind it, as far as it has told */
#define MEMCACHED_WORD_BEGINS (STREAM_START + 1)
#define MEMCACHED_IN_WORD (STREAM_START + 2)
#define MEMCACHED_DIGITS (STREAM_START + 3) /* of the number of bytes */
/* conn.more of what carries requests, and while a line of an answer is read: which word comes, which one is the number of bytes */
#define MEMCACHED_WORD 15
#define MEMCACHED_NUMBER_SHIFT 4
#define MEMCACHED_DATA (1 << 8) /* a block follows */
#define MEMCACHED_QUIET (1 << 9)
#define MEMCACHED_META (1 << 10)
#define MEMCACHED_SILENT (1 << 11) /* no request at all */
#define MEMCACHED_GOES_ON (1 << 12)
#define MEMCACHED_RETRIEVES (1 << 13) /* keys may be any words */
#define MEMCACHED_NO_KEY (1 << 14)
/* of answers, above them: its latency, in 64 us */
#define MEMCACHED_BEGUN (1 << 12)
#define MEMCACHED_LATENCY_SHIFT 13
#define MEMCACHED_NO_LATENCY ((1U << (32 - MEMCACHED_LATENCY_SHIFT)) - 1)
#define MEMCACHED_UNIT_SHIFT 16 /* of ns */

#define MEMCACHED_ASKS 0x80 /* binary */
#define MEMCACHED_ANSWERS 0x81
#define MEMCACHED_HEADER 24
#define MEMCACHED_MOST (1U << 30)

/* What a step may find (reading.found). */
#define MEMCACHED_FOUND_LINE 1 /* the end of a client's line, or of VALUE's */
#define MEMCACHED_FOUND_END 2 /* of an answer, with outcome `kind` */
#define MEMCACHED_FOUND_FRAME 3 /* a client's, of `value` bytes */
#define MEMCACHED_FOUND_QUIET 4

/* Where the number of bytes is in a client's line; 0: it has no data. 15: no command. */
static __always_inline __u32 memcached_number(__u64 w)
{
	__u64 three = w & FIRST(3), four = w & FIRST(4), five = w & FIRST(5), six = w & FIRST(6), seven = w & FIRST(7);

	if (four == TEXT('s', 'e', 't', ' ', 0, 0, 0, 0) || four == TEXT('a', 'd', 'd', ' ', 0, 0, 0, 0) ||
	    four == TEXT('c', 'a', 's', ' ', 0, 0, 0, 0) || w == TEXT('r', 'e', 'p', 'l', 'a', 'c', 'e', ' ') ||
	    seven == TEXT('a', 'p', 'p', 'e', 'n', 'd', ' ', 0) || w == TEXT('p', 'r', 'e', 'p', 'e', 'n', 'd', ' '))
		return 4;
	if (three == TEXT('m', 's', ' ', 0, 0, 0, 0, 0))
		return 2;
	if (four == TEXT('g', 'e', 't', ' ', 0, 0, 0, 0) || five == TEXT('g', 'e', 't', 's', ' ', 0, 0, 0) ||
	    four == TEXT('g', 'a', 't', ' ', 0, 0, 0, 0) || five == TEXT('g', 'a', 't', 's', ' ', 0, 0, 0) ||
	    seven == TEXT('d', 'e', 'l', 'e', 't', 'e', ' ', 0) || five == TEXT('i', 'n', 'c', 'r', ' ', 0, 0, 0) ||
	    five == TEXT('d', 'e', 'c', 'r', ' ', 0, 0, 0) || six == TEXT('t', 'o', 'u', 'c', 'h', ' ', 0, 0) ||
	    five == TEXT('s', 't', 'a', 't', 's', 0, 0, 0) || seven == TEXT('v', 'e', 'r', 's', 'i', 'o', 'n', 0) ||
	    w == TEXT('f', 'l', 'u', 's', 'h', '_', 'a', 'l') || w == TEXT('v', 'e', 'r', 'b', 'o', 's', 'i', 't') ||
	    four == TEXT('q', 'u', 'i', 't', 0, 0, 0, 0) || w == TEXT('s', 'h', 'u', 't', 'd', 'o', 'w', 'n') ||
	    six == TEXT('s', 'l', 'a', 'b', 's', ' ', 0, 0) || four == TEXT('l', 'r', 'u', ' ', 0, 0, 0, 0) ||
	    four == TEXT('m', 'n', '\r', '\n', 0, 0, 0, 0))
		return 0;
	three &= ~(255ULL << 8);
	return three == TEXT('m', 0, ' ', 0, 0, 0, 0, 0) &&
			       ((__u8)(w >> 8) == 'g' || (__u8)(w >> 8) == 'd' || (__u8)(w >> 8) == 'a' || (__u8)(w >> 8) == 'e') ?
		       0 :
		       15;
}

static __always_inline bool memcached_quiet(__u8 opcode)
{
	return opcode == 0x09 || opcode == 0x0d || (opcode >= 0x11 && opcode <= 0x1a) || opcode == 0x1e || opcode == 0x24 ||
	       (opcode >= 0x30 && opcode <= 0x3c && !(opcode & 1) && opcode != 0x30);
}

static __always_inline enum verdict memcached_recognise(__u64 w0, __u64 w1, __u32 n)
{
	__u8 first = w0;

	if (first == MEMCACHED_ASKS) {
		__u32 keys = bpf_ntohs(w0 >> 16 & 0xffff), extras = w0 >> 32 & 255;

		if ((__u8)(w0 >> 8) > 0x50 || (__u8)(w0 >> 40) || extras > 20)
			return NO;
		if (n < 12)
			return MAYBE;
		return big_endian(w1) < MEMCACHED_MOST && big_endian(w1) >= keys + extras && keys <= 250 ? YES : NO;
	}
	if ((__u8)(first - 'a') > 25)
		return NO;
	if (n >= 8 || memcached_number(w0) != 15)
		return memcached_number(w0) == 15 ? NO : YES;
	/* Lower case letters so far, and one that a command begins with. */
	return first == 'g' || first == 's' || first == 'a' || first == 'r' || first == 'p' || first == 'c' || first == 'd' || first == 'i' ||
			       first == 't' || first == 'v' || first == 'f' || first == 'm' || first == 'l' ?
		       MAYBE :
		       NO;
}

static __always_inline bool memcached_answer_begins(__u64 w, __u32 n)
{
	return (w & FIRST(5)) == TEXT('S', 'T', 'O', 'R', 'E', 0, 0, 0) || (w & FIRST(6)) == TEXT('V', 'A', 'L', 'U', 'E', ' ', 0, 0) ||
	       (w & FIRST(5)) == TEXT('E', 'N', 'D', '\r', '\n', 0, 0, 0) || ((__u8)w == MEMCACHED_ANSWERS && !(w >> 40 & 255));
}

/* Behind a word: the next one, or the line's end. */
static __always_inline void memcached_delimiter(struct stream *stream, struct reading *r, __u32 *more, __u8 c)
{
	stream->state = MEMCACHED_WORD_BEGINS;
	if ((*more & MEMCACHED_WORD) < MEMCACHED_WORD - 1)
		*more += 1;
	if (c == '\n')
		r->found = MEMCACHED_FOUND_LINE;
}

/* In a line whose first word is known. */
static __always_inline void memcached_line(struct stream *stream, struct reading *r, __u32 *more, __u64 w)
{
	__u64 spaces = w ^ 0x2020202020202020ULL, ends = (lf_marks(w) | ((spaces - 0x0101010101010101ULL) & ~spaces)) & MARKS;
	__u32 have = r->end - r->at, length = ends ? first_marked(ends) : 8, which = *more & MEMCACHED_WORD;
	__u8 c = w, next = w >> 8;

	if (stream->state == MEMCACHED_DIGITS) {
		r->at++;
		if (digit(c) && stream->left < MEMCACHED_MOST)
			stream->left = stream->left * 10 + (c - '0');
		else if (c == ' ' || c == '\n')
			memcached_delimiter(stream, r, more, c);
		else if (c != '\r')
			not_understood(r);
		return;
	}
	if (stream->state == MEMCACHED_WORD_BEGINS) {
		if (have < 8 && length >= have) {
			r->stop = STOP_SHORT;
			return;
		}
		if (which == (*more >> MEMCACHED_NUMBER_SHIFT & MEMCACHED_WORD)) {
			stream->state = MEMCACHED_DIGITS;
			stream->left = 0;
			return;
		}
		if ((w & FIRST(7)) == TEXT('n', 'o', 'r', 'e', 'p', 'l', 'y', 0) && ((w >> 56) == '\r' || (w >> 56) == '\n') &&
		    !(*more & MEMCACHED_RETRIEVES) && (which > 1 || *more & MEMCACHED_NO_KEY))
			*more |= MEMCACHED_QUIET;
		if (*more & MEMCACHED_META && which > 1 && c == 'q' && (next == ' ' || next == '\r'))
			*more |= MEMCACHED_SILENT;
	}
	stream->state = MEMCACHED_IN_WORD;
	forget();
	if (length >= have) {
		r->at = have < 8 ? r->end : r->at + 8;
		return;
	}
	r->at += length;
	if (!ends)
		return;
	r->at++;
	r->value = w >> (8 * (length & 7)) & 255;
	forget();
	memcached_delimiter(stream, r, more, r->value);
}

/* The first bytes of a client's message. */
static __always_inline void memcached_request(struct stream *stream, struct reading *r, __u32 *more, __u64 w, __u64 body)
{
	__u64 ends = lf_marks(w) & MARKS, four = w & FIRST(4);
	__u32 have = r->end - r->at, number;

	if ((__u8)w == MEMCACHED_ASKS) {
		r->value = (__u64)big_endian(body) + MEMCACHED_HEADER;
		r->found = memcached_quiet(w >> 8) ? MEMCACHED_FOUND_QUIET : MEMCACHED_FOUND_FRAME;
		if (have < 12)
			r->stop = STOP_SHORT;
		else if (r->value > MEMCACHED_MOST)
			not_understood(r);
		return;
	}
	if (have < 8 && (!ends || first_marked(ends) >= have)) {
		r->stop = STOP_SHORT;
		return;
	}
	number = r->kind;
	if (number == MEMCACHED_WORD)
		not_understood(r);
	*more = number << MEMCACHED_NUMBER_SHIFT | (number ? MEMCACHED_DATA : MEMCACHED_WORD << MEMCACHED_NUMBER_SHIFT);
	*more |= (__u8)w == 'm' ? MEMCACHED_META : (__u8)w == 'g' ? MEMCACHED_RETRIEVES : (__u8)w == 'f' ? MEMCACHED_NO_KEY : 0;
	if (four == TEXT('q', 'u', 'i', 't', 0, 0, 0, 0) || four == TEXT('s', 'h', 'u', 't', 0, 0, 0, 0))
		*more |= MEMCACHED_SILENT;
	stream->state = MEMCACHED_IN_WORD;
}

static __always_inline void memcached_status(struct reading *r, __u16 status)
{
	r->kind = status >= 0x82	 ? STATUS_FAILED :
		  status == 0x81 || status == 0x03 || status == 0x04 || status == 0x06 || status == 0x20 || status == 0x08 ? STATUS_CLIENT_ERROR :
														       STATUS_OK;
}

/* The first bytes of a server's line, or frame. */
static __always_inline void memcached_answer(struct stream *stream, struct reading *r, __u32 *more, __u64 w, __u64 body)
{
	__u64 ends = lf_marks(w) & MARKS, five = w & FIRST(5);
	__u32 have = r->end - r->at, number = MEMCACHED_WORD, keys = bpf_ntohs(w >> 16 & 0xffff);

	r->kind = STATUS_OK;
	r->found = MEMCACHED_FOUND_END;
	if ((__u8)w == MEMCACHED_ANSWERS) {
		memcached_status(r, bpf_ntohs(w >> 48));
		r->value = (__u64)big_endian(body) + MEMCACHED_HEADER;
		if (memcached_quiet(w >> 8) || ((__u8)(w >> 8) == 0x10 && keys))
			r->found = 0;
		if (have < 12)
			r->stop = STOP_SHORT;
		else if (r->value > MEMCACHED_MOST)
			not_understood(r);
		stream->left = r->value;
		stream->state = STREAM_BODY;
		return;
	}
	if (have < 8 && (!ends || first_marked(ends) >= have)) {
		r->stop = STOP_SHORT;
		return;
	}
	if (!((__u8)w >= '0' && (__u8)w <= 'Z'))
		not_understood(r);
	if ((w & FIRST(6)) == TEXT('V', 'A', 'L', 'U', 'E', ' ', 0, 0)) {
		r->found = 0;
		number = 3;
	} else if ((w & FIRST(3)) == TEXT('V', 'A', ' ', 0, 0, 0, 0, 0)) {
		number = 1;
	} else if (five == TEXT('S', 'T', 'A', 'T', ' ', 0, 0, 0) || five == TEXT('I', 'T', 'E', 'M', ' ', 0, 0, 0)) {
		r->found = 0;
	} else if (w == TEXT('S', 'E', 'R', 'V', 'E', 'R', '_', 'E')) {
		r->kind = STATUS_FAILED;
	} else if (w == TEXT('C', 'L', 'I', 'E', 'N', 'T', '_', 'E') || five == TEXT('E', 'R', 'R', 'O', 'R', 0, 0, 0) ||
		   (w & FIRST(3)) == TEXT('M', 'E', ' ', 0, 0, 0, 0, 0)) {
		r->kind = STATUS_CLIENT_ERROR;
	}
	*more = (*more & ~(MEMCACHED_BEGUN - 1)) | number << MEMCACHED_NUMBER_SHIFT | (number != MEMCACHED_WORD ? MEMCACHED_DATA : 0);
	stream->state = MEMCACHED_IN_WORD;
}

static __always_inline void memcached_begins(struct conn *conn, struct stream *stream, struct reading *r, __u32 *more)
{
	__u64 units = latency_at(conn, stream, r, came(r));

	units = units == NO_LATENCY || units >> MEMCACHED_UNIT_SHIFT > MEMCACHED_NO_LATENCY ? MEMCACHED_NO_LATENCY : units >> MEMCACHED_UNIT_SHIFT;
	*more |= MEMCACHED_BEGUN | (__u32)units << MEMCACHED_LATENCY_SHIFT;
}

static __always_inline void memcached_asked(struct conn *conn, struct stream *stream, struct reading *r, __u32 *more)
{
	__u32 line = *more;
	bool quiet = r->found == MEMCACHED_FOUND_QUIET || (r->found == MEMCACHED_FOUND_LINE && line & MEMCACHED_QUIET);

	if (r->found == MEMCACHED_FOUND_LINE && line & MEMCACHED_SILENT && line & MEMCACHED_META) {
		conn->protocol = PROTOCOL_OTHER;
		r->stop = STOP_SHORT;
		return;
	}
	stream->left = r->found == MEMCACHED_FOUND_LINE ? stream->left + 2 : r->value;
	stream->state = r->found != MEMCACHED_FOUND_LINE || line & MEMCACHED_DATA ? STREAM_BODY : STREAM_START;
	*more = 0;
	stream->flags &= ~(STREAM_GAP | STREAM_MISSED);
	if (quiet || line & MEMCACHED_SILENT) {
		if (r->found == MEMCACHED_FOUND_LINE && quiet)
			r->ok++;
		if (stream->state == STREAM_BODY)
			*more = MEMCACHED_GOES_ON;
		return;
	}
	forget();
	request_begins(conn, stream, r->now);
	forget();
	if (stream->state == STREAM_START)
		request_complete(conn, stream, r->now);
}

static __always_inline void memcached_step(struct conn *conn, struct stream *stream, struct reading *r, const struct scratch *scratch)
{
	__u32 *more = more_of(conn, r->egress);

	r->found = 0;
	if (stream->state != STREAM_START) {
		memcached_line(stream, r, more, word(scratch, r->at));
	} else if (r->request) {
		r->kind = memcached_number(word(scratch, r->at));
		forget();
		memcached_request(stream, r, more, word(scratch, r->at), word(scratch, r->at + 8));
	} else {
		if (awaited(conn, r) && !(*more & MEMCACHED_BEGUN))
			memcached_begins(conn, stream, r, more);
		forget();
		memcached_answer(stream, r, more, word(scratch, r->at), word(scratch, r->at + 8));
	}
	forget();
	if (r->stop)
		return;
	forget();
	if (r->request && r->found) {
		memcached_asked(conn, stream, r, more);
	} else if (r->found == MEMCACHED_FOUND_LINE) {
		stream->state = *more & MEMCACHED_DATA ? STREAM_BODY : STREAM_START;
		stream->left += 2;
		*more &= ~(MEMCACHED_BEGUN - 1);
	} else if (r->found) {
		r->value = *more >> MEMCACHED_LATENCY_SHIFT;
		r->value = r->value == MEMCACHED_NO_LATENCY ? NO_LATENCY : r->value << MEMCACHED_UNIT_SHIFT;
		*more &= MEMCACHED_BEGUN - 1;
		forget();
		if (awaited(conn, r))
			answer(conn, r, r->kind, r->value);
	}
	forget();
	if (stream->state == STREAM_BODY)
		r->at += pass(conn, stream, r, r->end - r->at);
}

#endif
