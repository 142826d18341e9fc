/* SPDX-License-Identifier: Apache-2.0 */
/* How a run of either role ended, and the report document that says so (REPORT in the man page). */
#ifndef SCRIBE_RUN_REPORT_H
#define SCRIBE_RUN_REPORT_H

#include <stdbool.h>
#include <time.h>

#include "report.h"
#include "run.h"

/* All a report needs. Pointers are borrowed. */
struct run_outcome {
	enum role role;                    /* own */
	const struct run_options *options; /* NULL: no run came about */
	struct run_stats *stats;           /* NULL: none */
	struct run_result result;          /* wire: of all sessions of the run */
	struct timespec start;
	int64_t duration_ns;
	unsigned sessions; /* connections the run took */
	int signal;        /* that ended it, 0 if none */
	bool recorded;     /* an earlier run, told from its record: only that hash is known */
	int exit_code;     /* set by run_outcome_judge() */
};

/*
 * Decides on the exit code from the result, the counters and the signal, and completes
 * result.err with a code and a message that fit it.
 */
void run_outcome_judge(struct run_outcome *o);
/* "transient", "permanent", or NULL on success. */
const char *run_outcome_class(const struct run_outcome *o);
/* "Completed", "NoSpace", ..., "Interrupted". */
const char *run_outcome_reason(const struct run_outcome *o);
const char *run_outcome_advice(const struct run_outcome *o);

/* The document. event NULL, or the value of a first member "event". Free with report_free(). */
struct report *run_report_new(const struct run_outcome *o, const char *event);
/* Keys that may be left out of a document that is too long, for report_render(). */
extern const char *const run_report_optional[];

/*
 * Writes a report to a file, which then holds all of it or what it held before; a file that can't
 * be replaced (a device, a pipe, a mounted file, a directory that is read-only) is written
 * directly. 0 or -1 with *e.
 */
int run_report_save(struct report *r, const char *path, struct err *e);
/* Whether run_report_save() can work, changing nothing. -1 with *e ERR_USAGE. */
int run_report_check(const char *path, struct err *e);

#endif
