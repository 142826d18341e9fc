/* SPDX-License-Identifier: Apache-2.0 */
#include "linked.h"

#include <string.h>

#include "mem.h"

struct linked_walk {
	struct tree *t;
	const bool *buckets;
	linked_fn *fn;
	void *arg;
	struct item it;
};

static int walk(struct linked_walk *w, struct dir *d, struct err *e);

static int step_down(struct linked_walk *w, struct dir *d, struct bytes name, struct err *e)
{
	struct err why;
	CLEANUP_FREE char *kept = mem_dup(name.p, name.n);
	struct bytes own = {.p = (const uint8_t *)kept, .n = name.n};
	if (d->depth >= TREE_DEPTH_MAX)
		return 0;
	struct dir *child = dirs_child(w->t->dirs, d, own, &why);
	if (!child)
		return 0;
	int r = walk(w, child, e);
	dir_unref(w->t->dirs, child);
	return r;
}

static int walk(struct linked_walk *w, struct dir *d, struct err *e)
{
	struct tree *t = w->t;
	struct visit v;
	struct scan sc = {.fd = -1};
	struct err why;
	int r = 0;
	if (visit_init(t, &v, d, &why) < 0 || scan_init(&sc, t->dirs, d, &why) < 0) {
		visit_release(t, &v);
		return 0;
	}
	struct bytes name;
	unsigned char type;
	while (r == 0 && scan_next(&sc, &name, &type, &why) > 0) {
		if (tree_read(t, &v, name, true, &w->it, &why) != TREE_ENTRY ||
		    tree_left_out(t, d, name))
			continue;
		if (w->it.meta.type == ENTRY_DIR) {
			if (!tree_opaque(t, &w->it))
				r = step_down(w, d, name, e);
			continue;
		}
		const struct link_slot *g =
			w->it.nlink > 1 ? links_find(&t->links, w->it.dev, w->it.ino) : NULL;
		if (g && g->names > 1 && w->buckets[g->key % LINK_BUCKETS])
			r = w->fn(w->arg, d, name, &w->it, g, e);
	}
	scan_release(&sc);
	visit_release(t, &v);
	return r;
}

int tree_each_linked(struct tree *t, const bool *buckets, linked_fn *fn, void *arg, struct err *e)
{
	struct linked_walk w = {.t = t, .buckets = buckets, .fn = fn, .arg = arg};
	item_init(&w.it);
	struct dir *root = dirs_root(t->dirs);
	int r = walk(&w, root, e);
	dir_unref(t->dirs, root);
	item_release(&w.it);
	return r;
}
