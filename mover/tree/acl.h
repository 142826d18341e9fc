/* SPDX-License-Identifier: Apache-2.0 */
/* POSIX ACLs in the kernel's xattr form (linux/posix_acl_xattr.h: version 2, then {tag, perm, id}).
 * Pure. */
#ifndef SCRIBE_ACL_H
#define SCRIBE_ACL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACL_ACCESS  "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

/* Brings value to canonical form in place: entries sorted by (tag, id), ids of entries without one
 * set to all ones. An access ACL that says no more than the mode (at most owner, group, other), and
 * an empty default ACL, become *n = 0. 0, or -1 if it is malformed. */
int acl_canonical(uint8_t *value, size_t *n, bool is_default);

/* Adds permission bits (4 read, 2 write, 1 execute) to the owner's entry of a canonical ACL. */
void acl_grant_owner(uint8_t *value, size_t n, uint8_t perms);

#endif
