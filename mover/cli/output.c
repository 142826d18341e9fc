/* SPDX-License-Identifier: Apache-2.0 */
#include "output.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cli.h"
#include "json_output.h"
#include "mem.h"
#include "parse.h"
#include "signals.h"
#include "summary.h"
#include "text.h"

enum {
	DRAW_MS = 200, /* at most 6 a second */
	QUIET_TICK_MS = 1000,
	TELL_SECONDS = 30, /* between two lines of progress where there is no terminal */
	PROGRESS_MAX = 512,
};

uint64_t output_done(const struct output *o)
{
	return o->stats->bytes_literal + o->stats->bytes_matched;
}

const char *output_stage_name(int stage)
{
	static const char *const names[] = {
		[STAGE_WALK] = "walk",     [STAGE_COMPARE] = "compare", [STAGE_DATA] = "data",
		[STAGE_SYNC] = "sync",     [STAGE_DELETE] = "delete",   [STAGE_VERIFY] = "verify",
		[STAGE_COMMIT] = "commit",
	};
	return stage >= 0 && (size_t)stage < sizeof names / sizeof *names ? names[stage] : NULL;
}

/* Progress */

static void measure_rate(struct output *o)
{
	uint64_t now = run_now_ns();
	uint64_t done = output_done(o);
	double seconds = (double)(now - o->last_ns) / 1e9;
	if (seconds <= 0)
		return;
	/* A resumed run counts anew. */
	double rate = done > o->last_done ? (double)(done - o->last_done) / seconds : 0;
	double weight = seconds > 3 ? 1 : seconds / 3;
	o->rate += (rate - o->rate) * weight;
	o->last_done = done;
	o->last_ns = now;
}

static void progress_text(const struct output *o, char out[PROGRESS_MAX])
{
	CLEANUP_BUF struct buf b;
	char size[FORMAT_SIZE_MAX];
	uint64_t done = output_done(o);
	uint64_t total = o->stats->bytes_total;
	buf_init(&b, PROGRESS_MAX);
	const char *stage = output_stage_name(o->stage);
	if (stage)
		buf_printf(&b, "%s: ", stage);
	summary_number(&b, o->stats->entries_seen);
	buf_puts(&b, " entries, ");
	summary_number(&b, o->stats->files_transferred);
	buf_printf(&b, " files, %s", format_size(size, done));
	if (total)
		buf_printf(&b, " of %s", format_size(size, total));
	if (total && done <= total)
		buf_printf(&b, " (%u%%)", (unsigned)((double)done * 100 / (double)total));
	buf_printf(&b, ", %s/s", format_size(size, (uint64_t)o->rate));
	double left = o->rate >= 1 ? (double)(total > done ? total - done : 0) / o->rate : 0;
	/* What is the same on both sides is among the total: it takes this long at most. */
	if (o->stage <= STAGE_DATA && left >= 1 && left < 1e7)
		buf_printf(&b, ", ETA %u:%02u:%02u", (unsigned)left / 3600,
			   (unsigned)left / 60 % 60, (unsigned)left % 60);
	snprintf(out, PROGRESS_MAX, "%s", buf_str(&b));
}

static void erase(struct output *o)
{
	if (o->drawn)
		fputs("\r\033[K", stderr);
	o->drawn = false;
}

static void draw(struct output *o)
{
	char text[PROGRESS_MAX];
	struct winsize w = {0};
	int columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col : 80;
	progress_text(o, text);
	fprintf(stderr, "\r%.*s\033[K", columns - 1, text);
	o->drawn = true;
}

static void tell_progress(struct output *o)
{
	char text[PROGRESS_MAX];
	o->printed_ns = run_now_ns();
	if (o->c.json) {
		json_progress(o);
		return;
	}
	progress_text(o, text);
	fprintf(stderr, "%s: %s: %s\n", CLI_PROGRAM, o->c.command, text);
}

static bool wants_progress(const struct output *o)
{
	if (o->c.progress == PROGRESS_AUTO)
		return !o->c.quiet;
	return o->c.progress == PROGRESS_ALWAYS;
}

static void tick(struct output *o)
{
	measure_rate(o);
	fflush(stdout);
	if (!wants_progress(o))
		return;
	bool eager = o->c.progress == PROGRESS_ALWAYS && !o->c.json;
	uint64_t pause = eager ? 1 : TELL_SECONDS;
	if (o->terminal)
		draw(o);
	else if (run_now_ns() - o->printed_ns >= pause * 1000000000u)
		tell_progress(o);
}

static void *ticker_main(void *arg)
{
	struct output *o = arg;
	pthread_mutex_lock(&o->lock);
	while (!o->ending) {
		struct timespec until;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += (o->terminal ? DRAW_MS : QUIET_TICK_MS) * 1000000l;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&o->ended, &o->lock, &until);
		if (!o->ending)
			tick(o);
	}
	pthread_mutex_unlock(&o->lock);
	return NULL;
}

/* Events */

static void on_item(void *owner, const struct run_item *item)
{
	struct output *o = owner;
	CLEANUP_BUF struct buf line;
	buf_init(&line, ITEMIZE_LINE_MAX);
	pthread_mutex_lock(&o->lock);
	if (o->c.json) {
		json_item(item);
	} else if (o->c.itemize) {
		itemize_line(&line, item);
		if (o->terminal)
			erase(o);
		fwrite(line.data, 1, line.len, stdout);
		if (o->terminal)
			fflush(stdout);
	}
	pthread_mutex_unlock(&o->lock);
}

static bool is_told(const struct output *o, const struct run_issue *issue)
{
	if (issue->code != ERR_OK || issue->kind == ISSUE_FAILED)
		return true;
	return issue->kind == ISSUE_DELETED ? o->c.verbose > 1 : !o->c.quiet;
}

static void print_issue(struct output *o, const struct run_issue *issue)
{
	CLEANUP_BUF struct buf path;
	char text[TEXT_ESCAPED_MAX];
	const char *why = issue->text ? issue->text : "";
	char no_errno[] = "";
	const char *error = issue->error ? strerrordesc_np(issue->error) : no_errno;
	buf_init(&path, ITEMIZE_LINE_MAX);
	itemize_escape(&path, issue->path.p, issue->path.n);
	text_clean(text, sizeof text, why, strlen(why));
	if (!error || strstr(text, error))
		error = no_errno;
	erase(o);
	fprintf(stderr, "%s: %s: %s: %s%s%s\n", CLI_PROGRAM, o->c.command,
		path.len ? buf_str(&path) : ".", text, *text && *error ? ": " : "", error);
}

static void on_issue(void *owner, const struct run_issue *issue)
{
	struct output *o = owner;
	pthread_mutex_lock(&o->lock);
	if (o->c.json)
		json_issue(issue);
	if (is_told(o, issue))
		print_issue(o, issue);
	pthread_mutex_unlock(&o->lock);
}

static void on_stage(void *owner, enum stage stage)
{
	struct output *o = owner;
	o->stage = (int)stage;
}

static bool on_stop(void *owner)
{
	(void)owner;
	return signals_got() != 0;
}

struct run_events output_events(struct output *o)
{
	return (struct run_events){
		.item = on_item, .issue = on_issue, .stage = on_stage, .stop = on_stop, .owner = o};
}

void output_note(struct output *o, unsigned level, const char *fmt, ...)
{
	char text[CLI_LINE_MAX], clean[CLI_LINE_MAX];
	if (o->c.quiet || level > o->c.verbose)
		return;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&o->lock);
	erase(o);
	fprintf(stderr, "%s: %s: %s\n", CLI_PROGRAM, o->c.command,
		text_clean(clean, sizeof clean, text, strlen(text)));
	pthread_mutex_unlock(&o->lock);
}

void output_retry(struct output *o, unsigned attempt, int64_t delay_ns, const struct err *why)
{
	double seconds = (double)delay_ns / (double)PARSE_NS_PER_S;
	/* Who waits for hours wants to read it once. */
	output_note(o, attempt == 1 ? 0 : 1, "%s; trying again in %.1fs", why->msg, seconds);
	if (!o->c.json)
		return;
	pthread_mutex_lock(&o->lock);
	json_retry(attempt, delay_ns, why);
	pthread_mutex_unlock(&o->lock);
}

void output_start(struct output *o, const struct output_config *c, struct run_stats *stats,
		  const char *peer)
{
	pthread_condattr_t attr;
	*o = (struct output){.c = *c, .stats = stats, .stage = -1};
	clock_gettime(CLOCK_REALTIME, &o->start);
	o->start_ns = o->last_ns = o->printed_ns = run_now_ns();
	o->terminal = wants_progress(o) && !c->json && isatty(STDERR_FILENO) == 1;
	pthread_mutex_init(&o->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&o->ended, &attr);
	pthread_condattr_destroy(&attr);
	if (c->json)
		json_start(o, peer);
	/* Without memory for a thread nothing else would work either. */
	if (pthread_create(&o->ticker, NULL, ticker_main, o) != 0)
		abort();
}

/* The end */

static void put_count(struct buf *b, const char *name, uint64_t n, const char *unit)
{
	buf_printf(b, "%s: ", name);
	summary_number(b, n);
	buf_printf(b, "%s\n", unit);
}

static void put_times(struct buf *b, const struct run_stats *s)
{
	const struct {
		const char *name;
		uint64_t ns;
	} rows[] = {
		{"walk", s->ns_walk},         {"read", s->ns_read},
		{"hash", s->ns_hash},         {"delta", s->ns_delta},
		{"compress", s->ns_compress}, {"write", s->ns_write},
		{"sync", s->ns_sync},         {"verify", s->ns_verify},
		{"starved", s->starved_ns},   {"blocked", s->blocked_ns},
	};
	buf_puts(b, "Seconds of work on this side:");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		buf_printf(b, " %s %.3f", rows[i].name, (double)rows[i].ns / 1e9);
	buf_puts(b, "\n");
}

static void put_stats(struct buf *b, const struct run_outcome *out)
{
	const struct run_result *r = &out->result;
	struct rusage u = {0};
	char hex[33];
	getrusage(RUSAGE_SELF, &u);
	put_count(b, "Number of files", r->files_total, "");
	put_count(b, "Number of files transferred", r->files_transferred, "");
	put_count(b, "Number of deleted files", r->files_deleted, "");
	put_count(b, "Number of failed files", r->files_failed, "");
	put_count(b, "Number of files changed while read", r->files_changed, "");
	put_count(b, "Number of mounts skipped", r->skipped_mounts, "");
	for (int i = 0; i < DROPPED_KINDS; i++) {
		if (!r->dropped[i])
			continue;
		buf_printf(b, "Not replicated, %s", dropped_name((enum dropped_kind)i));
		put_count(b, "", r->dropped[i], "");
	}
	put_count(b, "Total file size", r->bytes_total, " bytes");
	put_count(b, "Literal data", r->bytes_literal, " bytes");
	put_count(b, "Matched data", r->bytes_matched, " bytes");
	put_count(b, "Written at the destination", r->bytes_written, " bytes");
	put_count(b, "Total bytes sent", r->wire.socket_out, "");
	put_count(b, "Total bytes received", r->wire.socket_in, "");
	put_count(b, "Bytes of handshakes", r->wire.handshake_in + r->wire.handshake_out, "");
	put_times(b, out->stats);
	put_count(b, "Peak memory on this side", (uint64_t)u.ru_maxrss * 1024, " bytes");
	if (r->has_hashes) {
		h128_hex(hex, r->hash_destination);
		buf_printf(b, "Root hash: %s\n", hex);
	}
}

static void put_verbose(struct buf *b, const struct run_outcome *out)
{
	buf_puts(b, "files transferred ");
	summary_number(b, out->result.files_transferred);
	buf_puts(b, ", deleted ");
	summary_number(b, out->result.files_deleted);
	buf_puts(b, ", failed ");
	summary_number(b, out->result.files_failed);
	buf_puts(b, ", changed ");
	summary_number(b, out->result.files_changed);
	buf_printf(b, "; %s (exit %d)\n", run_outcome_reason(out), out->exit_code);
}

/* What stands on stdout at the end of a run for people. */
static void print_summary(const struct output *o, const struct run_outcome *out)
{
	CLEANUP_BUF struct buf b;
	const struct run_result *r = &out->result;
	bool arrived = r->committed || out->exit_code == ERR_OK;
	buf_init(&b, 1 << 16);
	if (o->c.stats)
		put_stats(&b, out);
	if (o->c.verbose)
		put_verbose(&b, out);
	if (arrived && !o->c.quiet)
		summary_lines(&b, r->wire.socket_out, r->wire.socket_in, r->bytes_total,
			      out->duration_ns);
	fputs(buf_str(&b), stdout);
}

static void stop_ticker(struct output *o)
{
	pthread_mutex_lock(&o->lock);
	o->ending = true;
	pthread_cond_signal(&o->ended);
	pthread_mutex_unlock(&o->lock);
	pthread_join(o->ticker, NULL);
	measure_rate(o);
	if (o->c.progress == PROGRESS_ALWAYS && !o->terminal)
		tell_progress(o);
	erase(o);
	pthread_mutex_destroy(&o->lock);
	pthread_cond_destroy(&o->ended);
}

static int save_report(const struct output *o, const struct run_outcome *outcome, struct err *e)
{
	if (!o->c.report_path)
		return 0;
	struct report *r = run_report_new(outcome, NULL);
	int rc = run_report_save(r, o->c.report_path, e);
	report_free(r);
	return rc;
}

int output_finish(struct output *o, struct run_outcome *outcome)
{
	struct err e = {0};
	stop_ticker(o);
	outcome->start = o->start;
	outcome->duration_ns = (int64_t)(run_now_ns() - o->start_ns);
	run_outcome_judge(outcome);
	if (o->c.json)
		json_report(outcome);
	else
		print_summary(o, outcome);
	int code = outcome->exit_code;
	if (code)
		cli_error(o->c.command, &outcome->result.err);
	if (save_report(o, outcome, &e) < 0) {
		int failed = cli_error(o->c.command, &e);
		code = code ? code : failed;
	}
	return cli_finish(o->c.command, code);
}
