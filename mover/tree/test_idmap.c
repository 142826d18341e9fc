/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hash.h"
#include "idmap.h"
#include "message.h"
#include "treetest.h"

enum { IDS = 3000, NAMES = 4000, INODES = 900 };

static void a_map_agrees_with_a_plain_array(void **state)
{
	(void)state;
	struct idmap m;
	uint32_t expected[IDS] = {0};
	size_t count = 0;
	uint64_t seed = 3;
	print_message("seed %llu\n", (unsigned long long)seed);
	idmap_init(&m, IDS);
	assert_int_equal(idmap_get(&m, 1), 0);
	for (int step = 0; step < 20000; step++) {
		size_t i = next(&seed) % IDS;
		/* 0 and ids that meet in the lowest bits among them. */
		uint64_t id = i % 3 == 0 ? (uint64_t)i << 48 : i % 3 == 1 ? i : ~(uint64_t)i;
		assert_int_equal(idmap_get(&m, id), expected[i]);
		if (next(&seed) % 2) {
			count += !expected[i];
			expected[i] = (uint32_t)(1 + next(&seed) % UINT32_MAX);
			assert_true(idmap_put(&m, id, expected[i]));
		}
		assert_int_equal(m.count, count);
	}
	idmap_release(&m);
}

static void a_full_map_still_replaces(void **state)
{
	(void)state;
	enum { MAX = 100 };
	struct idmap m;
	idmap_init(&m, MAX);
	for (uint64_t id = 0; id < MAX; id++)
		assert_true(idmap_put(&m, id * 64, (uint32_t)id + 1));
	assert_false(idmap_put(&m, 7, 1));
	assert_int_equal(idmap_get(&m, 7), 0);
	for (uint64_t id = 0; id < MAX; id++) {
		assert_int_equal(idmap_get(&m, id * 64), id + 1);
		assert_true(idmap_put(&m, id * 64, 9));
		assert_int_equal(idmap_get(&m, id * 64), 9);
	}
	assert_int_equal(m.count, MAX);
	idmap_release(&m);
	idmap_init(&m, 0);
	assert_false(idmap_put(&m, 1, 1));
	idmap_release(&m);
}

struct name {
	uint64_t dev, ino, id;
};

/* Many names, of which some share an inode; the same inode numbers on two devices are two inodes.
 */
static void make_names(struct name *names, uint64_t *seed)
{
	for (size_t i = 0; i < NAMES; i++)
		names[i] = (struct name){.dev = 0x800 + next(seed) % 2,
					 .ino = 1 + next(seed) % INODES * 256,
					 .id = next(seed)};
}

static void shuffle(struct name *names, uint64_t *seed)
{
	for (size_t i = NAMES - 1; i > 0; i--) {
		size_t k = next(seed) % (i + 1);
		struct name swap = names[i];
		names[i] = names[k];
		names[k] = swap;
	}
}

static void add_all(struct links *l, const struct name *names)
{
	links_init(l);
	for (size_t i = 0; i < NAMES; i++) {
		struct link_slot *s = links_add(l, names[i].dev, names[i].ino, names[i].id);
		assert_true(s->names >= 1 && s->key <= names[i].id);
	}
}

/* What a group must be, by looking at all names for every name. */
static struct link_slot brute_force(const struct name *names, size_t which)
{
	struct link_slot s = {.ino = names[which].ino, .key = UINT64_MAX};
	for (size_t i = 0; i < NAMES; i++) {
		if (names[i].dev != names[which].dev || names[i].ino != names[which].ino)
			continue;
		s.names++;
		s.sum += names[i].id;
		if (names[i].id < s.key)
			s.key = names[i].id;
	}
	return s;
}

static void groups_agree_with_brute_force(void **state)
{
	(void)state;
	CLEANUP_FREE struct name *names = mem_alloc(NAMES, sizeof *names);
	CLEANUP_FREE uint64_t *sums = mem_alloc(LINK_BUCKETS, sizeof *sums);
	CLEANUP_FREE uint32_t *counts = mem_alloc(LINK_BUCKETS, sizeof *counts);
	CLEANUP_FREE uint64_t *got = mem_alloc(LINK_BUCKETS, sizeof *got);
	CLEANUP_FREE uint32_t *got_counts = mem_alloc(LINK_BUCKETS, sizeof *got_counts);
	uint64_t seed = 17;
	print_message("seed %llu\n", (unsigned long long)seed);
	struct links l;
	make_names(names, &seed);
	add_all(&l, names);
	for (size_t i = 0; i < NAMES; i++) {
		struct link_slot expected = brute_force(names, i);
		const struct link_slot *s = links_find(&l, names[i].dev, names[i].ino);
		assert_non_null(s);
		assert_true(s->names == expected.names && s->key == expected.key &&
			    s->sum == expected.sum && s->ino == expected.ino);
		/* Each group is counted at the name that gave it its key; one of a single name
		 * never. */
		if (names[i].id != expected.key || expected.names < 2)
			continue;
		uint64_t record[3] = {expected.key, expected.sum, expected.names};
		sums[expected.key % LINK_BUCKETS] += hash64(NULL, record, sizeof record);
		counts[expected.key % LINK_BUCKETS] += expected.names;
	}
	links_buckets(&l, got, got_counts);
	assert_memory_equal(got, sums, LINK_BUCKETS * sizeof *got);
	assert_memory_equal(got_counts, counts, LINK_BUCKETS * sizeof *counts);
	assert_null(links_find(&l, 0x800, 1 + INODES * 256));
	assert_null(links_find(&l, 0x900, names[0].ino));
	links_release(&l);
	assert_null(links_find(&l, names[0].dev, names[0].ino));
}

static void the_order_of_names_is_nothing(void **state)
{
	(void)state;
	CLEANUP_FREE struct name *names = mem_alloc(NAMES, sizeof *names);
	CLEANUP_FREE uint64_t *first = mem_alloc(LINK_BUCKETS, sizeof *first);
	CLEANUP_FREE uint64_t *other = mem_alloc(LINK_BUCKETS, sizeof *other);
	uint64_t seed = 18;
	struct links l;
	make_names(names, &seed);
	add_all(&l, names);
	links_buckets(&l, first, NULL);
	links_release(&l);
	for (int round = 0; round < 5; round++) {
		shuffle(names, &seed);
		/* Inode numbers say nothing, either: only who shares one. */
		for (size_t i = 0; i < NAMES; i++) {
			names[i].dev ^= 0x10000;
			names[i].ino = names[i].ino * 3 + 1;
		}
		add_all(&l, names);
		links_buckets(&l, other, NULL);
		links_release(&l);
		assert_memory_equal(first, other, LINK_BUCKETS * sizeof *first);
	}
}

static uint64_t total_of(const struct links *l)
{
	CLEANUP_FREE uint64_t *sums = mem_alloc(LINK_BUCKETS, sizeof *sums);
	links_buckets(l, sums, NULL);
	return hash64(NULL, sums, LINK_BUCKETS * sizeof *sums);
}

/* {A,B},{C,D} is not {A,C},{B,D}, nor {A,B,C,D}, nor four single names. */
static void regrouping_changes_the_digest(void **state)
{
	(void)state;
	static const uint64_t inodes[5][4] = {
		{1, 1, 2, 2}, {1, 2, 1, 2}, {1, 1, 1, 1}, {1, 2, 3, 4}, {1, 1, 2, 3}};
	uint64_t totals[5];
	for (int k = 0; k < 5; k++) {
		struct links l;
		links_init(&l);
		for (uint64_t i = 0; i < 4; i++)
			links_add(&l, 1, inodes[k][i], 1000 + i * 7919);
		totals[k] = total_of(&l);
		links_release(&l);
		for (int i = 0; i < k; i++)
			assert_true(totals[i] != totals[k]);
	}
	struct links none;
	links_init(&none);
	assert_true(total_of(&none) == totals[3]);
	links_release(&none);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_map_agrees_with_a_plain_array),
		cmocka_unit_test(a_full_map_still_replaces),
		cmocka_unit_test(groups_agree_with_brute_force),
		cmocka_unit_test(the_order_of_names_is_nothing),
		cmocka_unit_test(regrouping_changes_the_digest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
