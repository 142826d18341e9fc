/* SPDX-License-Identifier: Apache-2.0 */
#include "entry.h"

#include <string.h>

bool name_valid(struct bytes name)
{
	if (name.n < 1 || name.n > NAME_BYTES_MAX)
		return false;
	if (memchr(name.p, '/', name.n) || memchr(name.p, '\0', name.n))
		return false;
	if (name.p[0] == '.' && (name.n == 1 || (name.n == 2 && name.p[1] == '.')))
		return false;
	return true;
}

bool path_valid(struct bytes path)
{
	for (;;) {
		const uint8_t *slash = path.n ? memchr(path.p, '/', path.n) : NULL;
		struct bytes name = {.p = path.p, .n = slash ? (size_t)(slash - path.p) : path.n};
		if (!name_valid(name))
			return false;
		if (!slash)
			return true;
		path.n -= name.n + 1;
		path.p = slash + 1;
	}
}

bool xattr_next(struct cursor *c, struct bytes *name, struct bytes *value)
{
	if (c->bad || cursor_left(c) == 0)
		return false;
	size_t n = get_u8(c);
	*name = get_raw(c, n);
	*value = get_bytes(c, XATTR_VALUE_MAX);
	if (name->n == 0 || memchr(name->p, '\0', name->n))
		c->bad = true;
	return !c->bad;
}

void xattr_put(struct buf *blob, const void *name, size_t name_len, const void *value,
	       size_t value_len)
{
	buf_put_u8(blob, (uint8_t)name_len);
	buf_put(blob, name, name_len);
	put_bytes(blob, value, value_len);
}

static int bytes_compare(struct bytes a, struct bytes b)
{
	int r = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
	return r ? r : (a.n > b.n) - (a.n < b.n);
}

static bool blob_canonical(struct bytes blob)
{
	struct cursor c = cursor_of(blob.p, blob.n);
	struct bytes last = {0};
	struct bytes name;
	struct bytes value;
	while (xattr_next(&c, &name, &value)) {
		if (last.n && bytes_compare(last, name) >= 0)
			return false;
		last = name;
	}
	return !c.bad;
}

void meta_encode(const struct meta *m, struct buf *out)
{
	buf_put_u8(out, m->type);
	put_var(out, m->mode);
	put_var(out, m->uid);
	put_var(out, m->gid);
	put_svar(out, m->mtime);
	put_var(out, m->mtime_ns);
	if (m->type == ENTRY_FILE)
		put_var(out, m->size);
	if (m->type == ENTRY_SYMLINK)
		put_bytes(out, m->link.p, m->link.n);
	if (m->type == ENTRY_CHAR || m->type == ENTRY_BLOCK) {
		put_var(out, m->rdev_major);
		put_var(out, m->rdev_minor);
	}
	put_bytes(out, m->xattrs.p, m->xattrs.n);
}

void meta_decode(struct meta *m, struct cursor *c)
{
	*m = (struct meta){0};
	m->type = get_u8(c);
	if (m->type < ENTRY_FILE || m->type > ENTRY_TYPE_MAX)
		c->bad = true;
	m->mode = (uint32_t)get_var(c, 07777);
	m->uid = (uint32_t)get_var(c, UINT32_MAX);
	m->gid = (uint32_t)get_var(c, UINT32_MAX);
	m->mtime = get_svar(c);
	m->mtime_ns = (uint32_t)get_var(c, 999999999);
	if (m->type == ENTRY_FILE)
		m->size = get_var(c, INT64_MAX);
	if (m->type == ENTRY_SYMLINK) {
		m->link = get_bytes(c, LINK_TEXT_MAX);
		if (m->link.n == 0 || memchr(m->link.p, '\0', m->link.n))
			c->bad = true;
	}
	if (m->type == ENTRY_CHAR || m->type == ENTRY_BLOCK) {
		m->rdev_major = (uint32_t)get_var(c, UINT32_MAX);
		m->rdev_minor = (uint32_t)get_var(c, UINT32_MAX);
	}
	m->xattrs = get_bytes(c, XATTR_BLOB_MAX);
	if (!c->bad && !blob_canonical(m->xattrs))
		c->bad = true;
}

static bool bytes_equal(struct bytes a, struct bytes b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool meta_equal(const struct meta *a, const struct meta *b)
{
	return a->type == b->type && a->mode == b->mode && a->uid == b->uid && a->gid == b->gid &&
	       a->size == b->size && a->mtime == b->mtime && a->mtime_ns == b->mtime_ns &&
	       a->rdev_major == b->rdev_major && a->rdev_minor == b->rdev_minor &&
	       bytes_equal(a->link, b->link) && bytes_equal(a->xattrs, b->xattrs);
}

void entry_encode(const struct entry *en, struct buf *out)
{
	buf_put_u8(out, en->flags);
	put_bytes(out, en->name.p, en->name.n);
	meta_encode(&en->meta, out);
	if (en->meta.type == ENTRY_DIR) {
		put_h128(out, en->digest.sum);
		buf_put_u8(out, en->digest.flags);
		put_var(out, en->digest.children);
	}
	if (en->flags & ENTRY_LINKED)
		put_u64(out, en->group);
	if (en->flags & ENTRY_STREAM)
		put_var(out, en->fid);
}

void entry_decode(struct entry *en, struct cursor *c)
{
	*en = (struct entry){0};
	en->flags = get_u8(c);
	if (en->flags & ~ENTRY_FLAGS_ALL)
		c->bad = true;
	en->name = get_bytes(c, NAME_BYTES_MAX);
	if (!c->bad && !name_valid(en->name))
		c->bad = true;
	meta_decode(&en->meta, c);
	if (en->meta.type == ENTRY_DIR) {
		en->digest.sum = get_h128(c);
		en->digest.flags = get_u8(c);
		en->digest.children = get_var(c, INT64_MAX);
		if (en->digest.flags & ~DIGEST_FLAGS_ALL)
			c->bad = true;
	}
	if (en->flags & ENTRY_LINKED)
		en->group = get_u64(c);
	if ((en->flags & ENTRY_LINKED) && en->group == 0)
		c->bad = true;
	if (en->flags & ENTRY_STREAM)
		en->fid = get_var(c, UINT64_MAX);
	if (en->meta.type == ENTRY_DIR && (en->flags & (ENTRY_LINKED | ENTRY_RACY)))
		c->bad = true;
}

struct h128 entry_hash(const struct hash_key *key, struct bytes name, const struct meta *m,
		       const struct h128 *content, struct buf *scratch)
{
	buf_clear(scratch);
	put_bytes(scratch, name.p, name.n);
	meta_encode(m, scratch);
	if (content)
		put_h128(scratch, *content);
	return hash128(key, scratch->data, scratch->len);
}
