/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zstd for one frame at a time, the test whether a frame is worth it, and the choice of the level.
 * The only door to zstd. Frames are independent: each is one zstd frame of a known raw length that
 * travels beside it.
 *
 * Thread rules: a struct codec belongs to one thread at a time; everything else is pure.
 */
#ifndef SCRIBE_CODEC_H
#define SCRIBE_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

enum {
	CODEC_OFF = 0, /* the level that means "send as it is" */
	CODEC_LEVEL_MIN = -7,
	CODEC_LEVEL_MAX = 12,
	CODEC_RAW_MAX = 8 << 20,  /* bytes in one frame before compression */
	CODEC_WINDOW_LOG_MAX = 23 /* limit for both directions */
};

struct codec;

/* Contexts for both directions, allocated at first use and reused for every frame. */
struct codec *codec_new(void);
void codec_free(struct codec *c); /* NULL is fine */

/*
 * Compresses n bytes into dst. Returns the length, always below 97 % of n, or 0 when it is not
 * worthwhile: it would be longer, does not fit into cap, level is CODEC_OFF, or n is 0 or beyond
 * CODEC_RAW_MAX. dst is undefined then and the bytes are sent as they are. Levels outside the
 * range above are clamped.
 */
size_t codec_compress(struct codec *c, int level, const void *src, size_t n, void *dst, size_t cap);

/*
 * Decompresses a frame from a peer into exactly raw_len bytes at dst (1..CODEC_RAW_MAX). Whatever
 * the frame says about itself, nothing beyond dst is written and nothing beyond one context
 * (about 200 KiB) is allocated. ERR_PROTOCOL unless src is one whole frame of that raw length.
 */
int codec_decompress(struct codec *c, const void *src, size_t n, void *dst, size_t raw_len,
		     struct err *e);

/*
 * Looks at <= 4 KiB of samples: false when their bytes are spread evenly and nothing repeats
 * (encrypted, already compressed), so that trying would cost time for nothing.
 */
bool codec_probe(const void *src, size_t n);

/*
 * The level that suits a pipeline "reader -> queue -> compressor -> queue -> link". Pure state:
 *   raised when the link is the bottleneck and the queue to it is full,
 *   lowered when the compressor is (much waits before it, little behind it), or when something
 *   behind the link is (full queue, link not saturated: smaller frames help nobody).
 * Several equal signs in a row are needed, and a level that had to be taken back is tried again
 * only after a pause that doubles each time.
 */
struct codec_auto {
	uint8_t rung;
	uint8_t ups, downs; /* equal signs in a row */
	uint16_t pause;     /* steps until the next raise may be tried */
	uint16_t patience;  /* length of the next pause */
	uint16_t since_up;  /* steps since the last raise */
};

struct codec_auto_in {
	double fill_before; /* 0..1: queue in front of the compressor */
	double fill_after;  /* 0..1: queue behind it */
	bool link_bound;    /* the link accepted less than it was offered since the last step */
};

enum { CODEC_AUTO_RUNGS = 4 }; /* off, -3, 1, 3 */

/* Starts at level 1. */
void codec_auto_init(struct codec_auto *a);
/* One observation, at a steady pace (every frame or every 10-100 ms). Returns the level to use. */
int codec_auto_step(struct codec_auto *a, const struct codec_auto_in *in);
int codec_auto_level(const struct codec_auto *a);

#endif
