/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "linked.h"
#include "tree.h"
#include "tree_cache.h"
#include "treetest.h"

enum { WIDE_DIRS = 600, MTIME = 1600000000 };

static struct place place;
static bool may_mount;

/* One directory below `place` as a tree, and what it reported. */
struct wood {
	struct mask mask;
	struct filter filter;
	struct hash_key key;
	struct dirs *dirs;
	struct dir *root;
	struct tree t;
	int problems, mounts, reserved;
	char last[256]; /* path of the last problem */
};

static void on_problem(void *owner, const struct dir *d, struct bytes name, const struct err *why)
{
	struct wood *w = owner;
	assert_true(why->msg[0]);
	w->problems++;
	dir_path_text(d, name, w->last);
}

static void on_mount(void *owner, const struct dir *d, struct bytes name)
{
	struct wood *w = owner;
	w->mounts++;
	dir_path_text(d, name, w->last);
}

static void on_reserved(void *owner, struct visit *v, struct bytes name)
{
	struct wood *w = owner;
	w->reserved++;
	dir_path_text(v->d, name, w->last);
}

static void wood_open(struct wood *w, const char *name)
{
	struct err e = {0};
	uint8_t nonce[HASH_NONCE_BYTES] = {3};
	*w = (struct wood){.mask = whole_mask()};
	filter_init(&w->filter);
	hash_key_init(&w->key, nonce, nonce);
	w->dirs = dirs_new(place_fd(&place, name), &w->key, &e);
	if (!w->dirs)
		fail_msg("%s", e.msg);
	w->root = dirs_root(w->dirs);
	w->t = (struct tree){.dirs = w->dirs,
			     .mask = &w->mask,
			     .filter = &w->filter,
			     .key = &w->key,
			     .one_file_system = true,
			     .racy_from = INT64_MAX,
			     .problem = on_problem,
			     .mount = on_mount,
			     .reserved = on_reserved,
			     .owner = w};
	if (tree_init(&w->t, &e) < 0)
		fail_msg("%s", e.msg);
}

static void wood_close(struct wood *w)
{
	tree_release(&w->t);
	dir_unref(w->dirs, w->root);
	dirs_free(w->dirs);
	filter_release(&w->filter);
}

static struct tree_sum sum_now(struct wood *w)
{
	struct err e = {0};
	struct tree_sum s;
	if (tree_sum(&w->t, w->root, &s, &e) < 0)
		fail_msg("%s", e.msg);
	return s;
}

/* A directory summed by a tree of its own. */
static struct tree_sum sum_of(const char *name)
{
	struct wood w;
	wood_open(&w, name);
	struct tree_sum s = sum_now(&w);
	assert_int_equal(w.problems, 0);
	wood_close(&w);
	return s;
}

static bool same(const struct tree_sum *a, const struct tree_sum *b)
{
	bool keyed = h128_equal(a->d.sum, b->d.sum);
	assert_int_equal(keyed, h128_equal(a->plain, b->plain));
	return keyed && a->d.flags == b->d.flags && a->d.children == b->d.children &&
	       a->entries == b->entries && a->bytes == b->bytes;
}

static void assert_same(const struct tree_sum *a, const struct tree_sum *b)
{
	assert_true(same(a, b));
}

static struct dir *open_dir(struct wood *w, const char *path)
{
	struct err e = {0};
	struct dir *d = dir_ref(w->dirs, w->root);
	while (*path) {
		size_t n = strcspn(path, "/");
		struct bytes name = {.p = (const uint8_t *)path, .n = n};
		struct dir *child = dirs_child(w->dirs, d, name, &e);
		if (!child)
			fail_msg("%s", e.msg);
		dir_unref(w->dirs, d);
		d = child;
		path += n + (path[n] == '/');
	}
	return d;
}

/* The small tree that most tests begin with, made in an order that `seed` says. */
static const char *const names[] = {"file",      "empty",    "dir",  "dir/file", "dir/sub",
				    "dir/sub/x", "dir/link", "fifo", "hollow",   "\xff\x01"};
enum { NAMES = sizeof names / sizeof names[0] };

static void make_one(int at, const char *name)
{
	size_t n = strlen(name);
	if (strcmp(name, "fifo") == 0)
		assert_int_equal(mkfifoat(at, name, 0600), 0);
	else if (n > 4 && strcmp(name + n - 4, "link") == 0)
		assert_int_equal(symlinkat("../file", at, name), 0);
	else if (strcmp(name, "dir") == 0 || strcmp(name, "hollow") == 0 ||
		 (n > 3 && strcmp(name + n - 3, "sub") == 0))
		assert_int_equal(mkdirat(at, name, 0755), 0);
	else
		assert_true(make_file(at, name, strcmp(name, "empty") == 0 ? 0 : 1000 + n));
}

/* Deepest names last made, so their directories' times are set behind them. */
static void settle(int at)
{
	for (int i = NAMES - 1; i >= 0; i--)
		set_mtime(at, names[i], MTIME + i, i * 1000);
}

static int make_tree(const char *name, uint64_t seed)
{
	assert_int_equal(mkdirat(place.fd, name, 0755), 0);
	int at = place_fd(&place, name);
	uint8_t made[NAMES] = {0};
	for (int left = NAMES; left;) {
		size_t i = next(&seed) % NAMES;
		const char *slash = strrchr(names[i], '/');
		char parent[32];
		snprintf(parent, sizeof parent, "%.*s", slash ? (int)(slash - names[i]) : 1,
			 slash ? names[i] : ".");
		if (made[i] || faccessat(at, parent, F_OK, 0) < 0)
			continue;
		make_one(at, names[i]);
		made[i] = 1;
		left--;
	}
	settle(at);
	return at;
}

static void equal_trees_have_equal_sums(void **state)
{
	(void)state;
	print_message("seeds 1 to 4\n");
	for (uint64_t seed = 1; seed < 5; seed++) {
		char name[16];
		snprintf(name, sizeof name, "equal%u", (unsigned)seed);
		close(make_tree(name, seed));
	}
	struct tree_sum first = sum_of("equal1");
	assert_int_equal(first.entries, NAMES);
	assert_int_equal(first.d.children, 6);
	assert_int_equal(first.d.flags, 0);
	assert_int_equal(first.bytes, 1004 + 1008 + 1009 + 1002);
	for (uint64_t seed = 2; seed < 5; seed++) {
		char name[16];
		snprintf(name, sizeof name, "equal%u", (unsigned)seed);
		struct tree_sum other = sum_of(name);
		assert_same(&first, &other);
	}
}

/* Everything that makes two trees different, as one step from one to the other. */
static bool change(int at, int which)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d/dir/sub/x", at);
	switch (which) {
	case 0:
		return fchmodat(at, "dir/sub/x", 0645, 0) == 0;
	case 1:
		return fchmodat(at, "dir/sub", 0750, 0) == 0;
	case 2:
		return set_mtime(at, "dir/sub/x", MTIME + 6, 5000);
	case 3:
		return set_mtime(at, "dir/sub/x", MTIME + 5, 5001);
	case 4:
		return set_mtime(at, "dir/link", MTIME, 0);
	case 5:
		return set_mtime(at, "hollow", MTIME, 0);
	case 6:
		return truncate(path, 1010) == 0;
	case 7:
		return fchownat(at, "file", 1, (gid_t)-1, 0) == 0;
	case 8:
		return fchownat(at, "file", (uid_t)-1, 1, 0) == 0;
	case 9:
		return fchownat(at, "dir/link", 1, 1, AT_SYMLINK_NOFOLLOW) == 0;
	case 10:
		return setxattr(path, "user.a", "", 0, 0) == 0;
	case 11:
		return unlinkat(at, "dir/link", 0) == 0 &&
		       symlinkat("../filf", at, "dir/link") == 0;
	case 12:
		return unlinkat(at, "fifo", 0) == 0 && make_file(at, "fifo", 0) &&
		       fchmodat(at, "fifo", 0600, 0) == 0;
	case 13:
		return renameat(at, "file", at, "filf") == 0 && set_mtime(at, "filf", MTIME, 0);
	case 14:
		return renameat(at, "dir/sub/x", at, "dir/x") == 0 &&
		       set_mtime(at, "dir/x", MTIME + 5, 5000);
	case 15:
		return unlinkat(at, "hollow", AT_REMOVEDIR) == 0;
	case 16:
		return mkdirat(at, "hollow/more", 0755) == 0;
	case 17:
		return renameat2(at, "file", at, "empty", RENAME_EXCHANGE) == 0;
	default:
		return false;
	}
}

static void each_difference_changes_the_sum(void **state)
{
	(void)state;
	close(make_tree("base", 7));
	struct tree_sum base = sum_of("base");
	int changed = 0;
	for (int which = 0; which <= 17; which++) {
		char name[32];
		snprintf(name, sizeof name, "change%d", which);
		CLEANUP_FD int at = make_tree(name, 8);
		struct tree_sum before = sum_of(name);
		assert_same(&base, &before);
		if (!change(at, which)) {
			print_message("change %d: %s\n", which, strerror(errno));
			continue;
		}
		settle(at);
		/* Settling puts back what these two are about. */
		if (which == 2 || which == 3 || which == 4 || which == 5)
			assert_true(change(at, which));
		struct tree_sum after = sum_of(name);
		if (h128_equal(after.d.sum, base.d.sum) || h128_equal(after.plain, base.plain))
			fail_msg("change %d is not seen", which);
		changed++;
	}
	assert_true(changed >= 12);
}

static void what_is_no_difference_changes_nothing(void **state)
{
	(void)state;
	close(make_tree("base2", 7));
	CLEANUP_FD int at = make_tree("other", 9);
	struct tree_sum base = sum_of("base2");
	CLEANUP_FD int fd = openat(at, "file", O_RDWR | O_CLOEXEC);
	/* Content under the same size and time, access times, change times. */
	assert_int_equal(pwrite(fd, "x", 1, 0), 1);
	assert_int_equal(fchmod(fd, 0600), 0);
	assert_int_equal(fchmod(fd, 0644), 0);
	struct timespec t[2] = {{.tv_sec = 5}, {.tv_nsec = UTIME_OMIT}};
	assert_int_equal(futimens(fd, t), 0);
	settle(at);
	/* The root's own attributes are not its content. */
	assert_int_equal(fchmod(at, 0700), 0);
	struct tree_sum other = sum_of("other");
	assert_same(&base, &other);
}

static void the_root_hash_covers_everything(void **state)
{
	(void)state;
	close(make_tree("hashed", 7));
	struct tree_sum sum = sum_of("hashed");
	struct meta m = {.type = ENTRY_DIR, .mode = 0755, .mtime = 5};
	struct h128 zero = {0};
	struct h128 one = {.lo = 1};
	struct h128 h = tree_root_hash(&m, &sum, zero, zero);
	assert_true(h128_equal(h, tree_root_hash(&m, &sum, zero, zero)));
	assert_false(h128_equal(h, tree_root_hash(&m, &sum, one, zero)));
	assert_false(h128_equal(h, tree_root_hash(&m, &sum, zero, one)));
	m.mode = 0700;
	assert_false(h128_equal(h, tree_root_hash(&m, &sum, zero, zero)));
	m.mode = 0755;
	/* The key of a run does not enter. */
	struct tree_sum rekeyed = sum;
	rekeyed.d.sum = one;
	assert_true(h128_equal(h, tree_root_hash(&m, &rekeyed, zero, zero)));
	rekeyed.plain = one;
	assert_false(h128_equal(h, tree_root_hash(&m, &rekeyed, zero, zero)));
}

/* A tree of many directories: digests must not depend on what the cache happened to keep. */
static void make_wide(const char *name)
{
	assert_int_equal(mkdirat(place.fd, name, 0755), 0);
	CLEANUP_FD int at = place_fd(&place, name);
	for (int i = 0; i < WIDE_DIRS; i++) {
		char path[64];
		int group = i % 20;
		snprintf(path, sizeof path, "g%d", group);
		if (i < 20)
			assert_int_equal(mkdirat(at, path, 0755), 0);
		snprintf(path, sizeof path, "g%d/d%d", group, i);
		assert_int_equal(mkdirat(at, path, 0755), 0);
		for (int k = 0; k < i % 4; k++) {
			snprintf(path, sizeof path, "g%d/d%d/f%d", group, i, k);
			assert_true(make_file(at, path, (size_t)(i * k)));
		}
	}
}

static struct tree_sum child_sum(struct wood *w, struct dir *d, const char *name)
{
	struct err e = {0};
	struct visit v;
	struct tree_sum s;
	CLEANUP_ITEM struct item it;
	item_init(&it);
	assert_int_equal(visit_init(&w->t, &v, d, &e), 0);
	assert_int_equal(tree_read(&w->t, &v, name_of(name), true, &it, &e), TREE_ENTRY);
	assert_int_equal(it.meta.type, ENTRY_DIR);
	assert_int_equal(tree_child_sum(&w->t, d, name_of(name), &it, &s, &e), 0);
	visit_release(&w->t, &v);
	return s;
}

static void a_small_cache_gives_the_same_sums(void **state)
{
	(void)state;
	struct wood whole, small;
	make_wide("wide");
	wood_open(&whole, "wide");
	wood_open(&small, "wide");
	tree_cache_free(small.t.cache);
	small.t.cache = tree_cache_new(256);
	struct tree_sum a = sum_now(&whole);
	struct tree_sum b = sum_now(&small);
	assert_same(&a, &b);
	uint64_t walked_whole = whole.t.walked;
	uint64_t walked_small = small.t.walked;
	for (int i = 0; i < WIDE_DIRS; i++) {
		char group[16], name[16];
		snprintf(group, sizeof group, "g%d", i % 20);
		snprintf(name, sizeof name, "d%d", i);
		a = child_sum(&whole, whole.root, group);
		b = child_sum(&small, small.root, group);
		assert_same(&a, &b);
		struct dir *in_whole = open_dir(&whole, group);
		struct dir *in_small = open_dir(&small, group);
		a = child_sum(&whole, in_whole, name);
		b = child_sum(&small, in_small, name);
		assert_same(&a, &b);
		dir_unref(whole.dirs, in_whole);
		dir_unref(small.dirs, in_small);
	}
	/* The large one had all of them, the small one had to look again. */
	assert_int_equal(whole.t.walked, walked_whole);
	assert_true(small.t.walked > walked_small);
	wood_close(&whole);
	wood_close(&small);
}

static void a_touched_directory_is_read_again(void **state)
{
	(void)state;
	CLEANUP_FD int at = make_tree("touched", 3);
	struct wood w;
	wood_open(&w, "touched");
	struct tree_sum before = sum_now(&w);
	uint64_t walked = w.t.walked;
	assert_int_equal(walked, NAMES);
	assert_true(set_mtime(at, "dir/sub/x", 1, 1));
	struct tree_sum cached = sum_now(&w);
	assert_same(&before, &cached);
	assert_int_equal(w.t.walked, walked);
	struct dir *sub = open_dir(&w, "dir/sub");
	tree_touch(&w.t, sub);
	struct tree_sum after = sum_now(&w);
	struct tree_sum fresh = sum_of("touched");
	assert_false(same(&before, &after));
	assert_same(&after, &fresh);
	assert_int_equal(w.t.walked, walked + NAMES);
	/* A sum that was gained otherwise is believed. */
	struct tree_sum told = {.d = {.sum = {.lo = 5}}, .entries = 9};
	tree_touch(&w.t, sub);
	tree_remember(&w.t, sub, &told);
	struct tree_sum with_told = sum_now(&w);
	assert_false(h128_equal(with_told.d.sum, after.d.sum));
	assert_int_equal(with_told.entries, after.entries - 1 + 9);
	tree_forget(&w.t);
	after = sum_now(&w);
	assert_same(&after, &fresh);
	dir_unref(w.dirs, sub);
	wood_close(&w);
}

/* Siblings of what was touched are not walked again. */
static void the_rest_stays_cached(void **state)
{
	(void)state;
	CLEANUP_FD int at = make_tree("siblings", 3);
	struct wood w;
	char name[32];
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof name, "hollow/%d", i);
		assert_true(make_file(at, name, 0));
	}
	wood_open(&w, "siblings");
	sum_now(&w);
	uint64_t walked = w.t.walked;
	struct dir *sub = open_dir(&w, "dir/sub");
	tree_touch(&w.t, sub);
	sum_now(&w);
	assert_int_equal(w.t.walked - walked, NAMES);
	dir_unref(w.dirs, sub);
	wood_close(&w);
}

static void what_is_left_out_does_not_count(void **state)
{
	(void)state;
	close(make_tree("full", 3));
	CLEANUP_FD int less = make_tree("less", 4);
	struct wood w;
	assert_int_equal(unlinkat(less, "dir/file", 0), 0);
	assert_int_equal(unlinkat(less, "dir/sub/x", 0), 0);
	settle(less);
	struct tree_sum expected = sum_of("less");
	wood_open(&w, "full");
	sum_now(&w);
	struct dir *dir = open_dir(&w, "dir");
	struct dir *sub = open_dir(&w, "dir/sub");
	assert_int_equal(tree_left_out(&w.t, dir, name_of("file")), 0);
	tree_leave_out(&w.t, dir, name_of("file"), LEFT_OUT_WHOLE);
	tree_leave_out(&w.t, dir, name_of("sub"), LEFT_OUT_CONTENT);
	assert_int_equal(tree_left_out(&w.t, dir, name_of("file")), LEFT_OUT_WHOLE);
	assert_int_equal(tree_left_out(&w.t, sub, name_of("file")), 0);
	struct tree_sum got = sum_now(&w);
	assert_same(&got, &expected);
	got = child_sum(&w, dir, "sub");
	assert_int_equal(got.entries, 0);
	/* It is remembered over a new walk. */
	tree_forget(&w.t);
	got = sum_now(&w);
	assert_same(&got, &expected);
	/* And may become more. */
	assert_int_equal(unlinkat(less, "dir/sub", AT_REMOVEDIR), 0);
	settle(less);
	expected = sum_of("less");
	tree_leave_out(&w.t, dir, name_of("sub"), LEFT_OUT_WHOLE);
	assert_int_equal(tree_left_out(&w.t, dir, name_of("sub")),
			 LEFT_OUT_WHOLE | LEFT_OUT_CONTENT);
	got = sum_now(&w);
	assert_same(&got, &expected);
	dir_unref(w.dirs, sub);
	dir_unref(w.dirs, dir);
	wood_close(&w);
}

static void what_is_excluded_does_not_count(void **state)
{
	(void)state;
	close(make_tree("filtered", 3));
	CLEANUP_FD int less = make_tree("unfiltered", 4);
	struct wood w;
	struct err e;
	assert_int_equal(unlinkat(less, "dir/sub/x", 0), 0);
	assert_int_equal(unlinkat(less, "dir/sub", AT_REMOVEDIR), 0);
	assert_int_equal(unlinkat(less, "file", 0), 0);
	settle(less);
	struct tree_sum expected = sum_of("unfiltered");
	wood_open(&w, "filtered");
	assert_int_equal(filter_add(&w.filter, FILTER_EXCLUDE, "/dir/sub/", &e), 0);
	assert_int_equal(filter_add(&w.filter, FILTER_EXCLUDE, "/file", &e), 0);
	assert_int_equal(filter_add(&w.filter, FILTER_EXCLUDE, "link/", &e), 0); /* no directory */
	struct tree_sum got = sum_now(&w);
	assert_same(&got, &expected);
	/* Asked for without the rules an excluded name is there. */
	struct visit v;
	CLEANUP_ITEM struct item it;
	item_init(&it);
	assert_int_equal(visit_init(&w.t, &v, w.root, &e), 0);
	assert_int_equal(tree_read(&w.t, &v, name_of("file"), true, &it, &e), TREE_SKIP);
	assert_int_equal(tree_read(&w.t, &v, name_of("file"), false, &it, &e), TREE_ENTRY);
	assert_int_equal(tree_read(&w.t, &v, name_of("none"), true, &it, &e), TREE_GONE);
	visit_release(&w.t, &v);
	wood_close(&w);
}

static void reserved_names_are_hidden(void **state)
{
	(void)state;
	close(make_tree("tidy", 3));
	CLEANUP_FD int at = make_tree("untidy", 4);
	static const char temp[] = ".scribe-0123456789abcdef0123456789abcdef-7";
	static const char in_dir[] = "dir/.scribe-0123456789abcdef0123456789abcdef-8";
	assert_int_equal(mkdirat(at, TREE_STATE_DIR, 0700), 0);
	assert_int_equal(mkdirat(at, "lost+found", 0700), 0);
	assert_true(make_file(at, temp, 5) && make_file(at, in_dir, 5));
	settle(at);
	struct tree_sum expected = sum_of("tidy");
	struct wood w;
	wood_open(&w, "untidy");
	struct tree_sum got = sum_now(&w);
	assert_same(&got, &expected);
	assert_int_equal(w.reserved, 3);
	assert_int_equal(w.problems, 0);
	/* At a source they are not replicated, and that is said. */
	tree_forget(&w.t);
	w.t.source = true;
	w.t.reserved = NULL;
	got = sum_now(&w);
	assert_same(&got, &expected);
	assert_int_equal(w.problems, 3);
	struct dir *dir = open_dir(&w, "dir");
	assert_true(tree_reserved(w.root, name_of(temp)) && tree_reserved(dir, name_of(temp)));
	assert_true(tree_reserved(w.root, name_of(TREE_STATE_DIR)));
	assert_false(tree_reserved(dir, name_of(TREE_STATE_DIR)));
	assert_true(tree_hidden(w.root, name_of("lost+found")));
	assert_false(tree_hidden(dir, name_of("lost+found")));
	assert_false(tree_reserved(w.root, name_of("lost+found")));
	static const char *const near[] = {".scribe-",
					   ".scribe-0123456789abcdef0123456789abcdef",
					   ".scribe-0123456789abcdef0123456789abcdeF-1",
					   ".scribe-0123456789abcdef0123456789abcdefx1",
					   ".scribe-mover2",
					   "scribe-mover"};
	for (size_t i = 0; i < sizeof near / sizeof near[0]; i++)
		assert_false(tree_hidden(w.root, name_of(near[i])));
	dir_unref(w.dirs, dir);
	wood_close(&w);
}

static void racy_files_mark_all_above(void **state)
{
	(void)state;
	CLEANUP_FD int at = make_tree("racy", 3);
	struct wood w;
	assert_true(set_mtime(at, "dir/sub/x", MTIME + 1000, 0));
	assert_true(set_mtime(at, "hollow", MTIME + 2000, 0));
	assert_true(set_mtime(at, "dir/link", MTIME + 2000, 0));
	wood_open(&w, "racy");
	w.t.racy_from = MTIME + 1001;
	assert_int_equal(sum_now(&w).d.flags, 0); /* directories and links are not racy */
	tree_forget(&w.t);
	w.t.racy_from = MTIME + 1000;
	assert_int_equal(sum_now(&w).d.flags, DIGEST_RACY);
	assert_int_equal(child_sum(&w, w.root, "dir").d.flags, DIGEST_RACY);
	assert_int_equal(child_sum(&w, w.root, "hollow").d.flags, 0);
	wood_close(&w);
}

static void what_the_mask_drops_is_counted(void **state)
{
	(void)state;
	close(make_tree("counted", 3));
	struct wood w;
	wood_open(&w, "counted");
	w.t.counting = true;
	w.mask.granule_ns = 1000000000;
	w.mask.attrs &= ~(uint64_t)(ATTR_SPECIALS | ATTR_SYMLINKS);
	struct tree_sum s = sum_now(&w);
	assert_int_equal(s.entries, NAMES - 2);
	assert_int_equal(w.t.dropped[DROPPED_SPECIAL], 1);
	assert_int_equal(w.t.dropped[DROPPED_SYMLINK], 1);
	assert_int_equal(w.t.dropped[DROPPED_MTIME], NAMES - 3); /* the first has whole seconds */
	assert_int_equal(w.t.dropped[DROPPED_OWNER], 0);
	wood_close(&w);
}

static void mounts_are_opaque(void **state)
{
	(void)state;
	if (!may_mount) {
		print_message("no right to mount\n");
		skip();
	}
	CLEANUP_FD int hollow = make_tree("hollow", 3);
	CLEANUP_FD int at = make_tree("mounted", 4);
	char path[80];
	snprintf(path, sizeof path, "%s/mounted/dir/sub", place.path);
	assert_int_equal(unlinkat(hollow, "dir/sub/x", 0), 0);
	assert_int_equal(mount("none", path, "tmpfs", 0, "mode=0755"), 0);
	assert_true(make_file(at, "dir/sub/inside", 100));
	settle(hollow);
	settle(at);
	struct tree_sum expected = sum_of("hollow");
	struct wood w;
	wood_open(&w, "mounted");
	struct tree_sum got = sum_now(&w);
	assert_same(&got, &expected); /* its own attributes count, what is below does not */
	assert_int_equal(w.mounts, 1);
	assert_string_equal(w.last, "dir/sub");
	struct dir *dir = open_dir(&w, "dir");
	struct tree_sum below = child_sum(&w, dir, "sub");
	assert_int_equal(below.d.flags, DIGEST_OPAQUE);
	assert_int_equal(below.entries, 0);
	dir_unref(w.dirs, dir);
	/* Unless other file systems are wanted. */
	w.t.one_file_system = false;
	tree_forget(&w.t);
	got = sum_now(&w);
	assert_int_equal(got.entries, expected.entries + 1);
	assert_int_equal(w.mounts, 1);
	wood_close(&w);
	/* A mount of the same file system is one, too. */
	assert_int_equal(umount(path), 0);
	snprintf(path, sizeof path, "%s/mounted/hollow", place.path);
	char from[80];
	snprintf(from, sizeof from, "%s/mounted/dir", place.path);
	assert_int_equal(mount(from, path, NULL, MS_BIND, NULL), 0);
	wood_open(&w, "mounted");
	got = sum_now(&w);
	assert_int_equal(w.mounts, 1);
	assert_string_equal(w.last, "hollow");
	wood_close(&w);
	assert_int_equal(umount(path), 0);
}

/* Sums a tree as somebody who may not read everything. */
static void what_cannot_be_read_is_incomplete(void **state)
{
	(void)state;
	CLEANUP_FD int at = make_tree("unreadable", 3);
	struct wood w;
	bool root = geteuid() == 0;
	assert_int_equal(fchmodat(at, "dir/sub", 0, 0), 0);
	if (root) {
		assert_int_equal(fchmod(place.fd, 0755), 0);
		assert_int_equal(seteuid(65534), 0);
	}
	/* No assertion before the rights are back. */
	wood_open(&w, "unreadable");
	struct tree_sum s = sum_now(&w);
	struct tree_sum of_dir = child_sum(&w, w.root, "dir");
	struct tree_sum of_hollow = child_sum(&w, w.root, "hollow");
	int problems = w.problems;
	if (root && seteuid(0) < 0)
		abort();
	assert_int_equal(s.d.flags, DIGEST_INCOMPLETE);
	assert_int_equal(of_dir.d.flags, DIGEST_INCOMPLETE);
	assert_int_equal(of_hollow.d.flags, 0);
	assert_true(problems >= 1);
	assert_string_equal(w.last, "dir/sub");
	assert_int_equal(s.entries, NAMES - 1);
	assert_int_equal(fchmodat(at, "dir/sub", 0755, 0), 0);
	wood_close(&w);
}

static void make_links(const char *name, const char *const pairs[4])
{
	assert_int_equal(mkdirat(place.fd, name, 0755), 0);
	CLEANUP_FD int at = place_fd(&place, name);
	assert_int_equal(mkdirat(at, "d", 0755), 0);
	for (int i = 0; i < 4; i += 2) {
		assert_true(make_file(at, pairs[i], 10));
		assert_int_equal(linkat(at, pairs[i], at, pairs[i + 1], 0), 0);
		assert_true(set_mtime(at, pairs[i], MTIME, 0));
	}
	assert_true(set_mtime(at, "d", MTIME, 0));
}

static int count_linked(void *arg, struct dir *d, struct bytes name, const struct item *it,
			const struct link_slot *group, struct err *e)
{
	(void)d;
	(void)e;
	assert_true(name.n >= 1 && it->nlink == 2);
	assert_int_equal(group->names, 2);
	return ++*(int *)arg == 100;
}

static void regrouped_links_are_another_tree(void **state)
{
	(void)state;
	static const char *const one[] = {"a", "b", "c", "d/d"};
	static const char *const mirrored[] = {"d/d", "c", "b", "a"};
	static const char *const other[] = {"a", "c", "b", "d/d"};
	make_links("one", one);
	make_links("mirrored", mirrored);
	make_links("regrouped", other);
	struct wood w[3];
	struct tree_sum s[3];
	wood_open(&w[0], "one");
	wood_open(&w[1], "mirrored");
	wood_open(&w[2], "regrouped");
	for (int i = 0; i < 3; i++) {
		s[i] = sum_now(&w[i]);
		assert_same(&s[i], &s[0]); /* by entries they are all equal */
	}
	struct h128 links = tree_links_hash(&w[0].t);
	assert_false(h128_equal(links, (struct h128){0}));
	assert_true(h128_equal(links, tree_links_hash(&w[1].t)));
	assert_false(h128_equal(links, tree_links_hash(&w[2].t)));
	/* Looking at parts of the tree does not count a name twice, a new walk counts anew. */
	child_sum(&w[0], w[0].root, "d");
	assert_true(h128_equal(links, tree_links_hash(&w[0].t)));
	tree_forget(&w[0].t);
	assert_true(h128_equal(tree_links_hash(&w[0].t), (struct h128){0}));
	sum_now(&w[0]);
	assert_true(h128_equal(links, tree_links_hash(&w[0].t)));
	/* The names behind the groups. */
	CLEANUP_FREE bool *buckets = mem_alloc(LINK_BUCKETS, sizeof *buckets);
	struct err e = {0};
	int count = 0;
	assert_int_equal(tree_each_linked(&w[0].t, buckets, count_linked, &count, &e), 0);
	assert_int_equal(count, 0);
	memset(buckets, 1, LINK_BUCKETS * sizeof *buckets);
	assert_int_equal(tree_each_linked(&w[0].t, buckets, count_linked, &count, &e), 0);
	assert_int_equal(count, 4);
	count = 99;
	assert_int_equal(tree_each_linked(&w[0].t, buckets, count_linked, &count, &e), 1);
	assert_int_equal(count, 100);
	for (int i = 0; i < 3; i++)
		wood_close(&w[i]);
	/* Names out of scope make no group. */
	wood_open(&w[0], "one");
	assert_int_equal(filter_add(&w[0].filter, FILTER_EXCLUDE, "/a", &e), 0);
	assert_int_equal(filter_add(&w[0].filter, FILTER_EXCLUDE, "/c", &e), 0);
	sum_now(&w[0]);
	assert_true(h128_equal(tree_links_hash(&w[0].t), (struct h128){0}));
	wood_close(&w[0]);
	wood_open(&w[0], "one");
	w[0].mask.attrs &= ~(uint64_t)ATTR_HARD_LINKS;
	sum_now(&w[0]);
	assert_true(h128_equal(tree_links_hash(&w[0].t), (struct h128){0}));
	wood_close(&w[0]);
}

/* Deeper than scans are held open: they go on where they were. */
static void deep_trees_are_summed_whole(void **state)
{
	(void)state;
	enum { DEPTH = 150 };
	struct tree_sum sums[2];
	for (int k = 0; k < 2; k++) {
		char name[16];
		snprintf(name, sizeof name, "deep%d", k);
		assert_int_equal(mkdirat(place.fd, name, 0755), 0);
		int at[DEPTH + 1];
		at[0] = place_fd(&place, name);
		for (int i = 0; i < DEPTH; i++) {
			/* Entries before and behind the one that leads further down. */
			for (char c = 'a'; c < 'f'; c++)
				assert_true(make_file(at[i], (char[]){c, '\0'}, (size_t)i));
			assert_int_equal(mkdirat(at[i], "down", 0755), 0);
			at[i + 1] = openat(at[i], "down", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			assert_true(at[i + 1] >= 0);
		}
		if (k == 1)
			assert_true(make_file(at[DEPTH], "bottom", 1));
		for (int i = DEPTH; i >= 0; i--) {
			for (char c = 'a'; c < 'f'; c++)
				set_mtime(at[i], (char[]){c, '\0'}, MTIME, 0);
			set_mtime(at[i], "down", MTIME, 0);
			set_mtime(at[i], "bottom", MTIME, 0);
			close(at[i]);
		}
		sums[k] = sum_of(name);
		assert_int_equal(sums[k].d.flags, 0);
		assert_int_equal(sums[k].entries, 6 * DEPTH + k);
	}
	assert_false(same(&sums[0], &sums[1]));
}

static bool stop_at_once(void *owner)
{
	(void)owner;
	return true;
}

static void a_walk_can_be_stopped(void **state)
{
	(void)state;
	assert_int_equal(mkdirat(place.fd, "long", 0755), 0);
	CLEANUP_FD int at = place_fd(&place, "long");
	for (int i = 0; i < 1100; i++) {
		char name[16];
		snprintf(name, sizeof name, "%d", i);
		assert_true(make_file(at, name, 0));
	}
	struct wood w;
	struct err e = {0};
	struct tree_sum s;
	wood_open(&w, "long");
	w.t.stop = stop_at_once;
	int before = open_fds();
	assert_int_equal(tree_sum(&w.t, w.root, &s, &e), -1);
	assert_int_equal(e.code, ERR_FAILURE);
	assert_int_equal(open_fds(), before);
	w.t.stop = NULL;
	s = sum_now(&w);
	assert_int_equal(s.entries, 1100); /* nothing of the first attempt was kept */
	wood_close(&w);
}

static int set_up(void **state)
{
	(void)state;
	may_mount = geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
		    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
	return place_open(&place) ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	place_close(&place);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_trees_have_equal_sums),
		cmocka_unit_test(each_difference_changes_the_sum),
		cmocka_unit_test(what_is_no_difference_changes_nothing),
		cmocka_unit_test(the_root_hash_covers_everything),
		cmocka_unit_test(a_small_cache_gives_the_same_sums),
		cmocka_unit_test(a_touched_directory_is_read_again),
		cmocka_unit_test(the_rest_stays_cached),
		cmocka_unit_test(what_is_left_out_does_not_count),
		cmocka_unit_test(what_is_excluded_does_not_count),
		cmocka_unit_test(reserved_names_are_hidden),
		cmocka_unit_test(racy_files_mark_all_above),
		cmocka_unit_test(what_the_mask_drops_is_counted),
		cmocka_unit_test(mounts_are_opaque),
		cmocka_unit_test(what_cannot_be_read_is_incomplete),
		cmocka_unit_test(regrouped_links_are_another_tree),
		cmocka_unit_test(deep_trees_are_summed_whole),
		cmocka_unit_test(a_walk_can_be_stopped),
	};
	umask(022);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
