/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading an entry's attributes from disk into the representable form of the run, and bringing an
 * entry on disk to such attributes. Both sides use the same mask, so what a destination cannot hold
 * differs nowhere and is counted instead.
 */
#ifndef SCRIBE_ATTR_H
#define SCRIBE_ATTR_H

#include <stdbool.h>
#include <sys/stat.h>

#include "entry.h"
#include "message.h"

/* What this run replicates: the options' wish cut down to what the destination can hold. */
struct mask {
	uint64_t want;       /* enum attr_flags: asked for */
	uint64_t attrs;      /* asked for and representable */
	uint32_t granule_ns; /* of mtimes, 1 .. 10^9 and more */
	int64_t time_min, time_max;
	uint32_t xattr_max; /* bytes of one value */
};

enum dropped_kind {
	DROPPED_OWNER,
	DROPPED_MODE,
	DROPPED_MTIME,
	DROPPED_ACL,
	DROPPED_XATTR,
	DROPPED_CAPABILITY,
	DROPPED_SYMLINK,
	DROPPED_DEVICE,
	DROPPED_SPECIAL,
	DROPPED_KINDS,
};
/* "owner", "mode", ... for the report. */
const char *dropped_name(enum dropped_kind kind);

/* One entry as read. meta's ranges point into link and xattrs, which are reused by the next read.
 */
struct item {
	struct meta meta;
	dev_t dev;
	ino_t ino;
	uint64_t nlink, mount_id, disk_bytes;
	int64_t ctime;
	uint32_t ctime_ns;
	uint32_t dropped; /* bit per dropped_kind: what the mask took away from this entry */
	bool shut;        /* its mode would keep a destination that is not root from reading it */
	struct buf link, xattrs;
	struct buf scratch; /* private */
};

void item_init(struct item *it);
void item_release(struct item *it);
#define CLEANUP_ITEM __attribute__((cleanup(item_release)))

enum attr_result {
	ATTR_READ = 0,
	ATTR_OUT_OF_SCOPE = 1, /* of a kind this run does not replicate */
	ATTR_GONE = 2,         /* no such entry */
	ATTR_ERROR = -1,       /* *e, e->sys set */
};

/* Reads dirfd/name (never followed), or dirfd itself for name NULL. The root's own record is no
 * xattr of the tree: names in the reserved xattr prefix are left out. */
int attr_read(struct item *it, int dirfd, const char *name, const struct mask *mask, struct err *e);

/*
 * Makes the entry's attributes those of want, which come from the mask's form; cur is what
 * attr_read gave for it, or NULL if unknown (freshly made). Exactly one of fd (file or directory)
 * and dirfd/name (anything else) is used: fd >= 0 wins. Owner before mode, xattrs after owner,
 * mtime last.
 */
int attr_apply(int fd, int dirfd, const char *name, const struct meta *want, const struct item *cur,
	       const struct mask *mask, struct err *e);

/* Finds out what the filesystem and the rights at root_fd can hold, without leaving a trace in it.
 * attrs_wanted: enum attr_flags. */
int mask_probe(struct mask *mask, int root_fd, uint64_t attrs_wanted, struct err *e);

/* Prefixes of xattr names that belong to this program. */
#define ATTR_RESERVED_USER    "user.scribe-mover."
#define ATTR_RESERVED_TRUSTED "trusted.scribe-mover."

#endif
