/* SPDX-License-Identifier: Apache-2.0 */
#include "anchor.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "mem.h"

enum {
	LANES = 4,
	LANE_LEN = 8 << 10,
	SLOTS = 4 * ANCHOR_MAX, /* of the identity table, which holds ANCHOR_MAX + 1 at most */
	HISTORY = ANCHOR_SPAN - 1,
};

/* One identity known to the scan. */
struct known {
	uint64_t id;
	uint32_t times; /* occurrences in this file; 0 = an identity of `only`, not met yet */
	bool used;
};

/* A kept position with its rolling hash, by which a full list is thinned. */
struct hit {
	uint64_t off;
	uint64_t id;
	uint64_t roll;
};

struct anchor_scan {
	uint64_t seed;
	uint64_t spacing;
	uint64_t threshold; /* a rolling hash below it makes an anchor */
	bool filtered;
	size_t max;
	uint64_t table[256];
	struct known *known; /* open addressing, SLOTS entries */
	struct hit *hit;     /* by ascending off */
	size_t hits;
	uint64_t next; /* offset expected of the next byte */
	uint64_t
		blocked; /* no anchor may start before this offset: it would overlap the last one */
	size_t tail_len; /* last bytes before `next`, contiguous with it */
	uint8_t tail[HISTORY];
	uint16_t found[LANES][LANE_LEN]; /* positions of one round */
};

static uint64_t mix(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

struct anchor_params anchor_params_for(uint64_t seed, uint64_t data_bytes)
{
	uint64_t spacing = data_bytes / ANCHOR_TARGET;
	if (spacing < ANCHOR_SPACING_MIN)
		spacing = ANCHOR_SPACING_MIN;
	return (struct anchor_params){.seed = seed, .spacing = spacing};
}

void anchor_list_release(struct anchor_list *l)
{
	free(l->v);
	*l = (struct anchor_list){0};
}

static struct known *slot_of(struct anchor_scan *s, uint64_t id)
{
	size_t i = (size_t)(id & (SLOTS - 1));
	while (s->known[i].used && s->known[i].id != id)
		i = (i + 1) & (SLOTS - 1);
	return &s->known[i];
}

struct anchor_scan *anchor_scan_new(const struct anchor_params *p, const struct anchor_list *only)
{
	struct anchor_scan *s = mem_alloc(1, sizeof *s);
	uint64_t state = p->seed;
	for (size_t i = 0; i < 256; i++)
		s->table[i] = mix(&state);
	s->seed = mix(&state);
	s->spacing = only ? only->spacing : p->spacing;
	if (s->spacing < ANCHOR_SPACING_MIN)
		s->spacing = ANCHOR_SPACING_MIN;
	s->threshold = UINT64_MAX / s->spacing;
	s->filtered = only != NULL;
	s->max = only ? ANCHOR_HITS_MAX : ANCHOR_MAX;
	s->known = mem_alloc(SLOTS, sizeof *s->known);
	s->hit = mem_alloc(s->max + 1, sizeof *s->hit);
	for (size_t i = 0; only && i < only->n && i < ANCHOR_MAX; i++) {
		struct known *k = slot_of(s, only->v[i].id);
		*k = (struct known){.id = only->v[i].id, .used = true};
	}
	return s;
}

void anchor_scan_free(struct anchor_scan *s)
{
	if (!s)
		return;
	free(s->known);
	free(s->hit);
	free(s);
}

/* Halves the threshold and drops what no longer passes. Content decides, so both sides keep the
 * same places. The table of a basis scan forgets the dropped ones, else it could fill up. */
static void thin(struct anchor_scan *s)
{
	s->threshold /= 2;
	s->spacing *= 2;
	size_t n = 0;
	for (size_t i = 0; i < s->hits; i++)
		if (s->hit[i].roll < s->threshold)
			s->hit[n++] = s->hit[i];
	s->hits = n;
}

static void rebuild_known(struct anchor_scan *s)
{
	if (s->filtered)
		return;
	struct known *old = s->known;
	s->known = mem_alloc(SLOTS, sizeof *s->known);
	for (size_t i = 0; i < s->hits; i++) {
		uint64_t id = s->hit[i].id;
		size_t at = (size_t)(id & (SLOTS - 1));
		while (old[at].id != id)
			at = (at + 1) & (SLOTS - 1);
		*slot_of(s, id) = old[at];
	}
	free(old);
}

/* A position whose rolling hash passes: p points at the first byte of its span, at offset off. */
static void consider(struct anchor_scan *s, const uint8_t *p, uint64_t off, uint64_t roll)
{
	if (off < s->blocked || roll >= s->threshold)
		return;
	s->blocked = off + ANCHOR_SPAN;
	uint64_t id = XXH3_64bits_withSeed(p, ANCHOR_SPAN, s->seed);
	struct known *k = slot_of(s, id);
	if (s->filtered ? !k->used || k->times >= ANCHOR_REPEAT_MAX : k->used) {
		k->times += k->used && k->times < UINT32_MAX;
		return;
	}
	*k = (struct known){.id = id, .times = k->times + 1, .used = true};
	s->hit[s->hits++] = (struct hit){.off = off, .id = id, .roll = roll};
	if (s->hits <= s->max)
		return;
	while (s->hits > s->max)
		thin(s);
	rebuild_known(s);
}

static uint64_t roll_at(const struct anchor_scan *s, const uint8_t *end)
{
	uint64_t h = 0;
	for (const uint8_t *p = end - ANCHOR_WINDOW; p < end; p++)
		h = (h << 1) + s->table[*p];
	return h;
}

/*
 * Spans whose last byte is in [p, p + n); the HISTORY bytes before p are readable. off is the
 * offset of p. n <= LANES * LANE_LEN. Four stretches are rolled side by side, since one rolling
 * hash alone is a chain of dependent steps; the shift pushes bytes out after 64 steps, so a lane
 * may start anywhere after a run-up.
 */
static void scan_round(struct anchor_scan *s, const uint8_t *p, size_t n, uint64_t off)
{
	const uint64_t *t = s->table;
	const uint64_t limit = s->threshold;
	size_t len = n / LANES;
	size_t n0 = 0, n1 = 0, n2 = 0, n3 = 0;
	const uint8_t *p0 = p, *p1 = p + len, *p2 = p + 2 * len, *p3 = p + 3 * len;
	uint64_t h0 = roll_at(s, p0), h1 = roll_at(s, p1), h2 = roll_at(s, p2), h3 = roll_at(s, p3);
	for (size_t i = 0; i < len; i++) {
		h0 = (h0 << 1) + t[p0[i]];
		h1 = (h1 << 1) + t[p1[i]];
		h2 = (h2 << 1) + t[p2[i]];
		h3 = (h3 << 1) + t[p3[i]];
		if (h0 < limit)
			s->found[0][n0++] = (uint16_t)i;
		if (h1 < limit)
			s->found[1][n1++] = (uint16_t)i;
		if (h2 < limit)
			s->found[2][n2++] = (uint16_t)i;
		if (h3 < limit)
			s->found[3][n3++] = (uint16_t)i;
	}
	const size_t counts[LANES] = {n0, n1, n2, n3};
	for (size_t lane = 0; lane < LANES; lane++) {
		for (size_t k = 0; k < counts[lane]; k++) {
			size_t last = lane * len + s->found[lane][k];
			const uint8_t *end = p + last + 1;
			consider(s, end - ANCHOR_SPAN, off + last + 1 - ANCHOR_SPAN,
				 roll_at(s, end));
		}
	}
	for (size_t i = len * LANES; i < n; i++) {
		h3 = (h3 << 1) + t[p[i]];
		if (h3 < limit)
			consider(s, p + i + 1 - ANCHOR_SPAN, off + i + 1 - ANCHOR_SPAN, h3);
	}
}

/* Spans that end in [p, p + n), all of whose bytes lie in memory from `first` on. */
static void scan_span(struct anchor_scan *s, const uint8_t *first, const uint8_t *p, size_t n,
		      uint64_t off)
{
	size_t before = (size_t)(p - first);
	size_t skip = before < HISTORY ? HISTORY - before : 0;
	if (skip >= n)
		return;
	p += skip;
	n -= skip;
	off += skip;
	while (n) {
		size_t k = n < LANES * LANE_LEN ? n : LANES * LANE_LEN;
		scan_round(s, p, k, off);
		p += k;
		n -= k;
		off += k;
	}
}

static void keep_tail(struct anchor_scan *s, const uint8_t *p, size_t n)
{
	if (n >= HISTORY) {
		memcpy(s->tail, p + n - HISTORY, HISTORY);
		s->tail_len = HISTORY;
		return;
	}
	size_t keep = HISTORY - n < s->tail_len ? HISTORY - n : s->tail_len;
	memmove(s->tail, s->tail + s->tail_len - keep, keep);
	memcpy(s->tail + keep, p, n);
	s->tail_len = keep + n;
}

void anchor_scan_feed(struct anchor_scan *s, const void *data, size_t n, uint64_t off)
{
	const uint8_t *p = data;
	if (off != s->next)
		s->tail_len = 0;
	s->next = off + n;
	if (!n)
		return;
	if (s->tail_len) {
		/* Spans that begin in the tail of the last call. */
		uint8_t seam[2 * HISTORY];
		size_t k = n < HISTORY ? n : HISTORY;
		memcpy(seam, s->tail, s->tail_len);
		memcpy(seam + s->tail_len, p, k);
		scan_span(s, seam, seam + s->tail_len, k, off);
	}
	scan_span(s, p, p, n, off);
	keep_tail(s, p, n);
}

struct anchor_list anchor_scan_finish(struct anchor_scan *s)
{
	struct anchor_list l = {.spacing = s->spacing, .v = mem_alloc(s->hits, sizeof *l.v)};
	for (size_t i = 0; i < s->hits; i++) {
		if (!s->filtered && slot_of(s, s->hit[i].id)->times > 1)
			continue;
		l.v[l.n++] = (struct anchor){.off = s->hit[i].off, .id = s->hit[i].id};
	}
	s->hits = 0;
	return l;
}

/* Wire form: varint spacing, varint count, then per anchor varint (distance to the one before) and
 * 8 bytes of identity, little endian. */
enum { VARINT_MAX = 10, ENTRY_MAX = VARINT_MAX + 8, ENTRY_MIN = 9 };

static size_t put_varint(uint8_t *p, uint64_t v)
{
	size_t n = 0;
	while (v >= 0x80) {
		p[n++] = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	p[n++] = (uint8_t)v;
	return n;
}

/* Length read, 0 if it is cut, too long or not the shortest form. */
static size_t get_varint(const uint8_t *p, size_t n, uint64_t *v)
{
	uint64_t x = 0;
	for (size_t i = 0; i < n && i < VARINT_MAX; i++) {
		uint64_t bits = p[i] & 0x7f;
		if (i == VARINT_MAX - 1 && p[i] > 1)
			return 0;
		x |= bits << (7 * i);
		if (p[i] & 0x80)
			continue;
		*v = x;
		return i && !p[i] ? 0 : i + 1;
	}
	return 0;
}

static size_t put_entry(uint8_t *p, uint64_t step, uint64_t id)
{
	size_t k = put_varint(p, step);
	for (size_t b = 0; b < 8; b++)
		p[k++] = (uint8_t)(id >> (8 * b));
	return k;
}

int anchor_encode(const struct anchor_list *l, struct buf *out)
{
	uint8_t b[ENTRY_MAX];
	size_t room = ANCHOR_WIRE_MAX - put_varint(b, l->spacing) - VARINT_MAX;
	size_t n = 0;
	for (uint64_t last = 0; n < l->n && n < ANCHOR_MAX; n++) {
		size_t k = put_varint(b, l->v[n].off - last) + 8;
		if (k > room)
			break;
		room -= k;
		last = l->v[n].off;
	}
	int r = buf_put(out, b, put_varint(b, l->spacing));
	if (r == 0)
		r = buf_put(out, b, put_varint(b, n));
	uint64_t last = 0;
	for (size_t i = 0; i < n && r == 0; i++) {
		r = buf_put(out, b, put_entry(b, l->v[i].off - last, l->v[i].id));
		last = l->v[i].off;
	}
	return r;
}

static int get_anchors(const uint8_t *p, size_t n, struct anchor_list *l)
{
	uint64_t last = 0;
	for (size_t i = 0; i < l->n; i++) {
		uint64_t step, off;
		size_t k = get_varint(p, n, &step);
		if (!k || n - k < 8 || __builtin_add_overflow(last, step, &off) ||
		    off > INT64_MAX - ANCHOR_SPAN || (i && !step))
			return -1;
		uint64_t id = 0;
		for (size_t b = 0; b < 8; b++)
			id |= (uint64_t)p[k + b] << (8 * b);
		l->v[i] = (struct anchor){.off = off, .id = id};
		last = off;
		p += k + 8;
		n -= k + 8;
	}
	return n ? -1 : 0;
}

int anchor_decode(const void *data, size_t n, struct anchor_list *out, struct err *e)
{
	const uint8_t *p = data;
	uint64_t spacing, count;
	size_t a = n <= ANCHOR_WIRE_MAX ? get_varint(p, n, &spacing) : 0;
	size_t b = a ? get_varint(p + a, n - a, &count) : 0;
	if (!b || spacing < ANCHOR_SPACING_MIN || count > ANCHOR_MAX ||
	    count * ENTRY_MIN > n - a - b)
		return err_set(e, ERR_PROTOCOL, "an anchor list of %zu bytes is malformed", n);
	struct anchor_list l = {.spacing = spacing, .n = (size_t)count};
	l.v = mem_alloc(l.n, sizeof *l.v);
	if (get_anchors(p + a + b, n - a - b, &l) < 0) {
		anchor_list_release(&l);
		return err_set(e, ERR_PROTOCOL, "an anchor list of %zu bytes is malformed", n);
	}
	*out = l;
	return 0;
}
