/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The destination of one run: compares its tree with the source's, lands what differs in epochs,
 * deletes, verifies, commits. And what a dead run left behind: recover.
 */
#ifndef SCRIBE_DEST_H
#define SCRIBE_DEST_H

#include "run.h"

struct dest_config {
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
	const char *
		peer_id; /* who is on the other side (key fingerprint), for messages; may be NULL */
};

/* Runs one session over t (ownership taken) to its end; *result is always filled. */
void dest_run(const struct dest_config *c, struct transport *t, struct run_result *result);

struct recover_result {
	uint64_t journals_replayed, journals_dropped, temps_removed;
};

/* Finishes or undoes what a dead run left below root_fd: replays complete journals, removes temps
 * and state. ERR_BUSY while a run holds the root. */
int dest_recover(int root_fd, struct recover_result *result, struct err *e);

/* The record of the last committed run that stays with the volume. */
struct dest_record {
	bool present;
	char source_id[254];
	uint64_t incarnation, sync_number;
	uint8_t run_id[RUN_ID_BYTES];
	int64_t data_as_of;
	uint32_t data_as_of_ns;
	int64_t source_clock; /* the source's clock when that run began, seconds */
	struct h128 root_hash;
};
int dest_record_read(int root_fd, struct dest_record *r, struct err *e);
int dest_record_write(int root_fd, const struct dest_record *r, struct err *e);

#endif
