/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of all commands, and what push and pull make of their options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli.h"
#include "dial_options.h"
#include "mem.h"
#include "output.h"

enum { ARGS_MAX = 32 };

struct line {
	struct dial_options o;
	struct opt_result given;
	struct err e;
	char *argv[ARGS_MAX + 1];
	char *words; /* what argv and the options point into */
};

/* Parses and checks "push WORDS... SRC HOST"; 0 or -1. */
static int take(struct line *l, const char *words)
{
	static char name[] = "push", source[] = "src", host[] = "host";
	int argc = 0;
	memset(l, 0, sizeof *l);
	l->words = mem_strdup(words);
	char *rest = l->words;
	dial_options_init(&l->o);
	l->argv[argc++] = name;
	for (char *word; (word = strsep(&rest, " ")) != NULL && argc < ARGS_MAX - 2;)
		if (*word)
			l->argv[argc++] = word;
	l->argv[argc++] = source;
	l->argv[argc++] = host;
	if (opt_parse(&command_push, argc, l->argv, &l->o, &l->given, &l->e) < 0)
		return -1;
	return dial_options_check(&l->o, &l->given, &l->e);
}

static void drop(struct line *l)
{
	free(l->words);
	dial_options_release(&l->o);
}

#define KEYS "--identity k --known-host-key h "

static void defaults_are_those_of_the_design(void **state)
{
	struct line l;
	struct run_options r;
	struct err e = {0};
	(void)state;
	assert_int_equal(take(&l, KEYS), 0);
	assert_int_equal(dial_options_apply(&l.o, "a/b", &r, &e), 0);
	assert_int_equal(l.o.port, 22);
	assert_true(l.o.retry_for == INT64_C(600000000000));
	assert_true(l.o.wait_for == 0);
	assert_int_equal(l.o.connections, 0);
	assert_int_equal(r.flags, OPT_ONE_FILE_SYSTEM);
	assert_int_equal(r.attrs, ATTR_DEFAULT);
	assert_true(r.max_delete == UINT64_MAX);
	assert_int_equal(r.max_shrink, 50);
	assert_int_equal(r.in_place, IN_PLACE_AUTO);
	assert_true(r.compress == COMPRESS_AUTO);
	assert_string_equal(r.source_id, "");
	assert_string_equal(r.path, "a/b");
	assert_int_equal(r.path_len, 3);
	struct run_options again;
	assert_int_equal(dial_options_apply(&l.o, "", &again, &e), 0);
	assert_memory_not_equal(r.run_id, again.run_id, sizeof r.run_id);
	run_options_release(&again);
	run_options_release(&r);
	drop(&l);
}

static void options_reach_the_run(void **state)
{
	struct line l;
	struct run_options r;
	struct err e = {0};
	(void)state;
	assert_int_equal(take(&l,
			      KEYS "--delete --dry-run --itemize --checksum --no-one-file-system "
				   "--allow-empty-source --no-acls --no-xattrs"),
			 0);
	assert_int_equal(dial_options_apply(&l.o, "", &r, &e), 0);
	assert_int_equal(r.flags,
			 OPT_DELETE | OPT_DRY_RUN | OPT_ITEMIZE | OPT_CHECKSUM | OPT_ALLOW_EMPTY);
	assert_int_equal(r.attrs, ATTR_DEFAULT & ~(ATTR_ACLS | ATTR_XATTRS | ATTR_CAPABILITY));
	run_options_release(&r);
	drop(&l);
	assert_int_equal(take(&l, KEYS "--source-id A --sync-number 9 --max-shrink 10% "
				       "--compress -3 --in-place never --exclude *.o"),
			 0);
	assert_int_equal(dial_options_apply(&l.o, "", &r, &e), 0);
	assert_string_equal(r.source_id, "A");
	assert_int_equal(r.sync_number, 9);
	assert_int_equal(r.max_shrink, 10);
	assert_true(r.compress == -3);
	assert_int_equal(r.in_place, IN_PLACE_NEVER);
	assert_int_equal(filter_match(&r.filter, "x.o", 3, false), FILTER_EXCLUDE);
	assert_int_equal(filter_match(&r.filter, "x.c", 3, false), FILTER_INCLUDE);
	run_options_release(&r);
	drop(&l);
}

static void each_switch_takes_one_attribute_away(void **state)
{
	static const struct {
		const char *name;
		uint64_t attrs;
	} rows[] = {
		{"--no-owner", ATTR_OWNER},     {"--no-group", ATTR_GROUP},
		{"--no-perms", ATTR_PERMS},     {"--no-times", ATTR_TIMES},
		{"--no-acls", ATTR_ACLS},       {"--no-xattrs", ATTR_XATTRS | ATTR_CAPABILITY},
		{"--no-links", ATTR_SYMLINKS},  {"--no-hard-links", ATTR_HARD_LINKS},
		{"--no-devices", ATTR_DEVICES}, {"--no-specials", ATTR_SPECIALS},
		{"--no-sparse", ATTR_SPARSE},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		CLEANUP_FREE char *words = mem_printf(KEYS "%s", rows[i].name);
		struct line l;
		struct run_options r;
		struct err e = {0};
		assert_int_equal(take(&l, words), 0);
		assert_int_equal(dial_options_apply(&l.o, "", &r, &e), 0);
		assert_int_equal(r.attrs, ATTR_DEFAULT & ~rows[i].attrs);
		run_options_release(&r);
		drop(&l);
	}
}

static void bad_options_are_refused(void **state)
{
	static const struct {
		const char *words, *why;
	} rows[] = {
		{"", "--identity is missing"},
		{"--identity k", "--known-host-key is missing"},
		{KEYS "--known-hosts x", "exclude each other"},
		{KEYS "--rsh ssh", "exclude each other"},
		{"--rsh ssh --port 3", "exclude each other"},
		{"--rsh 'ssh", "quote is not closed"},
		{KEYS "--max-delete 3", "--max-delete needs --delete"},
		{KEYS "--accept-new-source", "needs --source-id"},
		{KEYS "--sync-number 3", "needs --source-id"},
		{KEYS "--quiet --verbose", "exclude each other"},
		{KEYS "--quiet --json", "exclude each other"},
		{KEYS "--port 0", "--port"},
		{KEYS "--port x", "--port"},
		{KEYS "--timeout 0", "--timeout"},
		{KEYS "--timeout -1", "--timeout"},
		{KEYS "--retry-for 10x", "--retry-for"},
		{KEYS "--bwlimit 10Q", "--bwlimit"},
		{KEYS "--max-shrink 101", "--max-shrink"},
		{KEYS "--connections 0", "1 to 16 or auto"},
		{KEYS "--connections 17", "1 to 16 or auto"},
		{KEYS "--connections all", "1 to 16 or auto"},
		{KEYS "--compress 13", "-7 to 12"},
		{KEYS "--compress -8", "-7 to 12"},
		{KEYS "--compress fast", "-7 to 12"},
		{KEYS "--compress --1", "-7 to 12"},
		{KEYS "--in-place maybe", "auto, never, always"},
		{KEYS "--progress maybe", "auto, always, never"},
		{KEYS "--data-as-of yesterday", "--data-as-of"},
		{KEYS "--data-as-of 1969-12-31T23:59:59Z", "before 1970"},
		{KEYS "--source-id=", "1 to 253 bytes"},
		{KEYS "--source-id \xff", "printable ASCII"},
		{KEYS "--exclude-from /nonexistent", "No such file"},
		{KEYS "--report /nonexistent/x", "--report"},
		{KEYS "--remote-command=", "--remote-command"},
		{KEYS "--map-names", "--map-names"},
		{KEYS "--frobnicate", "unknown option"},
		{KEYS "--no-delete", "unknown option"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct line l;
		char text[CLI_LINE_MAX];
		assert_int_equal(take(&l, rows[i].words), -1);
		assert_int_equal(l.e.code, ERR_USAGE);
		if (!strstr(l.e.msg, rows[i].why))
			fail_msg("%s: %s", rows[i].words, l.e.msg);
		cli_error_line(text, "push", &l.e);
		assert_true(strncmp(text, "scribe-mover: push: ", 20) == 0);
		assert_null(strchr(text, '\n'));
		assert_true(strchr(text, ';') || strstr(text, "see "));
		drop(&l);
	}
}

static void patterns_keep_their_order(void **state)
{
	struct line l;
	(void)state;
	assert_int_equal(take(&l, KEYS "--include a.o --exclude *.o --include b.o"), 0);
	assert_int_equal(filter_match(&l.o.filter, "a.o", 3, false), FILTER_INCLUDE);
	assert_int_equal(filter_match(&l.o.filter, "b.o", 3, false), FILTER_EXCLUDE);
	drop(&l);
}

/* A table with a mistake fails here: its defaults are parsed, its rules looked up. */
static void every_command_has_a_sound_table(void **state)
{
	int n = 0;
	(void)state;
	for (const struct opt_command *const *c = cli_commands; *c; c++, n++) {
		char name[32], help[] = "--help";
		char *argv[] = {name, help, NULL};
		uint64_t target[256] = {0};
		struct opt_result r;
		struct err e = {0};
		snprintf(name, sizeof name, "%s", (*c)->name);
		assert_non_null((*c)->run);
		assert_true((*c)->max_operands >= (*c)->min_operands);
		if (opt_parse(*c, 2, argv, target, &r, &e) < 0)
			fail_msg("%s: %s", name, e.msg);
		assert_true(r.help);
		for (const struct opt_rule *rule = (*c)->rules; rule && rule->a; rule++) {
			assert_false(opt_given(&r, rule->a));
			assert_false(opt_given(&r, rule->b));
		}
		for (const struct opt *o = (*c)->options; o && o->name; o++) {
			assert_non_null(o->help);
			assert_true(o->offset < sizeof target);
		}
	}
	assert_int_equal(n, 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_those_of_the_design),
		cmocka_unit_test(options_reach_the_run),
		cmocka_unit_test(each_switch_takes_one_attribute_away),
		cmocka_unit_test(bad_options_are_refused),
		cmocka_unit_test(patterns_keep_their_order),
		cmocka_unit_test(every_command_has_a_sound_table),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
