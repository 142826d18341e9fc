/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pattern.h"

static bool matches(const char *text, const char *path, bool is_dir)
{
	struct pattern p;
	pattern_init(&p, text, strlen(text));
	bool r = pattern_match(&p, path, strlen(path), is_dir);
	pattern_release(&p);
	return r;
}

/* `path` with a '/' behind is a directory; `expected` is what the pattern must say of it. */
struct example {
	const char *pattern;
	const char *path;
	bool expected;
};

static void check(const struct example *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char path[256];
		size_t length = strlen(list[i].path);
		bool is_dir = list[i].path[length - 1] == '/';
		snprintf(path, sizeof path, "%.*s", (int)(length - is_dir), list[i].path);
		if (matches(list[i].pattern, path, is_dir) != list[i].expected)
			fail_msg("%s against %s: not %d", list[i].pattern, list[i].path,
				 list[i].expected);
	}
}

#define CHECK(list) check(list, sizeof(list) / sizeof((list)[0]))

static void scopes(void **state)
{
	(void)state;
	static const struct example list[] = {
		{"foo", "foo", true},       {"foo", "a/foo", true},
		{"foo", "foo/a", false},    {"foo", "afoo", false},
		{"/foo", "foo", true},      {"/foo", "a/foo", false},
		{"a/foo", "a/foo", true},   {"a/foo", "b/a/foo", true},
		{"a/foo", "ba/foo", false}, {"/a/foo", "b/a/foo", false},
		{"a/*", "c/a/b", true},     {"a/*", "a/b/c", false},
		{"*/a", "a", false},        {"foo/", "foo", false},
		{"foo/", "a/foo/", true},   {"/", "a/", false},
		{"//", "a/", false},        {"foo//", "foo/", false},
		{"/*", "a", true},          {"/*", "a/b", false},
		{"*", "a/b", true},
	};
	CHECK(list);
}

static void double_stars(void **state)
{
	(void)state;
	static const struct example list[] = {
		{"**", "a/b", true},          {"a**", "b/a/c/d", true},
		{"a**d", "b/a/c/d", true},    {"a**d", "b/ca/c/d", false},
		{"**/a", "a", true},          {"**/a", "b/c/a", true},
		{"**a", "b/ca", true},        {"/a/**/b", "a/b", false},
		{"/a/**/b", "a/c/d/b", true}, {"/a/**", "a/b/c", true},
		{"/a/**", "a/", false},       {"a/***", "a/", true},
		{"a/***", "a", false},        {"a/***", "c/a/", true},
		{"a/***", "c/a/x/y", true},   {"***", "a/", true},
		{"a***b", "a/x/b", true},     {"*a/b**", "q/ca/a/bc", true},
		{"**/*a*/b", "x/ya/b", true}, {"**/*a*/b", "x/ya/y/b", false},
		{"\\**", "*", true},          {"\\**", "a/*b", true},
		{"[**]", "b/*", true},
	};
	CHECK(list);
}

static void brackets(void **state)
{
	(void)state;
	static const struct example list[] = {
		{"[a-c]x", "bx", true},
		{"[a-c]x", "dx", false},
		{"[!a-c]x", "dx", true},
		{"[^a-c]x", "bx", false},
		{"a[!x]b*", "a/b", false},
		{"q[/]c", "q/c", false},
		{"[]a]", "]", true},
		{"[!]a]", "]", false},
		{"[a-]", "-", true},
		{"[-a]", "-", true},
		{"[c-a]", "b", false},
		{"[a-b-d]", "c", false},
		{"[a-b-d]", "-", true},
		{"[\\]]", "]", true},
		{"[a\\-c]", "b", false},
		{"[[:digit:]]", "7", true},
		{"[[:digit:]]", "a", false},
		{"[[:alpha:][:digit:]]", "7", true},
		{"[![:space:]]", "\t", false},
		{"[[:upper:]-z]", "b", false},
		{"[[:bogus:]]", "b", false},
		{"*[[:bogus:]]", "b", false},
		{"[[:a]", ":", true},
		{"[[:]", "[", true},
		{"[[::]]", ":", false},
		{"[a", "[a", false},
		{"a[", "a[", false},
		{"[\xc3]\xa9", "\xc3\xa9", true},
		{"[[:alpha:]]", "\xe9", false},
	};
	CHECK(list);
}

static void backslashes(void **state)
{
	(void)state;
	static const struct example list[] = {
		{"a\\b", "a\\b", true},   {"a\\b", "ab", false},     {"a\\b*", "ab", true},
		{"a\\b*", "a\\b", false}, {"a\\\\b*", "a\\b", true}, {"\\*", "*", true},
		{"\\*", "a", false},      {"*\\", "a\\", false},     {"\\?\\[*", "?[x", true},
		{"a\\", "a\\", true},
	};
	CHECK(list);
}

/* Every class has the bytes that the C locale gives it, and the slash is never among them. */
static void classes(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		size_t bytes;
	} counts[] = {
		{"alnum", 62}, {"alpha", 52}, {"blank", 2},  {"cntrl", 32},
		{"digit", 10}, {"graph", 93}, {"lower", 26}, {"print", 94},
		{"punct", 31}, {"space", 6},  {"upper", 26}, {"xdigit", 22},
	};
	for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
		char text[32];
		snprintf(text, sizeof text, "[[:%s:]]", counts[i].name);
		size_t found = 0;
		for (int c = 1; c < 256; c++)
			found += matches(text, (char[]){(char)c, '\0'}, false);
		assert_int_equal(found, counts[i].bytes);
	}
}

static uint64_t next(uint64_t *seed)
{
	uint64_t z = (*seed += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* Plain recursion over a pattern of bytes, '?', '*' and runs of '*'. */
static bool covers(const char *p, const char *t)
{
	if (*p == '\0')
		return *t == '\0';
	if (*p != '*')
		return *t && (*p == '?' ? *t != '/' : *p == *t) && covers(p + 1, t + 1);
	bool deep = p[1] == '*';
	while (*p == '*')
		p++;
	for (;; t++) {
		if (covers(p, t))
			return true;
		if (*t == '\0' || (*t == '/' && !deep))
			return false;
	}
}

/* The rules of filter.h, for such patterns that have a '*' and neither begin nor end with '/'. */
static bool reference(const char *p, const char *path, bool is_dir)
{
	char text[64];
	size_t n = strlen(p);
	bool deep = strstr(p, "**");
	bool first = strncmp(p, "**", 2) == 0;
	bool last = n >= 3 && strcmp(p + n - 3, "***") == 0;
	snprintf(text, sizeof text, "%s%s%s", first ? "/" : "", path, last && is_dir ? "/" : "");
	if (first)
		return covers(p, text);
	if (!deep && !strchr(p, '/'))
		return covers(p, strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
	for (const char *start = text; start;
	     start = strchr(start, '/') ? strchr(start, '/') + 1 : NULL)
		if (covers(p, start))
			return true;
	return false;
}

static void agrees_with_recursion(void **state)
{
	(void)state;
	const char *given = getenv("SCRIBE_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 10) : 20;
	print_message("seed %llu\n", (unsigned long long)seed);
	static const char pattern_bytes[] = "ab/***?a";
	static const char path_bytes[] = "aab/";
	size_t hits = 0;
	for (int round = 0; round < 200000; round++) {
		char p[16] = "";
		char path[16] = "";
		size_t n = 1 + next(&seed) % 12;
		for (size_t i = 0; i < n; i++)
			p[i] = pattern_bytes[next(&seed) % (sizeof pattern_bytes - 1)];
		n = 1 + next(&seed) % 12;
		for (size_t i = 0; i < n; i++)
			path[i] = path_bytes[next(&seed) % (sizeof path_bytes - 1)];
		if (p[0] == '/' || p[strlen(p) - 1] == '/' || !strchr(p, '*') || path[0] == '/' ||
		    path[n - 1] == '/' || strstr(path, "//"))
			continue;
		bool is_dir = next(&seed) % 2;
		bool expected = reference(p, path, is_dir);
		hits += expected;
		if (matches(p, path, is_dir) != expected)
			fail_msg("%s against %s (%d): not %d", p, path, is_dir, expected);
	}
	assert_in_range(hits, 1000, 200000);
}

/* Repeats unit into a string of n bytes. */
static char *repeated(const char *unit, size_t n)
{
	char *s = test_malloc(n + 1);
	for (size_t i = 0; i < n; i++)
		s[i] = unit[i % strlen(unit)];
	s[n] = '\0';
	return s;
}

/* Patterns that take naive matchers years; here they only have to end. */
static void hostile_patterns_end(void **state)
{
	(void)state;
	static const char *const units[] = {"*a", "**a",   "a*/", "*/", "**a*a",
					    "?*", "**/*a", "a**", "*"};
	static const char *const paths[] = {"a", "a/", "aaaaaaaaaaaaaaa/", "aab"};
	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
		char *text = repeated(units[i], PATTERN_MAX - 1);
		for (size_t k = 0; k < sizeof paths / sizeof paths[0]; k++) {
			char *path = repeated(paths[k], 4095);
			text[PATTERN_MAX - 2] = 'b';
			path[4094] = 'a';
			struct pattern p;
			pattern_init(&p, text, PATTERN_MAX - 1);
			assert_false(pattern_match(&p, path, 4095, true));
			pattern_release(&p);
			test_free(path);
		}
		test_free(text);
	}
	char *long_rest = repeated("a", 2048);
	memcpy(long_rest, "**a*", 4);
	long_rest[2047] = 'b';
	char *path = repeated("a", 4095);
	path[4090] = '/';
	assert_false(matches(long_rest, path, false));
	test_free(path);
	test_free(long_rest);
}

static void any_bytes_make_a_pattern(void **state)
{
	(void)state;
	char *open = repeated("[", PATTERN_MAX);
	char *stars = repeated("*?", PATTERN_MAX);
	char *slashes = repeated("/", PATTERN_MAX);
	assert_false(matches(open, "[", false));
	assert_false(matches(stars, "a/b", false));
	assert_false(matches(slashes, "a/b", true));
	test_free(open);
	test_free(stars);
	test_free(slashes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scopes),
		cmocka_unit_test(double_stars),
		cmocka_unit_test(brackets),
		cmocka_unit_test(backslashes),
		cmocka_unit_test(classes),
		cmocka_unit_test(agrees_with_recursion),
		cmocka_unit_test(hostile_patterns_end),
		cmocka_unit_test(any_bytes_make_a_pattern),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
