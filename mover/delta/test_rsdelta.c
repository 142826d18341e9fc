/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mem.h"
#include "rsdelta.h"

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
		p[i] = (uint8_t)(next(&seed) >> 11);
}

static int make_file(const void *p, size_t n)
{
	int fd = memfd_create("rsdelta", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, p, n, 0), (ssize_t)n);
	return fd;
}

/* Rebuilds the source out of commands, checking every rule of struct rsdelta_cmd. */
struct rebuild {
	const uint8_t *window;
	uint64_t window_len;
	uint64_t src_off;
	uint8_t *out;
	size_t len, cap;
	size_t stop_after; /* bytes consumed; 0 never */
	bool was_copy;
	uint64_t copy_end;
	int fail;
};

static int take(void *arg, const struct rsdelta_cmd *c, struct err *e)
{
	struct rebuild *r = arg;
	if (r->fail)
		return err_set(e, ERR_SPACE, "the sink is full");
	assert_true(c->len > 0 && c->len <= r->cap - r->len);
	assert_int_equal(c->src, r->src_off + r->len);
	if (c->kind == RSDELTA_COPY) {
		assert_int_equal(rsdelta_check_copy(c->from, c->len, r->window_len, NULL), 0);
		assert_false(r->was_copy && c->from == r->copy_end); /* neighbours are merged */
		memcpy(r->out + r->len, r->window + c->from, c->len);
		r->copy_end = c->from + c->len;
	} else {
		assert_true(c->len <= RSDELTA_LITERAL_MAX);
		memcpy(r->out + r->len, c->bytes, c->len);
	}
	r->was_copy = c->kind == RSDELTA_COPY;
	r->len += c->len;
	return 0;
}

static bool stop(void *arg, const struct rsdelta_stats *st)
{
	const struct rebuild *r = arg;
	return r->stop_after && st->consumed >= r->stop_after;
}

struct files {
	uint8_t *basis, *source;
	size_t basis_len, source_len;
};

/* Signature, load and delta over the whole of both files, laid at odd offsets. */
static void round_trip(const struct files *f, size_t block_len, struct rsdelta_stats *st)
{
	enum { BEFORE = 777 };
	struct err e = {0};
	CLEANUP_FREE uint8_t *framed = mem_alloc(1, f->basis_len + f->source_len + 2 * BEFORE);
	memcpy(framed + BEFORE, f->basis, f->basis_len);
	memcpy(framed + 2 * BEFORE + f->basis_len, f->source, f->source_len);
	CLEANUP_FD int fd = make_file(framed, f->basis_len + f->source_len + 2 * BEFORE);
	CLEANUP_BUF struct buf sig;
	buf_init(&sig, RSDELTA_SIG_MAX);
	if (rsdelta_signature(fd, BEFORE, f->basis_len, block_len, &sig, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(sig.len, rsdelta_sig_len(f->basis_len, block_len));
	struct rsdelta_sig *s = NULL;
	if (rsdelta_load(sig.data, sig.len, f->basis_len, &s, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(rsdelta_sig_window(s), f->basis_len);
	struct rebuild r = {.window = f->basis,
			    .window_len = f->basis_len,
			    .src_off = 2 * BEFORE + f->basis_len,
			    .out = mem_alloc_raw(f->source_len),
			    .cap = f->source_len};
	struct rsdelta_sink sink = {.emit = take, .arg = &r};
	int got = rsdelta_delta(s, fd, r.src_off, f->source_len, &sink, st, &e);
	if (got)
		fail_msg("%d %s", got, e.msg);
	assert_int_equal(r.len, f->source_len);
	assert_memory_equal(r.out, f->source, f->source_len);
	assert_int_equal(st->covered, f->source_len);
	assert_int_equal(st->consumed, f->source_len);
	assert_int_equal(st->copied + st->literal, f->source_len);
	free(r.out);
	rsdelta_sig_free(s);
}

static void mutate(struct files *f, size_t cap, uint64_t *seed)
{
	uint8_t *p = f->source;
	size_t at = (size_t)(next(seed) % (f->source_len + 1));
	size_t n = (size_t)(next(seed) % 5000);
	switch (next(seed) % 4) {
	case 0: /* insert */
		if (f->source_len + n > cap)
			break;
		memmove(p + at + n, p + at, f->source_len - at);
		fill_random(p + at, n, next(seed));
		f->source_len += n;
		break;
	case 1: /* delete */
		if (n > f->source_len - at)
			n = f->source_len - at;
		memmove(p + at, p + at + n, f->source_len - at - n);
		f->source_len -= n;
		break;
	case 2: /* overwrite */
		if (n > f->source_len - at)
			n = f->source_len - at;
		fill_random(p + at, n, next(seed));
		break;
	default: /* move the head to the end */
		if (at > cap - f->source_len)
			break;
		memcpy(p + f->source_len, p, at);
		memmove(p, p + at, f->source_len);
	}
}

static void mutations_round_trip(void **state)
{
	(void)state;
	enum { BASIS = 300 << 10, CAP = 2 * BASIS, ROUNDS = 40 };
	uint64_t seed = getenv("SCRIBE_SEED") ? strtoull(getenv("SCRIBE_SEED"), NULL, 10) : 20;
	printf("seed %llu\n", (unsigned long long)seed);
	struct files f = {.basis = mem_alloc_raw(BASIS), .source = mem_alloc_raw(CAP)};
	for (int round = 0; round < ROUNDS; round++) {
		f.basis_len = 1 + (size_t)(next(&seed) % BASIS);
		fill_random(f.basis, f.basis_len, next(&seed));
		if (round % 3 == 0)
			memset(f.basis + f.basis_len / 4, 0, f.basis_len / 3);
		memcpy(f.source, f.basis, f.basis_len);
		f.source_len = f.basis_len;
		for (uint64_t m = next(&seed) % 8; m; m--)
			mutate(&f, CAP, &seed);
		size_t block_len = RSDELTA_BLOCK_MIN + (size_t)(next(&seed) % 4000);
		struct rsdelta_stats st;
		if (f.source_len)
			round_trip(&f, block_len, &st);
	}
	free(f.basis);
	free(f.source);
}

static void shifted_megabytes_are_copied(void **state)
{
	(void)state;
	enum { LEN = 6 << 20, SHIFT = 1000 };
	struct files f = {.basis = mem_alloc_raw(LEN),
			  .basis_len = LEN,
			  .source = mem_alloc_raw(LEN + SHIFT),
			  .source_len = LEN + SHIFT};
	fill_random(f.basis, LEN, 5);
	fill_random(f.source, SHIFT, 6);
	memcpy(f.source + SHIFT, f.basis, LEN);
	struct rsdelta_stats st;
	round_trip(&f, rsdelta_block_len(LEN), &st);
	assert_int_equal(st.literal, SHIFT);
	assert_int_equal(st.copies, 1);
	assert_int_equal(st.literals, 1);
	printf("all but 1,000 of %d bytes found, %.2f ns/byte\n", LEN,
	       (double)st.ns / (LEN + SHIFT));
	fill_random(f.source, f.source_len, 7);
	round_trip(&f, rsdelta_block_len(LEN), &st);
	assert_int_equal(st.copied, 0);
	assert_int_equal(st.literals,
			 (LEN + SHIFT + RSDELTA_LITERAL_MAX - 1) / RSDELTA_LITERAL_MAX);
	printf("nothing found, %.2f ns/byte\n", (double)st.ns / (LEN + SHIFT));
	free(f.basis);
	free(f.source);
}

/* Equal blocks do not cut a copy into pieces: zeros, then one page repeated, then its parts. */
static void equal_blocks_make_one_copy(void **state)
{
	(void)state;
	enum { LEN = 4 << 20, PAGE = 8192 };
	CLEANUP_FREE uint8_t *data = mem_alloc(LEN + 1000, 1);
	struct files f = {
		.basis = data, .basis_len = LEN, .source = data + 1000, .source_len = LEN};
	struct rsdelta_stats st;
	round_trip(&f, 1024, &st);
	assert_int_equal(st.copies, 1);
	fill_random(data + PAGE, LEN / 2, 12);
	for (size_t i = LEN / 4; i < LEN / 2; i += PAGE)
		memcpy(data + i, data + PAGE, PAGE);
	f.source_len -= 1000;
	round_trip(&f, 1024, &st);
	printf("%llu copies\n", (unsigned long long)st.copies);
	assert_true(st.copies <= 3 && st.literal < 1024);
}

static struct rsdelta_sig *signature_of(int fd, size_t len, size_t block_len)
{
	CLEANUP_BUF struct buf sig;
	buf_init(&sig, RSDELTA_SIG_MAX);
	assert_int_equal(rsdelta_signature(fd, 0, len, block_len, &sig, NULL), 0);
	struct rsdelta_sig *s = NULL;
	assert_int_equal(rsdelta_load(sig.data, sig.len, len, &s, NULL), 0);
	return s;
}

struct worker {
	pthread_t thread;
	const struct rsdelta_sig *sig;
	const uint8_t *data;
	int fd;
	bool good;
};

enum { SHARED_LEN = 1 << 20 };

static void *work_on_shared(void *arg)
{
	struct worker *w = arg;
	struct rebuild r = {.window = w->data,
			    .window_len = SHARED_LEN,
			    .out = mem_alloc_raw(SHARED_LEN),
			    .cap = SHARED_LEN};
	struct rsdelta_sink sink = {.emit = take, .arg = &r};
	struct rsdelta_stats st;
	w->good = rsdelta_delta(w->sig, w->fd, 0, SHARED_LEN, &sink, &st, NULL) == 0 &&
		  st.copied == SHARED_LEN && memcmp(r.out, w->data, SHARED_LEN) == 0;
	free(r.out);
	return NULL;
}

static void threads_share_a_signature(void **state)
{
	(void)state;
	CLEANUP_FREE uint8_t *data = mem_alloc_raw(SHARED_LEN);
	fill_random(data, SHARED_LEN, 13);
	CLEANUP_FD int fd = make_file(data, SHARED_LEN);
	struct rsdelta_sig *s = signature_of(fd, SHARED_LEN, 1024);
	struct worker w[3];
	for (size_t i = 0; i < 3; i++) {
		w[i] = (struct worker){.sig = s, .data = data, .fd = fd};
		assert_int_equal(pthread_create(&w[i].thread, NULL, work_on_shared, &w[i]), 0);
	}
	for (size_t i = 0; i < 3; i++) {
		pthread_join(w[i].thread, NULL);
		assert_true(w[i].good);
	}
	rsdelta_sig_free(s);
}

static void tiny_windows(void **state)
{
	(void)state;
	uint8_t a[2000], b[4000];
	fill_random(a, sizeof a, 1);
	memcpy(b, a, sizeof a);
	memcpy(b + sizeof a, a, sizeof a);
	for (size_t n = 1; n <= sizeof a; n += n < 8 ? 1 : 111) {
		struct files f = {.basis = a, .basis_len = n, .source = b, .source_len = n};
		struct rsdelta_stats st;
		round_trip(&f, RSDELTA_BLOCK_MIN, &st);
		assert_int_equal(st.literal, 0);
		f.source = b + sizeof a - n / 2;
		round_trip(&f, RSDELTA_BLOCK_MIN, &st);
	}
}

static void stopping_leaves_a_prefix(void **state)
{
	(void)state;
	enum { LEN = 3 << 20 };
	CLEANUP_FREE uint8_t *data = mem_alloc_raw(LEN);
	fill_random(data, LEN, 9);
	CLEANUP_FD int fd = make_file(data, LEN);
	struct rsdelta_sig *s = signature_of(fd, LEN / 2, 1024);
	struct rebuild r = {.window = data,
			    .window_len = LEN / 2,
			    .out = mem_alloc_raw(LEN),
			    .cap = LEN,
			    .stop_after = 2 << 20};
	struct rsdelta_sink sink = {.emit = take, .stop = stop, .arg = &r};
	struct rsdelta_stats st;
	struct err e = {0};
	assert_int_equal(rsdelta_delta(s, fd, 0, LEN, &sink, &st, &e), RSDELTA_STOPPED);
	assert_true(st.covered > 1 << 20 && st.covered <= st.consumed && st.consumed < LEN);
	assert_int_equal(r.len, st.covered);
	assert_memory_equal(r.out, data, st.covered);
	r.fail = 1;
	r.stop_after = 0;
	r.len = 0;
	assert_int_equal(rsdelta_delta(s, fd, 0, LEN, &sink, &st, &e), -1);
	assert_int_equal(e.code, ERR_SPACE);
	assert_int_equal(rsdelta_delta(s, fd, 17, 0, &sink, &st, &e), 0);
	assert_int_equal(st.covered, 0);
	rsdelta_sig_free(s);
	free(r.out);
}

static void files_that_shrink(void **state)
{
	(void)state;
	enum { LEN = 100000 };
	uint8_t *data = mem_alloc(LEN, 1);
	CLEANUP_FD int fd = make_file(data, LEN);
	CLEANUP_BUF struct buf sig;
	buf_init(&sig, RSDELTA_SIG_MAX);
	struct err e = {0};
	assert_int_equal(rsdelta_signature(fd, 1, LEN, 1024, &sig, &e), -1);
	assert_int_equal(e.code, ERR_CHANGED);
	assert_int_equal(sig.len, 0);
	struct rsdelta_sig *s = signature_of(fd, LEN, 1024);
	struct rebuild r = {
		.window = data, .window_len = LEN, .out = mem_alloc(LEN, 1), .cap = LEN};
	struct rsdelta_sink sink = {.emit = take, .arg = &r};
	struct rsdelta_stats st;
	assert_int_equal(ftruncate(fd, LEN / 2), 0);
	assert_int_equal(rsdelta_delta(s, fd, 0, LEN, &sink, &st, &e), -1);
	assert_int_equal(e.code, ERR_CHANGED);
	rsdelta_sig_free(s);
	free(r.out);
	free(data);
}

static void limits(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf sig;
	buf_init(&sig, 100);
	struct err e = {0};
	assert_int_equal(rsdelta_sig_len(0, 1024), 0);
	assert_int_equal(rsdelta_sig_len(1, 1024), RSDELTA_SIG_HEADER + RSDELTA_SIG_RECORD);
	assert_int_equal(rsdelta_sig_len(1, RSDELTA_BLOCK_MIN - 1), 0);
	assert_int_equal(rsdelta_sig_len(1, RSDELTA_BLOCK_MAX + 1), 0);
	assert_int_equal(rsdelta_sig_len(RSDELTA_WINDOW_MAX, RSDELTA_BLOCK_MIN), 0);
	assert_int_equal(rsdelta_sig_len((uint64_t)RSDELTA_WINDOW_MAX + 1, 4096), 0);
	for (uint64_t n = 1; n <= RSDELTA_WINDOW_MAX; n = n * 3 + 1)
		assert_true(rsdelta_sig_len(n, rsdelta_block_len(n)));
	assert_true(rsdelta_sig_len(RSDELTA_WINDOW_MAX, rsdelta_block_len(RSDELTA_WINDOW_MAX)));
	assert_int_equal(rsdelta_signature(0, 0, 0, 1024, &sig, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	assert_int_equal(rsdelta_signature(0, 0, 100000, 1024, &sig, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	assert_int_equal(rsdelta_check_copy(0, 1, 1, &e), 0);
	assert_int_equal(rsdelta_check_copy(0, 0, 1, &e), -1);
	assert_int_equal(rsdelta_check_copy(1, 1, 1, &e), -1);
	assert_int_equal(rsdelta_check_copy(UINT64_MAX, 2, 10, &e), -1);
	assert_int_equal(rsdelta_check_copy(2, UINT64_MAX, 10, &e), -1);
	assert_int_equal(e.code, ERR_PROTOCOL);
}

static void hostile_signatures_are_refused(void **state)
{
	(void)state;
	enum { LEN = 10000 };
	uint8_t *data = mem_alloc(LEN, 1);
	CLEANUP_FD int fd = make_file(data, LEN);
	free(data);
	CLEANUP_BUF struct buf sig;
	buf_init(&sig, RSDELTA_SIG_MAX);
	assert_int_equal(rsdelta_signature(fd, 0, LEN, 1024, &sig, NULL), 0);
	static const struct {
		size_t at;
		uint8_t value;
	} edits[] = {{0, 0x73}, {3, 0x36}, {3, 0x46}, {4, 0x80}, {6, 0},
		     {6, 8},    {8, 0xff}, {11, 13},  {11, 0}};
	for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
		struct err e = {0};
		struct rsdelta_sig *s = NULL;
		uint8_t old = sig.data[edits[i].at];
		sig.data[edits[i].at] = edits[i].value;
		assert_int_equal(rsdelta_load(sig.data, sig.len, LEN, &s, &e), -1);
		assert_int_equal(e.code, ERR_PROTOCOL);
		sig.data[edits[i].at] = old;
	}
	for (size_t n = 0; n < sig.len; n++) {
		struct rsdelta_sig *s = NULL;
		assert_int_equal(rsdelta_load(sig.data, n, LEN, &s, NULL), -1);
	}
	struct rsdelta_sig *s = NULL;
	assert_int_equal(rsdelta_load(sig.data, sig.len, LEN + 1024, &s, NULL), -1);
	assert_int_equal(rsdelta_load(sig.data, sig.len, 0, &s, NULL), -1);
	assert_int_equal(rsdelta_load(sig.data, sig.len, UINT64_MAX, &s, NULL), -1);
}

/* Weak sums that all collide, or all fall into one place of the hash table, with different strong
 * sums: quadratic for librsync left alone. */
static void colliding_sums_load_quickly(void **state)
{
	(void)state;
	const uint64_t window = (uint64_t)RSDELTA_BLOCKS_MAX * 1024;
	CLEANUP_FREE uint8_t *sig = mem_alloc_raw(RSDELTA_SIG_MAX);
	static const uint8_t head[] = {0x72, 0x73, 0x01, 0x47, 0, 0, 4, 0, 0, 0, 0, 12};
	for (int kind = 0; kind < 2; kind++) {
		fill_random(sig, RSDELTA_SIG_MAX, 3);
		memcpy(sig, head, sizeof head);
		for (size_t i = 0; i < RSDELTA_BLOCKS_MAX; i++) {
			uint8_t *weak = sig + RSDELTA_SIG_HEADER + i * RSDELTA_SIG_RECORD;
			memset(weak, 0x5a, 4);
			if (kind) {
				weak[0] = (uint8_t)(i >> 8);
				weak[1] = (uint8_t)i;
			}
		}
		struct rsdelta_sig *s = NULL;
		struct err e = {0};
		if (rsdelta_load(sig, RSDELTA_SIG_MAX, window, &s, &e) < 0)
			fail_msg("%s", e.msg);
		rsdelta_sig_free(s);
	}
}

static bool stop_if_hopeless(void *arg, const struct rsdelta_stats *st)
{
	(void)arg;
	return rsdelta_hopeless(st);
}

/* Every position of the source hits a weak sum and misses its strong sum: one BLAKE2 of a whole
 * block per byte. */
static void cpu_bomb_is_stopped(void **state)
{
	(void)state;
	enum { WINDOW = 1 << 20, LEN = 16 << 20 };
	CLEANUP_FREE uint8_t *data = mem_alloc(LEN, 1);
	CLEANUP_FD int fd = make_file(data, LEN);
	CLEANUP_BUF struct buf sig;
	buf_init(&sig, RSDELTA_SIG_MAX);
	assert_int_equal(rsdelta_signature(fd, 0, WINDOW, RSDELTA_BLOCK_MAX, &sig, NULL), 0);
	for (size_t i = RSDELTA_SIG_HEADER + 4; i < sig.len; i += RSDELTA_SIG_RECORD)
		sig.data[i] ^= 1;
	struct rsdelta_sig *s = NULL;
	assert_int_equal(rsdelta_load(sig.data, sig.len, WINDOW, &s, NULL), 0);
	struct rebuild r = {
		.window = data, .window_len = WINDOW, .out = mem_alloc_raw(LEN), .cap = LEN};
	struct rsdelta_sink sink = {.emit = take, .stop = stop_if_hopeless, .arg = &r};
	struct rsdelta_stats st;
	assert_int_equal(rsdelta_delta(s, fd, 0, LEN, &sink, &st, NULL), RSDELTA_STOPPED);
	assert_true(st.consumed < LEN);
	assert_memory_equal(r.out, data, st.covered);
	printf("stopped after %llu bytes, %.0f ms\n", (unsigned long long)st.consumed,
	       (double)st.ns / 1e6);
	rsdelta_sig_free(s);
	free(r.out);
}

static void hopeless_rule(void **state)
{
	(void)state;
	struct rsdelta_stats st = {0};
	assert_false(rsdelta_hopeless(&st));
	st.consumed = st.covered = 8 << 20;
	assert_true(rsdelta_hopeless(&st));
	/* A match that still goes on is not described yet. */
	st.covered = 7 << 20;
	assert_false(rsdelta_hopeless(&st));
	st.covered = 8 << 20;
	st.copied = 1 << 20;
	assert_false(rsdelta_hopeless(&st));
	st.ns = 5000000000u;
	assert_true(rsdelta_hopeless(&st));
	st = (struct rsdelta_stats){.consumed = 64 << 10, .ns = 200000000};
	assert_false(rsdelta_hopeless(&st));
	st.ns = 300000000;
	assert_true(rsdelta_hopeless(&st));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mutations_round_trip),
		cmocka_unit_test(shifted_megabytes_are_copied),
		cmocka_unit_test(equal_blocks_make_one_copy),
		cmocka_unit_test(threads_share_a_signature),
		cmocka_unit_test(tiny_windows),
		cmocka_unit_test(stopping_leaves_a_prefix),
		cmocka_unit_test(files_that_shrink),
		cmocka_unit_test(limits),
		cmocka_unit_test(hostile_signatures_are_refused),
		cmocka_unit_test(colliding_sums_load_quickly),
		cmocka_unit_test(cpu_bomb_is_stopped),
		cmocka_unit_test(hopeless_rule),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
