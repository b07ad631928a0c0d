/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which protocol does a connection speak? Asked with its first bytes, and with those at each turn of the conversation while nobody
 * knows: a connection may have been open before. Too few bytes wait in `messages` for more. */
#ifndef APPSTATUS_RECOGNISE_H
#define APPSTATUS_RECOGNISE_H

#include "http2.h"
#include "kafka.h"
#include "memcached.h"
#include "mongo.h"
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
	/* The look-up takes what lies there for IP's own notes, of which one bit says that the packet came through a VRF: then it finds
	 * nobody. What the parts hand to each other (the time of a measured run) has been taken out before. */
	skb->cb[2] = skb->cb[3] = 0;
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

/* Which protocol begins so? r->found; if none, r->more: with more bytes perhaps one. r->request: the bytes are a request's. All by
 * memory: the verifier's ways through one protocol's question meet again before the next. */
static __always_inline void protocol_begins(const struct conn *conn, struct reading *r, __u32 n, bool client)
{
	__u64 w0 = r->value;

	r->request = 1;
	r->found = PROTOCOL_UNKNOWN;
	r->more = n < 8 && http_request_begins(w0, n);
	if (method(w0) || w0 == PROXY_LINE) {
		r->found = PROTOCOL_HTTP;
		return;
	}
	if (!conn->fresh && http_response_begins(w0, n)) {
		r->request = 0;
		r->more = n < 7;
		r->found = n < 7 ? PROTOCOL_UNKNOWN : PROTOCOL_HTTP;
		return;
	}
	forget();
#define ITS_VERDICT(NAME, how)                                                                                         \
	r->stop = how(r->value, r->latency[0], r->kind);                                                               \
	forget();                                                                                                      \
	r->more |= r->stop == MAYBE;                                                                                   \
	if (r->stop == YES) {                                                                                          \
		r->found = PROTOCOL_##NAME;                                                                            \
		return;                                                                                                \
	}                                                                                                              \
	forget();
#define ITS_QUESTION(NAME, name) ITS_VERDICT(NAME, name##_recognise)
#define ITS_GREETING(NAME, name) ITS_VERDICT(NAME, name##_greets)
	if (client) {
		FURTHER_PROTOCOLS(ITS_QUESTION)
	} else if (conn->fresh) {
		GREETING_PROTOCOLS(ITS_GREETING)
	}
	w0 = r->value;
	n = r->kind;
	if (conn->fresh && http_token_begins(w0, n) && (w0 & FIRST(3)) != (HTTP2_MAGIC & FIRST(3))) {
		if (n >= 8 || (__u8)(w0 >> (8 * ((n - 1) & 7))) == ' ')
			r->found = PROTOCOL_HTTP;
		else
			r->more = 1;
	}
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
	struct scratch *scratch;
	struct stream *stream;
	struct message *kept;
	struct packet packet;
	struct reading *r;
	struct conn *conn;
	__u8 protocol;
	bool client;
	__u64 w0;

	if (!sk || !read_packet(skb, &packet) || packet.protocol != IPPROTO_TCP)
		return leave(egress, run.cost);
	conn = sk->state != TCP_LISTEN ? bpf_sk_storage_get(&sockets, sk, 0, 0) : early_conn(skb, &packet);
	if (!conn)
		return leave(egress, run.cost);
	stream = &conn->stream[egress];
	client = egress == !listens(skb, sk);
	scratch = claim(egress);
	if (!scratch) {
		not_parsed(conn, UNPARSED_BUSY);
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
	r = &scratch->reading;
	w0 = word(scratch, 0);
	if (n < 8)
		w0 &= (1ULL << (8 * (n & 7))) - 1;
	r->value = w0;
	w0 = word(scratch, 8);
	if (n < 16)
		w0 = n <= 8 ? 0 : w0 & ((1ULL << (8 * (n & 7))) - 1);
	r->latency[0] = w0;
	r->kind = n > 16 ? 16 : n;
	forget();
	n = r->kind;
	protocol_begins(conn, r, n, client);
	forget();
	protocol = r->found;
	n = r->kind;
	if (protocol == PROTOCOL_UNKNOWN && r->more && n && n < RECOGNISED_WITHIN) {
		next_message_at(r);
		r->message.first = bpf_ktime_get_ns();
		r->message.carried = n;
		__builtin_memcpy(r->message.carry, scratch->bytes, CARRY);
		bpf_map_update_elem(&messages, &key, &r->message, BPF_ANY);
		release(scratch, is_egress(skb));
		stream->flags |= STREAM_CUT;
		return finish(skb, conn, &run);
	}
	w0 = r->value;
	conn->requests = protocol == PROTOCOL_HTTP ? egress == r->request : egress == client;
	release(scratch, is_egress(skb));
	if (protocol != PROTOCOL_UNKNOWN) {
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
