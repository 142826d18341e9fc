/* SPDX-License-Identifier: Apache-2.0 */
/* The parts that need no trees: ACLs, link groups against a plain model, names, words, lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "buf.h"
#include "diff_acl.h"
#include "diff_command.h"
#include "diff_links.h"
#include "diff_names.h"
#include "difftest.h"
#include "mem.h"

/* ---- ACLs ---- */

static const uint8_t acl_head[4] = {2, 0, 0, 0};
#define ENTRY(tag, perm, id) tag, 0, perm, 0, id, 0, 0, 0

static void test_acl_parse(void **state)
{
	(void)state;
	struct diff_acl acl;
	const uint8_t full[] = {2,
				0,
				0,
				0,
				ENTRY(1, 6, 9),
				ENTRY(2, 4, 7),
				ENTRY(4, 4, 9),
				ENTRY(16, 7, 9),
				ENTRY(32, 0, 9)};
	char text[128];
	assert_int_equal(diff_acl_parse(&acl, full, sizeof(full), false), 0);
	assert_int_equal(acl.n, 5);
	assert_string_equal(diff_acl_text(text, sizeof(text), &acl, false),
			    "user::rw-,user:7:r--,group::r--,mask::rwx,other::---");
	assert_string_equal(diff_acl_text(text, 39, &acl, true), "default:user::rw-,user:7:r--");
	diff_acl_release(&acl);
	/* The three base entries with a mask are more than a mode. */
	const uint8_t masked[] = {
		2, 0, 0, 0, ENTRY(1, 6, 0), ENTRY(4, 4, 0), ENTRY(16, 4, 0), ENTRY(32, 0, 0)};
	assert_int_equal(diff_acl_parse(&acl, masked, sizeof(masked), false), 0);
	assert_int_equal(acl.n, 4);
	diff_acl_release(&acl);
	const uint8_t base[] = {2, 0, 0, 0, ENTRY(1, 6, 0), ENTRY(4, 4, 0), ENTRY(32, 0, 0)};
	assert_int_equal(diff_acl_parse(&acl, base, sizeof(base), false), 0);
	assert_int_equal(acl.n, 0);
	diff_acl_release(&acl);
	assert_int_equal(diff_acl_parse(&acl, base, sizeof(base), true), 0);
	assert_int_equal(acl.n, 3);
	diff_acl_release(&acl);
	assert_int_equal(diff_acl_parse(&acl, acl_head, sizeof(acl_head), true), 0);
	assert_int_equal(acl.n, 0);
	diff_acl_release(&acl);
}

static void test_acl_malformed(void **state)
{
	(void)state;
	struct diff_acl acl;
	const uint8_t odd[] = {2, 0, 0, 0, 1, 0, 6, 0, 0};
	const uint8_t version[] = {1, 0, 0, 0, ENTRY(1, 6, 0)};
	assert_int_equal(diff_acl_parse(&acl, "", 0, false), -1);
	assert_int_equal(diff_acl_parse(&acl, acl_head, 3, false), -1);
	assert_int_equal(diff_acl_parse(&acl, odd, sizeof(odd), false), -1);
	assert_int_equal(diff_acl_parse(&acl, version, sizeof(version), false), -1);
	assert_null(acl.v);
}

/* ---- link groups ---- */

enum { FILES = 40, ROUNDS = 400 };

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Random groupings of FILES names; sometimes B's is A's with other inode numbers. */
static void test_links_against_model(void **state)
{
	(void)state;
	const uint64_t start = 88172645463325252u;
	uint64_t seed = start;
	size_t equal = 0;
	print_message("seed %llu\n", (unsigned long long)start);
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t ino[2][FILES];
		size_t count[2][FILES] = {{0}};
		uint64_t groups = 1 + next_random(&seed) % FILES;
		uint64_t moved = next_random(&seed) % 3;
		for (size_t i = 0; i < FILES; i++) {
			ino[0][i] = next_random(&seed) % groups;
			ino[1][i] = (ino[0][i] * 7 + 3) % 41;
			if (moved && next_random(&seed) % 20 == 0)
				ino[1][i] = next_random(&seed) % 41;
		}
		bool same = true;
		for (size_t i = 0; i < FILES; i++) {
			for (size_t j = 0; j < FILES; j++) {
				count[0][i] += ino[0][i] == ino[0][j];
				count[1][i] += ino[1][i] == ino[1][j];
				same = same && (ino[0][i] == ino[0][j]) == (ino[1][i] == ino[1][j]);
			}
		}
		struct diff_links l;
		bool found = true;
		diff_links_init(&l);
		for (size_t i = 0; i < FILES; i++) {
			const struct diff_inode id[2] = {{1, ino[0][i]}, {2, ino[1][i]}};
			const bool multi[2] = {count[0][i] > 1, count[1][i] > 1};
			const char *earlier[2];
			found = diff_links_add(&l, id, multi, "x", 1, earlier) && found;
		}
		diff_links_release(&l);
		assert_int_equal(found, same);
		equal += same;
	}
	assert_true(equal > ROUNDS / 10 && equal < ROUNDS * 9 / 10);
}

static void test_links_many(void **state)
{
	(void)state;
	struct diff_links l;
	const bool multi[2] = {true, true};
	const char *earlier[2];
	static char path[3000];
	memset(path, 'p', sizeof(path));
	diff_links_init(&l);
	for (int pass = 0; pass < 2; pass++) {
		for (uint64_t i = 0; i < 20000; i++) {
			const struct diff_inode id[2] = {{1, i}, {1, i + 5}};
			int n = snprintf(path, 16, "%llu", (unsigned long long)i);
			path[n] = i == 77 ? 'p' : '\0';
			size_t len = i == 77 ? sizeof(path) : (size_t)n;
			assert_true(diff_links_add(&l, id, multi, path, len, earlier));
			assert_int_equal(earlier[0] != NULL, pass);
			assert_ptr_equal(earlier[0], earlier[1]);
			if (pass && i == 77)
				assert_int_equal(strlen(earlier[0]), 3 + DIFF_LINK_PATH_MAX);
			else if (pass)
				assert_string_equal(earlier[0], path);
		}
	}
	/* The same inode number on another device is another file. */
	const struct diff_inode other[2] = {{2, 9}, {2, 9}};
	assert_true(diff_links_add(&l, other, multi, "o", 1, earlier));
	assert_null(earlier[0]);
	const struct diff_inode crossed[2] = {{1, 9}, {2, 9}};
	assert_false(diff_links_add(&l, crossed, multi, "o", 1, earlier));
	assert_string_equal(earlier[0], "9");
	assert_string_equal(earlier[1], "o");
	const struct diff_inode moved[2] = {{1, 9}, {3, 14}};
	assert_false(diff_links_add(&l, moved, multi, "m", 1, earlier));
	diff_links_release(&l);
}

/* ---- names ---- */

static void test_names(void **state)
{
	(void)state;
	struct pair p;
	static char scratch[32 << 10];
	assert_true(pair_open(&p));
	for (int i = 0; i < 1500; i++) {
		char name[64];
		snprintf(name, sizeof(name), "%c%039d", i % 2 ? 0xff : 'a', i);
		assert_int_equal(put_file(p.fd[0], name, "", 0), 0);
	}
	CLEANUP_FREE char *after = NULL;
	size_t seen = 0;
	size_t batches = 0;
	bool more = true;
	while (more) {
		struct diff_names l;
		diff_names_init(&l);
		assert_int_equal(diff_names_read(&l, p.fd[0], after, 0, scratch, sizeof(scratch)),
				 0);
		assert_true(l.n > 0);
		assert_true(diff_names_held(&l) < 2 * DIFF_NAMES_MIN);
		for (size_t i = 0; i < l.n; i++) {
			const char *last = i ? diff_names_get(&l, i - 1) : after;
			assert_true(!last || strcmp(last, diff_names_get(&l, i)) < 0);
		}
		seen += l.n;
		batches++;
		more = l.more;
		free(after);
		after = mem_strdup(diff_names_get(&l, l.n - 1));
		diff_names_release(&l);
	}
	assert_int_equal(seen, 1500);
	assert_true(batches > 5);
	struct diff_names l;
	diff_names_init(&l);
	assert_int_equal(diff_names_read(&l, p.fd[0], after, 0, scratch, sizeof(scratch)), 0);
	assert_int_equal(l.n, 0);
	diff_names_limit(&l, "a");
	assert_false(l.more);
	assert_int_equal(diff_names_read(&l, -1, NULL, 0, scratch, sizeof(scratch)), -1);
	assert_int_equal(errno, EBADF);
	pair_close(&p);
}

/* ---- words, lines, the command ---- */

static void test_words(void **state)
{
	(void)state;
	for (int i = 0; i < TREEDIFF_ATTRS; i++) {
		const char *word = treediff_attr_word((enum treediff_attr)i);
		assert_int_equal(treediff_attr_parse(word), i);
	}
	assert_int_equal(treediff_attr_parse("mtim"), -1);
	assert_int_equal(treediff_attr_parse(""), -1);
}

/* Runs the command with its output in *out and messages in *errors, both freed by the caller. */
static int command(char **out, char **errors, int argc, const char *const *args)
{
	char *argv[16] = {NULL};
	size_t size[2];
	FILE *o = open_memstream(out, &size[0]);
	FILE *e = open_memstream(errors, &size[1]);
	assert_true(o && e && argc < 15);
	for (int i = 0; i < argc; i++)
		argv[i] = mem_strdup(args[i]);
	int rc = diff_command(argc, argv, o, e);
	fclose(o);
	fclose(e);
	/* getopt_long may have put them into another order, none is lost. */
	for (int i = 0; i < argc; i++)
		free(argv[i]);
	return rc;
}

#define RUN(...)                                                                                   \
	command(&out, &errors,                                                                     \
		(int)(sizeof((const char *const[]){"diff", __VA_ARGS__}) / sizeof(char *)),        \
		(const char *const[]){"diff", __VA_ARGS__})
#define DONE                                                                                       \
	do {                                                                                       \
		free(out);                                                                         \
		free(errors);                                                                      \
	} while (0)

static void test_command(void **state)
{
	(void)state;
	struct pair p;
	char *out;
	char *errors;
	assert_true(pair_open(&p));
	const char *a = p.path[0];
	const char *b = p.path[1];
	put_file(p.fd[0], "new\nline\xff", "1", 1);
	put_file(p.fd[1], "new\nline\xff", "2", 1);
	put_file(p.fd[1], "zz", "2", 1);
	assert_int_equal(RUN("--no-times", a, a), DIFF_EXIT_EQUAL);
	assert_string_equal(out, "");
	DONE;
	assert_int_equal(RUN(a, "--no-times", b), DIFF_EXIT_DIFFERS);
	assert_string_equal(out, "content  new\\nline\\377  0x31 at 0  0x32 at 0\n"
				 "extra  zz  -  file\n");
	assert_string_equal(errors, "");
	DONE;
	assert_int_equal(RUN("--ignore", "mtime,content", "--skip", "zz", a, b), DIFF_EXIT_EQUAL);
	DONE;
	assert_int_equal(RUN("--no-times", "--max", "1", "-v", a, b), DIFF_EXIT_DIFFERS);
	assert_ptr_equal(strchr(out, '\n'), out + strlen(out) - 1);
	assert_non_null(strstr(errors, "1 differences"));
	DONE;
	assert_int_equal(RUN("-q", a, b), DIFF_EXIT_DIFFERS);
	assert_string_equal(out, "");
	DONE;
	assert_int_equal(RUN(a, "/does/not/exist"), DIFF_EXIT_ERRORS);
	assert_non_null(strstr(errors, "/does/not/exist"));
	DONE;
	pair_close(&p);
}

static void test_usage(void **state)
{
	(void)state;
	char *out;
	char *errors;
	assert_int_equal(RUN("--help"), 0);
	assert_memory_equal(out, "usage: diff ", 12);
	DONE;
	assert_int_equal(RUN("."), DIFF_EXIT_USAGE);
	DONE;
	assert_int_equal(RUN(".", ".", "."), DIFF_EXIT_USAGE);
	DONE;
	assert_int_equal(RUN("--no-such", ".", "."), DIFF_EXIT_USAGE);
	assert_non_null(strstr(errors, "--no-such"));
	DONE;
	assert_int_equal(RUN("--ignore", "missing", ".", "."), DIFF_EXIT_USAGE);
	DONE;
	assert_int_equal(RUN("--granule", "1s", ".", "."), DIFF_EXIT_USAGE);
	DONE;
	assert_int_equal(RUN("--granule", "-1", ".", "."), DIFF_EXIT_USAGE);
	DONE;
	assert_int_equal(RUN("--holes", "some", ".", "."), DIFF_EXIT_USAGE);
	DONE;
}

int main(void)
{
	umask(022);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_acl_parse),
		cmocka_unit_test(test_acl_malformed),
		cmocka_unit_test(test_links_against_model),
		cmocka_unit_test(test_links_many),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_command),
		cmocka_unit_test(test_usage),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
