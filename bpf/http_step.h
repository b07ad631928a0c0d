/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* HTTP/1.x: one step of the parser through the bytes at hand. */
#ifndef APPSTATUS_HTTP_STEP_H
#define APPSTATUS_HTTP_STEP_H

#include "http_lines.h"

/* Skips what is left of a body or chunk, at most `here` bytes; returns how many. */
static __always_inline __u32 pass_by(struct conn *conn, struct stream *stream, struct reading *r, __u32 here)
{
	__u32 passed = here;

	if (stream->left > here) {
		stream->left -= here;
		return passed;
	}
	passed = stream->left;
	stream->left = 0;
	if (stream->state == STREAM_PART) {
		stream->state = HTTP_CHUNK_SIZE;
	} else {
		if (r->request)
			request_complete(conn, stream, r->now);
		next_message(stream, r);
	}
	return passed;
}

/* A body, or one byte of a number. False: this is in lines. */
static __always_inline bool off_lines(struct conn *conn, struct stream *stream, struct reading *r,
				      const struct scratch *scratch)
{
	__u64 w = word(scratch, r->at);
	__u8 c = w;

	if (stream->state >= STREAM_BODY) {
		r->at += pass_by(conn, stream, r, r->end - r->at);
		r->line = r->at;
		return true;
	}
	if (stream->state == HTTP_CHUNK_SIZE) {
		__u8 hex = digit(c) ? c - '0' : ((c | 32) - 'a' <= 5u) ? (c | 32) - 'a' + 10 : 255;

		if (hex < 16) {
			stream->left = most_left((__u64)stream->left << 4 | hex);
			stream->flags |= STREAM_DIGITS;
			r->at++;
		} else if (stream->flags & STREAM_DIGITS) {
			stream->state = HTTP_CHUNK_LINE;
		} else {
			r->at++; /* the line end after the data before */
		}
		r->line = r->at;
		return true;
	}
	if (stream->state == HTTP_LENGTH) {
		if (digit(c))
			r->message.length = r->message.length * 10 + (c - '0');
		if (digit(c) || c == ' ' || c == '\t') {
			r->at++;
		} else {
			__u32 line_end = c == '\r' ? 2 : 1;
			__u8 next = w >> (8 * line_end);

			if (r->message.length || (c != '\r' && c != '\n')) {
				next = 0;
			} else if (r->at + line_end >= r->end) { /* what comes decides: the line is read again then */
				r->at = r->end;
				return true;
			}
			if (next == ' ' || next == '\t') { /* the number is on the next line: an obsolete fold */
				r->at += line_end + 1;
			} else {
				stream->state = HTTP_HEAD;
				r->message.flags |= MESSAGE_SKIP;
			}
		}
		return true;
	}
	return false;
}

#define NOWHERE (~0U)

/* One step: some words without a line end, or lines that nobody looks at, or one that somebody does, or one byte of a number, or a
 * body. */
static __always_inline void http_step(struct conn *conn, struct stream *stream, struct reading *r,
				      const struct scratch *scratch)
{
	__u32 at, lf = NOWHERE, length;
	bool pass;
	__u64 w;

	forget();
	if (stream->state != HTTP_HEAD && off_lines(conn, stream, r, scratch))
		return;
	at = r->at;
	pass = (r->message.flags & (MESSAGE_LINE | MESSAGE_SKIP)) == MESSAGE_LINE && stream->state == HTTP_HEAD;
#pragma nounroll
	for (int i = 0; i < SCAN; i++) {
		const __u64 *words;
		__u64 first, second;

		at &= BYTES - 1;
		barrier_var(at);
		words = (const void *)(scratch->bytes + at);
		first = lf_marks(words[0]);
		second = lf_marks(words[1]);
		if (!((first | second) & MARKS)) {
			at += 16;
			continue;
		}
		lf = first & MARKS ? at + first_marked(first & MARKS) : at + 8 + first_marked(second & MARKS);
		if (!pass || lf >= r->end || !passed_by(word(scratch, r->line), r->request))
			break;
		r->line = at = lf + 1; /* on to the line behind it */
		lf = NOWHERE;
	}
	if (lf == NOWHERE) {
		r->at = at;
		return;
	}
	if (lf >= r->end) {
		r->at = r->end;
		return;
	}
	r->at = lf + 1;
	length = lf - r->line;
	if (stream->state == HTTP_CHUNK_LINE) {
		stream->flags &= ~STREAM_DIGITS;
		stream->state = stream->left ? STREAM_PART : HTTP_TRAILER;
	} else if (stream->state == HTTP_TRAILER) {
		if (length <= 1) {
			if (r->request)
				request_complete(conn, stream, r->now);
			next_message(stream, r);
		}
	} else if (r->message.flags & MESSAGE_SKIP) {
		r->message.flags &= ~MESSAGE_SKIP;
	} else if (!(r->message.flags & MESSAGE_LINE)) {
		w = word(scratch, r->line);
		if (length > 1 && w != PROXY_LINE) {
			stream->state = HTTP_HEAD;
			if (r->request)
				request_line(conn, stream, r, scratch, w, lf, true);
			else
				status_line(conn, stream, r, scratch, w);
		}
	} else if (length <= 1) {
		if (r->request)
			request_header_ends(conn, stream, r);
		else
			r->stop = STOP_ANSWER;
	} else {
		w = word(scratch, r->line);
		header_line(conn, stream, r, scratch, w, true);
		if (stream->state == HTTP_LENGTH)
			return;
	}
	r->line = r->at;
}

#endif
