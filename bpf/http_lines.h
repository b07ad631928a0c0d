/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* HTTP/1.x: what a line, and the end of a header, says. */
#ifndef APPSTATUS_HTTP_LINES_H
#define APPSTATUS_HTTP_LINES_H

#include "http.h"

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

/* How header lines begin that header_line looks at. */
#define CONTENT TEXT('c', 'o', 'n', 't', 'e', 'n', 't', '-')
#define TRANSFER TEXT('t', 'r', 'a', 'n', 's', 'f', 'e', 'r')
#define USER_AGENT TEXT('u', 's', 'e', 'r', '-', 'a', 'g', 'e')

/* Does nobody look at the header line that begins so? (The empty line begins below a space.) */
static __always_inline bool passed_by(__u64 w, bool request)
{
	if ((w & 255) < ' ')
		return false;
	w |= LOWER;
	return w != CONTENT && w != TRANSFER && !(request && w == USER_AGENT);
}

/* One complete line (`whole`), or the first CARRY bytes of a longer one. */
static __always_inline void header_line(struct conn *conn, struct stream *stream, struct reading *r,
					const struct scratch *scratch, __u64 w, bool whole)
{
	__u64 next;

	w |= LOWER;
	if (w == CONTENT) {
		next = word(scratch, r->line + 8) | LOWER;
		if ((next & FIRST(7)) == TEXT('l', 'e', 'n', 'g', 't', 'h', ':', 0)) {
			__s64 number = whole ? short_number(word(scratch, value_at(scratch, r->line + 15))) : -1;

			r->message.flags |= MESSAGE_LENGTH;
			if (likely(number >= 0)) {
				r->message.length = number;
			} else { /* a long one, or none where one is usual: digit by digit */
				r->message.length = 0;
				r->at = r->line + 15;
				stream->state = HTTP_LENGTH;
			}
		} else if (!r->request && (next & FIRST(5)) == TEXT('t', 'y', 'p', 'e', ':', 0, 0, 0)) {
			__u32 at = value_at(scratch, r->line + 13);

			if ((word(scratch, at) | LOWER) == TEXT('t', 'e', 'x', 't', '/', 'e', 'v', 'e') &&
			    (word(scratch, at + 8) | LOWER) == TEXT('n', 't', '-', 's', 't', 'r', 'e', 'a'))
				r->message.flags |= MESSAGE_STREAM;
		}
	} else if (w == TRANSFER) {
		next = word(scratch, r->line + 8) | LOWER;
		if (next == TEXT('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n') &&
		    (word(scratch, value_at(scratch, r->line + 18)) | LOWER) != TEXT('i', 'd', 'e', 'n', 't', 'i', 't', 'y'))
			r->message.flags |= MESSAGE_CHUNKED;
	} else if (r->request && conn->requests == 0 && w == USER_AGENT) {
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
		stream->left = most_left(r->message.length);
	} else {
		next_message(stream, r);
	}
}

/* n / 100 for three digits: a division costs ten times as much. */
static __always_inline __u32 hundreds(__u32 n)
{
	return n * 5243 >> 19;
}

static __always_inline void response_header_ends(struct __sk_buff *skb, struct bpf_sock *sk, struct conn *conn,
						 struct stream *stream, struct reading *r, __u64 next)
{
	__u16 status = r->message.status;
	__u32 pending = waiting(conn);
	struct series_key key;
	struct tuple tuple;
	__u64 slot;

	if (status < 200 && status != 101) {
		next_message(stream, r);
		return;
	}
	tuple_of_socket(sk, skb->protocol == bpf_htons(ETH_P_IPV6), &tuple);
	if (stream->flags & STREAM_GAP && pending > 1) {
		requests_end(conn, &tuple, pending - 1, STATUS_UNKNOWN);
		pending = 1;
	}
	stream->flags &= ~(STREAM_GAP | STREAM_MISSED);
	if (!pending) { /* asked before we came: whether it has a body depends on the method */
		not_parsed(conn, UNPARSED_UNASKED);
		stream->state = STREAM_LOST;
		r->more = 0;
		r->stop = 1;
		return;
	}
	slot = next_slot(conn);
	if (!(slot & SLOT_OVERDUE && slot & SLOT_VALID)) {
		/* Good answers only: an error is often fast, and would make the others look so. */
		__u64 latency = !slot || status == 101 || status >= 500 || r->message.flags & MESSAGE_STREAM ?
					NO_LATENCY :
					since(slot, r->message.first);
		__u32 class = status < 600 ? hundreds(status) - 1 : STATUS_UNKNOWN;

		key_of(conn, &tuple, (slot ? slot : conn->peer) & SLOT_PEER, &key);
		request_ended(&key, class, latency, r->now, 1);
		r->last_status = class;
		r->last_latency = latency;
	}
	stream->flags &= ~STREAM_DOUBT;
	if (!(slot & SLOT_VALID))
		stream->flags |= STREAM_DOUBT;
	if (status == 101 || (slot & SLOT_CONNECT && status < 300)) {
		conn->protocol = PROTOCOL_TUNNEL;
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
		stream->left = most_left(r->message.length);
		stream->state = STREAM_BODY;
		if (!stream->left)
			next_message(stream, r);
	} else {
		stream->state = STREAM_REST;
		r->more = 0;
		r->stop = 1;
	}
}

#endif
