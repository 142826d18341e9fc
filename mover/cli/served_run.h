/* SPDX-License-Identifier: Apache-2.0 */
/* A session of the side that was dialled, over whatever transport: serve, receive, send. */
#ifndef SCRIBE_SERVED_RUN_H
#define SCRIBE_SERVED_RUN_H

#include "log.h"
#include "run_report.h"

/* Strings and log are borrowed. */
struct served {
	enum role role; /* own */
	int root_fd;
	uint64_t bwlimit;
	const char *peer_id;     /* who is on the other side, for messages */
	const char *report_path; /* NULL: no file; else written when a run came about */
	struct log *log;
};

/* What came of a session, for whoever waits for one run to end. */
enum served_end {
	SERVED_NO_RUN,  /* a probe, a dry run, or a peer that was sent away */
	SERVED_LOST,    /* the connection was lost: the peer may come again */
	SERVED_STOPPED, /* by a signal to us */
	SERVED_ENDED,   /* committed, or ended with a reason */
};

/* Runs one session over t (ownership taken). Returns what came of it; *code is the exit code. */
enum served_end served_run(const struct served *s, struct transport *t, int *code);

/* Opens the directory of "--root DIR" or "--source DIR", of which exactly one is given. Sets
 * s->role and s->root_fd. -1 with *e ERR_USAGE. */
int served_open(struct served *s, const char *root, const char *source, struct err *e);

/* "receive" for a destination, "send" for a source: what the peer has to ask for. */
const char *served_verb(enum role role);
/* Whether a command that a peer asked for is "scribe-mover VERB", with any words behind it. */
bool served_accepts(const char *command, enum role role);

#endif
