/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>

#include "acl.h"
#include "treetest.h"

struct fixture {
	struct place place;
	int fd;
	bool root, user_xattrs, acls, capabilities;
};

/* user::rwx, user:1:r--, group::r-x, mask::rwx, other::r-- */
static const uint8_t acl_value[] = {2, 0, 0,   0,   1,   0,   7,  0, 255, 255, 255, 255, 2,   0,  4,
				    0, 1, 0,   0,   0,   4,   0,  5, 0,   255, 255, 255, 255, 16, 0,
				    7, 0, 255, 255, 255, 255, 32, 0, 4,   0,   255, 255, 255, 255};
static const uint8_t capability[20] = {1, 0, 0, 2, 0, 4};

static int open_fixture(void **state)
{
	struct fixture *x = mem_alloc(1, sizeof *x);
	if (!place_open(&x->place))
		return -1;
	x->fd = x->place.fd;
	x->root = geteuid() == 0;
	make_file(x->fd, "probe", 0);
	CLEANUP_FD int probe = openat(x->fd, "probe", O_RDWR | O_CLOEXEC);
	x->user_xattrs = fsetxattr(probe, "user.probe", "", 0, 0) == 0;
	x->acls = fsetxattr(probe, ACL_ACCESS, acl_value, sizeof acl_value, 0) == 0;
	x->capabilities =
		fsetxattr(probe, "security.capability", capability, sizeof capability, 0) == 0;
	unlinkat(x->fd, "probe", 0);
	*state = x;
	return 0;
}

static int close_fixture(void **state)
{
	struct fixture *x = *state;
	place_close(&x->place);
	free(x);
	return 0;
}

static void read_ok(struct fixture *x, struct item *it, const char *name, const struct mask *mask)
{
	struct err e = {0};
	if (attr_read(it, x->fd, name, mask, &e) != ATTR_READ)
		fail_msg("%s: %s", name, e.msg);
}

static bool has_xattr(const struct item *it, const char *name, const void *value, size_t n)
{
	struct cursor c = cursor_of(it->meta.xattrs.p, it->meta.xattrs.n);
	struct bytes k, v;
	while (it->meta.xattrs.n && xattr_next(&c, &k, &v))
		if (k.n == strlen(name) && memcmp(k.p, name, k.n) == 0)
			return !value || (v.n == n && (n == 0 || memcmp(v.p, value, n) == 0));
	return false;
}

static bool make_socket(int dirfd, const char *name)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d/%s", dirfd, name);
	CLEANUP_FD int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return s >= 0 && bind(s, (struct sockaddr *)&a, sizeof a) == 0;
}

static bool make_bare(struct fixture *x, const char *name, uint8_t type)
{
	switch (type) {
	case ENTRY_FILE:
		return make_file(x->fd, name, 12345);
	case ENTRY_DIR:
		return mkdirat(x->fd, name, 0700) == 0;
	case ENTRY_SYMLINK:
		return symlinkat("target of the link", x->fd, name) == 0;
	case ENTRY_CHAR:
		return mknodat(x->fd, name, S_IFCHR | 0600, makedev(1, 3)) == 0;
	case ENTRY_BLOCK:
		return mknodat(x->fd, name, S_IFBLK | 0600, makedev(7, 300)) == 0;
	case ENTRY_FIFO:
		return mkfifoat(x->fd, name, 0600) == 0;
	default:
		return make_socket(x->fd, name);
	}
}

/* Gives an entry whatever its type and this machine allow. */
static void dress(struct fixture *x, const char *name, uint8_t type)
{
	char path[96];
	snprintf(path, sizeof path, "%s/%s", x->place.path, name);
	if (x->root)
		assert_int_equal(fchownat(x->fd, name, 1234, 4321, AT_SYMLINK_NOFOLLOW), 0);
	if (type != ENTRY_SYMLINK)
		assert_int_equal(fchmodat(x->fd, name, 04751, 0), 0);
	if (x->user_xattrs && (type == ENTRY_FILE || type == ENTRY_DIR)) {
		char large[1500];
		memset(large, 'L', sizeof large);
		assert_int_equal(lsetxattr(path, "user.b", "two", 3, 0), 0);
		assert_int_equal(lsetxattr(path, "user.a", "", 0, 0), 0);
		assert_int_equal(lsetxattr(path, "user.large", large, sizeof large, 0), 0);
	}
	if (x->acls && type != ENTRY_SYMLINK)
		assert_int_equal(lsetxattr(path, ACL_ACCESS, acl_value, sizeof acl_value, 0), 0);
	if (x->acls && type == ENTRY_DIR)
		assert_int_equal(lsetxattr(path, ACL_DEFAULT, acl_value, sizeof acl_value, 0), 0);
	if (x->capabilities && type == ENTRY_FILE)
		assert_int_equal(lsetxattr(path, "security.capability", capability,
					   sizeof capability, 0),
				 0);
	assert_true(set_mtime(x->fd, name, -1234567, 123456789));
}

/* A meta as it arrives from a peer. */
static void over_the_wire(const struct meta *m, struct buf *b, struct meta *out)
{
	meta_encode(m, b);
	assert_false(b->overflow);
	struct cursor c = cursor_of(b->data, b->len);
	meta_decode(out, &c);
	assert_false(c.bad);
	assert_true(meta_equal(m, out));
}

static void apply_to(struct fixture *x, const char *name, const struct meta *want,
		     const struct item *cur, const struct mask *mask)
{
	struct err e = {0};
	CLEANUP_FD int fd = -1;
	if (want->type == ENTRY_FILE || want->type == ENTRY_DIR)
		fd = openat(x->fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (attr_apply(fd, x->fd, name, want, cur, mask, &e) < 0)
		fail_msg("%s: %s", name, e.msg);
}

static void assert_reads_as(struct fixture *x, const char *name, const struct meta *want,
			    const struct mask *mask)
{
	CLEANUP_ITEM struct item it;
	item_init(&it);
	read_ok(x, &it, name, mask);
	if (!meta_equal(&it.meta, want))
		fail_msg("%s of type %u is not as wanted", name, want->type);
}

static void all_attributes_round_trip(void **state)
{
	struct fixture *x = *state;
	struct mask mask = whole_mask();
	if (!x->root)
		mask.attrs = mask.want &= ~(uint64_t)(ATTR_OWNER | ATTR_GROUP);
	print_message("owner %d, user xattrs %d, acls %d, capabilities %d\n", x->root,
		      x->user_xattrs, x->acls, x->capabilities);
	for (uint8_t type = 1; type <= ENTRY_TYPE_MAX; type++) {
		CLEANUP_ITEM struct item it;
		CLEANUP_BUF struct buf wire;
		struct meta want;
		char model[16], copy[16], again[16];
		item_init(&it);
		buf_init(&wire, META_BYTES_MAX);
		snprintf(model, sizeof model, "model%u", type);
		snprintf(copy, sizeof copy, "copy%u", type);
		snprintf(again, sizeof again, "again%u", type);
		if (!make_bare(x, model, type)) {
			print_message("no right to make entries of type %u\n", type);
			continue;
		}
		dress(x, model, type);
		read_ok(x, &it, model, &mask);
		assert_int_equal(it.meta.type, type);
		assert_int_equal(it.dropped, 0);
		assert_true(it.meta.mtime == -1234567 && it.meta.mtime_ns == 123456789);
		over_the_wire(&it.meta, &wire, &want);
		/* Onto a fresh entry, of which nothing is known. */
		assert_true(make_bare(x, copy, type));
		apply_to(x, copy, &want, NULL, &mask);
		assert_reads_as(x, copy, &want, &mask);
		/* Onto one with other attributes, which were read. */
		assert_true(make_bare(x, again, type));
		dress(x, again, type);
		if (type == ENTRY_FILE && x->user_xattrs) {
			char path[96];
			snprintf(path, sizeof path, "%s/%s", x->place.path, again);
			assert_int_equal(lsetxattr(path, "user.more", "x", 1, 0), 0);
			assert_int_equal(lsetxattr(path, "user.b", "other", 5, 0), 0);
			assert_int_equal(lremovexattr(path, "user.a"), 0);
		}
		if (x->root)
			assert_int_equal(fchownat(x->fd, again, 5, 6, AT_SYMLINK_NOFOLLOW), 0);
		assert_true(set_mtime(x->fd, again, 7, 7));
		read_ok(x, &it, again, &mask);
		apply_to(x, again, &want, &it, &mask);
		assert_reads_as(x, again, &want, &mask);
	}
}

/* An entry that is as it should be is not touched at all. */
static void equal_attributes_are_not_set_again(void **state)
{
	struct fixture *x = *state;
	struct mask mask = whole_mask();
	CLEANUP_ITEM struct item it;
	item_init(&it);
	assert_true(make_bare(x, "same", ENTRY_FILE));
	if (x->root)
		dress(x, "same", ENTRY_FILE);
	struct stat before, after;
	assert_int_equal(fstatat(x->fd, "same", &before, 0), 0);
	read_ok(x, &it, "same", &mask);
	CLEANUP_BUF struct buf wire;
	struct meta want;
	buf_init(&wire, META_BYTES_MAX);
	over_the_wire(&it.meta, &wire, &want);
	apply_to(x, "same", &want, &it, &mask);
	assert_int_equal(fstatat(x->fd, "same", &after, 0), 0);
	assert_memory_equal(&before.st_ctim, &after.st_ctim, sizeof before.st_ctim);
}

/* A change of owner takes set-user-id and capabilities away; they must be there afterwards. */
static void a_change_of_owner_keeps_the_rest(void **state)
{
	struct fixture *x = *state;
	struct mask mask = whole_mask();
	if (!x->root) {
		print_message("only root may change owners\n");
		skip();
	}
	CLEANUP_ITEM struct item it;
	item_init(&it);
	assert_true(make_bare(x, "suid", ENTRY_FILE));
	dress(x, "suid", ENTRY_FILE);
	read_ok(x, &it, "suid", &mask);
	CLEANUP_BUF struct buf wire;
	struct meta want;
	buf_init(&wire, META_BYTES_MAX);
	over_the_wire(&it.meta, &wire, &want);
	want.uid = 99;
	apply_to(x, "suid", &want, &it, &mask);
	assert_int_equal(want.mode & 04000, 04000);
	assert_reads_as(x, "suid", &want, &mask);
	if (x->capabilities) {
		read_ok(x, &it, "suid", &mask);
		assert_true(has_xattr(&it, "security.capability", NULL, 0));
	}
}

static void links_are_not_followed(void **state)
{
	struct fixture *x = *state;
	struct mask mask = whole_mask();
	CLEANUP_ITEM struct item it;
	item_init(&it);
	assert_true(make_file(x->fd, "pointed", 10));
	assert_int_equal(symlinkat("pointed", x->fd, "pointer"), 0);
	struct stat before, after;
	assert_int_equal(fstatat(x->fd, "pointed", &before, 0), 0);
	read_ok(x, &it, "pointer", &mask);
	assert_int_equal(it.meta.type, ENTRY_SYMLINK);
	assert_int_equal(it.meta.mode, 0);
	assert_int_equal(it.meta.size, 0);
	assert_int_equal(it.meta.link.n, 7);
	assert_memory_equal(it.meta.link.p, "pointed", 7);
	CLEANUP_BUF struct buf wire;
	struct meta want;
	buf_init(&wire, META_BYTES_MAX);
	over_the_wire(&it.meta, &wire, &want);
	want.mtime = 1000;
	if (x->root)
		want.uid = 77;
	apply_to(x, "pointer", &want, NULL, &mask);
	assert_reads_as(x, "pointer", &want, &mask);
	assert_int_equal(fstatat(x->fd, "pointed", &after, 0), 0);
	assert_memory_equal(&before.st_ctim, &after.st_ctim, sizeof before.st_ctim);
}

struct time_case {
	int64_t s;
	uint32_t ns;
	int64_t expected;
	uint32_t expected_ns;
	uint32_t granule;
	int64_t min, max;
};

static void times_are_as_the_destination_holds_them(void **state)
{
	struct fixture *x = *state;
	static const struct time_case cases[] = {
		{100, 123456789, 100, 123456789, 1, INT64_MIN, INT64_MAX},
		{100, 123456789, 100, 123456700, 100, INT64_MIN, INT64_MAX},
		{100, 123456789, 100, 123000000, 1000000, INT64_MIN, INT64_MAX},
		{101, 999999999, 101, 0, 1000000000, INT64_MIN, INT64_MAX},
		{101, 999999999, 100, 0, 2000000000, INT64_MIN, INT64_MAX},
		{100, 5, 100, 0, 2000000000, INT64_MIN, INT64_MAX},
		/* Before 1970 seconds go down, nanoseconds still count upwards. */
		{-5, 600000000, -5, 600000000, 1, INT64_MIN, INT64_MAX},
		{-5, 600000001, -5, 600000000, 1000, INT64_MIN, INT64_MAX},
		{-5, 600000000, -5, 0, 1000000000, INT64_MIN, INT64_MAX},
		{-5, 600000000, -6, 0, 2000000000, INT64_MIN, INT64_MAX},
		{-4, 600000000, -4, 0, 2000000000, INT64_MIN, INT64_MAX},
		{-1, 0, -2, 0, 2000000000, INT64_MIN, INT64_MAX},
		/* Limits, at and beyond which there are no fractions. */
		{100, 7, 100, 7, 1, 99, 101},
		{101, 7, 101, 0, 1, 99, 101},
		{102, 7, 101, 0, 1, 99, 101},
		{99, 7, 99, 0, 1, 99, 101},
		{98, 7, 99, 0, 1, 99, 101},
		{-100, 7, -99, 0, 1, -99, 101},
		{-98, 7, -98, 7, 1, -99, 101},
		{0, 1, 0, 0, 1, 0, INT32_MAX},
		{-1, 999999999, 0, 0, 1, 0, INT32_MAX},
	};
	CLEANUP_ITEM struct item it;
	item_init(&it);
	assert_true(make_file(x->fd, "time", 0));
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const struct time_case *c = &cases[i];
		struct mask mask = whole_mask();
		struct stat st;
		mask.granule_ns = c->granule;
		mask.time_min = c->min;
		mask.time_max = c->max;
		assert_true(set_mtime(x->fd, "time", c->s, (long)c->ns));
		assert_int_equal(fstatat(x->fd, "time", &st, 0), 0);
		if (st.st_mtim.tv_sec != c->s || st.st_mtim.tv_nsec != (long)c->ns) {
			print_message("this file system cannot hold %lld.%09u\n", (long long)c->s,
				      c->ns);
			continue;
		}
		read_ok(x, &it, "time", &mask);
		if (it.meta.mtime != c->expected || it.meta.mtime_ns != c->expected_ns)
			fail_msg("case %zu: %lld.%09u", i, (long long)it.meta.mtime,
				 it.meta.mtime_ns);
		bool changed = c->s != c->expected || c->ns != c->expected_ns;
		assert_int_equal(it.dropped, changed ? 1u << DROPPED_MTIME : 0);
	}
	struct mask mask = whole_mask();
	mask.attrs &= ~(uint64_t)ATTR_TIMES;
	read_ok(x, &it, "time", &mask);
	assert_true(it.meta.mtime == 0 && it.meta.mtime_ns == 0);
}

static void large_values_and_other_names_are_left_out(void **state)
{
	struct fixture *x = *state;
	if (!x->user_xattrs) {
		print_message("no user xattrs here\n");
		skip();
	}
	struct mask mask = whole_mask();
	CLEANUP_ITEM struct item it;
	item_init(&it);
	char value[101];
	memset(value, 'v', sizeof value);
	assert_true(make_file(x->fd, "values", 0));
	CLEANUP_FD int fd = openat(x->fd, "values", O_RDWR | O_CLOEXEC);
	assert_int_equal(fsetxattr(fd, "user.fits", value, 100, 0), 0);
	assert_int_equal(fsetxattr(fd, "user.over", value, 101, 0), 0);
	assert_int_equal(fsetxattr(fd, "user.scribe-mover.record", "r", 1, 0), 0);
	bool trusted = fsetxattr(fd, "trusted.t", "t", 1, 0) == 0;
	mask.xattr_max = 100;
	read_ok(x, &it, "values", &mask);
	assert_true(has_xattr(&it, "user.fits", value, 100));
	assert_false(has_xattr(&it, "user.over", NULL, 0));
	assert_false(has_xattr(&it, "user.scribe-mover.record", NULL, 0));
	assert_false(has_xattr(&it, "trusted.t", NULL, 0));
	assert_int_equal(it.dropped, 1u << DROPPED_XATTR);
	mask.xattr_max = 101;
	read_ok(x, &it, "values", &mask);
	assert_true(has_xattr(&it, "user.over", value, 101));
	assert_int_equal(it.dropped, 0);
	if (trusted) {
		mask.want |= ATTR_TRUSTED;
		mask.attrs |= ATTR_TRUSTED;
		read_ok(x, &it, "values", &mask);
		assert_true(has_xattr(&it, "trusted.t", "t", 1));
	}
	/* Wanted and not representable is counted; not wanted is not. */
	mask.attrs &= ~(uint64_t)ATTR_XATTRS;
	read_ok(x, &it, "values", &mask);
	assert_false(has_xattr(&it, "user.fits", NULL, 0));
	assert_int_equal(it.dropped, 1u << DROPPED_XATTR);
	mask.want &= ~(uint64_t)ATTR_XATTRS;
	read_ok(x, &it, "values", &mask);
	assert_int_equal(it.dropped, 0);
	/* What is out of scope is neither removed, nor taken from a peer. */
	mask = whole_mask();
	struct err e = {0};
	struct meta want = it.meta;
	want.xattrs = name_of("");
	assert_int_equal(attr_apply(fd, -1, NULL, &want, NULL, &mask, &e), 0);
	assert_true(fgetxattr(fd, "user.scribe-mover.record", value, 1) == 1);
	assert_int_equal(fgetxattr(fd, "user.fits", value, 100), -1);
	CLEANUP_BUF struct buf blob;
	buf_init(&blob, 1024);
	xattr_put(&blob, "user.scribe-mover.record", 24, "x", 1);
	want.xattrs = (struct bytes){.p = blob.data, .n = blob.len};
	assert_int_equal(attr_apply(fd, -1, NULL, &want, NULL, &mask, &e), -1);
	assert_int_equal(e.code, ERR_PROTOCOL);
}

static void dropped_attributes_are_counted_by_kind(void **state)
{
	struct fixture *x = *state;
	CLEANUP_ITEM struct item it;
	item_init(&it);
	assert_true(make_bare(x, "kinds", ENTRY_FILE));
	dress(x, "kinds", ENTRY_FILE);
	static const struct {
		uint64_t attrs;
		enum dropped_kind kind;
	} kinds[] = {{ATTR_OWNER, DROPPED_OWNER},
		     {ATTR_GROUP, DROPPED_OWNER},
		     {ATTR_ACLS, DROPPED_ACL},
		     {ATTR_XATTRS, DROPPED_XATTR},
		     {ATTR_CAPABILITY, DROPPED_CAPABILITY}};
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		if ((i == 2 && !x->acls) || (i == 3 && !x->user_xattrs) ||
		    (i == 4 && !x->capabilities))
			continue;
		struct mask mask = whole_mask();
		mask.attrs &= ~kinds[i].attrs;
		read_ok(x, &it, "kinds", &mask);
		assert_int_equal(it.dropped, 1u << kinds[i].kind);
		mask.want &= ~kinds[i].attrs;
		read_ok(x, &it, "kinds", &mask);
		assert_int_equal(it.dropped, 0);
	}
	for (int k = 0; k < DROPPED_KINDS; k++)
		assert_true(strlen(dropped_name((enum dropped_kind)k)) > 2);
}

static void kinds_out_of_scope_are_told(void **state)
{
	struct fixture *x = *state;
	static const uint64_t flags[ENTRY_TYPE_MAX + 1] = {
		[ENTRY_SYMLINK] = ATTR_SYMLINKS, [ENTRY_CHAR] = ATTR_DEVICES,
		[ENTRY_BLOCK] = ATTR_DEVICES,    [ENTRY_FIFO] = ATTR_SPECIALS,
		[ENTRY_SOCKET] = ATTR_SPECIALS,
	};
	static const enum dropped_kind kinds[ENTRY_TYPE_MAX + 1] = {
		[ENTRY_SYMLINK] = DROPPED_SYMLINK, [ENTRY_CHAR] = DROPPED_DEVICE,
		[ENTRY_BLOCK] = DROPPED_DEVICE,    [ENTRY_FIFO] = DROPPED_SPECIAL,
		[ENTRY_SOCKET] = DROPPED_SPECIAL,
	};
	CLEANUP_ITEM struct item it;
	item_init(&it);
	struct err e = {0};
	for (uint8_t type = ENTRY_SYMLINK; type <= ENTRY_TYPE_MAX; type++) {
		char name[16];
		snprintf(name, sizeof name, "kind%u", type);
		if (!make_bare(x, name, type))
			continue;
		struct mask mask = whole_mask();
		mask.attrs &= ~flags[type];
		assert_int_equal(attr_read(&it, x->fd, name, &mask, &e), ATTR_OUT_OF_SCOPE);
		assert_int_equal(it.dropped, 1u << kinds[type]);
		mask.want &= ~flags[type];
		assert_int_equal(attr_read(&it, x->fd, name, &mask, &e), ATTR_OUT_OF_SCOPE);
		assert_int_equal(it.dropped, 0);
	}
	struct mask mask = whole_mask();
	assert_int_equal(attr_read(&it, x->fd, "missing", &mask, &e), ATTR_GONE);
	assert_true(make_file(x->fd, "plain", 0));
	CLEANUP_FD int plain = openat(x->fd, "plain", O_RDONLY | O_CLOEXEC);
	assert_int_equal(attr_read(&it, plain, "below", &mask, &e), ATTR_ERROR);
	assert_int_equal(e.sys, ENOTDIR);
	assert_int_equal(attr_read(&it, plain, NULL, &mask, &e), ATTR_READ);
}

/* What a parent's default ACL puts on new entries is gone once they have their attributes. */
static void default_acls_do_not_leak(void **state)
{
	struct fixture *x = *state;
	if (!x->acls) {
		print_message("no ACLs here\n");
		skip();
	}
	struct mask mask = whole_mask();
	CLEANUP_ITEM struct item it;
	item_init(&it);
	assert_true(make_file(x->fd, "plain file", 0));
	assert_int_equal(mkdirat(x->fd, "plain dir", 0750), 0);
	assert_int_equal(mkdirat(x->fd, "generous", 0755), 0);
	CLEANUP_FD int generous = openat(x->fd, "generous", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fsetxattr(generous, ACL_DEFAULT, acl_value, sizeof acl_value, 0), 0);
	static const char *const models[] = {"plain file", "plain dir"};
	for (int i = 0; i < 2; i++) {
		struct meta want, got;
		CLEANUP_BUF struct buf wire;
		buf_init(&wire, META_BYTES_MAX);
		read_ok(x, &it, models[i], &mask);
		assert_int_equal(it.meta.xattrs.n, 0);
		over_the_wire(&it.meta, &wire, &want);
		if (i == 0)
			assert_true(make_file(generous, "new", 0));
		else
			assert_int_equal(mkdirat(generous, "newdir", 0755), 0);
		CLEANUP_FD int fd = openat(generous, i ? "newdir" : "new", O_RDONLY | O_CLOEXEC);
		struct err e = {0};
		assert_int_equal(attr_read(&it, fd, NULL, &mask, &e), ATTR_READ);
		assert_true(has_xattr(&it, ACL_ACCESS, NULL, 0)); /* it was there */
		assert_int_equal(attr_apply(fd, -1, NULL, &want, NULL, &mask, &e), 0);
		assert_int_equal(attr_read(&it, fd, NULL, &mask, &e), ATTR_READ);
		got = it.meta;
		assert_true(meta_equal(&got, &want));
		assert_int_equal(fgetxattr(fd, ACL_ACCESS, NULL, 0), -1);
		assert_int_equal(fgetxattr(fd, ACL_DEFAULT, NULL, 0), -1);
	}
}

/* Whom a mode shuts out of what is his own, such a destination cannot serve: it is said, not
 * hidden. */
static void a_destination_without_rights_keeps_its_own_access(void **state)
{
	struct fixture *x = *state;
	struct mask mask = whole_mask();
	CLEANUP_ITEM struct item it;
	item_init(&it);
	assert_int_equal(mkdirat(x->fd, "shut", 0700), 0);
	assert_int_equal(fchmodat(x->fd, "shut", 0022, 0), 0);
	read_ok(x, &it, "shut", &mask);
	assert_true(it.meta.mode == 0022 && it.dropped == 0 && !it.shut);
	mask.attrs &= ~(uint64_t)ATTR_SHUT;
	read_ok(x, &it, "shut", &mask);
	assert_int_equal(it.meta.mode, 0522);
	assert_int_equal(it.dropped, 1u << DROPPED_MODE);
	assert_int_equal(fchmodat(x->fd, "shut", 0700, 0), 0);
	read_ok(x, &it, "shut", &mask);
	assert_true(it.meta.mode == 0700 && it.dropped == 0);
	assert_true(make_file(x->fd, "shut file", 1));
	assert_int_equal(fchmodat(x->fd, "shut file", 0200, 0), 0);
	read_ok(x, &it, "shut file", &mask);
	assert_true(it.meta.mode == 0200 && it.shut);
}

static void probing_leaves_no_trace(void **state)
{
	struct fixture *x = *state;
	struct mask mask;
	struct err e = {0};
	struct stat before, after;
	assert_int_equal(mkdirat(x->fd, "probed", 0755), 0);
	CLEANUP_FD int fd = openat(x->fd, "probed", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(set_mtime(x->fd, "probed", 1000, 0));
	assert_int_equal(fstat(fd, &before), 0);
	assert_int_equal(mask_probe(&mask, fd, ATTR_DEFAULT, &e), 0);
	assert_int_equal(fstat(fd, &after), 0);
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof before.st_mtim);
	assert_int_equal(unlinkat(x->fd, "probed", AT_REMOVEDIR), 0); /* it is empty */
	assert_true(mask.want == ATTR_DEFAULT && !(mask.attrs & ~mask.want));
	assert_int_equal(!!(mask.attrs & ATTR_OWNER), x->root);
	assert_int_equal(!!(mask.attrs & ATTR_XATTRS), x->user_xattrs);
	assert_int_equal(!!(mask.attrs & ATTR_ACLS), x->acls);
	assert_int_equal(!!(mask.attrs & ATTR_CAPABILITY), x->capabilities);
	assert_true(mask.granule_ns >= 1 && mask.time_min < 0 && mask.time_max >= INT32_MAX);
	assert_true(mask.xattr_max > 0 && mask.xattr_max <= XATTR_VALUE_MAX);
	/* What it says can be held, can be. */
	CLEANUP_ITEM struct item it;
	item_init(&it);
	assert_true(make_file(x->fd, "limit", 0));
	assert_true(set_mtime(x->fd, "limit", mask.time_max, 0));
	read_ok(x, &it, "limit", &mask);
	assert_true(it.meta.mtime == mask.time_max);
	assert_int_equal(it.dropped, x->root ? 0 : 1u << DROPPED_OWNER);
	CLEANUP_FD int limit = openat(x->fd, "limit", O_RDWR | O_CLOEXEC);
	CLEANUP_FREE uint8_t *value = mem_alloc(1, XATTR_VALUE_MAX);
	if (x->user_xattrs)
		assert_int_equal(fsetxattr(limit, "user.x", value, mask.xattr_max - 32, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_attributes_round_trip),
		cmocka_unit_test(equal_attributes_are_not_set_again),
		cmocka_unit_test(a_change_of_owner_keeps_the_rest),
		cmocka_unit_test(links_are_not_followed),
		cmocka_unit_test(times_are_as_the_destination_holds_them),
		cmocka_unit_test(large_values_and_other_names_are_left_out),
		cmocka_unit_test(dropped_attributes_are_counted_by_kind),
		cmocka_unit_test(kinds_out_of_scope_are_told),
		cmocka_unit_test(default_acls_do_not_leak),
		cmocka_unit_test(a_destination_without_rights_keeps_its_own_access),
		cmocka_unit_test(probing_leaves_no_trace),
	};
	umask(022);
	return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
