/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "scan.h"
#include "treetest.h"

enum { ENTRIES = 5000 };

struct fixture {
	struct place place;
	struct dirs *ds;
	struct dir *root;
	struct dir *full; /* n0 .. n4999 */
};

static int open_fixture(void **state)
{
	struct fixture *x = mem_alloc(1, sizeof *x);
	struct err e;
	if (!place_open(&x->place))
		return -1;
	mkdirat(x->place.fd, "full", 0755);
	CLEANUP_FD int fd = place_fd(&x->place, "full");
	for (int i = 0; i < ENTRIES; i++) {
		char name[64];
		/* Names of different length, so that buffers end in different places. */
		snprintf(name, sizeof name, "n%d-%.*s", i, i % 40,
			 "........................................");
		if (!make_file(fd, name, 0))
			return -1;
	}
	x->ds = dirs_new(place_fd(&x->place, "."), NULL, &e);
	x->root = dirs_root(x->ds);
	x->full = dirs_child(x->ds, x->root, name_of("full"), &e);
	*state = x;
	return x->full ? 0 : -1;
}

static int close_fixture(void **state)
{
	struct fixture *x = *state;
	dir_unref(x->ds, x->full);
	dir_unref(x->ds, x->root);
	dirs_free(x->ds);
	place_close(&x->place);
	free(x);
	return 0;
}

/* Scans everything, suspending behind every entry that `seed` picks one in `often` of. */
static void scan_all(struct fixture *x, uint64_t seed, uint64_t often)
{
	struct err e = {0};
	struct scan s;
	CLEANUP_FREE uint8_t *seen = mem_alloc(ENTRIES, 1);
	struct bytes name;
	unsigned char type;
	int before = open_fds();
	int more;
	int count = 0;
	assert_int_equal(scan_init(&s, x->ds, x->full, &e), 0);
	while ((more = scan_next(&s, &name, &type, &e)) > 0) {
		assert_true(name.n > 1 && name.p[0] == 'n' && name.p[name.n] == '\0');
		long i = strtol((const char *)name.p + 1, NULL, 10);
		assert_in_range(i, 0, ENTRIES - 1);
		assert_int_equal(seen[i]++, 0);
		assert_true(type == DT_REG || type == DT_UNKNOWN);
		count++;
		if (!often || next(&seed) % often)
			continue;
		scan_suspend(&s);
		assert_int_equal(open_fds(), before);
		if (scan_resume(&s, x->ds, x->full, &e) < 0)
			fail_msg("%s", e.msg);
	}
	assert_int_equal(more, 0);
	assert_int_equal(count, ENTRIES);
	assert_int_equal(scan_next(&s, &name, &type, &e), 0); /* the end stays the end */
	scan_release(&s);
	scan_release(&s);
	assert_int_equal(open_fds(), before);
}

static void every_name_is_seen_once(void **state)
{
	scan_all(*state, 1, 0);
}

static void also_when_suspended_now_and_then(void **state)
{
	print_message("seed 2\n");
	scan_all(*state, 2, 50);
	scan_all(*state, 3, 1000);
}

static void also_when_suspended_behind_each(void **state)
{
	scan_all(*state, 4, 1);
}

/* What a scan needs is held by the scan: the directory's own fd may be closed meanwhile. */
static void scans_do_not_disturb_each_other(void **state)
{
	struct fixture *x = *state;
	struct err e = {0};
	struct scan a, b;
	struct bytes name;
	unsigned char type;
	int of_a = 0;
	int of_b = 0;
	assert_int_equal(scan_init(&a, x->ds, x->full, &e), 0);
	assert_int_equal(scan_init(&b, x->ds, x->full, &e), 0);
	while (scan_next(&a, &name, &type, &e) > 0) {
		of_a++;
		if (of_a % 3 == 0 && scan_next(&b, &name, &type, &e) > 0)
			of_b++;
	}
	while (scan_next(&b, &name, &type, &e) > 0)
		of_b++;
	assert_int_equal(of_a, ENTRIES);
	assert_int_equal(of_b, ENTRIES);
	scan_release(&a);
	scan_release(&b);
}

static void an_empty_directory_has_no_names(void **state)
{
	struct fixture *x = *state;
	struct err e = {0};
	struct scan s;
	struct bytes name;
	unsigned char type;
	assert_int_equal(mkdirat(x->place.fd, "empty", 0755), 0);
	struct dir *d = dirs_child(x->ds, x->root, name_of("empty"), &e);
	assert_int_equal(scan_init(&s, x->ds, d, &e), 0);
	assert_int_equal(scan_next(&s, &name, &type, &e), 0);
	scan_suspend(&s);
	assert_int_equal(scan_resume(&s, x->ds, d, &e), 0);
	assert_int_equal(scan_next(&s, &name, &type, &e), 0);
	scan_release(&s);
	dir_unref(x->ds, d);
	assert_int_equal(unlinkat(x->place.fd, "empty", AT_REMOVEDIR), 0);
}

/* Names are bytes, and those that only begin like "." and ".." are names. */
static void odd_names_are_names(void **state)
{
	struct fixture *x = *state;
	struct err e = {0};
	struct scan s;
	struct bytes name;
	unsigned char type;
	char longest[256];
	memset(longest, 'x', 255);
	longest[255] = '\0';
	const char *const names[] = {"...", ".a", "..a", "\xff\xfe", "a\nb", " ", longest};
	enum { ODD = sizeof names / sizeof names[0] };
	assert_int_equal(mkdirat(x->place.fd, "odd", 0755), 0);
	struct dir *d = dirs_child(x->ds, x->root, name_of("odd"), &e);
	int fd = dir_pin(x->ds, d, &e);
	for (size_t i = 0; i < ODD; i++)
		assert_int_equal(mkdirat(fd, names[i], 0755), 0);
	unsigned seen = 0;
	assert_int_equal(scan_init(&s, x->ds, d, &e), 0);
	while (scan_next(&s, &name, &type, &e) > 0) {
		size_t i = 0;
		while (i < ODD && strcmp((const char *)name.p, names[i]) != 0)
			i++;
		assert_in_range(i, 0, ODD - 1);
		assert_int_equal(name.n, strlen(names[i]));
		assert_true(type == DT_DIR || type == DT_UNKNOWN);
		assert_false(seen & 1u << i);
		seen |= 1u << i;
	}
	assert_int_equal(seen, (1u << ODD) - 1);
	scan_release(&s);
	dir_unpin(x->ds, d);
	dir_unref(x->ds, d);
	remove_all(x->place.fd, "odd");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_name_is_seen_once),
		cmocka_unit_test(also_when_suspended_now_and_then),
		cmocka_unit_test(also_when_suspended_behind_each),
		cmocka_unit_test(scans_do_not_disturb_each_other),
		cmocka_unit_test(an_empty_directory_has_no_names),
		cmocka_unit_test(odd_names_are_names),
	};
	return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
