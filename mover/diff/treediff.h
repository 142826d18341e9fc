/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exact comparison of two directory trees, A (the original) and B (the replica).
 *
 * It is the judge of everything else, so it shares no scanning code with the mover. Compared: the
 * sets of names, types, modes (not of symlinks), owners, sizes and bytes of regular files, mtimes
 * in ns (of every entry, the two roots included), device numbers, link texts, extended attributes,
 * POSIX ACLs, which names are hard links of each other, and holes.
 *
 * Left out: `lost+found` and `.scribe-mover` in the root, and on the root itself the attributes
 * user.scribe-mover.* and trusted.scribe-mover.*.
 *
 * Memory does not follow the size of a directory (see name_budget), only the number of files with
 * more than one link (about 60 bytes and a path each). At most 48 file descriptors are open at a
 * time. Symlinks are never followed below the two roots. Nothing is written, and atimes stay as
 * they are where the caller owns the files (those of symlinks the kernel may set). A run uses no
 * global state; several may go on in parallel threads.
 */
#ifndef SCRIBE_TREEDIFF_H
#define SCRIBE_TREEDIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "err.h"

enum treediff_attr {
	TREEDIFF_MISSING, /* in A only; of a directory only its top is reported */
	TREEDIFF_EXTRA,   /* in B only; likewise */
	TREEDIFF_TYPE,    /* nothing else is then compared for this name */
	TREEDIFF_MODE,
	TREEDIFF_UID,
	TREEDIFF_GID,
	TREEDIFF_SIZE,
	TREEDIFF_CONTENT, /* within the common size; names the first differing offset */
	TREEDIFF_MTIME,
	TREEDIFF_RDEV,
	TREEDIFF_TARGET,
	TREEDIFF_XATTR, /* one per attribute name */
	TREEDIFF_ACL,   /* access and default ACL count separately */
	TREEDIFF_LINKS, /* among the names common to both; values: an earlier name of the same file
			 */
	TREEDIFF_HOLES,
	TREEDIFF_ATTRS
};

/* The word of an attribute, "mtime". Static. */
const char *treediff_attr_word(enum treediff_attr attr);
/* The attribute of a word, -1 if it is none. */
int treediff_attr_parse(const char *word);

/* The longest relative path that is descended into; what lies deeper counts as an error. */
enum { TREEDIFF_PATH_MAX = 1 << 20 };
/* Holes shorter than this, and parts of holes outside blocks of this size, are not compared. */
enum { TREEDIFF_HOLE_MIN = 64 << 10 };

/* One difference. Everything is valid during the callback only. */
struct treediff_item {
	const char *path; /* raw bytes relative to the roots, NUL-terminated; "" is the root */
	size_t path_len;
	enum treediff_attr attr;
	const char *a; /* short printable text, "-" for what is not there */
	const char *b;
};

/* Something that could not be compared. Valid during the callback only. */
struct treediff_failure {
	const char *path;
	size_t path_len;
	char side; /* 'A' or 'B' */
	const char *message;
};

struct treediff_options {
	/* Bits 1u << enum treediff_attr of what is not compared (missing, extra, type always are).
	 */
	unsigned ignore;
	/* Descend into other file systems. Off: a mount point's own attributes count, what is
	 * below it is left out on both sides. */
	bool cross_mounts;
	/* A hole of B must be one in A too; else B may have more holes. */
	bool exact_holes;
	/* Both mtimes are rounded down to this many ns before they are compared; 0 and 1: exact. */
	uint64_t granule_ns;
	/* NULL-terminated list of what extended attributes count: "user." and "user" a namespace,
	 * "security.capability" one name, "all" everything but ACLs. NULL: "user.",
	 * "security.capability". */
	const char *const *xattrs;
	/* Bytes of names held at a time, 0: 40 MiB. A directory with more is read several times. */
	size_t name_budget;
	/* End after this many differences, 0: never. */
	uint64_t stop_after;
	/* Is this name in scope? Called for each side that has it, NULL: all are. What it refuses
	 * is as good as absent on that side, with all below it. */
	bool (*filter)(void *arg, const char *path, size_t path_len, bool is_dir);
	/* Called for each difference and failure, in path order by directory; NULL: only counted.
	 */
	void (*report)(void *arg, const struct treediff_item *item);
	void (*failed)(void *arg, const struct treediff_failure *failure);
	void *arg; /* of all three */
};

struct treediff_result {
	uint64_t differences;
	uint64_t errors;  /* not compared or changed meanwhile: the trees cannot be called equal */
	uint64_t entries; /* names present on both sides, the root included */
	uint64_t mounts;  /* directories not descended into */
	uint64_t bytes;   /* of content compared; holes common to both count nothing */
};

/*
 * Compares the trees below the directories a and b (symlinks to directories may be given) and fills
 * *result. The trees are equal if differences and errors are both 0. opt may be NULL.
 * Returns 0 when the walk was done, whatever it found; -1 if a root is no readable directory.
 */
int treediff_run(const char *a, const char *b, const struct treediff_options *opt,
		 struct treediff_result *result, struct err *e);

/* Writes the line "ATTR  path  A-value  B-value", the path escaped, "." for the root. */
void treediff_print(FILE *out, const struct treediff_item *item);
/* Writes the line "error  path  SIDE: message". */
void treediff_print_failure(FILE *out, const struct treediff_failure *failure);

#endif
