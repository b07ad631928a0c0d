/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is known of an outbound connection, and how it comes into its series: bytes, segments and RTT are read off the socket when
 * user space asks and when it closes, so packets cost nothing here. */
#ifndef APPSTATUS_CONNECTION_H
#define APPSTATUS_CONNECTION_H

#include "series.h"
#include "sock.h"

/* What the kernel counted on a socket. */
struct totals {
	__u64 bytes_sent;
	__u64 bytes_received;
	__u32 segments; /* these three wrap around, as they do in the kernel */
	__u32 retransmits;
	__u32 spurious;
	__u32 zero;
};

/* An outbound connection, from its first SYN until it closes. Key: the socket's address in the kernel. */
struct connection {
	struct tuple tuple;
	__u64 owner;
	__u64 started;
	__u64 connect_time; /* start until established */
	struct totals last; /* as it ended */
	__u8 state;
	__u8 end;
	/* The rest is written by whoever holds its claim. */
	__u8 counted; /* in its series: not at once, so that conntrack's mapping has time to arrive */
	__u8 failed; /* counted as failed, though TCP still tries */
	__u16 actual_port;
	union addr actual;
	struct totals flushed; /* already in the series */
};
enum { CONNECTING, OPEN, OPEN_AT_START };
enum { NOT_ENDED, CLOSED, FAILED, GIVEN_UP, ACCOUNTED };
MAP(connections, HASH, __u64, struct connection, 1, BPF_F_NO_PREALLOC);

/* Held while a connection is brought into its series: by the walker, or by the connection's end on another CPU or in an
 * interrupt of the walker, so nobody may wait for it. Making and removing an entry is the only test-and-set of 5.10. */
MAP(claims, HASH, __u64, __u8, 1024, 0);

static __always_inline bool claim(const __u64 *id)
{
	__u8 one = 1;

	return !bpf_map_update_elem(&claims, id, &one, BPF_NOEXIST);
}

static __always_inline void release(const __u64 *id)
{
	bpf_map_delete_elem(&claims, id);
}

static __always_inline struct tcp_series *series_of(const struct connection *c, bool with_actual, struct series_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->owner = c->owner;
	key->destination = c->tuple.remote;
	key->destination_port = c->tuple.remote_port;
	if (with_actual) {
		key->actual = c->actual;
		key->actual_port = c->actual_port;
	}
	return find_series(&tcp, &zero_tcp, key, FULL_TCP);
}

static __always_inline void read_totals(const struct sock *sk, struct totals *now)
{
	const struct tcp_sock *tp = (const void *)sk;

	now->bytes_sent = BPF_CORE_READ(tp, bytes_sent) - BPF_CORE_READ(tp, bytes_retrans);
	/* The kernel counts a received FIN as a byte. The flag is read later than the bytes; between them in the kernel lies
	 * a moment in which a walk takes the FIN for a byte. */
	now->bytes_received = BPF_CORE_READ(tp, bytes_received);
	now->bytes_received -= BPF_CORE_READ(sk, __sk_common.skc_flags) >> bpf_core_enum_value(enum sock_flags, SOCK_DONE) & 1;
	now->segments = BPF_CORE_READ(tp, data_segs_out);
	/* Most retransmits of a sound network are tail loss probes: two small segments (a request's header and its body) that the
	 * server does not read within two ticks are enough for one. The receiver says so by a duplicate SACK. */
	now->retransmits = BPF_CORE_READ(tp, total_retrans);
	now->spurious = BPF_CORE_READ(tp, dsack_dups);
}

/* A total is put together from several fields of a living socket, so it may seem to fall for a moment. */
static __always_inline __u64 growth(__u64 *before, __u64 now)
{
	__u64 more = now - *before;

	if ((__s64)more <= 0)
		return 0;
	*before = now;
	return more;
}

/* The same of a counter that the kernel keeps in 32 bits. */
static __always_inline __u32 growth32(__u32 *before, __u32 now)
{
	__u32 more = now - *before;

	if ((__s32)more <= 0)
		return 0;
	*before = now;
	return more;
}

/* Brings the connection's counters into its series. */
static __always_inline void flush(struct connection *c, const struct totals *now, struct tcp_series *series)
{
	__u64 sent = growth(&c->flushed.bytes_sent, now->bytes_sent);
	__u64 received = growth(&c->flushed.bytes_received, now->bytes_received);
	__u32 segments = growth32(&c->flushed.segments, now->segments);
	__u32 retransmits = growth32(&c->flushed.retransmits, now->retransmits);
	__u32 spurious = growth32(&c->flushed.spurious, now->spurious);

	if (!(sent | received | segments | retransmits | spurious))
		return;
	series->last_used = bpf_ktime_get_ns();
	add(&series->bytes_sent, sent);
	add(&series->bytes_received, received);
	add(&series->segments, segments);
	add(&series->retransmits, retransmits);
	add(&series->spurious, spurious);
}

static __always_inline void count_connection(struct connection *c, struct tcp_series *series)
{
	c->counted = 1;
	series->last_used = bpf_ktime_get_ns();
	if (c->state == OPEN) {
		add(&series->connects, 1);
		add(&series->connect_time, c->connect_time);
	}
}

static __always_inline void count_failure(struct connection *c)
{
	struct series_key key;
	struct tcp_series *series = series_of(c, false, &key);

	c->failed = 1;
	if (!series)
		return;
	add(&series->failed, 1);
	series->last_used = bpf_ktime_get_ns();
}

/* What an ended connection still has to tell; then it is forgotten. */
static __always_inline void account_end(struct connection *c, const __u64 *id)
{
	struct tcp_series *series;
	struct series_key key;

	if (c->end == FAILED && !c->failed)
		count_failure(c);
	if (c->end == CLOSED) {
		if (!c->counted && unset(&c->actual))
			look_up_nat(&c->tuple, &c->actual, &c->actual_port);
		series = series_of(c, true, &key);
		if (series) {
			if (!c->counted)
				count_connection(c, series);
			flush(c, &c->last, series);
		}
	}
	c->end = ACCOUNTED;
	bpf_map_delete_elem(&connections, id);
}

#endif
