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

#include "codec.h"
#include "mem.h"

enum { MIB = 1 << 20 };

static uint64_t next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static void fill_random(uint8_t *p, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(next(&seed) >> 5);
}

static void fill_text(uint8_t *p, size_t n, uint64_t seed)
{
	static const char *const words[] = {"block ",   "mover ",  "the ", "leaf ",  "of ",
					    "anchor\n", "digest ", "is ",  "kept, ", "frame "};
	for (size_t at = 0; at < n;) {
		const char *w = words[next(&seed) % (sizeof words / sizeof words[0])];
		size_t k = strlen(w) < n - at ? strlen(w) : n - at;
		memcpy(p + at, w, k);
		at += k;
	}
}

static void every_level_round_trips(void **state)
{
	(void)state;
	static const size_t sizes[] = {100, 4096, 65536, MIB, MIB + 1};
	uint8_t *raw = mem_alloc_raw(2 * MIB), *wire = mem_alloc_raw(2 * MIB),
		*back = mem_alloc_raw(2 * MIB);
	struct codec *c = codec_new();
	fill_text(raw, 2 * MIB, 1);
	for (int level = CODEC_LEVEL_MIN - 2; level <= CODEC_LEVEL_MAX + 2; level++) {
		for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
			size_t n = sizes[i];
			size_t got = codec_compress(c, level, raw, n, wire, n);
			if (level == CODEC_OFF) {
				assert_int_equal(got, 0);
				continue;
			}
			if (!got)
				continue; /* a short text may not be worth it at a fast level */
			assert_true(got * 100 < n * 97);
			struct err e = {0};
			if (codec_decompress(c, wire, got, back, n, &e) < 0)
				fail_msg("%s", e.msg);
			assert_memory_equal(back, raw, n);
		}
	}
	assert_true(codec_compress(c, 1, raw, MIB, wire, MIB) > 0);
	codec_free(c);
	codec_free(NULL);
	free(raw);
	free(wire);
	free(back);
}

static void not_worthwhile(void **state)
{
	(void)state;
	uint8_t *raw = mem_alloc_raw(MIB), *wire = mem_alloc_raw(MIB);
	struct codec *c = codec_new();
	fill_random(raw, MIB, 2);
	assert_int_equal(codec_compress(c, 3, raw, MIB, wire, MIB), 0);
	assert_int_equal(codec_compress(c, 3, raw, 0, wire, MIB), 0);
	assert_int_equal(codec_compress(c, 3, raw, (size_t)CODEC_RAW_MAX + 1, wire, MIB), 0);
	fill_text(raw, MIB, 3);
	size_t n = codec_compress(c, 3, raw, MIB, wire, MIB);
	assert_true(n > 0);
	assert_int_equal(codec_compress(c, 3, raw, MIB, wire, n / 2), 0);
	assert_int_equal(codec_compress(c, 3, raw, MIB, wire, n + 64),
			 n); /* usable after a failure */
	codec_free(c);
	free(raw);
	free(wire);
}

static void refuse(struct codec *c, const void *src, size_t n, size_t raw_len)
{
	struct err e = {0};
	/* Exactly as long as claimed, so that the sanitizer sees a byte too many. */
	CLEANUP_FREE uint8_t *dst = mem_alloc_raw(raw_len < MIB ? raw_len : MIB);
	assert_int_equal(codec_decompress(c, src, n, dst, raw_len, &e), -1);
	assert_int_equal(e.code, ERR_PROTOCOL);
}

static void hostile_frames_are_refused(void **state)
{
	(void)state;
	enum { N = 50000 };
	uint8_t *raw = mem_alloc_raw(N), *wire = mem_alloc_raw(2 * N);
	struct codec *c = codec_new();
	fill_text(raw, N, 4);
	size_t n = codec_compress(c, 3, raw, N, wire, N);
	assert_true(n > 0 && n < N / 2);
	refuse(c, wire, n, N - 1);
	refuse(c, wire, n, N + 1);
	refuse(c, wire, n, 1);
	refuse(c, wire, n, 0);
	refuse(c, wire, n, SIZE_MAX);
	refuse(c, wire, n - 1, N);
	refuse(c, wire, 0, N);
	memcpy(wire + n, wire, n);
	refuse(c, wire, 2 * n, 2 * N); /* two frames in one */
	static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7};
	refuse(c, skippable, sizeof skippable, 1);
	/* A frame that claims a window of 2 GiB and a content of 2^63 bytes. */
	static const uint8_t huge[] = {0x28, 0xb5, 0x2f, 0xfd, 0xc0, 0xa8, 0, 0, 0,
				       0,    0,    0,    0,    0x80, 1,    0, 0};
	refuse(c, huge, sizeof huge, 100);
	uint64_t seed = 5;
	for (int i = 0; i < 300; i++) {
		uint8_t *copy = (uint8_t *)mem_dup(wire, n);
		uint8_t *dst = mem_alloc_raw(N);
		copy[next(&seed) % n] ^= (uint8_t)(1 + next(&seed) % 255);
		codec_decompress(c, copy, n, dst, N, NULL);
		free(copy);
		free(dst);
	}
	assert_int_equal(codec_decompress(c, wire, n, raw, N, NULL), 0); /* usable after failures */
	codec_free(c);
	free(raw);
	free(wire);
}

static double probe_ns(const uint8_t *p, size_t n)
{
	struct timespec a, b;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	size_t yes = 0;
	for (int i = 0; i < 100; i++)
		yes += codec_probe(p, n);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
	assert_true(yes == 0 || yes == 100);
	return ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / 100;
}

static void probe_tells_noise_from_data(void **state)
{
	(void)state;
	uint8_t *p = mem_alloc(1, MIB), *wire = mem_alloc_raw(MIB);
	assert_true(codec_probe(p, MIB));
	fill_text(p, MIB, 6);
	assert_true(codec_probe(p, MIB));
	assert_true(codec_probe(p, 100));
	printf("probe of 1 MiB: %.0f ns\n", probe_ns(p, MIB));
	struct codec *c = codec_new();
	for (uint64_t seed = 0; seed < 100; seed++) {
		fill_random(p, 70000, seed);
		assert_false(codec_probe(p, 70000));
		assert_false(codec_probe(p, 5000));
		assert_false(codec_probe(p, 3000));
		assert_false(codec_probe(p, 300));
	}
	fill_text(p, MIB, 7);
	size_t n = codec_compress(c, 3, p, MIB, wire, MIB);
	assert_false(codec_probe(wire, n)); /* already compressed */
	/* 6 bits per byte, as in base64 without line ends */
	fill_random(p, MIB, 8);
	for (size_t i = 0; i < MIB; i++)
		p[i] = (uint8_t)('0' + p[i] % 64);
	assert_true(codec_probe(p, MIB));
	/* the same noise again and again: even bytes, but they repeat */
	fill_random(p, 1000, 9);
	for (size_t i = 1000; i < MIB; i++)
		p[i] = p[i - 1000];
	assert_true(codec_probe(p, MIB));
	for (size_t len = 0; len < 64; len++)
		assert_false(codec_probe(p, len));
	codec_free(c);
	free(p);
	free(wire);
}

static const struct codec_auto_in link_full = {0.9, 0.9, true};
static const struct codec_auto_in cpu_full = {0.9, 0.1, false};
static const struct codec_auto_in peer_full = {0.9, 0.9, false};
static const struct codec_auto_in disk_slow = {0.1, 0.1, false};
static const struct codec_auto_in even = {0.5, 0.5, true};

static int run(struct codec_auto *a, const struct codec_auto_in *in, int steps)
{
	int level = codec_auto_level(a);
	for (int i = 0; i < steps; i++)
		level = codec_auto_step(a, in);
	assert_int_equal(level, codec_auto_level(a));
	return level;
}

static void auto_follows_the_queues(void **state)
{
	(void)state;
	static const struct {
		const struct codec_auto_in *in;
		int steps;
		int level; /* after so many steps, starting afresh */
	} rows[] = {
		{&even, 0, 1},      {&link_full, 3, 1},  {&link_full, 4, 3}, {&link_full, 1000, 3},
		{&cpu_full, 2, 1},  {&cpu_full, 3, -3},  {&cpu_full, 6, 0},  {&cpu_full, 1000, 0},
		{&peer_full, 2, 1}, {&peer_full, 3, -3}, {&peer_full, 6, 0}, {&disk_slow, 1000, 1},
		{&even, 1000, 1},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct codec_auto a;
		codec_auto_init(&a);
		assert_int_equal(run(&a, rows[i].in, rows[i].steps), rows[i].level);
	}
}

static void auto_ignores_flicker(void **state)
{
	(void)state;
	struct codec_auto a;
	codec_auto_init(&a);
	for (int i = 0; i < 1000; i++) {
		run(&a, &link_full, 3);
		run(&a, &even, 1);
		assert_int_equal(run(&a, &cpu_full, 2), 1);
	}
}

static void auto_does_not_oscillate(void **state)
{
	(void)state;
	struct codec_auto a;
	codec_auto_init(&a);
	run(&a, &cpu_full, 3);
	/* Level 1 is too much for this CPU, level -3 leaves the link full: each raise is regretted.
	 */
	int raises = 0, last = codec_auto_level(&a);
	for (int i = 0; i < 4000; i++) {
		int level = codec_auto_step(&a, last >= 1 ? &cpu_full : &link_full);
		raises += level > last;
		last = level;
	}
	printf("%d raises in 4,000 steps\n", raises);
	assert_in_range(raises, 3, 12);
	/* Things change: after the pause it follows again. */
	assert_int_equal(run(&a, &link_full, 1100), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_level_round_trips),
		cmocka_unit_test(not_worthwhile),
		cmocka_unit_test(hostile_frames_are_refused),
		cmocka_unit_test(probe_tells_noise_from_data),
		cmocka_unit_test(auto_follows_the_queues),
		cmocka_unit_test(auto_ignores_flicker),
		cmocka_unit_test(auto_does_not_oscillate),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
