/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hostile listings. First byte modulo 4: 0 and 2 a row of metas; 1 entries one behind the other, as
 * in an ENTRIES frame; 3 the same, but made from the input: a valid entry is encoded first, and
 * then damaged in one place. Whatever is taken must have valid parts and encode to the bytes it
 * came from.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "entry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_same(const struct buf *b, const uint8_t *p, size_t n)
{
	if (b->overflow || b->len != n || memcmp(b->data, p, n) != 0)
		abort();
}

static void check_meta(const struct meta *m)
{
	if (m->type < ENTRY_FILE || m->type > ENTRY_TYPE_MAX || m->mode > 07777 ||
	    m->mtime_ns > 999999999 || m->size > INT64_MAX || !meta_equal(m, m))
		abort();
	struct cursor c = cursor_of(m->xattrs.p, m->xattrs.n);
	struct bytes name;
	struct bytes value;
	while (xattr_next(&c, &name, &value))
		if (name.n == 0 || name.n > XATTR_NAME_MAX_BYTES || value.n > XATTR_VALUE_MAX)
			abort();
	if (c.bad || cursor_left(&c))
		abort();
}

static void check_all(bool entries, const uint8_t *p, size_t n)
{
	struct cursor c = cursor_of(p, n);
	struct buf b;
	buf_init(&b, ENTRY_BYTES_MAX);
	while (!c.bad && cursor_left(&c)) {
		const uint8_t *from = c.p;
		struct entry en = {0};
		if (entries)
			entry_decode(&en, &c);
		else
			meta_decode(&en.meta, &c);
		if (c.bad)
			break;
		buf_clear(&b);
		if (entries)
			entry_encode(&en, &b);
		else
			meta_encode(&en.meta, &b);
		check_same(&b, from, (size_t)(c.p - from));
		check_meta(&en.meta);
		if (entries && !name_valid(en.name))
			abort();
	}
	buf_release(&b);
}

/* Makes an entry of whatever is there, zeros behind the end. */
static void make_entry(struct cursor *in, struct entry *en, struct buf *xattrs)
{
	static const uint8_t text[] = "name-or-link-text";
	*en = (struct entry){.flags = get_u8(in) & ENTRY_FLAGS_ALL};
	struct meta *m = &en->meta;
	m->type = (uint8_t)(1 + get_u8(in) % ENTRY_TYPE_MAX);
	en->name = (struct bytes){.p = text, .n = 1 + get_u8(in) % (sizeof text - 1)};
	m->mode = get_u16(in) & 07777;
	m->uid = get_u32(in);
	m->gid = get_u16(in);
	m->mtime = (int64_t)get_u64(in) >> get_u8(in) % 64;
	m->mtime_ns = get_u32(in) % 1000000000;
	m->size = m->type == ENTRY_FILE ? get_u64(in) >> 1 : 0;
	m->link = (struct bytes){.p = text, .n = 1 + get_u8(in) % (sizeof text - 1)};
	m->rdev_major = get_u16(in);
	m->rdev_minor = get_u32(in);
	en->digest.sum = get_h128(in);
	en->group = get_u64(in) | 1;
	en->fid = get_u64(in);
	if (m->type == ENTRY_DIR)
		en->flags &= (uint8_t) ~(ENTRY_LINKED | ENTRY_RACY);
	for (char which = 'a'; which < 'd' && cursor_left(in); which++) {
		struct bytes value = get_raw(in, get_u8(in) % (cursor_left(in) + 1));
		xattr_put(xattrs, &which, 1, value.p, value.n);
	}
	m->xattrs = (struct bytes){.p = xattrs->data, .n = xattrs->len};
}

static void check_damaged(const uint8_t *p, size_t n)
{
	struct cursor in = cursor_of(p, n);
	size_t where = get_u8(&in);
	uint8_t damage = get_u8(&in);
	struct entry en;
	struct buf xattrs, b;
	buf_init(&xattrs, XATTR_BLOB_MAX);
	buf_init(&b, ENTRY_BYTES_MAX);
	make_entry(&in, &en, &xattrs);
	entry_encode(&en, &b);
	struct entry back;
	struct cursor c = cursor_of(b.data, b.len);
	entry_decode(&back, &c);
	if (c.bad || cursor_left(&c))
		abort();
	b.data[where % b.len] ^= damage;
	check_all(true, b.data, b.len);
	buf_release(&xattrs);
	buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	if (data[0] % 4 == 3)
		check_damaged(data + 1, size - 1);
	else
		check_all(data[0] & 1, data + 1, size - 1);
	return 0;
}
