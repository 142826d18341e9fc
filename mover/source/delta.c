/* SPDX-License-Identifier: Apache-2.0 */
/* What neither leaves nor anchors explain: librsync against the window it should come from. */
#include "patch.h"
#include "rsdelta.h"

enum {
	DELTA_MIN = 2048, /* bytes below which a signature costs more than literals */
	PIECE = 64 << 20,
	WIDEN_MIN = 64 << 10,
	WIDEN_MAX = 1 << 20,
};

struct emission {
	struct patch *p;
	uint64_t window;                   /* where the window begins in the basis */
	uint64_t literal_from, literal_to; /* literals are sent from the file, in large pieces */
};

static int flush_literal(struct emission *em, struct err *e)
{
	if (em->literal_from == em->literal_to)
		return 0;
	int r = patch_literal(em->p, em->literal_from, em->literal_to, e);
	em->literal_from = em->literal_to = 0;
	return r;
}

static int emit(void *arg, const struct rsdelta_cmd *c, struct err *e)
{
	struct emission *em = arg;
	if (c->kind == RSDELTA_LITERAL) {
		if (em->literal_to != c->src) {
			if (flush_literal(em, e) < 0)
				return -1;
			em->literal_from = c->src;
		}
		em->literal_to = c->src + c->len;
		return 0;
	}
	if (flush_literal(em, e) < 0)
		return -1;
	return patch_copy(em->p, c->src, em->window + c->from, c->len, e);
}

static bool stop(void *arg, const struct rsdelta_stats *so_far)
{
	(void)arg;
	return rsdelta_hopeless(so_far);
}

/* The part of the basis that [from, to) of the source should come from, by the map's nearest
 * distances. */
static void window_for(const struct patch *p, uint64_t from, uint64_t to, uint64_t *start,
		       uint64_t *length)
{
	int64_t before = 0;
	int64_t after = 0;
	bool has_before = false;
	bool has_after = false;
	for (size_t i = 0; i < p->map.n; i++) {
		const struct shift_segment *s = &p->map.v[i];
		if (s->sure_start <= from) {
			before = s->distance;
			has_before = true;
		}
		if (s->sure_end >= to && !has_after) {
			after = s->distance;
			has_after = true;
		}
	}
	if (!has_before)
		before = has_after ? after : 0;
	if (!has_after)
		after = before;
	uint64_t span = to - from;
	int64_t widen = (int64_t)(span < WIDEN_MIN   ? WIDEN_MIN
				  : span > WIDEN_MAX ? WIDEN_MAX
						     : span);
	int64_t a = (int64_t)from - before - widen;
	int64_t b = (int64_t)to - after + widen;
	int64_t size = (int64_t)p->j->basis_size;
	if (b - a > (int64_t)RSDELTA_WINDOW_MAX || b <= a) {
		/* The two sides point to far places: what follows the left neighbour is the better
		 * guess. */
		a = (int64_t)from - before - widen;
		b = a + (int64_t)span + 2 * widen;
	}
	a = a < 0 ? 0 : a > size ? size : a;
	b = b < 0 ? 0 : b > size ? size : b;
	*start = (uint64_t)a;
	*length = b > a ? (uint64_t)(b - a) : 0;
	if (*length > RSDELTA_WINDOW_MAX)
		*length = RSDELTA_WINDOW_MAX;
}

/* One piece. 1: librsync found it hopeless, so the neighbouring pieces are not tried. */
static int piece(struct patch *p, uint64_t from, uint64_t to, struct err *e)
{
	uint64_t start;
	uint64_t length;
	window_for(p, from, to, &start, &length);
	if (to - from < DELTA_MIN || length == 0)
		return patch_literal(p, from, to, e);
	if (patch_signature(p, start, length, e) < 0)
		return -1;
	struct rsdelta_sig *sig = NULL;
	if (p->sums.len == 0)
		return patch_literal(p, from, to, e);
	if (rsdelta_load(p->sums.data, p->sums.len, length, &sig, e) < 0)
		return -1;
	struct emission em = {.p = p, .window = start};
	struct rsdelta_sink sink = {.emit = emit, .stop = stop, .arg = &em};
	struct rsdelta_stats st = {0};
	int r = rsdelta_delta(sig, p->fd, from, to - from, &sink, &st, e);
	rsdelta_sig_free(sig);
	p->w->s->c->stats->ns_delta += st.ns;
	if (r < 0 || flush_literal(&em, e) < 0)
		return -1;
	if (r == RSDELTA_STOPPED && patch_literal(p, from + st.covered, to, e) < 0)
		return -1;
	return r == RSDELTA_STOPPED;
}

int patch_rest(struct patch *p, struct err *e)
{
	for (size_t i = 0; i < p->doubt.n; i++) {
		uint64_t end = p->doubt.v[i].end;
		bool hopeless = false;
		for (uint64_t at = p->doubt.v[i].start; at < end; at += PIECE) {
			uint64_t to = end - at < PIECE ? end : at + PIECE;
			int r = hopeless ? patch_literal(p, at, to, e) : piece(p, at, to, e);
			if (r < 0)
				return -1;
			hopeless |= r > 0;
		}
	}
	return 0;
}
