/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A packet at the cgroup hooks begins with its IP header; TCP has already checked on ingress that the headers are linear. */
#ifndef APPSTATUS_PACKET_H
#define APPSTATUS_PACKET_H

#include "maps.h"

#define FLAG_FIN 1
#define FLAG_SYN 2
#define FLAG_RST 4
#define FLAG_ACK 16

struct packet {
	__u32 l4; /* offset of the TCP or UDP header */
	__u32 payload; /* offset of the payload */
	__u32 length; /* of the payload */
	__u32 seq; /* of the first payload byte */
	__u32 ack;
	__u8 flags;
	__u8 protocol;
	__u8 ipv6;
};

struct ip4_header {
	__u8 version_length;
	__u8 tos;
	__u16 total;
	__u32 id_fragment;
	__u8 ttl;
	__u8 protocol;
	__u16 check;
	__u32 source;
	__u32 destination;
};

struct ip6_header {
	__u32 version_flow;
	__u16 length;
	__u8 next;
	__u8 hops;
	__u32 source[4];
	__u32 destination[4];
};

struct tcp_header {
	__u16 source;
	__u16 destination;
	__u32 seq;
	__u32 ack;
	__u8 offset;
	__u8 flags;
	__u16 window;
};

static __always_inline void mapped(union addr *to, __u32 ip4)
{
	to->halves[0] = 0;
	/* At once: what is read in wider words than it was written waits for the store. */
	to->halves[1] = bpf_cpu_to_be64(0xffffULL << 32 | bpf_ntohl(ip4));
}

/* False: not TCP or UDP, or not readable. */
static __always_inline bool read_packet(struct __sk_buff *skb, struct packet *packet)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct tcp_header *tcp;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct ip4_header *ip = data;

		if ((void *)(ip + 1) > end)
			return false;
		packet->ipv6 = 0;
		packet->protocol = ip->protocol;
		packet->l4 = (ip->version_length & 15) << 2;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ip6_header *ip = data;

		if ((void *)(ip + 1) > end)
			return false;
		packet->ipv6 = 1;
		packet->protocol = ip->next;
		packet->l4 = sizeof(*ip);
		if (unlikely(ip->next == IPPROTO_HOPOPTS)) { /* BIG TCP: one option of 8 bytes with the real length */
			__u8 *options = (void *)(ip + 1);

			if ((void *)(options + 8) > end)
				return false;
			packet->protocol = options[0];
			if (options[1])
				packet->protocol = 0;
			packet->l4 += 8;
		}
		if (unlikely(packet->protocol == 0 || packet->protocol == 43 || packet->protocol == 44 || packet->protocol == 60))
			count(UNKNOWN_HEADERS);
	} else {
		return false;
	}
	if (packet->protocol == IPPROTO_UDP)
		return true;
	if (packet->protocol != IPPROTO_TCP)
		return false;
	tcp = data + packet->l4;
	if ((void *)(tcp + 1) > end)
		return false;
	packet->payload = packet->l4 + ((tcp->offset >> 4) << 2);
	/* Not from the IP header: it says 0 for packets beyond 64 KiB. */
	packet->length = skb->len - packet->payload;
	packet->flags = tcp->flags;
	packet->ack = bpf_ntohl(tcp->ack);
	packet->seq = bpf_ntohl(tcp->seq) + !!(tcp->flags & FLAG_SYN);
	return true;
}

/* The socket's own idea of its ends: untouched by NAT on the host network. */
static __always_inline void tuple_of_socket(struct bpf_sock *sk, bool ipv6, struct tuple *tuple)
{
	if (ipv6) {
#pragma unroll
		for (int i = 0; i < 4; i++) {
			tuple->local.words[i] = sk->src_ip6[i];
			tuple->remote.words[i] = sk->dst_ip6[i];
		}
	} else {
		mapped(&tuple->local, sk->src_ip4);
		mapped(&tuple->remote, sk->dst_ip4);
	}
	tuple->local_port = sk->src_port;
	tuple->remote_port = bpf_ntohs(*(__u32 *)&sk->dst_port);
	tuple->zero = 0;
}

/* A packet's ends as the receiver sees them. */
static __always_inline bool tuple_of_packet(struct __sk_buff *skb, const struct packet *packet, bool egress,
					    struct tuple *tuple)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct tcp_header *tcp = data + (packet->l4 & 127);
	union addr source, destination;

	if (packet->ipv6) {
		struct ip6_header *ip = data;

		if ((void *)(ip + 1) > end)
			return false;
		__builtin_memcpy(&source, ip->source, 16);
		__builtin_memcpy(&destination, ip->destination, 16);
	} else {
		struct ip4_header *ip = data;

		if ((void *)(ip + 1) > end)
			return false;
		mapped(&source, ip->source);
		mapped(&destination, ip->destination);
	}
	if ((void *)(tcp + 1) > end)
		return false;
	tuple->local = egress ? source : destination;
	tuple->remote = egress ? destination : source;
	tuple->local_port = bpf_ntohs(egress ? tcp->source : tcp->destination);
	tuple->remote_port = bpf_ntohs(egress ? tcp->destination : tcp->source);
	tuple->zero = 0;
	return true;
}

static __always_inline bool same(const union addr *a, const union addr *b)
{
	return a->halves[0] == b->halves[0] && a->halves[1] == b->halves[1];
}

#endif
