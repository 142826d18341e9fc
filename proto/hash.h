/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 128-bit hashes and sums of them. XXH3-128 (xxHash 0.8), keyed by a run's secret where an
 * adversary could gain by a collision, unkeyed where a value must mean the same in every run. Pure;
 * safe from any thread.
 */
#ifndef SCRIBE_HASH_H
#define SCRIBE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct h128 {
	uint64_t lo, hi;
};

enum { HASH_SECRET_BYTES = 192, HASH_NONCE_BYTES = 32 };

/* Keys every digest of one run. Made from both sides' nonces, never logged. */
struct hash_key {
	uint8_t secret[HASH_SECRET_BYTES];
};

/* Derives the key from the source's and the destination's nonce (HASH_NONCE_BYTES each). */
void hash_key_init(struct hash_key *k, const uint8_t *source_nonce,
		   const uint8_t *destination_nonce);

/* key NULL: unkeyed. */
struct h128 hash128(const struct hash_key *key, const void *p, size_t n);
uint64_t hash64(const struct hash_key *key, const void *p, size_t n);

/* Sums modulo 2^128: the digest of a set, whatever the order of its members. */
static inline void h128_add(struct h128 *a, struct h128 b)
{
	a->lo += b.lo;
	a->hi += b.hi + (a->lo < b.lo);
}

static inline void h128_sub(struct h128 *a, struct h128 b)
{
	uint64_t lo = a->lo - b.lo;
	a->hi -= b.hi + (a->lo < b.lo);
	a->lo = lo;
}

static inline bool h128_equal(struct h128 a, struct h128 b)
{
	return a.lo == b.lo && a.hi == b.hi;
}

/* 16 bytes, little endian, lo first: the form on the wire and in hashed records. */
void h128_store(uint8_t out[16], struct h128 h);
struct h128 h128_load(const uint8_t in[16]);

/* 32 lower-case hex digits (hi first) and a NUL. */
void h128_hex(char out[33], struct h128 h);

/* The id of a path: that of its parent and its name hashed; the root's is zero. Names are bytes. */
struct h128 hash_path(const struct hash_key *key, struct h128 parent, const void *name, size_t len);

/* What leaf `index` of a file adds to the file's content sum. */
struct h128 hash_leaf_term(uint64_t index, struct h128 leaf);

/* The content hash of a file of `size` bytes whose leaf terms add up to `sum`. */
struct h128 hash_content(uint64_t size, struct h128 sum);

#endif
