/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the programs share among themselves and with user space (node_agent/appstatus_agent/kernel/rows.py). */
#ifndef APPSTATUS_TYPES_H
#define APPSTATUS_TYPES_H

#include <linux/types.h>

/* Network order; IPv4 as ::ffff:a.b.c.d. */
union addr {
	__u8 bytes[16];
	__u32 words[4];
	__u64 halves[2];
};

/* A socket's ends as the socket (not a NATed packet) names them. Ports in host order. */
struct tuple {
	union addr local;
	union addr remote;
	__u16 local_port;
	__u16 remote_port;
	__u32 zero;
};

#define OWNER_V1 (1ULL << 63)
#define OWNER_UNKNOWN 0ULL

enum direction { OUTBOUND, INBOUND };

/* Protocols beside HTTP: what comes here has NAME.h, with NAME_recognise and NAME_step. In the order in which they are asked whether
 * a connection is theirs, and of PROTOCOLS in rows.py. */
#define FURTHER_PROTOCOLS(P) P(REDIS, redis) P(POSTGRES, postgres) P(MYSQL, mysql) P(KAFKA, kafka) P(MONGO, mongo) P(GRPC, grpc) \
	P(MEMCACHED, memcached)
/* GRPC: a connection that speaks HTTP/2. Its requests are HTTP's, or gRPC's own.
 * Of them, those whose server may speak first: these have NAME_greets. */
#define GREETING_PROTOCOLS(P) P(MYSQL, mysql) P(GRPC, grpc)
#define ITS_NUMBER(NAME, name) PROTOCOL_##NAME,

enum protocol {
	PROTOCOL_UNKNOWN,
	PROTOCOL_HTTP,
	FURTHER_PROTOCOLS(ITS_NUMBER)
	PROTOCOLS,
	PROTOCOL_TUNNEL = 254, /* was HTTP: the requests of a connection after 101, or 2xx to CONNECT */
	PROTOCOL_OTHER
};
enum peer { PEER_NONE, PEER_LOCAL, PEER_CLUSTER, PEER_OUTSIDE, PEER_KUBELET, PEER_SCRAPE };
enum status { STATUS_1XX, STATUS_5XX = 4, STATUS_RESET, STATUS_CLOSED, STATUS_OVERDUE, STATUS_UNKNOWN, STATUSES };
/* Of protocols that know no more classes than these: a client's error is one that the client made, as with 4xx. */
enum outcome { STATUS_OK = 1, STATUS_CLIENT_ERROR = 3, STATUS_FAILED = STATUS_5XX };

#define BUCKETS 25

struct series_key {
	__u64 owner;
	union addr destination;
	union addr actual;
	__u16 destination_port;
	__u16 actual_port;
	__u8 direction;
	__u8 protocol;
	__u8 peer;
	__u8 folded;
};

/* One value per series with every bucket inside: one lookup and a few atomic adds per request. Not per CPU: such maps
 * multiply by *possible* CPUs. */
struct request_series {
	__u64 ended[STATUSES];
	__u64 latency[BUCKETS];
	__u64 latency_sum;
	__u64 last_used;
	__u32 in_flight;
	__u32 sweep;
};

struct tcp_series {
	__u64 connects;
	__u64 failed;
	__u64 connect_time;
	__u64 accepted;
	__u64 bytes_sent;
	__u64 bytes_received;
	__u64 segments; /* with payload, those sent again included */
	__u64 retransmits;
	__u64 spurious; /* retransmits of what the receiver had already */
	__s64 active; /* these three are of the walk `sweep` */
	__u64 rtt_sum;
	__u32 rtt_count;
	__u32 sweep;
	__u64 last_used;
};

/* A destination is counted against its owner's budget once, whatever protocol. */
struct destination_key {
	__u64 owner;
	union addr ip;
	__u16 port;
	__u8 zero[6];
};

#define BACKENDS_PER_DESTINATION 64
#define BACKENDS_TCP_SHIFT 16 /* a destination's backends: of connections << 16 | of requests */
#define BUDGET_INBOUND (1ULL << 62) /* of destination_key.owner: an address listened on */

/* The service address is not what answers: from conntrack in the host's network namespace. */
struct nat_target {
	union addr ip;
	__u16 port;
	__u8 zero[6];
};

struct network {
	__u32 prefix_bits;
	__u32 ip[4]; /* not union addr: its alignment would put a hole into the key */
};
enum network_class { NETWORK_CLUSTER = 1, NETWORK_NODE = 2 };

/* ---- request state of a socket ---- */

#define PIPELINE 4 /* requests in flight on one connection whose start is remembered (a power of two) */

/* A slot of conn.start: time of the request's last byte so far in units of 64 ns (42 bits: 78 hours; differences are taken modulo),
 * lap (14 bits: the request's number / PIPELINE, so that what another request left in the slot is told apart), flags (8 bits). */
#define SLOT_LAP_SHIFT 8
#define SLOT_TIME_SHIFT 22
#define SLOT_UNIT_SHIFT 6 /* of ns */
#define SLOT_PEER 7
#define SLOT_HEAD (1 << 3)
#define SLOT_CONNECT (1 << 4)
#define SLOT_LONG SLOT_CONNECT /* of other protocols: its wait is long by intent, and no latency */
#define SLOT_OVERDUE (1 << 5)
#define SLOT_COMPLETE (1 << 6) /* the request's last byte has been sent: before, the server owes nothing */
#define SLOT_VALID (1 << 7)

/* One direction's place in its byte stream. Written by that direction's hook only: ingress and egress of one socket run
 * on different CPUs at once. */
struct stream {
	__u64 left : 48; /* bytes still to skip, or the number */
	__u64 acked : 16; /* of the other direction's bytes, by this one's last segment: see takes_turn() */
	__u32 seq; /* next expected */
	__u8 state; /* below STREAM_BODY: the protocol's parser's own */
	__u8 flags;
	__u16 requests; /* stream[0]: begun on this connection; stream[1]: ended (whichever direction they take) */
};
#define STREAM_SLOT 1 /* the request being received owns a slot */
#define STREAM_GAP 2 /* messages may have been missed since the last one understood */
#define STREAM_SEEN 4 /* seq is valid */
#define STREAM_WAITS 16 /* the header of a request has ended, and no byte of its body has come */
#define STREAM_DOUBT 32 /* the answer to a request without slot: a body, or none as to HEAD */
#define STREAM_MISSED 8 /* bytes were given up since then: an answer may have been among them */
#define STREAM_DIGITS 64 /* of the number in `left` one has been met */
#define STREAM_CUT STREAM_DIGITS /* of other protocols: `messages` has the bytes of this stream that were not understood yet */
#define STREAM_HOLE 128 /* ingress: bytes came ahead of missing ones, see conn.hole_from */

/* States in which no parser needs to run: the tap passes by these bytes without reading them. */
enum stream_state {
	STREAM_START, /* before the first byte of a message */
	STREAM_BODY = 64, /* `left` bytes to skip, then START */
	STREAM_PART, /* `left` bytes to skip, then the parser goes on */
	STREAM_REST, /* nothing more to read: until close, or a tunnel */
	STREAM_LOST, /* the next segment after a turn of the conversation may begin a message */
};

/* Socket storage, made with the first payload. At most 120 bytes: 64 + 8 of the kernel's own fit it into a 192-byte slab
 * object (ebpf-practice: 100,000 idle connections must stay cheap). Two cache lines, as the kernel puts its 8 bytes in front:
 * what a request changes is all in the second, since that one travels between the CPUs of both hooks. (A line for each hook was
 * slower: the start's has to travel all the same, in both directions, and the other one follows when hooks look at it at all.) */
struct conn {
	__u64 owner;
	union addr actual;
	__u32 id; /* of its entries in `messages` */
	__u32 hole_from, hole_end; /* ingress: came ahead of bytes still missing, and was not read (STREAM_HOLE) */
	__u32 swept; /* by which walk over files: a socket may be in several */
	__u16 actual_port;
	__u8 protocol;
	__u8 requests; /* hook direction that carries requests: 0 ingress, 1 egress */
	__u8 peer; /* class of the remote address */
	__u8 lookups : 4; /* of the NAT mapping still allowed */
	__u8 watched : 4; /* requests whose first bytes are still kept: see sample.h */
	__u8 fresh; /* seen from its first byte on */
	__u8 understood; /* a request has been: the protocol is no guess any more; and of HTTP/2 of what kind the last one was */
	__u32 more[2]; /* by hook direction, the parser's own. Not 0: the message goes on behind this part of it */
	__u64 start[PIPELINE];
	struct stream stream[2]; /* by hook direction */
};
#define UNDERSTOOD_GRPC 2 /* conn.understood */
_Static_assert(__builtin_offsetof(struct conn, start) == 64 - 8, "the second cache line");
_Static_assert(sizeof(struct conn) == 128 - 8, "two cache lines");

/* ---- ring buffer ---- */

enum event_kind { EVENT_EXEC = 1, EVENT_EXIT, EVENT_OOM, EVENT_LISTEN, EVENT_LISTEN_END, EVENT_CGROUP_MADE, EVENT_CGROUP_GONE, EVENT_DNS, EVENT_SAMPLE };

struct event {
	__u64 at;
	__u64 owner;
	__u64 owner_v1;
	__u32 pid;
	__u16 kind;
	__u16 length; /* of data */
	__u32 number; /* exit code, network namespace, hierarchy */
	__u16 port;
	__u16 zero;
	/* data: comm, address, path or payload */
};

#define EVENT_DATA 512
#define SAMPLE_BYTES 128

/* Data of EVENT_SAMPLE, whose number is the status. */
struct sample {
	struct series_key key;
	__u64 latency; /* ns; all ones: none */
	__u32 length;
	__u32 zero;
	__u8 bytes[SAMPLE_BYTES]; /* of the request */
};

/* Found by the task_file iterator at start. */
struct found_socket {
	__u64 owner;
	union addr local;
	union addr remote;
	__u16 local_port;
	__u16 remote_port;
	__u32 netns;
	__u32 pid;
	__u8 state;
	__u8 zero[3];
	__u64 inode; /* the same for all processes that hold it */
};

/* ---- counters: index into map `counters` ---- */

enum counter {
	LOST_EVENTS,
	LOST_DNS,
	LOST_SAMPLES,
	FULL_REQUESTS,
	FULL_TCP,
	FULL_CONNECTIONS,
	FULL_DESTINATIONS,
	FULL_SOCKETS,
	FULL_LISTENERS,
	UNKNOWN_HEADERS, /* IP or IPv6 extension headers not followed */
	UNKNOWN_OWNER,
	FOLDED,
	COUNTERS
};

/* What of a protocol could not be read: index into map `unparsed`, behind those of the protocols before. */
enum unparsed {
	UNPARSED_GAP, /* bytes missing where a message begins */
	UNPARSED_PIPELINE, /* more requests in flight than slots: counted, without latency (beyond MOST_WAITING not even that) */
	UNPARSED_MESSAGE, /* kept part of a cut header was pushed out */
	UNPARSED_SEGMENT, /* more messages in one segment than one run may read */
	UNPARSED_BUSY, /* no scratch buffer */
	UNPARSED_READ, /* bytes that cannot be read (beyond 64 KiB on old kernels) */
	UNPARSED_INVALID, /* no message where one had to begin */
	UNPARSED_UNASKED, /* an answer to nothing that was seen */
	UNPARSED
};

/* Run time: one run in 1,024 is measured. */
enum program { PROGRAM_INGRESS, PROGRAM_EGRESS, PROGRAM_TCP, PROGRAM_PROCESS, PROGRAMS };
struct cost {
	__u64 ns;
	__u64 runs;
};

#endif
