/* SPDX-License-Identifier: Apache-2.0 */
#include "diff_acl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "mem.h"

enum { HEAD = 4, ENTRY = 8, VERSION = 2 };

static uint32_t get_le(const uint8_t *p, int n)
{
	uint32_t v = 0;
	while (n-- > 0)
		v = v << 8 | p[n];
	return v;
}

static int by_key(const void *x, const void *y)
{
	const struct diff_acl_entry *a = x;
	const struct diff_acl_entry *b = y;
	if (a->tag != b->tag)
		return a->tag < b->tag ? -1 : 1;
	if (a->id != b->id)
		return a->id < b->id ? -1 : 1;
	return (a->perm > b->perm) - (a->perm < b->perm);
}

static bool is_minimal(const struct diff_acl *acl)
{
	for (size_t i = 0; i < acl->n; i++)
		if (acl->v[i].tag != DIFF_ACL_USER_OBJ && acl->v[i].tag != DIFF_ACL_GROUP_OBJ &&
		    acl->v[i].tag != DIFF_ACL_OTHER)
			return false;
	return true;
}

int diff_acl_parse(struct diff_acl *acl, const void *bytes, size_t n, bool is_default)
{
	const uint8_t *p = bytes;
	acl->v = NULL;
	acl->n = 0;
	if (n < HEAD || (n - HEAD) % ENTRY != 0 || get_le(p, HEAD) != VERSION)
		return -1;
	acl->n = (n - HEAD) / ENTRY;
	acl->v = mem_alloc(acl->n + 1, sizeof(*acl->v));
	p += HEAD;
	for (size_t i = 0; i < acl->n; i++, p += ENTRY) {
		struct diff_acl_entry *v = &acl->v[i];
		v->tag = (uint16_t)get_le(p, 2);
		v->perm = (uint16_t)get_le(p + 2, 2);
		bool named = v->tag == DIFF_ACL_USER || v->tag == DIFF_ACL_GROUP;
		v->id = named ? get_le(p + 4, 4) : UINT32_MAX;
	}
	qsort(acl->v, acl->n, sizeof(*acl->v), by_key);
	if (!is_default && is_minimal(acl))
		acl->n = 0;
	return 0;
}

void diff_acl_release(struct diff_acl *acl)
{
	free(acl->v);
	acl->v = NULL;
	acl->n = 0;
}

bool diff_acl_equal(const struct diff_acl *x, const struct diff_acl *y)
{
	if (x->n != y->n)
		return false;
	for (size_t i = 0; i < x->n; i++)
		if (by_key(&x->v[i], &y->v[i]) != 0)
			return false;
	return true;
}

static const char *tag_word(uint16_t tag)
{
	switch (tag) {
	case DIFF_ACL_USER_OBJ:
	case DIFF_ACL_USER:
		return "user";
	case DIFF_ACL_GROUP_OBJ:
	case DIFF_ACL_GROUP:
		return "group";
	case DIFF_ACL_MASK:
		return "mask";
	case DIFF_ACL_OTHER:
		return "other";
	default:
		return "?";
	}
}

char *diff_acl_text(char *out, size_t cap, const struct diff_acl *acl, bool is_default)
{
	CLEANUP_BUF struct buf text;
	buf_init(&text, cap - 1);
	if (!acl->n)
		buf_puts(&text, "-");
	else if (is_default)
		buf_puts(&text, "default:");
	for (size_t i = 0; i < acl->n && !text.overflow; i++) {
		const struct diff_acl_entry *v = &acl->v[i];
		char id[16] = "";
		if (v->id != UINT32_MAX)
			snprintf(id, sizeof(id), "%u", v->id);
		buf_printf(&text, "%s%s:%s:%c%c%c", i ? "," : "", tag_word(v->tag), id,
			   v->perm & 4 ? 'r' : '-', v->perm & 2 ? 'w' : '-',
			   v->perm & 1 ? 'x' : '-');
	}
	if (text.len)
		memcpy(out, text.data, text.len);
	out[text.len] = '\0';
	return out;
}
