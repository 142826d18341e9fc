/* SPDX-License-Identifier: Apache-2.0 */
/* The planner: which directories to compare, in what order, and what to do with the answers. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dest_int.h"
#include "mem.h"
#include "sys.h"

enum {
	PREFIXES_PER_LIST = 64,
	NODES_PER_LIST = 16,
	ABSENT_BYTES_MAX = 16 << 20, /* names of one listing that the source may lack */
};

/* Part of a directory that is still to be compared. */
struct task {
	struct task *next;
	struct ddir *dd;
	uint8_t kind; /* enum list_kind */
	uint8_t depth;
	size_t count;
	uint8_t prefixes[]; /* count * depth bytes, ascending */
};

/* A task that the source was asked about. */
struct request {
	struct task *t;
	uint64_t *seen; /* hashes of the names it listed */
	size_t seen_count, seen_cap;
	uint8_t flags;      /* of all frames so far */
	struct node *nodes; /* own sums: count * TRIE_FANOUT */
	size_t answered;    /* prefixes whose nodes came */
	/* LIST_ENTRIES: names the source did not list, waiting for its confirmation. */
	struct buf absent;
	size_t asked; /* bytes of it that the source was asked about */
};

struct node {
	struct h128 sum;
	uint64_t count;
	uint8_t flags;
};

struct ddir *ddir_new(struct dest *D, struct ddir *parent, struct dir *d, const struct meta *want)
{
	struct ddir *dd = mem_alloc(1, sizeof *dd);
	dd->d = d;
	dd->parent = parent;
	dd->pending = 1;
	if (want) {
		struct buf b;
		buf_init(&b, META_BYTES_MAX);
		meta_encode(want, &b);
		dd->meta = b.data;
		dd->meta_len = b.len;
	}
	if (parent) {
		pthread_mutex_lock(&D->lock);
		parent->pending++;
		pthread_mutex_unlock(&D->lock);
	}
	return dd;
}

void ddir_free(struct dest *D, struct ddir *dd)
{
	if (dd->has_handle && dd->handle)
		LINK_SEND(D->link, DIR_CLOSE, dir_close, NULL, .handle = dd->handle);
	dir_unref(D->dirs, dd->d);
	free(dd->meta);
	free(dd);
}

void ddir_done_one(struct dest *D, struct ddir *dd)
{
	pthread_mutex_lock(&D->lock);
	if (--dd->pending == 0) {
		dd->next = NULL;
		*D->done_end = dd;
		D->done_end = &dd->next;
		pthread_cond_broadcast(&D->files_moved);
	}
	pthread_mutex_unlock(&D->lock);
}

static struct task *task_new(struct dest *D, struct ddir *dd, enum list_kind kind, unsigned depth,
			     size_t count)
{
	struct task *t = mem_alloc(1, sizeof *t + count * depth);
	t->dd = dd;
	t->kind = (uint8_t)kind;
	t->depth = (uint8_t)depth;
	t->count = count;
	t->next = D->tasks;
	D->tasks = t;
	pthread_mutex_lock(&D->lock);
	dd->pending++;
	pthread_mutex_unlock(&D->lock);
	return t;
}

void plan_dir(struct dest *D, struct ddir *dd, uint64_t children_there, uint64_t children_here)
{
	uint64_t most = children_there > children_here ? children_there : children_here;
	task_new(D, dd, most <= TRIE_LIST_MAX ? LIST_ENTRIES : LIST_NODES, 0, 1);
}

int plan_handle(struct dest *D, struct ddir *dd, struct err *e)
{
	if (dd->has_handle)
		return 0;
	if (plan_handle(D, dd->parent, e) < 0)
		return -1;
	dd->handle = ++D->next_handle;
	dd->has_handle = true;
	return LINK_SEND(D->link, DIR_OPEN, dir_open, e, .handle = dd->handle,
			 .parent = dd->parent->handle,
			 .name = {.p = (const uint8_t *)dd->d->name, .n = dd->d->name_len});
}

static long prefix_find(const struct task *t, uint64_t hash)
{
	if (t->depth == 0)
		return 0;
	uint8_t key[8];
	for (unsigned i = 0; i < t->depth; i++)
		key[i] = (uint8_t)(hash >> (56 - 8 * i));
	size_t low = 0;
	size_t high = t->count;
	while (low < high) {
		size_t mid = (low + high) / 2;
		int c = memcmp(t->prefixes + mid * t->depth, key, t->depth);
		if (c == 0)
			return (long)mid;
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return -1;
}

/* Own sums of the parts of a directory, to be held against the source's. */
static int own_nodes(struct dest *D, struct request *rq, struct err *e)
{
	struct task *t = rq->t;
	struct visit v;
	struct scan sc = {.fd = -1};
	CLEANUP_BUF struct buf scratch;
	CLEANUP_ITEM struct item it;
	item_init(&it);
	buf_init(&scratch, ENTRY_BYTES_MAX);
	rq->nodes = mem_alloc(t->count * TRIE_FANOUT, sizeof *rq->nodes);
	int r = visit_init(&D->tree, &v, t->dd->d, e);
	if (r == 0)
		r = scan_init(&sc, D->dirs, t->dd->d, e);
	struct bytes name;
	unsigned char type;
	while (r == 0 && scan_next(&sc, &name, &type, e) > 0) {
		uint64_t hash = hash64(&D->key, name.p, name.n);
		long at = prefix_find(t, hash);
		struct err why;
		if (at < 0 || tree_read(&D->tree, &v, name, true, &it, &why) != TREE_ENTRY ||
		    (tree_left_out(&D->tree, t->dd->d, name) & LEFT_OUT_WHOLE))
			continue;
		CLEANUP_FREE char *kept = mem_dup(name.p, name.n);
		struct bytes own = {.p = (const uint8_t *)kept, .n = name.n};
		struct tree_sum below = {0};
		struct tree_sum one = {0};
		bool dir = it.meta.type == ENTRY_DIR;
		if (dir)
			r = tree_child_sum(&D->tree, t->dd->d, own, &it, &below, e);
		sum_add(&D->tree, &one, own, &it.meta, dir ? &below : NULL, &scratch);
		struct node *n =
			&rq->nodes[(size_t)at * TRIE_FANOUT + (hash >> (56 - 8 * t->depth) & 0xff)];
		h128_add(&n->sum, one.d.sum);
		n->count++;
		n->flags |= one.d.flags;
	}
	scan_release(&sc);
	visit_release(&D->tree, &v);
	return r;
}

/* One more file under way, if there is room. */
static bool take_turn(struct dest *D)
{
	pthread_mutex_lock(&D->lock);
	bool room = D->wants_open < WANTS_IN_FLIGHT_MAX;
	if (room)
		D->wants_open++;
	D->wants_starved = !room;
	pthread_mutex_unlock(&D->lock);
	return room;
}

int plan_want(struct dest *D, const struct msg_want *m, struct err *e)
{
	buf_clear(&D->frame);
	msg_want_encode(m, &D->frame);
	if (!D->held && take_turn(D))
		return link_send(D->link, WIRE_WANT, &D->frame, e);
	struct held_want *h = mem_alloc_raw(sizeof *h + D->frame.len);
	h->next = NULL;
	h->n = D->frame.len;
	memcpy(h->payload, D->frame.data, D->frame.len);
	*D->held_end = h;
	D->held_end = &h->next;
	return 0;
}

static int send_held(struct dest *D, struct err *e)
{
	while (D->held && take_turn(D)) {
		struct held_want *h = D->held;
		struct buf b = {.data = h->payload, .len = h->n, .cap = h->n, .max = h->n};
		int r = link_send(D->link, WIRE_WANT, &b, e);
		D->held = h->next;
		if (!D->held)
			D->held_end = &D->held;
		free(h);
		if (r < 0)
			return -1;
	}
	return 0;
}

/* Sends requests while there are tasks and room for answers. */
static int pump(struct dest *D, struct err *e)
{
	if (send_held(D, e) < 0)
		return -1;
	while (D->tasks && !D->held && D->lists_open < LISTS_IN_FLIGHT_MAX) {
		struct task *t = D->tasks;
		D->tasks = t->next;
		struct request *rq = mem_alloc(1, sizeof *rq);
		rq->t = t;
		buf_init(&rq->absent, ABSENT_BYTES_MAX);
		uint64_t req = ++D->next_req;
		ptrmap_put(&D->requests, req, rq);
		D->lists_open++;
		if (t->kind == LIST_NODES && own_nodes(D, rq, e) < 0)
			return -1;
		if (plan_handle(D, t->dd, e) < 0 ||
		    LINK_SEND(D->link, LIST_REQ, list_req, e, .req = req, .handle = t->dd->handle,
			      .kind = t->kind, .depth = t->depth,
			      .prefixes = {.p = t->prefixes, .n = t->count * t->depth}) < 0)
			return -1;
	}
	return 0;
}

static void request_over(struct dest *D, uint64_t req, struct request *rq)
{
	ptrmap_remove(&D->requests, req);
	D->lists_open--;
	ddir_done_one(D, rq->t->dd);
	free(rq->t);
	free(rq->seen);
	free(rq->nodes);
	buf_release(&rq->absent);
	free(rq);
}

static int compare_hashes(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

/* Splits what differs further, or lists it when it is small. */
static int take_nodes(struct dest *D, const struct link_frame *f, struct err *e)
{
	struct msg_nodes m;
	if (msg_nodes_decode(&m, f->payload, f->length, e) < 0)
		return -1;
	struct request *rq = ptrmap_get(&D->requests, m.req);
	if (!rq || rq->t->kind != LIST_NODES || rq->answered >= rq->t->count ||
	    m.nodes.n != TRIE_FANOUT * NODE_BYTES)
		return err_set(e, ERR_PROTOCOL, "the source sent nodes nobody asked for");
	struct task *t = rq->t;
	size_t at = rq->answered++;
	struct cursor c = cursor_of(m.nodes.p, m.nodes.n);
	uint8_t small[TRIE_FANOUT];
	uint8_t large[TRIE_FANOUT];
	size_t n_small = 0;
	size_t n_large = 0;
	for (unsigned i = 0; i < TRIE_FANOUT; i++) {
		struct h128 sum = get_h128(&c);
		uint64_t word = get_u64(&c);
		const struct node *own = &rq->nodes[at * TRIE_FANOUT + i];
		uint64_t count = word & ((1ull << 56) - 1);
		if (h128_equal(sum, own->sum) && count == own->count && !(word >> 56) &&
		    !own->flags)
			continue;
		uint64_t most = count > own->count ? count : own->count;
		if (most <= TRIE_LIST_MAX || t->depth + 2 > TRIE_DEPTH_MAX)
			small[n_small++] = (uint8_t)i;
		else
			large[n_large++] = (uint8_t)i;
	}
	/* Tasks are a stack: what is pushed last is asked first, so push in reverse to keep the
	 * order. */
	for (int kind = 0; kind < 2; kind++) {
		const uint8_t *list = kind ? small : large;
		size_t n = kind ? n_small : n_large;
		size_t step = kind ? PREFIXES_PER_LIST / 8 : NODES_PER_LIST;
		for (size_t end = n; end > 0;) {
			size_t begin = (end - 1) / step * step;
			struct task *next = task_new(D, t->dd, kind ? LIST_ENTRIES : LIST_NODES,
						     t->depth + 1u, end - begin);
			for (size_t i = begin; i < end; i++) {
				uint8_t *p = next->prefixes + (i - begin) * next->depth;
				if (t->depth)
					memcpy(p, t->prefixes + at * t->depth, t->depth);
				p[t->depth] = list[i];
			}
			end = begin;
		}
	}
	if (m.last)
		request_over(D, m.req, rq);
	return 0;
}

static void see(struct request *rq, uint64_t hash)
{
	if (rq->seen_count == rq->seen_cap) {
		rq->seen_cap = rq->seen_cap ? rq->seen_cap * 2 : 64;
		rq->seen = mem_realloc(rq->seen, rq->seen_cap, sizeof *rq->seen);
	}
	rq->seen[rq->seen_count++] = hash;
}

/* Names here that the source did not list go into rq->absent. */
static int find_absent(struct dest *D, struct request *rq, struct err *e)
{
	struct task *t = rq->t;
	struct visit v;
	struct scan sc = {.fd = -1};
	if (rq->seen_count)
		qsort(rq->seen, rq->seen_count, sizeof *rq->seen, compare_hashes);
	int r = visit_init(&D->tree, &v, t->dd->d, e);
	if (r == 0)
		r = scan_init(&sc, D->dirs, t->dd->d, e);
	struct bytes name;
	unsigned char type;
	int more = 0;
	while (r == 0 && (more = scan_next(&sc, &name, &type, e)) > 0) {
		uint64_t hash = hash64(&D->key, name.p, name.n);
		if (prefix_find(t, hash) < 0 ||
		    (rq->seen_count &&
		     bsearch(&hash, rq->seen, rq->seen_count, sizeof hash, compare_hashes)))
			continue;
		struct err why;
		if (tree_read(&D->tree, &v, name, true, &D->own, &why) != TREE_ENTRY ||
		    (tree_left_out(&D->tree, t->dd->d, name) & LEFT_OUT_WHOLE))
			continue;
		put_bytes(&rq->absent, name.p, name.n);
	}
	scan_release(&sc);
	visit_release(&D->tree, &v);
	return r < 0 || more < 0 ? -1 : 0;
}

/* Asks about the next names, as many as fit a request. */
static int ask_absent(struct dest *D, uint64_t req, struct request *rq, struct err *e)
{
	struct cursor c = cursor_of(rq->absent.data, rq->absent.len);
	rq->asked = 0;
	while (cursor_left(&c)) {
		get_bytes(&c, NAME_BYTES_MAX);
		size_t at = rq->absent.len - cursor_left(&c);
		if (c.bad || at > CONFIRM_BYTES_MAX)
			break;
		rq->asked = at;
	}
	return LINK_SEND(D->link, CONFIRM_REQ, confirm_req, e, .req = req,
			 .handle = rq->t->dd->handle,
			 .names = {.p = rq->absent.data, .n = rq->asked});
}

/* The whole answer to a listing has come. */
static int listing_over(struct dest *D, uint64_t req, struct request *rq, struct err *e)
{
	bool trusted = !(rq->flags & (LISTED_INCOMPLETE | LISTED_GONE));
	if (trusted) {
		struct err why = {0};
		if (find_absent(D, rq, &why) < 0)
			dest_issue(D, ISSUE_FAILED, ERR_PARTIAL, why.sys, rq->t->dd->d,
				   (struct bytes){0}, why.msg);
		else if (rq->absent.len)
			return ask_absent(D, req, rq, e);
	}
	request_over(D, req, rq);
	return 0;
}

static void plan_deletion(struct dest *D, struct ddir *dd, struct bytes name)
{
	struct visit v;
	struct err why;
	int t = TREE_GONE;
	if (visit_init(&D->tree, &v, dd->d, &why) == 0)
		t = tree_read(&D->tree, &v, name, true, &D->own, &why);
	visit_release(&D->tree, &v);
	if (t != TREE_ENTRY)
		return;
	D->changed = true;
	item_deleting(D, dd->d, name, D->own.meta.type);
	if (D->o->flags & OPT_DRY_RUN)
		return;
	tree_touch(&D->tree, dd->d);
	struct deletion *del = mem_alloc(1, sizeof *del);
	del->d = dir_ref(D->dirs, dd->d);
	del->name = mem_dup(name.p, name.n);
	del->name_len = name.n;
	*D->deletions_end = del;
	D->deletions_end = &del->next;
}

static int take_confirm(struct dest *D, const struct link_frame *f, struct err *e)
{
	struct msg_confirm m;
	if (msg_confirm_decode(&m, f->payload, f->length, e) < 0)
		return -1;
	struct request *rq = ptrmap_get(&D->requests, m.req);
	if (!rq || rq->t->kind != LIST_ENTRIES)
		return err_set(e, ERR_PROTOCOL, "the source confirmed what nobody asked");
	struct cursor c = cursor_of(rq->absent.data, rq->asked);
	for (size_t i = 0; cursor_left(&c) && i < m.answers.n; i++) {
		struct bytes name = get_bytes(&c, NAME_BYTES_MAX);
		if (m.answers.p[i])
			continue;
		if (!(D->o->flags & OPT_DELETE)) {
			tree_leave_out(&D->tree, rq->t->dd->d, name, LEFT_OUT_WHOLE);
			D->left_any = true;
		} else if (D->verifying)
			verify_extra(D, rq->t->dd, name, rq->flags);
		else
			plan_deletion(D, rq->t->dd, name);
	}
	buf_consume(&rq->absent, rq->asked);
	if (rq->absent.len)
		return ask_absent(D, m.req, rq, e);
	request_over(D, m.req, rq);
	return 0;
}

static int take_reply(struct dest *D, const struct msg_entries *m, struct err *e)
{
	struct request *rq = ptrmap_get(&D->requests, m->req);
	if (!rq || rq->t->kind != LIST_ENTRIES)
		return err_set(e, ERR_PROTOCOL, "the source sent a listing nobody asked for");
	rq->flags |= m->flags;
	struct visit v;
	struct err why = {0};
	if (visit_init(&D->tree, &v, rq->t->dd->d, &why) < 0) {
		visit_release(&D->tree, &v);
		dest_issue(D, ISSUE_FAILED, ERR_PARTIAL, why.sys, rq->t->dd->d, (struct bytes){0},
			   why.msg);
		rq->flags |= LISTED_INCOMPLETE;
	} else {
		struct cursor c = cursor_of(m->entries.p, m->entries.n);
		int r = 0;
		while (cursor_left(&c) && r == 0) {
			struct entry en;
			entry_decode(&en, &c);
			if (c.bad || tree_hidden(rq->t->dd->d, en.name) ||
			    (en.flags & ENTRY_STREAM))
				r = err_set(e, ERR_PROTOCOL, "the source sent a malformed listing");
			if (r == 0)
				see(rq, hash64(&D->key, en.name.p, en.name.n));
			if (r == 0)
				r = D->verifying ? verify_entry(D, rq->t->dd, &v, &en, e)
						 : compare_entry(D, rq->t->dd, &v, &en, false, e);
		}
		visit_release(&D->tree, &v);
		if (r < 0)
			return -1;
	}
	return m->last ? listing_over(D, m->req, rq, e) : 0;
}

/* The source's file ids are odd and ascend. */
static bool stream_fid_ok(struct dest *D, const struct entry *en)
{
	if (!(en->flags & ENTRY_STREAM))
		return true;
	bool ok = (en->fid & FID_STREAM) && en->fid > D->last_stream_fid &&
		  en->meta.type == ENTRY_FILE;
	D->last_stream_fid = en->fid;
	return ok;
}

/* An entry of a stream below a directory that could not be made: only its place is kept. */
static void drop_streamed(struct dest *D, struct ddir *dd, const struct entry *en)
{
	if (en->meta.type == ENTRY_DIR) {
		struct ddir *child =
			ddir_new(D, dd, dirs_name_only(D->dirs, dd->d, en->name), NULL);
		child->dead = true;
		D->stream_at = child;
	} else if (en->flags & ENTRY_STREAM) {
		struct dfile *f = dfile_new(dd, en, en->fid);
		err_set(&f->why, ERR_PARTIAL, "its directory could not be made");
		f->broken = true;
		f->group = 0;
		dfile_publish(D, f);
	}
}

/* So many announced files may wait for their content. Their content is on its way before that of
 * any later one, but for what the source has in open packs, which is less; so waiting here cannot
 * starve the writers. */
static void wait_for_content(struct dest *D)
{
	pthread_mutex_lock(&D->lock);
	while (D->stream_files >= STREAM_FILES_MAX && !D->stopping)
		pthread_cond_wait(&D->files_moved, &D->lock);
	pthread_mutex_unlock(&D->lock);
}

/* One step down into or up out of a directory of the running stream. */
static int take_stream(struct dest *D, const struct msg_entries *m, struct err *e)
{
	struct cursor c = cursor_of(m->entries.p, m->entries.n);
	struct visit v = {.fd = -1};
	struct ddir *held = NULL;
	int r = 0;
	if (!D->stream_at && D->streams) {
		D->stream_at = D->stream_top = D->streams;
		D->streams = D->streams->next;
		if (!D->streams)
			D->streams_end = &D->streams;
	}
	if (!D->stream_at || m->req != D->stream_top->handle)
		return err_set(e, ERR_PROTOCOL, "the source streams what nobody asked for");
	while (cursor_left(&c) && r == 0) {
		struct ddir *dd = D->stream_at;
		if (*c.p == STREAM_LEAVE) {
			get_u8(&c);
			get_u8(&c);
			if (c.bad || !D->stream_at->parent || D->stream_at == D->stream_top)
				return err_set(e, ERR_PROTOCOL,
					       "the source left a directory it was not in");
			D->stream_at = dd->parent;
			if (held) {
				visit_release(&D->tree, &v);
				held = NULL;
			}
			ddir_done_one(D, dd);
			continue;
		}
		struct entry en;
		entry_decode(&en, &c);
		if (c.bad || tree_hidden(dd->d, en.name) || !stream_fid_ok(D, &en)) {
			r = err_set(e, ERR_PROTOCOL, "the source sent a malformed stream");
			break;
		}
		if ((en.flags & ENTRY_STREAM) && !(D->o->flags & OPT_DRY_RUN))
			wait_for_content(D);
		if (dd->dead) {
			drop_streamed(D, dd, &en);
			continue;
		}
		if (held != dd && !(D->o->flags & OPT_DRY_RUN)) {
			if (held)
				visit_release(&D->tree, &v);
			held = visit_init(&D->tree, &v, dd->d, e) == 0 ? dd : NULL;
			if (!held)
				return -1;
		}
		r = compare_entry(D, dd, &v, &en, true, e);
	}
	if (held)
		visit_release(&D->tree, &v);
	if (r == 0 && m->last) {
		if (D->stream_at != D->stream_top)
			return err_set(e, ERR_PROTOCOL,
				       "the source ended a stream inside a directory");
		ddir_done_one(D, D->stream_top);
		D->stream_at = D->stream_top = NULL;
		D->streams_open--;
	}
	return r;
}

int plan_stream(struct dest *D, struct ddir *dd, struct err *e)
{
	D->streams_open++;
	dd->next = NULL;
	*D->streams_end = dd;
	D->streams_end = &dd->next;
	if (plan_handle(D, dd, e) < 0)
		return -1;
	return LINK_SEND(D->link, STREAM_REQ, stream_req, e, .handle = dd->handle);
}

static int brake(struct dest *D, const struct tree_sum *own, struct err *e)
{
	const struct msg_root *s = &D->source_root;
	uint64_t flags = D->o->flags;
	if (s->entries == 0 && own->entries && !(flags & OPT_ALLOW_EMPTY))
		return err_set(e, ERR_BRAKE,
			       "the source is empty and the destination has %llu entries; is the "
			       "source mounted? --allow-empty-source overrides",
			       (unsigned long long)own->entries);
	uint64_t keep = 100 - D->o->max_shrink;
	bool entries = own->entries > s->entries && own->entries - s->entries > 100 &&
		       (double)s->entries < (double)own->entries * (double)keep / 100;
	bool bytes = own->bytes > s->bytes && own->bytes - s->bytes > 1u << 30 &&
		     (double)s->bytes < (double)own->bytes * (double)keep / 100;
	if ((entries || bytes) && (flags & OPT_DELETE) && s->entries)
		return err_set(e, ERR_BRAKE,
			       "the source shrank to %llu entries and %llu bytes, the destination "
			       "has %llu and %llu; --max-shrink PERCENT overrides",
			       (unsigned long long)s->entries, (unsigned long long)s->bytes,
			       (unsigned long long)own->entries, (unsigned long long)own->bytes);
	return 0;
}

static int take_root(struct dest *D, const struct link_frame *f, struct err *e)
{
	if (D->root)
		return err_set(e, ERR_PROTOCOL, "the source sent ROOT twice");
	struct msg_root m;
	if (msg_root_decode(&m, f->payload, f->length, e) < 0)
		return -1;
	struct meta want;
	struct cursor c = cursor_of(m.meta.p, m.meta.n);
	meta_decode(&want, &c);
	if (c.bad || cursor_left(&c) || want.type != ENTRY_DIR ||
	    m.digest_flags & ~DIGEST_FLAGS_ALL)
		return err_set(e, ERR_PROTOCOL, "the source sent a malformed root");
	if (m.stream && !D->empty)
		return err_set(e, ERR_PROTOCOL,
			       "the source streams into a destination that is not empty");
	D->source_root = m;
	D->source_root.meta = (struct bytes){0};
	D->root = ddir_new(D, NULL, dirs_root(D->dirs), &want);
	D->root->has_handle = true;
	if (m.stream) {
		D->stream_at = D->stream_top = D->root;
		D->streams_open = 1;
		compare_root(D);
		return 0;
	}
	struct tree_sum own;
	if (tree_sum(&D->tree, D->root->d, &own, e) < 0)
		return -1;
	D->own_sum = own;
	if (brake(D, &own, e) < 0)
		return -1;
	bool equal = h128_equal(own.d.sum, m.sum) && !own.d.flags && !m.digest_flags;
	if (!equal)
		plan_dir(D, D->root, m.children, own.d.children);
	D->racy_seen = m.digest_flags & DIGEST_RACY;
	compare_root(D);
	ddir_done_one(D, D->root);
	return 0;
}

/* A failed entry, reported by one of our own threads. */
static int leave_out(struct dest *D, const struct link_frame *f, struct err *e)
{
	struct h128 term = h128_load(f->payload + 1);
	struct bytes path = {.p = f->payload + 17, .n = f->length - 17};
	const uint8_t *slash = memrchr(path.p, '/', path.n);
	struct bytes name =
		slash ? (struct bytes){.p = slash + 1, .n = path.n - (size_t)(slash + 1 - path.p)}
		      : path;
	struct dir *d = dirs_root(D->dirs);
	for (struct bytes rest = path; d && rest.p != name.p;) {
		const uint8_t *next = memchr(rest.p, '/', rest.n);
		struct bytes one = {.p = rest.p, .n = (size_t)(next - rest.p)};
		struct err why;
		struct dir *child = dirs_child(D->dirs, d, one, &why);
		dir_unref(D->dirs, d);
		d = child;
		rest.n -= one.n + 1;
		rest.p = next + 1;
	}
	if (d && name.n)
		tree_leave_out(&D->tree, d, name, LEFT_OUT_WHOLE);
	if (d)
		dir_unref(D->dirs, d);
	D->left_any = true;
	if (f->payload[0])
		return 0;
	return LINK_SEND(D->link, LEAVE_OUT, leave_out, e, .how = LEFT_OUT_WHOLE, .term = term,
			 .path = path);
}

int plan_begin(struct dest *D, struct err *e)
{
	(void)e;
	D->streams_end = &D->streams;
	D->held_end = &D->held;
	link_stage(D->link, STAGE_WALK);
	if (!D->empty) {
		/* Walk while the source walks; ROOT is compared when both are through. */
		struct tree_sum own;
		struct dir *root = dirs_root(D->dirs);
		int r = tree_sum(&D->tree, root, &own, e);
		dir_unref(D->dirs, root);
		D->had_links = D->tree.links.count != 0;
		return r;
	}
	return 0;
}

static int dispatch(struct dest *D, const struct link_frame *f, struct err *e)
{
	struct msg_entries m;
	switch (f->type) {
	case WIRE_ROOT:
		link_stage(D->link, STAGE_DATA);
		return take_root(D, f, e);
	case WIRE_NODES:
		return take_nodes(D, f, e);
	case WIRE_CONFIRM:
		return take_confirm(D, f, e);
	case WIRE_ENTRIES:
		if (msg_entries_decode(&m, f->payload, f->length, e) < 0)
			return -1;
		return m.kind == ENTRIES_STREAM ? take_stream(D, &m, e) : take_reply(D, &m, e);
	case WIRE_LEAVE_OUT:
		return leave_out(D, f, e);
	case WIRE_ACK:
		return 0;
	case WIRE_WANT: {
		struct dfile *file;
		memcpy(&file, f->payload, sizeof file);
		return compare_over(D, file, e);
	}
	default:
		return err_set(e, ERR_PROTOCOL, "unexpected message %s", message_name(f->type));
	}
}

int plan_message(struct dest *D, struct link_frame *f, struct err *e)
{
	int r = dispatch(D, f, e);
	if (f->channel == FRAME_LOCAL)
		free(f);
	else
		link_done(D->link, f);
	if (r == 0)
		r = pump(D, e);
	if (r == 0 && D->root && !D->tasks && !D->held && !D->lists_open && !D->streams_open) {
		pthread_mutex_lock(&D->lock);
		D->compare_done = true;
		pthread_cond_broadcast(&D->files_moved);
		pthread_mutex_unlock(&D->lock);
	}
	return r;
}

/* Compares the whole tree once more, pruned by digests. */
int plan_again(struct dest *D, uint64_t children_there, struct err *e)
{
	struct tree_sum own;
	if (tree_sum(&D->tree, D->root->d, &own, e) < 0)
		return -1;
	pthread_mutex_lock(&D->lock);
	D->root->pending = 1;
	D->root_done = false;
	D->compare_done = false;
	pthread_mutex_unlock(&D->lock);
	plan_dir(D, D->root, children_there, own.d.children);
	ddir_done_one(D, D->root);
	dest_wake_planner(D);
	while (!plan_idle(D)) {
		struct link_frame *f = run_take(D->link, &D->inbox, -1, e);
		if (!f || plan_message(D, f, e) < 0)
			return -1;
	}
	return 0;
}

bool plan_idle(struct dest *D)
{
	if (!D->root || D->tasks || D->held || D->lists_open || D->streams_open ||
	    mailbox_count(&D->inbox))
		return false;
	pthread_mutex_lock(&D->lock);
	bool idle = D->root_done;
	pthread_mutex_unlock(&D->lock);
	return idle;
}

void plan_release(struct dest *D)
{
	/* Nothing below is reached by a thread any more; every list is emptied through its owner.
	 */
	for (size_t i = 0; i < D->files.cap; i++)
		if (D->files.slots[i].p)
			dfile_free(D, D->files.slots[i].p);
	while (D->ready) {
		struct dfile *f = D->ready;
		D->ready = f->next;
		dfile_free(D, f);
	}
	struct link_frame *fr;
	while ((fr = mailbox_take(&D->inbox, 0))) {
		struct dfile *f = NULL;
		if (fr->channel == FRAME_LOCAL && fr->type == WIRE_WANT)
			memcpy(&f, fr->payload, sizeof f);
		if (f)
			dfile_free(D, f);
		free(fr);
	}
	while (D->held) {
		struct held_want *h = D->held;
		D->held = h->next;
		free(h);
	}
	while (D->tasks) {
		struct task *t = D->tasks;
		D->tasks = t->next;
		ddir_done_one(D, t->dd);
		free(t);
	}
	for (size_t i = 0; i < D->requests.cap; i++) {
		struct request *rq = D->requests.slots[i].p;
		if (!rq)
			continue;
		ddir_done_one(D, rq->t->dd);
		free(rq->t);
		free(rq->seen);
		free(rq->nodes);
		buf_release(&rq->absent);
		free(rq);
	}
	while (D->stream_at && D->stream_at != D->stream_top) {
		struct ddir *dd = D->stream_at;
		D->stream_at = dd->parent;
		ddir_done_one(D, dd);
	}
	if (D->stream_top)
		ddir_done_one(D, D->stream_top);
	while (D->streams) {
		struct ddir *dd = D->streams;
		D->streams = dd->next;
		ddir_done_one(D, dd);
	}
	while (D->done) {
		struct ddir *dd = D->done;
		D->done = dd->next;
		if (!D->done)
			D->done_end = &D->done;
		struct ddir *parent = dd->parent;
		ddir_free(D, dd);
		if (parent)
			ddir_done_one(D, parent);
		else
			D->root = NULL;
	}
	if (D->root)
		ddir_free(D, D->root);
	D->root = NULL;
}
