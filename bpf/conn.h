/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The request state of a socket, and the life of its requests: whatever the protocol, each ends exactly once. */
#ifndef APPSTATUS_CONN_H
#define APPSTATUS_CONN_H

#include "packet.h"
#include "sample.h"
#include "series.h"

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct conn);
} sockets SEC(".maps");

/* Peer classes of inbound requests, decided per connection and refined per request:
 *   local    the remote address is the socket's own or loopback: same pod (or both on the host network)
 *   kubelet  User-Agent kube-probe/ or kube-lifecycle/, and the remote address is one of the node's own or loopback:
 *            nobody else in the cluster can send from there, so traffic cannot hide behind the header
 *   scrape   User-Agent of a known scraper, or the path is exactly /metrics
 *   cluster  the remote address is in one of the networks user space gave; also the node's own addresses otherwise
 *   outside  everything else */
MAP(networks, LPM_TRIE, struct network, __u32, 1, BPF_F_NO_PREALLOC);
#define PEER_ON_NODE 8 /* flag in conn.peer */

static __always_inline __u8 peer_of(const struct tuple *tuple)
{
	const __u32 *words = tuple->remote.words;
	struct network net = { .prefix_bits = 128, .ip = { words[0], words[1], words[2], words[3] } };
	bool loopback = (tuple->remote.halves[0] == 0 && tuple->remote.words[2] == bpf_htonl(0xffff) &&
			 tuple->remote.bytes[12] == 127) ||
			(tuple->remote.halves[0] == 0 && tuple->remote.halves[1] == bpf_cpu_to_be64(1));
	__u32 *class = bpf_map_lookup_elem(&networks, &net);
	__u8 node = loopback || (class && *class == NETWORK_NODE) ? PEER_ON_NODE : 0;

	if (loopback || same(&tuple->remote, &tuple->local))
		return PEER_LOCAL | node;
	return (class ? PEER_CLUSTER : PEER_OUTSIDE) | node;
}

/* The socket's cgroup; where that is the v2 root on a node with v1 hierarchies, whoever connected or listened. */
static __always_inline __u64 owner_of(struct bpf_sock *sk, const struct tuple *tuple)
{
	__u64 id = bpf_sk_cgroup_id(sk), *stray;

	if (likely(id != config.root_cgroup || !config.v1_owners))
		return id;
	stray = bpf_map_lookup_elem(&stray_sockets, tuple);
	return stray ? *stray : OWNER_UNKNOWN;
}

/* What a series is keyed by, for this connection; `peer`: class of the request's sender, where it is inbound. Looks again for what
 * was not known at its beginning. Written in whole words, as the map reads it: else each read has to wait for the writing. */
static __always_inline void key_of(struct conn *conn, const struct tuple *tuple, __u8 peer, struct series_key *key)
{
	bool outbound = conn->requests == 1;
	__u64 rest; /* from destination_port on */

	if (outbound && unset(&conn->actual) && conn->lookups) {
		conn->lookups--;
		look_up_nat(tuple, &conn->actual, &conn->actual_port);
	}
	if (unlikely(conn->owner == OWNER_UNKNOWN && config.v1_owners)) {
		__u64 *stray = bpf_map_lookup_elem(&stray_sockets, tuple);

		if (stray)
			conn->owner = *stray;
	}
	key->owner = conn->owner;
	if (outbound) {
		key->destination = tuple->remote;
		key->actual = conn->actual;
		rest = tuple->remote_port | (__u64)conn->actual_port << 16 | (__u64)OUTBOUND << 32;
	} else {
		__builtin_memset(&key->destination, 0, sizeof(key->destination));
		__builtin_memset(&key->actual, 0, sizeof(key->actual));
		rest = (__u64)INBOUND << 32 | (__u64)peer << 48;
	}
	rest |= (__u64)protocol_of(conn) << 40;
	__builtin_memcpy(&key->destination_port, &rest, sizeof(rest));
}

/* When a packet passes. TCP has stamped what it sends, with the time that its pacing lets it leave at; a socket may ask for any
 * (TCP_TX_DELAY), so nothing but its own latency may rest on that. */
static __always_inline __u64 time_of(struct __sk_buff *skb, bool egress)
{
	__u64 stamp = egress ? skb->tstamp : 0;

	return stamp ? stamp : bpf_ktime_get_ns();
}

/* What stream.left can hold: nobody sends 256 TiB, but somebody may say so. */
static __always_inline __u64 most_left(__u64 length)
{
	return length >> 48 ? (1ULL << 48) - 1 : length;
}

static __always_inline __u64 slot_time(__u64 now)
{
	return now >> SLOT_UNIT_SHIFT << SLOT_TIME_SHIFT;
}

/* A request begins. The requests' side calls it. */
static __always_inline void request_begins(struct conn *conn, struct stream *stream, __u64 now)
{
	__u16 n = conn->stream[0].requests;
	__u32 before = waiting(conn);

	if (unlikely(before >= PIPELINE)) {
		stream->flags &= ~STREAM_SLOT;
		not_parsed(conn, UNPARSED_PIPELINE);
		if (before < MOST_WAITING)
			conn->stream[0].requests = n + 1;
		return;
	}
	conn->start[n & (PIPELINE - 1)] = slot_time(now) | lap_of(n) | SLOT_VALID | (conn->peer & SLOT_PEER);
	stream->flags |= STREAM_SLOT;
	conn->stream[0].requests = n + 1;
	if (unlikely(!conn->understood))
		conn->understood = 1;
}

/* Its last byte so far: of the header, whose `flags` it brings, or of the whole. */
static __always_inline void request_continues(struct conn *conn, struct stream *stream, __u64 now, __u64 flags, __u64 keep)
{
	__u16 n = conn->stream[0].requests - 1;
	__u64 *slot = &conn->start[n & (PIPELINE - 1)];

	if (stream->flags & STREAM_SLOT)
		*slot = slot_time(now) | lap_of(n) | flags | (*slot & keep);
}

static __always_inline void request_complete(struct conn *conn, struct stream *stream, __u64 now)
{
	request_continues(conn, stream, now, SLOT_COMPLETE, 255);
}

/* The oldest request ends. Its slot; 0: there was none for it. */
static __always_inline __u64 next_slot(struct conn *conn)
{
	__u16 n = conn->stream[1].requests;
	__u64 slot = conn->start[n & (PIPELINE - 1)];

	conn->stream[1].requests = n + 1;
	return is_slot_of(slot, n) ? slot : 0;
}

/* ns */
static __always_inline __u64 since(__u64 slot, __u64 now)
{
	__s64 units = (__s64)(slot_time(now) - (slot >> SLOT_TIME_SHIFT << SLOT_TIME_SHIFT)) >> SLOT_TIME_SHIFT;

	return units < 0 ? 0 : units << SLOT_UNIT_SHIFT; /* an answer before the request's end */
}

/* The oldest `n` requests end without a known answer. Of requests in flight together the newest names the peer class. */
static __always_inline void requests_end(struct conn *conn, const struct tuple *tuple, __u32 n, __u32 status)
{
	__u8 peer = conn->peer & SLOT_PEER;
	__u32 overdue = 0;
	struct series_key key;

#pragma unroll
	for (__u32 i = 0; i < PIPELINE; i++) {
		__u16 number = conn->stream[1].requests + i;
		__u64 slot = conn->start[number & (PIPELINE - 1)];

		if (i < n && is_slot_of(slot, number)) {
			peer = slot & SLOT_PEER;
			if (slot & SLOT_OVERDUE)
				overdue++;
		}
	}
	conn->stream[1].requests += n;
	if (n <= overdue)
		return;
	key_of(conn, tuple, peer, &key);
	request_ended(&key, status, NO_LATENCY, bpf_ktime_get_ns(), n - overdue);
}

#endif
