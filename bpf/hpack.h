/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* HPACK (RFC 7541), as far as a few fields need it: :status, grpc-status, content-type. In elements: an integer, or a part of a string,
 * wherever a segment or a frame cuts.
 *
 * The dynamic table is kept as what its insertions mean, by their numbers. Entries are named from the newest on, so what was evicted
 * (by size, by an update of the size) needs no following: nobody who keeps the rules names it. What was inserted before the first
 * block seen, or was pushed out of what is kept, is ENTRY_UNKNOWN. */
#ifndef APPSTATUS_HPACK_H
#define APPSTATUS_HPACK_H

#include "run.h"

/* What a field means: a name, and behind it its value. */
#define ENTRY_UNKNOWN 0
#define ENTRY_NOTHING 1
#define ENTRY_STATUS 0x10 /* | its class, 1 to 5 */
#define ENTRY_GRPC_STATUS 0x20 /* | its outcome */
#define ENTRY_CONTENT_TYPE 0x40 /* | 1: of gRPC */
#define ENTRY_NAME(entry) ((entry) & 0x70)
#define ENTRY_VALUE(entry) ((entry) & 0xf)
#define GRPC_CANCELLED 2 /* beside the outcomes of enum outcome */
#define GRPC_UNKNOWN STATUS_UNKNOWN /* no code */

/* In arithmetic, for numbers below 2^63: where branches met again the verifier would go each way on its own. */
static __always_inline __u64 is_not_0(__u64 n)
{
	barrier_var(n);
	return -n >> 63;
}

static __always_inline __u64 less(__u64 a, __u64 b)
{
	a -= b;
	barrier_var(a);
	return a >> 63;
}

enum content { CONTENT_NONE, CONTENT_GRPC, CONTENT_OTHER };

#define STATIC_ENTRIES 61
#define TABLE 128 /* insertions kept (a power of two): 4,096 bytes of table hold fewer, but for empty ones */
#define TEXT_WORDS 4

/* reading.kind: bytes that an element took, and what it found */
#define HPACK_BYTES 0xffff
#define HPACK_FIELD_ENDS (1U << 16)
#define HPACK_STRING_ENDS (1U << 17) /* one that says something: hpack_string_ends must be next */
enum hpack_phase { HPACK_FIELD, HPACK_NAME_LENGTH, HPACK_VALUE_LENGTH, HPACK_NAME, HPACK_VALUE };

/* One direction of a connection. */
struct hpack {
	__u64 text[TEXT_WORDS]; /* the string's first bytes, zero filled */
	__u64 first; /* when the first byte of the block came */
	__u32 insertions; /* so far */
	__u32 id; /* of the block's stream */
	__u32 number; /* the integer that is being read; then how many bytes of the string are still to come */
	__u16 length; /* of the string; 255: longer too */
	__u8 phase;
	__u8 shift; /* not 0: the integer goes on */
	__u8 begins; /* the first bits of the field, or of the length */
	__u8 inserts; /* the field enters the table */
	__u8 name; /* of the field */
	__u8 says; /* the string, something: its bytes go into */
	__u8 taken; /* bytes of `text` */
	__u8 entry; /* what the field that has just ended means */
	__u8 padding; /* behind the block's part in this frame */
	__u8 ends; /* with this part */
	__u8 ends_stream;
	/* What the block said. */
	__u8 status; /* class; 0: nothing */
	__u8 grpc_status; /* outcome; 0: nothing */
	__u8 content_type;
	__u8 unknown; /* some of its fields are */
	__u8 pushed; /* it is of a PUSH_PROMISE */
	__u8 zero[2];
	__u8 table[TABLE]; /* by the insertion's number */
};
MAP(hpacks, LRU_HASH, struct message_key, struct hpack, 8192, 0);
/* Too large for the stack: new ones are copied from it. */
MAP(zero_hpack, ARRAY, __u32, struct hpack, 1, 0);

/* The state at a block's begin (`begins`; `forgets`: with a table of which nothing is known), else that of the block that goes on. */
static __always_inline struct hpack *find_hpack(const struct conn *conn, const struct reading *r, bool begins, bool forgets)
{
	struct message_key key = { .conn = conn->id, .egress = r->egress };
	struct hpack *h = bpf_map_lookup_elem(&hpacks, &key);
	__u32 zero = 0;
	void *fresh;

	if ((h && !forgets) || !begins)
		return h;
	fresh = bpf_map_lookup_elem(&zero_hpack, &zero);
	if (!fresh)
		return 0;
	bpf_map_update_elem(&hpacks, &key, fresh, BPF_ANY);
	return bpf_map_lookup_elem(&hpacks, &key);
}

/* Of an index. */
static __always_inline __u8 hpack_entry(const struct hpack *h, __u32 index)
{
	__u32 at = h->insertions - (index - STATIC_ENTRIES - 1);

	if (index > STATIC_ENTRIES + TABLE)
		return ENTRY_UNKNOWN;
	at &= TABLE - 1;
	barrier_var(at);
	if (index > STATIC_ENTRIES)
		return h->table[at];
	if (index == 2)
		return ENTRY_CONTENT_TYPE; /* GET, or a method that has no entry: no call of gRPC's */
	if (index < 8)
		return ENTRY_NOTHING;
	if (index <= 10)
		return ENTRY_STATUS | 2;
	if (index == 11)
		return ENTRY_STATUS | 3;
	if (index <= 13)
		return ENTRY_STATUS | 4;
	if (index == 14)
		return ENTRY_STATUS | 5;
	return index == 31 ? ENTRY_CONTENT_TYPE : ENTRY_NOTHING;
}

/* The name in `text`, as it is or in Huffman's code. */
static __always_inline __u8 hpack_name(const struct hpack *h, bool coded)
{
	__u64 a = h->text[0], b = h->text[1];
	__u32 n = h->length;

	if (coded) {
		if (n == 5 && a == TEXT(0xb8, 0x84, 0x8d, 0x36, 0xa3, 0, 0, 0))
			return ENTRY_STATUS;
		if (n == 8 && a == TEXT(0x9a, 0xca, 0xc8, 0xb2, 0x12, 0x34, 0xda, 0x8f))
			return ENTRY_GRPC_STATUS;
		if (n == 9 && a == TEXT(0x21, 0xea, 0x49, 0x6a, 0x4a, 0xc9, 0xf5, 0x59) && b == 0x7f)
			return ENTRY_CONTENT_TYPE;
		return ENTRY_NOTHING;
	}
	if (n == 7 && a == TEXT(':', 's', 't', 'a', 't', 'u', 's', 0))
		return ENTRY_STATUS;
	if (n == 11 && a == TEXT('g', 'r', 'p', 'c', '-', 's', 't', 'a') && b == TEXT('t', 'u', 's', 0, 0, 0, 0, 0))
		return ENTRY_GRPC_STATUS;
	if (n == 12 && a == TEXT('c', 'o', 'n', 't', 'e', 'n', 't', '-') && b == TEXT('t', 'y', 'p', 'e', 0, 0, 0, 0))
		return ENTRY_CONTENT_TYPE;
	return ENTRY_NOTHING;
}

/* A digit in Huffman's code at the top of `bits`: 0 to 2 have five, the others six. */
static __always_inline __u32 coded_digit(__u32 bits)
{
	__u32 five = bits >> 27, six = bits >> 26;

	if (five < 3)
		return five;
	return six >= 0x19 && six <= 0x1f ? six - 0x19 + 3 : 10;
}

/* Whose fault a call of gRPC's was, as OpenTelemetry tells it for servers: theirs are UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED,
 * INTERNAL, UNAVAILABLE and DATA_LOSS. */
static __always_inline __u8 grpc_outcome(__u32 code)
{
	const __u32 servers = 1 << 2 | 1 << 4 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 15;

	if (code > 16)
		return GRPC_UNKNOWN;
	if (code < 2)
		return code ? GRPC_CANCELLED : STATUS_OK;
	return servers >> code & 1 ? STATUS_FAILED : STATUS_CLIENT_ERROR;
}

/* The number in `text`, of one or two digits; else 255. */
static __always_inline __u32 grpc_code(const struct hpack *h, bool coded, __u32 first)
{
	__u32 second = coded ? coded_digit(big_endian(h->text[0]) << (first < 3 ? 5 : 6)) : (__u8)((h->text[0] >> 8) - '0');

	if (h->length == 1)
		return first > 9 ? 255 : first;
	return h->length != 2 || first > 9 || second > 9 ? 255 : first * 10 + second;
}

/* What `text` says as the value of a name. */
static __always_inline __u8 hpack_value(const struct hpack *h, bool coded)
{
	__u64 a = h->text[0], b = h->text[1];
	__u32 first;
	__u8 next;

	if (h->name == ENTRY_CONTENT_TYPE) {
		if (coded && (a != TEXT(0x1d, 0x75, 0xd0, 0x62, 0x0d, 0x26, 0x3d, 0x4c) || (b & FIRST(3)) != TEXT(0x4d, 0x65, 0x64, 0, 0, 0, 0, 0)))
			return ENTRY_CONTENT_TYPE;
		if (!coded && (a != TEXT('a', 'p', 'p', 'l', 'i', 'c', 'a', 't') || b != TEXT('i', 'o', 'n', '/', 'g', 'r', 'p', 'c')))
			return ENTRY_CONTENT_TYPE;
		next = coded ? b >> 24 : h->text[2]; /* not grpc-web's, whose status is in its body */
		return ENTRY_CONTENT_TYPE | (!next || next == (coded ? 0xff : '+') || next == (coded ? 0xfb : ';'));
	}
	first = coded ? coded_digit(big_endian(a)) : (__u8)(a - '0');
	if (h->name == ENTRY_STATUS)
		return ENTRY_STATUS | (first < 6 ? first : 0);
	return ENTRY_GRPC_STATUS | grpc_outcome(grpc_code(h, coded, first));
}

/* A field has ended: what it means for the block, and for the table. */
static __always_inline void hpack_field_ends(struct hpack *h)
{
	__u8 entry = h->entry, value = ENTRY_VALUE(entry);
	__u32 at;

	h->phase = HPACK_FIELD;
	if (h->inserts) {
		at = ++h->insertions & (TABLE - 1);
		barrier_var(at);
		h->table[at] = entry;
	}
	if (entry == ENTRY_UNKNOWN)
		h->unknown = 1;
	else if (ENTRY_NAME(entry) == ENTRY_STATUS)
		h->status = value;
	else if (ENTRY_NAME(entry) == ENTRY_GRPC_STATUS)
		h->grpc_status = value;
	else if (ENTRY_NAME(entry) == ENTRY_CONTENT_TYPE)
		h->content_type = value ? CONTENT_GRPC : CONTENT_OTHER;
}

/* An integer's byte. */
static __always_inline void hpack_integer(struct hpack *h, struct reading *r, __u8 c)
{
	__u32 bits = 7, mask;

	if (h->shift) {
		if (h->shift > 22)
			not_understood(r);
		h->number += (__u32)(c & 127) << ((h->shift - 1) & 31);
		h->shift = c & 128 ? h->shift + 7 : 0;
		return;
	}
	if (h->phase == HPACK_FIELD && !(c & 0x80))
		bits = c & 0x40 ? 6 : c & 0x20 ? 5 : 4;
	barrier_var(bits);
	mask = (1U << (bits & 7)) - 1;
	h->begins = c & ~mask;
	h->number = c & mask;
	h->shift = h->number == mask;
}

/* A string's length has been read: of one that says nothing what is at hand is passed by at once. */
static __always_inline void hpack_string_begins(struct hpack *h, struct reading *r, __u32 here)
{
	__u32 lengths = h->begins ? 1 << 5 | 1 << 8 | 1 << 9 : 1 << 7 | 1 << 11 | 1 << 12; /* those of hpack_name() */
	__u32 n = h->number, passed;

	h->length = n > 255 ? 255 : n;
	h->taken = 0;
	__builtin_memset(h->text, 0, sizeof(h->text));
	if (h->phase == HPACK_NAME_LENGTH) {
		h->phase = HPACK_NAME;
		h->says = n < 32 && lengths >> n & 1;
	} else {
		h->phase = HPACK_VALUE;
		h->says = h->name > ENTRY_NOTHING;
	}
	forget();
	passed = h->says ? 0 : n < here - 1 ? n : here - 1;
	h->number = n - passed;
	r->kind = 1 + passed;
}

/* A field's first integer has been read. */
static __always_inline void hpack_field_begins(struct hpack *h, struct reading *r)
{
	h->inserts = 0;
	if (h->begins == 0x20) /* the table's size */
		return;
	h->entry = hpack_entry(h, h->number);
	forget();
	if (h->begins == 0x80) {
		if (!h->number)
			not_understood(r);
		r->kind |= HPACK_FIELD_ENDS;
		return;
	}
	h->inserts = h->begins == 0x40;
	h->name = h->entry > ENTRY_NOTHING ? ENTRY_NAME(h->entry) : h->entry;
	h->phase = h->number ? HPACK_VALUE_LENGTH : HPACK_NAME_LENGTH;
}

/* The bytes of a string that are at hand, of which `here`. */
static __always_inline void hpack_bytes(struct hpack *h, struct reading *r, __u32 here, __u64 w)
{
	__u32 takes = h->number < here ? h->number : here, i = h->taken >> 3, room = 8 - (h->taken & 7);

	if (i < TEXT_WORDS && h->says) {
		if (takes > room)
			takes = room;
		w = w << (64 - 8 * takes & 63) >> (64 - 8 * takes & 63) << (8 * (h->taken & 7));
		i &= TEXT_WORDS - 1;
		barrier_var(i);
		h->text[i & (TEXT_WORDS - 1)] |= w;
		h->taken += takes;
	}
	h->number -= takes;
	r->kind = takes;
}

/* A string has ended of which `text` matters. */
static __always_inline void hpack_string_ends(struct hpack *h)
{
	bool coded = h->begins;

	if (h->phase == HPACK_NAME)
		h->name = hpack_name(h, coded);
	else
		h->entry = hpack_value(h, coded);
	forget();
	if (h->phase == HPACK_NAME)
		h->phase = HPACK_VALUE_LENGTH;
	else
		hpack_field_ends(h);
}

/* One element of a block, of which `here` bytes (not 0) are at hand. Each part of it leaves what it found in memory. */
static __always_inline void hpack_element(struct hpack *h, struct reading *r, __u32 here, __u64 w)
{
	r->kind = 1;
	if (h->phase >= HPACK_NAME) {
		hpack_bytes(h, r, here, w);
	} else {
		hpack_integer(h, r, w);
		forget();
		if (!h->shift) {
			if (h->phase == HPACK_FIELD)
				hpack_field_begins(h, r);
			else
				hpack_string_begins(h, r, here);
		}
	}
	forget();
	if (h->phase >= HPACK_NAME && !h->number) {
		if (h->says) {
			r->kind |= HPACK_STRING_ENDS;
		} else if (h->phase == HPACK_NAME) {
			h->name = ENTRY_NOTHING;
			h->phase = HPACK_VALUE_LENGTH;
		} else {
			h->entry = h->name;
			r->kind |= HPACK_FIELD_ENDS;
		}
	}
	forget();
	if (r->kind & HPACK_FIELD_ENDS)
		hpack_field_ends(h);
	forget();
}

#endif
