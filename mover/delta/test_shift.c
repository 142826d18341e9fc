/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "shift.h"

enum { MIB = 1 << 20, BASIS = 64 * MIB };

static const uint64_t SEED = 99;

static uint64_t next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static void fill_random(uint8_t *p, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i += 8) {
		uint64_t v = next(&seed);
		memcpy(p + i, &v, n - i < 8 ? n - i : 8);
	}
}

static struct anchor_list scan(const uint8_t *p, size_t n, uint64_t data_bytes,
			       const struct anchor_list *only)
{
	struct anchor_params params = anchor_params_for(SEED, data_bytes);
	struct anchor_scan *s = anchor_scan_new(&params, only);
	anchor_scan_feed(s, p, n, 0);
	struct anchor_list l = anchor_scan_finish(s);
	anchor_scan_free(s);
	return l;
}

static void check_rules(const struct shift_map *m, uint64_t basis_size, uint64_t source_size)
{
	assert_true(m->n <= SHIFT_SEGMENTS_MAX);
	for (size_t i = 0; i < m->n; i++) {
		const struct shift_segment *s = &m->v[i];
		assert_true(s->src_start <= s->sure_start && s->sure_start < s->sure_end);
		assert_true(s->sure_end <= s->src_end && s->src_end <= source_size);
		assert_true((int64_t)s->src_start - s->distance >= 0);
		assert_true((uint64_t)((int64_t)s->src_end - s->distance) <= basis_size);
		assert_true(s->votes >= SHIFT_VOTES_MIN);
		assert_ptr_equal(shift_at(m, s->src_start), s);
		assert_ptr_equal(shift_at(m, s->src_end - 1), s);
		assert_true(shift_at(m, s->src_end) != s);
		if (!i)
			continue;
		assert_true(s[-1].src_end <= s->src_start);
		assert_true(s[-1].src_end < s->src_start || s[-1].distance != s->distance);
	}
}

/* Share of the source that is equal to the basis where the map says so, 0..1. */
static double found(const struct shift_map *m, const uint8_t *basis, const uint8_t *source,
		    size_t n)
{
	uint64_t equal = 0;
	for (size_t i = 0; i < m->n; i++) {
		const struct shift_segment *s = &m->v[i];
		for (uint64_t at = s->src_start; at < s->src_end; at += 4096) {
			size_t k = s->src_end - at < 4096 ? (size_t)(s->src_end - at) : 4096;
			const uint8_t *b = basis + (int64_t)at - s->distance;
			equal += memcmp(b, source + at, k) == 0 ? k : 0;
		}
	}
	return n ? (double)equal / (double)n : 0;
}

static struct shift_map *map_of(const uint8_t *basis, size_t basis_len, const uint8_t *source,
				size_t source_len)
{
	struct shift_map *m = mem_alloc(1, sizeof *m);
	struct anchor_list b = scan(basis, basis_len, basis_len, NULL);
	struct anchor_list s = scan(source, source_len, basis_len, &b);
	shift_find(&b, basis_len, &s, source_len, m);
	check_rules(m, basis_len, source_len);
	anchor_list_release(&b);
	anchor_list_release(&s);
	return m;
}

struct world {
	uint8_t *basis, *source;
};

static int make_world(void **state)
{
	struct world *w = mem_alloc(1, sizeof *w);
	w->basis = mem_alloc_raw(BASIS);
	w->source = mem_alloc_raw(2 * BASIS);
	fill_random(w->basis, BASIS, 1);
	*state = w;
	return 0;
}

static int end_world(void **state)
{
	struct world *w = *state;
	free(w->basis);
	free(w->source);
	free(w);
	return 0;
}

static void inserted_at_the_head(void **state)
{
	struct world *w = *state;
	fill_random(w->source, 1000, 2);
	memcpy(w->source + 1000, w->basis, BASIS);
	struct shift_map *m = map_of(w->basis, BASIS, w->source, BASIS + 1000);
	assert_int_equal(m->n, 1);
	assert_int_equal(m->v[0].distance, 1000);
	assert_int_equal(m->v[0].src_start, 1000);
	assert_int_equal(m->v[0].src_end, BASIS + 1000);
	assert_null(shift_at(m, 999));
	free(m);
}

static void inserted_in_the_middle(void **state)
{
	struct world *w = *state;
	const size_t at = BASIS / 2 + 333;
	memcpy(w->source, w->basis, at);
	fill_random(w->source + at, 1000, 3);
	memcpy(w->source + at + 1000, w->basis + at, BASIS - at);
	struct shift_map *m = map_of(w->basis, BASIS, w->source, BASIS + 1000);
	assert_int_equal(m->n, 2);
	assert_int_equal(m->v[0].distance, 0);
	assert_int_equal(m->v[0].src_start, 0);
	assert_int_equal(m->v[1].distance, 1000);
	assert_int_equal(m->v[1].src_end, BASIS + 1000);
	assert_int_equal(m->v[0].src_end, m->v[1].src_start);
	assert_true(found(m, w->basis, w->source, BASIS) > 0.99);
	free(m);
}

static void end_moved_to_the_start(void **state)
{
	struct world *w = *state;
	memcpy(w->source, w->basis + 48 * MIB, 16 * MIB);
	memcpy(w->source + 16 * MIB, w->basis, 48 * MIB);
	struct shift_map *m = map_of(w->basis, BASIS, w->source, BASIS);
	assert_int_equal(m->n, 2);
	assert_int_equal(m->v[0].src_start, 0);
	assert_int_equal(m->v[0].src_end, 16 * MIB);
	assert_int_equal(m->v[0].distance, -48 * MIB);
	assert_int_equal(m->v[1].src_start, 16 * MIB);
	assert_int_equal(m->v[1].src_end, BASIS);
	assert_int_equal(m->v[1].distance, 16 * MIB);
	free(m);
}

static void much_prepended(void **state)
{
	struct world *w = *state;
	fill_random(w->source, 20 * MIB, 4);
	memcpy(w->source + 20 * MIB, w->basis, BASIS);
	struct shift_map *m = map_of(w->basis, BASIS, w->source, BASIS + 20 * MIB);
	assert_int_equal(m->n, 1);
	assert_int_equal(m->v[0].src_start, 20 * MIB);
	assert_int_equal(m->v[0].src_end, BASIS + 20 * MIB);
	assert_int_equal(m->v[0].distance, 20 * MIB);
	free(m);
}

static void much_inserted_is_left_out(void **state)
{
	struct world *w = *state;
	memcpy(w->source, w->basis, 30 * MIB);
	fill_random(w->source + 30 * MIB, 20 * MIB, 5);
	memcpy(w->source + 50 * MIB, w->basis + 30 * MIB, 34 * MIB);
	struct shift_map *m = map_of(w->basis, BASIS, w->source, 84 * MIB);
	assert_int_equal(m->n, 2);
	assert_null(shift_at(m, 40 * MIB));
	assert_true(found(m, w->basis, w->source, BASIS) > 0.99);
	free(m);
}

static void many_inserts_and_deletes(void **state)
{
	struct world *w = *state;
	uint64_t seed = getenv("SCRIBE_SEED") ? strtoull(getenv("SCRIBE_SEED"), NULL, 10) : 6;
	printf("seed %llu\n", (unsigned long long)seed);
	size_t from = 0, to = 0, kept = 0;
	for (int i = 0; i < 20; i++) {
		size_t n = 2 * MIB + (size_t)(next(&seed) % (2 * MIB));
		if (n > BASIS - from)
			n = BASIS - from;
		memcpy(w->source + to, w->basis + from, n);
		from += n;
		to += n;
		kept += n;
		size_t change = 1 + (size_t)(next(&seed) % 20000);
		if (next(&seed) % 2) {
			fill_random(w->source + to, change, next(&seed));
			to += change;
		} else {
			from = change < BASIS - from ? from + change : BASIS;
		}
	}
	struct shift_map *m = map_of(w->basis, BASIS, w->source, to);
	assert_in_range(m->n, 18, 20);
	double share = found(m, w->basis, w->source, kept);
	printf("%zu segments, %.1f %% found\n", m->n, 100 * share);
	assert_true(share > 0.9);
	free(m);
}

static void repeated_source_is_found_twice(void **state)
{
	struct world *w = *state;
	memcpy(w->source, w->basis, BASIS);
	memcpy(w->source + BASIS, w->basis, BASIS);
	struct shift_map *m = map_of(w->basis, BASIS, w->source, 2 * BASIS);
	assert_int_equal(m->n, 2);
	assert_int_equal(m->v[0].src_end, BASIS);
	assert_int_equal(m->v[1].src_start, BASIS);
	assert_int_equal(m->v[1].distance, BASIS);
	free(m);
}

static void zeros_and_periods_are_harmless(void **state)
{
	struct world *w = *state;
	enum { LEN = 16 * MIB };
	uint8_t *other = mem_alloc(LEN, 1);
	memset(w->source, 0, LEN);
	struct shift_map *m = map_of(other, LEN, w->source, LEN);
	assert_int_equal(m->n, 0);
	free(m);
	for (size_t i = 0; i < LEN; i++)
		other[i] = w->basis[i % 30000];
	m = map_of(other, LEN, other, LEN);
	assert_int_equal(m->n, 0);
	free(m);
	free(other);
}

static void unrelated_and_small_files(void **state)
{
	struct world *w = *state;
	fill_random(w->source, BASIS, 8);
	struct shift_map *m = map_of(w->basis, BASIS, w->source, BASIS);
	assert_int_equal(m->n, 0);
	free(m);
	for (size_t n = 0; n < 5000; n += 499) {
		m = map_of(w->basis, n, w->basis, n);
		assert_true(m->n <= 1);
		free(m);
	}
}

/* Distances that change every few anchors, in random order: limits hold, best segments stay. */
static void too_many_segments(void **state)
{
	(void)state;
	enum { N = ANCHOR_MAX };
	uint64_t seed = 9;
	struct anchor_list b = {.v = mem_alloc(N, sizeof *b.v), .n = N, .spacing = 4096};
	struct anchor_list s = {.v = mem_alloc(N, sizeof *s.v), .n = N, .spacing = 4096};
	uint64_t size = (uint64_t)N * 8192 + 4096;
	for (size_t i = 0; i < N; i++) {
		b.v[i] = (struct anchor){.off = i * 8192, .id = next(&seed)};
		uint64_t d = i > N - 100 ? 0 : i / 3 % 7 * 300;
		s.v[i] = (struct anchor){.off = i * 8192 + d, .id = b.v[i].id};
	}
	struct shift_map *m = mem_alloc(1, sizeof *m);
	shift_find(&b, size, &s, size, m);
	check_rules(m, size, size);
	assert_in_range(m->n, 200, SHIFT_SEGMENTS_MAX);
	assert_true(m->v[m->n - 1].votes >= 99);
	for (size_t i = 0; i < N; i++)
		s.v[i].id = b.v[next(&seed) % N].id;
	shift_find(&b, size, &s, size, m);
	check_rules(m, size, size);
	for (size_t i = 0; i < N; i++)
		b.v[i].id = 4;
	shift_find(&b, size, &s, size, m);
	assert_int_equal(m->n, 0);
	shift_find(&b, 0, &s, size, m);
	assert_int_equal(m->n, 0);
	free(m);
	free(b.v);
	free(s.v);
}

static void strays_do_not_split(void **state)
{
	(void)state;
	enum { N = 100 };
	struct anchor b[N], s[N];
	for (size_t i = 0; i < N; i++) {
		b[i] = (struct anchor){.off = i * 10000, .id = i};
		s[i] = (struct anchor){.off = i * 10000 + 77, .id = i == 50 ? 3 : i};
	}
	struct anchor_list lb = {.v = b, .n = N, .spacing = 10000};
	struct anchor_list ls = {.v = s, .n = N, .spacing = 10000};
	struct shift_map *m = mem_alloc(1, sizeof *m);
	shift_find(&lb, N * 10000, &ls, N * 10000, m);
	check_rules(m, N * 10000, N * 10000);
	assert_int_equal(m->n, 1);
	assert_int_equal(m->v[0].votes, N - 1);
	assert_int_equal(m->v[0].src_start, 77);
	assert_int_equal(m->v[0].src_end, N * 10000);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inserted_at_the_head),
		cmocka_unit_test(inserted_in_the_middle),
		cmocka_unit_test(end_moved_to_the_start),
		cmocka_unit_test(much_prepended),
		cmocka_unit_test(much_inserted_is_left_out),
		cmocka_unit_test(many_inserts_and_deletes),
		cmocka_unit_test(repeated_source_is_found_twice),
		cmocka_unit_test(zeros_and_periods_are_harmless),
		cmocka_unit_test(unrelated_and_small_files),
		cmocka_unit_test(too_many_segments),
		cmocka_unit_test(strays_do_not_split),
	};
	return cmocka_run_group_tests(tests, make_world, end_world);
}
