/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "mem.h"
#include "sys.h"

enum { KIB = 1024, SIZE = 700 * KIB };

/* Two directories: one on whatever TMPDIR lies on, one on a ramfs, which can neither punch nor
 * share. */
struct place {
	char base[64];
	int dir;
	int ram; /* -1 without the right to mount */
};

static bool may_mount(void)
{
	return geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
	       mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static int open_place(void **state)
{
	struct place *p = mem_alloc(1, sizeof *p);
	const char *tmp = getenv("TMPDIR");
	snprintf(p->base, sizeof p->base, "%.40s/sys.XXXXXX", tmp ? tmp : "/var/tmp");
	if (!mkdtemp(p->base))
		return -1;
	p->dir = open(p->base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	p->ram = -1;
	char ram[80];
	snprintf(ram, sizeof ram, "%s/ram", p->base);
	mkdir(ram, 0700);
	if (may_mount() && mount("none", ram, "ramfs", 0, NULL) == 0)
		p->ram = open(ram, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = p;
	return p->dir < 0 ? -1 : 0;
}

static int close_place(void **state)
{
	struct place *p = *state;
	if (p->ram >= 0) {
		close(p->ram);
		char ram[80];
		snprintf(ram, sizeof ram, "%s/ram", p->base);
		umount2(ram, MNT_DETACH);
	}
	unlinkat(p->dir, "ram", AT_REMOVEDIR);
	close(p->dir);
	int r = rmdir(p->base);
	free(p);
	return r;
}

static int new_file(int dir)
{
	int fd = openat(dir, "f", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(unlinkat(dir, "f", 0), 0);
	return fd;
}

static uint8_t *pattern(size_t n)
{
	uint8_t *p = mem_alloc_raw(n);
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(1 + (i * 2654435761u >> 11) % 255);
	return p;
}

static void assert_content(int fd, const uint8_t *expected, size_t n)
{
	CLEANUP_FREE uint8_t *got = mem_alloc(n + 1, 1);
	assert_int_equal(sys_pread(fd, got, n + 1, 0), n);
	assert_memory_equal(got, expected, n);
}

static void reads_and_writes_are_whole(void **state)
{
	struct place *p = *state;
	CLEANUP_FD int fd = new_file(p->dir);
	CLEANUP_FREE uint8_t *data = pattern(SIZE);
	assert_int_equal(sys_pwrite(fd, data, SIZE, 0), 0);
	assert_content(fd, data, SIZE);
	assert_int_equal(sys_pwrite(fd, data, 100, 1000), 0);
	memmove(data + 1000, data, 100);
	assert_content(fd, data, SIZE);
	uint8_t some[64];
	assert_int_equal(sys_pread(fd, some, sizeof some, SIZE - 10), 10);
	assert_memory_equal(some, data + SIZE - 10, 10);
	assert_int_equal(sys_pread(fd, some, sizeof some, SIZE + 10), 0);
	assert_int_equal(sys_pwrite(fd, NULL, 0, 0), 0);
	assert_int_equal(sys_ftruncate(fd, 5), 0);
	assert_content(fd, data, 5);
	assert_int_equal(sys_pwrite(-1, data, 1, 0), -1);
	assert_int_equal(errno, EBADF);
}

static void punch(int dir)
{
	CLEANUP_FD int fd = new_file(dir);
	CLEANUP_FREE uint8_t *data = pattern(SIZE);
	assert_int_equal(sys_pwrite(fd, data, SIZE, 0), 0);
	static const struct {
		uint64_t at, n;
	} holes[] = {{0, 1}, {4096, 8192}, {100001, 200003}, {SIZE - 7, 7}, {5, 0}};
	for (size_t i = 0; i < sizeof holes / sizeof holes[0]; i++) {
		assert_int_equal(sys_punch(fd, holes[i].at, holes[i].n), 0);
		memset(data + holes[i].at, 0, holes[i].n);
		assert_content(fd, data, SIZE); /* of the same size, too */
	}
}

static void punching_reads_as_zeros(void **state)
{
	struct place *p = *state;
	punch(p->dir);
}

static void punching_falls_back_to_zeros(void **state)
{
	struct place *p = *state;
	if (p->ram < 0) {
		print_message("no right to mount a ramfs\n");
		skip();
	}
	CLEANUP_FD int fd = new_file(p->ram);
	assert_int_equal(sys_pwrite(fd, "x", 1, 0), 0);
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1), -1);
	assert_int_equal(errno, EOPNOTSUPP);
	punch(p->ram);
}

static void copy(int from_dir, int to_dir)
{
	CLEANUP_FD int in = new_file(from_dir);
	CLEANUP_FD int out = new_file(to_dir);
	CLEANUP_FREE uint8_t *data = pattern(SIZE);
	CLEANUP_FREE uint8_t *expected = mem_alloc(1, SIZE);
	assert_int_equal(sys_pwrite(in, data, SIZE, 0), 0);
	assert_int_equal(sys_ftruncate(out, SIZE), 0);
	static const struct {
		uint64_t from, to, n;
	} ranges[] = {
		{0, 300001, 1}, {1, 0, 300000}, {65536, 310000, 65536}, {SIZE - 9, SIZE - 9, 9}};
	for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
		assert_int_equal(sys_copy_range(in, ranges[i].from, out, ranges[i].to, ranges[i].n),
				 0);
		memcpy(expected + ranges[i].to, data + ranges[i].from, ranges[i].n);
		assert_content(out, expected, SIZE);
	}
	assert_int_equal(sys_copy_range(in, 0, out, 0, 0), 0);
	assert_content(in, data, SIZE);
	/* A source that ends too early is an error, not a short copy. */
	assert_int_equal(sys_copy_range(in, SIZE - 5, out, 0, 10), -1);
	assert_int_equal(errno, EIO);
}

static void ranges_are_copied(void **state)
{
	struct place *p = *state;
	copy(p->dir, p->dir);
}

static void ranges_are_copied_across_filesystems(void **state)
{
	struct place *p = *state;
	if (p->ram < 0) {
		print_message("no right to mount a ramfs\n");
		skip();
	}
	copy(p->dir, p->ram);
	copy(p->ram, p->dir);
	copy(p->ram, p->ram);
}

static void cloning_works_or_changes_nothing(void **state)
{
	struct place *p = *state;
	int dirs[2] = {p->dir, p->ram};
	for (int i = 0; i < 2 && dirs[i] >= 0; i++) {
		CLEANUP_FD int in = new_file(dirs[i]);
		CLEANUP_FD int out = new_file(dirs[i]);
		CLEANUP_FREE uint8_t *data = pattern(3 * 4096);
		assert_int_equal(sys_pwrite(in, data, 3 * 4096, 0), 0);
		assert_int_equal(sys_pwrite(out, "old", 3, 0), 0);
		errno = 0;
		int r = sys_clone(out, in);
		if (i == 1)
			assert_int_equal(r, -1);
		if (r < 0) {
			assert_true(errno == EOPNOTSUPP || errno == EINVAL || errno == ENOTTY);
			assert_content(out, (const uint8_t *)"old", 3);
		} else {
			assert_content(out, data, 3 * 4096);
		}
	}
}

static bool list_has(const char *list, ssize_t n, const char *name)
{
	for (ssize_t at = 0; at < n; at += (ssize_t)strlen(list + at) + 1)
		if (strcmp(list + at, name) == 0)
			return true;
	return false;
}

static void xattrs_by_name_and_by_fd(void **state)
{
	struct place *p = *state;
	CLEANUP_FD int fd = openat(p->dir, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char value[16], list[256];
	if (sys_setxattr(p->dir, "file", "user.a", "one", 3) < 0 && errno == EOPNOTSUPP) {
		unlinkat(p->dir, "file", 0);
		print_message("%s has no user xattrs\n", p->base);
		skip();
	}
	assert_int_equal(sys_getxattr(fd, NULL, "user.a", value, sizeof value), 3);
	assert_memory_equal(value, "one", 3);
	assert_int_equal(sys_setxattr(fd, NULL, "user.b", "", 0), 0);
	assert_int_equal(sys_getxattr(p->dir, "file", "user.b", value, sizeof value), 0);
	ssize_t n = sys_listxattr(p->dir, "file", list, sizeof list);
	assert_true(list_has(list, n, "user.a") && list_has(list, n, "user.b"));
	n = sys_listxattr(fd, NULL, list, sizeof list);
	assert_true(list_has(list, n, "user.a") && list_has(list, n, "user.b"));
	assert_int_equal(sys_getxattr(p->dir, "file", "user.a", value, 2), -1);
	assert_int_equal(errno, ERANGE);
	assert_int_equal(sys_listxattr(p->dir, "file", list, 3), -1);
	assert_int_equal(errno, ERANGE);
	assert_int_equal(sys_removexattr(p->dir, "file", "user.a"), 0);
	assert_int_equal(sys_removexattr(fd, NULL, "user.b"), 0);
	assert_int_equal(sys_getxattr(p->dir, "file", "user.a", value, sizeof value), -1);
	assert_int_equal(errno, ENODATA);
	assert_int_equal(sys_getxattr(p->dir, "none", "user.a", value, sizeof value), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(unlinkat(p->dir, "file", 0), 0);
}

/* user.* is not allowed on links: what is asked for at a link must not come from its target. */
static void xattrs_of_a_link_are_its_own(void **state)
{
	struct place *p = *state;
	CLEANUP_FD int fd = openat(p->dir, "target", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(symlinkat("target", p->dir, "link"), 0);
	char value[16], list[256];
	bool user = fsetxattr(fd, "user.a", "of the target", 13, 0) == 0;
	if (user) {
		assert_int_equal(sys_getxattr(p->dir, "link", "user.a", value, sizeof value), -1);
		ssize_t n = sys_listxattr(p->dir, "link", list, sizeof list);
		assert_true(n >= 0 || errno == EOPNOTSUPP);
		assert_false(list_has(list, n, "user.a"));
		assert_int_equal(sys_setxattr(p->dir, "link", "user.a", "x", 1), -1);
		assert_int_equal(sys_removexattr(p->dir, "link", "user.a"), -1);
		assert_int_equal(fgetxattr(fd, "user.a", value, sizeof value), 13);
	}
	bool trusted = fsetxattr(fd, "trusted.t", "of the target", 13, 0) == 0 &&
		       sys_setxattr(p->dir, "link", "trusted.t", "of the link", 11) == 0;
	if (trusted) {
		assert_int_equal(sys_getxattr(p->dir, "link", "trusted.t", value, sizeof value),
				 11);
		assert_memory_equal(value, "of the link", 11);
		ssize_t n = sys_listxattr(p->dir, "link", list, sizeof list);
		assert_true(list_has(list, n, "trusted.t"));
		assert_int_equal(sys_removexattr(p->dir, "link", "trusted.t"), 0);
		assert_int_equal(sys_getxattr(p->dir, "link", "trusted.t", value, sizeof value),
				 -1);
		assert_int_equal(fgetxattr(fd, "trusted.t", value, sizeof value), 13);
	}
	print_message("user xattrs %s, trusted xattrs %s\n", user ? "tested" : "not there",
		      trusted ? "tested" : "not allowed");
	assert_int_equal(unlinkat(p->dir, "link", 0), 0);
	assert_int_equal(unlinkat(p->dir, "target", 0), 0);
}

static void links_have_owners_and_times_of_their_own(void **state)
{
	struct place *p = *state;
	CLEANUP_FD int fd = openat(p->dir, "target", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(sys_symlinkat("target", p->dir, "link"), 0);
	struct stat before, after, link;
	assert_int_equal(fstat(fd, &before), 0);
	assert_int_equal(sys_utimens(p->dir, "link", 1000000000, 5), 0);
	assert_int_equal(sys_fchownat(p->dir, "link", geteuid(), getegid()), 0);
	assert_int_equal(fstat(fd, &after), 0);
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof before.st_mtim);
	assert_memory_equal(&before.st_ctim, &after.st_ctim, sizeof before.st_ctim);
	assert_int_equal(fstatat(p->dir, "link", &link, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(link.st_mtim.tv_sec, 1000000000);
	/* The access time is left alone. */
	assert_int_equal(sys_utimens(fd, NULL, 1000000001, 0), 0);
	assert_int_equal(fstat(fd, &after), 0);
	assert_int_equal(after.st_mtim.tv_sec, 1000000001);
	assert_memory_equal(&before.st_atim, &after.st_atim, sizeof before.st_atim);
	/* A hard link to a link is to the link. */
	assert_int_equal(sys_linkat(p->dir, "link", p->dir, "second"), 0);
	assert_int_equal(fstatat(p->dir, "second", &after, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISLNK(after.st_mode));
	assert_int_equal(sys_unlinkat(p->dir, "second", 0), 0);
	assert_int_equal(sys_unlinkat(p->dir, "link", 0), 0);
	assert_int_equal(sys_unlinkat(p->dir, "target", 0), 0);
}

static void renames_take_flags(void **state)
{
	struct place *p = *state;
	assert_int_equal(sys_mkdirat(p->dir, "a", 0700), 0);
	assert_int_equal(sys_mknodat(p->dir, "b", S_IFIFO | 0600, 0), 0);
	assert_int_equal(sys_renameat(p->dir, "a", p->dir, "b", 1 /* RENAME_NOREPLACE */), -1);
	assert_int_equal(errno, EEXIST);
	struct stat st;
	if (sys_renameat(p->dir, "a", p->dir, "b", 2 /* RENAME_EXCHANGE */) == 0) {
		assert_int_equal(fstatat(p->dir, "b", &st, 0), 0);
		assert_true(S_ISDIR(st.st_mode));
		assert_int_equal(sys_renameat(p->dir, "a", p->dir, "b", 2), 0);
	}
	assert_int_equal(sys_renameat(p->dir, "b", p->dir, "c", 0), 0);
	assert_int_equal(sys_unlinkat(p->dir, "c", 0), 0);
	assert_int_equal(sys_unlinkat(p->dir, "a", AT_REMOVEDIR), 0);
}

#ifdef SCRIBE_FAULTS
/* Rules are read once per process: each test of them is a child, which says what is wrong by its
 * line. */
#define WANT(what)                                                                                 \
	do {                                                                                       \
		if (!(what))                                                                       \
			return __LINE__;                                                           \
	} while (0)

static void in_child(const char *rules, int (*body)(int fd, int dir), struct place *p)
{
	CLEANUP_FD int fd = new_file(p->dir);
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		setenv("SCRIBE_FAULT", rules, 1);
		int line = body(fd, p->dir);
		if (line)
			dprintf(STDERR_FILENO, "[  LINE  ] %s:%d with %s\n", __FILE__, line, rules);
		_exit(line ? 1 : 0);
	}
	int status = -1;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static int nth_call_fails(int fd, int dir)
{
	(void)dir;
	WANT(sys_pwrite(fd, "a", 1, 0) == 0);
	WANT(sys_pwrite(fd, "", 0, 0) == 0); /* nothing to write is no call */
	errno = 0;
	WANT(sys_pwrite(fd, "b", 1, 0) == -1 && errno == ENOSPC);
	WANT(sys_pwrite(fd, "c", 1, 0) == 0);
	char got;
	WANT(pread(fd, &got, 1, 0) == 1 && got == 'c');
	errno = 0;
	WANT(sys_fdatasync(fd) == -1 && errno == EIO);
	WANT(sys_fdatasync(fd) == -1 && errno == EIO);
	WANT(sys_ftruncate(fd, 10) == 0);
	return 0;
}

static int drops_say_done(int fd, int dir)
{
	struct stat st;
	WANT(sys_pwrite(fd, "a", 1, 0) == 0);
	WANT(sys_ftruncate(fd, 100) == 0);
	WANT(sys_copy_range(fd, 0, fd, 10, 5) == 0);
	WANT(fstat(fd, &st) == 0 && st.st_size == 0);
	WANT(sys_mkdirat(dir, "never", 0700) == 0);
	WANT(fstatat(dir, "never", &st, 0) == -1 && errno == ENOENT);
	WANT(sys_unlinkat(dir, "not there", 0) == 0);
	WANT(sys_renameat(dir, "not there", dir, "nor this", 0) == 0);
	WANT(sys_syncfs(fd) == 0);
	return 0;
}

static int flip_inverts_one_bit(int fd, int dir)
{
	(void)dir;
	static const uint8_t data[9] = {0xf0, 1, 2, 3, 4, 5, 6, 7, 8};
	uint8_t got[9];
	WANT(sys_pwrite(fd, data, sizeof data, 0) == 0);
	WANT(pread(fd, got, sizeof got, 0) == sizeof got);
	int bits = 0;
	for (size_t i = 0; i < sizeof got; i++)
		bits += __builtin_popcount(got[i] ^ data[i]);
	WANT(bits == 1);
	WANT(sys_pwrite(fd, data, sizeof data, 0) == 0);
	WANT(pread(fd, got, sizeof got, 0) == sizeof got && memcmp(got, data, sizeof got) == 0);
	return 0;
}

static int many_names(int fd, int dir)
{
	char value[8];
	errno = 0;
	WANT(sys_openat(dir, ".", O_RDONLY, 0) == -1 && errno == EMFILE);
	int self = sys_openat(dir, ".", O_RDONLY, 0);
	WANT(self >= 0 && (fcntl(self, F_GETFD) & FD_CLOEXEC));
	errno = 0;
	WANT(sys_pread(fd, value, 1, 0) == -1 && errno == EIO);
	errno = 0;
	WANT(sys_fchmod(fd, 0600) == -1 && errno == EROFS);
	errno = 0;
	WANT(sys_utimens(fd, NULL, 0, 0) == -1 && errno == EACCES);
	errno = 0;
	WANT(sys_setxattr(fd, NULL, "user.a", "", 0) == -1 && errno == EDQUOT);
	errno = 0;
	WANT(sys_punch(fd, 0, 10) == -1 && errno == ENOSPC);
	WANT(sys_fchown(fd, geteuid(), getegid()) == 0);
	return 0;
}

static int nonsense_is_no_rule(int fd, int dir)
{
	(void)dir;
	WANT(sys_pwrite(fd, "a", 1, 0) == 0);
	WANT(sys_fdatasync(fd) == 0);
	errno = 0;
	WANT(sys_ftruncate(fd, 1) == -1 && errno == EIO); /* the one good rule among them */
	return 0;
}

static void faults_follow_their_rules(void **state)
{
	struct place *p = *state;
	in_child("pwrite:ENOSPC:2,fdatasync:EIO:0", nth_call_fails, p);
	in_child("pwrite:drop:0,ftruncate:drop:0,copy_file_range:drop:1,mkdir:drop:1,unlink:drop:0,"
		 "rename:drop:0,syncfs:drop:0",
		 drops_say_done, p);
	in_child("pwrite:flip:1", flip_inverts_one_bit, p);
	in_child("openat:EMFILE:1,pread:EIO:1,fchmod:EROFS:1,utimens:EACCES:1,setxattr:EDQUOT:1,"
		 "fallocate:ENOSPC:1",
		 many_names, p);
	in_child("pwrite,:::,fdatasync:EIO,,pwrite:EIO:x,ftruncate:EIO:1,"
		 "pwritepwritepwritepwritepwritepwritepwritepwritepwritepwritepwrite:EIO:0",
		 nonsense_is_no_rule, p);
}
#else
static void faults_follow_their_rules(void **state)
{
	(void)state;
	print_message("this build has no fault hooks\n");
	skip();
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* First, since rules are read once: no call of sys.h may have been made before. */
		cmocka_unit_test(faults_follow_their_rules),
		cmocka_unit_test(reads_and_writes_are_whole),
		cmocka_unit_test(punching_reads_as_zeros),
		cmocka_unit_test(punching_falls_back_to_zeros),
		cmocka_unit_test(ranges_are_copied),
		cmocka_unit_test(ranges_are_copied_across_filesystems),
		cmocka_unit_test(cloning_works_or_changes_nothing),
		cmocka_unit_test(xattrs_by_name_and_by_fd),
		cmocka_unit_test(xattrs_of_a_link_are_its_own),
		cmocka_unit_test(links_have_owners_and_times_of_their_own),
		cmocka_unit_test(renames_take_flags),
	};
	return cmocka_run_group_tests(tests, open_place, close_place);
}
