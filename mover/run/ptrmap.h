/* SPDX-License-Identifier: Apache-2.0 */
/* A hash table from 64-bit ids to pointers; it owns neither. Not thread-safe. */
#ifndef SCRIBE_PTRMAP_H
#define SCRIBE_PTRMAP_H

#include <stddef.h>
#include <stdint.h>

struct ptrmap {
	struct ptrmap_slot {
		uint64_t id;
		void *p; /* NULL = free */
	} * slots;
	size_t cap, count;
};

void ptrmap_init(struct ptrmap *m);
void ptrmap_release(struct ptrmap *m);
/* NULL if absent. */
void *ptrmap_get(const struct ptrmap *m, uint64_t id);
/* Sets or replaces; p != NULL. */
void ptrmap_put(struct ptrmap *m, uint64_t id, void *p);
/* Returns what was there, or NULL. */
void *ptrmap_remove(struct ptrmap *m, uint64_t id);

#endif
