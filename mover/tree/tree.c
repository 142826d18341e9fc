/* SPDX-License-Identifier: Apache-2.0 */
#include "tree.h"

#include <errno.h>
#include <string.h>

#include "mem.h"
#include "tree_cache.h"

/* Above this depth a walk keeps no directory fd open while it is further down. */
enum { SCANS_HELD = 48, STOP_EVERY = 1024 };

int tree_init(struct tree *t, struct err *e)
{
	CLEANUP_ITEM struct item it;
	item_init(&it);
	struct dir *root = dirs_root(t->dirs);
	int fd = dir_pin(t->dirs, root, e);
	int r = fd < 0 ? -1 : attr_read(&it, fd, NULL, t->mask, e);
	if (fd >= 0)
		dir_unpin(t->dirs, root);
	dir_unref(t->dirs, root);
	if (r != ATTR_READ)
		return err_wrap(e, "root directory");
	t->root_mount = it.mount_id;
	t->root_dev = it.dev;
	t->cache = tree_cache_new(TREE_CACHE_SLOTS);
	idmap_init(&t->left_out, TREE_LEFT_OUT_MAX);
	links_init(&t->links);
	t->collect_links = true;
	return 0;
}

void tree_release(struct tree *t)
{
	tree_cache_free(t->cache);
	t->cache = NULL;
	idmap_release(&t->left_out);
	links_release(&t->links);
}

int visit_init(struct tree *t, struct visit *v, struct dir *d, struct err *e)
{
	*v = (struct visit){.d = d, .fd = -1};
	buf_init(&v->prefix, 1 << 20);
	v->fd = dir_pin(t->dirs, d, e);
	if (v->fd < 0)
		return -1;
	if (t->filter && t->filter->count) {
		dir_path(d, (struct bytes){0}, &v->prefix);
		if (v->prefix.len)
			buf_put_u8(&v->prefix, '/');
	}
	return 0;
}

void visit_release(struct tree *t, struct visit *v)
{
	if (v->fd >= 0)
		dir_unpin(t->dirs, v->d);
	buf_release(&v->prefix);
	v->fd = -1;
}

static bool name_is(struct bytes name, const char *text)
{
	return name.n == strlen(text) && memcmp(name.p, text, name.n) == 0;
}

bool tree_reserved(const struct dir *d, struct bytes name)
{
	enum { PREFIX = sizeof TREE_TEMP_PREFIX - 1, RUN_HEX = 32 };
	if (!d->parent && name_is(name, TREE_STATE_DIR))
		return true;
	if (name.n <= PREFIX + RUN_HEX || memcmp(name.p, TREE_TEMP_PREFIX, PREFIX) != 0)
		return false;
	for (size_t i = PREFIX; i < PREFIX + RUN_HEX; i++)
		if (!((name.p[i] >= '0' && name.p[i] <= '9') ||
		      (name.p[i] >= 'a' && name.p[i] <= 'f')))
			return false;
	return name.p[PREFIX + RUN_HEX] == '-';
}

bool tree_hidden(const struct dir *d, struct bytes name)
{
	return (!d->parent && name_is(name, "lost+found")) || tree_reserved(d, name);
}

static bool excluded(const struct tree *t, struct visit *v, struct bytes name, bool is_dir)
{
	if (!t->filter || !t->filter->count)
		return false;
	size_t at = v->prefix.len;
	buf_put(&v->prefix, name.p, name.n);
	bool out = filter_match(t->filter, (const char *)v->prefix.data, v->prefix.len, is_dir) ==
		   FILTER_EXCLUDE;
	v->prefix.len = at;
	return out;
}

int tree_read(struct tree *t, struct visit *v, struct bytes name, bool filtered, struct item *it,
	      struct err *e)
{
	if (tree_hidden(v->d, name))
		return tree_reserved(v->d, name) ? TREE_RESERVED : TREE_SKIP;
	char text[NAME_BYTES_MAX + 1];
	memcpy(text, name.p, name.n);
	text[name.n] = '\0';
	int r = attr_read(it, v->fd, text, t->mask, e);
	if (r == ATTR_GONE)
		return TREE_GONE;
	if (filtered && r != ATTR_ERROR && excluded(t, v, name, it->meta.type == ENTRY_DIR))
		return TREE_SKIP;
	if (filtered && r == ATTR_ERROR && excluded(t, v, name, false) &&
	    excluded(t, v, name, true))
		return TREE_SKIP;
	if (t->counting && r != ATTR_ERROR)
		for (int k = 0; it->dropped && k < DROPPED_KINDS; k++)
			t->dropped[k] += it->dropped >> k & 1;
	return r == ATTR_ERROR ? TREE_ERROR : r == ATTR_OUT_OF_SCOPE ? TREE_SKIP : TREE_ENTRY;
}

bool tree_opaque(const struct tree *t, const struct item *it)
{
	return t->one_file_system && (it->mount_id != t->root_mount || it->dev != t->root_dev);
}

static uint64_t path_id(const struct tree *t, const struct dir *d, struct bytes name)
{
	return hash_path(t->key, d->id, name.p, name.n).lo;
}

void tree_leave_out(struct tree *t, const struct dir *d, struct bytes name, enum left_out how)
{
	uint64_t id = path_id(t, d, name);
	uint32_t had = idmap_get(&t->left_out, id);
	if (!idmap_put(&t->left_out, id, had | how))
		t->left_overflow = true;
	tree_touch(t, d);
}

uint32_t tree_left_out(const struct tree *t, const struct dir *d, struct bytes name)
{
	return t->left_out.count ? idmap_get(&t->left_out, path_id(t, d, name)) : 0;
}

void tree_remember(struct tree *t, const struct dir *d, const struct tree_sum *sum)
{
	tree_cache_put(t->cache, d->id.lo, sum);
}

void tree_touch(struct tree *t, const struct dir *d)
{
	for (; d; d = d->parent)
		tree_cache_remove(t->cache, d->id.lo);
}

void tree_forget(struct tree *t)
{
	tree_cache_clear(t->cache);
	links_release(&t->links);
	t->collect_links = true;
}

void sum_add(struct tree *t, struct tree_sum *s, struct bytes name, const struct meta *m,
	     const struct tree_sum *content, struct buf *scratch)
{
	h128_add(&s->d.sum, entry_hash(t->key, name, m, content ? &content->d.sum : NULL, scratch));
	h128_add(&s->plain, entry_hash(NULL, name, m, content ? &content->plain : NULL, scratch));
	s->d.children++;
	s->entries++;
	s->bytes += m->size;
	if (m->type == ENTRY_FILE && m->mtime >= t->racy_from)
		s->d.flags |= DIGEST_RACY;
	if (content) {
		s->d.flags |= content->d.flags & (DIGEST_INCOMPLETE | DIGEST_RACY);
		s->entries += content->entries;
		s->bytes += content->bytes;
	}
}

struct walk {
	struct tree *t;
	struct item it;
	struct buf scratch;
};

static int walk_dir(struct walk *w, struct dir *d, struct tree_sum *out, struct err *e);

static void report(struct tree *t, const struct dir *d, struct bytes name, const struct err *why)
{
	if (t->problem)
		t->problem(t->owner, d, name, why);
}

/* Opens and walks one child directory; failures make it incomplete. */
static int walk_child(struct walk *w, struct dir *parent, struct bytes name, struct tree_sum *out,
		      struct err *e)
{
	struct tree *t = w->t;
	struct err why;
	if (parent->depth >= TREE_DEPTH_MAX) {
		err_set(&why, ERR_FAILURE, "directories nested deeper than %d", TREE_DEPTH_MAX);
		report(t, parent, name, &why);
		out->d.flags |= DIGEST_INCOMPLETE;
		return 0;
	}
	struct dir *child = dirs_child(t->dirs, parent, name, &why);
	if (!child) {
		report(t, parent, name, &why);
		out->d.flags |= DIGEST_INCOMPLETE;
		return 0;
	}
	int r = 0;
	if (!tree_cache_get(t->cache, child->id.lo, out))
		r = walk_dir(w, child, out, e);
	dir_unref(t->dirs, child);
	return r;
}

/* A directory entry: its meta must outlive the walk below it, so it is kept encoded. */
static int walk_subdir(struct walk *w, struct scan *s, struct visit *v, struct bytes name,
		       struct tree_sum *sum, struct err *e)
{
	struct tree *t = w->t;
	struct tree_sum below = {0};
	CLEANUP_BUF struct buf kept;
	buf_init(&kept, ENTRY_BYTES_MAX);
	struct entry en = {.name = name, .meta = w->it.meta};
	bool opaque = tree_opaque(t, &w->it);
	bool hollow = opaque || (tree_left_out(t, v->d, name) & LEFT_OUT_CONTENT);
	entry_encode(&en, &kept);
	if (opaque && t->mount)
		t->mount(t->owner, v->d, name);
	int r = 0;
	if (!hollow) {
		bool deep = v->d->depth >= SCANS_HELD;
		struct bytes own = {.p = kept.data + 2 + (en.name.n > 127), .n = name.n};
		if (deep)
			scan_suspend(s);
		r = walk_child(w, v->d, own, &below, e);
		struct err why;
		if (deep && scan_resume(s, t->dirs, v->d, &why) < 0) {
			report(t, v->d, (struct bytes){0}, &why);
			sum->d.flags |= DIGEST_INCOMPLETE;
			r = r < 0 ? r : 1;
		}
	}
	struct cursor c = cursor_of(kept.data, kept.len);
	entry_decode(&en, &c);
	sum_add(t, sum, en.name, &en.meta, &below, &w->scratch);
	return r;
}

static int walk_entry(struct walk *w, struct scan *s, struct visit *v, struct bytes name,
		      struct tree_sum *sum, struct err *e)
{
	struct tree *t = w->t;
	struct err why = {0};
	int r = tree_read(t, v, name, true, &w->it, &why);
	if (++t->walked % STOP_EVERY == 0 && t->stop && t->stop(t->owner))
		return err_set(e, ERR_FAILURE, "stopped");
	if (r == TREE_ERROR) {
		report(t, v->d, name, &why);
		sum->d.flags |= DIGEST_INCOMPLETE;
		return 0;
	}
	if (r == TREE_RESERVED && t->reserved)
		t->reserved(t->owner, v, name);
	if (r == TREE_RESERVED && t->source) {
		err_set(&why, ERR_PARTIAL, "name is reserved for scribe-mover; not replicated");
		report(t, v->d, name, &why);
	}
	if (r != TREE_ENTRY || (tree_left_out(t, v->d, name) & LEFT_OUT_WHOLE))
		return 0;
	if (w->it.meta.type == ENTRY_DIR)
		return walk_subdir(w, s, v, name, sum, e);
	if (t->collect_links && w->it.nlink > 1 && (t->mask->attrs & ATTR_HARD_LINKS))
		links_add(&t->links, w->it.dev, w->it.ino, path_id(t, v->d, name));
	sum_add(t, sum, name, &w->it.meta, NULL, &w->scratch);
	return 0;
}

static int walk_dir(struct walk *w, struct dir *d, struct tree_sum *out, struct err *e)
{
	struct tree *t = w->t;
	*out = (struct tree_sum){0};
	struct visit v;
	struct scan s = {.fd = -1};
	struct err why;
	int r = visit_init(t, &v, d, &why);
	if (r == 0)
		r = scan_init(&s, t->dirs, d, &why);
	if (r < 0) {
		report(t, d, (struct bytes){0}, &why);
		out->d.flags |= DIGEST_INCOMPLETE;
		visit_release(t, &v);
		return 0;
	}
	struct bytes name;
	unsigned char type;
	int more = 1;
	while (r == 0 && (more = scan_next(&s, &name, &type, &why)) > 0)
		r = walk_entry(w, &s, &v, name, out, e);
	if (more < 0) {
		report(t, d, (struct bytes){0}, &why);
		out->d.flags |= DIGEST_INCOMPLETE;
	}
	scan_release(&s);
	visit_release(t, &v);
	if (r < 0)
		return -1;
	tree_cache_put(t->cache, d->id.lo, out);
	return 0;
}

int tree_sum(struct tree *t, struct dir *d, struct tree_sum *out, struct err *e)
{
	if (tree_cache_get(t->cache, d->id.lo, out))
		return 0;
	struct walk w = {.t = t};
	item_init(&w.it);
	buf_init(&w.scratch, ENTRY_BYTES_MAX);
	int r = walk_dir(&w, d, out, e);
	item_release(&w.it);
	buf_release(&w.scratch);
	if (!d->parent)
		t->collect_links = false;
	return r;
}

int tree_child_sum(struct tree *t, struct dir *parent, struct bytes name, const struct item *it,
		   struct tree_sum *out, struct err *e)
{
	*out = (struct tree_sum){0};
	if (tree_opaque(t, it)) {
		out->d.flags = DIGEST_OPAQUE;
		return 0;
	}
	if (tree_left_out(t, parent, name) & LEFT_OUT_CONTENT)
		return 0;
	uint64_t id = path_id(t, parent, name);
	if (tree_cache_get(t->cache, id, out))
		return 0;
	bool collecting = t->collect_links;
	t->collect_links = false;
	struct walk w = {.t = t};
	item_init(&w.it);
	buf_init(&w.scratch, ENTRY_BYTES_MAX);
	int r = walk_child(&w, parent, name, out, e);
	item_release(&w.it);
	buf_release(&w.scratch);
	t->collect_links = collecting;
	return r;
}

struct h128 tree_links_hash(const struct tree *t)
{
	struct h128 zero = {0};
	if (t->links.count == 0)
		return zero;
	CLEANUP_FREE uint64_t *sums = mem_alloc(LINK_BUCKETS, sizeof *sums);
	links_buckets(&t->links, sums, NULL);
	for (size_t i = 0; i < LINK_BUCKETS; i++)
		if (sums[i])
			return hash128(NULL, sums, LINK_BUCKETS * sizeof *sums);
	return zero;
}

struct h128 tree_root_hash(const struct meta *root, const struct tree_sum *sum, struct h128 links,
			   struct h128 content)
{
	CLEANUP_BUF struct buf record;
	buf_init(&record, ENTRY_BYTES_MAX);
	meta_encode(root, &record);
	put_h128(&record, sum->plain);
	put_h128(&record, links);
	put_h128(&record, content);
	return hash128(NULL, record.data, record.len);
}
