/* SPDX-License-Identifier: Apache-2.0 */
#include "attr.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "acl.h"
#include "mem.h"
#include "sys.h"

enum { XATTR_LIST_MAX = 65536, XATTRS_PER_ENTRY_MAX = 1024 };

static const char *const dropped_names[DROPPED_KINDS] = {
	"owner", "mode", "mtime", "acl", "xattr", "capability", "symlink", "device", "special",
};

const char *dropped_name(enum dropped_kind kind)
{
	return dropped_names[kind];
}

void item_init(struct item *it)
{
	*it = (struct item){0};
	buf_init(&it->link, LINK_TEXT_MAX + 1);
	buf_init(&it->xattrs, XATTR_BLOB_MAX + XATTR_VALUE_MAX + 300);
	buf_init(&it->scratch, XATTR_LIST_MAX + XATTR_VALUE_MAX);
}

void item_release(struct item *it)
{
	buf_release(&it->link);
	buf_release(&it->xattrs);
	buf_release(&it->scratch);
}

static bool starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* Which flag lets an xattr of this name travel; 0: never. */
static uint64_t xattr_flag(const char *name)
{
	if (starts(name, ATTR_RESERVED_USER) || starts(name, ATTR_RESERVED_TRUSTED))
		return 0;
	if (starts(name, "user."))
		return ATTR_XATTRS;
	if (strcmp(name, "security.capability") == 0)
		return ATTR_CAPABILITY;
	if (strcmp(name, ACL_ACCESS) == 0 || strcmp(name, ACL_DEFAULT) == 0)
		return ATTR_ACLS;
	if (starts(name, "security."))
		return ATTR_SECURITY;
	if (starts(name, "trusted."))
		return ATTR_TRUSTED;
	return 0;
}

static uint32_t dropped_bit(uint64_t flag)
{
	return 1u << (flag == ATTR_ACLS         ? DROPPED_ACL
		      : flag == ATTR_CAPABILITY ? DROPPED_CAPABILITY
						: DROPPED_XATTR);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Lists the names that may matter into it->scratch and sorts pointers to them. Returns their
 * number. */
static int list_names(struct item *it, int dirfd, const char *name, const struct mask *mask,
		      const char *names[XATTRS_PER_ENTRY_MAX], struct err *e)
{
	buf_clear(&it->scratch);
	buf_reserve(&it->scratch, 1024);
	ssize_t n = sys_listxattr(dirfd, name, it->scratch.data, 1024);
	if (n < 0 && errno == ERANGE) {
		buf_reserve(&it->scratch, XATTR_LIST_MAX);
		n = sys_listxattr(dirfd, name, it->scratch.data, XATTR_LIST_MAX);
	}
	if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
		return 0;
	if (n < 0)
		return err_sys(e, ERR_FAILURE, "cannot list extended attributes");
	it->scratch.len = (size_t)n;
	int count = 0;
	for (size_t at = 0; at < (size_t)n;) {
		const char *one = (const char *)it->scratch.data + at;
		at += strlen(one) + 1;
		if (!(xattr_flag(one) & mask->want))
			continue;
		if (count == XATTRS_PER_ENTRY_MAX)
			return err_set(e, ERR_FAILURE, "more than %d extended attributes",
				       XATTRS_PER_ENTRY_MAX);
		names[count++] = one;
	}
	qsort(names, (size_t)count, sizeof names[0], compare_names);
	return count;
}

/* Appends one xattr in canonical form; drops what the mask cannot hold. */
static int read_one(struct item *it, int dirfd, const char *name, const char *attr,
		    const struct mask *mask, struct err *e)
{
	uint64_t flag = xattr_flag(attr);
	if (!(flag & mask->attrs)) {
		it->dropped |= dropped_bit(flag);
		return 0;
	}
	uint8_t fixed[1024];
	CLEANUP_FREE uint8_t *large = NULL;
	uint8_t *value = fixed;
	ssize_t n = sys_getxattr(dirfd, name, attr, fixed, sizeof fixed);
	if (n < 0 && errno == ERANGE) {
		large = mem_alloc_raw(XATTR_VALUE_MAX);
		value = large;
		n = sys_getxattr(dirfd, name, attr, large, XATTR_VALUE_MAX);
	}
	if (n < 0 && errno == ENODATA)
		return 0;
	if (n < 0)
		return err_sys(e, ERR_FAILURE, "cannot read extended attribute %s", attr);
	size_t len = (size_t)n;
	if (flag == ATTR_ACLS) {
		int r = acl_canonical(value, &len, strcmp(attr, ACL_DEFAULT) == 0);
		if (r < 0)
			return err_set(e, ERR_FAILURE, "malformed ACL in %s", attr);
		if (len == 0)
			return 0;
		/* As with the mode: such a destination's owner keeps access to its directories. */
		if (it->meta.type == ENTRY_DIR && !(mask->attrs & ATTR_SHUT) &&
		    strcmp(attr, ACL_ACCESS) == 0)
			acl_grant_owner(value, len, 5);
	}
	if (len > mask->xattr_max) {
		it->dropped |= dropped_bit(flag);
		return 0;
	}
	xattr_put(&it->xattrs, attr, strlen(attr), value, len);
	if (it->xattrs.overflow || it->xattrs.len > XATTR_BLOB_MAX)
		return err_set(e, ERR_FAILURE, "extended attributes of more than %d bytes in all",
			       XATTR_BLOB_MAX);
	return 0;
}

static int read_xattrs(struct item *it, int dirfd, const char *name, const struct mask *mask,
		       struct err *e)
{
	const char *names[XATTRS_PER_ENTRY_MAX];
	const uint64_t any =
		ATTR_XATTRS | ATTR_CAPABILITY | ATTR_ACLS | ATTR_SECURITY | ATTR_TRUSTED;
	buf_clear(&it->xattrs);
	if (!(mask->want & any))
		return 0;
	if (it->shut) {
		/* Its owner there could not read them back. */
		if (list_names(it, dirfd, name, mask, names, e) > 0)
			it->dropped |= 1u << DROPPED_XATTR;
		return 0;
	}
	int count = list_names(it, dirfd, name, mask, names, e);
	for (int i = 0; i < count; i++)
		if (read_one(it, dirfd, name, names[i], mask, e) < 0)
			return -1;
	if (count < 0)
		return -1;
	it->meta.xattrs = (struct bytes){.p = it->xattrs.data, .n = it->xattrs.len};
	return 0;
}

static int read_link(struct item *it, int dirfd, const char *name, struct err *e)
{
	buf_clear(&it->link);
	buf_reserve(&it->link, LINK_TEXT_MAX + 1);
	ssize_t n = readlinkat(dirfd, name, (char *)it->link.data, LINK_TEXT_MAX + 1);
	if (n < 0)
		return err_sys(e, ERR_FAILURE, "cannot read symbolic link");
	if (n == 0 || n > LINK_TEXT_MAX)
		return err_set(e, ERR_FAILURE, "symbolic link text of unusable length");
	it->link.len = (size_t)n;
	it->meta.link = (struct bytes){.p = it->link.data, .n = it->link.len};
	return 0;
}

/* The mtime as the destination will hold it (the kernel clamps and cuts the same way). */
static void mask_time(struct meta *m, const struct mask *mask, uint32_t *dropped)
{
	int64_t s = m->mtime;
	uint32_t ns = m->mtime_ns;
	if (s >= mask->time_max || s <= mask->time_min)
		ns = 0;
	if (s > mask->time_max)
		s = mask->time_max;
	if (s < mask->time_min)
		s = mask->time_min;
	if (mask->granule_ns < 1000000000)
		ns -= ns % mask->granule_ns;
	else
		ns = 0;
	int64_t step = mask->granule_ns / 1000000000;
	if (step > 1)
		s -= ((s % step) + step) % step;
	if (s != m->mtime || ns != m->mtime_ns)
		*dropped |= 1u << DROPPED_MTIME;
	m->mtime = s;
	m->mtime_ns = ns;
}

/* Sets type and returns the flag a run must have for it (0: always in scope). */
static uint64_t classify(struct meta *m, uint16_t mode, uint32_t *kind)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		m->type = ENTRY_FILE;
		return 0;
	case S_IFDIR:
		m->type = ENTRY_DIR;
		return 0;
	case S_IFLNK:
		m->type = ENTRY_SYMLINK;
		*kind = DROPPED_SYMLINK;
		return ATTR_SYMLINKS;
	case S_IFCHR:
		m->type = ENTRY_CHAR;
		*kind = DROPPED_DEVICE;
		return ATTR_DEVICES;
	case S_IFBLK:
		m->type = ENTRY_BLOCK;
		*kind = DROPPED_DEVICE;
		return ATTR_DEVICES;
	case S_IFIFO:
		m->type = ENTRY_FIFO;
		break;
	default:
		m->type = ENTRY_SOCKET;
		break;
	}
	*kind = DROPPED_SPECIAL;
	return ATTR_SPECIALS;
}

static void from_statx(struct item *it, const struct statx *sx, const struct mask *mask)
{
	struct meta *m = &it->meta;
	it->dev = makedev(sx->stx_dev_major, sx->stx_dev_minor);
	it->ino = sx->stx_ino;
	it->nlink = sx->stx_nlink;
	it->mount_id = sx->stx_mnt_id;
	it->ctime = sx->stx_ctime.tv_sec;
	it->ctime_ns = sx->stx_ctime.tv_nsec;
	it->disk_bytes = sx->stx_blocks * 512;
	it->shut = false;
	if (m->type != ENTRY_SYMLINK && (mask->attrs & ATTR_PERMS))
		m->mode = sx->stx_mode & 07777;
	if (!(mask->attrs & ATTR_SHUT) && (mask->attrs & ATTR_PERMS)) {
		it->shut = m->type != ENTRY_DIR && m->type != ENTRY_SYMLINK && !(m->mode & 0400);
		if (m->type == ENTRY_DIR && (m->mode & 0500) != 0500) {
			m->mode |= 0500;
			it->dropped |= 1u << DROPPED_MODE;
		}
	}
	if (mask->attrs & ATTR_OWNER)
		m->uid = sx->stx_uid;
	if (mask->attrs & ATTR_GROUP)
		m->gid = sx->stx_gid;
	if ((mask->want & ~mask->attrs) & (ATTR_OWNER | ATTR_GROUP))
		it->dropped |= 1u << DROPPED_OWNER;
	if (m->type == ENTRY_FILE)
		m->size = sx->stx_size;
	if (m->type == ENTRY_CHAR || m->type == ENTRY_BLOCK) {
		m->rdev_major = sx->stx_rdev_major;
		m->rdev_minor = sx->stx_rdev_minor;
	}
	if (mask->attrs & ATTR_TIMES) {
		m->mtime = sx->stx_mtime.tv_sec;
		m->mtime_ns = sx->stx_mtime.tv_nsec;
		mask_time(m, mask, &it->dropped);
	}
}

int attr_read(struct item *it, int dirfd, const char *name, const struct mask *mask, struct err *e)
{
	struct statx sx;
	it->meta = (struct meta){0};
	it->dropped = 0;
	unsigned fields = STATX_BASIC_STATS | STATX_MNT_ID;
	int flags = AT_SYMLINK_NOFOLLOW | (name ? 0 : AT_EMPTY_PATH);
	if (statx(dirfd, name ? name : "", flags, fields, &sx) < 0) {
		if (errno == ENOENT)
			return ATTR_GONE;
		return err_sys(e, ERR_FAILURE, "cannot stat");
	}
	uint32_t kind = 0;
	uint64_t needs = classify(&it->meta, sx.stx_mode, &kind);
	if (needs && !(mask->attrs & needs)) {
		if (mask->want & needs)
			it->dropped |= 1u << kind;
		return ATTR_OUT_OF_SCOPE;
	}
	from_statx(it, &sx, mask);
	if (it->meta.type == ENTRY_SYMLINK && read_link(it, dirfd, name, e) < 0)
		return errno == ENOENT ? ATTR_GONE : ATTR_ERROR;
	if (read_xattrs(it, dirfd, name, mask, e) < 0)
		return e->sys == ENOENT ? ATTR_GONE : ATTR_ERROR;
	return ATTR_READ;
}

static bool blob_find(struct bytes blob, const char *name, struct bytes *value)
{
	struct cursor c = cursor_of(blob.p, blob.n);
	struct bytes n;
	size_t len = strlen(name);
	while (xattr_next(&c, &n, value))
		if (n.n == len && memcmp(n.p, name, len) == 0)
			return true;
	return false;
}

static int remove_unwanted(int fd, const char *name, const struct meta *want,
			   const struct mask *mask, struct err *e)
{
	uint8_t list[4096];
	CLEANUP_FREE uint8_t *large = NULL;
	uint8_t *p = list;
	ssize_t n = sys_listxattr(fd, name, list, sizeof list);
	if (n < 0 && errno == ERANGE) {
		p = large = mem_alloc_raw(XATTR_LIST_MAX);
		n = sys_listxattr(fd, name, large, XATTR_LIST_MAX);
	}
	if (n < 0)
		return errno == EOPNOTSUPP || errno == ENOSYS
			       ? 0
			       : err_sys(e, ERR_FAILURE, "cannot list extended attributes");
	for (ssize_t at = 0; at < n;) {
		const char *one = (const char *)p + at;
		at += (ssize_t)strlen(one) + 1;
		struct bytes value;
		if (!(xattr_flag(one) & mask->attrs) || blob_find(want->xattrs, one, &value))
			continue;
		if (sys_removexattr(fd, name, one) < 0 && errno != ENODATA)
			return err_sys(e, ERR_FAILURE, "cannot remove extended attribute %s", one);
	}
	return 0;
}

/* Sets the wanted ACLs, or everything else. */
static int set_family(int fd, const char *name, const struct meta *want, const struct mask *mask,
		      bool acls, struct err *e)
{
	struct cursor c = cursor_of(want->xattrs.p, want->xattrs.n);
	struct bytes n;
	struct bytes value;
	while (xattr_next(&c, &n, &value)) {
		char attr[XATTR_NAME_MAX_BYTES + 1];
		memcpy(attr, n.p, n.n);
		attr[n.n] = '\0';
		uint64_t flag = xattr_flag(attr);
		if (!(flag & mask->attrs))
			return err_set(e, ERR_PROTOCOL,
				       "peer sent an extended attribute that is out of scope");
		if ((flag == ATTR_ACLS) != acls)
			continue;
		if (sys_setxattr(fd, name, attr, value.p, value.n) < 0) {
			err_sys(e, ERR_FAILURE, "cannot set extended attribute %s", attr);
			e->code = ERR_FAILURE; /* ENOSPC here is the inode's room, not the disk's */
			return -1;
		}
	}
	return 0;
}

static int apply_xattrs(int fd, const char *name, const struct meta *want, const struct item *cur,
			const struct mask *mask, bool again, struct err *e)
{
	struct bytes have = cur ? cur->meta.xattrs : (struct bytes){0};
	if (!again && cur && have.n == want->xattrs.n &&
	    (have.n == 0 || memcmp(have.p, want->xattrs.p, have.n) == 0))
		return 0;
	if (remove_unwanted(fd, name, want, mask, e) < 0)
		return -1;
	/* An ACL comes last: it changes the mode, and the new one may forbid to set the others. */
	return set_family(fd, name, want, mask, false, e) < 0
		       ? -1
		       : set_family(fd, name, want, mask, true, e);
}
int attr_apply(int fd, int dirfd, const char *name, const struct meta *want, const struct item *cur,
	       const struct mask *mask, struct err *e)
{
	int at = fd >= 0 ? fd : dirfd;
	const char *leaf = fd >= 0 ? NULL : name;
	uid_t uid = mask->attrs & ATTR_OWNER ? want->uid : (uid_t)-1;
	gid_t gid = mask->attrs & ATTR_GROUP ? want->gid : (gid_t)-1;
	bool chowned = false;
	if ((uid != (uid_t)-1 || gid != (gid_t)-1) &&
	    (!cur || cur->meta.uid != want->uid || cur->meta.gid != want->gid)) {
		if ((leaf ? sys_fchownat(at, leaf, uid, gid) : sys_fchown(at, uid, gid)) < 0)
			return err_sys(e, ERR_FAILURE, "cannot set owner");
		chowned = true;
	}
	bool xattrs_differ =
		!cur || cur->meta.xattrs.n != want->xattrs.n ||
		(want->xattrs.n && memcmp(cur->meta.xattrs.p, want->xattrs.p, want->xattrs.n));
	/* Whoever is not root needs write permission on the inode itself to change its xattrs. */
	if (xattrs_differ && cur && geteuid() != 0 && want->type != ENTRY_SYMLINK &&
	    (cur->meta.mode & 0600) != 0600)
		chowned |= (leaf ? sys_fchmodat(at, leaf, cur->meta.mode | 0600)
				 : sys_fchmod(at, cur->meta.mode | 0600)) == 0;
	if (apply_xattrs(at, leaf, want, cur, mask, chowned, e) < 0)
		return -1;
	if ((mask->attrs & ATTR_PERMS) && want->type != ENTRY_SYMLINK &&
	    (!cur || chowned || xattrs_differ || cur->meta.mode != want->mode))
		if ((leaf ? sys_fchmodat(at, leaf, want->mode) : sys_fchmod(at, want->mode)) < 0)
			return err_sys(e, ERR_FAILURE, "cannot set mode");
	if ((mask->attrs & ATTR_TIMES) &&
	    (!cur || cur->meta.mtime != want->mtime || cur->meta.mtime_ns != want->mtime_ns))
		if (sys_utimens(at, leaf, want->mtime, want->mtime_ns) < 0)
			return err_sys(e, ERR_FAILURE, "cannot set time");
	return 0;
}
