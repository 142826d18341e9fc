/* SPDX-License-Identifier: Apache-2.0 */
#include "shift.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

/* One anchor found in both files. */
struct pair {
	uint64_t src;
	uint64_t basis;
};

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static int64_t distance(const struct pair *p)
{
	return (int64_t)(p->src - p->basis);
}

static int by_id(const void *a, const void *b)
{
	const struct anchor *x = a, *y = b;
	return (x->id > y->id) - (x->id < y->id);
}

/* The anchors of l whose whole span lies inside the file and whose identity is unique, by id. */
static size_t index_of(const struct anchor_list *l, uint64_t size, struct anchor *v)
{
	size_t n = 0;
	for (size_t i = 0; i < l->n; i++)
		if (size >= ANCHOR_SPAN && l->v[i].off <= size - ANCHOR_SPAN)
			v[n++] = l->v[i];
	qsort(v, n, sizeof *v, by_id);
	size_t unique = 0;
	for (size_t i = 0; i < n;) {
		size_t same = 1;
		while (i + same < n && v[i + same].id == v[i].id)
			same++;
		if (same == 1)
			v[unique++] = v[i];
		i += same;
	}
	return unique;
}

static size_t make_pairs(const struct anchor_list *basis, uint64_t basis_size,
			 const struct anchor_list *source, uint64_t source_size, struct pair *out)
{
	CLEANUP_FREE struct anchor *index = mem_alloc(basis->n, sizeof *index);
	size_t known = index_of(basis, basis_size, index);
	size_t n = 0;
	for (size_t i = 0; i < source->n && known; i++) {
		const struct anchor *s = &source->v[i];
		if (source_size < ANCHOR_SPAN || s->off > source_size - ANCHOR_SPAN)
			continue;
		const struct anchor *b = bsearch(s, index, known, sizeof *index, by_id);
		if (b)
			out[n++] = (struct pair){.src = s->off, .basis = b->off};
	}
	return n;
}

/* Drops pairs that agree with neither of the two neighbours on each side: chance or strays. */
static size_t drop_strays(struct pair *p, size_t n)
{
	CLEANUP_FREE struct pair *all = mem_alloc(n, sizeof *all);
	if (n)
		memcpy(all, p, n * sizeof *all);
	size_t kept = 0;
	for (size_t i = 0; i < n; i++) {
		int64_t d = distance(&all[i]);
		int agree = (i >= 1 && distance(&all[i - 1]) == d) ||
			    (i >= 2 && distance(&all[i - 2]) == d) ||
			    (i + 1 < n && distance(&all[i + 1]) == d) ||
			    (i + 2 < n && distance(&all[i + 2]) == d);
		if (agree)
			p[kept++] = all[i];
	}
	return kept;
}

/* Runs of equal distance with enough votes. Runs of too few are skipped over, so that what stands
 * on both sides of one joins again. Returns their number; seg holds n entries. */
static size_t make_segments(const struct pair *p, size_t n, struct shift_segment *seg)
{
	size_t count = 0;
	for (size_t i = 0; i < n;) {
		size_t run = 1;
		while (i + run < n && distance(&p[i + run]) == distance(&p[i]))
			run++;
		struct shift_segment *last = count ? &seg[count - 1] : NULL;
		uint64_t end = p[i + run - 1].src + ANCHOR_SPAN;
		if (last && last->distance == distance(&p[i])) {
			last->sure_end = end;
			last->votes += (uint32_t)run;
		} else if (run >= SHIFT_VOTES_MIN) {
			seg[count++] = (struct shift_segment){.sure_start = p[i].src,
							      .sure_end = end,
							      .distance = distance(&p[i]),
							      .votes = (uint32_t)run};
		}
		i += run;
	}
	return count;
}

/* Raises the votes needed until at most SHIFT_SEGMENTS_MAX segments are left. */
static size_t keep_best(struct shift_segment *seg, size_t n)
{
	for (uint32_t votes = SHIFT_VOTES_MIN; n > SHIFT_SEGMENTS_MAX; votes++) {
		size_t weak = n - SHIFT_SEGMENTS_MAX; /* drop no more than needed */
		size_t kept = 0;
		for (size_t i = 0; i < n; i++) {
			if (seg[i].votes <= votes && weak)
				weak--;
			else
				seg[kept++] = seg[i];
		}
		n = kept;
	}
	return n;
}

/* Dropping a segment may have made two of one distance neighbours. */
static size_t join_equal(struct shift_segment *seg, size_t n)
{
	size_t kept = 0;
	for (size_t i = 0; i < n; i++) {
		if (kept && seg[kept - 1].distance == seg[i].distance) {
			seg[kept - 1].sure_end = seg[i].sure_end;
			seg[kept - 1].votes += seg[i].votes;
		} else {
			seg[kept++] = seg[i];
		}
	}
	return kept;
}

static uint64_t basis_at(const struct shift_segment *s, uint64_t src)
{
	return src - (uint64_t)s->distance;
}

/*
 * Shares the gap between two segments. Each may reach as far as the basis has bytes that the other
 * does not surely use; where both could reach, the middle divides. So a block of new bytes between
 * them is left out, and a moved block ends exactly where the basis does.
 */
static void share_gap(struct shift_segment *a, struct shift_segment *b, uint64_t basis_size)
{
	uint64_t gap = b->sure_start > a->sure_end ? b->sure_start - a->sure_end : 0;
	uint64_t a_end = basis_at(a, a->sure_end);
	uint64_t b_start = basis_at(b, b->sure_start);
	uint64_t reach_a = basis_size - a_end;
	uint64_t reach_b = b_start;
	if (b_start >= a_end) {
		reach_a = b_start - a_end;
		reach_b = reach_a;
	}
	reach_a = least(reach_a, gap);
	reach_b = least(reach_b, gap);
	if (reach_a > gap - reach_b) {
		uint64_t both = reach_a - (gap - reach_b);
		reach_a -= both / 2;
		reach_b -= both - both / 2;
	}
	a->src_end = a->sure_end + reach_a;
	b->src_start = b->sure_start - reach_b;
}

/* Overlapping spans of neighbours (a cut inside both) leave the later one without its first bytes.
 */
static void settle(struct shift_segment *a, struct shift_segment *b)
{
	if (b->sure_start < a->sure_end) {
		b->sure_start = least(a->sure_end, b->sure_end);
		b->src_start = b->sure_start;
	}
}

void shift_find(const struct anchor_list *basis, uint64_t basis_size,
		const struct anchor_list *source, uint64_t source_size, struct shift_map *out)
{
	out->n = 0;
	CLEANUP_FREE struct pair *pairs = mem_alloc(source->n, sizeof *pairs);
	size_t n = make_pairs(basis, basis_size, source, source_size, pairs);
	n = drop_strays(pairs, n);
	CLEANUP_FREE struct shift_segment *seg = mem_alloc(n, sizeof *seg);
	size_t count = make_segments(pairs, n, seg);
	count = join_equal(seg, keep_best(seg, count));
	if (!count)
		return;
	for (size_t i = 0; i + 1 < count; i++) {
		settle(&seg[i], &seg[i + 1]);
		share_gap(&seg[i], &seg[i + 1], basis_size);
	}
	struct shift_segment *first = &seg[0], *last = &seg[count - 1];
	first->src_start = first->distance > 0 ? (uint64_t)first->distance : 0;
	uint64_t rest = basis_size - basis_at(last, last->sure_end);
	last->src_end = last->sure_end + least(rest, source_size - last->sure_end);
	for (size_t i = 0; i < count; i++) {
		if (seg[i].sure_start < seg[i].sure_end)
			out->v[out->n++] = seg[i];
	}
}

const struct shift_segment *shift_at(const struct shift_map *m, uint64_t src)
{
	size_t lo = 0, hi = m->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (m->v[mid].src_end <= src)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < m->n && m->v[lo].src_start <= src ? &m->v[lo] : NULL;
}
