/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For every attribute, pairs of trees that differ in it alone: exactly that is reported, on exactly
 * that path, and nothing once the attribute is left out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "difftest.h"

#define CHECK(call)                                                                                \
	do {                                                                                       \
		if ((call) < 0)                                                                    \
			fail_msg("%s: %s", #call, strerror(errno));                                \
	} while (0)

enum { MIB = 1 << 20, KIB = 1 << 10, BIG = 300000 };

static const struct timespec base_time = {.tv_sec = 1500000000, .tv_nsec = 123456789};

/* ---- the tree that both sides start from ---- */

static void set_time(int dirfd, const char *name, struct timespec t)
{
	struct timespec both[2] = {t, t};
	CHECK(utimensat(dirfd, name, both, AT_SYMLINK_NOFOLLOW));
}

/* The same mtime everywhere below and on name itself. */
static void settle(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0) {
		DIR *d = fdopendir(fd);
		struct dirent *entry;
		assert_non_null(d);
		while ((entry = readdir(d)) != NULL)
			if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
				settle(fd, entry->d_name);
		closedir(d);
	}
	set_time(dirfd, name, base_time);
}

/* 2 MiB: a hole, data at 1 MiB, a hole that begins at 1 MiB + 32 KiB, data at 1 MiB + 256 KiB, a
 * hole. */
static void put_sparse(int dir, const char *name)
{
	CHECK(put_file(dir, name, "", 0));
	CHECK(poke(dir, name, MIB, 'x', 32 * KIB));
	CHECK(poke(dir, name, MIB + 272 * KIB, 'y', 64 * KIB));
	int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
	CHECK(ftruncate(fd, 2 * MIB));
	close(fd);
}

static void build(int dir)
{
	static char big[BIG];
	for (size_t i = 0; i < BIG; i++)
		big[i] = (char)(i * 7 % 251);
	CHECK(mkdirat(dir, "dir", 0755));
	CHECK(mkdirat(dir, "dir/sub", 0700));
	CHECK(put_file(dir, "dir/inner", "inner", 5));
	CHECK(put_file(dir, "big", big, BIG));
	CHECK(put_file(dir, "small", "small", 5));
	CHECK(put_file(dir, "empty", "", 0));
	CHECK(put_file(dir, "new\nline", "n", 1));
	CHECK(put_file(dir, "bad\xff\xfe", "b", 1));
	CHECK(symlinkat("small", dir, "link"));
	CHECK(symlinkat("nowhere", dir, "dangling"));
	CHECK(mknodat(dir, "fifo", S_IFIFO | 0644, 0));
	CHECK(mknodat(dir, "sock", S_IFSOCK | 0644, 0));
	for (int i = 1; i <= 4; i++) {
		const char name[] = {'h', (char)('0' + i), '\0'};
		CHECK(i % 2 ? put_file(dir, name, "hard", 4)
			    : linkat(dir, i == 2 ? "h1" : "h3", dir, name, 0));
	}
	CHECK(put_file(dir, "solo1", "solo", 4));
	CHECK(put_file(dir, "solo2", "solo", 4));
	CHECK(symlinkat("t", dir, "soft1"));
	CHECK(linkat(dir, "soft1", dir, "soft2", 0));
	CHECK(linkat(dir, "fifo", dir, "fifo2", 0));
	put_sparse(dir, "sparse");
	if (mknodat(dir, "char", S_IFCHR | 0600, makedev(1, 3)) == 0) {
		CHECK(mknodat(dir, "block", S_IFBLK | 0600, makedev(7, 3)));
		CHECK(linkat(dir, "char", dir, "char2", 0));
	}
}

/* ---- what may not be allowed here: a reason to skip the case, or NULL ---- */

/* Replaces a device that build() could make. */
static const char *change_device(int dir, const char *name, mode_t type, dev_t dev)
{
	if (unlinkat(dir, name, 0) < 0)
		return "no devices may be made here";
	CHECK(mknodat(dir, name, type | 0600, dev));
	return NULL;
}

static const char *give(int dir, const char *name, uid_t uid, gid_t gid)
{
	if (fchownat(dir, name, uid, gid, AT_SYMLINK_NOFOLLOW) == 0)
		return NULL;
	return strerror(errno);
}

/* Holes of the file are not told by this file system. */
static const char *no_holes(int dir)
{
	int fd = openat(dir, "sparse", O_RDONLY | O_CLOEXEC);
	off_t data = lseek(fd, 0, SEEK_DATA);
	off_t hole = lseek(fd, MIB, SEEK_HOLE);
	close(fd);
	return data == MIB && hole == MIB + 32 * KIB ? NULL : "no exact holes here";
}

/* setxattr below a directory. */
static const char *put_xattr(int dir, const char *name, const char *attr, const void *v, size_t n)
{
	char path[400];
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name);
	if (lsetxattr(path, attr, v, n, 0) == 0)
		return NULL;
	if (errno == ENOTSUP || errno == EPERM)
		return strerror(errno);
	fail_msg("setxattr %s %s: %s", name, attr, strerror(errno));
	return NULL;
}

struct ace {
	uint8_t tag;
	uint8_t perm;
	uint16_t id;
};

static const char *put_acl(int dir, const char *name, const char *attr, const struct ace *v,
			   size_t n)
{
	uint8_t raw[4 + 8 * 16] = {2};
	for (size_t i = 0; i < n; i++) {
		uint8_t *p = raw + 4 + 8 * i;
		bool named = v[i].tag == 2 || v[i].tag == 8;
		p[0] = v[i].tag;
		p[2] = v[i].perm;
		memset(p + 4, named ? 0 : 0xff, 4);
		if (named) {
			p[4] = (uint8_t)v[i].id;
			p[5] = (uint8_t)(v[i].id >> 8);
		}
	}
	return put_xattr(dir, name, attr, raw, 4 + 8 * n);
}

#define ACCESS  "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"

static const struct ace minimal[] = {{1, 6, 0}, {4, 4, 0}, {32, 4, 0}};
static const struct ace named[] = {{1, 6, 0}, {2, 4, 1000}, {2, 0, 1001},
				   {4, 4, 0}, {16, 4, 0},   {32, 4, 0}};
static const struct ace turned[] = {{1, 6, 0}, {2, 0, 1001}, {2, 4, 1000},
				    {4, 4, 0}, {16, 4, 0},   {32, 4, 0}};
static const struct ace other_id[] = {{1, 6, 0}, {2, 4, 1000}, {2, 0, 1002},
				      {4, 4, 0}, {16, 4, 0},   {32, 4, 0}};
#define ACL(list) list, sizeof(list) / sizeof((list)[0])

/* ---- the cases: each changes B (or both) and returns NULL, or why it cannot ---- */

typedef const char *change_fn(int a, int b);

static const char *nothing(int a, int b)
{
	(void)a;
	(void)b;
	return NULL;
}

static const char *missing_file(int a, int b)
{
	(void)a;
	CHECK(unlinkat(b, "small", 0));
	return NULL;
}

static const char *missing_dir(int a, int b)
{
	(void)a;
	remove_all(b, "dir");
	return NULL;
}

static const char *missing_of_group(int a, int b)
{
	(void)a;
	CHECK(unlinkat(b, "h2", 0));
	return NULL;
}

static const char *extra_file(int a, int b)
{
	(void)a;
	return put_file(b, "dir/new", "x", 1) < 0 ? "cannot write" : NULL;
}

static const char *extra_dir(int a, int b)
{
	(void)a;
	CHECK(mkdirat(b, "more", 0755));
	CHECK(mkdirat(b, "more/below", 0755));
	return NULL;
}

static const char *reserved_names(int a, int b)
{
	CHECK(mkdirat(a, "lost+found", 0700));
	CHECK(mkdirat(b, ".scribe-mover", 0700));
	CHECK(put_file(b, ".scribe-mover/state", "x", 1));
	return NULL;
}

static const char *reserved_below(int a, int b)
{
	CHECK(mkdirat(a, "dir/lost+found", 0700));
	CHECK(mkdirat(b, "dir/.scribe-mover", 0700));
	return NULL;
}

static const char *type_link(int a, int b)
{
	(void)a;
	CHECK(unlinkat(b, "small", 0));
	CHECK(symlinkat("big", b, "small"));
	return NULL;
}

/* A link to a directory of equal content must not pass for one. */
static const char *type_dir(int a, int b)
{
	(void)a;
	CHECK(renameat(b, "dir", b, "moved"));
	CHECK(symlinkat("moved", b, "dir"));
	return NULL;
}

static const char *type_fifo(int a, int b)
{
	(void)a;
	CHECK(unlinkat(b, "sock", 0));
	CHECK(mknodat(b, "sock", S_IFIFO | 0644, 0));
	return NULL;
}

static const char *type_device(int a, int b)
{
	(void)a;
	return change_device(b, "block", S_IFCHR, makedev(7, 3));
}

static const char *mode_bit(int a, int b)
{
	(void)a;
	CHECK(fchmodat(b, "small", 0645, 0));
	return NULL;
}

static const char *mode_setuid(int a, int b)
{
	(void)a;
	CHECK(fchmodat(b, "bad\xff\xfe", 04644, 0));
	return NULL;
}

static const char *mode_sticky(int a, int b)
{
	(void)a;
	CHECK(fchmodat(b, "dir/sub", 01700, 0));
	return NULL;
}

static const char *mode_fifo(int a, int b)
{
	CHECK(unlinkat(a, "fifo2", 0));
	CHECK(unlinkat(b, "fifo2", 0));
	CHECK(fchmodat(b, "fifo", 0600, 0));
	return NULL;
}

static const char *mode_root(int a, int b)
{
	(void)a;
	CHECK(fchmod(b, 0750));
	return NULL;
}

static const char *owner_file(int a, int b)
{
	(void)a;
	return give(b, "small", 12345, (gid_t)-1);
}

static const char *owner_link(int a, int b)
{
	(void)a;
	return give(b, "link", 3000000000u, (gid_t)-1);
}

static const char *group_file(int a, int b)
{
	(void)a;
	return give(b, "new\nline", (uid_t)-1, 54321);
}

static const char *group_root(int a, int b)
{
	(void)a;
	return give(b, ".", (uid_t)-1, 7);
}

static const char *size_shorter(int a, int b)
{
	(void)a;
	int fd = openat(b, "big", O_WRONLY | O_CLOEXEC);
	CHECK(ftruncate(fd, BIG - 1));
	close(fd);
	return NULL;
}

static const char *size_zeros(int a, int b)
{
	(void)a;
	int fd = openat(b, "empty", O_WRONLY | O_CLOEXEC);
	CHECK(ftruncate(fd, MIB));
	close(fd);
	return NULL;
}

static const char *content_last(int a, int b)
{
	(void)a;
	CHECK(poke(b, "big", BIG - 1, 'Z', 1));
	return NULL;
}

/* The first byte of the second read. */
static const char *content_seam(int a, int b)
{
	(void)a;
	CHECK(poke(b, "big", 256 * KIB, 'Z', 1));
	return NULL;
}

/* Data of zeros only where the other has other data: equal holes, unequal bytes. */
static const char *content_sparse(int a, int b)
{
	(void)a;
	CHECK(poke(b, "sparse", MIB + 272 * KIB + 5, 0, 1));
	return NULL;
}

static void add_ns(int dir, const char *name)
{
	struct timespec t = base_time;
	t.tv_nsec++;
	set_time(dir, name, t);
}

static const char *mtime_file(int a, int b)
{
	(void)a;
	add_ns(b, "small");
	return NULL;
}

static const char *mtime_link(int a, int b)
{
	(void)a;
	add_ns(b, "dangling");
	return NULL;
}

static const char *mtime_dir(int a, int b)
{
	(void)a;
	add_ns(b, "dir/sub");
	return NULL;
}

static const char *mtime_root(int a, int b)
{
	(void)a;
	add_ns(b, ".");
	return NULL;
}

static const char *mtime_sock(int a, int b)
{
	(void)a;
	add_ns(b, "sock");
	return NULL;
}

static const char *rdev_char(int a, int b)
{
	unlinkat(a, "char2", 0);
	unlinkat(b, "char2", 0);
	return change_device(b, "char", S_IFCHR, makedev(1, 5));
}

static const char *rdev_block(int a, int b)
{
	(void)a;
	return change_device(b, "block", S_IFBLK, makedev(7, 1000));
}

static const char *target(int a, int b)
{
	(void)a;
	CHECK(unlinkat(b, "link", 0));
	CHECK(symlinkat("smalk", b, "link"));
	return NULL;
}

static const char *target_prefix(int a, int b)
{
	(void)a;
	CHECK(unlinkat(b, "dangling", 0));
	CHECK(symlinkat("nowhere/", b, "dangling"));
	return NULL;
}

static const char *xattr_value(int a, int b)
{
	const char *why = put_xattr(a, "small", "user.same", "1", 1);
	if (!why)
		why = put_xattr(b, "small", "user.same", "1", 1);
	if (!why)
		why = put_xattr(a, "small", "user.value", "one\0two", 7);
	return why ? why : put_xattr(b, "small", "user.value", "one\0twO", 7);
}

static const char *xattr_names(int a, int b)
{
	const char *why = put_xattr(a, "small", "user.one", "1", 1);
	return why ? why : put_xattr(b, "small", "user.two", "1", 1);
}

static const char *xattr_empty(int a, int b)
{
	(void)a;
	return put_xattr(b, "dir", "user.empty", "", 0);
}

static const char *xattr_root(int a, int b)
{
	(void)a;
	return put_xattr(b, ".", "user.x", "1", 1);
}

static const char *xattr_own_record(int a, int b)
{
	(void)a;
	const char *why = put_xattr(b, ".", "user.scribe-mover.record", "1", 1);
	return why ? why : put_xattr(b, ".", "user.scribe-mover.", "1", 1);
}

static const char *xattr_record_below(int a, int b)
{
	(void)a;
	return put_xattr(b, "dir", "user.scribe-mover.record", "1", 1);
}

static const char *xattr_other_namespace(int a, int b)
{
	(void)a;
	return put_xattr(b, "small", "trusted.x", "1", 1);
}

/* Version 2, cap_net_bind_service and cap_net_raw permitted and effective. */
static const uint8_t capability[20] = {1, 0, 0, 2, 0, 0x24};
static const uint8_t capability2[20] = {1, 0, 0, 2, 0, 0x04};

static const char *capability_gone(int a, int b)
{
	(void)b;
	return put_xattr(a, "small", "security.capability", capability, sizeof(capability));
}

static const char *capability_other(int a, int b)
{
	const char *why = capability_gone(a, b);
	return why ? why : put_xattr(b, "small", "security.capability", capability2, 20);
}

static const char *capability_same(int a, int b)
{
	const char *why = capability_gone(a, b);
	return why ? why : put_xattr(b, "small", "security.capability", capability, 20);
}

static const char *acl_gone(int a, int b)
{
	(void)b;
	return put_acl(a, "small", ACCESS, ACL(named));
}

static const char *acl_id(int a, int b)
{
	const char *why = put_acl(a, "small", ACCESS, ACL(named));
	return why ? why : put_acl(b, "small", ACCESS, ACL(other_id));
}

static const char *acl_order(int a, int b)
{
	const char *why = put_acl(a, "small", ACCESS, ACL(named));
	return why ? why : put_acl(b, "small", ACCESS, ACL(turned));
}

static const char *acl_minimal(int a, int b)
{
	(void)a;
	return put_acl(b, "small", ACCESS, ACL(minimal));
}

static const char *acl_default(int a, int b)
{
	(void)a;
	return put_acl(b, "dir", DEFAULT, ACL(named));
}

static const char *acl_default_minimal(int a, int b)
{
	(void)a;
	return put_acl(b, "dir/sub", DEFAULT, ACL(minimal));
}

static const char *acl_default_root(int a, int b)
{
	const char *why = put_acl(a, ".", DEFAULT, ACL(named));
	return why ? why : put_acl(b, ".", DEFAULT, ACL(other_id));
}

static const char *links_regrouped(int a, int b)
{
	(void)a;
	CHECK(unlinkat(b, "h2", 0));
	CHECK(unlinkat(b, "h3", 0));
	CHECK(linkat(b, "h1", b, "h3", 0));
	CHECK(linkat(b, "h4", b, "h2", 0));
	return NULL;
}

static const char *links_split(int a, int b)
{
	(void)a;
	CHECK(unlinkat(b, "h4", 0));
	CHECK(put_file(b, "h4", "hard", 4));
	return NULL;
}

static const char *links_joined(int a, int b)
{
	(void)a;
	CHECK(unlinkat(b, "solo2", 0));
	CHECK(linkat(b, "solo1", b, "solo2", 0));
	return NULL;
}

static const char *links_symlink(int a, int b)
{
	(void)a;
	CHECK(unlinkat(b, "soft2", 0));
	CHECK(symlinkat("t", b, "soft2"));
	return NULL;
}

static const char *links_fifo(int a, int b)
{
	(void)a;
	CHECK(unlinkat(b, "fifo2", 0));
	CHECK(mknodat(b, "fifo2", S_IFIFO | 0644, 0));
	return NULL;
}

static const char *links_device(int a, int b)
{
	(void)a;
	return change_device(b, "char2", S_IFCHR, makedev(1, 3));
}

static const char *links_outside(int a, int b)
{
	(void)a;
	CHECK(linkat(b, "solo1", b, "../outside", 0));
	return NULL;
}

static const char *hole_zeros(int a, int b)
{
	const char *why = no_holes(a);
	CHECK(poke(b, "sparse", 0, 0, MIB));
	return why;
}

static const char *hole_tail(int a, int b)
{
	const char *why = no_holes(a);
	CHECK(poke(b, "sparse", 2 * MIB - 1, 0, 1));
	return why;
}

/* Inside the hole, but before its first whole block. */
static const char *hole_edge(int a, int b)
{
	const char *why = no_holes(a);
	CHECK(poke(b, "sparse", MIB + 40 * KIB, 0, 8 * KIB));
	return why;
}

/* Inside the hole, but behind its last whole block. */
static const char *hole_end(int a, int b)
{
	const char *why = no_holes(a);
	CHECK(poke(b, "sparse", MIB + 260 * KIB, 0, 8 * KIB));
	return why;
}

static const char *hole_inside(int a, int b)
{
	const char *why = no_holes(a);
	CHECK(poke(b, "sparse", MIB + 100 * KIB, 0, 4 * KIB));
	return why;
}

/* Zeros in A where B has a hole: B may save space. */
static const char *hole_more(int a, int b)
{
	const char *why = no_holes(b);
	CHECK(poke(a, "sparse", 128 * KIB, 0, 256 * KIB));
	return why;
}

struct test_case {
	const char *name;
	change_fn *change;
	const char *expected; /* lines "ATTR path", joined by '|' */
	bool keeps_times;     /* the change is one of times: it comes after settling them */
};

static const struct test_case cases[] = {
	{"nothing", nothing, "", false},
	{"missing file", missing_file, "missing small", false},
	{"missing directory", missing_dir, "missing dir", false},
	{"missing name of a group", missing_of_group, "missing h2", false},
	{"extra file", extra_file, "extra dir/new", false},
	{"extra directory", extra_dir, "extra more", false},
	{"reserved names in the root", reserved_names, "", false},
	{"reserved names below", reserved_below, "extra dir/.scribe-mover|missing dir/lost+found",
	 false},
	{"file, symlink", type_link, "type small", false},
	{"directory, symlink to one", type_dir, "type dir|extra moved", false},
	{"socket, fifo", type_fifo, "type sock", false},
	{"block, char", type_device, "type block", false},
	{"mode", mode_bit, "mode small", false},
	{"setuid, name not UTF-8", mode_setuid, "mode bad\xff\xfe", false},
	{"sticky directory", mode_sticky, "mode dir/sub", false},
	{"mode of a fifo", mode_fifo, "mode fifo", false},
	{"mode of the root", mode_root, "mode .", false},
	{"owner", owner_file, "uid small", false},
	{"owner of a symlink", owner_link, "uid link", false},
	{"group, name with newline", group_file, "gid new\nline", false},
	{"group of the root", group_root, "gid .", false},
	{"shorter", size_shorter, "size big", false},
	{"longer by zeros", size_zeros, "size empty", false},
	{"last byte", content_last, "content big", false},
	{"byte behind a read", content_seam, "content big", false},
	{"content between holes", content_sparse, "content sparse", false},
	{"mtime of a file", mtime_file, "mtime small", true},
	{"mtime of a symlink", mtime_link, "mtime dangling", true},
	{"mtime of a directory", mtime_dir, "mtime dir/sub", true},
	{"mtime of the root", mtime_root, "mtime .", true},
	{"mtime of a socket", mtime_sock, "mtime sock", true},
	{"char device number", rdev_char, "rdev char", false},
	{"block device number", rdev_block, "rdev block", false},
	{"link text", target, "target link", false},
	{"longer link text", target_prefix, "target dangling", false},
	{"xattr value", xattr_value, "xattr small", false},
	{"xattr names", xattr_names, "xattr small|xattr small", false},
	{"empty xattr of a directory", xattr_empty, "xattr dir", false},
	{"xattr of the root", xattr_root, "xattr .", false},
	{"own record on the root", xattr_own_record, "", false},
	{"own record below", xattr_record_below, "xattr dir", false},
	{"namespace that does not count", xattr_other_namespace, "", false},
	{"capability gone", capability_gone, "xattr small", false},
	{"other capability", capability_other, "xattr small", false},
	{"same capability", capability_same, "", false},
	{"ACL gone", acl_gone, "acl small", false},
	{"other id in the ACL", acl_id, "acl small", false},
	{"other order in the ACL", acl_order, "", false},
	{"minimal ACL", acl_minimal, "", false},
	{"default ACL", acl_default, "acl dir", false},
	{"minimal default ACL", acl_default_minimal, "acl dir/sub", false},
	{"default ACL of the root", acl_default_root, "acl .", false},
	{"links regrouped", links_regrouped, "links h2|links h3|links h4", false},
	{"link split", links_split, "links h4", false},
	{"files joined", links_joined, "links solo2", false},
	{"linked symlinks", links_symlink, "links soft2", false},
	{"linked fifos", links_fifo, "links fifo2", false},
	{"linked devices", links_device, "links char2", false},
	{"link from outside", links_outside, "", false},
	{"zeros for a hole", hole_zeros, "holes sparse", false},
	{"zero in the last hole", hole_tail, "holes sparse", false},
	{"zeros at the edge of a hole", hole_edge, "", false},
	{"zeros at the end of a hole", hole_end, "", false},
	{"zeros inside a hole", hole_inside, "holes sparse", false},
	{"more holes", hole_more, "", false},
};

/* The bits of all attributes named by the expected lines. */
static unsigned attrs_of(const char *expected)
{
	unsigned bits = 0;
	for (int attr = 0; attr < TREEDIFF_ATTRS; attr++) {
		const char *word = treediff_attr_word((enum treediff_attr)attr);
		if (strncmp(expected, word, strlen(word)) == 0 && expected[strlen(word)] == ' ')
			bits |= 1u << attr;
	}
	return bits;
}

static void join(const struct found *f, char *out, size_t cap)
{
	size_t at = 0;
	out[0] = '\0';
	for (size_t i = 0; i < f->n && i < 64 && at < cap; i++)
		at += (size_t)snprintf(out + at, cap - at, "%s%s", i ? "|" : "", f->line[i]);
}

static void expect(const struct pair *p, struct treediff_options opt, const char *name,
		   const char *expected)
{
	static struct found f;
	char lines[2048];
	assert_int_equal(compare(p, opt, &f), 0);
	join(&f, lines, sizeof(lines));
	if (strcmp(lines, expected) != 0 || f.result.errors)
		fail_msg("%s: expected '%s', found '%s', %llu errors (%s), last %s / %s", name,
			 expected, lines, (unsigned long long)f.result.errors, f.failure, f.a, f.b);
	assert_int_equal(f.result.differences, f.n);
}

/* False if the case was skipped. */
static bool run_case(const struct test_case *c)
{
	struct pair p;
	struct treediff_options opt = {0};
	assert_true(pair_open(&p));
	const char *why = NULL;
	for (int i = 0; i < 2; i++)
		build(p.fd[i]);
	if (!c->keeps_times)
		why = c->change(p.fd[0], p.fd[1]);
	for (int i = 0; i < 2; i++)
		settle(p.fd[i], ".");
	if (c->keeps_times)
		why = c->change(p.fd[0], p.fd[1]);
	if (why) {
		print_message("skipped: %s: %s\n", c->name, why);
	} else {
		expect(&p, opt, c->name, c->expected);
		opt.ignore = attrs_of(c->expected);
		const unsigned always =
			1u << TREEDIFF_MISSING | 1u << TREEDIFF_EXTRA | 1u << TREEDIFF_TYPE;
		if (!(opt.ignore & always))
			expect(&p, opt, c->name, "");
	}
	pair_close(&p);
	return !why;
}

static void test_each_alone(void **state)
{
	(void)state;
	size_t skipped = 0;
	const size_t n = sizeof(cases) / sizeof(cases[0]);
	for (size_t i = 0; i < n; i++)
		skipped += !run_case(&cases[i]);
	print_message("%zu cases, %zu skipped\n", n, skipped);
	assert_true(skipped < n / 2);
}

/* ---- what the values say, and the options ---- */

static int set_up(void **state)
{
	static struct pair p;
	*state = &p;
	if (!pair_open(&p))
		return -1;
	build(p.fd[0]);
	build(p.fd[1]);
	settle(p.fd[0], ".");
	settle(p.fd[1], ".");
	return 0;
}

static int tear_down(void **state)
{
	pair_close(*state);
	return 0;
}

static void test_values(void **state)
{
	struct pair *p = *state;
	static struct found f;
	struct treediff_options opt = {.ignore = 1u << TREEDIFF_MTIME};
	mode_setuid(p->fd[0], p->fd[1]);
	assert_int_equal(compare(p, opt, &f), 0);
	assert_string_equal(f.a, "0644");
	assert_string_equal(f.b, "4644");
	CHECK(fchmodat(p->fd[1], "bad\xff\xfe", 0644, 0));
	CHECK(poke(p->fd[1], "big", 262145, 'Z', 3));
	assert_int_equal(compare(p, opt, &f), 0);
	assert_string_equal(f.b, "0x5a at 262145");
	opt.ignore |= 1u << TREEDIFF_CONTENT;
	if (!hole_inside(p->fd[0], p->fd[1])) {
		assert_int_equal(compare(p, opt, &f), 0);
		assert_string_equal(f.a, "hole 1081344..1327104");
		assert_string_equal(f.b, "data at 1150976");
	}
	opt.ignore |= 1u << TREEDIFF_HOLES;
	links_split(p->fd[0], p->fd[1]);
	assert_int_equal(compare(p, opt, &f), 0);
	assert_string_equal(f.a, "h3");
	assert_string_equal(f.b, "-");
	assert_int_equal(f.result.errors, 0);
}

static void test_acl_and_xattr_values(void **state)
{
	struct pair *p = *state;
	static struct found f;
	struct treediff_options opt = {.ignore = 1u << TREEDIFF_MTIME};
	if (acl_gone(p->fd[0], p->fd[1]) || xattr_value(p->fd[0], p->fd[1])) {
		print_message("skipped: no ACLs or attributes here\n");
		return;
	}
	opt.ignore = 1u << TREEDIFF_XATTR;
	assert_int_equal(compare(p, opt, &f), 0);
	assert_string_equal(f.a, "user::rw-,user:1000:r--,user:1001:---,group::r--,mask::r--,"
				 "other::r--");
	assert_string_equal(f.b, "-");
	opt.ignore = 1u << TREEDIFF_ACL;
	assert_int_equal(compare(p, opt, &f), 0);
	assert_string_equal(f.a, "user.value=one\\000two");
	assert_string_equal(f.b, "user.value=one\\000twO");
}

static void test_exact_holes(void **state)
{
	struct pair *p = *state;
	struct treediff_options opt = {.exact_holes = true, .ignore = 1u << TREEDIFF_MTIME};
	if (no_holes(p->fd[0])) {
		print_message("skipped: %s\n", no_holes(p->fd[0]));
		return;
	}
	expect(p, opt, "equal holes", "");
	hole_more(p->fd[0], p->fd[1]);
	expect(p, opt, "more holes, exact", "holes sparse");
}

static void test_granule(void **state)
{
	struct pair *p = *state;
	struct treediff_options opt = {.granule_ns = 1000000000};
	set_time(p->fd[1], "small", (struct timespec){.tv_sec = base_time.tv_sec, .tv_nsec = 0});
	expect(p, opt, "same second", "");
	set_time(p->fd[1], "small", (struct timespec){base_time.tv_sec - 1, 999999999});
	expect(p, opt, "next second", "mtime small");
	opt.granule_ns = 2000000000;
	set_time(p->fd[1], "small", (struct timespec){base_time.tv_sec + 1, 999999999});
	expect(p, opt, "same two seconds", "");
	/* Rounding goes down before 1970 too: -0.5 s and +0.5 s are different seconds. */
	opt.granule_ns = 1000000000;
	set_time(p->fd[0], "small", (struct timespec){-1, 500000000});
	set_time(p->fd[1], "small", (struct timespec){0, 500000000});
	expect(p, opt, "around the epoch", "mtime small");
}

static void test_xattr_lists(void **state)
{
	struct pair *p = *state;
	const char *why = put_xattr(p->fd[1], "small", "trusted.x", "1", 1);
	if (!why)
		why = put_xattr(p->fd[1], "dir", "user.x", "1", 1);
	if (why) {
		print_message("skipped: %s\n", why);
		return;
	}
	struct treediff_options opt = {.ignore = 0};
	expect(p, opt, "default", "xattr dir");
	opt.xattrs = (const char *const[]){"trusted", NULL};
	expect(p, opt, "trusted", "xattr small");
	opt.xattrs = (const char *const[]){"trusted.", "user.", NULL};
	expect(p, opt, "two", "xattr dir|xattr small");
	opt.xattrs = (const char *const[]){"trusted.", "user.xx", "use", NULL};
	expect(p, opt, "no prefix of a name", "xattr small");
	opt.xattrs = (const char *const[]){"all", NULL};
	expect(p, opt, "all", "xattr dir|xattr small");
	opt.xattrs = (const char *const[]){NULL};
	expect(p, opt, "none", "");
}

int main(void)
{
	umask(022);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_alone),
		cmocka_unit_test_setup_teardown(test_values, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_acl_and_xattr_values, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_exact_holes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_granule, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_xattr_lists, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
