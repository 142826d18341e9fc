/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

enum { ROUNDS = 20000 };

static uint64_t next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* Of every bit length equally often. */
static uint64_t random_value(uint64_t *state)
{
	uint64_t v = next(state);
	return v >> (next(state) % 64);
}

static size_t var_length(uint64_t v)
{
	size_t n = 1;
	while (v >>= 7)
		n++;
	return n;
}

static void check_var(uint64_t v)
{
	struct buf b;
	buf_init(&b, 64);
	put_var(&b, v);
	assert_int_equal(b.len, var_length(v));
	struct cursor c = cursor_of(b.data, b.len);
	assert_true(get_var(&c, UINT64_MAX) == v);
	assert_false(c.bad);
	assert_int_equal(cursor_left(&c), 0);

	c = cursor_of(b.data, b.len);
	assert_true(get_var(&c, v) == v);
	assert_false(c.bad);
	if (v > 0) {
		c = cursor_of(b.data, b.len);
		assert_true(get_var(&c, v - 1) == 0);
		assert_true(c.bad);
	}
	for (size_t cut = 0; cut < b.len; cut++) {
		c = cursor_of(b.data, cut);
		assert_true(get_var(&c, UINT64_MAX) == 0);
		assert_true(c.bad);
	}
	buf_release(&b);
}

static void varints_round_trip(void **state)
{
	(void)state;
	uint64_t seed = 20240607;
	print_message("seed %llu\n", (unsigned long long)seed);
	check_var(0);
	check_var(UINT64_MAX);
	check_var(INT64_MAX);
	for (unsigned bits = 1; bits < 64; bits++) {
		uint64_t edge = (uint64_t)1 << bits;
		check_var(edge - 1);
		check_var(edge);
		check_var(edge + 1);
	}
	for (int i = 0; i < ROUNDS; i++)
		check_var(random_value(&seed));
}

static bool var_refused(const uint8_t *raw, size_t n)
{
	struct cursor c = cursor_of(raw, n);
	uint64_t v = get_var(&c, UINT64_MAX);
	assert_true(!c.bad || v == 0);
	return c.bad;
}

static void only_the_shortest_form_is_taken(void **state)
{
	(void)state;
	static const uint8_t zero[] = {0x00};
	static const uint8_t long_zero[] = {0x80, 0x00};
	static const uint8_t long_127[] = {0xff, 0x00};
	static const uint8_t long_128[] = {0x80, 0x81, 0x00};
	static const uint8_t max[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01};
	static const uint8_t over[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
	static const uint8_t over_top[] = {0x80, 0x80, 0x80, 0x80, 0x80,
					   0x80, 0x80, 0x80, 0x80, 0x7f};
	static const uint8_t ten_zero[] = {0x80, 0x80, 0x80, 0x80, 0x80,
					   0x80, 0x80, 0x80, 0x80, 0x00};
	static const uint8_t eleven[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
					 0xff, 0xff, 0xff, 0x81, 0x00};
	static const uint8_t endless[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
					  0x80, 0x80, 0x80, 0x80, 0x80, 0x80};
	assert_false(var_refused(zero, sizeof zero));
	assert_false(var_refused(max, sizeof max));
	assert_true(var_refused(long_zero, sizeof long_zero));
	assert_true(var_refused(long_127, sizeof long_127));
	assert_true(var_refused(long_128, sizeof long_128));
	assert_true(var_refused(over, sizeof over));
	assert_true(var_refused(over_top, sizeof over_top));
	assert_true(var_refused(ten_zero, sizeof ten_zero));
	assert_true(var_refused(eleven, sizeof eleven));
	assert_true(var_refused(endless, sizeof endless));
}

/* Whatever bytes come: what is taken, put again, gives the same bytes. */
static void random_bytes_have_one_meaning(void **state)
{
	(void)state;
	uint64_t seed = 99;
	unsigned taken = 0;
	for (int i = 0; i < ROUNDS; i++) {
		uint8_t raw[12];
		size_t n = 1 + next(&seed) % sizeof raw;
		for (size_t k = 0; k < n; k++)
			raw[k] = (uint8_t)(next(&seed) | (k + 1 < n && k < 9 ? 0x80 : 0));
		struct cursor c = cursor_of(raw, n);
		uint64_t v = get_var(&c, UINT64_MAX);
		if (c.bad)
			continue;
		taken++;
		struct buf b;
		buf_init(&b, 16);
		put_var(&b, v);
		assert_int_equal(b.len, (size_t)(c.p - raw));
		assert_memory_equal(b.data, raw, b.len);
		buf_release(&b);
	}
	assert_true(taken > ROUNDS / 10);
}

static void check_svar(int64_t v, size_t length)
{
	struct buf b;
	buf_init(&b, 16);
	put_svar(&b, v);
	if (length)
		assert_int_equal(b.len, length);
	struct cursor c = cursor_of(b.data, b.len);
	assert_true(get_svar(&c) == v);
	assert_false(c.bad);
	assert_int_equal(cursor_left(&c), 0);
	buf_release(&b);
}

static void signed_varints_are_zigzag(void **state)
{
	(void)state;
	static const int64_t in_order[] = {0, -1, 1, -2, 2, -3, 3};
	for (size_t i = 0; i < sizeof in_order / sizeof in_order[0]; i++) {
		struct buf b;
		buf_init(&b, 16);
		put_svar(&b, in_order[i]);
		assert_int_equal(b.len, 1);
		assert_int_equal(b.data[0], i);
		buf_release(&b);
	}
	check_svar(-64, 1);
	check_svar(63, 1);
	check_svar(-65, 2);
	check_svar(64, 2);
	check_svar(INT64_MAX, 10);
	check_svar(INT64_MIN, 10);
	check_svar(INT32_MIN, 5);
	uint64_t seed = 5;
	for (int i = 0; i < ROUNDS; i++) {
		int64_t v = (int64_t)random_value(&seed);
		check_svar(v, 0);
		check_svar(-v, 0);
	}
}

static void integers_are_little_endian(void **state)
{
	(void)state;
	static const uint8_t expected[] = {0x02, 0x01, 0x04, 0x03, 0x02, 0x01, 0x08, 0x07,
					   0x06, 0x05, 0x04, 0x03, 0x02, 0x01, 0xfe};
	struct buf b;
	buf_init(&b, 64);
	put_u16(&b, 0x0102);
	put_u32(&b, 0x01020304);
	put_u64(&b, 0x0102030405060708);
	buf_put_u8(&b, 0xfe);
	assert_int_equal(b.len, sizeof expected);
	assert_memory_equal(b.data, expected, sizeof expected);
	struct cursor c = cursor_of(b.data, b.len);
	assert_int_equal(get_u16(&c), 0x0102);
	assert_int_equal(get_u32(&c), 0x01020304);
	assert_true(get_u64(&c) == 0x0102030405060708);
	assert_int_equal(get_u8(&c), 0xfe);
	assert_false(c.bad);
	assert_int_equal(cursor_left(&c), 0);
	buf_release(&b);
}

static void hashes_keep_their_halves(void **state)
{
	(void)state;
	struct h128 h = {.lo = 0x0102030405060708, .hi = 0x1112131415161718};
	struct buf b;
	buf_init(&b, 64);
	put_h128(&b, h);
	assert_int_equal(b.len, 16);
	assert_int_equal(b.data[0], 0x08);
	assert_int_equal(b.data[15], 0x11);
	struct cursor c = cursor_of(b.data, b.len);
	assert_true(h128_equal(get_h128(&c), h));
	c = cursor_of(b.data, 15);
	assert_true(h128_equal(get_h128(&c), (struct h128){0}));
	assert_true(c.bad);
	buf_release(&b);
}

static void byte_ranges_have_limits(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 1024);
	uint8_t text[300];
	memset(text, 'x', sizeof text);
	put_bytes(&b, text, 200);
	assert_int_equal(b.len, 202);
	struct cursor c = cursor_of(b.data, b.len);
	struct bytes r = get_bytes(&c, 200);
	assert_false(c.bad);
	assert_int_equal(r.n, 200);
	assert_ptr_equal(r.p, b.data + 2);
	c = cursor_of(b.data, b.len);
	r = get_bytes(&c, 199);
	assert_true(c.bad);
	assert_int_equal(r.n, 0);
	for (size_t cut = 0; cut < b.len; cut++) {
		c = cursor_of(b.data, cut);
		r = get_bytes(&c, SIZE_MAX);
		assert_true(c.bad);
		assert_int_equal(r.n, 0);
	}
	buf_clear(&b);
	put_var(&b, UINT64_MAX);
	buf_put(&b, text, 10);
	c = cursor_of(b.data, b.len);
	r = get_bytes(&c, SIZE_MAX);
	assert_true(c.bad);
	assert_int_equal(r.n, 0);
	buf_clear(&b);
	put_bytes(&b, text, 0);
	c = cursor_of(b.data, b.len);
	r = get_bytes(&c, 0);
	assert_false(c.bad);
	assert_int_equal(r.n, 0);
	buf_release(&b);
}

/* After the first overrun nothing moves and everything is zero. */
static void bad_stays_bad(void **state)
{
	(void)state;
	uint8_t raw[64];
	memset(raw, 1, sizeof raw);
	struct cursor c = cursor_of(raw, sizeof raw);
	assert_int_equal(get_raw(&c, sizeof raw + 1).n, 0);
	assert_true(c.bad);
	assert_int_equal(get_u8(&c), 0);
	assert_int_equal(get_u16(&c), 0);
	assert_int_equal(get_u32(&c), 0);
	assert_true(get_u64(&c) == 0);
	assert_true(get_var(&c, UINT64_MAX) == 0);
	assert_true(get_svar(&c) == 0);
	assert_int_equal(get_raw(&c, 1).n, 0);
	assert_int_equal(get_bytes(&c, 10).n, 0);
	assert_true(h128_equal(get_h128(&c), (struct h128){0}));
	assert_true(c.bad);
	assert_int_equal(cursor_left(&c), sizeof raw);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(varints_round_trip),
		cmocka_unit_test(only_the_shortest_form_is_taken),
		cmocka_unit_test(random_bytes_have_one_meaning),
		cmocka_unit_test(signed_varints_are_zigzag),
		cmocka_unit_test(integers_are_little_endian),
		cmocka_unit_test(hashes_keep_their_halves),
		cmocka_unit_test(byte_ranges_have_limits),
		cmocka_unit_test(bad_stays_bad),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
