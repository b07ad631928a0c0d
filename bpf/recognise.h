/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which protocol does a connection speak? Asked with its first bytes, and with those at each turn of the conversation while nobody
 * knows: a connection may have been open before. Too few bytes wait in `messages` for more. */
#ifndef APPSTATUS_RECOGNISE_H
#define APPSTATUS_RECOGNISE_H

#include "kafka.h"
#include "mysql.h"
#include "part.h"
#include "postgres.h"
#include "redis.h"

#define RECOGNISED_WITHIN 16 /* bytes */
#define TURNS_UNKNOWN 64 /* after so many: another protocol */

/* Does the socket's own end listen? Then it is the server's, and requests come in. */
static __always_inline bool listens(struct __sk_buff *skb, struct bpf_sock *sk)
{
	bool ipv6 = skb->protocol == bpf_htons(ETH_P_IPV6), found;
	struct bpf_sock_tuple to = {};
	struct bpf_sock *listener;
	struct tuple tuple;

	if (sk->state == TCP_LISTEN)
		return true;
	tuple_of_socket(sk, ipv6, &tuple);
	if (ipv6) {
		__builtin_memcpy(to.ipv6.daddr, &tuple.local, 16);
		to.ipv6.dport = bpf_htons(tuple.local_port);
		listener = bpf_sk_lookup_tcp(skb, &to, sizeof(to.ipv6), BPF_F_CURRENT_NETNS, 0);
	} else {
		to.ipv4.daddr = tuple.local.words[3];
		to.ipv4.dport = bpf_htons(tuple.local_port);
		listener = bpf_sk_lookup_tcp(skb, &to, sizeof(to.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	if (!listener)
		return false;
	found = listener->state == TCP_LISTEN;
	bpf_sk_release(listener);
	return found;
}

/* Which protocol begins so? `more`: with more bytes perhaps one. */
static __always_inline __u8 protocol_begins(const struct conn *conn, struct reading *r, __u64 w0, __u64 w1, __u32 n, bool client,
					    bool *request, bool *more)
{

	/* By memory from one to the next: the verifier's ways meet there again. */
	r->value = w0;
	r->latency[0] = w1;
	r->kind = n;
	*request = true;
	if (method(w0) || w0 == PROXY_LINE)
		return PROTOCOL_HTTP;
	*more = n < 8 && http_request_begins(w0, n);
	if (!conn->fresh && http_response_begins(w0, n)) {
		*request = false;
		*more = n < 7;
		return n < 7 ? PROTOCOL_UNKNOWN : PROTOCOL_HTTP;
	}
#define ITS_VERDICT(NAME, name)                                                                                        \
	if (client) {                                                                                                  \
		r->found = name##_recognise(r->value, r->latency[0], r->kind);                        \
		forget();                                                                                              \
		if (r->found == YES)                                                                                   \
			return PROTOCOL_##NAME;                                                                        \
		if (r->found == MAYBE)                                                                                 \
			*more = true;                                                                                  \
	}
	FURTHER_PROTOCOLS(ITS_VERDICT)
#define ITS_GREETING(NAME, name)                                                                                       \
	if (!client && conn->fresh) {                                                                                  \
		r->found = name##_greets(r->value, r->latency[0], r->kind);                           \
		forget();                                                                                              \
		if (r->found == YES)                                                                                   \
			return PROTOCOL_##NAME;                                                                        \
		if (r->found == MAYBE)                                                                                 \
			*more = true;                                                                                  \
	}
	GREETING_PROTOCOLS(ITS_GREETING)
	if (conn->fresh && http_token_begins(w0, n)) {
		if (n >= 8 || (__u8)(w0 >> (8 * ((n - 1) & 7))) == ' ')
			return PROTOCOL_HTTP;
		*more = true;
	}
	return PROTOCOL_UNKNOWN;
}

/* May these be the first bytes of an answer, where nothing was asked? (A connection that its ends handed on, or that came back.) */
static __always_inline bool answer_begins(__u64 w0, __u32 n)
{
#define ITS_ANSWER(NAME, name) || name##_answer_begins(w0, n)
	return false FURTHER_PROTOCOLS(ITS_ANSWER);
}

SEC("cgroup/skb")
int tap_recognise(struct __sk_buff *skb)
{
	struct bpf_sock *sk = sock_of(skb);
	struct run run = kept(skb);
	__u32 egress = is_egress(skb), length, carried = 0, n;
	struct message_key key = { .egress = egress };
	bool client, request, more;
	struct scratch *scratch;
	struct stream *stream;
	struct message *kept;
	struct packet packet;
	struct conn *conn;
	__u8 protocol;
	__u64 w0, w1;

	if (!sk || !read_packet(skb, &packet) || packet.protocol != IPPROTO_TCP)
		return leave(egress, run.cost);
	conn = sk->state != TCP_LISTEN ? bpf_sk_storage_get(&sockets, sk, 0, 0) : early_conn(skb, &packet);
	if (!conn)
		return leave(egress, run.cost);
	stream = &conn->stream[egress];
	client = egress == !listens(skb, sk);
	scratch = claim(egress);
	if (!scratch) {
		count(UNPARSED_BUSY);
		give_up(stream);
		return finish(skb, conn, &run);
	}
	key.conn = conn->id;
	if (stream->flags & STREAM_CUT) {
		kept = bpf_map_lookup_elem(&messages, &key);
		if (kept) {
			carried = kept->carried & (RECOGNISED_WITHIN - 1);
			__builtin_memcpy(scratch->bytes, kept->carry, RECOGNISED_WITHIN);
		}
	}
	length = skb->len - run.offset;
	if (length > RECOGNISED_WITHIN)
		length = RECOGNISED_WITHIN;
	if (!length || bpf_skb_load_bytes(skb, run.offset, scratch->bytes + carried, BETWEEN_1_AND(RECOGNISED_WITHIN, length)))
		length = 0;
	n = carried + length;
	w0 = word(scratch, 0);
	w1 = word(scratch, 8);
	if (n < 8)
		w0 &= (1ULL << (8 * (n & 7))) - 1;
	if (n < 16)
		w1 = n <= 8 ? 0 : w1 & ((1ULL << (8 * (n & 7))) - 1);
	if (n > 16)
		n = 16;
	protocol = n ? protocol_begins(conn, &scratch->reading, w0, w1, n, client, &request, &more) : PROTOCOL_UNKNOWN;
	if (protocol == PROTOCOL_UNKNOWN && more && n && n < RECOGNISED_WITHIN) {
		next_message_at(&scratch->reading);
		scratch->reading.message.first = bpf_ktime_get_ns();
		scratch->reading.message.carried = n;
		__builtin_memcpy(scratch->reading.message.carry, scratch->bytes, CARRY);
		bpf_map_update_elem(&messages, &key, &scratch->reading.message, BPF_ANY);
		release(scratch, is_egress(skb));
		stream->flags |= STREAM_CUT;
		return finish(skb, conn, &run);
	}
	release(scratch, is_egress(skb));
	if (protocol != PROTOCOL_UNKNOWN) {
		conn->requests = protocol == PROTOCOL_HTTP ? egress == request : egress == client;
		conn->more[0] = conn->more[1] = 0;
		conn->protocol = protocol;
		if (protocol != PROTOCOL_HTTP) {
			call(skb, PART_OF(protocol), &run);
			return finish(skb, conn, &run);
		}
		if (stream->flags & STREAM_CUT)
			stream->state = HTTP_HEAD;
		stream->flags &= ~STREAM_CUT;
		call(skb, sk->state == TCP_LISTEN ? PART_EARLY : PART_TAP, &run);
		return finish(skb, conn, &run);
	}
	stream->flags &= ~STREAM_CUT;
	if (!conn->fresh) {
		conn->more[egress]++;
		if (conn->more[egress] > TURNS_UNKNOWN)
			conn->protocol = PROTOCOL_OTHER;
	} else if (client || !answer_begins(w0, n)) {
		conn->protocol = PROTOCOL_OTHER;
	} else { /* to what was asked on another connection's behalf: the next request will tell */
		conn->fresh = 0;
		give_up(stream);
	}
	return finish(skb, conn, &run);
}

#endif
