/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* HTTP/1.x over segments: bring a chunk in, step through it, keep what the next one must know. */
#ifndef APPSTATUS_HTTP_RUN_H
#define APPSTATUS_HTTP_RUN_H

#include "http_step.h"

/* Only the beginning of the line is at hand: every line looked at is decided by it. */
static __always_inline void long_line(struct conn *conn, struct stream *stream, struct reading *r,
				      const struct scratch *scratch)
{
	__u64 w = word(scratch, r->line);

	if (stream->state == HTTP_START)
		stream->state = HTTP_HEAD;
	if (stream->state == HTTP_HEAD && !(r->message.flags & MESSAGE_SKIP)) {
		if (r->message.flags & MESSAGE_LINE)
			header_line(conn, stream, r, scratch, w, false);
		else if (r->request)
			request_line(conn, stream, r, scratch, w, r->end, false);
		else
			status_line(conn, stream, r, scratch, w);
	}
	if (stream->state == HTTP_LENGTH)
		stream->state = HTTP_HEAD;
	r->message.flags |= MESSAGE_SKIP;
}

/* Asked for only where a header is cut: `id` is in the responses' line. */
static __always_inline struct message_key key_of_message(const struct conn *conn, const struct reading *r)
{
	struct message_key key = { .conn = conn->id, .egress = r->egress };

	return key;
}

/* Brings the bytes from r->offset on into the buffer. False: cannot. */
static __always_inline bool http_fetch(struct __sk_buff *skb, struct conn *conn, struct stream *stream,
				       struct scratch *scratch)
{
	struct reading *r = &scratch->reading;
	__u32 length = skb->len - r->offset, most = stream->state == HTTP_CHUNK_SIZE ? CHUNK_PEEK : CHUNK, carried = 0;

	r->stop = 0;
	r->line = 0;
	r->kept = 0;
	if (stream->state == HTTP_HEAD || stream->state == HTTP_TRAILER) {
		struct message_key key = key_of_message(conn, r);
		struct message *kept = bpf_map_lookup_elem(&messages, &key);

		if (!kept) {
			not_parsed(conn, UNPARSED_MESSAGE);
			return false;
		}
		r->kept = 1;
		r->message = *kept;
		carried = r->message.carried & (CARRY - 1);
		__builtin_memcpy(scratch->bytes, kept->carry, CARRY);
	} else {
		if (stream->state == STREAM_LOST)
			stream->state = HTTP_START;
	}
	r->more = length > most;
	if (length > most)
		length = most;
	r->at = r->carried = carried;
	r->end = carried + length;
	if (!length)
		return false;
	if (bpf_skb_load_bytes(skb, r->offset, scratch->bytes + carried, BETWEEN_1_AND(1024, length))) {
		not_parsed(conn, UNPARSED_READ);
		return false;
	}
	/* Here and not earlier: reading the clock waits for all loads before it, one of them the socket's line. */
	r->now = time_of(skb, r->egress);
	if (!r->kept)
		next_message_at(r);
	return true;
}

/* Keeps what the next segment, or the next run on this one, must know. */
static __always_inline void http_keep(struct __sk_buff *skb, struct conn *conn, struct stream *stream,
				      struct scratch *scratch)
{
	struct reading *r = &scratch->reading;
	__u32 resume = r->at > r->end ? r->end : r->at;

	if (stream->state == HTTP_LENGTH)
		stream->state = HTTP_HEAD;
	if (stream->state <= HTTP_TRAILER && !(r->message.flags & MESSAGE_SKIP)) {
		/* The line is incomplete: it is read again, or looked at now if its beginning is all that will fit. */
		bool over = r->at >= r->end;
		__u32 part = r->end - r->line;

		if (over && (r->more ? r->line == 0 : part >= CARRY))
			long_line(conn, stream, r, scratch);
		else
			resume = r->line;
		if (r->stop)
			return;
	}
	if (r->more || r->at < r->end) {
		r->offset += resume - r->carried;
		if (stream->state >= STREAM_BODY)
			r->offset += pass_by(conn, stream, r, skb->len - r->offset);
		r->more = r->offset < skb->len;
		r->message.carried = 0;
	} else {
		r->message.carried = r->end - resume;
		if (r->message.carried && stream->state == HTTP_START)
			stream->state = HTTP_HEAD;
	}
	if (stream->state == HTTP_HEAD || stream->state == HTTP_TRAILER) {
		struct message_key key = key_of_message(conn, r);

		resume &= BYTES - 1;
		barrier_var(resume);
		__builtin_memcpy(r->message.carry, scratch->bytes + resume, CARRY);
		bpf_map_update_elem(&messages, &key, &r->message, BPF_ANY);
	} else if (r->kept) {
		struct message_key key = key_of_message(conn, r);

		bpf_map_delete_elem(&messages, &key);
	}
}

static __always_inline void http_run(struct __sk_buff *skb, struct bpf_sock *sk, struct conn *conn, struct stream *stream,
				     struct scratch *scratch)
{
	struct reading *r = &scratch->reading;

	run_begins(conn, stream, r);
	if (!http_fetch(skb, conn, stream, scratch)) {
		lose(conn, stream, r);
		return;
	}
#pragma nounroll
	for (int i = 0; i < STEPS; i++) {
		forget();
		if (r->at >= r->end || r->stop)
			break;
		http_step(conn, stream, r, scratch);
	}
	forget();
	if (r->stop == STOP_ANSWER) {
		r->stop = 0;
		r->line = r->at;
		response_header_ends(skb, sk, conn, stream, r, word(scratch, r->at));
		forget();
		if (!r->stop && stream->state == STREAM_BODY && r->at < r->end) {
			r->at += pass_by(conn, stream, r, r->end - r->at);
			r->line = r->at;
		}
	}
	if (!r->stop)
		http_keep(skb, conn, stream, scratch);
}

#endif
