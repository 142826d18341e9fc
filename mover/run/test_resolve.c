/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem.h"
#include "resolve.h"

/* base/outside lies beside base/root: what a path must not reach. */
struct place {
	char base[64];
	int dir, root;
};

static const char *const made[] = {"outside", "root", "root/a", "root/a/b", "root/a/b/c"};

static int open_place(void **state)
{
	struct place *p = mem_alloc(1, sizeof *p);
	const char *tmp = getenv("TMPDIR");
	snprintf(p->base, sizeof p->base, "%.40s/resolve.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(p->base))
		return -1;
	p->dir = open(p->base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < sizeof made / sizeof made[0]; i++)
		mkdirat(p->dir, made[i], 0755);
	p->root = openat(p->dir, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	close(openat(p->root, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	*state = p;
	return symlinkat("../outside", p->root, "out") || symlinkat("a", p->root, "in") ||
	       symlinkat(".", p->root, "a/b/dot") || mkfifoat(p->root, "fifo", 0600);
}

static int close_place(void **state)
{
	struct place *p = *state;
	unlinkat(p->root, "a/b/dot", 0);
	unlinkat(p->root, "out", 0);
	unlinkat(p->root, "in", 0);
	unlinkat(p->root, "file", 0);
	unlinkat(p->root, "fifo", 0);
	for (size_t i = sizeof made / sizeof made[0]; i > 0; i--)
		unlinkat(p->dir, made[i - 1], AT_REMOVEDIR);
	close(p->root);
	close(p->dir);
	int r = rmdir(p->base); /* nothing else was made anywhere */
	free(p);
	return r;
}

static int open_fds(void)
{
	int n = 0;
	DIR *d = opendir("/proc/self/fd");
	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

static int resolve(struct place *p, const char *path, bool make, struct err *e)
{
	*e = (struct err){0};
	return run_resolve(p->root, path, strlen(path), make, e);
}

static void leads_to(struct place *p, const char *path, const char *expected)
{
	struct err e;
	struct stat is, should;
	int before = open_fds();
	int fd = resolve(p, path, false, &e);
	if (fd < 0)
		fail_msg("%s: %s", path, e.msg);
	assert_int_equal(e.code, ERR_OK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(fstat(fd, &is), 0);
	assert_int_equal(fstatat(p->root, expected, &should, 0), 0);
	assert_true(is.st_ino == should.st_ino && is.st_dev == should.st_dev);
	close(fd);
	assert_int_equal(open_fds(), before);
}

static void refused(struct place *p, const char *path, bool make, enum err_code code)
{
	struct err e;
	int before = open_fds();
	int fd = resolve(p, path, make, &e);
	if (fd >= 0)
		fail_msg("%s was opened", path);
	assert_int_equal(fd, -1);
	if (e.code != code)
		fail_msg("%s: code %d, %s", path, e.code, e.msg);
	assert_true(e.msg[0]);
	assert_int_equal(open_fds(), before);
}

static void slashes_and_dots_mean_nothing(void **state)
{
	struct place *p = *state;
	leads_to(p, "", ".");
	leads_to(p, "/", ".");
	leads_to(p, "///", ".");
	leads_to(p, ".", ".");
	leads_to(p, "/./.", ".");
	leads_to(p, "a", "a");
	leads_to(p, "/a", "a");
	leads_to(p, "a/", "a");
	leads_to(p, "//a//b///c//", "a/b/c");
	leads_to(p, "./a/./b/./c/.", "a/b/c");
}

static void parents_are_refused(void **state)
{
	struct place *p = *state;
	static const char *const paths[] = {"..",     "../outside",
					    "/..",    "a/..",
					    "a/../a", "./..",
					    "//..//", "a/b/c/../../../../outside"};
	for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
		for (int make = 0; make < 2; make++)
			refused(p, paths[i], make, ERR_USAGE);
	refused(p, "...", false, ERR_FAILURE); /* a name as any other */
}

static void links_are_not_followed(void **state)
{
	struct place *p = *state;
	static const char *const paths[] = {"out",  "out/",    "/out/x",   "in",
					    "in/b", "a/b/dot", "a/b/dot/c"};
	for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
		for (int make = 0; make < 2; make++)
			refused(p, paths[i], make, ERR_FAILURE);
}

static void other_things_are_no_directories(void **state)
{
	struct place *p = *state;
	for (int make = 0; make < 2; make++) {
		refused(p, "file", make, ERR_FAILURE);
		refused(p, "file/x", make, ERR_FAILURE);
		refused(p, "fifo", make, ERR_FAILURE); /* and nobody waits for its writer */
	}
	refused(p, "missing", false, ERR_FAILURE);
	refused(p, "a/missing/c", false, ERR_FAILURE);
	char name[300];
	memset(name, 'n', sizeof name);
	name[256] = '\0';
	refused(p, name, false, ERR_USAGE);
	refused(p, name, true, ERR_USAGE);
	name[255] = '\0';
	refused(p, name, false, ERR_FAILURE);
}

/* The path need not end where its memory ends. */
static void only_n_bytes_count(void **state)
{
	struct place *p = *state;
	struct err e;
	int fd = run_resolve(p->root, "a/b/../..", 3, false, &e);
	assert_true(fd >= 0);
	close(fd);
	CLEANUP_FREE char *exact = mem_alloc_raw(3);
	memcpy(exact, "a/b", 3);
	fd = run_resolve(p->root, exact, 3, false, &e);
	assert_true(fd >= 0);
	close(fd);
}

static void the_last_component_is_made(void **state)
{
	struct place *p = *state;
	struct err e;
	struct stat st;
	int before = open_fds();
	refused(p, "a/new/newer", true, ERR_FAILURE);
	assert_int_equal(fstatat(p->root, "a/new", &st, 0), -1);
	int fd = resolve(p, "//a//new//", true, &e);
	if (fd < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07022, 0);
	assert_int_equal(st.st_mode & 0700, 0700);
	close(fd);
	leads_to(p, "a/new", "a/new");
	fd = resolve(p, "a/new/newer", true, &e);
	assert_true(fd >= 0);
	close(fd);
	leads_to(p, "a/new/newer", "a/new/newer");
	fd = resolve(p, "a/new/newer", true, &e); /* a second time it is just there */
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(open_fds(), before);
	assert_int_equal(unlinkat(p->root, "a/new/newer", AT_REMOVEDIR), 0);
	assert_int_equal(unlinkat(p->root, "a/new", AT_REMOVEDIR), 0);
	/* The result can be listed. */
	fd = resolve(p, "a", false, &e);
	DIR *d = fdopendir(fd);
	assert_non_null(d);
	assert_non_null(readdir(d));
	closedir(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slashes_and_dots_mean_nothing),
		cmocka_unit_test(parents_are_refused),
		cmocka_unit_test(links_are_not_followed),
		cmocka_unit_test(other_things_are_no_directories),
		cmocka_unit_test(only_n_bytes_count),
		cmocka_unit_test(the_last_component_is_made),
	};
	return cmocka_run_group_tests(tests, open_place, close_place);
}
