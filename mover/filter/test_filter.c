/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "err.h"
#include "filter.h"
#include "mem.h"

static int setup(void **state)
{
	struct filter *f = mem_alloc(1, sizeof *f);
	filter_init(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	filter_release(*state);
	free(*state);
	return 0;
}

static bool kept(const struct filter *f, const char *path)
{
	size_t n = strlen(path);
	bool is_dir = path[n - 1] == '/';
	return filter_match(f, path, n - is_dir, is_dir) == FILTER_INCLUDE;
}

static void add(struct filter *f, enum filter_action action, const char *arg)
{
	struct err e = {0};
	assert_int_equal(filter_add(f, action, arg, &e), 0);
	assert_int_equal(e.code, ERR_OK);
}

static void add_file(struct filter *f, const char *text, size_t n)
{
	struct err e = {0};
	assert_int_equal(filter_add_file(f, FILTER_EXCLUDE, text, n, &e), 0);
}

static void first_match_wins(void **state)
{
	struct filter *f = *state;
	assert_true(kept(f, "a"));
	add(f, FILTER_INCLUDE, "*.c");
	add(f, FILTER_INCLUDE, "*/");
	add(f, FILTER_EXCLUDE, "*");
	add(f, FILTER_EXCLUDE, "*.c");
	assert_true(kept(f, "d/"));
	assert_true(kept(f, "d/x.c"));
	assert_false(kept(f, "d/x.o"));
}

static void prefixes_override(void **state)
{
	struct filter *f = *state;
	add(f, FILTER_EXCLUDE, "+ a");
	add(f, FILTER_INCLUDE, "- *");
	assert_true(kept(f, "a"));
	assert_false(kept(f, "b"));
	struct err e = {0};
	assert_int_equal(filter_add(f, FILTER_EXCLUDE, "- ", &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	assert_int_equal(f->count, 2);
}

static void bang_clears(void **state)
{
	struct filter *f = *state;
	add(f, FILTER_EXCLUDE, "a");
	add(f, FILTER_INCLUDE, "!");
	add(f, FILTER_EXCLUDE, "!b");
	add(f, FILTER_EXCLUDE, "");
	add(f, FILTER_EXCLUDE, "- !");
	assert_int_equal(f->count, 2);
	assert_true(kept(f, "a"));
	assert_false(kept(f, "!b"));
	assert_false(kept(f, "!"));
}

static void files_of_rules(void **state)
{
	struct filter *f = *state;
	static const char text[] = "gone\n!\n\n# a\n;b\r\nc \r\nd\0e\n\0f\n+ g\r- #h\n g";
	add_file(f, text, sizeof text - 1);
	assert_int_equal(f->count, 5);
	assert_true(kept(f, "gone"));
	assert_true(kept(f, "c"));
	assert_false(kept(f, "c "));
	assert_false(kept(f, "d"));
	assert_true(kept(f, "f"));
	assert_true(kept(f, "g"));
	assert_false(kept(f, "#h"));
	assert_false(kept(f, " g"));
	add_file(f, "", 0);
	add_file(f, NULL, 0);
	assert_int_equal(f->count, 5);
}

static void a_bad_line_is_named(void **state)
{
	struct filter *f = *state;
	struct err e = {0};
	static const char text[] = "a\r\n\nb\r+ \n";
	assert_int_equal(filter_add_file(f, FILTER_EXCLUDE, text, sizeof text - 1, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	assert_non_null(strstr(e.msg, "line 4"));
	assert_int_equal(f->count, 2);
}

static char *repeated(char c, size_t n)
{
	char *s = mem_alloc(n + 1, 1);
	memset(s, c, n);
	return s;
}

static void maxima_hold(void **state)
{
	struct filter *f = *state;
	struct err e = {0};
	CLEANUP_FREE char *big = repeated('x', FILTER_PATTERN_MAX + 1);
	assert_int_equal(filter_add(f, FILTER_EXCLUDE, big, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	assert_int_equal(f->count, 0);
	for (size_t i = 0; i < FILTER_BYTES_MAX / FILTER_PATTERN_MAX; i++)
		add(f, FILTER_EXCLUDE, big + 1);
	assert_int_equal(filter_add(f, FILTER_EXCLUDE, "y", &e), -1);
	add(f, FILTER_EXCLUDE, "!");
	assert_int_equal(f->bytes, 0);
	for (size_t i = 0; i < FILTER_RULES_MAX; i++)
		add(f, FILTER_EXCLUDE, "y");
	assert_int_equal(filter_add(f, FILTER_EXCLUDE, "y", &e), -1);
	assert_int_equal(f->count, FILTER_RULES_MAX);
	CLEANUP_FREE char *file = repeated('\n', FILTER_FILE_MAX + 1);
	assert_int_equal(filter_add_file(f, FILTER_EXCLUDE, file, FILTER_FILE_MAX + 1, &e), -1);
	add_file(f, file, FILTER_FILE_MAX);
}

static void the_wire_keeps_all(void **state)
{
	struct filter *f = *state;
	add(f, FILTER_INCLUDE, "/a/***");
	add(f, FILTER_EXCLUDE, "- ! ");
	add(f, FILTER_EXCLUDE, "d/");
	CLEANUP_BUF struct buf wire;
	buf_init(&wire, FILTER_WIRE_MAX);
	assert_int_equal(filter_encode(f, &wire), 0);
	static const uint8_t expected[] = {1,   3, 0, 0, 6,   0,   '/', 'a', '/', '*', '*',
					   '*', 1, 2, 0, '!', ' ', 1,   2,   0,   'd', '/'};
	assert_int_equal(wire.len, sizeof expected);
	assert_memory_equal(wire.data, expected, sizeof expected);
	struct err e = {0};
	struct filter copy;
	filter_init(&copy);
	add(&copy, FILTER_EXCLUDE, "a");
	assert_int_equal(filter_decode(&copy, wire.data, wire.len, &e), 0);
	assert_int_equal(copy.count, 3);
	assert_int_equal(copy.bytes, f->bytes);
	assert_true(kept(&copy, "a/"));
	assert_false(kept(&copy, "! "));
	assert_false(kept(&copy, "d/"));
	assert_true(kept(&copy, "d"));
	for (size_t n = 0; n < wire.len; n++) {
		assert_int_equal(filter_decode(&copy, wire.data, n, &e), -1);
		assert_int_equal(e.code, ERR_PROTOCOL);
		assert_int_equal(copy.count, 0);
	}
	struct buf small;
	buf_init(&small, wire.len - 1);
	assert_int_equal(filter_encode(f, &small), -1);
	buf_release(&small);
}

static void the_largest_filter_fits_the_wire(void **state)
{
	struct filter *f = *state;
	CLEANUP_FREE char *text = repeated('x', FILTER_BYTES_MAX / FILTER_RULES_MAX);
	for (size_t i = 0; i < FILTER_RULES_MAX; i++)
		add(f, FILTER_EXCLUDE, text);
	CLEANUP_BUF struct buf wire;
	buf_init(&wire, FILTER_WIRE_MAX);
	assert_int_equal(filter_encode(f, &wire), 0);
	assert_int_equal(wire.len, FILTER_WIRE_MAX);
	struct err e = {0};
	assert_int_equal(filter_decode(f, wire.data, wire.len, &e), 0);
	assert_int_equal(f->count, FILTER_RULES_MAX);
}

static void hostile_wire_is_refused(void **state)
{
	struct filter *f = *state;
	static const struct {
		size_t n;
		uint8_t bytes[8];
	} bad[] = {
		{0, {0}},                           /* nothing */
		{3, {0, 0, 0}},                     /* version 0 */
		{3, {2, 0, 0}},                     /* version 2 */
		{4, {1, 0, 0, 0}},                  /* more than is counted */
		{7, {1, 1, 0, 2, 1, 0, 'a'}},       /* unknown flag */
		{6, {1, 1, 0, 1, 0, 0}},            /* empty pattern */
		{8, {1, 1, 0, 1, 2, 0, 'a', 0}},    /* NUL */
		{7, {1, 1, 0, 1, 2, 0, 'a'}},       /* length beyond the end */
		{7, {1, 0xff, 0xff, 1, 1, 0, 'a'}}, /* count beyond the end */
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct err e = {0};
		assert_int_equal(filter_decode(f, bad[i].bytes, bad[i].n, &e), -1);
		assert_int_equal(e.code, ERR_PROTOCOL);
		assert_int_equal(f->count, 0);
	}
	CLEANUP_FREE char *big = repeated('a', FILTER_PATTERN_MAX + 7);
	memcpy(big, (uint8_t[]){1, 1, 0, 1, 1, FILTER_PATTERN_MAX >> 8}, 6);
	struct err e = {0};
	assert_int_equal(filter_decode(f, big, FILTER_PATTERN_MAX + 7, &e), -1);
	assert_int_equal(e.code, ERR_PROTOCOL);
	assert_non_null(strstr(e.msg, "longer"));
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(first_match_wins),
		TEST(prefixes_override),
		TEST(bang_clears),
		TEST(files_of_rules),
		TEST(a_bad_line_is_named),
		TEST(maxima_hold),
		TEST(the_wire_keeps_all),
		TEST(the_largest_filter_fits_the_wire),
		TEST(hostile_wire_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
