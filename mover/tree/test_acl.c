/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "acl.h"

enum { OWNER = 1, USER = 2, OWNING_GROUP = 4, GROUP = 8, MASK = 16, OTHER = 32, NONE = -1 };
enum { ACL_MAX = 4 + 16 * 8 };

struct entry_of_acl {
	uint8_t tag, perms;
	int64_t id; /* NONE: all ones */
};

static size_t build(uint8_t *out, const struct entry_of_acl *entries, size_t n)
{
	memcpy(out, "\2\0\0\0", 4);
	for (size_t i = 0; i < n; i++) {
		uint8_t *e = out + 4 + i * 8;
		uint32_t id = entries[i].id == NONE ? UINT32_MAX : (uint32_t)entries[i].id;
		e[0] = entries[i].tag;
		e[1] = 0;
		e[2] = entries[i].perms;
		e[3] = 0;
		for (int k = 0; k < 4; k++)
			e[4 + k] = (uint8_t)(id >> 8 * k);
	}
	return 4 + n * 8;
}

static const struct entry_of_acl full[] = {{OWNER, 7, NONE},        {USER, 4, 1},
					   {USER, 6, 256},          {USER, 5, 0x01000000},
					   {OWNING_GROUP, 5, NONE}, {GROUP, 4, 2},
					   {GROUP, 1, 3},           {MASK, 7, NONE},
					   {OTHER, 0, NONE}};
enum { FULL = sizeof full / sizeof full[0] };

static void entries_are_sorted_by_tag_and_id(void **state)
{
	(void)state;
	uint8_t expected[ACL_MAX];
	size_t size = build(expected, full, FULL);
	uint64_t seed = 42;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (int round = 0; round < 1000; round++) {
		struct entry_of_acl mixed[FULL];
		memcpy(mixed, full, sizeof full);
		for (size_t i = FULL - 1; i > 0; i--) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			size_t k = (size_t)(seed >> 33) % (i + 1);
			struct entry_of_acl swap = mixed[i];
			mixed[i] = mixed[k];
			mixed[k] = swap;
		}
		uint8_t value[ACL_MAX];
		size_t n = build(value, mixed, FULL);
		assert_int_equal(acl_canonical(value, &n, round & 1), 0);
		assert_int_equal(n, size);
		assert_memory_equal(value, expected, size);
	}
}

static void ids_where_none_belongs_are_cleared(void **state)
{
	(void)state;
	uint8_t expected[ACL_MAX], value[ACL_MAX];
	static const struct entry_of_acl odd[] = {
		{OWNER, 7, 0}, {USER, 4, 1}, {OWNING_GROUP, 5, 77}, {MASK, 7, 0}, {OTHER, 0, 9}};
	static const struct entry_of_acl clean[] = {{OWNER, 7, NONE},
						    {USER, 4, 1},
						    {OWNING_GROUP, 5, NONE},
						    {MASK, 7, NONE},
						    {OTHER, 0, NONE}};
	size_t size = build(expected, clean, 5);
	size_t n = build(value, odd, 5);
	assert_int_equal(acl_canonical(value, &n, false), 0);
	assert_int_equal(n, size);
	assert_memory_equal(value, expected, size);
}

static void an_acl_that_is_the_mode_is_none(void **state)
{
	(void)state;
	static const struct entry_of_acl minimal[] = {{OTHER, 4, NONE},
						      {OWNER, 7, NONE},
						      {OWNING_GROUP, 5, NONE}};
	static const struct entry_of_acl with_mask[] = {
		{OWNER, 7, NONE}, {OWNING_GROUP, 5, NONE}, {MASK, 5, NONE}, {OTHER, 4, NONE}};
	uint8_t value[ACL_MAX];
	size_t n = build(value, minimal, 3);
	assert_int_equal(acl_canonical(value, &n, false), 0);
	assert_int_equal(n, 0);
	/* A mask changes what the mode's group bits mean. */
	n = build(value, with_mask, 4);
	assert_int_equal(acl_canonical(value, &n, false), 0);
	assert_int_equal(n, 4 + 4 * 8);
	/* As a default for new files the three do say something. */
	n = build(value, minimal, 3);
	assert_int_equal(acl_canonical(value, &n, true), 0);
	assert_int_equal(n, 4 + 3 * 8);
	n = build(value, minimal, 0);
	assert_int_equal(acl_canonical(value, &n, true), 0);
	assert_int_equal(n, 0);
	n = build(value, minimal, 0);
	assert_int_equal(acl_canonical(value, &n, false), 0);
	assert_int_equal(n, 0);
}

static void malformed_values_are_refused(void **state)
{
	(void)state;
	uint8_t value[ACL_MAX];
	size_t size = build(value, full, FULL);
	for (size_t cut = 0; cut < size; cut++) {
		size_t n = cut;
		uint8_t copy[ACL_MAX];
		memcpy(copy, value, size);
		assert_int_equal(acl_canonical(copy, &n, false), cut >= 4 && cut % 8 == 4 ? 0 : -1);
	}
	for (size_t i = 0; i < 4; i++) {
		size_t n = size;
		value[i] ^= 1;
		assert_int_equal(acl_canonical(value, &n, false), -1);
		value[i] ^= 1;
	}
}

static void the_owner_can_be_granted_more(void **state)
{
	(void)state;
	static const struct entry_of_acl shut[] = {{OWNER, 2, NONE},
						   {USER, 4, 1},
						   {OWNING_GROUP, 0, NONE},
						   {MASK, 0, NONE},
						   {OTHER, 0, NONE}};
	uint8_t value[ACL_MAX], before[ACL_MAX];
	size_t n = build(value, shut, 5);
	memcpy(before, value, n);
	acl_grant_owner(value, n, 5);
	before[4 + 2] = 7;
	assert_memory_equal(value, before, n);
	acl_grant_owner(value, n, 5);
	assert_memory_equal(value, before, n);
	acl_grant_owner(value, 0, 5);
	assert_memory_equal(value, before, n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_are_sorted_by_tag_and_id),
		cmocka_unit_test(ids_where_none_belongs_are_cleared),
		cmocka_unit_test(an_acl_that_is_the_mode_is_none),
		cmocka_unit_test(malformed_values_are_refused),
		cmocka_unit_test(the_owner_can_be_granted_more),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
