/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

__extension__ typedef unsigned __int128 wide;

static uint64_t next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* Halves near zero and near all ones are frequent, so that carries are. */
static struct h128 random_hash(uint64_t *seed)
{
	uint64_t half[2];
	for (int i = 0; i < 2; i++) {
		uint64_t kind = next(seed) % 4;
		half[i] = kind == 0 ? next(seed) % 3 : kind == 1 ? ~(next(seed) % 3) : next(seed);
	}
	return (struct h128){.lo = half[0], .hi = half[1]};
}

static wide to_wide(struct h128 h)
{
	return (wide)h.hi << 64 | h.lo;
}

static void sums_are_modulo_2_to_128(void **state)
{
	(void)state;
	uint64_t seed = 31337;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (int i = 0; i < 50000; i++) {
		struct h128 a = random_hash(&seed);
		struct h128 b = random_hash(&seed);
		struct h128 sum = a;
		h128_add(&sum, b);
		assert_true(to_wide(sum) == to_wide(a) + to_wide(b));
		struct h128 difference = a;
		h128_sub(&difference, b);
		assert_true(to_wide(difference) == to_wide(a) - to_wide(b));
		h128_sub(&sum, b);
		assert_true(h128_equal(sum, a));
		assert_true(h128_equal(a, b) == (to_wide(a) == to_wide(b)));
	}
	/* An object added to or taken from itself. */
	struct h128 x = {.lo = UINT64_MAX, .hi = 1};
	h128_add(&x, x);
	assert_true(to_wide(x) == (((wide)1 << 64 | UINT64_MAX) << 1));
	h128_sub(&x, x);
	assert_true(h128_equal(x, (struct h128){0}));
}

static void the_order_of_a_sum_is_nothing(void **state)
{
	(void)state;
	enum { MEMBERS = 257 };
	uint64_t seed = 4;
	struct h128 members[MEMBERS];
	struct h128 forward = {0};
	for (size_t i = 0; i < MEMBERS; i++) {
		members[i] = random_hash(&seed);
		h128_add(&forward, members[i]);
	}
	for (size_t i = MEMBERS - 1; i > 0; i--) {
		size_t k = next(&seed) % (i + 1);
		struct h128 swap = members[i];
		members[i] = members[k];
		members[k] = swap;
	}
	struct h128 shuffled = {0};
	for (size_t i = 0; i < MEMBERS; i++)
		h128_add(&shuffled, members[i]);
	assert_true(h128_equal(forward, shuffled));
	for (size_t i = 0; i < MEMBERS; i++)
		h128_sub(&shuffled, members[(i * 100) % MEMBERS]);
	assert_true(h128_equal(shuffled, (struct h128){0}));
}

static void store_and_hex_have_fixed_forms(void **state)
{
	(void)state;
	struct h128 h = {.lo = 0x0123456789abcdef, .hi = 0x00fedcba98765432};
	uint8_t raw[16];
	h128_store(raw, h);
	static const uint8_t expected[16] = {0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01,
					     0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe, 0x00};
	assert_memory_equal(raw, expected, 16);
	assert_true(h128_equal(h128_load(raw), h));
	char hex[33];
	h128_hex(hex, h);
	assert_string_equal(hex, "00fedcba987654320123456789abcdef");
	uint64_t seed = 8;
	for (int i = 0; i < 1000; i++) {
		h = random_hash(&seed);
		h128_store(raw, h);
		assert_true(h128_equal(h128_load(raw), h));
		h128_hex(hex, h);
		assert_int_equal(strlen(hex), 32);
		char digits[17];
		memcpy(digits, hex, 16);
		digits[16] = '\0';
		assert_true(strtoull(digits, NULL, 16) == h.hi);
		assert_true(strtoull(hex + 16, NULL, 16) == h.lo);
	}
}

/* Published values of XXH3: another implementation of the protocol must get the same. */
static void unkeyed_is_xxh3(void **state)
{
	(void)state;
	char hex[33];
	h128_hex(hex, hash128(NULL, "", 0));
	assert_string_equal(hex, "99aa06d3014798d86001c324468d497f");
	assert_true(hash64(NULL, "", 0) == 0x2d06800538d394c2);
	assert_true(hash64(NULL, "a", 1) == 0xe6c632b61e964e1f);
	h128_hex(hex, hash128(NULL, "a", 1));
	assert_string_equal(hex, "a96faf705af16834e6c632b61e964e1f");
}

static void fill(uint8_t *p, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)next(&seed);
}

static void the_key_depends_on_both_nonces(void **state)
{
	(void)state;
	uint8_t a[HASH_NONCE_BYTES], b[HASH_NONCE_BYTES], data[1000];
	fill(a, sizeof a, 1);
	fill(b, sizeof b, 2);
	fill(data, sizeof data, 3);
	struct hash_key key, again, swapped;
	hash_key_init(&key, a, b);
	hash_key_init(&again, a, b);
	hash_key_init(&swapped, b, a);
	assert_memory_equal(&key, &again, sizeof key);
	for (size_t n = 0; n <= sizeof data; n = n < 300 ? n + 1 : n + 350) {
		struct h128 h = hash128(&key, data, n);
		assert_true(h128_equal(h, hash128(&again, data, n)));
		assert_false(h128_equal(h, hash128(NULL, data, n)));
		assert_false(h128_equal(h, hash128(&swapped, data, n)));
		assert_true(hash64(&key, data, n) == hash64(&again, data, n));
		assert_true(hash64(&key, data, n) != hash64(NULL, data, n));
		assert_true(hash64(&key, data, n) != hash64(&swapped, data, n));
	}
	for (size_t bit = 0; bit < 8 * HASH_NONCE_BYTES; bit++) {
		struct hash_key other;
		a[bit / 8] ^= (uint8_t)(1u << bit % 8);
		hash_key_init(&other, a, b);
		assert_false(h128_equal(hash128(&other, data, 20), hash128(&key, data, 20)));
		assert_false(h128_equal(hash128(&other, data, 500), hash128(&key, data, 500)));
		a[bit / 8] ^= (uint8_t)(1u << bit % 8);
		b[bit / 8] ^= (uint8_t)(1u << bit % 8);
		hash_key_init(&other, a, b);
		assert_false(h128_equal(hash128(&other, data, 20), hash128(&key, data, 20)));
		assert_false(h128_equal(hash128(&other, data, 500), hash128(&key, data, 500)));
		b[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

static void every_bit_counts(void **state)
{
	(void)state;
	uint8_t data[300];
	fill(data, sizeof data, 9);
	static const size_t lengths[] = {1, 3, 8, 16, 17, 100, 128, 129, 240, 241, 300};
	for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
		struct h128 whole = hash128(NULL, data, lengths[i]);
		for (size_t bit = 0; bit < 8 * lengths[i]; bit++) {
			data[bit / 8] ^= (uint8_t)(1u << bit % 8);
			assert_false(h128_equal(hash128(NULL, data, lengths[i]), whole));
			data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
}

static void path_ids_tell_paths_apart(void **state)
{
	(void)state;
	uint8_t nonce[HASH_NONCE_BYTES] = {7};
	struct hash_key key;
	hash_key_init(&key, nonce, nonce);
	struct h128 root = {0};
	struct h128 a = hash_path(&key, root, "a", 1);
	assert_true(h128_equal(a, hash_path(&key, root, "a", 1)));
	assert_false(h128_equal(a, hash_path(NULL, root, "a", 1)));
	assert_false(h128_equal(a, hash_path(&key, root, "b", 1)));
	assert_false(h128_equal(a, root));
	struct h128 ab = hash_path(&key, a, "b", 1);
	struct h128 ba = hash_path(&key, hash_path(&key, root, "b", 1), "a", 1);
	assert_false(h128_equal(ab, ba));
	assert_false(h128_equal(ab, hash_path(&key, root, "ab", 2)));
	assert_false(h128_equal(ab, hash_path(&key, root, "a/b", 3)));
	/* Names are bytes, NUL and high bits included. */
	assert_false(
		h128_equal(hash_path(&key, root, "a\0b", 3), hash_path(&key, root, "a\0c", 3)));
	char name[255];
	memset(name, 0xff, sizeof name);
	struct h128 longest = hash_path(&key, root, name, sizeof name);
	assert_false(h128_equal(longest, hash_path(&key, root, name, sizeof name - 1)));
	name[254] = 'x';
	assert_false(h128_equal(longest, hash_path(&key, root, name, sizeof name)));
}

static void content_terms_know_their_place(void **state)
{
	(void)state;
	struct h128 x = {.lo = 1, .hi = 2};
	struct h128 y = {.lo = 3, .hi = 4};
	assert_false(h128_equal(hash_leaf_term(0, x), hash_leaf_term(1, x)));
	assert_false(h128_equal(hash_leaf_term(0, x), hash_leaf_term(0, y)));
	assert_false(h128_equal(hash_leaf_term(0, x), hash_leaf_term((uint64_t)1 << 32, x)));
	/* Two leaves that change places give another sum. */
	struct h128 in_order = hash_leaf_term(0, x);
	h128_add(&in_order, hash_leaf_term(1, y));
	struct h128 exchanged = hash_leaf_term(0, y);
	h128_add(&exchanged, hash_leaf_term(1, x));
	assert_false(h128_equal(in_order, exchanged));
	assert_false(h128_equal(hash_content(10, in_order), hash_content(11, in_order)));
	assert_false(h128_equal(hash_content(10, in_order), hash_content(10, exchanged)));
	assert_false(h128_equal(hash_content(0, (struct h128){0}), (struct h128){0}));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums_are_modulo_2_to_128),
		cmocka_unit_test(the_order_of_a_sum_is_nothing),
		cmocka_unit_test(store_and_hex_have_fixed_forms),
		cmocka_unit_test(unkeyed_is_xxh3),
		cmocka_unit_test(the_key_depends_on_both_nonces),
		cmocka_unit_test(every_bit_counts),
		cmocka_unit_test(path_ids_tell_paths_apart),
		cmocka_unit_test(content_terms_know_their_place),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
