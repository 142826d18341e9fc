/* SPDX-License-Identifier: Apache-2.0 */
/* The walk itself: depth, width, trees that change or cannot be read, scope. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "difftest.h"

enum {
	DEPTH = 200,
	NAME = 200,
	NO_TIMES = 1u << TREEDIFF_MTIME,
};

#define CHECK(call)                                                                                \
	do {                                                                                       \
		if ((call) < 0)                                                                    \
			fail_msg("%s: %s", #call, strerror(errno));                                \
	} while (0)

static int set_up(void **state)
{
	static struct pair p;
	*state = &p;
	return pair_open(&p) ? 0 : -1;
}

static int tear_down(void **state)
{
	pair_close(*state);
	return 0;
}

/* Names of levels sort before "z", so that each "z" is compared on the way back up. */
static void level_name(char out[NAME + 1], int i)
{
	memset(out, 'd', NAME);
	out[0] = (char)('a' + i % 20);
	out[NAME] = '\0';
}

/* A chain of directories, each with a file "z" of its number; the ones in odd[] get another. */
static void make_chain(int root, int depth, const int *odd, size_t n_odd)
{
	int dir = dup(root);
	for (int i = 0; i <= depth; i++) {
		char name[NAME + 1];
		char text[16];
		int number = i;
		for (size_t k = 0; k < n_odd; k++)
			number += odd[k] == i ? 1000 : 0;
		snprintf(text, sizeof(text), "%04d", number);
		CHECK(put_file(dir, "z", text, 4));
		if (i == depth)
			break;
		level_name(name, i);
		CHECK(mkdirat(dir, name, 0755));
		int next = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		CHECK(next);
		close(dir);
		dir = next;
	}
	close(dir);
}

struct deep {
	size_t len[8];
	size_t n;
};

static void on_deep(void *arg, const struct treediff_item *item)
{
	struct deep *d = arg;
	assert_int_equal(item->attr, TREEDIFF_CONTENT);
	assert_int_equal(strlen(item->path), item->path_len);
	assert_string_equal(item->path + item->path_len - 1, "z");
	if (d->n < 8)
		d->len[d->n] = item->path_len;
	d->n++;
}

static void test_deep(void **state)
{
	const struct pair *p = *state;
	const int odd[] = {0, 3, 150, 185, DEPTH};
	make_chain(p->fd[0], DEPTH, NULL, 0);
	make_chain(p->fd[1], DEPTH, odd, 5);
	struct rlimit was;
	struct rlimit few = {.rlim_cur = 64};
	getrlimit(RLIMIT_NOFILE, &was);
	few.rlim_max = was.rlim_max;
	setrlimit(RLIMIT_NOFILE, &few);
	struct deep d = {.n = 0};
	struct treediff_options opt = {.ignore = NO_TIMES, .report = on_deep, .arg = &d};
	struct treediff_result result;
	struct err e = {0};
	int rc = treediff_run(p->path[0], p->path[1], &opt, &result, &e);
	setrlimit(RLIMIT_NOFILE, &was);
	assert_int_equal(rc, 0);
	assert_int_equal(result.errors, 0);
	assert_int_equal(result.differences, 5);
	assert_int_equal(result.entries, 1 + DEPTH + DEPTH + 1);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(d.len[i], (size_t)odd[4 - i] * (NAME + 1) + 1);
}

/* What a filter does to the trees at its n-th call: the way to change them in mid-walk. */
struct meddle {
	struct found found; /* first, as the callbacks get the same pointer */
	const struct pair *p;
	int calls;
	int at;
	void (*act)(const struct pair *p);
};

static bool meddling_filter(void *arg, const char *path, size_t path_len, bool is_dir)
{
	struct meddle *m = arg;
	(void)path;
	(void)path_len;
	(void)is_dir;
	if (m->calls++ == m->at)
		m->act(m->p);
	return true;
}

static void run_meddled(struct meddle *m)
{
	struct treediff_options opt = {.ignore = NO_TIMES, .filter = meddling_filter};
	assert_int_equal(compare(m->p, opt, &m->found), 0);
	assert_true(m->calls > m->at);
}

static void chain_path(char *out, size_t cap, int depth)
{
	size_t at = 0;
	out[0] = '\0';
	for (int i = 0; i < depth; i++) {
		char name[NAME + 1];
		level_name(name, i);
		at += (size_t)snprintf(out + at, cap - at, "%s%s", i ? "/" : "", name);
	}
}

/* Moves level 10 of B away: its ".." is then another directory than the walk came from. */
static void move_level(const struct pair *p)
{
	char path[4096];
	chain_path(path, sizeof(path), 10);
	CHECK(renameat(p->fd[1], path, p->fd[1], "zz-moved"));
}

/* Moves level 5 with all below into the root and puts an empty one into its place. */
static void replace_level(const struct pair *p)
{
	char path[4096];
	chain_path(path, sizeof(path), 5);
	CHECK(renameat(p->fd[1], path, p->fd[1], "zz-moved"));
	CHECK(mkdirat(p->fd[1], path, 0755));
}

static void test_moved_while_below(void **state)
{
	const struct pair *p = *state;
	const int odd[] = {8};
	make_chain(p->fd[0], 40, NULL, 0);
	make_chain(p->fd[1], 40, odd, 1);
	static struct meddle m;
	m = (struct meddle){.p = p, .at = 60, .act = move_level};
	run_meddled(&m);
	/* Level 9 is found by its path again, and the difference in level 8 seen; the root's names
	 * were listed before. */
	assert_int_equal(m.found.result.errors, 0);
	assert_int_equal(m.found.result.differences, 1);
	assert_memory_equal(m.found.line[0], "content ", 8);
}

static void test_replaced_while_below(void **state)
{
	const struct pair *p = *state;
	const int odd[] = {1, 3};
	make_chain(p->fd[0], 40, NULL, 0);
	make_chain(p->fd[1], 40, odd, 2);
	static struct meddle m;
	m = (struct meddle){.p = p, .at = 60, .act = replace_level};
	run_meddled(&m);
	/* Levels above the replaced one go on by path. */
	assert_int_equal(m.found.result.errors, 0);
	assert_int_equal(m.found.result.differences, 2);
}

static void remove_below(const struct pair *p)
{
	char path[4096];
	chain_path(path, sizeof(path), 5);
	remove_all(p->fd[1], path);
}

static void test_removed_while_below(void **state)
{
	const struct pair *p = *state;
	make_chain(p->fd[0], 40, NULL, 0);
	make_chain(p->fd[1], 40, NULL, 0);
	static struct meddle m;
	m = (struct meddle){.p = p, .at = 60, .act = remove_below};
	run_meddled(&m);
	assert_true(m.found.result.errors > 0);
}

static void unlink_b2(const struct pair *p)
{
	CHECK(unlinkat(p->fd[1], "f2", 0));
}

static void rewrite_a1(const struct pair *p)
{
	CHECK(put_file(p->fd[0], "f1", "CHANGED", 7));
}

static void make_few(const struct pair *p)
{
	for (int i = 0; i < 2; i++) {
		CHECK(put_file(p->fd[i], "f1", "content", 7));
		CHECK(put_file(p->fd[i], "f2", "content", 7));
		CHECK(put_file(p->fd[i], "f3", i ? "content" : "Content", 7));
		CHECK(mkdirat(p->fd[i], "g", 0755));
		CHECK(put_file(p->fd[i], "g/in", i ? "1" : "2", 1));
	}
}

static void test_vanished(void **state)
{
	const struct pair *p = *state;
	make_few(p);
	static struct meddle m;
	m = (struct meddle){.p = p, .at = 0, .act = unlink_b2};
	run_meddled(&m);
	assert_int_equal(m.found.result.errors, 1);
	assert_string_equal(m.found.failure,
			    "B f2 listed but cannot be read: No such file or directory");
	assert_int_equal(m.found.n, 2);
	assert_string_equal(m.found.line[0], "content f3");
	assert_string_equal(m.found.line[1], "content g/in");
}

static void test_changed(void **state)
{
	const struct pair *p = *state;
	make_few(p);
	static struct meddle m;
	/* Call 1 is that for f1 of B: the one of A has been seen already. */
	m = (struct meddle){.p = p, .at = 1, .act = rewrite_a1};
	run_meddled(&m);
	assert_int_equal(m.found.result.errors, 1);
	assert_string_equal(m.found.failure, "A f1 changed while it was compared");
}

static void test_unreadable(void **state)
{
	const struct pair *p = *state;
	make_few(p);
	CHECK(fchmodat(p->fd[0], "f3", 0, 0));
	CHECK(fchmodat(p->fd[1], "f3", 0, 0));
	CHECK(fchmodat(p->fd[0], "g", 0, 0));
	CHECK(fchmodat(p->fd[1], "g", 0, 0));
	CHECK(chmod(p->base, 0755));
	static struct found f;
	struct treediff_options opt = {.ignore = NO_TIMES};
	bool root = geteuid() == 0;
	if (root && seteuid(65534) < 0) {
		print_message("skipped: cannot become another user\n");
		return;
	}
	int rc = compare(p, opt, &f);
	if (root)
		CHECK(seteuid(0));
	assert_int_equal(rc, 0);
	assert_int_equal(f.result.errors, 2);
	assert_int_equal(f.result.differences, 0);
	assert_string_equal(f.failure, "A g cannot open the directory: Permission denied");
	CHECK(fchmodat(p->fd[0], "g", 0755, 0));
	CHECK(fchmodat(p->fd[1], "g", 0755, 0));
}

static void test_bad_roots(void **state)
{
	const struct pair *p = *state;
	struct treediff_result result;
	struct err e = {0};
	char file[300];
	make_few(p);
	snprintf(file, sizeof(file), "%s/f1", p->path[0]);
	assert_int_equal(treediff_run(file, p->path[1], NULL, &result, &e), -1);
	assert_int_equal(e.sys, ENOTDIR);
	assert_int_equal(treediff_run(p->path[0], "/does/not/exist", NULL, &result, &e), -1);
	assert_int_equal(e.sys, ENOENT);
}

/* 4,000 names of 100 bytes with room for 80 or so: many passes, the same verdicts, in order. */
static void test_wide(void **state)
{
	const struct pair *p = *state;
	char name[128];
	for (int i = 0; i < 4000; i++) {
		snprintf(name, sizeof(name), "%04d%096d", i * 7 % 4000, 0);
		if (i % 1000 != 1)
			CHECK(put_file(p->fd[0], name, "a", 1));
		if (i % 1000 != 2)
			CHECK(put_file(p->fd[1], name, i % 1000 == 3 ? "b" : "a", 1));
	}
	for (size_t budget = 16 << 10; budget <= 64 << 20; budget <<= 4) {
		static struct found f;
		struct treediff_options opt = {.ignore = NO_TIMES, .name_budget = budget};
		assert_int_equal(compare(p, opt, &f), 0);
		assert_int_equal(f.result.errors, 0);
		assert_int_equal(f.n, 12);
		assert_int_equal(f.result.entries, 1 + 4000 - 8);
		/* i = 1 is name 7, 2 is 14, 3 is 21, and so in each 1000. */
		for (size_t i = 0; i < 12; i++) {
			static const char *const words[] = {"extra", "missing", "content"};
			snprintf(name, sizeof(name), "%s %04zu", words[i % 3],
				 (i / 3 * 1000 * 7 + (i % 3 + 1) * 7) % 4000);
			bool there = false;
			for (size_t k = 0; k < 12; k++)
				there = there || strncmp(f.line[k], name, strlen(name)) == 0;
			assert_true(there);
		}
		for (size_t i = 1; i < 12; i++)
			assert_true(strcmp(strchr(f.line[i - 1], ' '), strchr(f.line[i], ' ')) < 0);
	}
}

/* One side has far more names than the other, so that their batches end at different names. */
static void test_lopsided(void **state)
{
	const struct pair *p = *state;
	for (int i = 0; i < 3000; i++) {
		char name[128];
		snprintf(name, sizeof(name), "%04d%060d", i, 0);
		CHECK(put_file(p->fd[1], name, "", 0));
		if (i % 100 == 99)
			CHECK(put_file(p->fd[0], name, "", 0));
	}
	CHECK(put_file(p->fd[0], "zzz", "", 0));
	static struct found f;
	struct treediff_options opt = {.ignore = NO_TIMES, .name_budget = 1};
	assert_int_equal(compare(p, opt, &f), 0);
	assert_int_equal(f.result.errors, 0);
	assert_int_equal(f.result.differences, 3000 - 30 + 1);
	assert_int_equal(f.result.entries, 31);
}

static bool no_g(void *arg, const char *path, size_t path_len, bool is_dir)
{
	(void)arg;
	assert_int_equal(strlen(path), path_len);
	assert_int_equal(is_dir, strcmp(path, "g") == 0);
	return strcmp(path, "g") != 0 && strcmp(path, "only-b") != 0;
}

static void test_filter_and_stop(void **state)
{
	const struct pair *p = *state;
	static struct found f;
	make_few(p);
	CHECK(put_file(p->fd[1], "only-b", "", 0));
	struct treediff_options opt = {.ignore = NO_TIMES};
	assert_int_equal(compare(p, opt, &f), 0);
	assert_int_equal(f.n, 3);
	opt.filter = no_g;
	assert_int_equal(compare(p, opt, &f), 0);
	assert_int_equal(f.n, 1);
	assert_string_equal(f.line[0], "content f3");
	opt.filter = NULL;
	opt.stop_after = 2;
	assert_int_equal(compare(p, opt, &f), 0);
	assert_int_equal(f.n, 2);
	assert_int_equal(f.result.differences, 2);
}

/* Exit code of the child below: 0 as it should be, 77 no mounts here, else 1 to 7 by the check that
 * failed. */
static int in_namespace(const struct pair *p)
{
	char at[300];
	struct treediff_options opt = {.ignore = NO_TIMES};
	static struct found f;
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return 77;
	snprintf(at, sizeof(at), "%s/g", p->path[1]);
	if (mount("none", at, "tmpfs", 0, "mode=0755") < 0)
		return 77;
	if (compare(p, opt, &f) < 0 || f.result.errors || f.result.mounts != 1)
		return 1;
	if (f.n != 1 || strcmp(f.line[0], "content f3") != 0)
		return 2;
	/* Its own attributes count. */
	if (chmod(at, 0700) < 0 || compare(p, opt, &f) < 0 || f.n != 2 ||
	    strcmp(f.line[1], "mode g") != 0)
		return 3;
	opt.cross_mounts = true;
	if (compare(p, opt, &f) < 0 || f.result.mounts || f.n != 3 ||
	    strcmp(f.line[2], "missing g/in") != 0)
		return 4;
	/* A bind mount of the same file system is one too. */
	if (umount(at) < 0)
		return 5;
	snprintf(at, sizeof(at), "%s/g", p->path[0]);
	if (mount(at, at, NULL, MS_BIND, NULL) < 0)
		return 6;
	opt.cross_mounts = false;
	opt.ignore |= 1u << TREEDIFF_MODE;
	if (compare(p, opt, &f) < 0 || f.result.mounts != 1 || f.n != 1)
		return 7;
	return 0;
}

static void test_mounts(void **state)
{
	const struct pair *p = *state;
	int status = 0;
	make_few(p);
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0)
		_exit(in_namespace(p));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		print_message("skipped: mounting is not allowed\n");
	else
		assert_int_equal(WEXITSTATUS(status), 0);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	umask(022);
	const struct CMUnitTest tests[] = {
		WITH(test_deep),
		WITH(test_moved_while_below),
		WITH(test_replaced_while_below),
		WITH(test_removed_while_below),
		WITH(test_vanished),
		WITH(test_changed),
		WITH(test_unreadable),
		WITH(test_bad_roots),
		WITH(test_wide),
		WITH(test_lopsided),
		WITH(test_filter_and_stop),
		WITH(test_mounts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
