/* SPDX-License-Identifier: Apache-2.0 */
#include "ptrmap.h"

#include <stdlib.h>

#include "mem.h"

void ptrmap_init(struct ptrmap *m)
{
	*m = (struct ptrmap){0};
}

void ptrmap_release(struct ptrmap *m)
{
	free(m->slots);
	*m = (struct ptrmap){0};
}

static size_t home(const struct ptrmap *m, uint64_t id)
{
	return (size_t)((id * 0x9e3779b97f4a7c15u) >> 24) & (m->cap - 1);
}

static size_t find(const struct ptrmap *m, uint64_t id)
{
	size_t at = home(m, id);
	while (m->slots[at].p && m->slots[at].id != id)
		at = (at + 1) & (m->cap - 1);
	return at;
}

void *ptrmap_get(const struct ptrmap *m, uint64_t id)
{
	return m->cap ? m->slots[find(m, id)].p : NULL;
}

void ptrmap_put(struct ptrmap *m, uint64_t id, void *p)
{
	if (m->count * 4 >= m->cap * 3) {
		struct ptrmap old = *m;
		m->cap = old.cap ? old.cap * 2 : 64;
		m->slots = mem_alloc(m->cap, sizeof m->slots[0]);
		for (size_t i = 0; i < old.cap; i++)
			if (old.slots[i].p)
				m->slots[find(m, old.slots[i].id)] = old.slots[i];
		free(old.slots);
	}
	struct ptrmap_slot *s = &m->slots[find(m, id)];
	if (!s->p)
		m->count++;
	s->id = id;
	s->p = p;
}

void *ptrmap_remove(struct ptrmap *m, uint64_t id)
{
	if (!m->cap)
		return NULL;
	size_t hole = find(m, id);
	void *p = m->slots[hole].p;
	if (!p)
		return NULL;
	m->count--;
	for (size_t at = (hole + 1) & (m->cap - 1); m->slots[at].p; at = (at + 1) & (m->cap - 1)) {
		size_t h = home(m, m->slots[at].id);
		if (((at - h) & (m->cap - 1)) >= ((at - hole) & (m->cap - 1))) {
			m->slots[hole] = m->slots[at];
			hole = at;
		}
	}
	m->slots[hole] = (struct ptrmap_slot){0};
	return p;
}
