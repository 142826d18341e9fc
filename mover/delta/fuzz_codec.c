/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hostile compressed frames. Bytes 0-1: claimed raw length. Byte 2: odd = the rest is a frame as it
 * comes; even = the rest is compressed first, then one byte of it flipped as byte 3 says.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decompress(struct codec *c, const uint8_t *src, size_t n, size_t raw_len)
{
	CLEANUP_FREE uint8_t *dst = mem_alloc_raw(raw_len);
	struct err e = {0};
	if (codec_decompress(c, src, n, dst, raw_len, &e) < 0 && e.code != ERR_PROTOCOL)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 5)
		return 0;
	size_t raw_len = (size_t)data[0] << 8 | data[1];
	int as_it_comes = data[2] & 1;
	size_t flip = data[3];
	data += 4;
	size -= 4;
	struct codec *c = codec_new();
	codec_probe(data, size);
	if (as_it_comes) {
		decompress(c, data, size, raw_len);
	} else {
		/* Doubled, so that there is something to compress. */
		CLEANUP_FREE uint8_t *raw = mem_alloc_raw(2 * size);
		CLEANUP_FREE uint8_t *wire = mem_alloc_raw(2 * size);
		CLEANUP_FREE uint8_t *back = mem_alloc_raw(2 * size);
		memcpy(raw, data, size);
		memcpy(raw + size, data, size);
		size_t n = codec_compress(c, (int)(flip % 8) - 3, raw, 2 * size, wire, 2 * size);
		if (n && (codec_decompress(c, wire, n, back, 2 * size, NULL) < 0 ||
			  memcmp(raw, back, 2 * size) != 0))
			abort();
		if (n) {
			wire[flip % n] ^= (uint8_t)(raw_len | 1);
			decompress(c, wire, n, 2 * size);
			decompress(c, wire, n, raw_len);
		}
	}
	codec_free(c);
	return 0;
}
