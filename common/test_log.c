/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

enum { LOG_LINES_MAX = 1 << 16 };

/* A log into an unnamed file, read back whole. */
struct fixture {
	struct log log;
	FILE *file;
	char text[LOG_LINES_MAX];
};

static void open_log(struct fixture *f, enum log_level level, enum log_format format)
{
	f->file = tmpfile();
	assert_non_null(f->file);
	log_init(&f->log, fileno(f->file), level, format);
}

static const char *close_log(struct fixture *f)
{
	ssize_t n = pread(fileno(f->file), f->text, sizeof f->text - 1, 0);
	assert_true(n >= 0);
	f->text[n] = '\0';
	log_release(&f->log);
	fclose(f->file);
	return f->text;
}

/* Checks "2026-01-31T12:00:00.123Z " and returns what stands behind it. */
static const char *after_time(const char *line)
{
	static const char shape[] = "dddd-dd-ddTdd:dd:dd.dddZ ";
	for (const char *s = shape; *s; s++, line++)
		assert_true(*s == 'd' ? *line >= '0' && *line <= '9' : *line == *s);
	return line;
}

static void text_line(void **state)
{
	(void)state;
	struct fixture f;
	open_log(&f, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	log_write(&f.log, LOG_LEVEL_WARN, "dest",
		  LOG_KV(LOG_STR("path", "a b"), LOG_U64("files", 12), LOG_I64("delta", -3),
			 LOG_BOOL("ok", true), LOG_STR("plain", "x/y"), LOG_STR("none", NULL)),
		  "epoch %d committed", 7);
	assert_string_equal(after_time(close_log(&f)),
			    "warn dest: epoch 7 committed path=\"a b\" files=12 delta=-3 ok=true "
			    "plain=x/y none=\"\"\n");
}

static void levels_filter(void **state)
{
	(void)state;
	struct fixture f;
	open_log(&f, LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
	log_error(&f.log, "a", "one");
	log_warn(&f.log, "a", "two %d", 2);
	log_info(&f.log, "a", "three");
	log_debug(&f.log, "a", "four");
	assert_true(log_enabled(&f.log, LOG_LEVEL_ERROR));
	assert_false(log_enabled(&f.log, LOG_LEVEL_INFO));
	const char *text = close_log(&f);
	assert_non_null(strstr(text, "error a: one\n"));
	assert_non_null(strstr(text, "warn a: two 2\n"));
	assert_null(strstr(text, "three"));
	assert_null(strstr(text, "four"));
}

static void no_log_is_silent(void **state)
{
	(void)state;
	assert_false(log_enabled(NULL, LOG_LEVEL_ERROR));
	log_error(NULL, "a", "nothing %s", "here");
}

static void foreign_bytes_cannot_break_a_line(void **state)
{
	(void)state;
	struct fixture f;
	open_log(&f, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	log_write(&f.log, LOG_LEVEL_INFO, "a",
		  LOG_KV(LOG_BYTES("name", "x\\\n\xff\0\"", 6), LOG_STR("text", "y\\012\x1b[2J")),
		  "hello\nworld\r%s", "\xc3\xa4");
	assert_string_equal(after_time(close_log(&f)),
			    "info a: hello\\nworld\\015\xc3\xa4 "
			    "name=\"x\\\\\\n\\377\\000\\\"\" text=y\\012\\033[2J\n");
}

static void json_line(void **state)
{
	(void)state;
	struct fixture f;
	open_log(&f, LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
	log_write(&f.log, LOG_LEVEL_DEBUG, "ssh",
		  LOG_KV(LOG_BYTES("name", "a\"\\\n\xfe", 5), LOG_U64("n", UINT64_MAX),
			 LOG_BOOL("no", false)),
		  "say \"%s\"\n", "hi");
	const char *text = close_log(&f);
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	struct json_object *o = json_tokener_parse(text);
	assert_non_null(o);
	static const char *const expected[][2] = {
		{"level", "debug"},
		{"component", "ssh"},
		{"message", "say \"hi\"\\n"},
		{"name", "a\"\\\\\\n\\376"},
		{"n", "18446744073709551615"},
		{"no", "false"},
	};
	for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
		assert_string_equal(json_object_get_string(
					    json_object_object_get(o, expected[i][0])),
				    expected[i][1]);
	assert_non_null(json_object_object_get(o, "time"));
	json_object_put(o);
}

/* Too much text: the line stays one valid line within its maximum. */
static void long_lines_are_cut(void **state)
{
	(void)state;
	static const char bytes[] = {'"', '\n', 'a', '\xff'};
	for (size_t b = 0; b < sizeof bytes; b++) {
		char big[3 * LOG_TEXT_MAX];
		memset(big, bytes[b], sizeof big - 1);
		big[sizeof big - 1] = '\0';
		struct fixture f;
		open_log(&f, LOG_LEVEL_INFO, LOG_FORMAT_JSON);
		log_write(&f.log, LOG_LEVEL_INFO, "a",
			  LOG_KV(LOG_STR("k1", big), LOG_STR("k2", big), LOG_STR("k3", big),
				 LOG_STR("k4", big)),
			  "%s", big);
		const char *text = close_log(&f);
		size_t len = strlen(text);
		assert_true(len <= LOG_LINE_MAX);
		assert_ptr_equal(strchr(text, '\n'), text + len - 1);
		struct json_object *o = json_tokener_parse(text);
		assert_non_null(o);
		assert_non_null(json_object_object_get(o, "message"));
		assert_null(json_object_object_get(o, "k4"));
		json_object_put(o);
	}
}

static void errors_carry_their_code(void **state)
{
	(void)state;
	struct fixture f;
	struct err e = {0};
	err_set(&e, ERR_BUSY, "held by another");
	open_log(&f, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	log_err(&f.log, LOG_LEVEL_ERROR, "dest", &e);
	assert_string_equal(after_time(close_log(&f)),
			    "error dest: held by another code=15 reason=DestinationBusy\n");
}

static void a_dead_fd_is_no_failure(void **state)
{
	(void)state;
	struct log l;
	log_init(&l, -1, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	errno = EXDEV;
	log_error(&l, "a", "lost");
	assert_int_equal(errno, EXDEV);
	log_release(&l);
}

static void level_names(void **state)
{
	(void)state;
	enum log_level level = LOG_LEVEL_ERROR;
	struct err e = {0};
	assert_int_equal(log_parse_level("--log-level", "debug", &level, &e), 0);
	assert_int_equal(level, LOG_LEVEL_DEBUG);
	assert_int_equal(log_parse_level("--log-level", "Info", &level, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	assert_string_equal(
		e.msg, "--log-level: \"Info\" is no level; wanted: error, warn, info or debug");
}

enum { THREADS = 4, LINES_EACH = 200 };

struct writer {
	struct log *log;
	unsigned id;
};

static void *write_lines(void *arg)
{
	const struct writer *w = arg;
	for (unsigned i = 0; i < LINES_EACH; i++)
		log_write(w->log, LOG_LEVEL_INFO, "t",
			  LOG_KV(LOG_U64("id", w->id), LOG_U64("i", i)), "line");
	return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
	(void)state;
	struct fixture f;
	struct writer w[THREADS];
	pthread_t threads[THREADS];
	unsigned seen[THREADS] = {0};
	open_log(&f, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct writer){&f.log, i};
		assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &w[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	const char *text = close_log(&f);
	for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
		unsigned id, i;
		int end = 0;
		assert_int_equal(
			sscanf(after_time(line), "info t: line id=%u i=%u\n%n", &id, &i, &end), 2);
		assert_true(id < THREADS);
		assert_int_equal(i, seen[id]++);
	}
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(seen[i], LINES_EACH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_line),
		cmocka_unit_test(levels_filter),
		cmocka_unit_test(no_log_is_silent),
		cmocka_unit_test(foreign_bytes_cannot_break_a_line),
		cmocka_unit_test(json_line),
		cmocka_unit_test(long_lines_are_cut),
		cmocka_unit_test(errors_carry_their_code),
		cmocka_unit_test(a_dead_fd_is_no_failure),
		cmocka_unit_test(level_names),
		cmocka_unit_test(lines_of_threads_do_not_mix),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
