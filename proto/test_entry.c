/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "entry.h"
#include "mem.h"

enum { ROUNDS = 3000, XATTRS_MAX = 6 };

static uint64_t next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static uint64_t random_value(uint64_t *state)
{
	uint64_t v = next(state);
	return v >> (next(state) % 64);
}

static struct bytes text(const char *s)
{
	return (struct bytes){.p = (const uint8_t *)s, .n = strlen(s)};
}

/* A random entry and the memory its ranges point into. */
struct sample {
	struct entry en;
	uint8_t name[NAME_BYTES_MAX];
	uint8_t link[300];
	struct buf xattrs;
};

static void random_name(uint64_t *seed, uint8_t *out, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		do
			out[i] = (uint8_t)next(seed);
		while (out[i] == '/' || out[i] == '\0' || out[i] == '.');
	}
}

static void random_xattrs(uint64_t *seed, struct buf *blob)
{
	size_t count = next(seed) % XATTRS_MAX;
	for (size_t i = 0; i < count; i++) {
		uint8_t name[64];
		uint8_t value[200];
		size_t name_len = 2 + next(seed) % 62;
		size_t value_len = next(seed) % sizeof value;
		random_name(seed, name, name_len);
		name[0] = (uint8_t)('a' + i); /* in order */
		for (size_t k = 0; k < value_len; k++)
			value[k] = (uint8_t)next(seed);
		xattr_put(blob, name, name_len, value, value_len);
	}
}

static void random_meta(uint64_t *seed, struct sample *s)
{
	struct meta *m = &s->en.meta;
	m->type = (uint8_t)(1 + next(seed) % ENTRY_TYPE_MAX);
	m->mode = m->type == ENTRY_SYMLINK ? 0 : (uint32_t)(next(seed) & 07777);
	m->uid = (uint32_t)random_value(seed);
	m->gid = (uint32_t)random_value(seed);
	m->mtime = (int64_t)random_value(seed) * (next(seed) % 2 ? 1 : -1);
	m->mtime_ns = (uint32_t)(next(seed) % 1000000000);
	if (m->type == ENTRY_FILE)
		m->size = random_value(seed) >> 1;
	if (m->type == ENTRY_SYMLINK) {
		m->link = (struct bytes){.p = s->link, .n = 1 + next(seed) % sizeof s->link};
		random_name(seed, s->link, m->link.n);
	}
	if (m->type == ENTRY_CHAR || m->type == ENTRY_BLOCK) {
		m->rdev_major = (uint32_t)random_value(seed);
		m->rdev_minor = (uint32_t)random_value(seed);
	}
	random_xattrs(seed, &s->xattrs);
	m->xattrs = (struct bytes){.p = s->xattrs.data, .n = s->xattrs.len};
}

static void sample_init(struct sample *s, uint64_t *seed)
{
	memset(s, 0, sizeof *s);
	buf_init(&s->xattrs, XATTR_BLOB_MAX);
	random_meta(seed, s);
	struct entry *en = &s->en;
	en->name = (struct bytes){.p = s->name, .n = 1 + next(seed) % NAME_BYTES_MAX};
	random_name(seed, s->name, en->name.n);
	en->flags = (uint8_t)(next(seed) & ENTRY_FLAGS_ALL);
	if (en->meta.type == ENTRY_DIR) {
		en->flags &= (uint8_t) ~(ENTRY_LINKED | ENTRY_RACY);
		en->digest.sum = (struct h128){.lo = next(seed), .hi = next(seed)};
		en->digest.flags = (uint8_t)(next(seed) & DIGEST_FLAGS_ALL);
		en->digest.children = random_value(seed) >> 1;
	}
	if (en->flags & ENTRY_LINKED)
		en->group = next(seed);
	if (en->flags & ENTRY_STREAM)
		en->fid = random_value(seed);
}

static void sample_release(struct sample *s)
{
	buf_release(&s->xattrs);
}

static bool same_entry(const struct entry *a, const struct entry *b)
{
	return a->flags == b->flags && a->name.n == b->name.n &&
	       memcmp(a->name.p, b->name.p, a->name.n) == 0 && meta_equal(&a->meta, &b->meta) &&
	       h128_equal(a->digest.sum, b->digest.sum) && a->digest.flags == b->digest.flags &&
	       a->digest.children == b->digest.children && a->group == b->group && a->fid == b->fid;
}

static void entries_round_trip(void **state)
{
	(void)state;
	uint64_t seed = 123456;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (int i = 0; i < ROUNDS; i++) {
		struct sample s;
		sample_init(&s, &seed);
		struct buf b, again;
		buf_init(&b, ENTRY_BYTES_MAX);
		buf_init(&again, ENTRY_BYTES_MAX);
		entry_encode(&s.en, &b);
		struct entry back;
		struct cursor c = cursor_of(b.data, b.len);
		entry_decode(&back, &c);
		assert_false(c.bad);
		assert_int_equal(cursor_left(&c), 0);
		assert_true(same_entry(&s.en, &back));
		entry_encode(&back, &again);
		assert_int_equal(again.len, b.len);
		assert_memory_equal(again.data, b.data, b.len);
		size_t step = 1 + b.len / 64;
		for (size_t cut = 0; cut < b.len; cut += step) {
			c = cursor_of(b.data, cut);
			entry_decode(&back, &c);
			assert_true(c.bad);
		}
		buf_release(&again);
		buf_release(&b);
		sample_release(&s);
	}
}

/* Bytes changed at random are refused, or mean exactly what they say. */
static void damaged_entries_have_one_meaning(void **state)
{
	(void)state;
	uint64_t seed = 77;
	for (int i = 0; i < ROUNDS; i++) {
		struct sample s;
		sample_init(&s, &seed);
		struct buf b, again;
		buf_init(&b, ENTRY_BYTES_MAX);
		buf_init(&again, ENTRY_BYTES_MAX);
		entry_encode(&s.en, &b);
		b.data[next(&seed) % (b.len < 20 ? b.len : 20)] ^= (uint8_t)(1 + next(&seed) % 255);
		struct entry back;
		struct cursor c = cursor_of(b.data, b.len);
		entry_decode(&back, &c);
		if (!c.bad) {
			size_t used = b.len - cursor_left(&c);
			entry_encode(&back, &again);
			assert_int_equal(again.len, used);
			assert_memory_equal(again.data, b.data, used);
		}
		buf_release(&again);
		buf_release(&b);
		sample_release(&s);
	}
}

static struct meta sample_meta(uint8_t type)
{
	struct meta m = {.type = type,
			 .mode = 0644,
			 .uid = 1000,
			 .gid = 100,
			 .mtime = 1700000000,
			 .mtime_ns = 5};
	if (type == ENTRY_FILE)
		m.size = 12345;
	if (type == ENTRY_SYMLINK) {
		m.mode = 0;
		m.link = text("../target");
	}
	return m;
}

static bool taken(const struct buf *b)
{
	struct meta m;
	struct cursor c = cursor_of(b->data, b->len);
	meta_decode(&m, &c);
	return !c.bad && cursor_left(&c) == 0;
}

static bool meta_taken(const struct meta *m)
{
	struct buf b;
	buf_init(&b, ENTRY_BYTES_MAX);
	meta_encode(m, &b);
	assert_false(b.overflow);
	bool r = taken(&b);
	buf_release(&b);
	return r;
}

static void values_have_limits(void **state)
{
	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		struct meta m = sample_meta((uint8_t)type);
		assert_int_equal(meta_taken(&m), type >= 1 && type <= 7);
	}
	struct meta m = sample_meta(ENTRY_FILE);
	m.mode = 07777;
	assert_true(meta_taken(&m));
	m.mode = 010000;
	assert_false(meta_taken(&m));
	m.mode = 0100644;
	assert_false(meta_taken(&m));
	m = sample_meta(ENTRY_FILE);
	m.mtime_ns = 999999999;
	m.mtime = INT64_MIN;
	m.size = INT64_MAX;
	m.uid = m.gid = UINT32_MAX;
	assert_true(meta_taken(&m));
	m.mtime_ns = 1000000000;
	assert_false(meta_taken(&m));
	m.mtime_ns = 0;
	m.size = (uint64_t)INT64_MAX + 1;
	assert_false(meta_taken(&m));
}

/* Ids are 32 bits even though varints could say more. */
static void ids_beyond_32_bits_are_refused(void **state)
{
	(void)state;
	for (int which = 0; which < 4; which++) {
		const uint64_t over = (uint64_t)UINT32_MAX + 1;
		struct buf b;
		buf_init(&b, 256);
		buf_put_u8(&b, ENTRY_CHAR);
		put_var(&b, 0600);
		put_var(&b, which == 0 ? over : 0);
		put_var(&b, which == 1 ? over : 0);
		put_svar(&b, 0);
		put_var(&b, 0);
		put_var(&b, which == 2 ? over : UINT32_MAX);
		put_var(&b, which == 3 ? over : UINT32_MAX);
		put_bytes(&b, "", 0);
		assert_false(taken(&b));
		buf_release(&b);
	}
}

static void link_texts_are_checked(void **state)
{
	(void)state;
	CLEANUP_FREE uint8_t *longest = mem_alloc_raw(LINK_TEXT_MAX + 1);
	memset(longest, 'a', LINK_TEXT_MAX + 1);
	struct meta m = sample_meta(ENTRY_SYMLINK);
	assert_true(meta_taken(&m));
	m.link = (struct bytes){.p = longest, .n = LINK_TEXT_MAX};
	assert_true(meta_taken(&m));
	m.link.n++;
	assert_false(meta_taken(&m));
	m.link = (struct bytes){.p = (const uint8_t *)"", .n = 0};
	assert_false(meta_taken(&m));
	m.link = (struct bytes){.p = (const uint8_t *)"a\0b", .n = 3};
	assert_false(meta_taken(&m));
	m.link = (struct bytes){.p = (const uint8_t *)"ab", .n = 3};
	assert_false(meta_taken(&m));
	m.link = text("/absolute/../x");
	assert_true(meta_taken(&m));
}

static bool blob_taken(const struct buf *blob)
{
	struct meta m = sample_meta(ENTRY_FILE);
	m.xattrs = (struct bytes){.p = blob->data, .n = blob->len};
	return meta_taken(&m);
}

static bool pair_taken(const char *first, const char *second)
{
	struct buf blob;
	buf_init(&blob, 1024);
	xattr_put(&blob, first, strlen(first), "1", 1);
	xattr_put(&blob, second, strlen(second), "2", 1);
	bool r = blob_taken(&blob);
	buf_release(&blob);
	return r;
}

static void xattrs_are_sorted_and_unique(void **state)
{
	(void)state;
	assert_true(pair_taken("user.a", "user.b"));
	assert_false(pair_taken("user.b", "user.a"));
	assert_false(pair_taken("user.a", "user.a"));
	assert_true(pair_taken("user.a", "user.aa"));
	assert_false(pair_taken("user.aa", "user.a"));
	assert_true(pair_taken("user.a", "user.\xff"));
	assert_false(pair_taken("user.\xff", "user.a"));
	assert_false(pair_taken("", "user.a"));
	assert_false(pair_taken("user.a", ""));
}

static void xattr_blobs_are_checked(void **state)
{
	(void)state;
	struct buf blob;
	buf_init(&blob, XATTR_BLOB_MAX + XATTR_VALUE_MAX);
	xattr_put(&blob, "user.a\0b", 8, "1", 1);
	assert_false(blob_taken(&blob));
	CLEANUP_FREE uint8_t *value = mem_alloc(1, XATTR_VALUE_MAX + 1);
	buf_clear(&blob);
	xattr_put(&blob, "user.a", 6, value, XATTR_VALUE_MAX);
	assert_true(blob_taken(&blob));
	buf_clear(&blob);
	xattr_put(&blob, "user.a", 6, value, XATTR_VALUE_MAX + 1);
	assert_false(blob_taken(&blob));
	/* Every part of a blob but the whole and the empty one is cut inside an item. */
	buf_clear(&blob);
	char name[XATTR_NAME_MAX_BYTES];
	memset(name, 'n', sizeof name);
	xattr_put(&blob, name, sizeof name, "value", 5);
	size_t whole = blob.len;
	assert_true(blob_taken(&blob));
	for (blob.len = 1; blob.len < whole; blob.len++)
		assert_false(blob_taken(&blob));
	/* The limit of the blob itself. */
	buf_clear(&blob);
	for (char which = 'a'; which < 'd'; which++)
		xattr_put(&blob, &which, 1, value, XATTR_VALUE_MAX);
	size_t rest = XATTR_BLOB_MAX - blob.len - 5;
	xattr_put(&blob, "d", 1, value, rest);
	assert_int_equal(blob.len, XATTR_BLOB_MAX);
	assert_true(blob_taken(&blob));
	xattr_put(&blob, "e", 1, value, 0);
	assert_false(blob_taken(&blob));
	buf_release(&blob);
}

static void xattrs_come_out_as_they_went_in(void **state)
{
	(void)state;
	struct buf blob;
	buf_init(&blob, 4096);
	xattr_put(&blob, "security.capability", 19, "\1\0\0\2", 4);
	xattr_put(&blob, "user.empty", 10, "", 0);
	struct cursor c = cursor_of(blob.data, blob.len);
	struct bytes name, value;
	assert_true(xattr_next(&c, &name, &value));
	assert_int_equal(name.n, 19);
	assert_memory_equal(name.p, "security.capability", 19);
	assert_int_equal(value.n, 4);
	assert_memory_equal(value.p, "\1\0\0\2", 4);
	assert_true(xattr_next(&c, &name, &value));
	assert_int_equal(name.n, 10);
	assert_int_equal(value.n, 0);
	assert_false(xattr_next(&c, &name, &value));
	assert_false(c.bad);
	buf_release(&blob);
}

static bool name_taken(const void *p, size_t n)
{
	struct bytes name = {.p = p, .n = n};
	struct entry en = {.name = name, .meta = sample_meta(ENTRY_FIFO)};
	struct buf b;
	buf_init(&b, 4096);
	entry_encode(&en, &b);
	struct entry back;
	struct cursor c = cursor_of(b.data, b.len);
	entry_decode(&back, &c);
	assert_int_equal(name_valid(name), !c.bad);
	buf_release(&b);
	return !c.bad;
}

static void names_are_single_components(void **state)
{
	(void)state;
	char longest[256];
	memset(longest, 'n', sizeof longest);
	assert_true(name_taken(longest, 255));
	assert_false(name_taken(longest, 256));
	assert_false(name_taken("", 0));
	assert_false(name_taken(".", 1));
	assert_false(name_taken("..", 2));
	assert_true(name_taken("...", 3));
	assert_true(name_taken(".a", 2));
	assert_true(name_taken("..a", 3));
	assert_true(name_taken("a.", 2));
	assert_false(name_taken("/", 1));
	assert_false(name_taken("a/b", 3));
	assert_false(name_taken("a/", 2));
	assert_false(name_taken("a\0b", 3));
	assert_false(name_taken(".\0", 2));
	assert_false(name_taken("\0", 1));
	assert_true(name_taken("\n\x01\xff ", 4));
}

static bool path_taken(const void *p, size_t n)
{
	CLEANUP_FREE uint8_t *exact = mem_alloc_raw(n); /* nothing behind it is read */
	memcpy(exact, p, n);
	return path_valid((struct bytes){.p = exact, .n = n});
}

static void paths_are_names_and_slashes(void **state)
{
	(void)state;
	assert_true(path_taken("a", 1));
	assert_true(path_taken("a/b/c", 5));
	assert_true(path_taken("a/.../.b/..c", 12));
	static const char *const bad[] = {"",    "/",     "/a",     "a/",   "a//b", ".",   "..",
					  "./a", "a/./b", "a/../b", "a/..", "../a", "a/b/"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(path_taken(bad[i], strlen(bad[i])));
	assert_false(path_taken("a/\0/b", 5));
	char longest[256 + 256];
	memset(longest, 'n', sizeof longest);
	longest[255] = '/';
	assert_true(path_taken(longest, 511));
	assert_false(path_taken(longest, 512));
	assert_false(path_valid((struct bytes){0}));
}

static bool entry_taken(const struct entry *en)
{
	struct buf b;
	buf_init(&b, 4096);
	entry_encode(en, &b);
	struct entry back;
	struct cursor c = cursor_of(b.data, b.len);
	entry_decode(&back, &c);
	bool r = !c.bad && cursor_left(&c) == 0;
	buf_release(&b);
	return r;
}

static void flags_are_known_ones(void **state)
{
	(void)state;
	for (unsigned flags = 0; flags < 256; flags++) {
		struct entry file = {.flags = (uint8_t)flags,
				     .name = text("n"),
				     .meta = sample_meta(ENTRY_FILE)};
		file.group = 7;
		assert_int_equal(entry_taken(&file), flags <= ENTRY_FLAGS_ALL);
		struct entry dir = file;
		dir.meta = sample_meta(ENTRY_DIR);
		assert_int_equal(entry_taken(&dir), flags <= ENTRY_FLAGS_ALL &&
							    !(flags & (ENTRY_LINKED | ENTRY_RACY)));
		dir.flags = 0;
		dir.digest.flags = (uint8_t)flags;
		assert_int_equal(entry_taken(&dir), flags <= DIGEST_FLAGS_ALL);
	}
	struct entry lone = {.flags = ENTRY_LINKED,
			     .name = text("n"),
			     .meta = sample_meta(ENTRY_FILE)};
	assert_false(entry_taken(&lone));
	struct entry dir = {.name = text("n"), .meta = sample_meta(ENTRY_DIR)};
	dir.digest.children = INT64_MAX;
	assert_true(entry_taken(&dir));
	dir.digest.children++;
	assert_false(entry_taken(&dir));
}

static struct h128 hash_of(const struct hash_key *key, const char *name, const struct meta *m,
			   const struct h128 *content)
{
	struct buf scratch;
	buf_init(&scratch, ENTRY_BYTES_MAX);
	struct h128 h = entry_hash(key, text(name), m, content, &scratch);
	buf_release(&scratch);
	return h;
}

static void each_attribute_changes_the_hash(void **state)
{
	(void)state;
	struct buf blob;
	buf_init(&blob, 1024);
	xattr_put(&blob, "user.a", 6, "1", 1);
	struct meta base = sample_meta(ENTRY_FILE);
	struct meta changed[9];
	for (size_t i = 0; i < 9; i++)
		changed[i] = base;
	changed[0].type = ENTRY_SOCKET;
	changed[1].mode ^= 1;
	changed[2].uid++;
	changed[3].gid++;
	changed[4].size++;
	changed[5].mtime = -changed[5].mtime;
	changed[6].mtime_ns++;
	changed[7].xattrs = (struct bytes){.p = blob.data, .n = blob.len};
	changed[8].mtime++;
	struct h128 h = hash_of(NULL, "name", &base, NULL);
	assert_true(h128_equal(h, hash_of(NULL, "name", &base, NULL)));
	for (size_t i = 0; i < 9; i++) {
		assert_false(meta_equal(&base, &changed[i]));
		assert_false(h128_equal(h, hash_of(NULL, "name", &changed[i], NULL)));
	}
	assert_false(h128_equal(h, hash_of(NULL, "nama", &base, NULL)));
	uint8_t nonce[HASH_NONCE_BYTES] = {1};
	struct hash_key key;
	hash_key_init(&key, nonce, nonce);
	assert_false(h128_equal(h, hash_of(&key, "name", &base, NULL)));
	struct meta dir = sample_meta(ENTRY_DIR);
	struct h128 zero = {0};
	struct h128 one = {.lo = 1};
	assert_false(h128_equal(hash_of(&key, "d", &dir, &zero), hash_of(&key, "d", &dir, &one)));
	struct meta link = sample_meta(ENTRY_SYMLINK);
	struct meta other = link;
	other.link = text("../targets");
	assert_false(h128_equal(hash_of(&key, "l", &link, NULL), hash_of(&key, "l", &other, NULL)));
	struct meta device = sample_meta(ENTRY_BLOCK);
	device.rdev_major = 8;
	other = device;
	other.rdev_minor = 1;
	assert_false(
		h128_equal(hash_of(&key, "b", &device, NULL), hash_of(&key, "b", &other, NULL)));
	buf_release(&blob);
}

/* Whatever a side may hold, its encoding is within the maxima that frames are cut by. */
static void the_largest_entry_fits(void **state)
{
	(void)state;
	struct buf blob;
	buf_init(&blob, XATTR_BLOB_MAX);
	CLEANUP_FREE uint8_t *value = mem_alloc(1, XATTR_VALUE_MAX);
	for (char which = 'a'; which < 'd'; which++)
		xattr_put(&blob, &which, 1, value, XATTR_VALUE_MAX);
	xattr_put(&blob, "d", 1, value, XATTR_BLOB_MAX - blob.len - 5);
	CLEANUP_FREE uint8_t *link = mem_alloc_raw(LINK_TEXT_MAX);
	memset(link, 'l', LINK_TEXT_MAX);
	char name[NAME_BYTES_MAX];
	memset(name, 'n', sizeof name);
	for (uint8_t type = 1; type <= ENTRY_TYPE_MAX; type++) {
		struct entry en = {.flags = ENTRY_FLAGS_ALL,
				   .name = {.p = (const uint8_t *)name, .n = sizeof name},
				   .group = UINT64_MAX,
				   .fid = UINT64_MAX};
		en.meta = (struct meta){.type = type,
					.mode = 07777,
					.uid = UINT32_MAX,
					.gid = UINT32_MAX,
					.size = INT64_MAX,
					.mtime = INT64_MIN,
					.mtime_ns = 999999999,
					.rdev_major = UINT32_MAX,
					.rdev_minor = UINT32_MAX,
					.link = {.p = link, .n = LINK_TEXT_MAX},
					.xattrs = {.p = blob.data, .n = blob.len}};
		en.digest.children = INT64_MAX;
		struct buf b;
		buf_init(&b, META_BYTES_MAX);
		meta_encode(&en.meta, &b);
		assert_false(b.overflow);
		buf_release(&b);
		buf_init(&b, ENTRY_BYTES_MAX);
		entry_encode(&en, &b);
		assert_false(b.overflow);
		buf_release(&b);
	}
	buf_release(&blob);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_round_trip),
		cmocka_unit_test(damaged_entries_have_one_meaning),
		cmocka_unit_test(values_have_limits),
		cmocka_unit_test(ids_beyond_32_bits_are_refused),
		cmocka_unit_test(link_texts_are_checked),
		cmocka_unit_test(xattrs_are_sorted_and_unique),
		cmocka_unit_test(xattr_blobs_are_checked),
		cmocka_unit_test(xattrs_come_out_as_they_went_in),
		cmocka_unit_test(names_are_single_components),
		cmocka_unit_test(paths_are_names_and_slashes),
		cmocka_unit_test(flags_are_known_ones),
		cmocka_unit_test(each_attribute_changes_the_hash),
		cmocka_unit_test(the_largest_entry_fits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
