/* SPDX-License-Identifier: Apache-2.0 */
#include "tree_cache.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

struct slot {
	uint64_t id; /* 0 = free (an id of 0 is the root's, stored as 1) */
	struct tree_sum sum;
};

struct tree_cache {
	struct slot *slots;
	size_t cap, max, count;
	uint64_t floor; /* smallest subtree that is kept */
};

enum { FIRST_CAP = 256 };

struct tree_cache *tree_cache_new(size_t slots)
{
	struct tree_cache *c = mem_alloc(1, sizeof *c);
	c->max = slots;
	c->cap = FIRST_CAP;
	c->slots = mem_alloc(c->cap, sizeof c->slots[0]);
	return c;
}

void tree_cache_free(struct tree_cache *c)
{
	if (!c)
		return;
	free(c->slots);
	free(c);
}

static size_t find(const struct tree_cache *c, uint64_t id)
{
	size_t at = (size_t)id & (c->cap - 1);
	while (c->slots[at].id && c->slots[at].id != id)
		at = (at + 1) & (c->cap - 1);
	return at;
}

static uint64_t stored(uint64_t id)
{
	return id ? id : 1;
}

bool tree_cache_get(const struct tree_cache *c, uint64_t id, struct tree_sum *out)
{
	const struct slot *s = &c->slots[find(c, stored(id))];
	if (s->id)
		*out = s->sum;
	return s->id != 0;
}

/* Moves everything at or above the floor into a table of cap slots. */
static void rebuild(struct tree_cache *c, size_t cap)
{
	struct slot *old = c->slots;
	size_t old_cap = c->cap;
	c->slots = mem_alloc(cap, sizeof c->slots[0]);
	c->cap = cap;
	c->count = 0;
	for (size_t i = 0; i < old_cap; i++) {
		if (!old[i].id || old[i].sum.entries < c->floor)
			continue;
		c->slots[find(c, old[i].id)] = old[i];
		c->count++;
	}
	free(old);
}

void tree_cache_put(struct tree_cache *c, uint64_t id, const struct tree_sum *sum)
{
	if (sum->entries < c->floor)
		return;
	while (c->count * 4 >= c->cap * 3) {
		if (c->cap < c->max) {
			rebuild(c, c->cap * 2);
		} else {
			c->floor = c->floor ? c->floor * 2 : 2;
			rebuild(c, c->cap);
		}
	}
	if (sum->entries < c->floor)
		return;
	struct slot *s = &c->slots[find(c, stored(id))];
	if (!s->id)
		c->count++;
	s->id = stored(id);
	s->sum = *sum;
}

void tree_cache_remove(struct tree_cache *c, uint64_t id)
{
	size_t hole = find(c, stored(id));
	if (!c->slots[hole].id)
		return;
	c->count--;
	/* Backward shift: whatever was pushed behind the freed slot moves up. */
	for (size_t at = (hole + 1) & (c->cap - 1); c->slots[at].id; at = (at + 1) & (c->cap - 1)) {
		size_t home = (size_t)c->slots[at].id & (c->cap - 1);
		if (((at - home) & (c->cap - 1)) >= ((at - hole) & (c->cap - 1))) {
			c->slots[hole] = c->slots[at];
			hole = at;
		}
	}
	c->slots[hole] = (struct slot){0};
}

void tree_cache_clear(struct tree_cache *c)
{
	memset(c->slots, 0, c->cap * sizeof c->slots[0]);
	c->count = 0;
}
