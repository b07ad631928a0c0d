/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Finding or making the one map value of a series, within the budgets that keep the maps bounded. */
#ifndef APPSTATUS_SERIES_H
#define APPSTATUS_SERIES_H

#include "maps.h"

/* Upper bounds of the latency buckets in ns (rows.LATENCY_BOUNDS_NS), filled up for the search. */
static const __u64 bounds[32] = {
	1000000, 2500000, 5000000, 10000000, 15000000, 25000000, 50000000, 75000000,
	100000000, 150000000, 200000000, 250000000, 300000000, 400000000, 500000000, 750000000,
	1000000000, 1500000000, 2000000000, 2500000000, 5000000000, 7500000000, 10000000000, 30000000000,
	~0ULL, ~0ULL, ~0ULL, ~0ULL, ~0ULL, ~0ULL, ~0ULL, ~0ULL,
};

static __always_inline __u32 bucket_of(__u64 latency)
{
	__u32 below = 0; /* bounds smaller than the latency */

#pragma unroll
	for (__u32 step = 16; step; step >>= 1)
		if (latency > bounds[(below + step - 1) & 31])
			below += step;
	return below;
}

static __always_inline bool unset(const union addr *addr)
{
	return !(addr->halves[0] | addr->halves[1]);
}

static __always_inline void fold(struct series_key *key)
{
	__builtin_memset(&key->destination, 0, sizeof(key->destination));
	__builtin_memset(&key->actual, 0, sizeof(key->actual));
	key->destination_port = 0;
	key->actual_port = 0;
	key->folded = 1;
}

/* A new series must fit its owner's budget of destinations (or, inbound, of addresses it listens on), else it becomes the
 * owner's "~other"; a destination with more backends than BACKENDS_PER_DESTINATION keeps its name and loses the actual
 * address. Backends are counted for requests and for connections apart, since each has a map of its own. Two CPUs may pass
 * the check together: the budget is exact to the number of CPUs. */
static __always_inline void fit_budget(struct series_key *key)
{
	struct destination_key dest = { .owner = key->owner, .ip = key->destination, .port = key->destination_port };
	__u32 *backends, *used, one = 1, shift = key->protocol ? 0 : BACKENDS_TCP_SHIFT, first = 0;

	if (key->direction == INBOUND)
		dest.owner |= BUDGET_INBOUND;
	backends = bpf_map_lookup_elem(&destinations, &dest);
	if (!backends) {
		used = bpf_map_lookup_elem(&owners, &dest.owner);
		if (used && *used >= config.destinations) {
			count(FOLDED);
			fold(key);
			return;
		}
		if (used)
			add(used, 1);
		else
			bpf_map_update_elem(&owners, &dest.owner, &one, BPF_NOEXIST);
		if (!unset(&key->actual))
			first = 1U << shift;
		if (bpf_map_update_elem(&destinations, &dest, &first, BPF_NOEXIST))
			count(FULL_DESTINATIONS);
		return;
	}
	if (unset(&key->actual))
		return;
	if ((*backends >> shift & 0xffff) >= BACKENDS_PER_DESTINATION) {
		__builtin_memset(&key->actual, 0, sizeof(key->actual));
		key->actual_port = 0;
	} else {
		add(backends, 1U << shift);
	}
}

/* Values are too large for the stack: new ones are copied from these. */
MAP(zero_request, ARRAY, __u32, struct request_series, 1, 0);
MAP(zero_tcp, ARRAY, __u32, struct tcp_series, 1, 0);

/* The key is changed where the budget demands it. */
static __always_inline void *find_series(void *map, void *zeros, struct series_key *key, __u32 full)
{
	void *value = bpf_map_lookup_elem(map, key);
	__u32 zero = 0;

	if (likely(value))
		return value;
	if (key->owner == OWNER_UNKNOWN)
		count(UNKNOWN_OWNER);
	if ((key->direction == OUTBOUND || key->destination_port) && !key->folded) {
		fit_budget(key);
		value = bpf_map_lookup_elem(map, key);
		if (value)
			return value;
	}
	value = bpf_map_lookup_elem(zeros, &zero);
	if (!value)
		return 0;
	bpf_map_update_elem(map, key, value, BPF_NOEXIST);
	value = bpf_map_lookup_elem(map, key);
	if (!value) /* full, or no memory at the moment */
		count(full);
	return value;
}

#define NO_LATENCY (~0ULL)

/* A request ends here, once. */
static __always_inline void request_ended(struct series_key *key, __u32 status, __u64 latency, __u64 now, __u32 times)
{
	struct request_series *series = find_series(&requests, &zero_request, key, FULL_REQUESTS);

	barrier_var(status); /* the verifier wants to see the comparison */
	if (!series || status >= STATUSES)
		return;
	add(&series->ended[status], times);
	if (latency != NO_LATENCY) {
		__u32 bucket = bucket_of(latency);

		if (bucket < BUCKETS)
			add(&series->latency[bucket], 1);
		add(&series->latency_sum, latency);
	}
	series->last_used = now;
}

#define MOST_WAITING 32767 /* one more would look like none */

/* Requests without an end so far. Its two counters are written on two CPUs, and may wrap. */
static __always_inline __u32 waiting(const struct conn *conn)
{
	__s16 n = conn->stream[0].requests - conn->stream[1].requests;

	return n < 0 ? 0 : n;
}

static __always_inline __u64 lap_of(__u16 number)
{
	return (__u64)(number / PIPELINE) << SLOT_LAP_SHIFT;
}

/* Does the slot say something of request `number`, that is, did it get one? */
static __always_inline bool is_slot_of(__u64 slot, __u16 number)
{
	return slot & SLOT_VALID && (slot & ((1ULL << SLOT_TIME_SHIFT) - (1 << SLOT_LAP_SHIFT))) == lap_of(number);
}

/* Is slot `i` that of a request without an end? */
static __always_inline bool in_use(const struct conn *conn, __u32 i)
{
	__u16 oldest = conn->stream[1].requests, ahead = (i - oldest) & (PIPELINE - 1);

	return ahead < waiting(conn) && is_slot_of(conn->start[i], oldest + ahead);
}

static __always_inline __u8 protocol_of(const struct conn *conn)
{
	if (conn->protocol == PROTOCOL_GRPC)
		return conn->understood == UNDERSTOOD_GRPC ? PROTOCOL_GRPC : PROTOCOL_HTTP;
	return conn->protocol == PROTOCOL_TUNNEL ? PROTOCOL_HTTP : conn->protocol;
}

static __always_inline void not_parsed(const struct conn *conn, enum unparsed reason)
{
	__u32 index = protocol_of(conn) * UNPARSED + reason;
	__u64 *value = bpf_map_lookup_elem(&unparsed, &index);

	if (value)
		add(value, 1);
}

/* What the stream that carries requests says, of what either does. */
static __always_inline __u8 of_requests(const struct conn *conn, __u8 ingress, __u8 egress)
{
	barrier_var(ingress); /* else it would be an address that is chosen, which not every program may use */
	barrier_var(egress);
	return conn->requests ? egress : ingress;
}

/* State made before its socket was: payload that completes the handshake reaches ingress with the *listener* as its socket
 * (deferred accept, Fast Open, a lost third ACK). The child adopts it with its first own packet. */
struct early {
	struct conn conn;
	__u32 first; /* sequence number of the first byte seen: others may have been overtaken by it */
	__u32 zero;
};
MAP(early, LRU_HASH, struct tuple, struct early, 4096, 0);

/* The same requests may be found unanswered twice at once: by the FIN that arrives, which holds no lock of the socket, and by a
 * local close on another CPU. Who is first counts them. */
struct ending {
	__u32 conn;
	__u32 ended; /* requests of it, before */
};
MAP(endings, LRU_HASH, struct ending, __u8, 1, 0);

static __always_inline bool ends_first(struct conn *conn)
{
	struct ending ending = { .conn = conn->id, .ended = conn->stream[1].requests };
	__u8 one = 1;

	return bpf_map_update_elem(&endings, &ending, &one, BPF_NOEXIST) != -17 /* EEXIST */;
}

/* How requests end for which no answer was read: unless none can have come, nobody knows. */
static __always_inline __u32 without_answer(const struct conn *conn, __u32 status)
{
	__u8 flags = of_requests(conn, conn->stream[1].flags, conn->stream[0].flags); /* the other one's */

	return flags & (STREAM_MISSED | STREAM_HOLE) ? STATUS_UNKNOWN : status;
}

/* Where the connection really goes, if user space has told. */
static __always_inline void look_up_nat(const struct tuple *tuple, union addr *actual, __u16 *port)
{
	struct nat_target *target = bpf_map_lookup_elem(&nat, tuple);

	if (target) {
		*actual = target->ip;
		*port = target->port;
	}
}

#endif
