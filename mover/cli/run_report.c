/* SPDX-License-Identifier: Apache-2.0 */
#include "run_report.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem.h"
#include "text.h"

const char *const run_report_optional[] = {"stages", "advice", "notReplicated", "dataAsOf", NULL};

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* A session that broke off has a result without counts. */
static void add_counts(struct run_result *r, const struct run_stats *s)
{
	r->files_total = larger(r->files_total, s->files_total);
	r->files_transferred = larger(r->files_transferred, s->files_transferred);
	r->files_deleted = larger(r->files_deleted, s->files_deleted);
	r->files_failed = larger(r->files_failed, s->files_failed);
	r->files_changed = larger(r->files_changed, s->files_changed);
	r->bytes_total = larger(r->bytes_total, s->bytes_total);
	r->bytes_literal = larger(r->bytes_literal, s->bytes_literal);
	r->bytes_matched = larger(r->bytes_matched, s->bytes_matched);
	r->bytes_written = larger(r->bytes_written, s->bytes_written);
	r->skipped_mounts = larger(r->skipped_mounts, s->skipped_mounts);
}

static void say(struct err *e, uint64_t failed, uint64_t changed)
{
	unsigned long long f = failed;
	unsigned long long c = changed;
	switch (e->code) {
	case ERR_PARTIAL:
		err_set(e, ERR_PARTIAL, "%llu entr%s failed, the rest is right", f,
			f == 1 ? "y" : "ies");
		break;
	case ERR_CHANGED:
		err_set(e, ERR_CHANGED,
			"%llu file%s changed or vanished while read, the rest is right", c,
			c == 1 ? "" : "s");
		break;
	case ERR_MAX_DELETE:
		err_set(e, ERR_MAX_DELETE,
			"--max-delete was reached, the other deletions were left out");
		break;
	default:
		err_set(e, e->code, "%s", err_reason(e->code));
	}
}

void run_outcome_judge(struct run_outcome *o)
{
	struct run_result *r = &o->result;
	if (o->options && o->options->flags & OPT_DRY_RUN)
		r->committed = false;
	if (o->stats)
		add_counts(r, o->stats);
	enum err_code worst = r->err.code;
	if (r->files_failed)
		worst = err_worse(worst, ERR_PARTIAL);
	if (r->files_changed)
		worst = err_worse(worst, ERR_CHANGED);
	if (worst != r->err.code) {
		r->err.code = worst;
		r->err.msg[0] = '\0';
	}
	if (worst && !r->err.msg[0])
		say(&r->err, r->files_failed, r->files_changed);
	o->exit_code = (int)worst;
	if (r->committed)
		o->signal = 0;
	if (!o->signal)
		return;
	err_set(&r->err, ERR_FAILURE, "stopped by SIG%s; run it again, it goes on where it stopped",
		sigabbrev_np(o->signal));
	o->exit_code = 128 + o->signal;
}

const char *run_outcome_class(const struct run_outcome *o)
{
	if (!o->exit_code)
		return NULL;
	return o->signal || err_is_transient(o->result.err.code) ? "transient" : "permanent";
}

const char *run_outcome_reason(const struct run_outcome *o)
{
	return o->signal ? "Interrupted" : err_reason(o->result.err.code);
}

const char *run_outcome_advice(const struct run_outcome *o)
{
	return o->signal ? "run it again: it goes on where it stopped"
			 : err_advice(o->result.err.code);
}

static void put_outcome(const struct run_outcome *o, struct report *r)
{
	const struct run_result *res = &o->result;
	const char *result = !o->exit_code ? "success" : res->committed ? "partial" : "failure";
	report_str(r, "version", SCRIBE_VERSION);
	report_str(r, "role", o->role == ROLE_SOURCE ? "source" : "destination");
	report_str(r, "result", result);
	report_i64(r, "exitCode", o->exit_code);
	report_str(r, "failureClass", run_outcome_class(o));
	report_str(r, "reason", run_outcome_reason(o));
	report_str(r, "message", res->err.code || o->signal ? res->err.msg : "");
	report_str(r, "advice", o->exit_code ? run_outcome_advice(o) : "");
	report_time(r, "startTime", o->start);
	report_duration(r, "duration", o->duration_ns);
	report_bool(r, "committed", res->committed);
}

static void put_identity(const struct run_options *options, struct report *r)
{
	static const uint8_t none[RUN_ID_BYTES];
	char hex[2 * RUN_ID_BYTES + 1];
	bool known = options && memcmp(options->run_id, none, sizeof none) != 0;
	for (size_t i = 0; known && i < RUN_ID_BYTES; i++)
		snprintf(hex + 2 * i, 3, "%02x", options->run_id[i]);
	report_str(r, "runId", known ? hex : NULL);
	if (known && *options->source_id)
		report_bytes(r, "sourceId", options->source_id, strlen(options->source_id));
	else
		report_null(r, "sourceId");
	report_u64(r, "syncNumber", known ? options->sync_number : 0);
	if (known && options->data_as_of)
		report_time(r, "dataAsOf",
			    (struct timespec){.tv_sec = options->data_as_of,
					      .tv_nsec = options->data_as_of_ns});
	else
		report_null(r, "dataAsOf");
}

static void put_known(struct report *r, const char *key, bool known, uint64_t n)
{
	if (known)
		report_u64(r, key, n);
	else
		report_null(r, key);
}

static void put_counts(const struct run_outcome *o, struct report *r)
{
	const struct run_result *res = &o->result;
	const struct {
		const char *key;
		uint64_t n;
	} rows[] = {
		{"filesTotal", res->files_total},
		{"filesTransferred", res->files_transferred},
		{"filesDeleted", res->files_deleted},
		{"filesFailed", res->files_failed},
		{"filesChanged", res->files_changed},
		{"skippedMounts", res->skipped_mounts},
		{"bytesTotal", res->bytes_total},
		{"bytesLiteral", res->bytes_literal},
		{"bytesMatched", res->bytes_matched},
		{"wireBytesSent", res->wire.socket_out},
		{"wireBytesReceived", res->wire.socket_in},
		{"wireHandshakeSent", res->wire.handshake_out},
		{"wireHandshakeReceived", res->wire.handshake_in},
		{"destinationBytesWritten", res->bytes_written},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		put_known(r, rows[i].key, !o->recorded, rows[i].n);
	report_open(r, "notReplicated");
	for (int i = 0; i < DROPPED_KINDS; i++)
		if (res->dropped[i])
			report_u64(r, dropped_name((enum dropped_kind)i), res->dropped[i]);
	report_close(r);
}

static void put_hash(struct report *r, const char *key, bool known, struct h128 hash)
{
	char hex[33];
	h128_hex(hex, hash);
	report_str(r, key, known ? hex : NULL);
}

static void put_hashes(const struct run_outcome *o, struct report *r)
{
	const struct run_result *res = &o->result;
	report_open(r, "rootHash");
	put_hash(r, "source", res->has_hashes, res->hash_source);
	put_hash(r, "destination", res->has_hashes || o->recorded, res->hash_destination);
	report_close(r);
	report_str(r, "rootHashCovers",
		   !res->has_hashes       ? NULL
		   : res->content_covered ? "content"
					  : "metadata+transferred");
}

static void put_stage(struct report *r, const char *stage, const char *what, uint64_t ns)
{
	report_open(r, stage);
	report_double(r, what, (double)ns / 1e9);
	report_close(r);
}

static void put_stages(const struct run_outcome *o, struct report *r)
{
	struct run_stats *s = o->stats;
	report_open(r, "stages");
	if (s) {
		put_stage(r, "walk", "busy", s->ns_walk);
		put_stage(r, "read", "busy", s->ns_read);
		put_stage(r, "hash", "busy", s->ns_hash);
		put_stage(r, "delta", "busy", s->ns_delta);
		put_stage(r, "compress", "busy", s->ns_compress);
		put_stage(r, "write", "busy", s->ns_write);
		put_stage(r, "sync", "busy", s->ns_sync);
		put_stage(r, "verify", "busy", s->ns_verify);
		report_open(r, "workers");
		report_double(r, "starved", (double)s->starved_ns / 1e9);
		report_double(r, "blocked", (double)s->blocked_ns / 1e9);
		report_close(r);
		put_stage(r, "network", "blocked", o->result.wire.blocked_ns);
	}
	report_close(r);
}

struct report *run_report_new(const struct run_outcome *o, const char *event)
{
	struct report *r = report_new();
	struct rusage u = {0};
	getrusage(RUSAGE_SELF, &u);
	if (event)
		report_str(r, "event", event);
	put_outcome(o, r);
	put_identity(o->options, r);
	put_counts(o, r);
	put_hashes(o, r);
	uint64_t lanes = o->result.wire.lanes;
	report_u64(r, "connections", lanes > o->sessions ? lanes : o->sessions);
	report_u64(r, "peakRssBytes", (uint64_t)u.ru_maxrss * 1024);
	report_double(r, "cpuSeconds",
		      (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
			      (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6);
	put_stages(o, r);
	return r;
}

/* The file */

static int write_all(int fd, const struct buf *b)
{
	for (size_t at = 0; at < b->len;) {
		ssize_t n = write(fd, b->data + at, b->len - at);
		if (n < 0 && errno != EINTR)
			return -1;
		if (n > 0)
			at += (size_t)n;
	}
	return 0;
}

static int write_direct(const char *path, const struct buf *b)
{
	CLEANUP_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0644);
	return fd < 0 ? -1 : write_all(fd, b);
}

/* 1 if the file has to be written directly. */
static int write_beside(const char *path, const struct buf *b)
{
	CLEANUP_FREE char *temp = mem_printf("%s.%ld", path, (long)getpid());
	CLEANUP_FD int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return 1;
	if (write_all(fd, b) == 0 && rename(temp, path) == 0)
		return 0;
	unlink(temp);
	return 1;
}

int run_report_save(struct report *r, const char *path, struct err *e)
{
	CLEANUP_BUF struct buf b;
	struct stat st;
	buf_init(&b, REPORT_MAX);
	if (report_render(r, REPORT_MAX - 1, run_report_optional, &b, e) < 0)
		return -1;
	buf_put_u8(&b, '\n');
	bool plain = lstat(path, &st) == 0 ? S_ISREG(st.st_mode) : errno == ENOENT;
	if (plain && write_beside(path, &b) == 0)
		return 0;
	if (write_direct(path, &b) == 0)
		return 0;
	char shown[TEXT_ESCAPED_MAX];
	text_escape(shown, sizeof shown, path, strlen(path));
	err_sys(e, ERR_FAILURE, "--report %s", shown);
	if (e)
		e->code = ERR_FAILURE; /* a full disk here is not the destination's */
	return -1;
}

int run_report_check(const char *path, struct err *e)
{
	char shown[TEXT_ESCAPED_MAX];
	struct stat st;
	CLEANUP_FREE char *copy = mem_strdup(path);
	text_escape(shown, sizeof shown, path, strlen(path));
	if (stat(path, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			return err_set(e, ERR_USAGE, "--report %s: is a directory; name a file",
				       shown);
		if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0)
			return 0;
	} else if (*path && faccessat(AT_FDCWD, dirname(copy), W_OK | X_OK, AT_EACCESS) == 0) {
		return 0;
	}
	return err_sys(e, ERR_USAGE, "--report %s", shown);
}
