/* SPDX-License-Identifier: Apache-2.0 */
/* What a user writes to name the peer and the program that reaches it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "peer_address.h"
#include "rsh_words.h"

static void same_text(const char *a, const char *b)
{
	if (!b)
		assert_null(a);
	else
		assert_string_equal(a, b);
}

static void addresses_are_taken_apart(void **state)
{
	static const struct {
		const char *text, *user, *host, *path;
	} rows[] = {
		{"host", NULL, "host", ""},
		{"host:", NULL, "host", ""},
		{"host:/", NULL, "host", "/"},
		{"host:a/b", NULL, "host", "a/b"},
		{"host:a:b@c", NULL, "host", "a:b@c"},
		{"me@host", "me", "host", ""},
		{"me@host:/x y", "me", "host", "/x y"},
		{"me@corp.example@host:x", "me@corp.example", "host", "x"},
		{"192.0.2.7:x", NULL, "192.0.2.7", "x"},
		{"[2001:db8::1]", NULL, "2001:db8::1", ""},
		{"[::1]:/data", NULL, "::1", "/data"},
		{"me@[fe80::1%eth0]:x", "me", "fe80::1%eth0", "x"},
		{"host:..x/y..", NULL, "host", "..x/y.."},
		{"host:\xff\n", NULL, "host", "\xff\n"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct peer_address a;
		struct err e = {0};
		if (peer_address_parse(rows[i].text, &a, &e) < 0)
			fail_msg("%s: %s", rows[i].text, e.msg);
		same_text(a.user, rows[i].user);
		same_text(a.host, rows[i].host);
		same_text(a.path, rows[i].path);
		peer_address_release(&a);
	}
}

static void bad_addresses_are_refused(void **state)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{"", "host is missing"},
		{":x", "host is missing"},
		{"@host", "no user name"},
		{"-l@host", "no user name"},
		{"a b@host", "no user name"},
		{"me@", "host is missing"},
		{"me@:x", "host is missing"},
		{"-oProxyCommand=x", "no host name"},
		{"/local/dir", "no host name"},
		{"ho st:x", "no host name"},
		{"ho\nst", "no host name"},
		{"::1", "without brackets"},
		{"2001:db8::1", "without brackets"},
		{"me@::1", "without brackets"},
		{"[::1", "brackets"},
		{"[]", "brackets"},
		{"[host]:x", "brackets"},
		{"[::1%]", "brackets"},
		{"[::1]x", "behind the brackets"},
		{"[::1]/x", "behind the brackets"},
		{"host:..", "\"..\""},
		{"host:../x", "\"..\""},
		{"host:a/../b", "\"..\""},
		{"[::1]:a/..", "\"..\""},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct peer_address a;
		struct err e = {0};
		assert_int_equal(peer_address_parse(rows[i].text, &a, &e), -1);
		assert_int_equal(e.code, ERR_USAGE);
		if (!strstr(e.msg, rows[i].why))
			fail_msg("\"%s\": %s", rows[i].text, e.msg);
		assert_null(strchr(e.msg, '\n'));
		assert_null(a.host);
		assert_null(a.user);
		assert_null(a.path);
	}
}

static void words_are_cut_as_a_shell_does(void **state)
{
	static const struct {
		const char *text;
		const char *words[6];
	} rows[] = {
		{"ssh", {"ssh"}},
		{"  ssh\t-p  22\n", {"ssh", "-p", "22"}},
		{"ssh -o 'User Known' x", {"ssh", "-o", "User Known", "x"}},
		{"a\"b c\"d'e f'g", {"ab cde fg"}},
		{"a '' \"\"", {"a", "", ""}},
		{"a\\ b \\\"c\\'", {"a b", "\"c'"}},
		{"\"a\\\"b\\\\c\\$d\\`e\\n\"", {"a\"b\\c$d`e\\n"}},
		{"'a\\b'", {"a\\b"}},
		{"~/x $HOME *.c ; |", {"~/x", "$HOME", "*.c", ";", "|"}},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char **words;
		struct err e = {0};
		int n = rsh_words(rows[i].text, &words, &e);
		if (n < 0)
			fail_msg("%s: %s", rows[i].text, e.msg);
		int wanted = 0;
		while (wanted < 6 && rows[i].words[wanted])
			wanted++;
		assert_int_equal(n, wanted);
		for (int w = 0; w < n; w++)
			assert_string_equal(words[w], rows[i].words[w]);
		assert_null(words[n]);
		rsh_words_free(words);
	}
}

static void bad_command_lines_are_refused(void **state)
{
	static const char *const rows[] = {"", "  \t", "'a", "a \"b", "a\\", "\"a\\"};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char **words = NULL;
		struct err e = {0};
		assert_int_equal(rsh_words(rows[i], &words, &e), -1);
		assert_int_equal(e.code, ERR_USAGE);
		assert_null(words);
	}
	char many[2 * RSH_WORDS_MAX + 3];
	for (size_t i = 0; i < sizeof many - 1; i++)
		many[i] = i % 2 ? ' ' : 'x';
	many[sizeof many - 1] = '\0';
	char **words = NULL;
	struct err e = {0};
	assert_int_equal(rsh_words(many, &words, &e), -1);
	assert_non_null(strstr(e.msg, "too many"));
	many[2 * RSH_WORDS_MAX] = '\0';
	assert_int_equal(rsh_words(many, &words, &e), RSH_WORDS_MAX);
	rsh_words_free(words);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_taken_apart),
		cmocka_unit_test(bad_addresses_are_refused),
		cmocka_unit_test(words_are_cut_as_a_shell_does),
		cmocka_unit_test(bad_command_lines_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
