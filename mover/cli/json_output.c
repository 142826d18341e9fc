/* SPDX-License-Identifier: Apache-2.0 */
#include "json_output.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct report *event(const char *name)
{
	struct report *r = report_new();
	report_str(r, "event", name);
	return r;
}

/* Through stdio, so that a million items are not a million system calls. */
static void put(struct report *r)
{
	CLEANUP_BUF struct buf b;
	struct err e = {0};
	buf_init(&b, REPORT_MAX);
	if (report_render(r, REPORT_MAX - 1, run_report_optional, &b, &e) == 0) {
		buf_put_u8(&b, '\n');
		fwrite(b.data, 1, b.len, stdout);
	}
	report_free(r);
}

void json_start(const struct output *o, const char *peer)
{
	struct report *r = event("start");
	report_str(r, "version", SCRIBE_VERSION);
	report_str(r, "command", o->c.command);
	report_str(r, "role", o->c.role == ROLE_SOURCE ? "source" : "destination");
	report_bytes(r, "peer", peer, strlen(peer));
	report_bool(r, "dryRun", o->c.dry_run);
	report_time(r, "startTime", o->start);
	put(r);
	fflush(stdout);
}

void json_item(const struct run_item *item)
{
	struct report *r = event("item");
	report_str(r, "code", item->code);
	report_bytes(r, "path", item->path.p, item->path.n);
	if (item->arrow) {
		report_str(r, "link", item->arrow == '=' ? "hard" : "symbolic");
		report_bytes(r, "target", item->target.p, item->target.n);
	}
	put(r);
}

const char *json_issue_class(const struct run_issue *issue)
{
	static const int passing[] = {EAGAIN, EBUSY,  ETXTBSY, EMFILE, ENFILE,   ENOMEM,
				      EINTR,  ENOSPC, EDQUOT,  ESTALE, ETIMEDOUT};
	if (issue->code == ERR_CHANGED)
		return "changed";
	for (size_t i = 0; i < sizeof passing / sizeof *passing; i++)
		if (issue->error == passing[i])
			return "transient";
	return err_is_transient(issue->code) ? "transient" : "permanent";
}

void json_issue(const struct run_issue *issue)
{
	static const char *const kinds[] = {
		[ISSUE_FAILED] = "failed",
		[ISSUE_PROTECTED] = "protected",
		[ISSUE_SKIPPED_MOUNT] = "skippedMount",
		[ISSUE_NOTE] = "note",
		[ISSUE_DELETED] = "deleted",
	};
	struct report *r = event("issue");
	bool trouble = issue->code != ERR_OK;
	report_str(r, "kind", issue->code == ERR_CHANGED ? "changed" : kinds[issue->kind]);
	report_bytes(r, "path", issue->path.p, issue->path.n);
	report_str(r, "errno", issue->error ? strerrorname_np(issue->error) : NULL);
	report_str(r, "class", trouble ? json_issue_class(issue) : NULL);
	report_i64(r, "code", issue->code);
	report_str(r, "reason", trouble ? err_reason(issue->code) : NULL);
	report_str(r, "message", issue->text ? issue->text : "");
	put(r);
}

void json_retry(unsigned attempt, int64_t delay_ns, const struct err *why)
{
	struct report *r = event("retry");
	report_u64(r, "attempt", attempt);
	report_duration(r, "delay", delay_ns);
	report_str(r, "reason", err_reason(why->code));
	report_str(r, "message", why->msg);
	put(r);
	fflush(stdout);
}

void json_progress(const struct output *o)
{
	struct report *r = event("progress");
	report_str(r, "stage", output_stage_name(o->stage));
	report_duration(r, "elapsed", (int64_t)(run_now_ns() - o->start_ns));
	report_u64(r, "entriesSeen", o->stats->entries_seen);
	report_u64(r, "filesTransferred", o->stats->files_transferred);
	report_u64(r, "filesDeleted", o->stats->files_deleted);
	report_u64(r, "bytesTotal", o->stats->bytes_total);
	report_u64(r, "bytesDone", output_done(o));
	report_u64(r, "bytesPerSecond", (uint64_t)o->rate);
	put(r);
	fflush(stdout);
}

void json_report(const struct run_outcome *outcome)
{
	put(run_report_new(outcome, "report"));
	fflush(stdout);
}
