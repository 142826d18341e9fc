/* SPDX-License-Identifier: Apache-2.0 */
/* The source of one run: walks, lists, reads and sends; changes nothing on its own disk. */
#ifndef SCRIBE_SOURCE_H
#define SCRIBE_SOURCE_H

#include "run.h"

struct source_config {
	int root_fd; /* a readable directory; borrowed */
	bool dialled;
	struct run_options *options; /* given if dialled, else filled from the peer; borrowed */
	struct run_events events;
	struct run_stats *stats; /* borrowed */
	uint64_t bwlimit;
	unsigned workers; /* 0: one per processor, at most 4 */
	/* Dialling side: opens another connection to the same peer; may be NULL. */
	struct transport *(*dial_more)(void *owner, struct err *e);
	void *dial_owner;
	unsigned more_lanes; /* how many connections to add to the first */
};

/* Runs one session over t (ownership taken) to its end; *result is always filled. */
void source_run(const struct source_config *c, struct transport *t, struct run_result *result);

#endif
