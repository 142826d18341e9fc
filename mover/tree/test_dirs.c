/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <pthread.h>
#include <sys/resource.h>

#include "dirs.h"
#include "treetest.h"

enum { MANY = 1000, FDS_MAX = 200, DEEP = 300, THREADS = 4 };

struct fixture {
	struct place place;
	struct dirs *ds;
	struct dir *root;
	struct rlimit before;
};

static int open_fixture(void **state)
{
	struct fixture *x = mem_alloc(1, sizeof *x);
	struct err e;
	if (!place_open(&x->place))
		return -1;
	getrlimit(RLIMIT_NOFILE, &x->before);
	struct rlimit few = {.rlim_cur = FDS_MAX, .rlim_max = x->before.rlim_max};
	setrlimit(RLIMIT_NOFILE, &few);
	x->ds = dirs_new(place_fd(&x->place, "."), NULL, &e);
	x->root = dirs_root(x->ds);
	*state = x;
	return 0;
}

static int close_fixture(void **state)
{
	struct fixture *x = *state;
	dir_unref(x->ds, x->root);
	dirs_free(x->ds);
	setrlimit(RLIMIT_NOFILE, &x->before);
	place_close(&x->place);
	free(x);
	return 0;
}

static struct dir *child(struct fixture *x, struct dir *parent, const char *name)
{
	struct err e = {0};
	struct dir *d = dirs_child(x->ds, parent, name_of(name), &e);
	if (!d)
		fail_msg("%s: %s", name, e.msg);
	return d;
}

/* The directory behind a pinned fd is the one it should be. */
static void check_pin(struct fixture *x, struct dir *d)
{
	struct err e = {0};
	struct stat st;
	int fd = dir_pin(x->ds, d, &e);
	if (fd < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(st.st_ino == d->ino && st.st_dev == d->dev);
	dir_unpin(x->ds, d);
}

static void a_thousand_directories_take_128_fds(void **state)
{
	struct fixture *x = *state;
	CLEANUP_FREE struct dir **d = mem_alloc(MANY, sizeof *d);
	int before = open_fds();
	for (int i = 0; i < MANY; i++) {
		char name[16];
		snprintf(name, sizeof name, "d%d", i);
		assert_int_equal(mkdirat(x->place.fd, name, 0755), 0);
		d[i] = child(x, x->root, name);
		assert_true(open_fds() - before <= DIRS_OPEN_MAX + 1);
	}
	for (int i = 0; i < MANY; i++) {
		check_pin(x, d[i]);
		check_pin(x, d[i * 37 % MANY]);
		assert_true(open_fds() - before <= DIRS_OPEN_MAX + 1);
	}
	/* More pinned than are kept open otherwise. */
	struct err e = {0};
	for (int i = 0; i < DIRS_OPEN_MAX + 20; i++)
		assert_true(dir_pin(x->ds, d[i], &e) >= 0);
	for (int i = 0; i < DIRS_OPEN_MAX + 20; i++) {
		struct stat st;
		assert_int_equal(fstat(d[i]->fd, &st), 0); /* none of them was closed */
		assert_true(st.st_ino == d[i]->ino);
	}
	for (int i = 0; i < DIRS_OPEN_MAX + 20; i++)
		dir_unpin(x->ds, d[i]);
	check_pin(x, d[MANY - 1]);
	for (int i = 0; i < MANY; i++)
		dir_unref(x->ds, d[i]);
	assert_int_equal(open_fds(), before);
}

/* The least recently used one is closed first. */
static void what_is_in_use_stays_open(void **state)
{
	struct fixture *x = *state;
	struct dir *d[DIRS_OPEN_MAX + 1];
	for (int i = 0; i <= DIRS_OPEN_MAX; i++) {
		char name[16];
		snprintf(name, sizeof name, "d%d", i);
		assert_int_equal(mkdirat(x->place.fd, name, 0755), 0);
		if (i == DIRS_OPEN_MAX)
			check_pin(x, d[0]); /* used again just before room is needed */
		d[i] = child(x, x->root, name);
	}
	assert_true(d[0]->fd >= 0);
	assert_int_equal(d[1]->fd, -1);
	assert_true(d[2]->fd >= 0);
	for (int i = 0; i <= DIRS_OPEN_MAX; i++)
		dir_unref(x->ds, d[i]);
}

static void paths_may_be_longer_than_PATH_MAX(void **state)
{
	struct fixture *x = *state;
	char name[101];
	memset(name, 'n', 100);
	name[100] = '\0';
	struct dir *d[DEEP];
	struct dir *parent = x->root;
	struct buf path, expected;
	buf_init(&path, 1 << 20);
	buf_init(&expected, 1 << 20);
	for (int i = 0; i < DEEP; i++) {
		struct err e;
		name[0] = (char)('a' + i % 26);
		int fd = dir_pin(x->ds, parent, &e);
		assert_true(fd >= 0);
		assert_int_equal(mkdirat(fd, name, 0755), 0);
		dir_unpin(x->ds, parent);
		parent = d[i] = child(x, parent, name);
		buf_printf(&expected, "%s%s", i ? "/" : "", name);
		assert_int_equal(d[i]->depth, i + 1);
	}
	assert_true(expected.len > PATH_MAX * 5);
	dir_path(d[DEEP - 1], (struct bytes){0}, &path);
	assert_int_equal(path.len, expected.len);
	assert_memory_equal(path.data, expected.data, path.len);
	/* From the top down again, and at once at the bottom with all between closed. */
	for (int i = 0; i < DEEP; i++)
		check_pin(x, d[i]);
	assert_int_equal(d[0]->fd, -1);
	check_pin(x, d[0]);
	check_pin(x, d[DEEP - 1]);
	for (int i = 0; i < DEEP; i++)
		check_pin(x, d[(i * 101 + 13) % DEEP]);
	for (int i = 0; i < DEEP; i++)
		dir_unref(x->ds, d[i]);
	buf_release(&path);
	buf_release(&expected);
}

static void path_texts_are_short_and_clean(void **state)
{
	struct fixture *x = *state;
	char text[256];
	assert_string_equal(dir_path_text(x->root, (struct bytes){0}, text), ".");
	assert_string_equal(dir_path_text(x->root, name_of("f\n"), text), "f\\n");
	struct dir *a = dirs_name_only(x->ds, x->root, name_of("a b"));
	struct dir *b = dirs_name_only(x->ds, a, name_of("c\033"));
	assert_string_equal(dir_path_text(b, (struct bytes){0}, text), "a b/c\\033");
	assert_string_equal(dir_path_text(b, name_of("d"), text), "a b/c\\033/d");
	char name[256];
	memset(name, 1, 255);
	name[255] = '\0';
	struct dir *c = dirs_name_only(x->ds, b, name_of(name));
	assert_true(strlen(dir_path_text(c, name_of(name), text)) <= 240);
	dir_unref(x->ds, c);
	dir_unref(x->ds, b);
	dir_unref(x->ds, a);
}

static void evict(struct fixture *x)
{
	for (int i = 0; i < DIRS_OPEN_MAX + 1; i++) {
		char name[16];
		snprintf(name, sizeof name, "e%d", i);
		mkdirat(x->place.fd, name, 0755);
		dir_unref(x->ds, child(x, x->root, name));
	}
}

/* Holds DIRS_OPEN_MAX others open, so that everything else is closed. */
static void with_others_open(struct fixture *x, void (*check)(struct fixture *x, struct dir *d),
			     struct dir *d)
{
	struct dir *others[DIRS_OPEN_MAX];
	evict(x);
	for (int i = 0; i < DIRS_OPEN_MAX; i++) {
		char name[16];
		snprintf(name, sizeof name, "e%d", i);
		others[i] = child(x, x->root, name);
	}
	assert_int_equal(d->fd, -1);
	check(x, d);
	for (int i = 0; i < DIRS_OPEN_MAX; i++)
		dir_unref(x->ds, others[i]);
}

static void assert_stale(struct fixture *x, struct dir *d)
{
	struct err e = {0};
	assert_int_equal(dir_pin(x->ds, d, &e), -1);
	assert_int_equal(e.sys, ESTALE);
}

static void assert_gone(struct fixture *x, struct dir *d)
{
	struct err e = {0};
	assert_int_equal(dir_pin(x->ds, d, &e), -1);
	assert_int_equal(e.sys, ENOENT);
	assert_null(dirs_child(x->ds, d, name_of("x"), &e));
}

static void assert_no_directory(struct fixture *x, struct dir *d)
{
	struct err e = {0};
	assert_int_equal(dir_pin(x->ds, d, &e), -1);
	assert_true(e.sys == ENOTDIR || e.sys == ELOOP);
}

static void a_replaced_directory_is_not_taken_for_the_old(void **state)
{
	struct fixture *x = *state;
	int at = x->place.fd;
	assert_int_equal(mkdirat(at, "a", 0755), 0);
	assert_int_equal(mkdirat(at, "a/b", 0755), 0);
	struct dir *a = child(x, x->root, "a");
	struct dir *b = child(x, a, "b");
	assert_int_equal(renameat(at, "a", at, "old"), 0);
	assert_int_equal(mkdirat(at, "a", 0755), 0);
	assert_int_equal(mkdirat(at, "a/b", 0755), 0);
	check_pin(x, b); /* still open: still the same directory */
	with_others_open(x, assert_stale, b);
	with_others_open(x, assert_stale, a);
	assert_int_equal(unlinkat(at, "a/b", AT_REMOVEDIR), 0);
	assert_int_equal(unlinkat(at, "a", AT_REMOVEDIR), 0);
	with_others_open(x, assert_gone, a);
	/* A symbolic link to the very directory is no directory. */
	assert_int_equal(symlinkat("old", at, "a"), 0);
	with_others_open(x, assert_no_directory, a);
	with_others_open(x, assert_no_directory, b);
	assert_int_equal(unlinkat(at, "a", 0), 0);
	assert_int_equal(renameat(at, "old", at, "a"), 0);
	with_others_open(x, check_pin, b);
	dir_unref(x->ds, b);
	dir_unref(x->ds, a);
}

static void only_directories_are_opened(void **state)
{
	struct fixture *x = *state;
	int at = x->place.fd;
	assert_int_equal(mkdirat(at, "dir", 0755), 0);
	assert_int_equal(symlinkat("dir", at, "link"), 0);
	assert_int_equal(symlinkat("/", at, "out"), 0);
	assert_true(make_file(at, "file", 0));
	assert_int_equal(mkfifoat(at, "fifo", 0600), 0);
	static const char *const names[] = {"link", "out", "file", "fifo", "missing"};
	int before = open_fds();
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		struct err e = {0};
		assert_null(dirs_child(x->ds, x->root, name_of(names[i]), &e));
		assert_int_equal(e.code, ERR_FAILURE);
		assert_true(e.sys == (i == 4 ? ENOENT : ENOTDIR) || (i < 2 && e.sys == ELOOP));
		assert_non_null(strstr(e.msg, names[i]));
	}
	assert_int_equal(open_fds(), before);
}

static void ids_follow_the_path(void **state)
{
	struct fixture *x = *state;
	uint8_t nonce[HASH_NONCE_BYTES] = {1};
	struct hash_key key;
	hash_key_init(&key, nonce, nonce);
	assert_int_equal(mkdirat(x->place.fd, "a", 0755), 0);
	assert_int_equal(mkdirat(x->place.fd, "a/b", 0755), 0);
	dirs_set_key(x->ds, &key);
	struct dir *a = child(x, x->root, "a");
	struct dir *b = child(x, a, "b");
	struct h128 zero = {0};
	assert_true(h128_equal(x->root->id, zero));
	assert_true(h128_equal(a->id, hash_path(&key, zero, "a", 1)));
	assert_true(h128_equal(b->id, hash_path(&key, a->id, "b", 1)));
	/* A child keeps its parents alive. */
	dir_unref(x->ds, a);
	check_pin(x, b);
	assert_string_equal(b->parent->name, "a");
	dir_unref(x->ds, b);
}

struct worker {
	struct fixture *x;
	struct dir **d;
	uint64_t seed;
	pthread_t thread;
	int wrong;
};

static void *pin_at_random(void *arg)
{
	struct worker *w = arg;
	for (int i = 0; i < 3000; i++) {
		struct err e;
		struct stat st;
		struct dir *d = dir_ref(w->x->ds, w->d[next(&w->seed) % MANY]);
		int fd = dir_pin(w->x->ds, d, &e);
		if (fd < 0 || fstat(fd, &st) < 0 || st.st_ino != d->ino)
			w->wrong++;
		if (fd >= 0)
			dir_unpin(w->x->ds, d);
		dir_unref(w->x->ds, d);
	}
	return NULL;
}

static void threads_share_the_fds(void **state)
{
	struct fixture *x = *state;
	CLEANUP_FREE struct dir **d = mem_alloc(MANY, sizeof *d);
	/* Chains of ten, so that reopening goes by several components. */
	for (int i = 0; i < MANY; i++) {
		char name[16];
		struct err e;
		struct dir *parent = i % 10 ? d[i - 1] : x->root;
		snprintf(name, sizeof name, "d%d", i);
		int fd = dir_pin(x->ds, parent, &e);
		assert_int_equal(mkdirat(fd, name, 0755), 0);
		dir_unpin(x->ds, parent);
		d[i] = child(x, parent, name);
	}
	struct worker w[THREADS];
	print_message("seeds 50 to %d\n", 50 + THREADS - 1);
	for (int i = 0; i < THREADS; i++) {
		w[i] = (struct worker){.x = x, .d = d, .seed = 50 + (uint64_t)i};
		assert_int_equal(pthread_create(&w[i].thread, NULL, pin_at_random, &w[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(w[i].thread, NULL);
		assert_int_equal(w[i].wrong, 0);
	}
	for (int i = 0; i < MANY; i++)
		dir_unref(x->ds, d[i]);
}

#define WITH_FIXTURE(f) cmocka_unit_test_setup_teardown(f, open_fixture, close_fixture)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FIXTURE(a_thousand_directories_take_128_fds),
		WITH_FIXTURE(what_is_in_use_stays_open),
		WITH_FIXTURE(paths_may_be_longer_than_PATH_MAX),
		WITH_FIXTURE(path_texts_are_short_and_clean),
		WITH_FIXTURE(a_replaced_directory_is_not_taken_for_the_old),
		WITH_FIXTURE(only_directories_are_opened),
		WITH_FIXTURE(ids_follow_the_path),
		WITH_FIXTURE(threads_share_the_fds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
