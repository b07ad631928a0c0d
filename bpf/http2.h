/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* HTTP/2 without TLS (RFC 9113), and gRPC on it, in frames: length, type, flags, stream; and a header block's fields.
 *
 * One request is a stream that the client's HEADERS open; it ends when the server's side of the stream does (END_STREAM), with its
 * :status (1xx are none; 4xx and 5xx as with HTTP/1), or of gRPC with its grpc-status: bad as OpenTelemetry tells it (grpc_outcome);
 * a gRPC answer without one ends as its :status says, 200 as unknown. Reset: by the server, before that end. By the client: its own
 * error (what nginx calls 499) if it waited less than a second or had an answer's header, else closed: it waited in vain. Closed:
 * the connection is. Latency is that to the first HEADERS that are not 1xx; there is none of a request whose
 * last byte has not been sent by then (a stream). Never overdue: what has not been sent whole, and what has a header already.
 * Unknown: the status was named by a table entry from before the agent came; of gRPC so for as long as the connection lives.
 * Not followed: pushed streams, GOAWAY's last stream; CONNECT is a request like others.
 * tshark: http2.type == 1 by http2.streamid, http2.headers.status, grpc-status, http2.flags.end_stream. */
#ifndef APPSTATUS_HTTP2_H
#define APPSTATUS_HTTP2_H

#include "calls.h"

enum http2_type { HTTP2_DATA, HTTP2_HEADERS, HTTP2_PRIORITY, HTTP2_RST_STREAM, HTTP2_SETTINGS, HTTP2_PUSH_PROMISE, HTTP2_PING,
		  HTTP2_GOAWAY, HTTP2_WINDOW_UPDATE, HTTP2_CONTINUATION };
#define HTTP2_END_STREAM 1 /* flags; of SETTINGS and PING: an acknowledgement */
#define HTTP2_END_HEADERS 4
#define HTTP2_PADDED 8
#define HTTP2_PRIORITIES 0x20
#define HTTP2_HEADER 9
#define HTTP2_USUAL 16384 /* bytes in a frame, at most, unless somebody allowed more */
#define HTTP2_MAGIC TEXT('P', 'R', 'I', ' ', '*', ' ', 'H', 'T')
#define HTTP2_MAGIC_LENGTH 24

/* stream.state; stream.left is what is left of the block's part in this frame */
#define HTTP2_BLOCK (STREAM_START + 1)
/* conn.more: CONTINUATION must be next; or the stream whose request ends with the next byte */
#define HTTP2_OPEN (1U << 31)
#define HTTP2_ELEMENTS 4 /* of a block, in a step */

/* What a type of frame is like. */
struct http2_rule {
	__u8 flags; /* that it has */
	__u8 length; /* 0: any */
	__u8 of; /* 1: a stream; 2: the connection; 3: either */
	__u8 before; /* bytes that stand before the block, or say what the frame does; with padding and priority there are more */
	__u8 block; /* it has (a part of) a header block */
};
static const struct http2_rule http2_rules[16] = {
	[HTTP2_DATA] = { 0x09, 0, 1 },
	[HTTP2_HEADERS] = { 0x2d, 0, 1, 0, 1 },
	[HTTP2_PRIORITY] = { 0, 5, 1 },
	[HTTP2_RST_STREAM] = { 0, 4, 1, 4 },
	[HTTP2_SETTINGS] = { 1, 0, 2 },
	[HTTP2_PUSH_PROMISE] = { 0x0c, 0, 1, 4, 1 },
	[HTTP2_PING] = { 1, 8, 2 },
	[HTTP2_GOAWAY] = { 0, 0, 2 },
	[HTTP2_WINDOW_UPDATE] = { 0, 4, 3 },
	[HTTP2_CONTINUATION] = { 4, 0, 1, 0, 1 },
	/* Those that nobody knows have to be passed by. */
	[10] = { 0xff, 0, 3 }, { 0xff, 0, 3 }, { 0xff, 0, 3 }, { 0xff, 0, 3 }, { 0xff, 0, 3 }, { 0xff, 0, 3 },
};

static __always_inline const struct http2_rule *http2_rule(__u32 type)
{
	type -= (type - 15) & -less(15, type); /* at most 15 */
	type &= 15;
	barrier_var(type);
	return &http2_rules[type];
}

/* Is no frame like this? (A megabyte in one is what nobody asks for.) */
static __always_inline __u64 http2_impossible(const struct http2_rule *rule, __u32 flags, __u32 length, __u32 id)
{
	return (is_not_0(rule->length) & is_not_0(length ^ rule->length)) | !(rule->of & (2 - is_not_0(id))) |
	       is_not_0(flags & ~rule->flags) | id >> 31 | is_not_0(length >> 20);
}

/* Is it no likely one, where another protocol's bytes might be, or the middle of a frame? */
static __always_inline __u64 http2_unlikely(const struct http2_rule *rule, __u32 type, __u32 flags, __u32 length, __u32 id)
{
	return less(HTTP2_CONTINUATION, type) | less(HTTP2_USUAL, length) | http2_impossible(rule, flags, length, id);
}

/* The client's preface, or a frame of a client's; HEADERS whose first field is one of a request's. */
static __always_inline enum verdict grpc_recognise(__u64 w0, __u64 w1, __u32 n)
{
	__u32 length = big_endian(w0) >> 8, type = w0 >> 24 & 255, flags = w0 >> 32 & 255, id = big_endian(w0 >> 40 | w1 << 24);
	const struct http2_rule *rule = http2_rule(type);
	__u32 before = 1 + (flags >> 3 & 1) + 5 * (flags >> 5 & 1), front = HTTP2_HEADER + before;
	__u8 field;

	if (n >= 8 ? w0 == HTTP2_MAGIC : n && w0 == (HTTP2_MAGIC & ((1ULL << (8 * (n & 7))) - 1)))
		return n >= 8 ? YES : MAYBE;
	if ((__u8)w0 || (n > 3 && type > HTTP2_WINDOW_UPDATE) || (n > 4 && flags & ~rule->flags))
		return NO;
	if (n < HTTP2_HEADER)
		return MAYBE;
	if (http2_unlikely(rule, type, flags, length, id) || type == HTTP2_PUSH_PROMISE || (rule->of == 1 && !(id & 1)))
		return NO;
	if (type == HTTP2_SETTINGS && (length % 6 || (length ? flags : flags != 1)))
		return NO;
	if (type == HTTP2_GOAWAY && length < 8)
		return NO;
	if (type != HTTP2_HEADERS)
		return YES;
	if (length < before)
		return NO;
	if (n < front)
		return MAYBE;
	field = w1 >> (8 * (before & 7));
	/* A pseudo-header of the static table, or any entry of the other one; or that table's size comes first. */
	if (field & 0x80)
		return (field >= 0x81 && field <= 0x87) || field >= 0x80 + STATIC_ENTRIES + 1 ? YES : NO;
	if ((field & 0xe0) == 0x20)
		return YES;
	field &= field & 0x40 ? 0x3f : 0xf;
	return field <= 7 ? YES : NO;
}

/* A server's SETTINGS, before it has heard of the client. */
static __always_inline enum verdict grpc_greets(__u64 w0, __u64 w1, __u32 n)
{
	__u32 length = big_endian(w0) >> 8;

	if ((__u8)w0 || (n > 3 && (w0 >> 24 & 0xffff) != HTTP2_SETTINGS) || w0 >> 40 || (__u8)w1)
		return NO;
	if (n < HTTP2_HEADER)
		return MAYBE;
	return length % 6 || length > HTTP2_USUAL ? NO : YES;
}

static __always_inline bool grpc_answer_begins(__u64 w, __u32 n)
{
	__u32 type = w >> 24 & 255;

	return !(__u8)w && (n < 4 || type <= HTTP2_CONTINUATION) && (n < 5 || !((__u8)(w >> 32) & ~http2_rule(type)->flags));
}

/* A frame's header, and what stands before the block in one that has any. */
static __always_inline void http2_header(struct stream *stream, struct reading *r, __u32 *more, __u64 w0, __u64 w1)
{
	__u32 length = big_endian(w0) >> 8, type = w0 >> 24 & 255, flags = w0 >> 32 & 255, id = big_endian(w0 >> 40 | w1 << 24);
	const struct http2_rule *rule = http2_rule(type);
	__u32 padded = flags >> 3 & rule->block & is_not_0(rule->flags & HTTP2_PADDED);
	__u32 before = rule->before + padded + 5 * (flags >> 5 & is_not_0(rule->flags & HTTP2_PRIORITIES));
	__u32 padding = (w1 >> 8 & 255) * padded, continues = 1 - is_not_0(type ^ HTTP2_CONTINUATION);
	__u64 lost = http2_impossible(rule, flags, length, id) | (*more >> 31 ^ continues) | less(length, before + padding);
	__u32 last, tail;

	lost |= !!(stream->flags & STREAM_GAP) & http2_unlikely(rule, type, flags, length, id);
	r->stop = lost * STOP_LOST | less(r->end - r->at, HTTP2_HEADER + before) * STOP_SHORT;
	if (r->stop)
		return;
	last = flags & HTTP2_END_STREAM & (1 - is_not_0(type));
	tail = last & r->request & less(r->end - r->at - HTTP2_HEADER, length); /* its last byte is still to come */
	id &= ~HTTP2_OPEN;
	*more |= id * tail;
	r->value = id;
	r->found = (last - tail) * TELLS_END | (1 - is_not_0(type ^ HTTP2_RST_STREAM)) * TELLS_RESET;
	r->kind = (type | flags << 8 | padding << 16) * rule->block;
	r->first = came(r);
	r->at += HTTP2_HEADER + before;
	stream->left = length - before - padding - tail;
	stream->state = STREAM_BODY - rule->block * (STREAM_BODY - HTTP2_BLOCK);
}

static __always_inline void http2_frame(struct stream *stream, struct reading *r, __u32 *more, const struct scratch *scratch)
{
	if (r->end - r->at < HTTP2_HEADER) {
		r->stop = STOP_SHORT;
	} else if (r->request && word(scratch, r->at) == HTTP2_MAGIC) {
		stream->left = HTTP2_MAGIC_LENGTH;
		stream->state = STREAM_BODY;
	} else {
		http2_header(stream, r, more, word(scratch, r->at), word(scratch, r->at + 8));
	}
	forget();
}

/* The block's state, where a part of it begins (reading.kind), or goes on behind what the last segment, or step, had. */
static __always_inline struct hpack *http2_block(struct conn *conn, struct stream *stream, struct reading *r)
{
	__u8 type = r->kind, flags = r->kind >> 8;
	bool begins = type == HTTP2_HEADERS || type == HTTP2_PUSH_PROMISE;
	struct hpack *h = find_hpack(conn, r, begins, stream->flags & STREAM_GAP);

	if (!h || !r->kind)
		return h;
	h->padding = r->kind >> 16;
	h->ends = flags & HTTP2_END_HEADERS;
	if (!begins)
		return h;
	stream->flags &= ~STREAM_GAP;
	h->phase = HPACK_FIELD;
	h->shift = 0;
	h->first = r->first;
	h->id = r->value;
	h->ends_stream = flags & HTTP2_END_STREAM;
	h->pushed = type == HTTP2_PUSH_PROMISE;
	h->status = h->grpc_status = h->content_type = h->unknown = 0;
	return h;
}

/* The block's part in this frame has ended. */
static __always_inline void http2_block_ends(struct stream *stream, struct reading *r, struct hpack *h, __u32 *more)
{
	stream->left = h->padding;
	stream->state = STREAM_BODY;
	*more = h->ends ? 0 : HTTP2_OPEN;
	r->value = h->id;
	if (!h->ends)
		return;
	if (h->phase != HPACK_FIELD || h->shift)
		not_understood(r);
	else if (!h->pushed)
		r->found = TELLS_BLOCK | h->status | h->grpc_status << 4 | h->content_type << 8 | h->unknown * TELLS_UNKNOWN |
			   h->ends_stream * TELLS_END;
	r->first = h->first;
}

static __always_inline void http2_elements(struct stream *stream, struct reading *r, struct hpack *h, const struct scratch *scratch)
{
	r->kind = 0;
#pragma nounroll
	for (int i = 0; i < HTTP2_ELEMENTS; i++) {
		__u32 here = r->end - r->at;

		if (here > stream->left)
			here = stream->left;
		if (!here || r->stop || r->kind & HPACK_STRING_ENDS)
			break;
		hpack_element(h, r, here, word(scratch, r->at));
		r->at += r->kind & HPACK_BYTES;
		stream->left -= r->kind & HPACK_BYTES;
		forget();
	}
	forget();
	if (r->kind & HPACK_STRING_ENDS)
		hpack_string_ends(h);
	forget();
}

static __always_inline void grpc_step(struct conn *conn, struct stream *stream, struct reading *r, const struct scratch *scratch)
{
	__u32 *more = more_of(conn, r->egress);
	struct hpack *h;

	r->found = 0;
	r->kind = 0;
	if (stream->state != HTTP2_BLOCK) {
		if (*more && !(*more & HTTP2_OPEN)) {
			r->value = *more;
			*more = 0;
			r->at++;
			r->found = TELLS_END;
		} else {
			http2_frame(stream, r, more, scratch);
		}
		forget();
	}
	if (stream->state == HTTP2_BLOCK && !r->stop) {
		h = http2_block(conn, stream, r);
		if (h) {
			forget();
			http2_elements(stream, r, h, scratch);
			if (!stream->left && !r->stop)
				http2_block_ends(stream, r, h, more_of(conn, r->egress));
		} else {
			not_understood(r);
		}
		forget();
	}
	if (r->found && !r->stop) {
		__u32 i = r->calls++ & (CALLS - 1);

		barrier_var(i);
		i &= CALLS - 1;
		r->call[i].first = r->first;
		r->call[i].id = r->value;
		r->call[i].kind = r->found;
	}
	forget();
}

#endif
