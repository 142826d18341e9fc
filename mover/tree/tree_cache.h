/* SPDX-License-Identifier: Apache-2.0 */
/* The bounded table of directory digests behind tree.h. Not thread-safe. */
#ifndef SCRIBE_TREE_CACHE_H
#define SCRIBE_TREE_CACHE_H

#include "tree.h"

struct tree_cache;

struct tree_cache *tree_cache_new(size_t slots);
void tree_cache_free(struct tree_cache *c);
bool tree_cache_get(const struct tree_cache *c, uint64_t id, struct tree_sum *out);
/* Keeps the sum unless its subtree is below the floor; a full table raises the floor. */
void tree_cache_put(struct tree_cache *c, uint64_t id, const struct tree_sum *sum);
void tree_cache_remove(struct tree_cache *c, uint64_t id);
void tree_cache_clear(struct tree_cache *c);

#endif
