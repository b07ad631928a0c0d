/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which request it was that failed, or was slow: its first bytes are told to user space, a few times a second.
 *
 * To keep the bytes of every request until its answer is known would cost each of them a map's entry. What fails, fails again: only
 * where a request has just failed or been slow (on its connection, or on a new one of the same owner) the next ones' bytes are kept.
 * So the first failure of all has no sample. */
#ifndef APPSTATUS_SAMPLE_H
#define APPSTATUS_SAMPLE_H

#include "series.h"

#define SAMPLES_PER_SECOND 10
#define WATCHED_REQUESTS 15 /* of a connection, since the last that failed; what conn.watched can hold */
#define SAMPLE (1U << 16)
#define WATCHED_NS 10000000000ULL

struct text_key {
	__u32 conn;
	__u32 number; /* of the request on its connection */
};
struct text {
	__u64 latency;
	__u32 status; /* these two when it has ended */
	__u32 length;
	__u8 bytes[SAMPLE_BYTES];
};
MAP(texts, LRU_HASH, struct text_key, struct text, 1024, 0);
MAP(watched, LRU_HASH, __u64, __u64, 1024, 0); /* owner -> until when */
MAP(sample_rates, ARRAY, __u32, struct rate, 1, 0);

/* On a connection's first bytes: does its owner have requests that fail? */
static __always_inline bool owner_is_watched(__u64 owner)
{
	__u64 *until = bpf_map_lookup_elem(&watched, &owner);

	return until && *until > bpf_ktime_get_ns();
}

/* Request `number` has ended badly, or late. `latency`: NO_LATENCY, or ns. SAMPLE and the number, if its bytes were kept. */
static __always_inline __u32 worth_a_sample(struct conn *conn, __u16 number, __u32 status, __u64 latency, __u64 now)
{
	struct text_key at = { .conn = conn->id, .number = number };
	__u64 until = now + WATCHED_NS;
	struct text *text;

	if (conn->watched <= WATCHED_REQUESTS / 2)
		bpf_map_update_elem(&watched, &conn->owner, &until, BPF_ANY);
	conn->watched = WATCHED_REQUESTS;
	text = bpf_map_lookup_elem(&texts, &at);
	if (!text)
		return 0;
	text->status = status;
	text->latency = latency;
	return SAMPLE | number;
}

static __always_inline void tell(const struct conn *conn, const struct series_key *key, __u16 number)
{
	struct text_key at = { .conn = conn->id, .number = number };
	struct text *text = bpf_map_lookup_elem(&texts, &at);
	__u64 now = bpf_ktime_get_ns();
	struct sample *sample;
	struct event *event;
	struct rate *rate;
	__u32 zero = 0;

	rate = bpf_map_lookup_elem(&sample_rates, &zero);
	if (!text || !rate)
		return;
	if (!within(rate, SAMPLES_PER_SECOND, now)) {
		count(LOST_SAMPLES);
		return;
	}
	event = bpf_ringbuf_reserve(&events, sizeof(*event) + sizeof(*sample), 0);
	if (!event) {
		count(LOST_EVENTS);
		return;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->at = now;
	event->kind = EVENT_SAMPLE;
	event->owner = key->owner;
	event->number = text->status;
	event->length = sizeof(*sample);
	sample = (void *)(event + 1);
	sample->key = *key;
	sample->latency = text->latency;
	sample->length = text->length;
	__builtin_memcpy(sample->bytes, text->bytes, SAMPLE_BYTES);
	sample->zero = 0;
	bpf_ringbuf_submit(event, 0);
	bpf_map_delete_elem(&texts, &at);
}

#endif
