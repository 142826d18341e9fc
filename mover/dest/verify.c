/* SPDX-License-Identifier: Apache-2.0 */
/* Naming the entries that make the final digests differ: changed at the source since, or not held
 * here. */
#include <string.h>

#include "dest_int.h"

enum { NAMED_MAX = 1000 };

static void mismatch(struct dest *D, struct ddir *dd, struct bytes name, bool source_changed,
		     const char *text)
{
	if (source_changed)
		D->mismatches_changed++;
	else
		D->mismatches++;
	if (D->mismatches + D->mismatches_changed <= NAMED_MAX)
		dest_issue(D, ISSUE_FAILED, source_changed ? ERR_CHANGED : ERR_VERIFY, 0, dd->d,
			   name, text);
}

void verify_extra(struct dest *D, struct ddir *dd, struct bytes name, uint8_t list_flags)
{
	/* Without --delete, what the source does not have may stay: it is no mismatch. */
	if (!(D->o->flags & OPT_DELETE))
		return;
	mismatch(D, dd, name, list_flags & LISTED_CHANGED,
		 "should have been deleted and is still there");
}

int verify_entry(struct dest *D, struct ddir *dd, struct visit *v, const struct entry *en,
		 struct err *e)
{
	struct err why = {0};
	bool changed = en->flags & ENTRY_CHANGED;
	if (tree_left_out(&D->tree, dd->d, en->name) & LEFT_OUT_WHOLE)
		return 0;
	int t = tree_read(&D->tree, v, en->name, false, &D->own, &why);
	if (t != TREE_ENTRY) {
		mismatch(D, dd, en->name, changed, "is not there after it was written");
		return 0;
	}
	if (!meta_equal(&en->meta, &D->own.meta)) {
		mismatch(D, dd, en->name, changed,
			 en->meta.mtime != D->own.meta.mtime ||
					 en->meta.mtime_ns != D->own.meta.mtime_ns
				 ? "attributes differ from those that were set (time)"
				 : "attributes differ from those that were set");
		if (en->meta.type != ENTRY_DIR || D->own.meta.type != ENTRY_DIR)
			return 0;
	}
	if (en->meta.type != ENTRY_DIR)
		return 0;
	struct tree_sum own;
	if (tree_opaque(&D->tree, &D->own) || (en->digest.flags & DIGEST_OPAQUE))
		return 0;
	if (tree_child_sum(&D->tree, dd->d, en->name, &D->own, &own, e) < 0)
		return -1;
	if (h128_equal(own.d.sum, en->digest.sum))
		return 0;
	struct dir *d = dirs_child(D->dirs, dd->d, en->name, &why);
	if (!d)
		return 0;
	struct ddir *child = ddir_new(D, dd, d, NULL);
	plan_dir(D, child, en->digest.children, own.d.children);
	ddir_done_one(D, child);
	return 0;
}
