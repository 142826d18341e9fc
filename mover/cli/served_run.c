/* SPDX-License-Identifier: Apache-2.0 */
#include "served_run.h"

#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "dest.h"
#include "signals.h"
#include "source.h"
#include "summary.h"
#include "text.h"

const char *served_verb(enum role role)
{
	return role == ROLE_SOURCE ? "send" : "receive";
}

bool served_accepts(const char *command, enum role role)
{
	char wanted[64];
	int n = snprintf(wanted, sizeof wanted, "%s %s", CLI_PROGRAM, served_verb(role));
	if (n < 0 || strncmp(command, wanted, (size_t)n) != 0)
		return false;
	return command[n] == '\0' || command[n] == ' ';
}

int served_open(struct served *s, const char *root, const char *source, struct err *e)
{
	s->role = root ? ROLE_DESTINATION : ROLE_SOURCE;
	s->root_fd = cli_open_dir(root ? "--root" : "--source", root ? root : source, e);
	return s->root_fd < 0 ? -1 : 0;
}

static void on_issue(void *owner, const struct run_issue *issue)
{
	const struct served *s = owner;
	bool trouble = issue->code != ERR_OK;
	const char *text = issue->text ? issue->text : "";
	log_write(s->log, trouble ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "run",
		  LOG_KV(LOG_BYTES("path", issue->path.p, issue->path.n),
			 LOG_I64("errno", issue->error),
			 LOG_STR("reason", err_reason(issue->code))),
		  "%s", text);
}

static bool on_stop(void *owner)
{
	(void)owner;
	return signals_got() != 0;
}

static void run_engine(const struct served *s, struct transport *t, struct run_options *o,
		       struct run_stats *stats, struct run_result *result)
{
	struct run_events events = {.issue = on_issue, .stop = on_stop};
	struct served owner = *s;
	events.owner = &owner;
	if (s->role == ROLE_SOURCE) {
		struct source_config c = {.root_fd = s->root_fd,
					  .options = o,
					  .events = events,
					  .stats = stats,
					  .bwlimit = s->bwlimit};
		source_run(&c, t, result);
		return;
	}
	struct dest_config c = {.root_fd = s->root_fd,
				.options = o,
				.events = events,
				.stats = stats,
				.bwlimit = s->bwlimit,
				.peer_id = s->peer_id};
	dest_run(&c, t, result);
}

static bool began(const struct run_options *o)
{
	static const uint8_t none[RUN_ID_BYTES];
	return memcmp(o->run_id, none, sizeof none) != 0;
}

static enum served_end end_of(const struct run_outcome *out)
{
	enum err_code code = out->result.err.code;
	/* A peer that finds another run at work has not had one of its own. */
	if (!began(out->options) || out->options->flags & OPT_DRY_RUN || code == ERR_BUSY)
		return SERVED_NO_RUN;
	if (out->signal)
		return SERVED_STOPPED;
	if (out->result.committed)
		return SERVED_ENDED;
	return code == ERR_OK || code == ERR_CONNECT || code == ERR_TIMEOUT ? SERVED_LOST
									    : SERVED_ENDED;
}

static void log_end(const struct served *s, const struct run_outcome *out)
{
	const struct run_result *r = &out->result;
	enum log_level level = out->exit_code ? LOG_LEVEL_WARN : LOG_LEVEL_INFO;
	bool dry = out->options->flags & OPT_DRY_RUN;
	const char *what = r->committed ? "committed" : dry ? "dry run ended" : "ended";
	log_write(s->log, level, "run",
		  LOG_KV(LOG_STR("peer", s->peer_id), LOG_I64("exitCode", out->exit_code),
			 LOG_STR("reason", run_outcome_reason(out)),
			 LOG_U64("files", r->files_transferred),
			 LOG_U64("deleted", r->files_deleted), LOG_U64("literal", r->bytes_literal),
			 LOG_U64("wireIn", r->wire.socket_in),
			 LOG_U64("wireOut", r->wire.socket_out)),
		  "%s%s%s", what, r->err.code ? ": " : "", r->err.code ? r->err.msg : "");
}

static void save_report(const struct served *s, const struct run_outcome *out)
{
	struct err e = {0};
	struct report *r = run_report_new(out, NULL);
	if (run_report_save(r, s->report_path, &e) < 0)
		log_err(s->log, LOG_LEVEL_ERROR, "report", &e);
	report_free(r);
}

enum served_end served_run(const struct served *s, struct transport *t, int *code)
{
	struct run_options options;
	struct run_stats stats = {0};
	struct run_outcome out = {
		.role = s->role, .options = &options, .stats = &stats, .sessions = 1};
	uint64_t start = run_now_ns();
	clock_gettime(CLOCK_REALTIME, &out.start);
	run_options_init(&options);
	run_engine(s, t, &options, &stats, &out.result);
	out.duration_ns = (int64_t)(run_now_ns() - start);
	if (out.result.err.code)
		out.signal = signals_got();
	run_outcome_judge(&out);
	enum served_end end = end_of(&out);
	log_end(s, &out);
	if (s->report_path && (end == SERVED_ENDED || end == SERVED_STOPPED))
		save_report(s, &out);
	*code = out.exit_code;
	run_options_release(&options);
	return end;
}
