/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The events of --json: one object per line on stdout, told apart by "event": start, item, issue,
 * retry, progress and, last of all, report. Called with the output's lock held.
 */
#ifndef SCRIBE_JSON_OUTPUT_H
#define SCRIBE_JSON_OUTPUT_H

#include "output.h"

void json_start(const struct output *o, const char *peer);
void json_item(const struct run_item *item);
void json_issue(const struct run_issue *issue);
void json_retry(unsigned attempt, int64_t delay_ns, const struct err *why);
void json_progress(const struct output *o);
void json_report(const struct run_outcome *outcome);

/* "transient", "permanent" or "changed": what an issue means for the next run. */
const char *json_issue_class(const struct run_issue *issue);

#endif
