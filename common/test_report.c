/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <json-c/json.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report.h"

static const char *render(struct report *r, size_t max, const char *const *optional,
			  struct buf *out)
{
	struct err e = {0};
	buf_clear(out);
	if (report_render(r, max, optional, out, &e) < 0)
		fail_msg("%s", e.msg);
	assert_true(out->len <= max);
	return buf_str(out);
}

static void values_of_every_kind(void **state)
{
	(void)state;
	CLEANUP_REPORT struct report *r = report_new();
	CLEANUP_BUF struct buf out;
	buf_init(&out, 2 * REPORT_MAX);
	report_str(r, "s", "text");
	report_str(r, "none", NULL);
	report_u64(r, "u", UINT64_MAX);
	report_i64(r, "i", INT64_MIN);
	report_double(r, "d", 1.5);
	report_double(r, "nan", (double)NAN);
	report_double(r, "inf", (double)INFINITY);
	report_bool(r, "yes", true);
	report_null(r, "nil");
	report_time(r, "t", (struct timespec){.tv_sec = 1769860800});
	report_duration(r, "took", INT64_C(320764583925));
	assert_string_equal(render(r, REPORT_MAX, NULL, &out),
			    "{\"s\":\"text\",\"none\":null,\"u\":18446744073709551615,"
			    "\"i\":-9223372036854775808,\"d\":1.500,\"nan\":null,\"inf\":null,"
			    "\"yes\":true,\"nil\":null,\"t\":\"2026-01-31T12:00:00Z\","
			    "\"took\":\"5m20.764583925s\"}");
}

static void a_key_set_again_is_replaced_in_place(void **state)
{
	(void)state;
	CLEANUP_REPORT struct report *r = report_new();
	CLEANUP_BUF struct buf out;
	buf_init(&out, REPORT_MAX);
	report_u64(r, "a", 1);
	report_u64(r, "b", 2);
	report_str(r, "a", "x/y");
	assert_string_equal(render(r, REPORT_MAX, NULL, &out), "{\"a\":\"x/y\",\"b\":2}");
}

static void objects_and_lists_nest(void **state)
{
	(void)state;
	CLEANUP_REPORT struct report *r = report_new();
	CLEANUP_BUF struct buf out;
	buf_init(&out, REPORT_MAX);
	report_open(r, "rootHash");
	report_str(r, "source", "aa");
	report_open_list(r, "l");
	report_u64(r, NULL, 1);
	report_open(r, NULL);
	report_bool(r, "deep", false);
	report_close(r);
	report_null(r, NULL);
	report_close(r);
	report_close(r);
	report_u64(r, "after", 3);
	assert_string_equal(render(r, REPORT_MAX, NULL, &out),
			    "{\"rootHash\":{\"source\":\"aa\",\"l\":[1,{\"deep\":false},null]},"
			    "\"after\":3}");
}

static void any_byte_gives_valid_json(void **state)
{
	(void)state;
	for (unsigned a = 0; a < 256; a++) {
		CLEANUP_REPORT struct report *r = report_new();
		CLEANUP_BUF struct buf out;
		const char bytes[] = {(char)a, '"', '\\', (char)(255 - a), '\0'};
		buf_init(&out, REPORT_MAX);
		report_bytes(r, "b", bytes, sizeof bytes);
		report_str(r, "s", bytes);
		const char *text = render(r, REPORT_MAX, NULL, &out);
		for (const char *p = text; *p; p++)
			assert_true((unsigned char)*p >= 0x20);
		struct json_tokener *parser = json_tokener_new();
		json_tokener_set_flags(parser, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
		struct json_object *o = json_tokener_parse_ex(parser, text, (int)out.len + 1);
		assert_non_null(o);
		json_object_put(o);
		json_tokener_free(parser);
	}
}

static struct json_object *member(struct json_object *o, const char *key)
{
	return json_object_object_get(o, key);
}

/* A report that exceeds REPORT_MAX by its message alone, or by what may be left out. */
static struct report *big_report(size_t message, int entries)
{
	struct report *r = report_new();
	char *text = malloc(message + 1);
	assert_non_null(text);
	memset(text, 'm', message);
	text[message] = '\0';
	report_str(r, "result", "failure");
	report_str(r, "message", text);
	report_open_list(r, "first");
	for (int i = 0; i < entries; i++)
		report_str(r, NULL, "0123456789");
	report_close(r);
	report_open_list(r, "second");
	for (int i = 0; i < entries; i++)
		report_str(r, NULL, "0123456789");
	report_close(r);
	report_u64(r, "exitCode", 1);
	free(text);
	return r;
}

static const char *const optional[] = {"absent", "first", "second", NULL};

static void message_is_cut_first(void **state)
{
	(void)state;
	CLEANUP_REPORT struct report *r = big_report(1500, 2);
	CLEANUP_BUF struct buf out;
	buf_init(&out, REPORT_MAX);
	struct json_object *o = json_tokener_parse(render(r, 600, optional, &out));
	/* Cut by no more than is needed, nothing else is touched. */
	assert_true(out.len > 590);
	assert_true(json_object_get_boolean(member(o, "truncated")));
	const char *message = json_object_get_string(member(o, "message"));
	assert_memory_equal(message, "mmm", 3);
	assert_string_equal(message + strlen(message) - 4, "m...");
	assert_int_equal(json_object_array_length(member(o, "first")), 2);
	assert_int_equal(json_object_array_length(member(o, "second")), 2);
	json_object_put(o);
	/* The object is as before. */
	o = json_tokener_parse(render(r, REPORT_MAX, optional, &out));
	assert_int_equal(json_object_get_string_len(member(o, "message")), 1500);
	assert_null(member(o, "truncated"));
	json_object_put(o);
}

static void optional_members_go_in_order(void **state)
{
	(void)state;
	CLEANUP_REPORT struct report *r = big_report(500, 50);
	CLEANUP_BUF struct buf out;
	buf_init(&out, REPORT_MAX);
	struct json_object *o = json_tokener_parse(render(r, 1000, optional, &out));
	assert_null(member(o, "first"));
	assert_non_null(member(o, "second"));
	assert_int_equal(json_object_get_string_len(member(o, "message")), 160);
	json_object_put(o);
	o = json_tokener_parse(render(r, 400, optional, &out));
	assert_null(member(o, "second"));
	assert_int_equal(json_object_get_int(member(o, "exitCode")), 1);
	json_object_put(o);
}

static void every_text_is_cut_last(void **state)
{
	(void)state;
	CLEANUP_REPORT struct report *r = report_new();
	CLEANUP_BUF struct buf out;
	char text[400];
	buf_init(&out, REPORT_MAX);
	/* Characters of three bytes: the cut must not fall into one. */
	for (size_t i = 0; i + 3 < sizeof text; i += 3)
		memcpy(text + i, "\xe2\x82\xac", 4);
	report_str(r, "a", text);
	report_open(r, "in");
	report_str(r, "b", text);
	report_open_list(r, "l");
	report_str(r, NULL, text);
	report_close(r);
	report_close(r);
	struct json_object *o = json_tokener_parse(render(r, 300, NULL, &out));
	assert_non_null(o);
	const char *a = json_object_get_string(member(o, "a"));
	const char *b = json_object_get_string(member(member(o, "in"), "b"));
	const char *l =
		json_object_get_string(json_object_array_get_idx(member(member(o, "in"), "l"), 0));
	assert_int_equal(strlen(a), 20 * 3 + 3);
	assert_memory_equal(a, text, 60);
	assert_string_equal(a + 60, "...");
	assert_string_equal(a, b);
	assert_string_equal(a, l);
	json_object_put(o);
}

static void what_cannot_fit_is_refused(void **state)
{
	(void)state;
	CLEANUP_REPORT struct report *r = big_report(10, 50);
	CLEANUP_BUF struct buf out;
	struct err e = {0};
	buf_init(&out, REPORT_MAX);
	assert_int_equal(report_render(r, 600, NULL, &out, &e), -1);
	assert_int_equal(e.code, ERR_FAILURE);
	assert_int_equal(out.len, 0);
	struct buf small;
	buf_init(&small, 20);
	assert_int_equal(report_render(r, REPORT_MAX, NULL, &small, &e), -1);
	buf_release(&small);
}

/* Random documents at random limits: valid, within the limit, or refused. */
static void random_documents(void **state)
{
	(void)state;
	static const char *const droppable[] = {"k1", "k3", "k5", NULL};
	unsigned seed = 20260131;
	print_message("seed %u\n", seed);
	for (int round = 0; round < 300; round++) {
		CLEANUP_REPORT struct report *r = report_new();
		CLEANUP_BUF struct buf out;
		struct err e = {0};
		char text[600];
		buf_init(&out, REPORT_MAX);
		for (int k = 0; k < 8; k++) {
			char key[16];
			size_t n = (size_t)rand_r(&seed) % sizeof text;
			for (size_t i = 0; i < n; i++)
				text[i] = (char)(rand_r(&seed) % 256);
			snprintf(key, sizeof key, "k%d", k);
			report_bytes(r, k == 2 ? "message" : key, text, n);
		}
		size_t max = 300 + (size_t)rand_r(&seed) % (REPORT_MAX - 300);
		if (report_render(r, max, droppable, &out, &e) < 0) {
			assert_int_equal(out.len, 0);
			continue;
		}
		assert_true(out.len <= max);
		struct json_object *o = json_tokener_parse(buf_str(&out));
		assert_non_null(o);
		json_object_put(o);
	}
}

static void a_line_fits_one_write_to_a_pipe(void **state)
{
	(void)state;
	CLEANUP_REPORT struct report *r = big_report(2000, 400);
	int fds[2];
	char text[2 * REPORT_MAX];
	struct err e = {0};
	assert_true(REPORT_MAX <= PIPE_BUF);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(report_write_line(r, optional, fds[1], &e), 0);
	close(fds[1]);
	ssize_t n = read(fds[0], text, sizeof text - 1);
	assert_true(n > 0 && n <= REPORT_MAX);
	text[n] = '\0';
	assert_ptr_equal(strchr(text, '\n'), text + n - 1);
	struct json_object *o = json_tokener_parse(text);
	assert_non_null(o);
	json_object_put(o);
	close(fds[0]);
}

static void a_failed_write_is_told(void **state)
{
	(void)state;
	CLEANUP_REPORT struct report *r = report_new();
	struct err e = {0};
	assert_int_equal(report_write_line(r, NULL, -1, &e), -1);
	assert_int_equal(e.code, ERR_FAILURE);
	assert_int_equal(e.sys, EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_of_every_kind),
		cmocka_unit_test(a_key_set_again_is_replaced_in_place),
		cmocka_unit_test(objects_and_lists_nest),
		cmocka_unit_test(any_byte_gives_valid_json),
		cmocka_unit_test(message_is_cut_first),
		cmocka_unit_test(optional_members_go_in_order),
		cmocka_unit_test(every_text_is_cut_last),
		cmocka_unit_test(what_cannot_fit_is_refused),
		cmocka_unit_test(random_documents),
		cmocka_unit_test(a_line_fits_one_write_to_a_pipe),
		cmocka_unit_test(a_failed_write_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
