/* SPDX-License-Identifier: Apache-2.0 */
/* Walking to the names of hard-link groups: the groups are known from a full walk, their paths are
 * not. */
#ifndef SCRIBE_LINKED_H
#define SCRIBE_LINKED_H

#include "tree.h"

/* Called for a name of a group with more than one name in scope. Non-zero ends the walk with it. */
typedef int linked_fn(void *arg, struct dir *d, struct bytes name, const struct item *it,
		      const struct link_slot *group, struct err *e);

/* Calls fn for every name whose group's bucket is set in buckets (LINK_BUCKETS flags). What cannot
 * be read is passed over. 0, or what fn returned. */
int tree_each_linked(struct tree *t, const bool *buckets, linked_fn *fn, void *arg, struct err *e);

#endif
