/* SPDX-License-Identifier: Apache-2.0 */
/* For the tests of this folder: an empty directory on a real file system, and ways to fill it. */
#ifndef SCRIBE_TREETEST_H
#define SCRIBE_TREETEST_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attr.h"
#include "mem.h"

struct place {
	char path[64];
	int fd;
};

static inline uint64_t next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static inline void remove_all(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == EACCES && fchmodat(dirfd, name, 0700, 0) == 0)
		fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	while (d && (entry = readdir(d)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			remove_all(fd, entry->d_name);
	if (d)
		closedir(d);
	unlinkat(dirfd, name, fd >= 0 ? AT_REMOVEDIR : 0);
}

/* In TMPDIR or /var/tmp, which is seldom a tmpfs. False if no directory can be made. */
static inline bool place_open(struct place *p)
{
	const char *tmp = getenv("TMPDIR");
	snprintf(p->path, sizeof p->path, "%.40s/tree.XXXXXX", tmp && *tmp ? tmp : "/var/tmp");
	if (!mkdtemp(p->path))
		return false;
	p->fd = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return p->fd >= 0;
}

static inline void place_close(struct place *p)
{
	close(p->fd);
	remove_all(AT_FDCWD, p->path);
}

/* Another open file of the same directory, for owners of fds. */
static inline int place_fd(const struct place *p, const char *name)
{
	return openat(p->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static inline bool make_file(int dirfd, const char *name, size_t size)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	bool ok = fd >= 0 && ftruncate(fd, (off_t)size) == 0;
	if (fd >= 0)
		close(fd);
	return ok;
}

/* Of the entry itself; both times. */
static inline bool set_mtime(int dirfd, const char *name, int64_t s, long ns)
{
	struct timespec t[2] = {{.tv_sec = s, .tv_nsec = ns}, {.tv_sec = s, .tv_nsec = ns}};
	return utimensat(dirfd, name, t, AT_SYMLINK_NOFOLLOW) == 0;
}

static inline struct bytes name_of(const char *s)
{
	return (struct bytes){.p = (const uint8_t *)s, .n = strlen(s)};
}

/* Everything representable. */
static inline struct mask whole_mask(void)
{
	return (struct mask){.want = ATTR_ALL & ~(uint64_t)(ATTR_SECURITY | ATTR_TRUSTED),
			     .attrs = ATTR_ALL & ~(uint64_t)(ATTR_SECURITY | ATTR_TRUSTED),
			     .granule_ns = 1,
			     .time_min = INT64_MIN,
			     .time_max = INT64_MAX,
			     .xattr_max = XATTR_VALUE_MAX};
}

static inline int open_fds(void)
{
	int n = 0;
	DIR *d = opendir("/proc/self/fd");
	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n - 3; /* ".", ".." and its own */
}

#endif
