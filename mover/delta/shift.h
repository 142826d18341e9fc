/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the anchors of two versions of a file to a map "this range of the source stands at distance
 * d in the basis". Pure; time O(anchors); no shared state.
 */
#ifndef SCRIBE_SHIFT_H
#define SCRIBE_SHIFT_H

#include <stddef.h>
#include <stdint.h>

#include "anchor.h"

enum {
	SHIFT_SEGMENTS_MAX = 256,
	SHIFT_VOTES_MIN = 2, /* consecutive anchors that must agree on a distance */
};

/*
 * Source bytes [src_start, src_end) are expected at basis offset src - distance. The range
 * [sure_start, sure_end) lies between the first and the last agreeing anchor; the rest is reach:
 * the gap to the neighbouring segment, shared where both could claim it, or the way to the end of
 * either file. Basis offsets of the whole range lie inside the basis.
 */
struct shift_segment {
	uint64_t src_start, src_end;
	uint64_t sure_start, sure_end;
	int64_t distance; /* source offset - basis offset */
	uint32_t votes;   /* anchors that agree */
};

/* Ordered by src_start, not overlapping, neighbours differ in distance or are apart. Nothing is
 * said about ranges outside the segments. About 12 KiB: a member or heap object, not a local. */
struct shift_map {
	size_t n;
	struct shift_segment v[SHIFT_SEGMENTS_MAX];
};

/*
 * Fills *out. basis comes from a basis scan (or the peer: any list anchor_decode() accepts is
 * safe), source from a scan of the source for it. Empty when nothing is known to be at a constant
 * distance. When there are more segments than fit, those with most votes are kept.
 */
void shift_find(const struct anchor_list *basis, uint64_t basis_size,
		const struct anchor_list *source, uint64_t source_size, struct shift_map *out);

/* The segment that holds source offset src, or NULL. */
const struct shift_segment *shift_at(const struct shift_map *m, uint64_t src);

#endif
