/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POSIX ACLs as the kernel stores them in system.posix_acl_access and _default: a 32-bit version 2,
 * then entries {u16 tag, u16 perm, u32 id}, little-endian. Private to this folder.
 */
#ifndef SCRIBE_DIFF_ACL_H
#define SCRIBE_DIFF_ACL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	DIFF_ACL_USER_OBJ = 0x01,
	DIFF_ACL_USER = 0x02,
	DIFF_ACL_GROUP_OBJ = 0x04,
	DIFF_ACL_GROUP = 0x08,
	DIFF_ACL_MASK = 0x10,
	DIFF_ACL_OTHER = 0x20,
};

struct diff_acl_entry {
	uint16_t tag;
	uint16_t perm;
	uint32_t id; /* of users and groups; UINT32_MAX else */
};

/* Sorted by (tag, id, perm). n is 0 if there is no ACL. */
struct diff_acl {
	struct diff_acl_entry *v;
	size_t n;
};

/*
 * Parses n bytes into *acl, which diff_acl_release() frees. An access ACL of the three base entries
 * says no more than the mode and becomes none; a default ACL never is minimal: files made below
 * such a directory get their mode from it. 0, or -1 if the bytes are no ACL (*acl is then empty).
 */
int diff_acl_parse(struct diff_acl *acl, const void *bytes, size_t n, bool is_default);
void diff_acl_release(struct diff_acl *acl);
bool diff_acl_equal(const struct diff_acl *x, const struct diff_acl *y);
/* Short text, "user::rw-,user:7:r--,...", "-" if there is none; cut to cap. Returns out. */
char *diff_acl_text(char *out, size_t cap, const struct diff_acl *acl, bool is_default);

#endif
