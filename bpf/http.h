/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* HTTP/1.x, incrementally: a message may be cut anywhere. One run reads one chunk; the rest of a segment is left to a tail
 * call of the same program. Lines are found eight bytes at a time.
 *
 * One request is one request line; it ends with the first final status (1xx but 101 are skipped). Bad is 5xx, and no
 * answer. Long by intent, so outside the latency: 101 and text/event-stream. Not HTTP any more: after 101, and after 2xx
 * to CONNECT. tshark: http.request / http.response.code >= 200 || == 101. */
#ifndef APPSTATUS_HTTP_H
#define APPSTATUS_HTTP_H

#include "conn.h"

enum http_state {
	HTTP_START = STREAM_START,
	HTTP_HEAD, /* in a header; what is known of it is in `messages` when the segment ended there */
	HTTP_LENGTH, /* at the number of Content-Length */
	HTTP_TRAILER,
	HTTP_CHUNK_LINE, /* after the size of a chunk */
	HTTP_CHUNK_SIZE, /* stream.left collects it */
	/* STREAM_BODY, STREAM_PART (a chunk), STREAM_REST, STREAM_LOST */
};

#define CARRY 64 /* kept of a line that a segment cut: every header looked at is decided within */
#define CHUNK 960
#define CHUNK_PEEK 64 /* at the size of a chunk: its data needs no reading */
#define BYTES (CARRY + CHUNK)
#define STEPS 40 /* in a run */
#define SCAN 6 /* words looked at in a step */

struct message_key {
	__u32 conn;
	__u32 egress;
};

struct message {
	__u64 first; /* time of its first byte */
	__u64 length;
	__u16 status;
	__u8 flags;
	__u8 carried;
	__u8 slot; /* flags for the request's slot */
	__u8 zero[3];
	__u8 carry[CARRY];
};
#define MESSAGE_LINE 1 /* the start line is done */
#define MESSAGE_SKIP 2 /* the current line has been looked at, only its end is missing */
#define MESSAGE_LENGTH 4
#define MESSAGE_CHUNKED 8
#define MESSAGE_STREAM 16 /* server-sent events */

MAP(messages, LRU_HASH, struct message_key, struct message, 4096, 0);

/* Lives in map memory, where the verifier does not follow values: so every step of the loop looks the same to it. */
struct reading {
	struct message message;
	__u64 now;
	__u32 at; /* next byte to look at */
	__u32 line; /* where its line began */
	__u32 end; /* of the bytes at hand */
	__u32 stop;
	__u32 offset; /* of these bytes in the packet; afterwards of those to read next */
	__u32 carried; /* bytes in front that are from the segment before */
	__u32 more; /* bytes follow in this segment */
	__u32 kept; /* the message was in `messages` */
};
#define STOP_ANSWER 2 /* a response's header has ended */
#define STOP_LOST 3 /* no message where one had to begin */


/* Egress runs in process context and may be interrupted, or preempted, by another run on its CPU, so a per-CPU buffer is
 * not ours alone. A slot is: whoever raises `busy` from 0 to 1 owns it (5.10 has no atomic that returns a value). */
struct scratch {
	__u64 busy;
	struct reading reading;
	__u8 bytes[BYTES + 64];
};
#define SCRATCHES 128
MAP(scratches, ARRAY, __u32, struct scratch, SCRATCHES, 0);

static __always_inline struct scratch *claim(void)
{
	__u32 first = bpf_get_smp_processor_id() * 2;

#pragma unroll
	for (int i = 0; i < 3; i++) {
		__u32 index = (first + i) % SCRATCHES;
		struct scratch *scratch = bpf_map_lookup_elem(&scratches, &index);

		if (!scratch)
			return 0;
		add(&scratch->busy, 1);
		if (likely(*(volatile __u64 *)&scratch->busy == 1))
			return scratch;
		add(&scratch->busy, -1);
	}
	return 0;
}

#define LOWER 0x2020202020202020ULL
#define TEXT(a, b, c, d, e, f, g, h)                                                                                   \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | (__u64)(f) << 40 |    \
	 (__u64)(g) << 48 | (__u64)(h) << 56)
#define FIRST(n) (~0ULL >> (64 - 8 * (n)))

static __always_inline __u64 word(const struct scratch *scratch, __u32 at)
{
	at &= BYTES - 1;
	barrier_var(at);
	return *(const __u64 *)(scratch->bytes + at);
}

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

/* Where the stream is in its messages is not known any more. */
static __always_inline void give_up(struct stream *stream)
{
	stream->state = STREAM_LOST;
	stream->flags |= STREAM_GAP | STREAM_MISSED;
}

static __always_inline void lose(struct conn *conn, struct stream *stream, struct reading *r)
{
	give_up(stream);
	r->more = 0;
	r->stop = STOP_LOST;
	/* Never seen to speak HTTP: another protocol, unless we joined in the middle. */
	if (!conn->pushed && !conn->popped)
		conn->protocol = conn->fresh ? PROTOCOL_OTHER : PROTOCOL_UNKNOWN;
}

static __always_inline void next_message_at(struct reading *r)
{
	r->message.flags = 0;
	r->message.slot = 0;
	r->message.status = 0;
	r->message.length = 0;
	r->message.first = r->now;
}

static __always_inline void next_message(struct stream *stream, struct reading *r)
{
	stream->state = HTTP_START;
	next_message_at(r);
}

static __always_inline void request_line(struct conn *conn, struct stream *stream, struct reading *r,
					 const struct scratch *scratch, __u64 w, __u32 end, bool whole)
{
	__u64 tail = word(scratch, end - 9), tail_lf = word(scratch, end - 8);
	const __u64 version = TEXT('H', 'T', 'T', 'P', '/', '1', '.', 0);
	bool versioned = whole && end - r->line > 12 && ((tail & FIRST(7)) == version || (tail_lf & FIRST(7)) == version);
	__u32 known = method(w);
	__u8 slot = conn->peer & SLOT_PEER;

	/* A known method, and the version unless the line is too long to see its end; in an orderly stream any method. */
	if ((whole && !versioned) || (!known && (!whole || stream->flags & STREAM_GAP || (w & 255) < 'A' || (w & 255) > 'Z'))) {
		lose(conn, stream, r);
		return;
	}
	if (known == 5 && (w & 255) == 'H')
		slot |= SLOT_HEAD;
	if (known == 8 && (w & 255) == 'C')
		slot |= SLOT_CONNECT;
	if (known == 4 && word(scratch, r->line + 4) == TEXT('/', 'm', 'e', 't', 'r', 'i', 'c', 's')) {
		__u8 next = word(scratch, r->line + 12);

		if (next == ' ' || next == '?')
			slot = (slot & ~SLOT_PEER) | PEER_SCRAPE;
	}
	r->message.slot = slot;
	r->message.flags |= MESSAGE_LINE;
	stream->flags &= ~(STREAM_GAP | STREAM_MISSED);
	request_begins(conn, stream, r->now);
}

static __always_inline void status_line(struct conn *conn, struct stream *stream, struct reading *r,
					const struct scratch *scratch, __u64 w)
{
	__u64 next = word(scratch, r->line + 8);
	__u8 a = next >> 8, b = next >> 16, c = next >> 24;

	if ((w & FIRST(7)) != TEXT('H', 'T', 'T', 'P', '/', '1', '.', 0) || (next & 255) != ' ' || a < '1' || a > '9' ||
	    !digit(b) || !digit(c)) {
		lose(conn, stream, r);
		return;
	}
	r->message.status = (a - '0') * 100 + (b - '0') * 10 + (c - '0');
	r->message.flags |= MESSAGE_LINE;
}

/* Where a header's value begins: after the colon, and a space or tab that usually follows. */
static __always_inline __u32 value_at(const struct scratch *scratch, __u32 at)
{
	__u8 c = word(scratch, at);

	return at + (c == ' ' || c == '\t');
}

/* One complete line, or the first CARRY bytes of a longer one. */
static __always_inline void header_line(struct conn *conn, struct stream *stream, struct reading *r, const struct scratch *scratch, __u64 w,
					bool request)
{
	__u64 next;

	w |= LOWER;
	if (w == TEXT('c', 'o', 'n', 't', 'e', 'n', 't', '-')) {
		next = word(scratch, r->line + 8) | LOWER;
		if ((next & FIRST(7)) == TEXT('l', 'e', 'n', 'g', 't', 'h', ':', 0)) {
			r->message.flags |= MESSAGE_LENGTH;
			r->message.length = 0;
			r->at = r->line + 15;
			stream->state = HTTP_LENGTH;
		} else if (!request && (next & FIRST(5)) == TEXT('t', 'y', 'p', 'e', ':', 0, 0, 0)) {
			__u32 at = value_at(scratch, r->line + 13);

			if ((word(scratch, at) | LOWER) == TEXT('t', 'e', 'x', 't', '/', 'e', 'v', 'e') &&
			    (word(scratch, at + 8) | LOWER) == TEXT('n', 't', '-', 's', 't', 'r', 'e', 'a'))
				r->message.flags |= MESSAGE_STREAM;
		}
	} else if (w == TEXT('t', 'r', 'a', 'n', 's', 'f', 'e', 'r')) {
		next = word(scratch, r->line + 8) | LOWER;
		if (next == TEXT('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n') &&
		    (word(scratch, value_at(scratch, r->line + 18)) | LOWER) != TEXT('i', 'd', 'e', 'n', 't', 'i', 't', 'y'))
			r->message.flags |= MESSAGE_CHUNKED;
	} else if (request && conn->requests == 0 && w == TEXT('u', 's', 'e', 'r', '-', 'a', 'g', 'e')) {
		__u8 peer = 0;

		next = word(scratch, value_at(scratch, r->line + 11)) | LOWER;
		if ((next == TEXT('k', 'u', 'b', 'e', '-', 'p', 'r', 'o') || next == TEXT('k', 'u', 'b', 'e', '-', 'l', 'i', 'f')) &&
		    conn->peer & PEER_ON_NODE)
			peer = PEER_KUBELET;
		else if (next == TEXT('p', 'r', 'o', 'm', 'e', 't', 'h', 'e') ||
			 (next & FIRST(7)) == TEXT('v', 'm', 'a', 'g', 'e', 'n', 't', 0) ||
			 next == TEXT('v', 'i', 'c', 't', 'o', 'r', 'i', 'a'))
			peer = PEER_SCRAPE;
		if (peer)
			r->message.slot = (r->message.slot & ~SLOT_PEER) | peer;
	}
}

static __always_inline void request_header_ends(struct conn *conn, struct stream *stream, struct reading *r)
{
	__u64 flags = SLOT_VALID | r->message.slot;

	if (!(r->message.flags & MESSAGE_CHUNKED) && !r->message.length)
		flags |= SLOT_COMPLETE;
	request_continues(conn, stream, r->now, flags, SLOT_OVERDUE);
	if (!(flags & SLOT_COMPLETE) && r->at >= r->end && !r->more)
		stream->flags |= STREAM_WAITS;
	if (r->message.flags & MESSAGE_CHUNKED) {
		stream->state = HTTP_CHUNK_SIZE;
		stream->left = 0;
	} else if (r->message.length) {
		stream->state = STREAM_BODY;
		stream->left = r->message.length;
	} else {
		next_message(stream, r);
	}
}

static __always_inline void response_header_ends(struct conn *conn, struct stream *stream, struct reading *r,
						 const struct tuple *tuple, __u64 next)
{
	__u16 status = r->message.status;
	__u32 pending = waiting(conn);
	struct series_key key;
	__u64 slot;

	if (status < 200 && status != 101) {
		next_message(stream, r);
		return;
	}
	if (stream->flags & STREAM_GAP && pending > 1) {
		requests_end(conn, tuple, pending - 1, STATUS_UNKNOWN);
		pending = 1;
	}
	stream->flags &= ~(STREAM_GAP | STREAM_MISSED);
	if (!pending) { /* asked before we came: whether it has a body depends on the method */
		count(UNPARSED_UNASKED);
		stream->state = STREAM_LOST;
		r->more = 0;
		r->stop = 1;
		return;
	}
	slot = next_slot(conn);
	if (!(slot & SLOT_OVERDUE && slot & SLOT_VALID)) {
		key_of(conn, tuple, &key);
		if (key.direction == INBOUND)
			key.peer = slot ? slot & SLOT_PEER : conn->peer & SLOT_PEER;
		request_ended(&key, status < 600 ? status / 100 - 1 : STATUS_UNKNOWN,
			      /* Good answers only: an error is often fast, and would make the others look so. */
			      !slot || status == 101 || status >= 500 || r->message.flags & MESSAGE_STREAM ?
				      NO_LATENCY :
				      since(slot, r->message.first),
			      r->now, 1);
	}
	stream->flags &= ~STREAM_DOUBT;
	if (!(slot & SLOT_VALID))
		stream->flags |= STREAM_DOUBT;
	if (status == 101 || (slot & SLOT_CONNECT && status < 300)) {
		conn->tunnel = 1;
		stream->state = STREAM_REST;
		r->more = 0;
		r->stop = 1;
	} else if (slot & SLOT_HEAD || status == 204 || status == 304 ||
		   (!(slot & SLOT_VALID) && r->at + 8 <= r->end && http_response_begins(next, 8))) {
		next_message(stream, r);
	} else if (r->message.flags & MESSAGE_CHUNKED) {
		stream->state = HTTP_CHUNK_SIZE;
		stream->left = 0;
	} else if (r->message.flags & MESSAGE_LENGTH) {
		stream->left = r->message.length;
		stream->state = STREAM_BODY;
		if (!stream->left)
			next_message(stream, r);
	} else {
		stream->state = STREAM_REST;
		r->more = 0;
		r->stop = 1;
	}
}

/* Skips what is left of a body or chunk, at most `here` bytes; returns how many. */
static __always_inline __u32 pass_by(struct conn *conn, struct stream *stream, struct reading *r, __u32 here, bool request)
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
		if (request)
			request_complete(conn, stream, r->now);
		next_message(stream, r);
	}
	return passed;
}

/* One step: some words without a line end, or one line, or one byte of a number, or a body. */
static __always_inline void http_step(struct conn *conn, struct stream *stream, struct reading *r,
				      const struct scratch *scratch, bool request)
{
	__u64 w;
	__u8 c;

	forget();
	w = word(scratch, r->at);
	c = w;

	if (stream->state >= STREAM_BODY) {
		r->at += pass_by(conn, stream, r, r->end - r->at, request);
		r->line = r->at;
		return;
	}
	if (stream->state == HTTP_CHUNK_SIZE) {
		__u8 hex = digit(c) ? c - '0' : ((c | 32) - 'a' <= 5u) ? (c | 32) - 'a' + 10 : 255;

		if (hex < 16) {
			stream->left = stream->left << 4 | hex;
			stream->digits = 1;
			r->at++;
		} else if (stream->digits) {
			stream->state = HTTP_CHUNK_LINE;
		} else {
			r->at++; /* the line end after the data before */
		}
		r->line = r->at;
		return;
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
				return;
			}
			if (next == ' ' || next == '\t') { /* the number is on the next line: an obsolete fold */
				r->at += line_end + 1;
			} else {
				stream->state = HTTP_HEAD;
				r->message.flags |= MESSAGE_SKIP;
			}
		}
		return;
	}
	/* the end of the line */
	{
		__u32 at = r->at, lf, length;
		__u64 found = 0;

#pragma unroll
		for (int i = 0; i < SCAN; i++) {
			__u64 x = word(scratch, at) ^ 0x0a0a0a0a0a0a0a0aULL;

			found = (x - 0x0101010101010101ULL) & ~x & 0x8080808080808080ULL;
			if (found)
				break;
			at += 8;
		}
		if (!found) {
			r->at = at;
			return;
		}
		lf = at + (((found & -found) >> 7) * 0x0001020304050607ULL >> 56);
		if (lf >= r->end) {
			r->at = r->end;
			return;
		}
		r->at = lf + 1;
		length = lf - r->line;
		if (stream->state == HTTP_CHUNK_LINE) {
			stream->digits = 0;
			stream->state = stream->left ? STREAM_PART : HTTP_TRAILER;
		} else if (stream->state == HTTP_TRAILER) {
			if (length <= 1) {
				if (request)
					request_complete(conn, stream, r->now);
				next_message(stream, r);
			}
		} else if (r->message.flags & MESSAGE_SKIP) {
			r->message.flags &= ~MESSAGE_SKIP;
		} else if (!(r->message.flags & MESSAGE_LINE)) {
			w = word(scratch, r->line);
			if (length > 1 && w != PROXY_LINE) {
				stream->state = HTTP_HEAD;
				if (request)
					request_line(conn, stream, r, scratch, w, lf, true);
				else
					status_line(conn, stream, r, scratch, w);
			}
		} else if (length <= 1) {
			if (request)
				request_header_ends(conn, stream, r);
			else
				r->stop = STOP_ANSWER;
		} else {
			w = word(scratch, r->line);
			header_line(conn, stream, r, scratch, w, request);
			if (stream->state == HTTP_LENGTH)
				return;
		}
		r->line = r->at;
	}
}

#endif
