/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* TCP connections by owner and destination, from the kernel's own state changes; bytes, retransmits and RTT are read off the
 * sockets when user space asks and when they close, so packets cost nothing here. Also ends the requests of sockets that die
 * without a packet (time-outs, a client that gave up). */
#include "series.h"
#include "sock.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* What the kernel counted on a socket. */
struct totals {
	__u64 bytes_sent;
	__u64 bytes_received;
	__u64 segments;
	__u64 retransmits;
	__u64 spurious;
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

#define GIVE_UP_NS 1000000000ULL

struct listener_key {
	__u32 netns;
	__u32 port;
};
struct listener {
	__u64 owner;
	__u64 sockets; /* SO_REUSEPORT, or several addresses */
};
MAP(listeners, HASH, struct listener_key, struct listener, 16384, BPF_F_NO_PREALLOC);

/* What walk_files does: listeners must be known before a connection can be told to be outbound. */
enum walk { WALK_LISTENERS, WALK_CONNECTIONS };
MAP(walk_kind, ARRAY, __u32, __u32, 1, 0);

static __always_inline struct listener_key listener_of(const struct sock *sk, __u16 port)
{
	struct listener_key key = { .netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum), .port = port };

	return key;
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

/* Brings the connection's counters into its series. */
static __always_inline void flush(struct connection *c, const struct totals *now, struct tcp_series *series)
{
	__u64 sent = growth(&c->flushed.bytes_sent, now->bytes_sent);
	__u64 received = growth(&c->flushed.bytes_received, now->bytes_received);
	__u64 segments = growth(&c->flushed.segments, now->segments);
	__u64 retransmits = growth(&c->flushed.retransmits, now->retransmits);
	__u64 spurious = growth(&c->flushed.spurious, now->spurious);

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

static __always_inline void report_listener(const struct sock *sk, __u64 owner, __u32 netns, __u16 port, __u16 kind)
{
	struct tuple tuple;
	struct event *event;

	event = bpf_ringbuf_reserve(&events, sizeof(*event) + sizeof(union addr), 0);
	if (!event) {
		count(LOST_EVENTS);
		return;
	}
	tuple_of_sock(sk, &tuple);
	__builtin_memset(event, 0, sizeof(*event));
	event->at = bpf_ktime_get_ns();
	event->kind = kind;
	event->owner = owner;
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->number = netns;
	event->port = port;
	event->length = sizeof(union addr);
	__builtin_memcpy(event + 1, &tuple.local, sizeof(union addr));
	bpf_ringbuf_submit(event, 0);
}

static __always_inline void listen_begins(const struct sock *sk)
{
	__u16 port = local_port(sk);
	struct listener_key key = listener_of(sk, port);
	struct listener *known = bpf_map_lookup_elem(&listeners, &key), fresh = { .sockets = 1 };

	fresh.owner = owner_of_sock(sk, (void *)bpf_get_current_task());
	if (known) {
		known->owner = fresh.owner;
		add(&known->sockets, 1);
	} else if (bpf_map_update_elem(&listeners, &key, &fresh, BPF_ANY)) {
		count(FULL_LISTENERS);
	}
	report_listener(sk, fresh.owner, key.netns, port, EVENT_LISTEN);
}

static __always_inline void listen_ends(const struct sock *sk)
{
	__u16 port = local_port(sk);
	struct listener_key key = listener_of(sk, port);
	struct listener *known = bpf_map_lookup_elem(&listeners, &key);

	report_listener(sk, known ? known->owner : cgroup_of_sock(sk), key.netns, port, EVENT_LISTEN_END);
	if (!known)
		return;
	add(&known->sockets, -1);
	if ((__s64)known->sockets <= 0)
		bpf_map_delete_elem(&listeners, &key);
}

/* Remembers who owns a socket whose cgroup does not say it, for the tap. */
static __always_inline void remember_stray(const struct sock *sk, __u64 owner)
{
	struct tuple tuple;

	if (!(owner & OWNER_V1))
		return;
	tuple_of_sock(sk, &tuple);
	bpf_map_update_elem(&stray_sockets, &tuple, &owner, BPF_ANY);
}

static __always_inline void connect_begins(const struct sock *sk)
{
	struct connection c = { .state = CONNECTING, .started = bpf_ktime_get_ns() }, *before;
	__u64 id = (__u64)sk;

	before = bpf_map_lookup_elem(&connections, &id);
	if (before && before->end && claim(&id)) { /* of this memory's last socket: the walker has not come by yet */
		account_end(before, &id);
		release(&id);
	}
	c.owner = owner_of_sock(sk, (void *)bpf_get_current_task());
	tuple_of_sock(sk, &c.tuple);
	if (bpf_map_update_elem(&connections, &id, &c, BPF_ANY))
		count(FULL_CONNECTIONS);
}

static __always_inline void accepted(const struct sock *sk)
{
	__u16 port = local_port(sk);
	__u64 owner = cgroup_of_sock(sk);
	struct series_key key = {};
	struct tcp_series *series;
	struct tuple tuple;

	if (owner == config.root_cgroup && config.v1_owners) {
		struct listener_key at = listener_of(sk, port);
		struct listener *listener = bpf_map_lookup_elem(&listeners, &at);

		owner = listener ? listener->owner : OWNER_UNKNOWN;
		remember_stray(sk, owner);
	}
	tuple_of_sock(sk, &tuple);
	key.owner = owner;
	key.direction = INBOUND;
	key.destination = tuple.local;
	key.destination_port = port;
	series = find_series(&tcp, &zero_tcp, &key, FULL_TCP);
	if (series) {
		add(&series->accepted, 1);
		series->last_used = bpf_ktime_get_ns();
	}
}

/* The storage's value where its helper may not be called (5.10, at tracepoints): found through the kernel's own lists. A
 * socket carries at most a few values; other agents' maps are told apart by id. */
static __always_inline bool read_conn(const struct sock *sk, struct conn *conn)
{
	struct bpf_local_storage *storage = BPF_CORE_READ(sk, sk_bpf_storage);
	struct hlist_node *node;

	if (!storage)
		return false;
	node = BPF_CORE_READ(storage, list.first);
#pragma nounroll
	for (int i = 0; i < 4; i++) {
		struct bpf_local_storage_elem *elem;

		if (!node)
			return false;
		elem = (void *)node - bpf_core_field_offset(struct bpf_local_storage_elem, snode);
		if (BPF_CORE_READ(elem, sdata.smap, map.id) == config.sockets_map)
			return !bpf_core_read(conn, sizeof(*conn), &elem->sdata.data);
		node = BPF_CORE_READ(node, next);
	}
	return false;
}

/* Requests still waiting when the socket's state becomes CLOSE: by RST, by its own side, or without a packet. */
static __always_inline void unanswered(const struct sock *sk)
{
	__u32 pending, overdue = 0;
	struct series_key key = {};
	struct tuple tuple;
	struct conn conn;
	__u8 peer;

	if (!config.sockets_map || !read_conn(sk, &conn))
		return;
	pending = waiting(&conn);
	if (!pending)
		return;
	peer = conn.peer & SLOT_PEER;
#pragma unroll
	for (int i = 0; i < PIPELINE; i++) {
		if (!in_use(&conn, i))
			continue;
		peer = conn.start[i] & SLOT_PEER;
		if (conn.start[i] & SLOT_OVERDUE)
			overdue++;
	}
	if (pending <= overdue || !ends_first(&conn))
		return;
	key.owner = conn.owner;
	key.direction = conn.requests == 1 ? OUTBOUND : INBOUND;
	key.protocol = conn.protocol;
	if (key.direction == OUTBOUND) {
		tuple_of_sock(sk, &tuple);
		if (unset(&conn.actual))
			look_up_nat(&tuple, &conn.actual, &conn.actual_port);
		key.destination = tuple.remote;
		key.destination_port = tuple.remote_port;
		key.actual = conn.actual;
		key.actual_port = conn.actual_port;
	} else {
		key.peer = peer;
	}
	request_ended(&key, without_answer(&conn, BPF_CORE_READ(sk, sk_err) ? STATUS_RESET : STATUS_CLOSED), NO_LATENCY,
		      bpf_ktime_get_ns(), pending - overdue);
}

/* The application closed its socket so soon that it cannot have waited for an answer: it dialled several addresses and another
 * one was faster (Happy Eyeballs), or its user left. */
static __always_inline bool given_up(const struct sock *sk, const struct connection *c)
{
	return !BPF_CORE_READ(sk, sk_err) && BPF_CORE_READ(sk, sk_shutdown) && bpf_ktime_get_ns() - c->started < GIVE_UP_NS;
}

static __always_inline void closed(const struct sock *sk, int from)
{
	__u64 id = (__u64)sk;
	struct connection *c = bpf_map_lookup_elem(&connections, &id);
	bool ours;

	if (from != TCP_SYN_SENT)
		unanswered(sk);
	if (!c)
		return;
	read_totals(sk, &c->last);
	ours = claim(&id);
	c->end = c->state != CONNECTING ? CLOSED : given_up(sk, c) ? GIVEN_UP : FAILED;
	if (!ours) /* the walker is at it, and accounts the end now or when it comes by again */
		return;
	account_end(c, &id);
	release(&id);
}

static __always_inline void established(const struct sock *sk)
{
	__u64 id = (__u64)sk;
	struct connection *c = bpf_map_lookup_elem(&connections, &id);

	if (!c)
		return;
	c->connect_time = bpf_ktime_get_ns() - c->started;
	tuple_of_sock(sk, &c->tuple); /* the local port is known by now */
	c->state = OPEN;
	remember_stray(sk, c->owner);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_state, const struct sock *sk, int from, int to)
{
	__u64 cost = cost_begin();

	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	if (to == TCP_SYN_SENT)
		connect_begins(sk);
	else if (to == TCP_LISTEN)
		listen_begins(sk);
	else if (to == TCP_ESTABLISHED && from == TCP_SYN_SENT)
		established(sk);
	else if (to == TCP_ESTABLISHED && from == TCP_SYN_RECV)
		accepted(sk);
	else if (to == TCP_CLOSE && from == TCP_LISTEN)
		listen_ends(sk);
	else if (to == TCP_CLOSE)
		closed(sk, from);
	cost_end(PROGRAM_TCP, cost);
	return 0;
}

static __always_inline void walk(struct connection *c, const __u64 *id, __u32 sweep)
{
	const struct sock *sk = (const void *)*id;
	struct tcp_series *series;
	struct series_key key;
	struct totals now;

	if (!c->end && c->state == CONNECTING) {
		if (!c->failed && bpf_ktime_get_ns() - c->started >= config.connect_ms * 1000000ULL)
			count_failure(c); /* a black hole: TCP gives up after two minutes only */
		return;
	}
	read_totals(sk, &now);
	if (c->end) { /* and the socket's memory may be another's already */
		account_end(c, id);
		return;
	}
	if (unset(&c->actual)) /* known late, what was counted stays where it was */
		look_up_nat(&c->tuple, &c->actual, &c->actual_port);
	series = series_of(c, true, &key);
	if (!series)
		return;
	if (!c->counted)
		count_connection(c, series);
	flush(c, &now, series);
	if (series->sweep != sweep) {
		series->sweep = sweep;
		series->active = 0;
		series->rtt_sum = 0;
		series->rtt_count = 0;
	}
	series->active++;
	series->rtt_sum += BPF_CORE_READ((const struct tcp_sock *)sk, srtt_us) >> 3;
	series->rtt_count++;
}

SEC("iter/bpf_map_elem")
int walk_connections(struct bpf_iter__bpf_map_elem *ctx)
{
	__u32 zero = 0, *number = bpf_map_lookup_elem(&sweep_number, &zero);
	__u64 *key = ctx->key, id;
	struct connection *c;

	if (!key || !number)
		return 0;
	id = *key;
	if (!claim(&id)) /* it ends right now */
		return 0;
	c = bpf_map_lookup_elem(&connections, &id);
	if (c)
		walk(c, &id, *number);
	release(&id);
	return 0;
}

/* ---- sockets that were open before ---- */

static __always_inline void adopt_connection(const struct sock *sk, const struct found_socket *found)
{
	struct connection c = { .state = OPEN_AT_START };
	struct listener_key at = { .netns = found->netns, .port = found->local_port };
	__u64 id = (__u64)sk;

	remember_stray(sk, found->owner);
	if (bpf_map_lookup_elem(&listeners, &at))
		return;
	tuple_of_sock(sk, &c.tuple);
	c.owner = found->owner;
	read_totals(sk, &c.flushed);
	/* Held by several processes it is found several times. */
	if (bpf_map_update_elem(&connections, &id, &c, BPF_NOEXIST) == -7)
		count(FULL_CONNECTIONS);
}

SEC("iter/task_file")
int walk_files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	__u32 zero = 0, *kind = bpf_map_lookup_elem(&walk_kind, &zero);
	struct found_socket found = {};
	struct tuple tuple;
	struct socket *socket;
	__u16 protocol;
	struct sock *sk;

	if (!task || !file || !kind)
		return 0;
	if (BPF_CORE_READ(file, f_inode, i_sb, s_magic) != SOCKFS_MAGIC)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	if (!sk)
		return 0;
	found.state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (found.state != (*kind == WALK_LISTENERS ? TCP_LISTEN : TCP_ESTABLISHED))
		return 0;
	if (BPF_CORE_READ(sk, __sk_common.skc_family) != AF_INET && BPF_CORE_READ(sk, __sk_common.skc_family) != AF_INET6)
		return 0;
	protocol = BPF_CORE_READ(sk, sk_protocol);
	/* Go listens with MPTCP; what it accepts from others is plain TCP. */
	if (protocol != IPPROTO_TCP && !(protocol == IPPROTO_MPTCP && *kind == WALK_LISTENERS))
		return 0;
	tuple_of_sock(sk, &tuple);
	found.owner = owner_of_sock(sk, task);
	found.local = tuple.local;
	found.remote = tuple.remote;
	found.local_port = tuple.local_port;
	found.remote_port = tuple.remote_port;
	found.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	found.pid = BPF_CORE_READ(task, tgid);
	found.inode = BPF_CORE_READ(file, f_inode, i_ino);
	if (*kind == WALK_LISTENERS) {
		struct listener_key key = { .netns = found.netns, .port = found.local_port };
		struct listener fresh = { .owner = found.owner, .sockets = 1 };

		bpf_map_update_elem(&listeners, &key, &fresh, BPF_NOEXIST);
	} else {
		adopt_connection(sk, &found);
	}
	bpf_seq_write(ctx->meta->seq, &found, sizeof(found));
	return 0;
}
