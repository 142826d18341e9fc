/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories held below one root, without paths: a directory is (parent, name) and an open fd that
 * may be closed and reopened by components at any time, then checked to be the same inode. So
 * memory and fds stay bounded, paths longer than PATH_MAX work, and nobody can lead a side out of
 * its root by swapping a component for a symbolic link.
 *
 * Reference counts: every function that returns a struct dir * gives the caller one reference.
 * All functions may be called from any thread.
 */
#ifndef SCRIBE_DIRS_H
#define SCRIBE_DIRS_H

#include <stdbool.h>
#include <sys/types.h>

#include "buf.h"
#include "err.h"
#include "hash.h"
#include "wire.h"

enum { DIRS_OPEN_MAX = 128 };

struct dirs;

struct dir {
	/* Constant after creation. */
	struct dir *parent; /* holds a reference; NULL for the root */
	char *name;
	size_t name_len;
	unsigned depth; /* root 0 */
	dev_t dev;
	ino_t ino;
	struct h128 id; /* keyed path id */
	/* Guarded by the lock of struct dirs. */
	int fd; /* -1 when closed */
	unsigned pins, refs;
	struct dir *newer, *older; /* least recently used order of the unpinned open ones */
};

/* Takes ownership of root_fd, a readable directory fd. key NULL: ids stay zero. */
struct dirs *dirs_new(int root_fd, const struct hash_key *key, struct err *e);
/* All references but the root's own must be gone. */
void dirs_free(struct dirs *ds);
void dirs_set_key(struct dirs *ds, const struct hash_key *key);

struct dir *dirs_root(struct dirs *ds);
/* Opens parent/name; refuses anything but a directory (a symbolic link too). NULL with *e (e->sys
 * set). */
struct dir *dirs_child(struct dirs *ds, struct dir *parent, struct bytes name, struct err *e);
/* A directory that is only a name (a dry run does not make it); it has a path and cannot be opened.
 */
struct dir *dirs_name_only(struct dirs *ds, struct dir *parent, struct bytes name);
struct dir *dir_ref(struct dirs *ds, struct dir *d);
void dir_unref(struct dirs *ds, struct dir *d);

/* Borrows an open fd of d; pair with dir_unpin(). -1 with *e; ESTALE if the name is another inode
 * now. */
int dir_pin(struct dirs *ds, struct dir *d, struct err *e);
void dir_unpin(struct dirs *ds, struct dir *d);

/* Appends the path below the root ("" for the root itself, no leading slash), with name behind it
 * if that is not empty. */
void dir_path(const struct dir *d, struct bytes name, struct buf *out);
/* The same escaped for a message, at most 240 characters; "." for the root. Returns out. */
char *dir_path_text(const struct dir *d, struct bytes name, char out[256]);

#endif
