/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The tap: every packet of every socket, at the cgroup-v2 root, on its way out and in. Cheapest question first: most packets
 * leave after a few comparisons. See docs/architecture for what it rests on. */
#include "http_run.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* What a run hands to the next one over a tail call, in skb->cb. */
struct run {
	__u64 cost; /* begin of the measured time, or 0 */
	__u32 offset; /* of the bytes to read next */
	__u32 ends; /* not 0: a FIN follows these bytes */
};

enum parser { PARSER_END, PARSER_HTTP_REQUEST, PARSER_HTTP_RESPONSE, PARSERS };

int end_in(struct __sk_buff *skb);
int end_out(struct __sk_buff *skb);
int http_request_in(struct __sk_buff *skb);
int http_request_out(struct __sk_buff *skb);
int http_response_in(struct __sk_buff *skb);
int http_response_out(struct __sk_buff *skb);

/* Two tables: the kernel lets one hold programs of one attach type only (6.18). */
#define TABLE(NAME, ...)                                                                                               \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_PROG_ARRAY);                                                                 \
		__uint(max_entries, PARSERS);                                                                          \
		__uint(key_size, sizeof(__u32));                                                                       \
		__array(values, int(void *));                                                                          \
	} NAME SEC(".maps") = { .values = { __VA_ARGS__ } }
TABLE(parsers_in, [PARSER_END] = (void *)end_in, [PARSER_HTTP_REQUEST] = (void *)http_request_in,
      [PARSER_HTTP_RESPONSE] = (void *)http_response_in);
TABLE(parsers_out, [PARSER_END] = (void *)end_out, [PARSER_HTTP_REQUEST] = (void *)http_request_out,
      [PARSER_HTTP_RESPONSE] = (void *)http_response_out);

#define PASS 1

static __always_inline struct run kept(struct __sk_buff *skb)
{
	struct run run = { .offset = skb->cb[0], .ends = skb->cb[1], .cost = skb->cb[2] | (__u64)skb->cb[3] << 32 };

	return run;
}

/* Returns only if the kernel allows no further call in a row (33), or the table is empty. */
static __always_inline void call(struct __sk_buff *skb, void *table, __u32 parser, const struct run *run)
{
	skb->cb[0] = run->offset;
	skb->cb[1] = run->ends;
	skb->cb[2] = run->cost;
	skb->cb[3] = run->cost >> 32;
	bpf_tail_call(skb, table, parser);
}

static __always_inline int leave(struct __sk_buff *skb, bool egress, __u64 cost)
{
	cost_end(egress ? PROGRAM_EGRESS : PROGRAM_INGRESS, cost);
	return PASS;
}

/* The full socket of a packet. */
static __always_inline struct bpf_sock *sock_of(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	return sk ? bpf_sk_fullsock(sk) : 0;
}

/* Its state, as the first program has found or made it. */
static __always_inline struct conn *conn_of(struct __sk_buff *skb, struct bpf_sock *sk, bool maybe_early)
{
	if (maybe_early && unlikely(sk->state == TCP_LISTEN)) {
		struct packet packet;
		struct early *found;
		struct tuple tuple;

		if (!read_packet(skb, &packet) || !tuple_of_packet(skb, &packet, false, &tuple))
			return 0;
		found = bpf_map_lookup_elem(&early, &tuple);
		return found ? &found->conn : 0;
	}
	return bpf_sk_storage_get(&sockets, sk, 0, 0);
}

/* ---- programs of the table ---- */

/* All bytes of a body, or of a chunk, have passed. */
static __always_inline void body_ends(struct conn *conn, struct stream *stream, bool request)
{
	if (stream->state == STREAM_PART) {
		stream->state = HTTP_CHUNK_SIZE;
		return;
	}
	stream->state = STREAM_START;
	if (request)
		request_complete(conn, stream, bpf_ktime_get_ns());
}

/* What came ahead of a hole is passed by when the hole is filled: inside a body it says nothing. */
static __always_inline void pass_hole(struct conn *conn, struct stream *stream, bool request)
{
	__s32 length = conn->hole_end - stream->seq;

	if ((__s32)(conn->hole_from - stream->seq) > 0)
		return;
	conn->hole_from = conn->hole_end;
	if (length <= 0)
		return;
	stream->seq += length;
	if ((stream->state == STREAM_BODY || stream->state == STREAM_PART) && stream->left >= length) {
		stream->left -= length;
		if (stream->left)
			return;
		body_ends(conn, stream, request);
	} else if (stream->state != STREAM_REST) {
		if (stream->state != STREAM_LOST)
			count(UNPARSED_GAP);
		give_up(stream);
	}
}

/* Reads on from run->offset. What is left for another run goes through the table, as does the connection's end. */
static __always_inline int http(struct __sk_buff *skb, struct bpf_sock *sk, struct conn *conn, void *table, bool egress,
				bool request, struct run *run)
{
	struct stream *stream = &conn->stream[egress];
	struct scratch *scratch = claim();
	struct tuple tuple;
	__u32 more;
	bool lost;

	if (!scratch) {
		count(UNPARSED_BUSY);
		give_up(stream);
		return leave(skb, egress, run->cost);
	}
	scratch->reading.offset = run->offset;
	if (request) {
		http_request_run(skb, conn, stream, scratch, egress);
	} else {
		tuple_of_socket(sk, skb->protocol == bpf_htons(ETH_P_IPV6), &tuple);
		http_response_run(skb, conn, stream, scratch, &tuple, egress);
	}
	run->offset = scratch->reading.offset;
	more = scratch->reading.more;
	lost = scratch->reading.stop == STOP_LOST;
	add(&scratch->busy, -1);
	if (unlikely(lost && conn->protocol == PROTOCOL_HTTP))
		count(UNPARSED_INVALID);
	if (unlikely(more)) {
		call(skb, table, request ? PARSER_HTTP_REQUEST : PARSER_HTTP_RESPONSE, run);
		count(UNPARSED_SEGMENT);
		give_up(stream);
	}
	if (!egress && unlikely(hole(conn)))
		pass_hole(conn, stream, request);
	if (unlikely(run->ends))
		call(skb, table, PARSER_END, run);
	return leave(skb, egress, run->cost);
}

static __always_inline int http_again(struct __sk_buff *skb, void *table, bool egress, bool request)
{
	struct bpf_sock *sk = sock_of(skb);
	struct conn *conn = sk ? conn_of(skb, sk, !egress && request) : 0;
	struct run run = kept(skb);

	if (!conn)
		return leave(skb, egress, run.cost);
	return http(skb, sk, conn, table, egress, request, &run);
}

SEC("cgroup_skb/ingress")
int http_request_in(struct __sk_buff *skb)
{
	return http_again(skb, &parsers_in, false, true);
}

SEC("cgroup_skb/egress")
int http_request_out(struct __sk_buff *skb)
{
	return http_again(skb, &parsers_out, true, true);
}

SEC("cgroup_skb/ingress")
int http_response_in(struct __sk_buff *skb)
{
	return http_again(skb, &parsers_in, false, false);
}

SEC("cgroup_skb/egress")
int http_response_out(struct __sk_buff *skb)
{
	return http_again(skb, &parsers_out, true, false);
}

/* The side that owes answers ends the connection by FIN. (A client's FIN alone may be a half-close. RST, and everything else
 * that ends a connection, is counted when the socket's state becomes CLOSE, in tcp.bpf.c: only the socket knows whether it
 * believes a RST, and its lock keeps answers from leaving meanwhile.) */
static __always_inline int end(struct __sk_buff *skb, bool egress)
{
	struct bpf_sock *sk = sock_of(skb);
	struct conn *conn = sk ? bpf_sk_storage_get(&sockets, sk, 0, 0) : 0;
	struct run run = kept(skb);
	struct tuple tuple;
	__u32 pending;

	if (!conn)
		return leave(skb, egress, run.cost);
	pending = waiting(conn);
	if (pending && conn->requests != egress && ends_first(conn)) {
		tuple_of_socket(sk, skb->protocol == bpf_htons(ETH_P_IPV6), &tuple);
		requests_end(conn, &tuple, pending, without_answer(conn, STATUS_CLOSED));
	}
	return leave(skb, egress, run.cost);
}

SEC("cgroup_skb/ingress")
int end_in(struct __sk_buff *skb)
{
	return end(skb, false);
}

SEC("cgroup_skb/egress")
int end_out(struct __sk_buff *skb)
{
	return end(skb, true);
}

/* ---- DNS answers, for names of addresses ---- */

#define DNS_PER_SECOND 100
struct dns_rate {
	__u64 second;
	__u64 sent;
};
MAP(dns_rates, ARRAY, __u32, struct dns_rate, 1, 0);

static __always_inline void dns(struct __sk_buff *skb, const struct packet *packet)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u16 *source = data + (packet->l4 & 127);
	__u32 zero = 0, offset = packet->l4 + 8, length = skb->len - offset;
	struct dns_rate *rate;
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
	if (rate->second != now >> 30) {
		rate->second = now >> 30;
		rate->sent = 0;
	}
	if (rate->sent >= DNS_PER_SECOND) {
		count(LOST_DNS);
		return;
	}
	rate->sent++;
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

/* ---- the taps ---- */

static __always_inline void begin(struct conn *conn, struct bpf_sock *sk, const struct tuple *tuple)
{
	conn->id = bpf_get_prandom_u32();
	conn->lookups = 8;
	conn->owner = owner_of(sk, tuple);
	conn->peer = peer_of(tuple);
}

/* A connection seen from its first payload on: no byte before `seq` is missing, and none was sent the other way. */
static __always_inline void expect(struct conn *conn, const struct packet *packet, bool egress, __u32 seq)
{
	conn->fresh = 1;
	conn->stream[egress].seq = seq;
	conn->stream[egress].flags = STREAM_SEEN;
	if (packet->flags & FLAG_ACK) {
		conn->stream[!egress].seq = packet->ack;
		conn->stream[!egress].flags = STREAM_SEEN;
	}
}

#define EARLY_WINDOW (1 << 20) /* of sequence numbers that belong to the same connection */

/* For payload that reaches a listener. */
static __always_inline struct conn *early_conn(struct __sk_buff *skb, struct bpf_sock *sk, const struct packet *packet)
{
	struct early fresh = { .first = packet->seq }, *known;
	struct tuple tuple;

	if (!tuple_of_packet(skb, packet, false, &tuple))
		return 0;
	known = bpf_map_lookup_elem(&early, &tuple);
	/* Else of an old connection whose child never came, or of a segment that had overtaken this one. */
	if (known && packet->seq - known->first < EARLY_WINDOW)
		return &known->conn;
	begin(&fresh.conn, sk, &tuple);
	expect(&fresh.conn, packet, false, packet->seq);
	bpf_map_update_elem(&early, &tuple, &fresh, BPF_ANY);
	known = bpf_map_lookup_elem(&early, &tuple);
	return known ? &known->conn : 0;
}

static __always_inline struct conn *new_conn(struct __sk_buff *skb, struct bpf_sock *sk, const struct packet *packet,
					     bool egress)
{
	struct bpf_tcp_sock *tcp = bpf_tcp_sock(sk);
	struct tuple tuple, header;
	struct conn fresh = {};
	struct early *known;
	struct conn *conn;

	tuple_of_socket(sk, packet->ipv6, &tuple);
	known = bpf_map_lookup_elem(&early, &tuple);
	if (known) {
		__u32 seq = egress ? packet->ack : packet->seq;
		struct conn *adopted = 0;

		if (seq - known->first + EARLY_WINDOW < 2 * EARLY_WINDOW) {
			if (tcp && (__s32)(tcp->rcv_nxt - known->first) < 0) { /* not the connection's first bytes */
				fresh.hole_from = known->first;
				fresh.hole_end = known->conn.stream[0].seq;
			} else {
				adopted = bpf_sk_storage_get(&sockets, sk, &known->conn, BPF_SK_STORAGE_GET_F_CREATE);
			}
		}
		bpf_map_delete_elem(&early, &tuple);
		if (adopted)
			return adopted;
	}
	if (!packet->length)
		return 0;
	begin(&fresh, sk, &tuple);
	if (tcp && !tcp->bytes_received && tcp->bytes_acked <= 1)
		expect(&fresh, packet, egress, egress || sk->state == TCP_SYN_SENT ? packet->seq : tcp->rcv_nxt);
	/* On the host network the header already carries the backend while the socket keeps the service's address. */
	if (egress && tuple_of_packet(skb, packet, egress, &header) &&
	    (!same(&header.remote, &tuple.remote) || header.remote_port != tuple.remote_port)) {
		fresh.actual = header.remote;
		fresh.actual_port = header.remote_port;
	}
	conn = bpf_sk_storage_get(&sockets, sk, &fresh, BPF_SK_STORAGE_GET_F_CREATE);
	if (!conn)
		count(FULL_SOCKETS);
	return conn;
}

/* Up to eight bytes of the payload, zero filled. */
static __always_inline __u64 first_bytes(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 n = packet->length > 8 ? 8 : packet->length;
	__u64 w = 0;

	if (n)
		bpf_skb_load_bytes(skb, packet->payload, &w, BETWEEN_1_AND(8, n));
	return w;
}

/* Which protocol, and which way do requests go? True: known now. */
static __always_inline bool recognise(struct __sk_buff *skb, struct conn *conn, const struct packet *packet, bool egress)
{
	__u32 n = packet->length > 8 ? 8 : packet->length;
	__u64 w = first_bytes(skb, packet);
	bool request = http_request_begins(w, n) || (conn->fresh && http_token_begins(w, n));

	if (!request && !(!conn->fresh && http_response_begins(w, n))) {
		if (conn->fresh)
			conn->protocol = PROTOCOL_OTHER;
		return false;
	}
	conn->protocol = PROTOCOL_HTTP;
	conn->requests = egress == request;
	if (!conn->fresh) {
		conn->stream[0].state = conn->stream[1].state = STREAM_LOST;
		conn->stream[0].flags |= STREAM_GAP;
		conn->stream[1].flags |= STREAM_GAP;
	}
	return true;
}

/* Have bytes that the stream waits for reached the socket unseen? */
static __always_inline bool went_by(struct bpf_sock *sk, const struct stream *stream)
{
	struct bpf_tcp_sock *tcp = bpf_tcp_sock(sk);

	return tcp && (__s32)(tcp->rcv_nxt - stream->seq) > 0;
}

/* Bytes seen before are cut off. Before missing ones the stream waits on ingress, as its socket does, until they are sent
 * again, except inside a body. False: nothing to read. */
static __always_inline bool in_order(struct bpf_sock *sk, struct conn *conn, struct stream *stream, struct packet *packet,
				     bool egress, bool known)
{
	__s32 ahead = packet->seq - stream->seq;
	__u32 next = packet->seq + packet->length;

	if (unlikely(!(stream->flags & STREAM_SEEN))) {
		stream->flags |= STREAM_SEEN;
	} else if (unlikely(ahead < 0)) {
		if (packet->length <= -(__u32)ahead)
			return false;
		packet->payload += -(__u32)ahead;
		packet->length -= -(__u32)ahead;
	} else if (unlikely(ahead > 0)) {
		if ((stream->state == STREAM_BODY || stream->state == STREAM_PART) && stream->left >= ahead) {
			stream->left -= ahead; /* comes late, and says nothing */
		} else if (stream->state == STREAM_LOST) {
			stream->flags |= STREAM_GAP | STREAM_MISSED;
		} else if (stream->state != STREAM_REST) {
			if (!egress && (conn->fresh || conn->protocol) && !(known && went_by(sk, stream))) {
				bool more = hole(conn);

				if (!more || (__s32)(packet->seq - conn->hole_from) < 0)
					conn->hole_from = packet->seq;
				if (!more || (__s32)(next - conn->hole_end) > 0)
					conn->hole_end = next;
				return false;
			}
			count(UNPARSED_GAP);
			give_up(stream);
		}
	}
	stream->seq = next;
	return true;
}

/* A packet of a connection that may speak HTTP. `known`: its state is socket storage, and the parser runs right here; else
 * through the table, as the verifier would have to go through it twice. */
static __always_inline int segment(struct __sk_buff *skb, struct bpf_sock *sk, struct conn *conn, struct packet *packet,
				   void *table, bool egress, bool known, __u64 cost)
{
	struct stream *stream = &conn->stream[egress];
	struct run run = { .cost = cost };
	bool turn, request;

	/* A FIN counts once everything before it has been seen. Not a plain truth value: the verifier would look at all that
	 * follows twice. */
	if (packet->flags & FLAG_FIN && (!(stream->flags & STREAM_SEEN) || packet->seq == stream->seq ||
					 packet->seq + packet->length == stream->seq))
		run.ends = packet->flags;
	if (!packet->length || !in_order(sk, conn, stream, packet, egress, known))
		goto over;
	turn = conn->last != egress + 1;
	if (turn)
		conn->last = egress + 1;
	if (conn->protocol == PROTOCOL_UNKNOWN) {
		if ((!turn && !conn->fresh) || !recognise(skb, conn, packet, egress))
			goto over;
	}
	request = conn->requests == egress;
	/* Refused before a byte of its body was sent (100-continue): then the body may never come. Once begun it has to be ended. */
	if (unlikely(request && stream->flags & STREAM_WAITS)) {
		stream->flags &= ~STREAM_WAITS;
		if (turn && !waiting(conn) && conn->stream[!egress].state == STREAM_START && method(first_bytes(skb, packet)))
			stream->state = STREAM_START;
	}
	/* Asked again although the last answer's body, if it had one, goes on: if an answer begins here, it had none. */
	if (unlikely((stream->state == STREAM_BODY || stream->state == STREAM_PART) && turn && !request &&
		     stream->flags & STREAM_DOUBT && waiting(conn) && http_response_begins(first_bytes(skb, packet), 8)))
		stream->state = STREAM_START;
	if (stream->state == STREAM_REST || conn->tunnel || (stream->state == STREAM_LOST && !turn))
		goto over;
	if (stream->state == STREAM_BODY || stream->state == STREAM_PART) {
		if (packet->length < stream->left) {
			stream->left -= packet->length;
			goto over;
		}
		packet->payload += stream->left;
		packet->length -= stream->left;
		stream->left = 0;
		body_ends(conn, stream, request);
		if (!packet->length)
			goto over;
	}
	run.offset = packet->payload;
	if (known) {
		if (request)
			return http(skb, sk, conn, table, egress, true, &run);
		return http(skb, sk, conn, table, egress, false, &run);
	}
	call(skb, table, PARSER_HTTP_REQUEST, &run);
over:
	if (!egress && unlikely(hole(conn)))
		pass_hole(conn, stream, conn->requests == egress);
	if (unlikely(run.ends))
		call(skb, table, PARSER_END, &run);
	return leave(skb, egress, cost);
}

static __always_inline int tap(struct __sk_buff *skb, void *table, bool egress)
{
	__u64 cost = cost_begin();
	struct packet packet;
	struct bpf_sock *sk;
	struct conn *conn;

	if (!read_packet(skb, &packet))
		return leave(skb, egress, cost);
	if (packet.protocol == IPPROTO_UDP) {
		if (!egress)
			dns(skb, &packet);
		return leave(skb, egress, cost);
	}
	if (!packet.length && !(packet.flags & (FLAG_FIN | FLAG_SYN | FLAG_RST))) /* RST: may have to adopt its state */
		return leave(skb, egress, cost);
	sk = sock_of(skb);
	if (!sk)
		return leave(skb, egress, cost);
	if (!egress && unlikely(sk->state == TCP_LISTEN)) {
		conn = packet.length ? early_conn(skb, sk, &packet) : 0;
		if (!conn || conn->protocol == PROTOCOL_OTHER)
			return leave(skb, egress, cost);
		return segment(skb, sk, conn, &packet, table, egress, false, cost);
	}
	/* A socket may connect again after it was disconnected. */
	if (egress && unlikely(packet.flags & FLAG_SYN))
		bpf_sk_storage_delete(&sockets, sk);
	conn = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (unlikely(!conn)) {
		conn = new_conn(skb, sk, &packet, egress);
		if (!conn)
			return leave(skb, egress, cost);
	}
	if (conn->protocol == PROTOCOL_OTHER)
		return leave(skb, egress, cost);
	return segment(skb, sk, conn, &packet, table, egress, true, cost);
}

SEC("cgroup_skb/ingress")
int tap_in(struct __sk_buff *skb)
{
	return tap(skb, &parsers_in, false);
}

SEC("cgroup_skb/egress")
int tap_out(struct __sk_buff *skb)
{
	return tap(skb, &parsers_out, true);
}

#include "sweep.h"
