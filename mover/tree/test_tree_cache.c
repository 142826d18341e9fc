/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tree_cache.h"
#include "treetest.h"

enum { IDS = 2000 };

static struct tree_sum sum_of(uint64_t id, uint64_t entries)
{
	return (struct tree_sum){
		.d = {.sum = {.lo = id * 3, .hi = ~id}, .flags = 4, .children = id},
		.plain = {.lo = id + 1},
		.entries = entries,
		.bytes = id ^ entries};
}

static bool same(const struct tree_sum *a, const struct tree_sum *b)
{
	return h128_equal(a->d.sum, b->d.sum) && a->d.flags == b->d.flags &&
	       a->d.children == b->d.children && h128_equal(a->plain, b->plain) &&
	       a->entries == b->entries && a->bytes == b->bytes;
}

/* Ids are hashes, but some come out alike in their lowest bits; the root's is zero. */
static uint64_t id_number(uint64_t i)
{
	uint64_t seed = i;
	return i == 0 ? 0 : i % 5 == 0 ? i << 32 : next(&seed) | 2;
}

static void steps_agree_with_a_plain_array(void **state)
{
	(void)state;
	struct tree_cache *c = tree_cache_new(65536);
	CLEANUP_FREE uint8_t *there = mem_alloc(IDS, 1);
	uint64_t seed = 6;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (int step = 0; step < 100000; step++) {
		uint64_t i = next(&seed) % IDS;
		uint64_t id = id_number(i);
		struct tree_sum expected = sum_of(id, i);
		struct tree_sum got;
		assert_int_equal(tree_cache_get(c, id, &got), there[i]);
		if (there[i])
			assert_true(same(&got, &expected));
		if (next(&seed) % 100 < (step / 20000 % 2 ? 20u : 70u)) {
			tree_cache_put(c, id, &expected);
			there[i] = 1;
		} else {
			tree_cache_remove(c, id);
			there[i] = 0;
		}
	}
	tree_cache_clear(c);
	for (uint64_t i = 0; i < IDS; i++) {
		struct tree_sum got;
		assert_false(tree_cache_get(c, id_number(i), &got));
	}
	tree_cache_free(c);
}

/* A table that is full keeps the large subtrees, and never gives a wrong sum. */
static void a_full_table_drops_the_small(void **state)
{
	(void)state;
	enum { SLOTS = 256 };
	struct tree_cache *c = tree_cache_new(SLOTS);
	struct tree_sum got;
	/* As a walk does it: leaves of one entry, now and then a directory over many. */
	for (uint64_t i = 0; i < 20000; i++) {
		struct tree_sum s = sum_of(id_number(i), i % 1000 == 999 ? 1000 : 1);
		tree_cache_put(c, id_number(i), &s);
	}
	unsigned kept = 0;
	for (uint64_t i = 0; i < 20000; i++) {
		bool large = i % 1000 == 999;
		struct tree_sum expected = sum_of(id_number(i), large ? 1000 : 1);
		bool found = tree_cache_get(c, id_number(i), &got);
		if (found)
			assert_true(same(&got, &expected));
		assert_true(found || !large);
		kept += found;
	}
	assert_in_range(kept, 20, SLOTS);
	/* All as large as can be: old ones go, the table does not grow and nothing hangs. */
	for (uint64_t i = 0; i < 5000; i++) {
		struct tree_sum s = sum_of(id_number(i), 1u << 20);
		tree_cache_put(c, id_number(i), &s);
	}
	kept = 0;
	for (uint64_t i = 0; i < 5000; i++)
		kept += tree_cache_get(c, id_number(i), &got);
	assert_true(kept <= SLOTS);
	tree_cache_free(c);
	tree_cache_free(NULL);
}

static void a_new_sum_replaces_the_old(void **state)
{
	(void)state;
	struct tree_cache *c = tree_cache_new(256);
	struct tree_sum got;
	for (uint64_t entries = 0; entries < 5; entries++) {
		struct tree_sum s = sum_of(77, entries);
		tree_cache_put(c, 77, &s);
		assert_true(tree_cache_get(c, 77, &got));
		assert_true(same(&got, &s));
	}
	tree_cache_remove(c, 77);
	tree_cache_remove(c, 77);
	assert_false(tree_cache_get(c, 77, &got));
	tree_cache_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(steps_agree_with_a_plain_array),
		cmocka_unit_test(a_full_table_drops_the_small),
		cmocka_unit_test(a_new_sum_replaces_the_old),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
