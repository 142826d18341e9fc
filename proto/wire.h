/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Primitive wire types (SPEC.md 2): little-endian integers, LEB128 varints of at most 10 bytes, and
 * a read cursor that turns any overrun or bad varint into one sticky flag, so that a decoder reads
 * all its fields and checks once. Pure.
 */
#ifndef SCRIBE_WIRE_H
#define SCRIBE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "hash.h"

struct cursor {
	const uint8_t *p, *end;
	bool bad;
};

/* Bytes borrowed from the decoded frame; valid as long as it is. */
struct bytes {
	const uint8_t *p;
	size_t n;
};

static inline struct cursor cursor_of(const void *p, size_t n)
{
	return (struct cursor){.p = p, .end = n ? (const uint8_t *)p + n : p};
}

static inline size_t cursor_left(const struct cursor *c)
{
	return (size_t)(c->end - c->p);
}

uint8_t get_u8(struct cursor *c);
uint16_t get_u16(struct cursor *c);
uint32_t get_u32(struct cursor *c);
uint64_t get_u64(struct cursor *c);
/* bad when over max or longer than needed (non-canonical). */
uint64_t get_var(struct cursor *c, uint64_t max);
int64_t get_svar(struct cursor *c);
/* n raw bytes, or an empty range and bad. */
struct bytes get_raw(struct cursor *c, size_t n);
/* varint length <= max, then the bytes. */
struct bytes get_bytes(struct cursor *c, size_t max);
struct h128 get_h128(struct cursor *c);

void put_u16(struct buf *b, uint16_t v);
void put_u32(struct buf *b, uint32_t v);
void put_u64(struct buf *b, uint64_t v);
void put_var(struct buf *b, uint64_t v);
/* zigzag */
void put_svar(struct buf *b, int64_t v);
void put_bytes(struct buf *b, const void *p, size_t n);
void put_h128(struct buf *b, struct h128 h);

#endif
