/* SPDX-License-Identifier: Apache-2.0 */
/* Finding out what a destination can hold, on an unnamed file so that nothing in the tree is
 * touched. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "acl.h"
#include "attr.h"
#include "mem.h"
#include "sys.h"

/* An open file on the root's filesystem that has no name any more; the root's mtime is as it was.
 */
static int open_unnamed(int root_fd, struct err *e)
{
	int fd = sys_openat(root_fd, ".", O_TMPFILE | O_RDWR, 0600);
	if (fd >= 0)
		return fd;
	if (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT || errno == EINVAL) {
		struct stat st;
		char name[48];
		snprintf(name, sizeof name, ".scribe-probe-%ld", (long)getpid());
		if (fstat(root_fd, &st) == 0)
			fd = sys_openat(root_fd, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR,
					0600);
		if (fd >= 0) {
			sys_unlinkat(root_fd, name, 0);
			sys_utimens(root_fd, NULL, st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec);
			return fd;
		}
	}
	return err_sys(e, ERR_FAILURE, "cannot write in the destination directory");
}

/* Probes are no part of landing: they pass by the hooks of sys.h. */
static bool set_time(int fd, int64_t s, long ns)
{
	struct timespec t[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = s, .tv_nsec = ns}};
	return futimens(fd, t) == 0;
}

static void probe_times(struct mask *mask, int fd)
{
	struct stat st;
	mask->granule_ns = 1000000000;
	mask->time_min = INT32_MIN;
	mask->time_max = INT32_MAX;
	/* An odd second, so that a grain of two seconds shows. */
	if (set_time(fd, 1000000001, 999999999) && fstat(fd, &st) == 0) {
		long ns = st.st_mtim.tv_nsec;
		uint32_t grain = 1;
		while (grain < 1000000000 && ns != 999999999 - 999999999 % (long)grain)
			grain *= 10;
		mask->granule_ns = st.st_mtim.tv_sec & 1 ? grain : 2000000000;
	}
	if (set_time(fd, INT64_C(1) << 40, 0) && fstat(fd, &st) == 0)
		mask->time_max = st.st_mtim.tv_sec;
	if (set_time(fd, -(INT64_C(1) << 40), 0) && fstat(fd, &st) == 0)
		mask->time_min = st.st_mtim.tv_sec;
}

static uint32_t probe_xattr_size(int fd)
{
	CLEANUP_FREE uint8_t *value = mem_alloc(1, XATTR_VALUE_MAX);
	uint32_t low = 0;
	uint32_t high = XATTR_VALUE_MAX + 1;
	while (high - low > 1) {
		uint32_t mid = high > XATTR_VALUE_MAX && low == 0 ? XATTR_VALUE_MAX
								  : low + (high - low) / 2;
		/* Replacing a value may need room for both. */
		fremovexattr(fd, "user.scribe-mover.probe");
		if (fsetxattr(fd, "user.scribe-mover.probe", value, mid, 0) == 0)
			low = mid;
		else
			high = mid;
	}
	fremovexattr(fd, "user.scribe-mover.probe");
	return low;
}

static bool probe_acl(int fd)
{
	/* owner rwx, user 1 r, group r, mask r, other none */
	static const uint8_t acl[] = {2,   0,   0,   0,   1,   0,   7,  0,   255, 255, 255,
				      255, 2,   0,   4,   0,   1,   0,  0,   0,   4,   0,
				      4,   0,   255, 255, 255, 255, 16, 0,   4,   0,   255,
				      255, 255, 255, 32,  0,   0,   0,  255, 255, 255, 255};
	if (fsetxattr(fd, ACL_ACCESS, acl, sizeof acl, 0) < 0)
		return false;
	fremovexattr(fd, ACL_ACCESS);
	return true;
}

static bool may_make_devices(void)
{
	unsigned long long effective = 0;
	unsigned long inside = 0;
	unsigned long outside = 0;
	unsigned long count = 0;
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "CapEff: %llx", &effective) == 1)
			break;
	if (f)
		fclose(f);
	f = fopen("/proc/self/uid_map", "re");
	if (f && fscanf(f, "%lu %lu %lu", &inside, &outside, &count) != 3)
		count = 0;
	if (f)
		fclose(f);
	const unsigned long long mknod_bit = 1ull << 27;
	return (effective & mknod_bit) && count == 4294967295ul && inside == outside;
}

int mask_probe(struct mask *mask, int root_fd, uint64_t attrs_wanted, struct err *e)
{
	*mask = (struct mask){.want = attrs_wanted, .attrs = attrs_wanted};
	CLEANUP_FD int fd = open_unnamed(root_fd, e);
	if (fd < 0)
		return -1;
	probe_times(mask, fd);
	mask->xattr_max = probe_xattr_size(fd);
	if (mask->xattr_max == 0)
		mask->attrs &= ~(uint64_t)ATTR_XATTRS;
	if (!probe_acl(fd))
		mask->attrs &= ~(uint64_t)ATTR_ACLS;
	/* VFS_CAP_REVISION_2 with no capability in it. */
	static const uint8_t capability[20] = {0, 0, 0, 2};
	if (fsetxattr(fd, "security.capability", capability, sizeof capability, 0) < 0)
		mask->attrs &= ~(uint64_t)ATTR_CAPABILITY;
	if (mask->xattr_max == 0)
		mask->xattr_max = 4000;
	if (fchown(fd, 54321, 54321) < 0)
		mask->attrs &= ~(uint64_t)(ATTR_OWNER | ATTR_GROUP);
	if (!may_make_devices())
		mask->attrs &= ~(uint64_t)ATTR_DEVICES;
	if (geteuid() != 0)
		mask->attrs &= ~(uint64_t)(ATTR_TRUSTED | ATTR_SECURITY | ATTR_SHUT);
	return 0;
}
