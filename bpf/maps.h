/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Maps shared by the objects: the loader makes each once and hands it to every object that names it. The sizes here are
 * placeholders where the loader sets them. */
#ifndef APPSTATUS_MAPS_H
#define APPSTATUS_MAPS_H

#include "kernel.h"
#include "types.h"

#define MAP(NAME, TYPE, KEY, VALUE, ENTRIES, FLAGS)                                                                    \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_##TYPE);                                                                     \
		__type(key, KEY);                                                                                      \
		__type(value, VALUE);                                                                                  \
		__uint(max_entries, ENTRIES);                                                                          \
		__uint(map_flags, FLAGS);                                                                              \
	} NAME SEC(".maps")

/* Facts of the node, set before load (custom section, so that the loader can fill it as one struct). */
struct config {
	__u64 root_cgroup; /* id of the cgroup-v2 root */
	__u64 overdue_ns;
	__u32 destinations; /* per owner */
	__u32 sockets_map; /* id of map `sockets`, for programs that may not call its helper */
	__u32 v1_owners; /* the memory controller is in a v1 hierarchy: owners may be found there only */
	__u32 connect_ms; /* a connect that nobody answers for so long has failed */
	__u64 slow_ns; /* an answer that takes longer is slow: its request is worth a sample */
};
const volatile struct config config SEC(".rodata.config");

MAP(requests, HASH, struct series_key, struct request_series, 1, BPF_F_NO_PREALLOC);
MAP(tcp, HASH, struct series_key, struct tcp_series, 1, BPF_F_NO_PREALLOC);
MAP(destinations, HASH, struct destination_key, __u32, 1, BPF_F_NO_PREALLOC); /* -> backends, see BACKENDS_TCP_SHIFT */
MAP(owners, HASH, __u64, __u32, 16384, BPF_F_NO_PREALLOC); /* -> destinations */
MAP(nat, HASH, struct tuple, struct nat_target, 1, BPF_F_NO_PREALLOC);
/* v1 hierarchies only: the owner of a socket whose cgroup-v2 id says nothing. */
MAP(stray_sockets, LRU_HASH, struct tuple, __u64, 1, 0);
MAP(counters, ARRAY, __u32, __u64, COUNTERS, 0);
MAP(unparsed, ARRAY, __u32, __u64, PROTOCOLS * UNPARSED, 0);
MAP(costs, ARRAY, __u32, struct cost, PROGRAMS, 0);
MAP(sweep_number, ARRAY, __u32, __u32, 1, 0);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 19);
} events SEC(".maps");

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
/* Makes the compiler forget what it knows of memory, so that the verifier sees equal states meet again. */
#define forget() asm volatile("" ::: "memory")
/* A size that even 5.10's verifier sees to be neither 0 nor above the power of two `most`; `n` must be so already. */
#define BETWEEN_1_AND(most, n)                                                                                         \
	({                                                                                                             \
		__u64 less = (__u64)(n) - 1;                                                                           \
		barrier_var(less);                                                                                     \
		less &= (most) - 1;                                                                                    \
		barrier_var(less);                                                                                     \
		less + 1;                                                                                              \
	})
#define add(p, n) __sync_fetch_and_add(p, n)

static __always_inline void count(__u32 counter)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &counter);

	if (value)
		add(value, 1);
}

/* What may happen so many times in a second (of 2^30 ns). */
struct rate {
	__u64 second;
	__u64 times;
};

static __always_inline bool within(struct rate *rate, __u64 most, __u64 now)
{
	if (rate->second != now >> 30) {
		rate->second = now >> 30;
		rate->times = 0;
	}
	return rate->times++ < most;
}

/* Time of a run that is to be measured, else 0. */
static __always_inline __u64 cost_begin(void)
{
	return unlikely((bpf_get_prandom_u32() & 1023) == 0) ? bpf_ktime_get_ns() : 0;
}

static __always_inline void cost_end(__u32 program, __u64 begin)
{
	struct cost *cost;

	if (likely(!begin))
		return;
	cost = bpf_map_lookup_elem(&costs, &program);
	if (cost) {
		add(&cost->ns, bpf_ktime_get_ns() - begin);
		add(&cost->runs, 1);
	}
}

#endif
