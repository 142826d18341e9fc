/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "linecap.h"

struct sink {
	char text[65536];
	unsigned lines;
};

static void take(void *arg, const char *line)
{
	struct sink *s = arg;
	size_t at = strlen(s->text);
	s->lines++;
	snprintf(s->text + at, sizeof s->text - at, "%s|", line);
}

static void feed(struct linecap *c, const char *text)
{
	linecap_feed(c, text, strlen(text));
}

static void pieces_become_lines(void **state)
{
	(void)state;
	struct linecap c;
	static struct sink s;
	linecap_init(&c, 4096);
	linecap_receiver(&c, take, &s);
	feed(&c, "one\ntw");
	assert_string_equal(s.text, "one|");
	feed(&c, "o\r\n\n\r\nthr\033ee");
	assert_string_equal(s.text, "one|two|");
	linecap_flush(&c);
	linecap_flush(&c);
	assert_string_equal(s.text, "one|two|thr\\033ee|");
	assert_string_equal(linecap_text(&c), "one\ntwo\nthr\\033ee\n");
	linecap_release(&c);
}

static void early_lines_wait_for_a_receiver(void **state)
{
	(void)state;
	struct linecap c;
	static struct sink s, other;
	linecap_init(&c, 4096);
	feed(&c, "early\nbird\n");
	linecap_receiver(&c, take, &s);
	assert_string_equal(s.text, "early|bird|");
	feed(&c, "late\n");
	linecap_receiver(&c, take, &other);
	assert_string_equal(s.text, "early|bird|late|");
	assert_string_equal(other.text, "");
	linecap_release(&c);
}

static void only_the_end_is_kept(void **state)
{
	(void)state;
	struct linecap c;
	linecap_init(&c, 64);
	char line[32];
	for (int i = 0; i < 1000; i++) {
		snprintf(line, sizeof line, "line number %d\n", i);
		feed(&c, line);
		assert_true(strlen(linecap_text(&c)) <= 64);
	}
	assert_string_equal(linecap_text(&c),
			    "line number 997\nline number 998\nline number 999\n");
	linecap_release(&c);
}

static void floods_are_bounded(void **state)
{
	(void)state;
	struct linecap c;
	static struct sink s;
	linecap_init(&c, 4096);
	linecap_receiver(&c, take, &s);
	for (int i = 0; i < LINECAP_LINES_MAX + 500; i++)
		feed(&c, "x\n");
	assert_int_equal(s.lines, LINECAP_LINES_MAX);
	/* A line without an end, of bytes that grow fourfold when escaped. */
	for (int i = 0; i < 100000; i++)
		feed(&c, "\001");
	linecap_flush(&c);
	assert_true(strlen(linecap_text(&c)) <= 4096);
	assert_non_null(strstr(linecap_text(&c), "\\001\\001"));
	linecap_release(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_become_lines),
		cmocka_unit_test(early_lines_wait_for_a_receiver),
		cmocka_unit_test(only_the_end_is_kept),
		cmocka_unit_test(floods_are_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
