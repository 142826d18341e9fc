/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What push and pull tell while a run goes on and at its end: itemized lines and summary on stdout,
 * progress, issues and the error on stderr; or JSON Lines on stdout (json_output.h). A thread of
 * its own draws the progress. Functions may be called from any thread between start and finish.
 */
#ifndef SCRIBE_OUTPUT_H
#define SCRIBE_OUTPUT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "run_report.h"

enum progress_mode { PROGRESS_AUTO, PROGRESS_ALWAYS, PROGRESS_NEVER };

struct output_config {
	const char *command; /* "push" */
	enum role role;
	bool json, stats, quiet, itemize, dry_run;
	unsigned verbose;
	enum progress_mode progress;
	const char *report_path; /* NULL: no file */
};

struct output {
	struct output_config c;
	struct run_stats *stats; /* borrowed */
	struct timespec start;
	uint64_t start_ns; /* monotonic */
	bool terminal;     /* progress is one line of a terminal that is drawn again and again */
	_Atomic int stage; /* enum stage, -1: not known yet */
	pthread_t ticker;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	/* Guarded by lock. */
	bool ending;
	bool drawn;  /* a progress line stands on the terminal */
	double rate; /* bytes per second, smoothed */
	uint64_t last_done, last_ns;
	uint64_t printed_ns; /* when progress was last told otherwise than on a terminal */
};

/* Starts the progress thread. peer: whom the run is with, for the start event. */
void output_start(struct output *o, const struct output_config *c, struct run_stats *stats,
		  const char *peer);
/* Callbacks for the engine; stop is the flag of signals.h. */
struct run_events output_events(struct output *o);
/* One line to stderr beside the progress; left out if quiet, or if level is above -v's count. */
void output_note(struct output *o, unsigned level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* A try failed and there will be another one after delay_ns. */
void output_retry(struct output *o, unsigned attempt, int64_t delay_ns, const struct err *why);
/* Stops the thread, prints and writes what ends a run; judges the outcome first, which must hold
 * everything but start, duration and exit code. Returns the process's exit code. */
int output_finish(struct output *o, struct run_outcome *outcome);

/* Bytes of content dealt with so far. */
uint64_t output_done(const struct output *o);
/* "walk", "data", ...; NULL for none. */
const char *output_stage_name(int stage);

#endif
