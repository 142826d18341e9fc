/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "anchor.h"
#include "mem.h"

static const uint64_t SEED = 77;

static uint64_t next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static void fill_random(uint8_t *p, size_t n, uint64_t seed)
{
	for (size_t i = 0; i + 8 <= n; i += 8) {
		uint64_t v = next(&seed);
		memcpy(p + i, &v, 8);
	}
}

static struct anchor_list scan(const uint8_t *p, size_t n, size_t piece,
			       const struct anchor_params *params, const struct anchor_list *only)
{
	struct anchor_scan *s = anchor_scan_new(params, only);
	for (size_t at = 0; at < n; at += piece)
		anchor_scan_feed(s, p + at, n - at < piece ? n - at : piece, at);
	struct anchor_list l = anchor_scan_finish(s);
	anchor_scan_free(s);
	return l;
}

static void assert_same(const struct anchor_list *a, const struct anchor_list *b)
{
	assert_int_equal(a->n, b->n);
	assert_int_equal(a->spacing, b->spacing);
	for (size_t i = 0; i < a->n; i++) {
		assert_int_equal(a->v[i].off, b->v[i].off);
		assert_int_equal(a->v[i].id, b->v[i].id);
	}
}

static void about_the_target(void **state)
{
	(void)state;
	enum { LEN = 32 << 20 };
	CLEANUP_FREE uint8_t *data = mem_alloc_raw(LEN);
	fill_random(data, LEN, 1);
	struct anchor_params p = anchor_params_for(SEED, LEN);
	assert_int_equal(p.spacing, LEN / ANCHOR_TARGET);
	struct timespec a, b;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	struct anchor_list l = scan(data, LEN, 256 << 10, &p, NULL);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
	double s = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
	printf("%zu anchors in %d bytes, %.2f GB/s\n", l.n, LEN, LEN / s / 1e9);
	assert_in_range(l.n, ANCHOR_TARGET * 3 / 4, ANCHOR_TARGET * 5 / 4);
	for (size_t i = 1; i < l.n; i++)
		assert_true(l.v[i].off >= l.v[i - 1].off + ANCHOR_SPAN);
	CLEANUP_BUF struct buf wire;
	buf_init(&wire, ANCHOR_WIRE_MAX);
	assert_int_equal(anchor_encode(&l, &wire), 0);
	printf("%zu bytes on the wire\n", wire.len);
	assert_true(wire.len < 11 * l.n + 16);
	struct anchor_list back;
	assert_int_equal(anchor_decode(wire.data, wire.len, &back, NULL), 0);
	assert_same(&l, &back);
	anchor_list_release(&back);
	anchor_list_release(&l);
}

static void cuts_do_not_matter(void **state)
{
	(void)state;
	enum { LEN = 1 << 20 };
	CLEANUP_FREE uint8_t *data = mem_alloc_raw(LEN);
	fill_random(data, LEN, 2);
	memset(data + LEN / 2, 0, LEN / 16);
	struct anchor_params p = anchor_params_for(SEED, 0);
	struct anchor_list whole = scan(data, LEN, LEN, &p, NULL);
	assert_true(whole.n > 500);
	static const size_t pieces[] = {1,    63,   255,   256,   257,   511,
					1000, 4096, 32768, 32769, 100000};
	for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
		struct anchor_list l = scan(data, LEN, pieces[i], &p, NULL);
		assert_same(&whole, &l);
		anchor_list_release(&l);
	}
	anchor_list_release(&whole);
}

static void content_decides_not_offsets(void **state)
{
	(void)state;
	enum { LEN = 4 << 20, SHIFT = 12345 };
	uint8_t *data = mem_alloc_raw(LEN + SHIFT);
	fill_random(data, LEN + SHIFT, 3);
	struct anchor_params p = anchor_params_for(SEED, LEN);
	struct anchor_list basis = scan(data + SHIFT, LEN, 65536, &p, NULL);
	struct anchor_list source = scan(data, LEN + SHIFT, 65536, &p, &basis);
	assert_in_range(source.n, basis.n - 1, basis.n);
	size_t k = basis.n - source.n;
	for (size_t i = 0; i < source.n; i++) {
		assert_int_equal(source.v[i].id, basis.v[i + k].id);
		assert_int_equal(source.v[i].off, basis.v[i + k].off + SHIFT);
	}
	anchor_list_release(&source);
	struct anchor_params other = {.seed = SEED + 1, .spacing = p.spacing};
	source = scan(data, LEN + SHIFT, 65536, &other, &basis);
	assert_int_equal(source.n, 0);
	anchor_list_release(&source);
	anchor_list_release(&basis);
	free(data);
}

static void gaps_are_not_spanned(void **state)
{
	(void)state;
	enum { LEN = 1 << 20, AT = 500000, GAP = 4096 };
	CLEANUP_FREE uint8_t *data = mem_alloc_raw(LEN);
	fill_random(data, LEN, 4);
	struct anchor_params p = anchor_params_for(SEED, 0);
	struct anchor_list whole = scan(data, LEN, LEN, &p, NULL);
	struct anchor_scan *s = anchor_scan_new(&p, NULL);
	anchor_scan_feed(s, data, AT, 0);
	anchor_scan_feed(s, data + AT + GAP, LEN - AT - GAP, AT + GAP);
	struct anchor_list l = anchor_scan_finish(s);
	anchor_scan_free(s);
	size_t k = 0;
	for (size_t i = 0; i < whole.n; i++) {
		uint64_t off = whole.v[i].off;
		if (off + ANCHOR_SPAN > AT && off < AT + GAP)
			continue;
		assert_true(k < l.n);
		assert_int_equal(l.v[k++].off, off);
	}
	assert_int_equal(k, l.n);
	assert_true(l.n < whole.n);
	anchor_list_release(&l);
	anchor_list_release(&whole);
}

static void repeated_content(void **state)
{
	(void)state;
	enum { LEN = 8 << 20, PERIOD = 50000 };
	CLEANUP_FREE uint8_t *data = mem_alloc(LEN, 1);
	struct anchor_params p = anchor_params_for(SEED, LEN);
	struct anchor_list l = scan(data, LEN, 65536, &p, NULL);
	assert_int_equal(l.n, 0);
	anchor_list_release(&l);
	fill_random(data, PERIOD, 5);
	for (size_t i = PERIOD; i < LEN; i++)
		data[i] = data[i - PERIOD];
	l = scan(data, LEN, 65536, &p, NULL);
	assert_int_equal(l.n, 0);
	anchor_list_release(&l);
	l = scan(data, PERIOD, 65536, &p, NULL);
	assert_true(l.n > 3);
	struct anchor_list source = scan(data, LEN, 65536, &p, &l);
	assert_int_equal(source.n, l.n * ANCHOR_REPEAT_MAX);
	anchor_list_release(&source);
	anchor_list_release(&l);
}

static void full_lists_are_thinned(void **state)
{
	(void)state;
	enum { LEN = 16 << 20 };
	CLEANUP_FREE uint8_t *data = mem_alloc_raw(LEN);
	fill_random(data, LEN, 6);
	struct anchor_params fine = anchor_params_for(SEED, 0);
	struct anchor_list l = scan(data, LEN, 65536, &fine, NULL);
	assert_in_range(l.n, ANCHOR_MAX / 4, ANCHOR_MAX);
	assert_in_range(l.spacing, 4 * ANCHOR_SPACING_MIN, 8 * ANCHOR_SPACING_MIN);
	struct anchor_list source = scan(data, LEN, 65536, &fine, &l);
	assert_true(source.n > l.n * 95 / 100);
	assert_int_equal(source.spacing, l.spacing);
	anchor_list_release(&source);
	anchor_list_release(&l);
}

static int decode(const void *p, size_t n)
{
	struct anchor_list l;
	struct err e = {0};
	int r = anchor_decode(p, n, &l, &e);
	if (r == 0)
		anchor_list_release(&l);
	else
		assert_int_equal(e.code, ERR_PROTOCOL);
	return r;
}

static void hostile_lists_are_refused(void **state)
{
	(void)state;
	struct anchor v[] = {{0, 5}, {300, 6}, {INT64_MAX - ANCHOR_SPAN, 7}};
	struct anchor_list l = {.v = v, .n = 3, .spacing = ANCHOR_SPACING_MIN};
	CLEANUP_BUF struct buf wire;
	buf_init(&wire, ANCHOR_WIRE_MAX);
	assert_int_equal(anchor_encode(&l, &wire), 0);
	assert_int_equal(decode(wire.data, wire.len), 0);
	for (size_t n = 0; n < wire.len; n++)
		assert_int_equal(decode(wire.data, n), -1);
	assert_int_equal(buf_put_u8(&wire, 0), 0);
	assert_int_equal(decode(wire.data, wire.len), -1);
	static const char *const bad[] = {
		"\x80\x08\x81",                             /* cut */
		"\x7f\x01",                                 /* spacing too small */
		"\x80\x08\x81\x20",                         /* more anchors than allowed */
		"\x80\x08\x02\x01zzzzzzzz",                 /* fewer than announced */
		"\x80\x88\x80\x80\x80\x80\x80\x80\x80\x02", /* varint beyond 64 bits */
		"\x80\x08\x81\x80",                         /* not the shortest form */
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(decode(bad[i], strlen(bad[i])), -1);
	struct anchor_list twice = {.v = v, .n = 2, .spacing = ANCHOR_SPACING_MIN};
	v[1].off = 0;
	buf_clear(&wire);
	assert_int_equal(anchor_encode(&twice, &wire), 0);
	assert_int_equal(decode(wire.data, wire.len), -1);
	struct anchor_list none = {.spacing = ANCHOR_SPACING_MIN};
	buf_clear(&wire);
	assert_int_equal(anchor_encode(&none, &wire), 0);
	assert_int_equal(decode(wire.data, wire.len), 0);
}

static void wire_limit_holds(void **state)
{
	(void)state;
	struct anchor_list l = {.spacing = UINT64_MAX, .n = ANCHOR_MAX};
	l.v = mem_alloc(l.n, sizeof *l.v);
	for (size_t i = 0; i < l.n; i++)
		l.v[i] = (struct anchor){.off = (i + 1) * (INT64_MAX / 4097), .id = i};
	CLEANUP_BUF struct buf wire;
	buf_init(&wire, ANCHOR_WIRE_MAX);
	assert_int_equal(anchor_encode(&l, &wire), 0);
	assert_true(wire.len > ANCHOR_WIRE_MAX - 40);
	struct anchor_list back;
	assert_int_equal(anchor_decode(wire.data, wire.len, &back, NULL), 0);
	assert_true(back.n >= ANCHOR_MAX - 4);
	anchor_list_release(&back);
	anchor_list_release(&l);
	buf_release(&wire);
	buf_init(&wire, 20);
	struct anchor v[] = {{0, 5}, {300, 6}, {900, 7}};
	l = (struct anchor_list){.v = v, .n = 3, .spacing = ANCHOR_SPACING_MIN};
	assert_int_equal(anchor_encode(&l, &wire), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(about_the_target),
		cmocka_unit_test(cuts_do_not_matter),
		cmocka_unit_test(content_decides_not_offsets),
		cmocka_unit_test(gaps_are_not_spanned),
		cmocka_unit_test(repeated_content),
		cmocka_unit_test(full_lists_are_thinned),
		cmocka_unit_test(hostile_lists_are_refused),
		cmocka_unit_test(wire_limit_holds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
