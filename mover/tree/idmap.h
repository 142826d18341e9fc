/* SPDX-License-Identifier: Apache-2.0 */
/* Small open-addressing tables keyed by 64-bit ids that are already hashes. Not thread-safe. */
#ifndef SCRIBE_IDMAP_H
#define SCRIBE_IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A map from id to a small non-zero value. */
struct idmap {
	struct idmap_slot *slots;
	size_t cap, count, max;
};
struct idmap_slot {
	uint64_t id;
	uint32_t value; /* 0 = free */
};

/* At most max ids are kept. Allocates nothing yet. */
void idmap_init(struct idmap *m, size_t max);
void idmap_release(struct idmap *m);
/* 0 if absent. */
uint32_t idmap_get(const struct idmap *m, uint64_t id);
/* Sets or replaces; false when the map is full and the id is new. value != 0. */
bool idmap_put(struct idmap *m, uint64_t id, uint32_t value);

/*
 * Names that share an inode, gathered during one full walk: per (device, inode) the smallest path
 * id, the sum of the path ids and their number. The table's digest is what two sides compare: a
 * group is a term of (key, sum, count) in the bucket of its key, groups of one name in scope count
 * nothing.
 */
struct links {
	struct link_slot *slots;
	size_t cap, count;
};
struct link_slot {
	uint64_t ino;
	uint32_t dev;
	uint32_t names : 31; /* 0 = free */
	uint32_t sent : 1;   /* for the holder's use */
	uint64_t key, sum;
};

void links_init(struct links *l);
void links_release(struct links *l);
/* Returns the group's slot, valid until the next links_add(). */
struct link_slot *links_add(struct links *l, uint64_t dev, uint64_t ino, uint64_t path_id);
/* NULL if the inode was not seen. Valid until the next links_add(). */
struct link_slot *links_find(const struct links *l, uint64_t dev, uint64_t ino);
/* Adds up the terms per bucket (LINK_BUCKETS values); names may be NULL, else the names per bucket.
 */
void links_buckets(const struct links *l, uint64_t *sums, uint32_t *names);

#endif
