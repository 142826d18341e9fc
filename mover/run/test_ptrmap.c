/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>

#include "ptrmap.h"

static uint64_t next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

enum { IDS = 700, STEPS = 300000 };

/* Ids of every kind that is given out: small ones, odd ones, multiples of powers of two, extremes.
 */
static uint64_t id_number(size_t i)
{
	uint64_t seed = i;
	if (i == 0)
		return 0;
	if (i == 1)
		return UINT64_MAX;
	switch (i % 4) {
	case 0:
		return i;
	case 1:
		return (uint64_t)i << 40;
	case 2:
		return ~(uint64_t)i;
	default:
		return next(&seed);
	}
}

static void random_steps_agree_with_a_plain_array(void **state)
{
	(void)state;
	struct ptrmap m;
	static char targets[2 * IDS];
	void *expected[IDS] = {0};
	size_t count = 0;
	uint64_t seed = 2718;
	print_message("seed %llu\n", (unsigned long long)seed);
	ptrmap_init(&m);
	for (int step = 0; step < STEPS; step++) {
		/* Phases of growth and of shrinking. */
		size_t i = next(&seed) % IDS;
		bool grow = next(&seed) % 100 < (step / 20000 % 2 ? 20u : 70u);
		assert_ptr_equal(ptrmap_get(&m, id_number(i)), expected[i]);
		if (grow) {
			count += !expected[i];
			expected[i] = &targets[next(&seed) % sizeof targets];
			ptrmap_put(&m, id_number(i), expected[i]);
		} else {
			count -= expected[i] != NULL;
			assert_ptr_equal(ptrmap_remove(&m, id_number(i)), expected[i]);
			expected[i] = NULL;
		}
		assert_int_equal(m.count, count);
		if (step % 5000 == 0)
			for (size_t k = 0; k < IDS; k++)
				assert_ptr_equal(ptrmap_get(&m, id_number(k)), expected[k]);
	}
	for (size_t i = 0; i < IDS; i++)
		assert_ptr_equal(ptrmap_remove(&m, id_number(i)), expected[i]);
	assert_int_equal(m.count, 0);
	ptrmap_release(&m);
}

static void an_empty_map_has_nothing(void **state)
{
	(void)state;
	struct ptrmap m;
	ptrmap_init(&m);
	assert_null(ptrmap_get(&m, 0));
	assert_null(ptrmap_remove(&m, 7));
	ptrmap_put(&m, 7, &m);
	assert_ptr_equal(ptrmap_get(&m, 7), &m);
	assert_null(ptrmap_get(&m, 0));
	assert_ptr_equal(ptrmap_remove(&m, 7), &m);
	assert_null(ptrmap_remove(&m, 7));
	ptrmap_release(&m);
	assert_null(ptrmap_get(&m, 7));
	ptrmap_release(&m);
}

/* File ids go up for ever while few are open: the table must not grow with them. */
static void memory_follows_what_is_in_it(void **state)
{
	(void)state;
	struct ptrmap m;
	ptrmap_init(&m);
	for (uint64_t id = 0; id < 200000; id++) {
		ptrmap_put(&m, id, &m);
		if (id >= 40)
			assert_ptr_equal(ptrmap_remove(&m, id - 40), &m);
	}
	assert_int_equal(m.count, 40);
	assert_true(m.cap <= 128);
	ptrmap_release(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_steps_agree_with_a_plain_array),
		cmocka_unit_test(an_empty_map_has_nothing),
		cmocka_unit_test(memory_follows_what_is_in_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
