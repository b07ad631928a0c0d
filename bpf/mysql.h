/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* MySQL and MariaDB (client/server protocol, after 4.1), in frames: length (3 bytes), number within the exchange, body. A client's
 * frame of number 0 is a command. A body of 2^24 - 1 bytes goes on in the next frame.
 *
 * One request is one command that is answered: all but COM_QUIT, COM_STMT_CLOSE and COM_STMT_SEND_LONG_DATA. It ends with the end of
 * its last result; bad is an ERR packet, in the middle of rows too, by the class of its SQLSTATE (sql.h), and no answer. Logging in is no request, and neither is
 * COM_CHANGE_USER, which is logging in again. Long by intent, so outside the latency: COM_BINLOG_DUMP (and _GTID), which ends at once
 * and whose events are not read; LOAD DATA LOCAL, whose file is the request going on; and COM_STMT_FETCH, since a slot has no more
 * room for kinds. Not read any more: after a client asked for TLS or compression.
 * tshark: mysql.command of those above / mysql.error_code. */
#ifndef APPSTATUS_MYSQL_H
#define APPSTATUS_MYSQL_H

#include "mysql_answer.h"

static __always_inline void mysql_command(struct conn *conn, struct stream *stream, struct reading *r, __u32 *more, __u8 command)
{
	__u64 kind = command == MYSQL_STMT_PREPARE ? MYSQL_PREPARES :
		     command == MYSQL_STMT_FETCH   ? MYSQL_FETCHES :
		     mysql_dumps(command)	   ? MYSQL_DUMPS :
						     0;

	stream->flags &= ~(STREAM_GAP | STREAM_MISSED);
	*more |= kind == MYSQL_DUMPS ? MYSQL_ENDLESS : 0;
	r->value = kind;
	forget();
	request_begins(conn, stream, r->now);
	forget();
	if (r->value)
		request_continues(conn, stream, r->now, SLOT_VALID | r->value | (conn->peer & SLOT_PEER), 0);
}

static __always_inline void mysql_request(struct conn *conn, struct stream *stream, struct reading *r, __u32 *more, __u64 w, __u32 have)
{
	__u32 length = w & MYSQL_FULL, answers = *more_of(conn, !r->egress), continues = length == MYSQL_FULL ? MYSQL_CONTINUES : 0;
	__u8 number = w >> 24, command = w >> 32;

	if (have < 4 + (length < 4 ? length : 4)) {
		r->stop = STOP_SHORT;
		return;
	}
	if (*more & MYSQL_CONTINUES) {
		*more = (*more & ~MYSQL_CONTINUES) | continues;
		return;
	}
	*more = continues;
	if (answers & MYSQL_FILE) {
		if (!length)
			return;
		request_continues(conn, stream, r->now, SLOT_VALID | (conn->peer & SLOT_PEER), SLOT_OVERDUE);
		*more |= MYSQL_ENDLESS;
	} else if (number) { /* of logging in */
		*more |= MYSQL_NOTHING;
		if (stream->flags & STREAM_GAP || number > MYSQL_MOST_OF_LOGIN)
			not_understood(r);
		if (answers & MYSQL_GREETED && mysql_encodes(w >> 32, length)) {
			conn->protocol = PROTOCOL_OTHER;
			r->stop = STOP_SHORT;
		}
	} else if (!length || !mysql_fits(command, length)) {
		not_understood(r);
	} else if (mysql_unanswered(command)) {
		*more |= MYSQL_NOTHING;
	} else {
		mysql_command(conn, stream, r, more, command);
	}
}

/* What ends with that step. */
static __always_inline void mysql_found(struct conn *conn, struct stream *stream, struct reading *r, __u32 *more)
{
	__u32 was = *more;

	if (r->found == MYSQL_FOUND_STATUS && r->value & MYSQL_HAS_MORE) {
		*more &= ~(MYSQL_RESULT | MYSQL_ROWS);
		return;
	}
	*more = 0;
	if (r->found == MYSQL_FOUND_OK && r->kind == MYSQL_PREPARES && r->value)
		*more = MYSQL_DEFINITIONS | (__u32)r->value << MYSQL_ABOVE_SHIFT;
	if (r->found == MYSQL_FOUND_OK && r->kind == MYSQL_DUMPS)
		stream->state = STREAM_REST;
	r->kind = r->found == MYSQL_FOUND_FAILED ? STATUS_FAILED : r->found == MYSQL_FOUND_CLIENT_ERROR ? STATUS_CLIENT_ERROR : STATUS_OK;
	forget();
	answer(conn, r, r->kind, was & MYSQL_LONG ? NO_LATENCY : (__u64)(was >> MYSQL_ABOVE_SHIFT) << MYSQL_UNIT_SHIFT);
}

/* Goes through memory from part to part, so that the verifier sees their ways meet. */
static __always_inline void mysql_step(struct conn *conn, struct stream *stream, struct reading *r, const struct scratch *scratch)
{
	__u32 *more = more_of(conn, r->egress);

	r->found = 0;
	if (r->request)
		mysql_request(conn, stream, r, more, word(scratch, r->at), r->end - r->at);
	else
		mysql_answer(conn, r, more, word(scratch, r->at), r->end - r->at);
	forget();
	if (r->found == MYSQL_FOUND_BEGIN)
		mysql_begins(conn, stream, r, more);
	forget();
	if (r->found) {
		r->kind = asked(conn, r) & MYSQL_KIND;
		forget();
		mysql_inside(conn, r, more, word(scratch, r->at), r->end - r->at);
	}
	forget();
	if (r->found == MYSQL_FOUND_OK_PACKET)
		mysql_status(r, scratch, word(scratch, r->at) & MYSQL_FULL);
	forget();
	if (r->found == MYSQL_FOUND_ERROR) {
		__u16 class = word(scratch, r->at + 8);

		r->found = outcome_of_sqlstate(class, class >> 8) == STATUS_FAILED ? MYSQL_FOUND_FAILED : MYSQL_FOUND_CLIENT_ERROR;
		forget();
	}
	if (r->found == MYSQL_FOUND_OK && r->kind == MYSQL_PREPARES)
		mysql_prepared(r, scratch, word(scratch, r->at) & MYSQL_FULL);
	forget();
	if (r->stop)
		return;
	if (r->found)
		mysql_found(conn, stream, r, more_of(conn, r->egress));
	forget();
	if (stream->state == STREAM_REST) {
		r->at = r->end;
		return;
	}
	stream->left = (word(scratch, r->at) & MYSQL_FULL) + 4;
	stream->state = STREAM_BODY;
	r->at += pass(conn, stream, r, r->end - r->at);
}

#endif
