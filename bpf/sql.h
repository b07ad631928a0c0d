/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whose mistake an SQL error is. */
#ifndef APPSTATUS_SQL_H
#define APPSTATUS_SQL_H

#include "types.h"

/* By the class of its SQLSTATE, the first two of five characters. Classes that the SQL standard and PostgreSQL give to what a client
 * asked for (data, constraints, syntax, rights, an exception that a procedure raises on purpose: P0) begin so; not so: 08 connection,
 * 40 rollback (deadlock, serialization), 53 resources, 54 limits, 55 lock not available, 57 cancelled or shutting down, 58 and XX
 * internal, HY general (MySQL). (Of a class that is the client's, single states may be the server's: 25006, a server that became a replica.) */
static __always_inline enum outcome outcome_of_sqlstate(__u8 first, __u8 second)
{
	if ((first == '0' && second == '8') || (first == '4' && second == '0'))
		return STATUS_FAILED;
	return first == '0' || first == '2' || first == '3' || first == '4' || (first == 'P' && second == '0') ? STATUS_CLIENT_ERROR :
													       STATUS_FAILED;
}

#endif
