/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hostile anchor lists: what decodes must encode to the same bytes, steer a scan without harm and
 * give a shift map that keeps its promises. The first bytes choose sizes, the rest is the list (or,
 * if it does not decode, what a list is made of); it is also the content that is scanned.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "shift.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct shift_map *m, uint64_t basis_size, uint64_t source_size)
{
	for (size_t i = 0; i < m->n; i++) {
		const struct shift_segment *s = &m->v[i];
		if (s->src_start > s->sure_start || s->sure_start >= s->sure_end ||
		    s->sure_end > s->src_end || s->src_end > source_size)
			abort();
		if (s->src_start - (uint64_t)s->distance > basis_size ||
		    s->src_end - (uint64_t)s->distance > basis_size)
			abort();
		if (i && s[-1].src_end > s->src_start)
			abort();
	}
}

static void find(const struct anchor_list *basis, const struct anchor_list *source, uint64_t sizes)
{
	struct shift_map *m = mem_alloc(1, sizeof *m);
	uint64_t basis_size = (uint64_t)INT64_MAX >> (sizes & 63);
	uint64_t source_size = (uint64_t)INT64_MAX >> (sizes >> 8 & 63);
	shift_find(basis, basis_size, source, source_size, m);
	check(m, basis_size, source_size);
	free(m);
}

/* A list with the same identities at other places, as a source might have them. */
static struct anchor_list moved(const struct anchor_list *l, uint64_t step)
{
	struct anchor_list to = {.v = mem_alloc(l->n, sizeof *to.v),
				 .n = l->n,
				 .spacing = l->spacing};
	uint64_t off = 0;
	for (size_t i = 0; i < l->n; i++) {
		off += i % 5 && i ? l->v[i].off - l->v[i - 1].off : step;
		to.v[i] = (struct anchor){.off = off % INT64_MAX, .id = l->v[i].id};
		if (i && to.v[i].off <= to.v[i - 1].off) {
			to.n = i;
			break;
		}
	}
	return to;
}

static struct anchor_list list_of(const uint8_t *p, size_t n)
{
	struct anchor_list l = {.spacing = ANCHOR_SPACING_MIN + p[0]};
	l.v = mem_alloc(n / 3 + 1, sizeof *l.v);
	uint64_t off = 0;
	for (size_t i = 0; i + 3 <= n && l.n < ANCHOR_MAX; i += 3) {
		off += 1 + ((uint64_t)p[i] << (p[i + 1] & 31));
		l.v[l.n++] = (struct anchor){.off = off, .id = p[i + 2]};
	}
	return l;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 4)
		return 0;
	uint64_t sizes = (uint64_t)data[0] << 8 | data[1];
	uint64_t step = (uint64_t)data[2] << (data[3] & 31);
	struct anchor_list l;
	CLEANUP_BUF struct buf back;
	buf_init(&back, ANCHOR_WIRE_MAX);
	if (anchor_decode(data + 4, size - 4, &l, NULL) == 0) {
		if (anchor_encode(&l, &back) < 0 || back.len != size - 4 ||
		    memcmp(back.data, data + 4, back.len) != 0)
			abort();
	} else if (size > 4) {
		struct anchor_list made = list_of(data + 4, size - 4);
		int r = anchor_encode(&made, &back);
		if (r < 0 || anchor_decode(back.data, back.len, &l, NULL) < 0 || l.n != made.n)
			abort();
		anchor_list_release(&made);
	} else {
		return 0;
	}
	struct anchor_params p = {.seed = sizes, .spacing = l.spacing};
	struct anchor_scan *s = anchor_scan_new(&p, &l);
	anchor_scan_feed(s, data, size, step);
	anchor_scan_feed(s, data, size, step + size);
	struct anchor_list source = anchor_scan_finish(s);
	anchor_scan_free(s);
	find(&l, &source, sizes);
	anchor_list_release(&source);
	source = moved(&l, step);
	find(&l, &source, sizes);
	find(&source, &l, sizes);
	anchor_list_release(&source);
	anchor_list_release(&l);
	return 0;
}
