/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hard-link structure: do the names common to A and B fall into the same groups on both sides?
 *
 * They do exactly if "file in A -> file in B" is a bijection, so for each file with several links
 * the first name met is kept, findable by A's inode and by B's, and every later name must agree
 * with it on the other side. Private to this folder. Not thread-safe.
 */
#ifndef SCRIBE_DIFF_LINKS_H
#define SCRIBE_DIFF_LINKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct diff_inode {
	uint64_t dev;
	uint64_t ino;
};

struct diff_link_first {
	struct diff_inode id[2];
	const char *path; /* in a chunk */
};

struct diff_link_chunk;

struct diff_links {
	struct diff_link_first *first;
	size_t n;
	size_t cap;
	uint32_t *slot[2]; /* open addressing: index into first plus 1, 0 is free */
	size_t slots[2];   /* a power of two or 0 */
	size_t used[2];
	struct diff_link_chunk *chunks;
};

/* Longest kept path; of longer ones the end is kept, after "...". */
enum { DIFF_LINK_PATH_MAX = 1024 };

void diff_links_init(struct diff_links *l);
void diff_links_release(struct diff_links *l);

/*
 * Takes in a name that is file id[0] in A and id[1] in B. multi[side]: the file has more than one
 * link there (else no other name can be it on that side). earlier[side] becomes the first name met
 * of the same file, NULL if there was none; it lives as long as *l.
 * Returns true if the name is grouped with the earlier ones in the same way on both sides.
 */
bool diff_links_add(struct diff_links *l, const struct diff_inode id[2], const bool multi[2],
		    const char *path, size_t path_len, const char *earlier[2]);

#endif
