/* SPDX-License-Identifier: Apache-2.0 */
#include "hash.h"

#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#ifndef NDEBUG
#define XXH_NO_INLINE_HINTS 1 /* unoptimised builds cannot inline all of it */
#endif
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wcast-qual"
#pragma GCC diagnostic ignored "-Wcast-align"
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wpedantic"
#include <xxhash.h>
#pragma GCC diagnostic pop

void hash_key_init(struct hash_key *k, const uint8_t *source_nonce,
		   const uint8_t *destination_nonce)
{
	uint8_t both[2 * HASH_NONCE_BYTES];
	memcpy(both, source_nonce, HASH_NONCE_BYTES);
	memcpy(both + HASH_NONCE_BYTES, destination_nonce, HASH_NONCE_BYTES);
	XXH3_generateSecret(k->secret, sizeof k->secret, both, sizeof both);
}

struct h128 hash128(const struct hash_key *key, const void *p, size_t n)
{
	XXH128_hash_t h = key ? XXH3_128bits_withSecret(p, n, key->secret, sizeof key->secret)
			      : XXH3_128bits(p, n);
	return (struct h128){.lo = h.low64, .hi = h.high64};
}

uint64_t hash64(const struct hash_key *key, const void *p, size_t n)
{
	return key ? XXH3_64bits_withSecret(p, n, key->secret, sizeof key->secret)
		   : XXH3_64bits(p, n);
}

static void store64(uint8_t *out, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		out[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t load64(const uint8_t *in)
{
	uint64_t v = 0;
	for (int i = 7; i >= 0; i--)
		v = v << 8 | in[i];
	return v;
}

void h128_store(uint8_t out[16], struct h128 h)
{
	store64(out, h.lo);
	store64(out + 8, h.hi);
}

struct h128 h128_load(const uint8_t in[16])
{
	return (struct h128){.lo = load64(in), .hi = load64(in + 8)};
}

void h128_hex(char out[33], struct h128 h)
{
	snprintf(out, 33, "%016llx%016llx", (unsigned long long)h.hi, (unsigned long long)h.lo);
}

struct h128 hash_path(const struct hash_key *key, struct h128 parent, const void *name, size_t len)
{
	uint8_t record[16 + 255];
	h128_store(record, parent);
	if (len > 255)
		len = 255;
	memcpy(record + 16, name, len);
	return hash128(key, record, 16 + len);
}

struct h128 hash_leaf_term(uint64_t index, struct h128 leaf)
{
	uint8_t record[24];
	store64(record, index);
	h128_store(record + 8, leaf);
	return hash128(NULL, record, sizeof record);
}

struct h128 hash_content(uint64_t size, struct h128 sum)
{
	uint8_t record[24];
	store64(record, size);
	h128_store(record + 8, sum);
	return hash128(NULL, record, sizeof record);
}
