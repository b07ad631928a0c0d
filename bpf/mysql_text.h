/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What MySQL's protocol looks like: first bytes of either side, commands and their lengths, what packets begin with; and what is
 * remembered of it. */
#ifndef APPSTATUS_MYSQL_TEXT_H
#define APPSTATUS_MYSQL_TEXT_H

#include "run.h"

/* conn.more of what carries requests */
#define MYSQL_NOTHING 1 /* in a frame that nobody answers */
#define MYSQL_ENDLESS 2 /* a dump, or a file's part: no answer is owed */
#define MYSQL_CONTINUES 128 /* both: the next frame is of the same body */
/* of answers; above them the latency of the one that has begun, or the definitions still to come */
#define MYSQL_GREETED 1 /* the client's next frame says what it can do */
#define MYSQL_BEGUN 2
#define MYSQL_RESULT 4 /* in columns and rows */
#define MYSQL_ROWS 8 /* the next EOF is the last */
#define MYSQL_DEFINITIONS 16 /* of a statement that was prepared */
#define MYSQL_LONG 32
#define MYSQL_FILE 64 /* asked for */
#define MYSQL_ABOVE_SHIFT 8
#define MYSQL_UNIT_SHIFT 14 /* of ns */

/* Flags of the request's slot, since answers to these begin as others do. */
#define MYSQL_KIND (SLOT_HEAD | SLOT_LONG)
#define MYSQL_PREPARES SLOT_HEAD
#define MYSQL_DUMPS SLOT_LONG
#define MYSQL_FETCHES (SLOT_HEAD | SLOT_LONG)

/* What a step may find (reading.found). */
#define MYSQL_FOUND_OK 1
#define MYSQL_FOUND_FAILED 2
#define MYSQL_FOUND_STATUS 3 /* `value`: the lower byte of the server's status, at a result's end */
#define MYSQL_FOUND_OK_PACKET 4 /* an OK packet, which holds that */
#define MYSQL_FOUND_BEGIN 5 /* of an answer */
#define MYSQL_FOUND_MORE 6 /* of an answer that has begun */
#define MYSQL_FOUND_ERROR 7 /* with an SQLSTATE */
#define MYSQL_FOUND_CLIENT_ERROR 8

#define MYSQL_FULL 0xffffffU
#define MYSQL_MOST_OF_LOGIN 32 /* frames */

/* Commands (COM_...). */
#define MYSQL_INIT_DB 0x02
#define MYSQL_QUERY 0x03
#define MYSQL_PING 0x0e
#define MYSQL_BINLOG_DUMP 0x12
#define MYSQL_STMT_PREPARE 0x16
#define MYSQL_STMT_EXECUTE 0x17
#define MYSQL_STMT_FETCH 0x1c
#define MYSQL_BINLOG_DUMP_GTID 0x1e
#define MYSQL_RESET_CONNECTION 0x1f
#define MYSQL_BULK_EXECUTE 0xfa /* MariaDB */
#define MYSQL_ACK 0xef /* a replica's, of an event */

/* First bytes of the server's packets. */
#define MYSQL_OK 0x00
#define MYSQL_COLUMN 0x03
#define MYSQL_GREETING 0x0a
#define MYSQL_ASKS_FOR_FILE 0xfb
#define MYSQL_EOF 0xfe
#define MYSQL_ERR 0xff
#define MYSQL_PROGRESS 0xffff /* MariaDB: an ERR of this number is none */

#define MYSQL_HAS_MORE 0x08 /* the server's status: another result follows */
#define MYSQL_HAS_CURSOR 0xc0 /* rows are fetched, or the last one has been */

/* What a client can do, or wants. */
#define MYSQL_COMPRESSES (1 << 5 | 1 << 26)
#define MYSQL_ENCRYPTS (1 << 11)

/* Does what follows the client's first frame, with these capabilities, come in another shape? (To ask for TLS, it is cut short.) */
static __always_inline bool mysql_encodes(__u32 capabilities, __u32 length)
{
	return capabilities & MYSQL_COMPRESSES || (capabilities & MYSQL_ENCRYPTS && length <= 36);
}

static __always_inline bool mysql_dumps(__u8 command)
{
	return command == MYSQL_BINLOG_DUMP || command == MYSQL_BINLOG_DUMP_GTID;
}

/* QUIT, CHANGE_USER, STMT_SEND_LONG_DATA, STMT_CLOSE */
static __always_inline bool mysql_unanswered(__u8 command)
{
	return command == MYSQL_ACK || (command < 32 && (1U << 0x01 | 1U << 0x11 | 1U << 0x18 | 1U << 0x19) >> command & 1);
}

/* Is there such a command, and has its frame that length? */
static __always_inline bool mysql_fits(__u8 command, __u32 length)
{
	const __u32 alone = 1U << 0x01 | 1U << 0x09 | 1U << 0x0a | 1U << 0x0d | 1U << 0x0e | 1U << 0x1f;
	const __u32 none = 1U << 0x00 | 1U << 0x0b | 1U << 0x0f | 1U << 0x10 | 1U << 0x14 | 1U << 0x1d;
	const __u32 of_statement = 1U << 0x19 | 1U << 0x1a;

	if (command >= 32)
		return command == MYSQL_BULK_EXECUTE || command == MYSQL_ACK;
	if (none >> command & 1)
		return false;
	if (alone >> command & 1)
		return length == 1;
	return !(of_statement >> command & 1) || length == 5;
}

/* Bytes of a number that begins so: 3 (0xfc), 4, 9 (0xfe), or 1. Arithmetic: a branch would
 * multiply the ways that the verifier goes. */
static __always_inline __u32 mysql_number(__u8 c)
{
	__u32 large = (c + 5U) >> 8;

	barrier_var(large);
	return 1 + (-large & 15 & 0x08320 >> (4 * ((c + 5) & 7)));
}

/* May a statement, or a name, begin with that? */
static __always_inline bool mysql_text(__u8 c)
{
	return (__u8)((c | 32) - 'a') < 26 || c == ' ' || (__u8)(c - '\t') < 5 || c == '(' || c == '/' || c == '-' || c == '#' || c == '_';
}

/* A command: a statement's text, what runs a prepared one, or what is one byte and alone. */
static __always_inline enum verdict mysql_recognise(__u64 w0, __u64 w1, __u32 n)
{
	__u64 text = w0 >> 40 | w1 << 24;
	__u32 length = w0 & MYSQL_FULL, here;
	__u8 command = w0 >> 32;

	if (length >> 20 || (n > 2 && !length) || w0 >> 24 & 255)
		return NO;
	if (n < 5)
		return MAYBE;
	if (length == 1)
		return (command == MYSQL_PING || command == MYSQL_RESET_CONNECTION) && (n == 5 || text << 40 == 1ULL << 40) ? YES : NO;
	if (command == MYSQL_STMT_EXECUTE)
		return length < 10 ? NO : n < 14 ? MAYBE : (__u32)(w1 >> 16) == 1 ? YES : NO;
	if (command != MYSQL_QUERY && command != MYSQL_STMT_PREPARE && command != MYSQL_INIT_DB)
		return NO;
	here = n < 4 + length ? n : 4 + length;
	if (here < 12 && here < 4 + length)
		return MAYBE;
	here -= 5;
	if (command == MYSQL_QUERY && (text >> 8 & 255) == 1 && (text & 255) < 32) { /* attributes, of which that many follow */
		if (text & 255)
			return (text >> 16 & 0xffff) == 0x0100 ? YES : NO;
		text >>= 16;
		here -= 2;
	}
	if (here < 8)
		text |= LOWER << (8 * (here & 7));
	return mysql_text(text) && !((text - 0x0909090909090909ULL) & ~text & MARKS) ? YES : NO;
}

/* The version, in text. */
static __always_inline enum verdict mysql_greets(__u64 w0, __u64 w1, __u32 n)
{
	__u32 length = w0 & MYSQL_FULL;

	if (length >> 10 || (n > 2 && length < 32) || w0 >> 24 & 255)
		return NO;
	if (n < 7)
		return n < 5 || (w0 >> 32 & 255) == MYSQL_GREETING ? MAYBE : NO;
	return (w0 >> 32 & 255) == MYSQL_GREETING && digit(w0 >> 40) && ((w0 >> 48 & 255) == '.' || digit(w0 >> 48)) ? YES : NO;
}

static __always_inline bool mysql_answer_begins(__u64 w, __u32 n)
{
	return n >= 4 && w & MYSQL_FULL && (__u8)(w >> 24) == 1;
}

#endif
