/* SPDX-License-Identifier: Apache-2.0 */
/* State of bringing one changed file over (patch.c, delta.c). One worker's. */
#ifndef SCRIBE_PATCH_H
#define SCRIBE_PATCH_H

#include "shift.h"
#include "source_int.h"

struct range {
	uint64_t start, end; /* bytes of the source file */
};

struct ranges {
	struct range *v;
	size_t n, cap;
};

struct patch {
	struct worker *w;
	struct job *j;
	int fd;
	uint64_t size;         /* of the source file */
	struct h128 content;   /* sum of leaf terms of the source file */
	struct buf sums;       /* the destination's last answer */
	struct buf windows;    /* its digests of the windows now compared */
	uint8_t *window_raw;   /* scratch: the leaf hashes of one window */
	struct h128 zero_leaf; /* keyed hash of a leaf of zeros */
	uint64_t run;          /* first leaf of the running difference, UINT64_MAX = none */
	struct ranges doubt;   /* not yet described */
	struct ranges found;   /* described as moved */
	struct shift_map map;  /* where moved content stands */
	struct {
		bool hole;
		uint64_t dst, src, length;
	} held; /* a copy or hole not yet sent */
	bool differs, early;
	bool probing; /* only finding out, nothing is sent */
};

/* Adds [start, end) behind the ranges already there; merges with the last if they touch. */
void ranges_add(struct ranges *r, uint64_t start, uint64_t end);
/* Source bytes [dst, dst+n) are the basis's [src, src+n). */
int patch_copy(struct patch *p, uint64_t dst, uint64_t src, uint64_t n, struct err *e);
int patch_literal(struct patch *p, uint64_t from, uint64_t to, struct err *e);
/* Asks for the librsync signature of a window of the basis; it is in p->sums then (empty: not to be
 * had). */
int patch_signature(struct patch *p, uint64_t offset, uint64_t length, struct err *e);
/* Describes everything still in doubt: librsync, then literals. */
int patch_rest(struct patch *p, struct err *e);

#endif
