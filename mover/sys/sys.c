/* SPDX-License-Identifier: Apache-2.0 */
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fault.h"
#include "mem.h"

/* For calls whose only outcomes are done or errno. */
#define HOOKED(name, call)                                                                         \
	do {                                                                                       \
		enum fault f_ = fault_at(name);                                                    \
		if (f_ == FAULT_ERRNO)                                                             \
			return -1;                                                                 \
		if (f_ == FAULT_DROP)                                                              \
			return 0;                                                                  \
		int r_;                                                                            \
		do                                                                                 \
			r_ = (int)(call);                                                          \
		while (r_ < 0 && errno == EINTR);                                                  \
		return r_;                                                                         \
	} while (0)

int sys_openat(int dirfd, const char *name, int flags, mode_t mode)
{
	if (fault_at("openat") != FAULT_NONE)
		return -1;
	int fd;
	do
		fd = openat(dirfd, name, flags | O_CLOEXEC, mode);
	while (fd < 0 && errno == EINTR);
	return fd;
}

ssize_t sys_pread(int fd, void *p, size_t n, uint64_t offset)
{
	if (fault_at("pread") != FAULT_NONE)
		return -1;
	size_t done = 0;
	while (done < n) {
		ssize_t r = pread(fd, (uint8_t *)p + done, n - done, (off_t)(offset + done));
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -1;
		if (r == 0)
			break;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

static int write_all(int fd, const uint8_t *p, size_t n, uint64_t offset)
{
	while (n) {
		ssize_t r = pwrite(fd, p, n, (off_t)offset);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -1;
		p += r;
		n -= (size_t)r;
		offset += (uint64_t)r;
	}
	return 0;
}

int sys_pwrite(int fd, const void *p, size_t n, uint64_t offset)
{
	enum fault f = n ? fault_at("pwrite") : FAULT_NONE;
	if (f == FAULT_ERRNO)
		return -1;
	if (f == FAULT_DROP)
		return 0;
	if (f == FAULT_FLIP) {
		CLEANUP_FREE char *bad = mem_dup(p, n);
		bad[n / 2] = (char)(bad[n / 2] ^ 1);
		return write_all(fd, (const uint8_t *)bad, n, offset);
	}
	return write_all(fd, p, n, offset);
}

int sys_ftruncate(int fd, uint64_t size)
{
	HOOKED("ftruncate", ftruncate(fd, (off_t)size));
}

static int write_zeros(int fd, uint64_t offset, uint64_t length)
{
	enum { CHUNK = 65536 };
	CLEANUP_FREE uint8_t *zeros = mem_alloc(1, CHUNK);
	while (length) {
		size_t n = length < CHUNK ? (size_t)length : CHUNK;
		if (sys_pwrite(fd, zeros, n, offset) < 0)
			return -1;
		offset += n;
		length -= n;
	}
	return 0;
}

int sys_punch(int fd, uint64_t offset, uint64_t length)
{
	enum fault f = fault_at("fallocate");
	if (f == FAULT_ERRNO)
		return -1;
	if (f == FAULT_DROP || length == 0)
		return 0;
	int r;
	do
		r = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
			      (off_t)length);
	while (r < 0 && errno == EINTR);
	if (r < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
		return write_zeros(fd, offset, length);
	return r;
}

int sys_clone(int fd, int src)
{
	HOOKED("clone", ioctl(fd, FICLONE, src));
}

static int copy_by_hand(int in, uint64_t in_offset, int out, uint64_t out_offset, uint64_t length)
{
	enum { CHUNK = 262144 };
	CLEANUP_FREE uint8_t *data = mem_alloc_raw(CHUNK);
	while (length) {
		size_t n = length < CHUNK ? (size_t)length : CHUNK;
		ssize_t r = sys_pread(in, data, n, in_offset);
		if (r < 0)
			return -1;
		if ((size_t)r < n) {
			errno = EIO;
			return -1;
		}
		if (sys_pwrite(out, data, n, out_offset) < 0)
			return -1;
		in_offset += n;
		out_offset += n;
		length -= n;
	}
	return 0;
}

int sys_copy_range(int in, uint64_t in_offset, int out, uint64_t out_offset, uint64_t length)
{
	enum fault f = fault_at("copy_file_range");
	if (f == FAULT_ERRNO)
		return -1;
	if (f == FAULT_DROP)
		return 0;
	while (length) {
		off_t from = (off_t)in_offset;
		off_t to = (off_t)out_offset;
		size_t n = length > (1u << 30) ? (1u << 30) : (size_t)length;
		ssize_t r = copy_file_range(in, &from, out, &to, n, 0);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return copy_by_hand(in, in_offset, out, out_offset, length);
		in_offset += (uint64_t)r;
		out_offset += (uint64_t)r;
		length -= (uint64_t)r;
	}
	return 0;
}

int sys_fchown(int fd, uid_t uid, gid_t gid)
{
	HOOKED("fchown", fchown(fd, uid, gid));
}

int sys_fchownat(int dirfd, const char *name, uid_t uid, gid_t gid)
{
	HOOKED("fchownat", fchownat(dirfd, name, uid, gid, AT_SYMLINK_NOFOLLOW));
}

int sys_fchmod(int fd, mode_t mode)
{
	HOOKED("fchmod", fchmod(fd, mode));
}

int sys_fchmodat(int dirfd, const char *name, mode_t mode)
{
	HOOKED("fchmodat", fchmodat(dirfd, name, mode, AT_SYMLINK_NOFOLLOW));
}

int sys_utimens(int dirfd, const char *name, int64_t mtime, uint32_t mtime_ns)
{
	struct timespec t[2] = {{.tv_nsec = UTIME_OMIT},
				{.tv_sec = mtime, .tv_nsec = (long)mtime_ns}};
	HOOKED("utimens",
	       name ? utimensat(dirfd, name, t, AT_SYMLINK_NOFOLLOW) : futimens(dirfd, t));
}

int sys_unlinkat(int dirfd, const char *name, int flags)
{
	HOOKED("unlink", unlinkat(dirfd, name, flags));
}

int sys_renameat(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	HOOKED("rename", flags ? syscall(SYS_renameat2, from_dir, from, to_dir, to, flags)
			       : renameat(from_dir, from, to_dir, to));
}

int sys_linkat(int from_dir, const char *from, int to_dir, const char *to)
{
	HOOKED("link", linkat(from_dir, from, to_dir, to, 0));
}

int sys_mkdirat(int dirfd, const char *name, mode_t mode)
{
	HOOKED("mkdir", mkdirat(dirfd, name, mode));
}

int sys_symlinkat(const char *text, int dirfd, const char *name)
{
	HOOKED("symlink", symlinkat(text, dirfd, name));
}

int sys_mknodat(int dirfd, const char *name, mode_t mode, dev_t dev)
{
	HOOKED("mknod", mknodat(dirfd, name, mode, dev));
}

int sys_fdatasync(int fd)
{
	HOOKED("fdatasync", fdatasync(fd));
}

int sys_syncfs(int fd)
{
	HOOKED("syncfs", syncfs(fd));
}

/*
 * xattrs of a directory entry without following it. The *xattrat calls (Linux 6.13) do it directly;
 * where they are missing or filtered, /proc/self/fd/N/name is resolved with the l-variant.
 */
enum { NR_SETXATTRAT = 463, NR_GETXATTRAT = 464, NR_LISTXATTRAT = 465, NR_REMOVEXATTRAT = 466 };
enum { PROC_PATH_MAX = 32 + 256 };

struct xattr_args_kernel {
	uint64_t value;
	uint32_t size;
	uint32_t flags;
};

static void proc_path(char out[PROC_PATH_MAX], int dirfd, const char *name)
{
	snprintf(out, PROC_PATH_MAX, "/proc/self/fd/%d/%s", dirfd, name);
}

static bool missing(long r)
{
	return r < 0 && (errno == ENOSYS || errno == EPERM);
}

ssize_t sys_getxattr(int dirfd, const char *name, const char *attr, void *value, size_t n)
{
	if (fault_at("getxattr") != FAULT_NONE)
		return -1;
	if (!name)
		return fgetxattr(dirfd, attr, value, n);
	struct xattr_args_kernel args = {.value = (uint64_t)(uintptr_t)value, .size = (uint32_t)n};
	long r = syscall(NR_GETXATTRAT, dirfd, name, AT_SYMLINK_NOFOLLOW, attr, &args, sizeof args);
	if (!missing(r))
		return r;
	char path[PROC_PATH_MAX];
	proc_path(path, dirfd, name);
	return lgetxattr(path, attr, value, n);
}

ssize_t sys_listxattr(int dirfd, const char *name, void *list, size_t n)
{
	if (fault_at("listxattr") != FAULT_NONE)
		return -1;
	if (!name)
		return flistxattr(dirfd, list, n);
	long r = syscall(NR_LISTXATTRAT, dirfd, name, AT_SYMLINK_NOFOLLOW, list, n);
	if (!missing(r))
		return r;
	char path[PROC_PATH_MAX];
	proc_path(path, dirfd, name);
	return llistxattr(path, list, n);
}

int sys_setxattr(int dirfd, const char *name, const char *attr, const void *value, size_t n)
{
	enum fault f = fault_at("setxattr");
	if (f == FAULT_ERRNO)
		return -1;
	if (f == FAULT_DROP)
		return 0;
	if (!name)
		return fsetxattr(dirfd, attr, value, n, 0);
	struct xattr_args_kernel args = {.value = (uint64_t)(uintptr_t)value, .size = (uint32_t)n};
	long r = syscall(NR_SETXATTRAT, dirfd, name, AT_SYMLINK_NOFOLLOW, attr, &args, sizeof args);
	if (!missing(r))
		return (int)r;
	char path[PROC_PATH_MAX];
	proc_path(path, dirfd, name);
	return lsetxattr(path, attr, value, n, 0);
}

int sys_removexattr(int dirfd, const char *name, const char *attr)
{
	enum fault f = fault_at("removexattr");
	if (f == FAULT_ERRNO)
		return -1;
	if (f == FAULT_DROP)
		return 0;
	if (!name)
		return fremovexattr(dirfd, attr);
	long r = syscall(NR_REMOVEXATTRAT, dirfd, name, AT_SYMLINK_NOFOLLOW, attr);
	if (!missing(r))
		return (int)r;
	char path[PROC_PATH_MAX];
	proc_path(path, dirfd, name);
	return lremovexattr(path, attr);
}
