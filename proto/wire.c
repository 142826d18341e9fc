/* SPDX-License-Identifier: Apache-2.0 */
#include "wire.h"

struct bytes get_raw(struct cursor *c, size_t n)
{
	if (c->bad || n > cursor_left(c)) {
		c->bad = true;
		return (struct bytes){0};
	}
	struct bytes r = {.p = c->p, .n = n};
	c->p += n;
	return r;
}

static uint64_t get_le(struct cursor *c, size_t n)
{
	struct bytes r = get_raw(c, n);
	uint64_t v = 0;
	for (size_t i = r.n; i > 0; i--)
		v = v << 8 | r.p[i - 1];
	return v;
}

uint8_t get_u8(struct cursor *c)
{
	return (uint8_t)get_le(c, 1);
}

uint16_t get_u16(struct cursor *c)
{
	return (uint16_t)get_le(c, 2);
}

uint32_t get_u32(struct cursor *c)
{
	return (uint32_t)get_le(c, 4);
}

uint64_t get_u64(struct cursor *c)
{
	return get_le(c, 8);
}

uint64_t get_var(struct cursor *c, uint64_t max)
{
	uint64_t v = 0;
	for (unsigned shift = 0; shift < 70; shift += 7) {
		uint8_t b = get_u8(c);
		if (c->bad)
			return 0;
		uint64_t part = b & 0x7fu;
		if ((shift == 63 && part > 1) || (shift && b == 0))
			break;
		v |= part << shift;
		if (!(b & 0x80)) {
			if (v > max)
				break;
			return v;
		}
	}
	c->bad = true;
	return 0;
}

int64_t get_svar(struct cursor *c)
{
	uint64_t v = get_var(c, UINT64_MAX);
	return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

struct bytes get_bytes(struct cursor *c, size_t max)
{
	uint64_t n = get_var(c, max);
	return get_raw(c, (size_t)n);
}

struct h128 get_h128(struct cursor *c)
{
	struct bytes r = get_raw(c, 16);
	return r.n ? h128_load(r.p) : (struct h128){0};
}

static void put_le(struct buf *b, uint64_t v, size_t n)
{
	uint8_t raw[8];
	for (size_t i = 0; i < n; i++)
		raw[i] = (uint8_t)(v >> (8 * i));
	buf_put(b, raw, n);
}

void put_u16(struct buf *b, uint16_t v)
{
	put_le(b, v, 2);
}

void put_u32(struct buf *b, uint32_t v)
{
	put_le(b, v, 4);
}

void put_u64(struct buf *b, uint64_t v)
{
	put_le(b, v, 8);
}

void put_var(struct buf *b, uint64_t v)
{
	uint8_t raw[10];
	size_t n = 0;
	do {
		raw[n++] = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
		v >>= 7;
	} while (v);
	buf_put(b, raw, n);
}

void put_svar(struct buf *b, int64_t v)
{
	put_var(b, (uint64_t)v << 1 ^ (uint64_t)(v >> 63));
}

void put_bytes(struct buf *b, const void *p, size_t n)
{
	put_var(b, n);
	buf_put(b, p, n);
}

void put_h128(struct buf *b, struct h128 h)
{
	uint8_t raw[16];
	h128_store(raw, h);
	buf_put(b, raw, sizeof raw);
}
