/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run from the side that dials: connects, runs the engine, dials again after a lost connection
 * with the same run id, and waits for a peer that isn't there yet.
 */
#ifndef SCRIBE_DIAL_SESSION_H
#define SCRIBE_DIAL_SESSION_H

#include "dial_options.h"
#include "opt.h"

/* What push and pull differ in. */
struct dial_role {
	enum role role;        /* own */
	const char *directory; /* "source", "destination": for messages */
	int directory_operand; /* which operand is the own directory; the other one is the peer */
	const char *remote_command; /* default */
};

/* The whole command: parses argv, runs, returns the exit code. */
int dial_command(const struct opt_command *self, const struct dial_role *role, int argc,
		 char **argv);

#endif
