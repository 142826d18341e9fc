/* SPDX-License-Identifier: Apache-2.0 */
/* The lister thread: digests, listings, confirmations, streams. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "source_int.h"

enum { LISTING_FLUSH = 48 << 10 };

/* A listing under construction. */
struct listing {
	struct source *s;
	uint8_t kind;
	uint64_t req;
	uint8_t flags;
	struct buf entries, frame, scratch;
	struct item it;
};

static void listing_init(struct listing *l, struct source *s, uint8_t kind, uint64_t req)
{
	*l = (struct listing){.s = s, .kind = kind, .req = req};
	buf_init(&l->entries, FRAME_BODY_MAX);
	buf_init(&l->frame, FRAME_PAYLOAD_MAX);
	buf_init(&l->scratch, ENTRY_BYTES_MAX);
	item_init(&l->it);
}

static void listing_release(struct listing *l)
{
	buf_release(&l->entries);
	buf_release(&l->frame);
	buf_release(&l->scratch);
	item_release(&l->it);
}

static int listing_flush(struct listing *l, bool last, struct err *e)
{
	struct msg_entries m = {.kind = l->kind,
				.req = l->req,
				.last = last,
				.flags = l->flags,
				.entries = {.p = l->entries.data, .n = l->entries.len}};
	buf_clear(&l->frame);
	msg_entries_encode(&m, &l->frame);
	buf_clear(&l->entries);
	return link_send(l->s->link, WIRE_ENTRIES, &l->frame, e);
}

static int listing_room(struct listing *l, struct err *e)
{
	return l->entries.len > LISTING_FLUSH ? listing_flush(l, false, e) : 0;
}

static uint64_t group_id(struct source *s, const struct item *it)
{
	uint64_t record[2] = {it->dev, it->ino};
	return hash64(&s->key, record, sizeof record) | 1;
}

static bool linked(struct source *s, const struct item *it)
{
	if (it->nlink < 2 || it->meta.type == ENTRY_DIR || !(s->mask.attrs & ATTR_HARD_LINKS))
		return false;
	const struct link_slot *slot = links_find(&s->tree.links, it->dev, it->ino);
	return slot && slot->names > 1;
}

static bool changed_since(const struct source *s, const struct item *it)
{
	return it->ctime > s->clock || (it->ctime == s->clock && it->ctime_ns >= s->clock_ns);
}

/* Describes the entry just read into l->it. */
static int describe(struct listing *l, struct visit *v, struct bytes name, struct entry *en,
		    struct tree_sum *below, struct err *e)
{
	struct source *s = l->s;
	*en = (struct entry){.name = name, .meta = l->it.meta};
	if (l->it.meta.type == ENTRY_DIR) {
		if (tree_child_sum(&s->tree, v->d, name, &l->it, below, e) < 0)
			return -1;
		en->digest = below->d;
	} else if (linked(s, &l->it)) {
		en->flags |= ENTRY_LINKED;
		en->group = group_id(s, &l->it);
	}
	if (en->meta.type == ENTRY_FILE && en->meta.mtime >= s->tree.racy_from)
		en->flags |= ENTRY_RACY;
	if (s->verifying && changed_since(s, &l->it))
		en->flags |= ENTRY_CHANGED;
	return 0;
}

/* Which names a request is about: those whose hash begins with one of the prefixes. */
struct prefixes {
	unsigned depth;
	size_t count;
	uint64_t *first; /* sorted, depth bytes each in the low bits */
};

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static int prefixes_init(struct prefixes *p, unsigned depth, struct bytes raw, struct err *e)
{
	*p = (struct prefixes){.depth = depth};
	if (depth > TRIE_DEPTH_MAX || (depth == 0 && raw.n) ||
	    (depth && (raw.n == 0 || raw.n % depth)))
		return err_set(e, ERR_PROTOCOL, "the destination sent a malformed listing request");
	p->count = depth ? raw.n / depth : 1;
	p->first = mem_alloc(p->count, sizeof p->first[0]);
	for (size_t i = 0; i < raw.n; i++)
		p->first[i / depth] = p->first[i / depth] << 8 | raw.p[i];
	qsort(p->first, p->count, sizeof p->first[0], compare_u64);
	return 0;
}

/* The index of the prefix that the hash falls under, or -1. */
static long prefixes_find(const struct prefixes *p, uint64_t hash)
{
	uint64_t key = p->depth ? hash >> (64 - 8 * p->depth) : 0;
	uint64_t *hit = bsearch(&key, p->first, p->count, sizeof key, compare_u64);
	return hit ? (long)(hit - p->first) : -1;
}

static struct dir *handle_dir(struct source *s, uint64_t handle)
{
	pthread_mutex_lock(&s->lock);
	struct dir *d = ptrmap_get(&s->handles, handle);
	pthread_mutex_unlock(&s->lock);
	return d;
}

static void entry_problem(struct listing *l, struct visit *v, struct bytes name,
			  const struct err *why)
{
	source_issue(l->s, ISSUE_FAILED, ERR_PARTIAL, why->sys, v->d, name, why->msg);
	l->flags |= LISTED_INCOMPLETE;
}

typedef int (*entry_fn)(struct listing *l, struct visit *v, struct bytes name, uint64_t hash,
			void *arg, struct err *e);

/* Calls fn for every entry in scope under the prefixes, with the entry read into l->it. */
static int for_each(struct listing *l, struct dir *d, const struct prefixes *p, entry_fn fn,
		    void *arg, struct err *e)
{
	struct source *s = l->s;
	struct visit v;
	struct scan sc = {.fd = -1};
	struct err why = {0};
	int r = visit_init(&s->tree, &v, d, &why);
	if (r == 0)
		r = scan_init(&sc, s->dirs, d, &why);
	if (r < 0) {
		l->flags |=
			why.sys == ENOENT || why.sys == ESTALE ? LISTED_GONE : LISTED_INCOMPLETE;
		source_issue(s, ISSUE_FAILED, ERR_PARTIAL, why.sys, d, (struct bytes){0}, why.msg);
		visit_release(&s->tree, &v);
		return 0;
	}
	if (s->verifying && attr_read(&l->it, v.fd, NULL, &s->mask, &why) == ATTR_READ &&
	    changed_since(s, &l->it))
		l->flags |= LISTED_CHANGED;
	struct bytes name;
	unsigned char type;
	int more = 0;
	while (r == 0 && (more = scan_next(&sc, &name, &type, &why)) > 0) {
		uint64_t hash = hash64(&s->key, name.p, name.n);
		if (prefixes_find(p, hash) < 0)
			continue;
		int t = tree_read(&s->tree, &v, name, true, &l->it, &why);
		if (t == TREE_ERROR)
			entry_problem(l, &v, name, &why);
		if (t == TREE_ENTRY && !(tree_left_out(&s->tree, d, name) & LEFT_OUT_WHOLE))
			r = fn(l, &v, name, hash, arg, e);
	}
	if (more < 0)
		entry_problem(l, &v, (struct bytes){0}, &why);
	scan_release(&sc);
	visit_release(&s->tree, &v);
	return r;
}

static int list_one(struct listing *l, struct visit *v, struct bytes name, uint64_t hash, void *arg,
		    struct err *e)
{
	(void)hash;
	(void)arg;
	struct entry en;
	struct tree_sum below;
	CLEANUP_FREE char *kept = mem_dup(name.p, name.n);
	struct bytes own = {.p = (const uint8_t *)kept, .n = name.n};
	if (describe(l, v, own, &en, &below, e) < 0)
		return -1;
	entry_encode(&en, &l->entries);
	return listing_room(l, e);
}

struct node {
	struct h128 sum;
	uint64_t count;
	uint8_t flags;
};

struct nodes {
	const struct prefixes *p;
	struct node *v; /* count * TRIE_FANOUT */
};

static int add_node(struct listing *l, struct visit *v, struct bytes name, uint64_t hash, void *arg,
		    struct err *e)
{
	struct nodes *ns = arg;
	struct tree_sum below = {0};
	CLEANUP_FREE char *kept = mem_dup(name.p, name.n);
	struct bytes own = {.p = (const uint8_t *)kept, .n = name.n};
	bool dir = l->it.meta.type == ENTRY_DIR;
	if (dir && tree_child_sum(&l->s->tree, v->d, own, &l->it, &below, e) < 0)
		return -1;
	struct tree_sum one = {0};
	sum_add(&l->s->tree, &one, own, &l->it.meta, dir ? &below : NULL, &l->scratch);
	long at = prefixes_find(ns->p, hash);
	unsigned shift = 64 - 8 * (ns->p->depth + 1);
	struct node *n = &ns->v[(size_t)at * TRIE_FANOUT + (hash >> shift & 0xff)];
	h128_add(&n->sum, one.d.sum);
	n->count++;
	n->flags |= one.d.flags | (below.d.flags & DIGEST_OPAQUE);
	return 0;
}

static int send_nodes(struct listing *l, const struct nodes *ns, struct err *e)
{
	for (size_t i = 0; i < ns->p->count; i++) {
		buf_clear(&l->entries);
		for (size_t k = 0; k < TRIE_FANOUT; k++) {
			const struct node *n = &ns->v[i * TRIE_FANOUT + k];
			put_h128(&l->entries, n->sum);
			put_u64(&l->entries, n->count | (uint64_t)n->flags << 56);
		}
		struct msg_nodes m = {.req = l->req,
				      .last = i + 1 == ns->p->count,
				      .flags = l->flags,
				      .nodes = {.p = l->entries.data, .n = l->entries.len}};
		buf_clear(&l->frame);
		msg_nodes_encode(&m, &l->frame);
		if (link_send(l->s->link, WIRE_NODES, &l->frame, e) < 0)
			return -1;
	}
	return 0;
}

static int answer_list(struct source *s, const struct link_frame *f, struct err *e)
{
	struct msg_list_req m;
	if (msg_list_req_decode(&m, f->payload, f->length, e) < 0)
		return -1;
	struct prefixes p;
	if (prefixes_init(&p, m.depth, m.prefixes, e) < 0)
		return -1;
	if (m.kind == LIST_NODES && (p.count > 64 || p.depth >= TRIE_DEPTH_MAX)) {
		free(p.first);
		return err_set(e, ERR_PROTOCOL, "the destination asked for too many nodes at once");
	}
	struct listing l;
	listing_init(&l, s, ENTRIES_REPLY, m.req);
	struct dir *d = handle_dir(s, m.handle);
	int r = 0;
	if (!d)
		l.flags = LISTED_GONE;
	if (m.kind == LIST_NODES) {
		struct nodes ns = {.p = &p,
				   .v = mem_alloc(p.count * TRIE_FANOUT, sizeof(struct node))};
		if (d)
			r = for_each(&l, d, &p, add_node, &ns, e);
		if (r == 0)
			r = send_nodes(&l, &ns, e);
		free(ns.v);
	} else {
		if (d)
			r = for_each(&l, d, &p, list_one, NULL, e);
		if (r == 0)
			r = listing_flush(&l, true, e);
	}
	listing_release(&l);
	free(p.first);
	return r;
}

/* Is each of the named entries absent here? Asked of the disk itself: a listing can miss a name. */
static int answer_confirm(struct source *s, const struct link_frame *f, struct err *e)
{
	struct msg_confirm_req m;
	if (msg_confirm_req_decode(&m, f->payload, f->length, e) < 0)
		return -1;
	struct dir *d = handle_dir(s, m.handle);
	struct visit v = {.fd = -1};
	CLEANUP_BUF struct buf answers;
	CLEANUP_ITEM struct item it;
	item_init(&it);
	buf_init(&answers, CONFIRM_BYTES_MAX);
	struct err why;
	bool held = d && visit_init(&s->tree, &v, d, &why) == 0;
	struct cursor c = cursor_of(m.names.p, m.names.n);
	while (cursor_left(&c) && !c.bad) {
		struct bytes name = get_bytes(&c, NAME_BYTES_MAX);
		if (c.bad || !name_valid(name))
			break;
		int t = held ? tree_read(&s->tree, &v, name, true, &it, &why) : TREE_ERROR;
		buf_put_u8(&answers, t == TREE_ENTRY || t == TREE_ERROR || t == TREE_RESERVED);
	}
	if (d)
		visit_release(&s->tree, &v);
	return LINK_SEND(s->link, CONFIRM, confirm, e, .req = m.req,
			 .answers = {.p = answers.data, .n = answers.len});
}

/* Streams: everything below a directory that the destination does not have. */
struct stream {
	struct listing l;
	bool data; /* false in a dry run: the same listing, no content */
};

static int stream_dir(struct stream *st, struct dir *d, struct tree_sum *sum, struct err *e);

/* What the files under way are called must be on its way before anything waits for them. */
static int stream_job(struct stream *st, struct visit *v, const struct entry *en, struct err *e)
{
	struct source *s = st->l.s;
	if (source_jobs_full(s) && listing_flush(&st->l, false, e) < 0)
		return -1;
	struct job *j = mem_alloc(1, sizeof *j);
	*j = (struct job){.fid = en->fid,
			  .dir = dir_ref(s->dirs, v->d),
			  .name = mem_dup(en->name.p, en->name.n),
			  .name_len = en->name.n,
			  .mode = WANT_FULL,
			  .stream = true,
			  .ctime = st->l.it.ctime,
			  .ctime_ns = st->l.it.ctime_ns};
	return source_push_job(s, j) < 0 ? err_set(e, ERR_CONNECT, "connection closed") : 0;
}

/* True if this name's content has to travel: the first name seen of its inode. */
static bool first_of_group(struct source *s, struct visit *v, const struct item *it,
			   struct entry *en)
{
	if (it->nlink < 2 || !(s->mask.attrs & ATTR_HARD_LINKS))
		return true;
	struct link_slot *slot = links_find(&s->tree.links, it->dev, it->ino);
	if (s->tree.collect_links)
		slot = links_add(&s->tree.links, it->dev, it->ino,
				 hash_path(&s->key, v->d->id, en->name.p, en->name.n).lo);
	if (!slot)
		return true;
	en->flags |= ENTRY_LINKED;
	en->group = group_id(s, it);
	bool first = !slot->sent;
	slot->sent = 1;
	return first;
}

static int stream_leave(struct stream *st, uint8_t flags, struct err *e)
{
	buf_put_u8(&st->l.entries, STREAM_LEAVE);
	buf_put_u8(&st->l.entries, flags);
	return listing_room(&st->l, e);
}

/* A directory inside a stream: its entry, then what it contains, then the mark of its end. */
static int stream_subdir(struct stream *st, struct scan *sc, struct visit *v, struct bytes name,
			 struct tree_sum *sum, struct err *e)
{
	struct source *s = st->l.s;
	CLEANUP_BUF struct buf kept;
	buf_init(&kept, ENTRY_BYTES_MAX);
	struct entry en = {.name = name, .meta = st->l.it.meta};
	bool opaque = tree_opaque(&s->tree, &st->l.it);
	if (opaque) {
		en.digest.flags = DIGEST_OPAQUE;
		source_issue(s, ISSUE_SKIPPED_MOUNT, ERR_OK, 0, v->d, name,
			     "mount point, not crossed");
	}
	entry_encode(&en, &kept);
	if (listing_room(&st->l, e) < 0)
		return -1;
	buf_put(&st->l.entries, kept.data, kept.len);
	struct cursor c = cursor_of(kept.data, kept.len);
	entry_decode(&en, &c);
	struct tree_sum below = {0};
	struct err why = {0};
	struct dir *child = NULL;
	bool deep = v->d->depth >= TREE_DEPTH_MAX;
	if (!opaque && !deep)
		child = dirs_child(s->dirs, v->d, en.name, &why);
	if (!child && !opaque) {
		if (deep)
			err_set(&why, ERR_FAILURE, "directories nested deeper than %d",
				TREE_DEPTH_MAX);
		source_issue(s, ISSUE_FAILED, ERR_PARTIAL, why.sys, v->d, en.name, why.msg);
		below.d.flags |= DIGEST_INCOMPLETE;
	}
	int r = 0;
	if (child) {
		bool suspend = v->d->depth >= 48;
		if (suspend)
			scan_suspend(sc);
		r = stream_dir(st, child, &below, e);
		if (r == 0 && suspend && scan_resume(sc, s->dirs, v->d, &why) < 0) {
			source_issue(s, ISSUE_FAILED, ERR_PARTIAL, why.sys, v->d, (struct bytes){0},
				     why.msg);
			sum->d.flags |= DIGEST_INCOMPLETE;
			r = 1;
		}
		dir_unref(s->dirs, child);
	}
	if (r >= 0 &&
	    stream_leave(st, below.d.flags & DIGEST_INCOMPLETE ? LISTED_INCOMPLETE : 0, e) < 0)
		return -1;
	sum_add(&s->tree, sum, en.name, &en.meta, &below, &st->l.scratch);
	return r;
}

static int stream_entry(struct stream *st, struct scan *sc, struct visit *v, struct bytes name,
			struct tree_sum *sum, struct err *e)
{
	struct source *s = st->l.s;
	struct item *it = &st->l.it;
	struct err why = {0};
	int t = tree_read(&s->tree, v, name, true, it, &why);
	if (t == TREE_ERROR || t == TREE_RESERVED) {
		if (t == TREE_RESERVED)
			err_set(&why, ERR_PARTIAL,
				"name is reserved for scribe-mover; not replicated");
		else
			sum->d.flags |= DIGEST_INCOMPLETE;
		source_issue(s, ISSUE_FAILED, ERR_PARTIAL, why.sys, v->d, name, why.msg);
		return 0;
	}
	if (t != TREE_ENTRY)
		return 0;
	if (++s->tree.walked % 1024 == 0 && s->tree.stop(s))
		return err_set(e, ERR_FAILURE, "stopped");
	s->c->stats->entries_seen++;
	if (it->meta.type == ENTRY_DIR)
		return stream_subdir(st, sc, v, name, sum, e);
	struct entry en = {.name = name, .meta = it->meta};
	bool first = first_of_group(s, v, it, &en);
	bool content = first && it->meta.type == ENTRY_FILE && it->meta.size;
	if (content) {
		en.flags |= ENTRY_STREAM;
		en.fid = s->next_fid += 2;
	}
	entry_encode(&en, &st->l.entries);
	sum_add(&s->tree, sum, name, &it->meta, NULL, &st->l.scratch);
	if (content && st->data && stream_job(st, v, &en, e) < 0)
		return -1;
	return listing_room(&st->l, e);
}

static int stream_dir(struct stream *st, struct dir *d, struct tree_sum *sum, struct err *e)
{
	struct source *s = st->l.s;
	struct visit v;
	struct scan sc = {.fd = -1};
	struct err why = {0};
	*sum = (struct tree_sum){0};
	int r = visit_init(&s->tree, &v, d, &why);
	if (r == 0)
		r = scan_init(&sc, s->dirs, d, &why);
	if (r < 0) {
		source_issue(s, ISSUE_FAILED, ERR_PARTIAL, why.sys, d, (struct bytes){0}, why.msg);
		sum->d.flags |= DIGEST_INCOMPLETE;
		visit_release(&s->tree, &v);
		return 0;
	}
	struct bytes name;
	unsigned char type;
	int more = 0;
	while (r == 0 && (more = scan_next(&sc, &name, &type, &why)) > 0)
		r = stream_entry(st, &sc, &v, name, sum, e);
	if (more < 0) {
		source_issue(s, ISSUE_FAILED, ERR_PARTIAL, why.sys, d, (struct bytes){0}, why.msg);
		sum->d.flags |= DIGEST_INCOMPLETE;
	}
	scan_release(&sc);
	visit_release(&s->tree, &v);
	if (r < 0)
		return -1;
	tree_remember(&s->tree, d, sum);
	return 0;
}

static int stream(struct source *s, uint64_t handle, struct dir *d, struct err *e)
{
	struct stream st = {.data = !(s->c->options->flags & OPT_DRY_RUN)};
	listing_init(&st.l, s, ENTRIES_STREAM, handle);
	struct tree_sum sum = {0};
	int r = d ? stream_dir(&st, d, &sum, e) : 0;
	if (!d)
		st.l.flags = LISTED_GONE;
	else if (sum.d.flags & DIGEST_INCOMPLETE)
		st.l.flags = LISTED_INCOMPLETE;
	if (r == 0)
		r = listing_flush(&st.l, true, e);
	listing_release(&st.l);
	if (d && !d->parent)
		s->tree.collect_links = false;
	return r;
}

/* The first word about the tree: its digest, or at once its content if the destination has nothing.
 */
static int send_root(struct source *s, bool empty, struct err *e)
{
	struct dir *root = s->tree.dirs ? dirs_root(s->dirs) : NULL;
	struct tree_sum sum = {0};
	CLEANUP_ITEM struct item it;
	item_init(&it);
	int fd = dir_pin(s->dirs, root, e);
	int r = fd < 0 ? -1 : attr_read(&it, fd, NULL, &s->mask, e);
	if (fd >= 0)
		dir_unpin(s->dirs, root);
	if (r != ATTR_READ) {
		dir_unref(s->dirs, root);
		return err_wrap(e, "source root");
	}
	link_stage(s->link, STAGE_WALK);
	r = empty ? 0 : tree_sum(&s->tree, root, &sum, e);
	CLEANUP_BUF struct buf meta;
	buf_init(&meta, META_BYTES_MAX);
	meta_encode(&it.meta, &meta);
	s->c->stats->entries_seen += sum.entries;
	if (r == 0)
		r = LINK_SEND(s->link, ROOT, root, e, .stream = empty, .sum = sum.d.sum,
			      .digest_flags = sum.d.flags, .children = sum.d.children,
			      .entries = sum.entries, .bytes = sum.bytes,
			      .links = tree_links_hash(&s->tree),
			      .meta = {.p = meta.data, .n = meta.len});
	link_stage(s->link, STAGE_DATA);
	if (r == 0 && empty)
		r = stream(s, 0, root, e);
	s->tree.counting = false;
	dir_unref(s->dirs, root);
	return r;
}

/* Resolves a path from the destination to (directory, name) and leaves it out of the digests. */
static int leave_out(struct source *s, const struct link_frame *f, struct err *e)
{
	struct msg_leave_out m;
	if (msg_leave_out_decode(&m, f->payload, f->length, e) < 0)
		return -1;
	pthread_mutex_lock(&s->lock);
	h128_sub(&s->content, m.term);
	pthread_mutex_unlock(&s->lock);
	struct dir *d = dirs_root(s->dirs);
	struct bytes rest = m.path;
	for (;;) {
		const uint8_t *slash = rest.n ? memchr(rest.p, '/', rest.n) : NULL;
		struct bytes name = {.p = rest.p, .n = slash ? (size_t)(slash - rest.p) : rest.n};
		if (!name_valid(name))
			break;
		if (!slash) {
			tree_leave_out(&s->tree, d, name,
				       m.how == LEFT_OUT_CONTENT ? LEFT_OUT_CONTENT
								 : LEFT_OUT_WHOLE);
			break;
		}
		struct err why;
		struct dir *child = dirs_child(s->dirs, d, name, &why);
		dir_unref(s->dirs, d);
		d = child;
		if (!d)
			return 0;
		rest.n -= (size_t)(slash + 1 - rest.p);
		rest.p = slash + 1;
	}
	dir_unref(s->dirs, d);
	return 0;
}

static void take_left(struct source *s)
{
	pthread_mutex_lock(&s->lock);
	struct left_path *all = s->left;
	s->left = NULL;
	pthread_mutex_unlock(&s->lock);
	while (all) {
		struct left_path *lp = all;
		all = lp->next;
		tree_leave_out(&s->tree, lp->dir,
			       (struct bytes){.p = (const uint8_t *)lp->name, .n = lp->name_len},
			       LEFT_OUT_WHOLE);
		dir_unref(s->dirs, lp->dir);
		free(lp->name);
		free(lp);
	}
}

/* The digest over what was read, once every file asked for has been sent. */
static int answer_done(struct source *s, const struct link_frame *f, struct err *e)
{
	struct msg_done m;
	if (msg_done_decode(&m, f->payload, f->length, e) < 0)
		return -1;
	pthread_mutex_lock(&s->lock);
	while (s->jobs_open && s->failure.code == ERR_OK && !s->stopping)
		pthread_cond_wait(&s->jobs_done, &s->lock);
	pthread_mutex_unlock(&s->lock);
	take_left(s);
	link_stage(s->link, STAGE_VERIFY);
	if (m.mode) {
		s->verifying = true;
		tree_forget(&s->tree);
	}
	struct dir *root = dirs_root(s->dirs);
	struct tree_sum sum;
	CLEANUP_ITEM struct item it;
	item_init(&it);
	int fd = dir_pin(s->dirs, root, e);
	int r = fd < 0 ? -1 : attr_read(&it, fd, NULL, &s->mask, e);
	if (fd >= 0)
		dir_unpin(s->dirs, root);
	if (r == ATTR_READ)
		r = tree_sum(&s->tree, root, &sum, e);
	dir_unref(s->dirs, root);
	if (r != 0)
		return err_wrap(e, "source root");
	struct h128 links = tree_links_hash(&s->tree);
	pthread_mutex_lock(&s->lock);
	struct h128 content = s->content;
	pthread_mutex_unlock(&s->lock);
	return LINK_SEND(s->link, SOURCE_FINAL, source_final, e, .sum = sum.d.sum,
			 .digest_flags = sum.d.flags,
			 .root_hash = tree_root_hash(&it.meta, &sum, links, content),
			 .content = content, .links = links, .entries = sum.entries,
			 .bytes = sum.bytes, .failed = s->c->stats->files_failed,
			 .changed = s->c->stats->files_changed);
}

static int answer_stream(struct source *s, const struct link_frame *f, struct err *e)
{
	struct msg_stream_req m;
	if (msg_stream_req_decode(&m, f->payload, f->length, e) < 0)
		return -1;
	return stream(s, m.handle, handle_dir(s, m.handle), e);
}

static int serve_one(struct source *s, const struct link_frame *f, struct err *e)
{
	switch (f->type) {
	case WIRE_ROOT:
		return send_root(s, f->payload[0], e);
	case WIRE_DIR_CLOSE:
		return source_close_dir(s, f, e);
	case WIRE_LIST_REQ:
		return answer_list(s, f, e);
	case WIRE_STREAM_REQ:
		return answer_stream(s, f, e);
	case WIRE_CONFIRM_REQ:
		return answer_confirm(s, f, e);
	case WIRE_LEAVE_OUT:
		return leave_out(s, f, e);
	case WIRE_LINKS_REQ:
		return answer_links(s, f, e);
	default:
		return answer_done(s, f, e);
	}
}

void *lister_main(void *arg)
{
	struct source *s = arg;
	struct link_frame *f;
	s->next_fid = FID_STREAM;
	while ((f = mailbox_take(&s->listing, -1))) {
		struct err e = {0};
		int r = serve_one(s, f, &e);
		if (f->channel == CHANNELS)
			free(f);
		else
			link_done(s->link, f);
		if (r < 0) {
			source_fail(s, &e);
			break;
		}
	}
	return NULL;
}
