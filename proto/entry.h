/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One directory entry as both sides see it: attributes (struct meta) and, in a listing, its name
 * and what goes with it (struct entry). The encoding of a meta is canonical: the same attributes
 * give the same bytes, which is also what digests are computed over (SPEC.md 4). Pure; nothing is
 * allocated.
 */
#ifndef SCRIBE_ENTRY_H
#define SCRIBE_ENTRY_H

#include "err.h"
#include "wire.h"

enum entry_type {
	ENTRY_FILE = 1,
	ENTRY_DIR = 2,
	ENTRY_SYMLINK = 3,
	ENTRY_CHAR = 4,
	ENTRY_BLOCK = 5,
	ENTRY_FIFO = 6,
	ENTRY_SOCKET = 7,
	ENTRY_TYPE_MAX = 7,
};

enum {
	NAME_BYTES_MAX = 255,
	LINK_TEXT_MAX = 4095,
	XATTR_NAME_MAX_BYTES = 255,
	XATTR_VALUE_MAX = 65536,
	XATTR_BLOB_MAX = 262144, /* all extended attributes of one entry, encoded */
	META_BYTES_MAX = XATTR_BLOB_MAX + LINK_TEXT_MAX + 128,
	ENTRY_BYTES_MAX = META_BYTES_MAX + NAME_BYTES_MAX + 128,
};

/* Attributes in the representable form of the run (masked). Pointers are borrowed. */
struct meta {
	uint8_t type;
	uint32_t mode; /* 07777; 0 for symlinks */
	uint32_t uid, gid;
	uint64_t size; /* regular files, else 0 */
	int64_t mtime;
	uint32_t mtime_ns;
	uint32_t rdev_major, rdev_minor;
	struct bytes link;   /* symlinks */
	struct bytes xattrs; /* canonical blob: entries sorted by name, see xattr_next() */
};

enum digest_flags {
	DIGEST_OPAQUE = 1, /* a mount that is not crossed: children are on neither side */
	DIGEST_INCOMPLETE =
		2,       /* something below could not be read: never equal, nothing deleted below */
	DIGEST_RACY = 4, /* something below may have changed without a new mtime: never pruned */
	DIGEST_FLAGS_ALL = 7,
};

/* What a directory contains, without its own attributes. */
struct digest {
	struct h128 sum;   /* keyed; of the entries, directories with their own sums inside */
	uint8_t flags;     /* enum digest_flags, of anything below */
	uint64_t children; /* direct entries in scope */
};

enum entry_flags {
	ENTRY_RACY = 1,    /* regular file: compare content even if size and mtime agree */
	ENTRY_LINKED = 2,  /* one of several names in scope of one inode: group is set */
	ENTRY_STREAM = 4,  /* the source sends the content of this file unasked, as file id fid */
	ENTRY_CHANGED = 8, /* changed at the source since the run began (only when verifying) */
	ENTRY_FLAGS_ALL = 15,
};

struct entry {
	uint8_t flags;
	struct bytes name;
	struct meta meta;
	struct digest digest; /* directories */
	uint64_t group;       /* ENTRY_LINKED */
	uint64_t fid;         /* ENTRY_STREAM: file id */
};

void meta_encode(const struct meta *m, struct buf *out);
/* Sets c->bad on anything malformed, unsorted or over a limit. */
void meta_decode(struct meta *m, struct cursor *c);
bool meta_equal(const struct meta *a, const struct meta *b);

void entry_encode(const struct entry *en, struct buf *out);
void entry_decode(struct entry *en, struct cursor *c);

/* A name is 1..255 bytes, none of them '/' or NUL, and neither "." nor "..". */
bool name_valid(struct bytes name);

/* Valid names joined by single slashes. */
bool path_valid(struct bytes path);

/* Iterates an xattr blob: each item is u8 name length, name, varint value length, value. */
bool xattr_next(struct cursor *c, struct bytes *name, struct bytes *value);
void xattr_put(struct buf *blob, const void *name, size_t name_len, const void *value,
	       size_t value_len);

/* What an entry adds to the sum of its directory: its name, its meta, and for directories the
 * digest's sum. With key NULL the unkeyed value that the root hash uses. scratch is reused memory.
 */
struct h128 entry_hash(const struct hash_key *key, struct bytes name, const struct meta *m,
		       const struct h128 *content, struct buf *scratch);

#endif
