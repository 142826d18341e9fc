/* SPDX-License-Identifier: Apache-2.0 */
#include "diff_links.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

enum { CHUNK = 256 << 10, FIRST_SLOTS = 256 };

struct diff_link_chunk {
	struct diff_link_chunk *next;
	size_t len;
	char bytes[CHUNK];
};

void diff_links_init(struct diff_links *l)
{
	memset(l, 0, sizeof(*l));
}

void diff_links_release(struct diff_links *l)
{
	while (l->chunks) {
		struct diff_link_chunk *next = l->chunks->next;
		free(l->chunks);
		l->chunks = next;
	}
	free(l->first);
	free(l->slot[0]);
	free(l->slot[1]);
	memset(l, 0, sizeof(*l));
}

static size_t hash_inode(const struct diff_inode *id)
{
	uint64_t x = id->ino + id->dev * 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return (size_t)(x ^ (x >> 31));
}

static bool same_inode(const struct diff_inode *x, const struct diff_inode *y)
{
	return x->dev == y->dev && x->ino == y->ino;
}

/* The slot that holds id, or the free one where it belongs. Needs a free slot. */
static uint32_t *find_slot(const struct diff_links *l, int side, const struct diff_inode *id)
{
	size_t mask = l->slots[side] - 1;
	size_t i = hash_inode(id) & mask;
	while (l->slot[side][i]) {
		const struct diff_link_first *f = &l->first[l->slot[side][i] - 1];
		if (same_inode(&f->id[side], id))
			break;
		i = (i + 1) & mask;
	}
	return &l->slot[side][i];
}

static void grow_slots(struct diff_links *l, int side)
{
	if ((l->used[side] + 1) * 3 < l->slots[side] * 2)
		return;
	uint32_t *old = l->slot[side];
	size_t old_n = l->slots[side];
	l->slots[side] = old_n ? old_n * 2 : FIRST_SLOTS;
	l->slot[side] = mem_alloc(l->slots[side], sizeof(uint32_t));
	for (size_t i = 0; i < old_n; i++)
		if (old[i])
			*find_slot(l, side, &l->first[old[i] - 1].id[side]) = old[i];
	free(old);
}

static const char *keep_path(struct diff_links *l, const char *path, size_t len)
{
	size_t dots = 0;
	if (len > DIFF_LINK_PATH_MAX) {
		dots = 3;
		path += len - DIFF_LINK_PATH_MAX;
		len = DIFF_LINK_PATH_MAX;
	}
	size_t need = dots + len + 1;
	if (!l->chunks || CHUNK - l->chunks->len < need) {
		struct diff_link_chunk *c = mem_alloc_raw(sizeof(*c));
		c->next = l->chunks;
		c->len = 0;
		l->chunks = c;
	}
	char *at = l->chunks->bytes + l->chunks->len;
	memcpy(at, "...", dots);
	memcpy(at + dots, path, len);
	at[dots + len] = '\0';
	l->chunks->len += need;
	return at;
}

static uint32_t add_first(struct diff_links *l, const struct diff_inode id[2], const char *path,
			  size_t path_len)
{
	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap + l->cap / 2 : 64;
		l->first = mem_realloc(l->first, l->cap, sizeof(*l->first));
	}
	struct diff_link_first *f = &l->first[l->n++];
	f->id[0] = id[0];
	f->id[1] = id[1];
	f->path = keep_path(l, path, path_len);
	return (uint32_t)l->n;
}

bool diff_links_add(struct diff_links *l, const struct diff_inode id[2], const bool multi[2],
		    const char *path, size_t path_len, const char *earlier[2])
{
	bool same = true;
	uint32_t added = 0;
	for (int side = 0; side < 2; side++) {
		earlier[side] = NULL;
		if (!multi[side])
			continue;
		grow_slots(l, side);
		uint32_t *slot = find_slot(l, side, &id[side]);
		if (*slot) {
			const struct diff_link_first *f = &l->first[*slot - 1];
			earlier[side] = f->path;
			if (!same_inode(&f->id[!side], &id[!side]))
				same = false;
			continue;
		}
		if (!added)
			added = add_first(l, id, path, path_len);
		*slot = added;
		l->used[side]++;
	}
	return same;
}
