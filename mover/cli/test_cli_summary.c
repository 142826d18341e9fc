/* SPDX-License-Identifier: Apache-2.0 */
/* The texts whose form others depend on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "summary.h"

#define SECOND INT64_C(1000000000)

static void check_text(struct buf *b, const char *wanted)
{
	assert_string_equal(buf_str(b), wanted);
	buf_clear(b);
}

static void numbers_have_commas(void **state)
{
	CLEANUP_BUF struct buf b;
	static const struct {
		uint64_t n;
		const char *text;
	} rows[] = {
		{0, "0"},
		{999, "999"},
		{1000, "1,000"},
		{12345, "12,345"},
		{123456, "123,456"},
		{1234567, "1,234,567"},
		{UINT64_MAX, "18,446,744,073,709,551,615"},
	};
	(void)state;
	buf_init(&b, 256);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		summary_number(&b, rows[i].n);
		check_text(&b, rows[i].text);
	}
	summary_decimal(&b, 1200.666);
	check_text(&b, "1,200.67");
	summary_decimal(&b, 0.004);
	check_text(&b, "0.00");
	summary_decimal(&b, 999999.999);
	check_text(&b, "1,000,000.00");
	summary_decimal(&b, -1);
	check_text(&b, "0.00");
	summary_decimal(&b, 0.0 / (double)b.len);
	check_text(&b, "0.00");
}

static void the_summary_is_that_of_rsync(void **state)
{
	CLEANUP_BUF struct buf b;
	(void)state;
	buf_init(&b, 1024);
	summary_lines(&b, 1234, 567, 9999, 3 * SECOND / 2);
	check_text(&b, "sent 1,234 bytes  received 567 bytes  1,200.67 bytes/sec\n"
		       "total size is 9,999  speedup is 5.55\n"
		       "rsync completed in 1s\n");
	summary_lines(&b, 0, 0, 0, 0);
	check_text(&b, "sent 0 bytes  received 0 bytes  0.00 bytes/sec\n"
		       "total size is 0  speedup is 0.00\n"
		       "rsync completed in 0s\n");
	summary_lines(&b, UINT64_MAX, UINT64_MAX, 1, 3661 * SECOND);
	assert_non_null(strstr(buf_str(&b), "speedup is 0.00\nrsync completed in 3661s\n"));
}

static void names_are_escaped_as_rsync_does(void **state)
{
	static const struct {
		const char *name, *text;
	} rows[] = {
		{"plain name", "plain name"},
		{"tab\there", "tab\there"},
		{"new\nline", "new\\#012line"},
		{"\033[31m", "\\#033[31m"},
		{"del\177", "del\\#177"},
		{"\303\251", "\\#303\\#251"},
		{"\302\233", "\\#302\\#233"},
		{"back\\slash", "back\\slash"},
		{"\\#12", "\\#12"},
		{"\\#abc", "\\#abc"},
		{"\\#012", "\\#134#012"},
	};
	CLEANUP_BUF struct buf b;
	(void)state;
	buf_init(&b, 256);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		itemize_escape(&b, rows[i].name, strlen(rows[i].name));
		check_text(&b, rows[i].text);
	}
}

static struct bytes bytes_of(const char *text)
{
	return (struct bytes){.p = (const uint8_t *)text, .n = strlen(text)};
}

static void items_are_lines_of_rsync(void **state)
{
	static const struct {
		const char *code, *path;
		char arrow;
		const char *target, *line;
	} rows[] = {
		{">f+++++++++", "a/b", 0, "", ">f+++++++++ a/b\n"},
		{"<f.st......", "x\ny", 0, "", "<f.st...... x\\#012y\n"},
		{"cd+++++++++", "dir", 0, "", "cd+++++++++ dir/\n"},
		{"cd+++++++++", "dir/", 0, "", "cd+++++++++ dir/\n"},
		{".d..t......", "", 0, "", ".d..t...... ./\n"},
		{"cL+++++++++", "l", '-', "to\033", "cL+++++++++ l -> to\\#033\n"},
		{"cL+++++++++", "l", '-', "to/", "cL+++++++++ l -> to/\n"},
		{"hf+++++++++", "g", '=', "f", "hf+++++++++ g => f\n"},
		{"*deleting", "old", 0, "", "*deleting   old\n"},
		{"*deleting  ", "old/", 0, "", "*deleting   old/\n"},
	};
	CLEANUP_BUF struct buf b;
	(void)state;
	buf_init(&b, 256);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct run_item item = {.code = rows[i].code,
					.path = bytes_of(rows[i].path),
					.arrow = rows[i].arrow,
					.target = bytes_of(rows[i].target)};
		itemize_line(&b, &item);
		check_text(&b, rows[i].line);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_have_commas),
		cmocka_unit_test(the_summary_is_that_of_rsync),
		cmocka_unit_test(names_are_escaped_as_rsync_does),
		cmocka_unit_test(items_are_lines_of_rsync),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
