/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system calls that change or read a replica, behind one hook where a test build injects
 * faults: SCRIBE_FAULT="call:mode:N[,...]" makes the N-th call of that name (from 1; 0 = every
 * call) fail. Modes: an errno name (EIO, ENOSPC, EDQUOT, EROFS, EACCES, EMFILE), "drop" (reports
 * success, does nothing) and "flip" (pwrite: one bit of the data is inverted). Without
 * SCRIBE_FAULTS compiled in, each is the plain call. All return as the call does and set errno;
 * EINTR is retried. Any thread.
 */
#ifndef SCRIBE_SYS_H
#define SCRIBE_SYS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

int sys_openat(int dirfd, const char *name, int flags, mode_t mode);
/* The whole range or an error: short transfers are continued. sys_pread returns less at the end of
 * the file only. */
ssize_t sys_pread(int fd, void *p, size_t n, uint64_t offset);
int sys_pwrite(int fd, const void *p, size_t n, uint64_t offset);
int sys_ftruncate(int fd, uint64_t size);
/* Deallocates a range; falls back to writing zeros where the filesystem cannot punch. */
int sys_punch(int fd, uint64_t offset, uint64_t length);
/* Makes fd share all extents of src (FICLONE). */
int sys_clone(int fd, int src);
/* Copies a range inside the kernel where it can, else by reading and writing. */
int sys_copy_range(int in, uint64_t in_offset, int out, uint64_t out_offset, uint64_t length);
int sys_fchown(int fd, uid_t uid, gid_t gid);
int sys_fchownat(int dirfd, const char *name, uid_t uid, gid_t gid);
int sys_fchmod(int fd, mode_t mode);
int sys_fchmodat(int dirfd, const char *name, mode_t mode);
/* name NULL: dirfd itself. atime is left alone. */
int sys_utimens(int dirfd, const char *name, int64_t mtime, uint32_t mtime_ns);
int sys_unlinkat(int dirfd, const char *name, int flags);
int sys_renameat(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
int sys_linkat(int from_dir, const char *from, int to_dir, const char *to);
int sys_mkdirat(int dirfd, const char *name, mode_t mode);
int sys_symlinkat(const char *text, int dirfd, const char *name);
int sys_mknodat(int dirfd, const char *name, mode_t mode, dev_t dev);
int sys_setxattr(int dirfd, const char *name, const char *attr, const void *value, size_t n);
int sys_removexattr(int dirfd, const char *name, const char *attr);
int sys_fdatasync(int fd);
int sys_syncfs(int fd);

/* getxattr and listxattr of dirfd/name itself (never following it), name NULL: of dirfd. */
ssize_t sys_getxattr(int dirfd, const char *name, const char *attr, void *value, size_t n);
ssize_t sys_listxattr(int dirfd, const char *name, void *list, size_t n);

#endif
