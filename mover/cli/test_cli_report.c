/* SPDX-License-Identifier: Apache-2.0 */
/* The exit code of a run, its report, and the file it is written to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "json_output.h"
#include "mem.h"
#include "run_report.h"
#include "served_run.h"

static void the_worst_gives_the_exit_code(void **state)
{
	static const struct {
		enum err_code err;
		uint64_t failed, changed;
		int signal;
		bool committed;
		int code;
		const char *reason, *class;
	} rows[] = {
		{ERR_OK, 0, 0, 0, true, 0, "Completed", NULL},
		{ERR_OK, 1, 0, 0, true, 3, "SomeFilesFailed", "permanent"},
		{ERR_OK, 0, 2, 0, true, 4, "SourceChanged", "transient"},
		{ERR_OK, 1, 1, 0, true, 3, "SomeFilesFailed", "permanent"},
		{ERR_MAX_DELETE, 0, 1, 0, true, 25, "MaxDeleteReached", "permanent"},
		{ERR_MAX_DELETE, 1, 0, 0, true, 3, "SomeFilesFailed", "permanent"},
		{ERR_SPACE, 7, 7, 0, false, 14, "NoSpace", "transient"},
		{ERR_VERIFY, 1, 0, 0, false, 16, "VerificationFailed", "permanent"},
		{ERR_FAILURE, 1, 0, SIGTERM, false, 143, "Interrupted", "transient"},
		{ERR_PROTOCOL, 0, 0, SIGINT, false, 130, "Interrupted", "transient"},
		{ERR_OK, 1, 0, SIGTERM, true, 3, "SomeFilesFailed", "permanent"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct run_stats stats = {.files_changed = rows[i].changed};
		struct run_outcome o = {
			.role = ROLE_SOURCE,
			.stats = &stats,
			.signal = rows[i].signal,
			.result = {.err.code = rows[i].err,
				   .files_failed = rows[i].failed,
				   .committed = rows[i].committed},
		};
		run_outcome_judge(&o);
		assert_int_equal(o.exit_code, rows[i].code);
		assert_string_equal(run_outcome_reason(&o), rows[i].reason);
		if (rows[i].class)
			assert_string_equal(run_outcome_class(&o), rows[i].class);
		else
			assert_null(run_outcome_class(&o));
		assert_true(o.exit_code == 0 || o.result.err.msg[0]);
		assert_int_equal(o.result.files_changed, rows[i].changed);
	}
}

static struct run_outcome full_outcome(struct run_options *options, struct run_stats *stats)
{
	run_options_init(options);
	memset(options->run_id, 0xab, sizeof options->run_id);
	free(options->source_id);
	options->source_id = mem_strdup("cluster/ns/name");
	options->sync_number = 42;
	options->data_as_of = 1767225600;
	struct run_outcome o = {
		.role = ROLE_DESTINATION,
		.options = options,
		.stats = stats,
		.start = {.tv_sec = 1767225600, .tv_nsec = 5},
		.duration_ns = INT64_C(320764583925),
		.sessions = 2,
		.result = {.committed = true,
			   .has_hashes = true,
			   .hash_source = {.lo = 1},
			   .hash_destination = {.hi = 2},
			   .files_total = 10,
			   .files_failed = 1,
			   .bytes_total = UINT64_C(1) << 62},
	};
	for (int i = 0; i < DROPPED_KINDS; i++)
		o.result.dropped[i] = UINT64_C(1) << 60;
	run_outcome_judge(&o);
	return o;
}

static char *render(const struct run_outcome *o)
{
	CLEANUP_REPORT struct report *r = run_report_new(o, NULL);
	CLEANUP_BUF struct buf b;
	struct err e = {0};
	buf_init(&b, REPORT_MAX);
	assert_int_equal(report_render(r, REPORT_MAX - 1, run_report_optional, &b, &e), 0);
	return mem_strdup(buf_str(&b));
}

static void the_report_has_its_names(void **state)
{
	static const char *const wanted[] = {
		"\"version\":\"",
		"\"role\":\"destination\"",
		"\"result\":\"partial\"",
		"\"exitCode\":3,",
		"\"failureClass\":\"permanent\"",
		"\"reason\":\"SomeFilesFailed\"",
		"\"message\":\"1 entry failed, the rest is right\"",
		"\"advice\":\"",
		"\"startTime\":\"2026-01-01T00:00:00.000000005Z\"",
		"\"duration\":\"5m20.764583925s\"",
		"\"filesTotal\":10,",
		"\"filesTransferred\":0,",
		"\"filesDeleted\":0,",
		"\"filesFailed\":1,",
		"\"filesChanged\":0,",
		"\"notReplicated\":{\"owner\":1152921504606846976,",
		"\"skippedMounts\":0",
		"\"committed\":true",
		"\"runId\":\"abababababababababababababababab\"",
		"\"sourceId\":\"cluster/ns/name\"",
		"\"syncNumber\":42,",
		"\"dataAsOf\":\"2026-01-01T00:00:00Z\"",
		"\"bytesTotal\":4611686018427387904,",
		"\"bytesLiteral\":0,",
		"\"bytesMatched\":0,",
		"\"wireBytesSent\":0,",
		"\"wireBytesReceived\":0,",
		"\"wireHandshakeSent\":0,",
		"\"wireHandshakeReceived\":0,",
		"\"destinationBytesWritten\":0",
		"\"rootHash\":{\"source\":\"00000000000000000000000000000001\",",
		"\"destination\":\"00000000000000020000000000000000\"}",
		"\"rootHashCovers\":\"metadata+transferred\"",
		"\"peakRssBytes\":",
		"\"cpuSeconds\":",
		"\"stages\":{\"walk\":{\"busy\":",
		"\"delta\":{\"busy\":1.500}",
		"\"workers\":{\"starved\":",
	};
	struct run_options options;
	struct run_stats stats = {.ns_delta = 1500000000};
	(void)state;
	struct run_outcome o = full_outcome(&options, &stats);
	CLEANUP_FREE char *text = render(&o);
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
		if (!strstr(text, wanted[i]))
			fail_msg("no %s in %s", wanted[i], text);
	assert_true(strlen(text) <= 4096);
	run_options_release(&options);
}

static void what_is_unknown_is_null(void **state)
{
	struct run_outcome o = {.role = ROLE_SOURCE, .result.err.code = ERR_CONNECT};
	(void)state;
	run_outcome_judge(&o);
	CLEANUP_FREE char *text = render(&o);
	assert_non_null(strstr(text, "\"result\":\"failure\""));
	assert_non_null(strstr(text, "\"failureClass\":\"transient\""));
	assert_non_null(strstr(text, "\"runId\":null,\"sourceId\":null"));
	assert_non_null(strstr(text, "\"dataAsOf\":null"));
	assert_non_null(strstr(text, "\"rootHash\":{\"source\":null,\"destination\":null}"));
}

static void a_long_message_is_cut(void **state)
{
	struct run_options options;
	struct run_stats stats = {0};
	(void)state;
	struct run_outcome o = full_outcome(&options, &stats);
	memset(o.result.err.msg, 1, sizeof o.result.err.msg - 1);
	free(options.source_id);
	options.source_id = mem_alloc(1, SOURCE_ID_MAX + 1);
	memset(options.source_id, 1, SOURCE_ID_MAX);
	CLEANUP_FREE char *text = render(&o);
	assert_true(strlen(text) <= 4096);
	assert_non_null(strstr(text, "\"rootHash\""));
	run_options_release(&options);
}

static int names_in(const char *path)
{
	DIR *d = opendir(path);
	int n = 0;
	assert_non_null(d);
	for (const struct dirent *en; (en = readdir(d)) != NULL;)
		n += strcmp(en->d_name, ".") != 0 && strcmp(en->d_name, "..") != 0;
	closedir(d);
	return n;
}

static void save_to(const char *path)
{
	struct run_outcome o = {.role = ROLE_SOURCE};
	CLEANUP_REPORT struct report *r = NULL;
	struct err e = {0};
	run_outcome_judge(&o);
	r = run_report_new(&o, NULL);
	if (run_report_save(r, path, &e) < 0)
		fail_msg("%s", e.msg);
}

static void expect_report(const char *path)
{
	char text[REPORT_MAX + 1] = "";
	CLEANUP_FD int fd = open(path, O_RDONLY | O_NONBLOCK);
	assert_true(fd >= 0);
	ssize_t n = read(fd, text, sizeof text - 1);
	assert_true(n > 100 && text[n - 1] == '\n' && text[0] == '{');
}

static void the_file_is_replaced_as_a_whole(void **state)
{
	char dir[] = "/tmp/scribe-report-XXXXXX";
	struct stat before, after;
	(void)state;
	assert_non_null(mkdtemp(dir));
	CLEANUP_FREE char *path = mem_printf("%s/report", dir);
	save_to(path);
	expect_report(path);
	assert_int_equal(stat(path, &before), 0);
	save_to(path);
	expect_report(path);
	assert_int_equal(stat(path, &after), 0);
	assert_true(before.st_ino != after.st_ino);
	assert_int_equal(names_in(dir), 1);
	unlink(path);
	assert_int_equal(rmdir(dir), 0);
}

static void what_is_no_file_is_written_directly(void **state)
{
	char dir[] = "/tmp/scribe-report-XXXXXX";
	struct stat st;
	(void)state;
	assert_non_null(mkdtemp(dir));
	CLEANUP_FREE char *pipe_path = mem_printf("%s/pipe", dir);
	CLEANUP_FREE char *link_path = mem_printf("%s/link", dir);
	CLEANUP_FREE char *file_path = mem_printf("%s/report", dir);
	assert_int_equal(mkfifo(pipe_path, 0600), 0);
	int reader = open(pipe_path, O_RDONLY | O_NONBLOCK);
	assert_true(reader >= 0);
	save_to(pipe_path);
	char first = '\0';
	assert_int_equal(read(reader, &first, 1), 1);
	assert_int_equal(first, '{');
	close(reader);
	assert_int_equal(lstat(pipe_path, &st), 0);
	assert_true(S_ISFIFO(st.st_mode));
	/* A link stays one, and what it points to is written. */
	assert_int_equal(symlink("report", link_path), 0);
	save_to(link_path);
	assert_int_equal(lstat(link_path, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	expect_report(file_path);
	assert_int_equal(names_in(dir), 3);
	unlink(pipe_path);
	unlink(link_path);
	unlink(file_path);
	assert_int_equal(rmdir(dir), 0);
}

static void a_path_that_cannot_be_is_refused_beforehand(void **state)
{
	struct err e = {0};
	(void)state;
	assert_int_equal(run_report_check("/nonexistent/report", &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	assert_int_equal(run_report_check("/tmp", &e), -1);
	assert_int_equal(run_report_check("", &e), -1);
	assert_int_equal(run_report_check("/dev/null", &e), 0);
	assert_int_equal(run_report_check("/tmp/scribe-no-such-report", &e), 0);
	assert_int_equal(access("/tmp/scribe-no-such-report", F_OK), -1);
}

static void issues_have_a_class(void **state)
{
	(void)state;
	const struct run_issue changed = {.code = ERR_CHANGED, .error = ENOENT};
	const struct run_issue busy = {.code = ERR_PARTIAL, .error = ETXTBSY};
	const struct run_issue denied = {.code = ERR_PARTIAL, .error = EACCES};
	const struct run_issue full = {.code = ERR_SPACE};
	assert_string_equal(json_issue_class(&changed), "changed");
	assert_string_equal(json_issue_class(&busy), "transient");
	assert_string_equal(json_issue_class(&denied), "permanent");
	assert_string_equal(json_issue_class(&full), "transient");
}

static void only_our_own_command_is_served(void **state)
{
	(void)state;
	assert_true(served_accepts("scribe-mover receive", ROLE_DESTINATION));
	assert_true(served_accepts("scribe-mover receive --root /etc; rm -rf /", ROLE_DESTINATION));
	assert_true(served_accepts("scribe-mover send", ROLE_SOURCE));
	assert_false(served_accepts("scribe-mover send", ROLE_DESTINATION));
	assert_false(served_accepts("scribe-mover receive", ROLE_SOURCE));
	assert_false(served_accepts("scribe-mover receiver", ROLE_DESTINATION));
	assert_false(served_accepts(" scribe-mover receive", ROLE_DESTINATION));
	assert_false(served_accepts("/usr/bin/scribe-mover receive", ROLE_DESTINATION));
	assert_false(served_accepts("", ROLE_DESTINATION));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_worst_gives_the_exit_code),
		cmocka_unit_test(the_report_has_its_names),
		cmocka_unit_test(what_is_unknown_is_null),
		cmocka_unit_test(a_long_message_is_cut),
		cmocka_unit_test(the_file_is_replaced_as_a_whole),
		cmocka_unit_test(what_is_no_file_is_written_directly),
		cmocka_unit_test(a_path_that_cannot_be_is_refused_beforehand),
		cmocka_unit_test(issues_have_a_class),
		cmocka_unit_test(only_our_own_command_is_served),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
