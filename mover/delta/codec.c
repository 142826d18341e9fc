/* SPDX-License-Identifier: Apache-2.0 */
#include "codec.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "mem.h"

struct codec {
	ZSTD_CCtx *cctx;
	ZSTD_DCtx *dctx;
	int level; /* what cctx is set to */
};

struct codec *codec_new(void)
{
	return mem_alloc(1, sizeof(struct codec));
}

void codec_free(struct codec *c)
{
	if (!c)
		return;
	ZSTD_freeCCtx(c->cctx);
	ZSTD_freeDCtx(c->dctx);
	free(c);
}

static int set_level(struct codec *c, int level)
{
	if (c->cctx && c->level == level)
		return 0;
	if (!c->cctx)
		c->cctx = ZSTD_createCCtx();
	if (!c->cctx)
		return -1;
	c->level = level;
	size_t r = ZSTD_CCtx_reset(c->cctx, ZSTD_reset_session_and_parameters);
	if (!ZSTD_isError(r))
		r = ZSTD_CCtx_setParameter(c->cctx, ZSTD_c_compressionLevel, level);
	return ZSTD_isError(r) ? -1 : 0;
}

size_t codec_compress(struct codec *c, int level, const void *src, size_t n, void *dst, size_t cap)
{
	if (level == CODEC_OFF || !n || n > CODEC_RAW_MAX)
		return 0;
	if (level < CODEC_LEVEL_MIN)
		level = CODEC_LEVEL_MIN;
	if (level > CODEC_LEVEL_MAX)
		level = CODEC_LEVEL_MAX;
	if (set_level(c, level) < 0)
		return 0;
	/* Largest length strictly below 97 %; zstd gives up as soon as it would pass it. */
	size_t limit = (n * 97 - 1) / 100;
	if (limit > cap)
		limit = cap;
	size_t r = ZSTD_compress2(c->cctx, dst, limit, src, n);
	return ZSTD_isError(r) ? 0 : r;
}

int codec_decompress(struct codec *c, const void *src, size_t n, void *dst, size_t raw_len,
		     struct err *e)
{
	if (!raw_len || raw_len > CODEC_RAW_MAX)
		return err_set(e, ERR_PROTOCOL, "a compressed frame of %zu bytes", raw_len);
	/* One frame and nothing behind it; zstd by itself would accept several and skip others. */
	size_t whole = ZSTD_findFrameCompressedSize(src, n);
	if (ZSTD_isError(whole) || whole != n)
		return err_set(e, ERR_PROTOCOL, "a compressed frame is damaged");
	if (!c->dctx) {
		c->dctx = ZSTD_createDCtx();
		if (!c->dctx)
			return err_set(e, ERR_FAILURE, "cannot make a zstd context");
		ZSTD_DCtx_setParameter(c->dctx, ZSTD_d_windowLogMax, CODEC_WINDOW_LOG_MAX);
	}
	size_t r = ZSTD_decompressDCtx(c->dctx, dst, raw_len, src, n);
	if (ZSTD_isError(r))
		return err_set(e, ERR_PROTOCOL, "a compressed frame is damaged: %s",
			       ZSTD_getErrorName(r));
	if (r != raw_len)
		return err_set(e, ERR_PROTOCOL, "a compressed frame holds %zu bytes instead of %zu",
			       r, raw_len);
	return 0;
}

enum {
	SAMPLES = 16,
	SAMPLE_LEN = 256,
	SMALL = SAMPLES * SAMPLE_LEN,
	GRAM_SLOTS = 4096,
};

struct sample {
	uint32_t count[256];
	uint32_t gram[GRAM_SLOTS]; /* last 4-byte group that fell into the slot */
	uint32_t bytes;
	uint32_t repeats; /* groups seen before */
};

static void take_sample(struct sample *s, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		s->count[p[i]]++;
	for (size_t i = 0; i + 4 <= n; i++) {
		uint32_t g;
		memcpy(&g, p + i, sizeof g);
		uint32_t slot = g * 2654435761u >> 20;
		s->repeats += s->gram[slot] == g;
		s->gram[slot] = g;
	}
	s->bytes += (uint32_t)n;
}

/*
 * Evenly spread bytes have sum(count^2) = N + N(N-1)/256 within 1 % for N = 4096. A quarter more
 * corresponds to about 0.2 bits per byte that an entropy coder could save.
 */
static bool compressible(const struct sample *s)
{
	uint64_t n = s->bytes;
	uint64_t squares = 0;
	for (size_t i = 0; i < 256; i++)
		squares += (uint64_t)s->count[i] * s->count[i];
	if (s->repeats > n / 64)
		return true;
	return squares * 4 > 5 * (n + n * (n - 1) / 256);
}

bool codec_probe(const void *src, size_t n)
{
	const uint8_t *p = src;
	struct sample s = {.bytes = 0};
	if (n < 64)
		return false;
	if (n <= SMALL) {
		take_sample(&s, p, n);
		return compressible(&s);
	}
	size_t stride = (n - SAMPLE_LEN) / (SAMPLES - 1);
	for (size_t i = 0; i < SAMPLES; i++)
		take_sample(&s, p + i * stride, SAMPLE_LEN);
	return compressible(&s);
}

static const int rungs[CODEC_AUTO_RUNGS] = {CODEC_OFF, -3, 1, 3};

enum {
	RUNG_FIRST = 2,
	UPS_NEEDED = 4,
	DOWNS_NEEDED = 3,
	PATIENCE_MIN = 16,
	PATIENCE_MAX = 1024,
	REGRET = 32, /* a level taken back within so many steps of the raise was a mistake */
};

static const double fill_high = 0.75;
static const double fill_low = 0.25;

void codec_auto_init(struct codec_auto *a)
{
	*a = (struct codec_auto){.rung = RUNG_FIRST,
				 .patience = PATIENCE_MIN,
				 .since_up = UINT16_MAX};
}

int codec_auto_level(const struct codec_auto *a)
{
	return rungs[a->rung];
}

static void raise_level(struct codec_auto *a)
{
	a->ups = 0;
	if (a->rung + 1 == CODEC_AUTO_RUNGS || a->pause)
		return;
	a->rung++;
	a->since_up = 0;
}

static void lower_level(struct codec_auto *a)
{
	a->downs = 0;
	if (!a->rung)
		return;
	a->rung--;
	if (a->since_up > REGRET) {
		a->patience = PATIENCE_MIN;
	} else {
		a->pause = a->patience;
		a->patience =
			a->patience < PATIENCE_MAX / 2 ? (uint16_t)(a->patience * 2) : PATIENCE_MAX;
	}
	a->since_up = UINT16_MAX;
}

int codec_auto_step(struct codec_auto *a, const struct codec_auto_in *in)
{
	bool full_after = in->fill_after >= fill_high;
	bool up = in->link_bound && full_after;
	bool down = (in->fill_before >= fill_high && in->fill_after <= fill_low) ||
		    (!in->link_bound && full_after);
	a->ups = up ? (uint8_t)(a->ups + 1) : 0;
	a->downs = down ? (uint8_t)(a->downs + 1) : 0;
	if (a->pause)
		a->pause--;
	if (a->since_up < UINT16_MAX)
		a->since_up++;
	if (a->ups >= UPS_NEEDED)
		raise_level(a);
	else if (a->downs >= DOWNS_NEEDED)
		lower_level(a);
	return rungs[a->rung];
}
