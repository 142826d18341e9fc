/* SPDX-License-Identifier: Apache-2.0 */
/* The operand "[USER@]HOST[:PATH]" of push and pull. Pure. */
#ifndef SCRIBE_PEER_ADDRESS_H
#define SCRIBE_PEER_ADDRESS_H

#include "err.h"

#define PEER_USER_DEFAULT "scribe-mover"

struct peer_address {
	char *user; /* NULL if none was named */
	char *host; /* an IPv6 address without its brackets */
	char *path; /* below the other side's root; "" if none was named */
};

/*
 * Takes the operand apart. An IPv6 address stands in brackets. USER ends at the last '@' before
 * HOST; PATH is everything behind the first ':' after HOST. Refused: an empty or impossible HOST,
 * one that a command line would take for an option, a ".." in PATH.
 * 0, or -1 with *e ERR_USAGE and *a empty.
 */
int peer_address_parse(const char *text, struct peer_address *a, struct err *e);
void peer_address_release(struct peer_address *a);

#endif
