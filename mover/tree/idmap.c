/* SPDX-License-Identifier: Apache-2.0 */
#include "idmap.h"

#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "mem.h"
#include "message.h"

void idmap_init(struct idmap *m, size_t max)
{
	*m = (struct idmap){.max = max};
}

void idmap_release(struct idmap *m)
{
	free(m->slots);
	*m = (struct idmap){0};
}

static size_t idmap_find(const struct idmap *m, uint64_t id)
{
	size_t at = (size_t)id & (m->cap - 1);
	while (m->slots[at].value && m->slots[at].id != id)
		at = (at + 1) & (m->cap - 1);
	return at;
}

uint32_t idmap_get(const struct idmap *m, uint64_t id)
{
	return m->cap ? m->slots[idmap_find(m, id)].value : 0;
}

static void idmap_grow(struct idmap *m)
{
	struct idmap old = *m;
	m->cap = old.cap ? old.cap * 2 : 64;
	m->slots = mem_alloc(m->cap, sizeof m->slots[0]);
	for (size_t i = 0; i < old.cap; i++)
		if (old.slots[i].value)
			m->slots[idmap_find(m, old.slots[i].id)] = old.slots[i];
	free(old.slots);
}

bool idmap_put(struct idmap *m, uint64_t id, uint32_t value)
{
	if (m->cap) {
		struct idmap_slot *s = &m->slots[idmap_find(m, id)];
		if (s->value) {
			s->value = value;
			return true;
		}
	}
	if (m->count >= m->max)
		return false;
	if (m->count * 4 >= m->cap * 3)
		idmap_grow(m);
	m->slots[idmap_find(m, id)] = (struct idmap_slot){.id = id, .value = value};
	m->count++;
	return true;
}

void links_init(struct links *l)
{
	*l = (struct links){0};
}

void links_release(struct links *l)
{
	free(l->slots);
	*l = (struct links){0};
}

static size_t links_slot(const struct links *l, uint32_t dev, uint64_t ino)
{
	uint64_t h = (ino ^ (uint64_t)dev << 40) * 0x9e3779b97f4a7c15u;
	size_t at = (size_t)(h >> 20) & (l->cap - 1);
	while (l->slots[at].names && (l->slots[at].ino != ino || l->slots[at].dev != dev))
		at = (at + 1) & (l->cap - 1);
	return at;
}

static void links_grow(struct links *l)
{
	struct links old = *l;
	l->cap = old.cap ? old.cap * 2 : 256;
	l->slots = mem_alloc(l->cap, sizeof l->slots[0]);
	for (size_t i = 0; i < old.cap; i++)
		if (old.slots[i].names)
			l->slots[links_slot(l, old.slots[i].dev, old.slots[i].ino)] = old.slots[i];
	free(old.slots);
}

struct link_slot *links_add(struct links *l, uint64_t dev, uint64_t ino, uint64_t path_id)
{
	if (l->count * 5 >= l->cap * 4)
		links_grow(l);
	struct link_slot *s = &l->slots[links_slot(l, (uint32_t)dev, ino)];
	if (s->names == 0) {
		*s = (struct link_slot){.ino = ino, .dev = (uint32_t)dev, .key = path_id};
		l->count++;
	}
	s->names++;
	s->sum += path_id;
	if (path_id < s->key)
		s->key = path_id;
	return s;
}

struct link_slot *links_find(const struct links *l, uint64_t dev, uint64_t ino)
{
	if (!l->cap)
		return NULL;
	struct link_slot *s = &l->slots[links_slot(l, (uint32_t)dev, ino)];
	return s->names ? s : NULL;
}

void links_buckets(const struct links *l, uint64_t *sums, uint32_t *names)
{
	memset(sums, 0, LINK_BUCKETS * sizeof sums[0]);
	if (names)
		memset(names, 0, LINK_BUCKETS * sizeof names[0]);
	for (size_t i = 0; i < l->cap; i++) {
		const struct link_slot *s = &l->slots[i];
		if (s->names < 2)
			continue;
		uint64_t record[3] = {s->key, s->sum, s->names};
		size_t bucket = (size_t)(s->key % LINK_BUCKETS);
		sums[bucket] += hash64(NULL, record, sizeof record);
		if (names)
			names[bucket] += s->names;
	}
}
