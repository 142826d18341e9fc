/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content-defined anchors: a thin sample of a file's content that finds the same content again at
 * another offset, without a rolling search.
 *
 * A position is an anchor when a seeded rolling hash of 64 bytes falls below a threshold; its
 * identity is a seeded XXH3-64 of the 256 bytes at the anchor's offset (the rolling window is their
 * last 64 bytes). The destination scans its old file and sends about ANCHOR_TARGET anchors; the
 * source scans its new file for those identities (shift.h makes a map of distances out of both).
 * An identity match is a strong hint, not a proof: what it leads to is compared by leaves.
 *
 * Thread rules: one scan per thread; a finished struct anchor_list is a plain value.
 */
#ifndef SCRIBE_ANCHOR_H
#define SCRIBE_ANCHOR_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"

enum {
	ANCHOR_SPAN = 256,                /* bytes an identity covers */
	ANCHOR_WINDOW = 64,               /* bytes of the rolling hash */
	ANCHOR_TARGET = 2048,             /* anchors expected in a file of the size given */
	ANCHOR_MAX = 4096,                /* anchors in a basis list */
	ANCHOR_HITS_MAX = 4 * ANCHOR_MAX, /* anchors in a source list */
	ANCHOR_REPEAT_MAX = 4,            /* places in the source that one identity may name */
	ANCHOR_SPACING_MIN = 1024,        /* least mean distance; small files have fewer anchors */
	ANCHOR_WIRE_MAX = 64 << 10,
};

struct anchor_params {
	uint64_t seed;    /* the run's secret seed, the same on both sides */
	uint64_t spacing; /* mean distance between anchors, bytes, >= ANCHOR_SPACING_MIN */
};

/* Parameters for a basis file with this many bytes of data (holes left out). */
struct anchor_params anchor_params_for(uint64_t seed, uint64_t data_bytes);

struct anchor {
	uint64_t off; /* first of the ANCHOR_SPAN bytes */
	uint64_t id;
};

/* Anchors by ascending off. Released with anchor_list_release(). */
struct anchor_list {
	struct anchor *v;
	size_t n;
	uint64_t spacing; /* of the scan; larger than asked for if the list had to be thinned */
};

void anchor_list_release(struct anchor_list *l);

struct anchor_scan;

/*
 * A scan of one file. only == NULL: a basis scan; identities that occur more than once are left out
 * of the result, at most ANCHOR_MAX are kept. only != NULL: a source scan, p->spacing is
 * only->spacing; keeps positions whose identity is in the list, each at most ANCHOR_REPEAT_MAX
 * times, at most ANCHOR_HITS_MAX in all. Beyond a maximum the list is thinned evenly by halving the
 * threshold. *only is copied. Less than 1 MiB of memory. Free with anchor_scan_free().
 */
struct anchor_scan *anchor_scan_new(const struct anchor_params *p, const struct anchor_list *only);
void anchor_scan_free(struct anchor_scan *s);
/*
 * Gives the bytes [off, off+n) of the file. Calls come by ascending offset; a gap (a hole, a part
 * left out) starts afresh, so nothing spans it. How the data is cut into calls does not change the
 * result.
 */
void anchor_scan_feed(struct anchor_scan *s, const void *p, size_t n, uint64_t off);
/* Moves the result out; the scan is then only fit for anchor_scan_free(). */
struct anchor_list anchor_scan_finish(struct anchor_scan *s);

/* Appends the list as bytes, at most ANCHOR_WIRE_MAX (anchors beyond that are dropped). 0, or -1
 * beyond out->max. */
int anchor_encode(const struct anchor_list *l, struct buf *out);
/* Reads what anchor_encode() wrote, from a peer: exact length, ascending offsets, limits above.
 * ERR_PROTOCOL otherwise. */
int anchor_decode(const void *p, size_t n, struct anchor_list *out, struct err *e);

#endif
