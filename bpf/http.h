/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* HTTP/1.x, incrementally: a message may be cut anywhere. One run reads one chunk; the rest of a segment is left to a tail
 * call of the same program. Line ends are found sixteen bytes at a time.
 *
 * One request is one request line; it ends with the first final status (1xx but 101 are skipped). Bad is 5xx, and no
 * answer. Long by intent, so outside the latency: 101 and text/event-stream. Not HTTP any more: after 101, and after 2xx
 * to CONNECT. tshark: http.request / http.response.code >= 200 || == 101. */
#ifndef APPSTATUS_HTTP_H
#define APPSTATUS_HTTP_H

#include "conn.h"
#include "http_text.h"

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
#define CHUNK 912
#define CHUNK_PEEK 64 /* at the size of a chunk: its data needs no reading */
#define BYTES 1024
#define STEPS 30 /* in a run, of which a packet can have 32 and more */
#define SCAN 4 /* pairs of words looked at in a step */
_Static_assert(STEPS * SCAN * 16 >= BYTES, "a run comes to the end of a line that fills the buffer");
_Static_assert(CARRY - 1 + CHUNK - 1 + (SCAN - 1) * 16 < BYTES, "no step goes round: addresses are taken modulo BYTES");

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

/* Requests that a run saw ending. */
struct ended {
	__u64 latency_sum;
	__u64 any;
	__u8 status[16];
	__u8 bucket[32];
};
#define CALLS 8 /* what the steps of a run of HTTP/2's may find (a power of two) */

/* Lives in map memory, where the verifier does not follow values: so every step of the loop looks the same to it, and the loop
 * is looked at once, whatever came before. */
struct reading {
	struct message message;
	__u64 now;
	__u32 offset; /* of these bytes in the packet; afterwards of those to read next */
	__u32 at; /* next byte to look at */
	__u32 line; /* where its line began */
	__u32 end; /* of the bytes at hand */
	__u32 stop;
	__u32 carried; /* bytes in front that are from the segment before */
	__u32 more; /* bytes follow in this segment */
	__u8 kept; /* the message was in `messages` */
	__u8 egress;
	__u8 request;
	__u64 began; /* of other protocols: when the first byte came of those that are from the segment before */
	/* What this run found, counted at its end. */
	__u32 answers;
	__u32 ok;
	__u32 client_errors;
	__u32 failed;
	__u32 unknown;
	__u32 latencies;
	__u8 began_as; /* the stream's state before this run */
	__u16 begun; /* requests of the connection before this run */
	__u32 last_status; /* of this run's answers */
	__u64 last_latency;
	__u64 latency[PIPELINE];
	/* What a step found, for the next part of it: told by memory, its ways meet again. */
	__u32 kind;
	__u32 found;
	__u64 value;
	/* Of HTTP/2: what the run's steps found of which stream. */
	struct {
		__u64 first; /* when it began */
		__u32 id;
		__u32 kind;
	} call[CALLS];
	__u64 first;
	__u32 calls;
	__u32 ending;
	struct ended ended[2]; /* HTTP's, gRPC's */
};
#define STOP_SHORT 1 /* the next step needs more bytes than there are */
#define STOP_ANSWER 2 /* a response's header has ended */
#define STOP_LOST 3 /* no message where one had to begin */

/* Egress runs in process context and may be interrupted, or preempted, by another run on its CPU, so a per-CPU buffer is
 * not ours alone. A slot is: whoever raises `busy` from 0 to 1 owns it (5.10 has no atomic that returns a value). Ingress
 * runs with softirqs off, of which a CPU has one at a time: a slot of its CPU needs no atomic, and those cost more here than
 * the parser's lines. (With PREEMPT_RT since 6.18 two may meet: one gives up, which is counted, or, between the look and the
 * claim, both misread.) */
struct scratch {
	__u64 busy;
	__u64 own; /* of one CPU's ingress */
	struct reading reading;
	__u8 bytes[BYTES + 64];
	struct text text;
};
#define SHARED_SCRATCHES 128
#define OWN_SCRATCHES 64 /* behind them, of CPUs; those beyond share */
MAP(scratches, ARRAY, __u32, struct scratch, SHARED_SCRATCHES + OWN_SCRATCHES, 0);

static __always_inline struct scratch *claim_own(__u32 cpu)
{
	__u32 index = SHARED_SCRATCHES + cpu;
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &index);

	if (!scratch || unlikely(scratch->busy))
		return 0;
	*(volatile __u64 *)&scratch->busy = 1;
	scratch->own = 1;
	return scratch;
}

static __always_inline struct scratch *claim(bool egress)
{
	__u32 cpu = bpf_get_smp_processor_id();

	if (!egress && likely(cpu < OWN_SCRATCHES))
		return claim_own(cpu);
#pragma unroll
	for (int i = 0; i < 3; i++) {
		__u32 index = (cpu * 2 + i) % SHARED_SCRATCHES;
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

static __always_inline void release(struct scratch *scratch, bool egress)
{
	if (!egress && likely(scratch->own))
		*(volatile __u64 *)&scratch->busy = 0;
	else
		add(&scratch->busy, -1);
}

static __always_inline __u64 word(const struct scratch *scratch, __u32 at)
{
	at &= BYTES - 1;
	barrier_var(at);
	return *(const __u64 *)(scratch->bytes + at);
}

/* Before a run. Without a branch: each would double what the verifier has to look at behind. */
static __always_inline void run_begins(const struct conn *conn, const struct stream *stream, struct reading *r)
{
	r->last_status = 0;
	r->last_latency = NO_LATENCY;
	r->begun = conn->stream[0].requests;
	r->began_as = stream->state;
}

/* The bytes it began with are those of the first request that it met, if a message began there. */
static __always_inline void keep_text(struct conn *conn, struct scratch *scratch)
{
	struct reading *r = &scratch->reading;
	struct text_key key = { .conn = conn->id, .number = r->begun };

	/* (A header's begin may have been kept of the segment before. Other protocols' states are in the middle of something.) */
	if (r->began_as > (conn->protocol == PROTOCOL_HTTP ? HTTP_HEAD : STREAM_START) || conn->stream[0].requests == r->begun)
		return;
	conn->watched--;
	scratch->text.length = r->end < SAMPLE_BYTES ? r->end : SAMPLE_BYTES;
	__builtin_memcpy(scratch->text.bytes, scratch->bytes, SAMPLE_BYTES);
	bpf_map_update_elem(&texts, &key, &scratch->text, BPF_ANY);
}

/* Behind a run, of which the last answer stands for all. Number of a request that is worth a sample, and SAMPLE; else 0. */
static __always_inline __u32 run_ends(struct conn *conn, struct scratch *scratch)
{
	struct reading *r = &scratch->reading;

	if (r->request) {
		if (unlikely(conn->watched))
			keep_text(conn, scratch);
		return 0;
	}
	if (likely(r->last_status != STATUS_FAILED && r->last_latency + 1 <= config.slow_ns))
		return 0;
	return worth_a_sample(conn, conn->stream[1].requests - 1, r->last_status, r->last_latency, r->now);
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
	if (!conn->understood)
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

#endif
