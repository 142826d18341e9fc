/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One side's tree as the run sees it: which entries are in scope, what a directory's digest is,
 * which names share an inode. Both sides run this code over the same mask, filter and key, so that
 * equal trees give equal digests (SPEC.md 4).
 *
 * Digests are cached in bounded memory: when the table is full, those of the smallest subtrees are
 * dropped and computed again when asked for. One thread at a time uses a tree.
 */
#ifndef SCRIBE_TREE_H
#define SCRIBE_TREE_H

#include "attr.h"
#include "dirs.h"
#include "filter.h"
#include "idmap.h"
#include "scan.h"

enum { TREE_DEPTH_MAX = 1000, TREE_CACHE_SLOTS = 1 << 16, TREE_LEFT_OUT_MAX = 1 << 21 };

#define TREE_STATE_DIR   ".scribe-mover" /* below the root: journals, anchors, during a run only */
#define TREE_TEMP_PREFIX ".scribe-"      /* + 32 hex digits of the run + "-" + number */

/* The sum over a directory's content and everything below. */
struct tree_sum {
	struct digest d;         /* keyed, for comparing */
	struct h128 plain;       /* unkeyed, for the root hash */
	uint64_t entries, bytes; /* all below: entries in scope, bytes of regular files */
};

enum left_out { LEFT_OUT_WHOLE = 1, LEFT_OUT_CONTENT = 2 };

struct visit;

struct tree {
	/* Set by the owner before use. */
	struct dirs *dirs;
	const struct mask *mask;
	const struct filter *filter;
	const struct hash_key *key;
	bool source; /* report reserved names, look for racy times */
	bool one_file_system;
	bool counting;     /* count what the mask drops */
	int64_t racy_from; /* source: mtimes from here on are racy; INT64_MAX = none */
	/* Called for an entry or directory that could not be read; path unescaped. */
	void (*problem)(void *owner, const struct dir *d, struct bytes name, const struct err *why);
	/* Called for a mount point that is not crossed. */
	void (*mount)(void *owner, const struct dir *d, struct bytes name);
	/* Called for a reserved name that a walk meets; may be NULL. */
	void (*reserved)(void *owner, struct visit *v, struct bytes name);
	/* Asked now and then during long work; true = stop with ERR_FAILURE. */
	bool (*stop)(void *owner);
	void *owner;
	/* Private. */
	uint64_t root_mount;
	dev_t root_dev;
	struct tree_cache *cache;
	struct idmap left_out;
	struct links links; /* of the last walk with collect_links */
	bool left_overflow; /* more was left out than is kept: digests cannot agree */
	bool collect_links;
	uint64_t dropped[DROPPED_KINDS];
	uint64_t walked; /* entries looked at so far */
};

/* The fields above "Private" are set. Reads the root's mount and device. */
int tree_init(struct tree *t, struct err *e);
void tree_release(struct tree *t);

/* One directory being looked at: held fd and the path prefix for filters. */
struct visit {
	struct dir *d;
	int fd;
	struct buf prefix;
};
int visit_init(struct tree *t, struct visit *v, struct dir *d, struct err *e);
void visit_release(struct tree *t, struct visit *v);

enum tree_read { TREE_ENTRY, TREE_SKIP, TREE_GONE, TREE_RESERVED, TREE_ERROR = -1 };
/* Reads one name of v into *it. filtered false: the rules are not asked. TREE_ERROR: *e. */
int tree_read(struct tree *t, struct visit *v, struct bytes name, bool filtered, struct item *it,
	      struct err *e);
/* True if a directory just read is a mount that is not crossed. */
bool tree_opaque(const struct tree *t, const struct item *it);
/* True for names that belong to this program: temps anywhere, the state directory in the root. */
bool tree_reserved(const struct dir *d, struct bytes name);
/* True for names that are on neither side: reserved ones and lost+found in the root. */
bool tree_hidden(const struct dir *d, struct bytes name);

/* The digest of what d contains, from the cache or by walking. 0 or -1 (only if asked to stop). */
int tree_sum(struct tree *t, struct dir *d, struct tree_sum *out, struct err *e);
/* The same for a child that tree_read() just gave as a directory. An unreadable one is INCOMPLETE.
 */
int tree_child_sum(struct tree *t, struct dir *parent, struct bytes name, const struct item *it,
		   struct tree_sum *out, struct err *e);
/* Puts a sum that was gained otherwise into the cache. */
void tree_remember(struct tree *t, const struct dir *d, const struct tree_sum *sum);
/* Forgets the digests of d and of all above it. */
void tree_touch(struct tree *t, const struct dir *d);
/* Forgets all digests and links; the next tree_sum() of the root gathers both again. */
void tree_forget(struct tree *t);
/* Leaves an entry (or only what it contains) out of all digests from now on. */
void tree_leave_out(struct tree *t, const struct dir *d, struct bytes name, enum left_out how);
uint32_t tree_left_out(const struct tree *t, const struct dir *d, struct bytes name);

/* Adds an entry to a sum; content NULL unless it is a directory. */
void sum_add(struct tree *t, struct tree_sum *s, struct bytes name, const struct meta *m,
	     const struct tree_sum *content, struct buf *scratch);

/* The unkeyed digest of the link structure, and the root hash made of everything (SPEC.md 4). */
struct h128 tree_links_hash(const struct tree *t);
struct h128 tree_root_hash(const struct meta *root, const struct tree_sum *sum, struct h128 links,
			   struct h128 content);

#endif
