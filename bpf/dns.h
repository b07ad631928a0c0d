/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* DNS answers, for names of addresses: their payload is told to user space. */
#ifndef APPSTATUS_DNS_H
#define APPSTATUS_DNS_H

#include "packet.h"

#define DNS_PER_SECOND 100
MAP(dns_rates, ARRAY, __u32, struct rate, 1, 0);

static __always_inline void dns(struct __sk_buff *skb, const struct packet *packet)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u16 *source = data + (packet->l4 & 127);
	__u32 zero = 0, offset = packet->l4 + 8, length = skb->len - offset;
	struct rate *rate;
	struct bpf_sock *sk;
	struct event *event;
	__u64 now;
	__u8 flags;

	if ((void *)(source + 4) > end || *source != bpf_htons(53))
		return;
	if (bpf_skb_load_bytes(skb, offset + 2, &flags, 1) || !(flags & 0x80))
		return;
	sk = skb->sk;
	if (!sk)
		return;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return;
	rate = bpf_map_lookup_elem(&dns_rates, &zero);
	if (!rate)
		return;
	now = bpf_ktime_get_ns();
	if (!within(rate, DNS_PER_SECOND, now)) {
		count(LOST_DNS);
		return;
	}
	event = bpf_ringbuf_reserve(&events, sizeof(*event) + EVENT_DATA, 0);
	if (!event) {
		count(LOST_EVENTS);
		return;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->at = now;
	event->kind = EVENT_DNS;
	event->owner = bpf_sk_cgroup_id(sk);
	if (length > EVENT_DATA)
		length = EVENT_DATA;
	if (length && !bpf_skb_load_bytes(skb, offset, event + 1, BETWEEN_1_AND(EVENT_DATA, length)))
		event->length = length;
	bpf_ringbuf_submit(event, 0);
}

#endif
