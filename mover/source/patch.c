/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file of which the destination has an old version. Cheapest first:
 *   1. leaves at equal offsets; what agrees is a copy, a few scattered leaves are looked at page by
 * page;
 *   2. where long runs differ, content may stand elsewhere: in large files anchors find the
 * distance and whole windows, then leaves, are compared at that distance;
 *   3. what is left goes through librsync against the part of the old file it should come from;
 *   4. the rest is literal.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "anchor.h"
#include "mem.h"
#include "patch.h"
#include "rsdelta.h"
#include "sys.h"

enum {
	BATCH_LEAVES = SUMS_COUNT_MAX,
	LONG_RUN = 32, /* leaves; longer runs are taken as rewritten or moved, not as scattered */
	ANCHOR_FROM = 16 << 20, /* bytes in doubt from which anchors pay */
	PAGES = LEAF_BYTES / PAGE_BYTES,
};

void ranges_add(struct ranges *r, uint64_t start, uint64_t end)
{
	if (start >= end)
		return;
	if (r->n && r->v[r->n - 1].end == start) {
		r->v[r->n - 1].end = end;
		return;
	}
	if (r->n == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 16;
		r->v = mem_realloc(r->v, r->cap, sizeof *r->v);
	}
	r->v[r->n++] = (struct range){start, end};
}

/* Asks the destination and gathers the whole answer. 0 with p->sums filled, or -1. */
static int gather(struct patch *p, struct err *e)
{
	struct worker *w = p->w;
	buf_clear(&p->sums);
	for (;;) {
		struct link_frame *f = mailbox_take(&w->sums, -1);
		if (!f)
			return link_error(w->s->link, e)
				       ? -1
				       : err_set(e, ERR_CONNECT, "connection closed");
		struct msg_sums m;
		int r = msg_sums_decode(&m, f->payload, f->length, e);
		if (r == 0 && (m.first != p->sums.len || buf_put(&p->sums, m.sums.p, m.sums.n) < 0))
			r = err_set(e, ERR_PROTOCOL,
				    "the destination sent sums that do not fit together");
		bool last = m.last;
		link_done(w->s->link, f);
		if (r < 0 || last)
			return r;
	}
}

static int ask(struct patch *p, enum sum_level level, uint64_t first, uint64_t count,
	       struct bytes leaves, struct err *e)
{
	struct worker *w = p->w;
	w->waiting_for = p->j->fid + 1;
	int r = LINK_SEND(w->s->link, SUMS_REQ, sums_req, e, .fid = p->j->fid,
			  .level = (uint8_t)level, .first = first, .count = count,
			  .leaves = leaves);
	if (r == 0)
		r = gather(p, e);
	w->waiting_for = 0;
	return r;
}

int patch_signature(struct patch *p, uint64_t offset, uint64_t length, struct err *e)
{
	struct worker *w = p->w;
	w->waiting_for = p->j->fid + 1;
	int r = LINK_SEND(w->s->link, SIGNATURE_REQ, signature_req, e, .fid = p->j->fid,
			  .offset = offset, .length = length);
	if (r == 0)
		r = gather(p, e);
	w->waiting_for = 0;
	return r;
}

/* Neighbouring copies and holes are put together before they are sent. */
static int flush_held(struct patch *p, struct err *e)
{
	uint64_t n = p->held.length;
	p->held.length = 0;
	if (n == 0)
		return 0;
	return p->held.hole ? worker_hole(p->w, p->j, p->held.dst, n, e)
			    : worker_copy(p->w, p->j, p->held.dst, p->held.src, n, e);
}

static int hold(struct patch *p, bool hole, uint64_t dst, uint64_t src, uint64_t n, struct err *e)
{
	if (p->probing)
		return 0;
	if (p->held.length && p->held.hole == hole && p->held.dst + p->held.length == dst &&
	    (hole || p->held.src + p->held.length == src)) {
		p->held.length += n;
		return 0;
	}
	if (flush_held(p, e) < 0)
		return -1;
	p->held.hole = hole;
	p->held.dst = dst;
	p->held.src = src;
	p->held.length = n;
	return 0;
}

int patch_copy(struct patch *p, uint64_t dst, uint64_t src, uint64_t n, struct err *e)
{
	return hold(p, false, dst, src, n, e);
}

/* A leaf that agrees. Zeros become a hole, whatever the old file has there. */
static int leaf_same(struct patch *p, uint64_t leaf, size_t n, struct h128 own, struct err *e)
{
	uint64_t at = leaf * LEAF_BYTES;
	return hold(p, n == LEAF_BYTES && h128_equal(own, p->zero_leaf), at, at, n, e);
}

int patch_literal(struct patch *p, uint64_t from, uint64_t to, struct err *e)
{
	return worker_send_range(p->w, p->j, p->fd, from, to, NULL, e);
}

static size_t leaf_length(uint64_t size, uint64_t index)
{
	uint64_t at = index * LEAF_BYTES;
	return at >= size ? 0 : size - at < LEAF_BYTES ? (size_t)(size - at) : LEAF_BYTES;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

static void note_leaf(struct patch *p, uint64_t index, const uint8_t *data, size_t n,
		      struct h128 *own)
{
	if (all_zero(data, n)) {
		*own = n == LEAF_BYTES ? p->zero_leaf : hash128(&p->w->s->key, data, n);
		return;
	}
	h128_add(&p->content, hash_leaf_term(index, hash128(NULL, data, n)));
	*own = hash128(&p->w->s->key, data, n);
}

/* The keyed hashes of the source's leaves [first, first + count), each added to the content sum;
 * holes are not read. */
static int read_leaves(struct patch *p, uint64_t first, uint64_t count, struct h128 *own,
		       struct err *e)
{
	uint8_t *data = p->w->data;
	uint64_t end =
		(first + count) * LEAF_BYTES < p->size ? (first + count) * LEAF_BYTES : p->size;
	for (uint64_t at = first * LEAF_BYTES; at < end;) {
		off_t next = lseek(p->fd, (off_t)at, SEEK_DATA);
		uint64_t start = next < 0 ? (errno == ENXIO ? end : at) : (uint64_t)next;
		for (; at + LEAF_BYTES <= start && at + LEAF_BYTES <= end; at += LEAF_BYTES)
			own[at / LEAF_BYTES - first] = p->zero_leaf;
		if (at >= end)
			break;
		size_t want = end - at < SEGMENT_RAW_MAX ? (size_t)(end - at) : SEGMENT_RAW_MAX;
		uint64_t since = run_now_ns();
		ssize_t got = sys_pread(p->fd, data, want, at);
		p->w->s->c->stats->ns_read += run_now_ns() - since;
		if (got < 0)
			return err_sys(e, ERR_PARTIAL, "cannot read");
		if ((size_t)got != want)
			return err_set(e, ERR_CHANGED, "file became shorter while it was read");
		for (size_t k = 0; k < want; k += LEAF_BYTES) {
			uint64_t index = (at + k) / LEAF_BYTES;
			note_leaf(p, index, data + k, want - k < LEAF_BYTES ? want - k : LEAF_BYTES,
				  &own[index - first]);
		}
		at += want;
	}
	return 0;
}

/* Leaves [first, last) that differ: page by page. */
static int scattered(struct patch *p, uint64_t first, uint64_t last, struct err *e)
{
	uint8_t list[LONG_RUN * 4];
	struct buf b = {.data = list, .cap = sizeof list, .max = sizeof list};
	for (uint64_t i = first; i < last; i++)
		put_u32(&b, (uint32_t)i);
	if (first + LONG_RUN < last || last > UINT32_MAX)
		return patch_literal(p, first * LEAF_BYTES,
				     last * LEAF_BYTES < p->size ? last * LEAF_BYTES : p->size, e);
	if (ask(p, SUMS_PAGES, 0, 0, (struct bytes){.p = list, .n = b.len}, e) < 0)
		return -1;
	struct cursor c = cursor_of(p->sums.data, p->sums.len);
	uint64_t literal = UINT64_MAX;
	for (uint64_t i = first; i < last; i++) {
		size_t n = leaf_length(p->size, i);
		size_t basis = leaf_length(p->j->basis_size, i);
		if (sys_pread(p->fd, p->w->data, n, i * LEAF_BYTES) != (ssize_t)n)
			return err_set(e, ERR_CHANGED, "file became shorter while it was read");
		for (size_t k = 0; k < PAGES; k++) {
			size_t from = k * PAGE_BYTES;
			size_t len = from >= n ? 0 : n - from < PAGE_BYTES ? n - from : PAGE_BYTES;
			size_t there = from >= basis               ? 0
				       : basis - from < PAGE_BYTES ? basis - from
								   : PAGE_BYTES;
			uint64_t sum = get_u64(&c);
			if (len == 0)
				continue;
			uint64_t at = i * LEAF_BYTES + from;
			bool same = !c.bad && len == there &&
				    sum == hash64(&p->w->s->key, p->w->data + from, len);
			if (!same) {
				literal = literal == UINT64_MAX ? at : literal;
				continue;
			}
			if (literal != UINT64_MAX) {
				if (patch_literal(p, literal, at, e) < 0)
					return -1;
				/* Sending used w->data. */
				if (sys_pread(p->fd, p->w->data, n, i * LEAF_BYTES) != (ssize_t)n)
					return err_set(e, ERR_CHANGED,
						       "file became shorter while it was read");
			}
			literal = UINT64_MAX;
			if (patch_copy(p, at, at, len, e) < 0)
				return -1;
		}
	}
	uint64_t end = last * LEAF_BYTES < p->size ? last * LEAF_BYTES : p->size;
	return literal == UINT64_MAX ? 0 : patch_literal(p, literal, end, e);
}

/* A run of leaves that differ has ended. */
static int run_over(struct patch *p, uint64_t first, uint64_t last, struct err *e)
{
	uint64_t end = last * LEAF_BYTES < p->size ? last * LEAF_BYTES : p->size;
	bool tail = end == p->size && last - first >= 2 && p->size != p->j->basis_size;
	p->differs = true;
	if (p->probing)
		return 0;
	if (last - first > LONG_RUN || tail) {
		ranges_add(&p->doubt, first * LEAF_BYTES, end);
		return 0;
	}
	return scattered(p, first, last, e);
}

/* The digest of one window's leaves, those beyond the end of the file counting as empty. */
static struct h128 window_digest(struct patch *p, const struct h128 *own, uint64_t count)
{
	uint8_t *raw = p->window_raw;
	struct h128 empty = hash128(&p->w->s->key, raw, 0);
	for (uint64_t i = 0; i < WINDOW_LEAVES; i++)
		h128_store(raw + 16 * i, i < count ? own[i] : empty);
	return hash128(&p->w->s->key, raw, WINDOW_LEAVES * 16);
}

/* Are the leaves of window w the basis's? Large files are asked by the window first. 1 yes, 0 no,
 * -1. */
static int window_same(struct patch *p, uint64_t w, const struct h128 *own, uint64_t count,
		       struct err *e)
{
	if (p->size <= (uint64_t)WINDOW_LEAVES * LEAF_BYTES || p->size != p->j->basis_size)
		return 0;
	if (w % BATCH_LEAVES == 0) {
		uint64_t windows = (p->size / LEAF_BYTES + WINDOW_LEAVES) / WINDOW_LEAVES - w;
		if (ask(p, SUMS_WINDOWS, w, windows < BATCH_LEAVES ? windows : BATCH_LEAVES,
			(struct bytes){0}, e) < 0)
			return -1;
		buf_clear(&p->windows);
		buf_put(&p->windows, p->sums.data, p->sums.len);
	}
	size_t at = (size_t)(w % BATCH_LEAVES) * 16;
	return at + 16 <= p->windows.len &&
	       h128_equal(h128_load(p->windows.data + at), window_digest(p, own, count));
}

static int window_leaves(struct patch *p, uint64_t first, uint64_t count, const struct h128 *own,
			 struct buf *batch, struct err *e)
{
	buf_clear(batch);
	if (first == 0 && p->j->leaf_count) {
		buf_put(batch, p->j->leaves, p->j->leaf_count * 16);
	} else {
		if (ask(p, SUMS_LEAVES, first, count, (struct bytes){0}, e) < 0)
			return -1;
		buf_put(batch, p->sums.data, p->sums.len);
	}
	uint64_t bad = 0;
	for (uint64_t i = 0; i < count; i++) {
		uint64_t leaf = first + i;
		size_t n = leaf_length(p->size, leaf);
		bool same = n == leaf_length(p->j->basis_size, leaf) &&
			    (size_t)i * 16 + 16 <= batch->len &&
			    h128_equal(h128_load(batch->data + i * 16), own[i]);
		if (!same) {
			bad++;
			p->run = p->run == UINT64_MAX ? leaf : p->run;
			continue;
		}
		if (p->run != UINT64_MAX && run_over(p, p->run, leaf, e) < 0)
			return -1;
		p->run = UINT64_MAX;
		if (leaf_same(p, leaf, n, own[i], e) < 0)
			return -1;
	}
	/* A large file that differs nearly everywhere stands elsewhere, or is another one. */
	p->early = first == 0 && p->size > ANCHOR_FROM && bad * 4 > count * 3;
	return 0;
}

/* Step 1: leaves at equal offsets. Sets p->early when it gave up after the first window. */
static int aligned(struct patch *p, struct err *e)
{
	uint64_t leaves = (p->size + LEAF_BYTES - 1) / LEAF_BYTES;
	CLEANUP_FREE struct h128 *own = mem_alloc(WINDOW_LEAVES, sizeof *own);
	CLEANUP_BUF struct buf batch;
	buf_init(&batch, BATCH_LEAVES * 16);
	memset(p->w->data, 0, LEAF_BYTES);
	p->zero_leaf = hash128(&p->w->s->key, p->w->data, LEAF_BYTES);
	p->run = UINT64_MAX;
	for (uint64_t first = 0; first < leaves; first += WINDOW_LEAVES) {
		uint64_t count = leaves - first < WINDOW_LEAVES ? leaves - first : WINDOW_LEAVES;
		if (read_leaves(p, first, count, own, e) < 0)
			return -1;
		int same = window_same(p, first / WINDOW_LEAVES, own, count, e);
		if (same < 0)
			return -1;
		if (same && p->run != UINT64_MAX && run_over(p, p->run, first, e) < 0)
			return -1;
		if (same) {
			p->run = UINT64_MAX;
			for (uint64_t i = 0; i < count; i++)
				if (leaf_same(p, first + i, leaf_length(p->size, first + i), own[i],
					      e) < 0)
					return -1;
			continue;
		}
		if (window_leaves(p, first, count, own, &batch, e) < 0)
			return -1;
		if (p->probing && (p->differs || p->run != UINT64_MAX)) {
			p->differs = true;
			return 0;
		}
		if (p->early) {
			uint64_t from = p->run == UINT64_MAX ? (first + count) * LEAF_BYTES
							     : p->run * LEAF_BYTES;
			ranges_add(&p->doubt, from, p->size);
			p->differs = true;
			return 0;
		}
	}
	return p->run == UINT64_MAX ? 0 : run_over(p, p->run, leaves, e);
}

/* The content sum over the whole file, and its anchors, in one reading. */
static int scan_whole(struct patch *p, struct anchor_scan *scan, struct err *e)
{
	struct worker *w = p->w;
	p->content = (struct h128){0};
	for (uint64_t at = 0; at < p->size;) {
		off_t data = lseek(p->fd, (off_t)at, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break;
		if (data > 0 && (uint64_t)data > at)
			at = (uint64_t)data - (uint64_t)data % LEAF_BYTES;
		if (at >= p->size)
			break;
		size_t want =
			p->size - at < SEGMENT_RAW_MAX ? (size_t)(p->size - at) : SEGMENT_RAW_MAX;
		if (sys_pread(p->fd, w->data, want, at) != (ssize_t)want)
			return err_set(e, ERR_CHANGED, "file became shorter while it was read");
		anchor_scan_feed(scan, w->data, want, at);
		for (size_t k = 0; k < want; k += LEAF_BYTES) {
			size_t n = want - k < LEAF_BYTES ? want - k : LEAF_BYTES;
			if (!all_zero(w->data + k, n))
				h128_add(&p->content,
					 hash_leaf_term((at + k) / LEAF_BYTES,
							hash128(NULL, w->data + k, n)));
		}
		at += want;
	}
	return 0;
}

/* The hash of the source's bytes that should be basis leaf `index` moved by distance. */
static int moved_leaf(struct patch *p, uint64_t index, int64_t distance, struct h128 *out,
		      struct err *e)
{
	uint64_t at = (uint64_t)((int64_t)(index * LEAF_BYTES) + distance);
	size_t n = leaf_length(p->j->basis_size, index);
	if (sys_pread(p->fd, p->w->data, n, at) != (ssize_t)n)
		return err_set(e, ERR_CHANGED, "file became shorter while it was read");
	*out = hash128(&p->w->s->key, p->w->data, n);
	return 0;
}

static int moved_copy(struct patch *p, uint64_t first, uint64_t count, int64_t distance,
		      struct err *e)
{
	uint64_t src = first * LEAF_BYTES;
	uint64_t n = 0;
	for (uint64_t i = first; i < first + count; i++)
		n += leaf_length(p->j->basis_size, i);
	uint64_t dst = (uint64_t)((int64_t)src + distance);
	ranges_add(&p->found, dst, dst + n);
	return patch_copy(p, dst, src, n, e);
}

/* Leaves [first, last) of the basis, fully inside one segment of the map. */
static int moved_leaves(struct patch *p, uint64_t first, uint64_t last, int64_t distance,
			struct err *e)
{
	if (first >= last)
		return 0;
	if (ask(p, SUMS_LEAVES, first, last - first, (struct bytes){0}, e) < 0)
		return -1;
	for (uint64_t i = first; i < last; i++) {
		struct h128 own;
		size_t at = (size_t)(i - first) * 16;
		if (at + 16 > p->sums.len)
			break;
		if (moved_leaf(p, i, distance, &own, e) < 0)
			return -1;
		if (h128_equal(own, h128_load(p->sums.data + at)) &&
		    moved_copy(p, i, 1, distance, e) < 0)
			return -1;
	}
	return 0;
}

static int moved_window(struct patch *p, uint64_t window, struct h128 there, int64_t distance,
			struct err *e)
{
	CLEANUP_FREE uint8_t *leaves = mem_alloc(WINDOW_LEAVES, 16);
	uint64_t first = window * WINDOW_LEAVES;
	for (uint64_t i = 0; i < WINDOW_LEAVES; i++) {
		struct h128 h;
		if (moved_leaf(p, first + i, distance, &h, e) < 0)
			return -1;
		h128_store(leaves + 16 * i, h);
	}
	if (h128_equal(there, hash128(&p->w->s->key, leaves, WINDOW_LEAVES * 16)))
		return moved_copy(p, first, WINDOW_LEAVES, distance, e);
	return moved_leaves(p, first, first + WINDOW_LEAVES, distance, e);
}

/* One segment of the map: whole windows first, leaves at its ends. */
static int moved_segment(struct patch *p, const struct shift_segment *seg, struct err *e)
{
	uint64_t from = (uint64_t)((int64_t)seg->src_start - seg->distance);
	uint64_t to = (uint64_t)((int64_t)seg->src_end - seg->distance);
	uint64_t first = (from + LEAF_BYTES - 1) / LEAF_BYTES;
	/* The basis's last leaf may be short, and then it ends where the basis ends. */
	uint64_t last =
		to == p->j->basis_size ? (to + LEAF_BYTES - 1) / LEAF_BYTES : to / LEAF_BYTES;
	uint64_t w0 = (first + WINDOW_LEAVES - 1) / WINDOW_LEAVES;
	uint64_t w1 = last / WINDOW_LEAVES;
	if (w0 >= w1) {
		for (uint64_t i = first; i < last; i += WINDOW_LEAVES)
			if (moved_leaves(p, i, i + WINDOW_LEAVES < last ? i + WINDOW_LEAVES : last,
					 seg->distance, e) < 0)
				return -1;
		return 0;
	}
	if (moved_leaves(p, first, w0 * WINDOW_LEAVES, seg->distance, e) < 0)
		return -1;
	for (uint64_t w = w0; w < w1; w++) {
		if (ask(p, SUMS_WINDOWS, w, 1, (struct bytes){0}, e) < 0)
			return -1;
		struct h128 there = p->sums.len == 16 ? h128_load(p->sums.data) : (struct h128){0};
		if (moved_window(p, w, there, seg->distance, e) < 0)
			return -1;
	}
	return moved_leaves(p, w1 * WINDOW_LEAVES, last, seg->distance, e);
}

static int compare_ranges(const void *a, const void *b)
{
	const struct range *x = a;
	const struct range *y = b;
	return (x->start > y->start) - (x->start < y->start);
}

/* doubt := doubt without what was found elsewhere. */
static void subtract_found(struct patch *p)
{
	struct ranges left = {0};
	if (p->found.n)
		qsort(p->found.v, p->found.n, sizeof *p->found.v, compare_ranges);
	size_t k = 0;
	for (size_t i = 0; i < p->doubt.n; i++) {
		uint64_t at = p->doubt.v[i].start;
		uint64_t end = p->doubt.v[i].end;
		while (k < p->found.n && p->found.v[k].end <= at)
			k++;
		for (size_t m = k; m < p->found.n && p->found.v[m].start < end; m++) {
			if (p->found.v[m].start > at)
				ranges_add(&left, at, p->found.v[m].start);
			if (p->found.v[m].end > at)
				at = p->found.v[m].end;
		}
		ranges_add(&left, at, end);
	}
	free(p->doubt.v);
	p->doubt = left;
}

/* Step 2. Segments are cut to the parts in doubt, so that nothing is sent twice. */
static int moved(struct patch *p, struct err *e)
{
	if (ask(p, SUMS_ANCHORS, 0, 0, (struct bytes){0}, e) < 0)
		return -1;
	struct anchor_list basis = {0};
	if (p->sums.len && anchor_decode(p->sums.data, p->sums.len, &basis, e) < 0)
		return -1;
	struct h128 seed = hash128(&p->w->s->key, "anchors", 7);
	struct anchor_params params = anchor_params_for(seed.lo, p->j->basis_size);
	struct anchor_scan *scan = anchor_scan_new(&params, &basis);
	int r = scan_whole(p, scan, e);
	struct anchor_list own = anchor_scan_finish(scan);
	anchor_scan_free(scan);
	if (r == 0)
		shift_find(&basis, p->j->basis_size, &own, p->size, &p->map);
	anchor_list_release(&own);
	anchor_list_release(&basis);
	for (size_t i = 0; i < p->doubt.n && r == 0; i++) {
		for (size_t k = 0; k < p->map.n && r == 0; k++) {
			struct shift_segment seg = p->map.v[k];
			if (seg.src_start < p->doubt.v[i].start)
				seg.src_start = p->doubt.v[i].start;
			if (seg.src_end > p->doubt.v[i].end)
				seg.src_end = p->doubt.v[i].end;
			if (seg.src_start < seg.src_end)
				r = moved_segment(p, &seg, e);
		}
	}
	subtract_found(p);
	return r;
}

/* Only finds out whether the content agrees; sends nothing. 1 same, 0 differs, -1 on failure. */
static int probe(struct patch *p, struct err *e)
{
	p->probing = true;
	if (aligned(p, e) < 0)
		return -1;
	bool same = !p->differs && p->size == p->j->basis_size;
	p->probing = p->differs = p->early = false;
	p->content = (struct h128){0};
	p->doubt.n = 0;
	return same;
}

static int describe(struct patch *p, struct err *e)
{
	if (aligned(p, e) < 0)
		return -1;
	uint64_t in_doubt = 0;
	for (size_t i = 0; i < p->doubt.n; i++)
		in_doubt += p->doubt.v[i].end - p->doubt.v[i].start;
	if ((p->early || in_doubt > ANCHOR_FROM) && moved(p, e) < 0)
		return -1;
	if (patch_rest(p, e) < 0)
		return -1;
	return flush_held(p, e);
}

static int patch(struct patch *p, struct err *e)
{
	struct worker *w = p->w;
	struct job *j = p->j;
	struct h128 none = {0};
	struct err why = {0};
	int same = j->mode == WANT_COMPARE ? probe(p, &why) : 0;
	if (same > 0)
		return worker_send_end(w, j, FILE_SAME, 0, p->size, none, NULL, e);
	if (same == 0 && (w->s->c->options->flags & OPT_DRY_RUN))
		return worker_send_end(w, j, FILE_DIFFERS, 0, p->size, none, NULL, e);
	if (same == 0 && describe(p, &why) == 0)
		return worker_finish(w, j, p->fd, p->content, e);
	if (why.code != ERR_PARTIAL && why.code != ERR_CHANGED) {
		*e = why;
		return -1;
	}
	struct bytes name = {.p = (const uint8_t *)j->name, .n = j->name_len};
	source_leave_out(w->s, j->dir, name);
	source_issue(w->s, ISSUE_FAILED, why.code, why.sys, j->dir, name, why.msg);
	return worker_send_end(w, j, why.code == ERR_CHANGED ? FILE_CHANGED : FILE_FAILED, why.sys,
			       p->size, none, NULL, e);
}

int worker_send_patch(struct worker *w, struct job *j, int fd, struct err *e)
{
	struct patch *p = mem_alloc(1, sizeof *p);
	p->w = w;
	p->j = j;
	p->fd = fd;
	p->size = w->item.meta.size;
	buf_init(&p->sums, RSDELTA_SIG_MAX);
	buf_init(&p->windows, BATCH_LEAVES * 16);
	p->window_raw = mem_alloc(WINDOW_LEAVES, 16);
	int r = patch(p, e);
	buf_release(&p->sums);
	buf_release(&p->windows);
	free(p->window_raw);
	free(p->doubt.v);
	free(p->found.v);
	free(p);
	return r;
}
