/* SPDX-License-Identifier: Apache-2.0 */
/* Deletion: by own scan, never across a mount, excluded names stay. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dest_int.h"
#include "mem.h"
#include "sys.h"

/* A kept directory mtime: what is done inside must not show on it. */
struct kept_time {
	int fd;
	struct stat st;
};

static void keep_time(struct kept_time *k, int fd)
{
	k->fd = fstat(fd, &k->st) == 0 ? fd : -1;
}

static void restore_time(const struct kept_time *k)
{
	if (k->fd >= 0)
		sys_utimens(k->fd, NULL, k->st.st_mtim.tv_sec, (uint32_t)k->st.st_mtim.tv_nsec);
}

struct remover {
	struct dest *D;
	bool dry;     /* only find out */
	bool stays;   /* something has to stay */
	bool counted; /* taken off what --max-delete allows before */
	uint64_t met; /* entries that went or, dry, would go */
	bool limit_hit;
	struct item it;
};

static int remove_one(struct remover *r, struct dir *d, struct bytes name, struct err *e);

/* Everything inside a directory; 0, or -1. */
static int remove_inside(struct remover *r, struct dir *d, struct err *e)
{
	struct scan sc;
	if (d->depth > TREE_DEPTH_MAX)
		return err_set(e, ERR_PARTIAL, "directories nested deeper than %d", TREE_DEPTH_MAX);
	if (scan_init(&sc, r->D->dirs, d, e) < 0)
		return -1;
	struct bytes name;
	unsigned char type;
	int more;
	int result = 0;
	while (result == 0 && (more = scan_next(&sc, &name, &type, e)) != 0) {
		if (more < 0) {
			result = -1;
			break;
		}
		CLEANUP_FREE char *kept = mem_dup(name.p, name.n);
		struct bytes own = {.p = (const uint8_t *)kept, .n = name.n};
		result = remove_one(r, d, own, e);
	}
	scan_release(&sc);
	return result;
}

/* Takes one off what --max-delete allows, whatever the deletion is for. */
static bool may_delete(struct remover *r)
{
	uint64_t left = r->counted ? UINT64_MAX : (uint64_t)r->D->deletes_left;
	while (left && left != UINT64_MAX &&
	       !atomic_compare_exchange_weak(&r->D->deletes_left, &left, left - 1))
		;
	if (left == 0)
		r->limit_hit = true;
	return left != 0;
}

static int remove_dir(struct remover *r, struct visit *v, struct bytes name, struct err *e)
{
	struct dest *D = r->D;
	struct statx here;
	bool mount = statx(v->fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &here) == 0 &&
		     here.stx_mnt_id != r->it.mount_id;
	if (mount || r->it.dev != v->d->dev || tree_opaque(&D->tree, &r->it)) {
		r->stays = true;
		if (!r->dry)
			dest_issue(D, ISSUE_PROTECTED, ERR_OK, 0, v->d, name,
				   "mount point, not deleted");
		return 0;
	}
	struct dir *child = dirs_child(D->dirs, v->d, name, e);
	if (!child)
		return -1;
	bool outer = r->stays;
	r->stays = false;
	int result = remove_inside(r, child, e);
	bool kept = r->stays;
	dir_unref(D->dirs, child);
	r->stays = outer || kept;
	r->met += r->dry;
	if (result < 0 || r->dry || r->limit_hit)
		return result;
	if (kept) {
		dest_issue(D, ISSUE_PROTECTED, ERR_OK, 0, v->d, name,
			   "kept for what is excluded in it");
		return 0;
	}
	char text[NAME_BYTES_MAX + 1];
	memcpy(text, name.p, name.n);
	text[name.n] = '\0';
	if (!may_delete(r))
		return 0;
	if (sys_unlinkat(v->fd, text, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return err_sys(e, ERR_PARTIAL, "cannot delete directory");
	D->c->stats->files_deleted++;
	return 0;
}

static int remove_one(struct remover *r, struct dir *d, struct bytes name, struct err *e)
{
	struct dest *D = r->D;
	struct visit v;
	if (visit_init(&D->tree, &v, d, e) < 0) {
		visit_release(&D->tree, &v);
		return -1;
	}
	int t = tree_read(&D->tree, &v, name, true, &r->it, e);
	int result = 0;
	char text[NAME_BYTES_MAX + 1];
	memcpy(text, name.p, name.n);
	text[name.n] = '\0';
	if (t == TREE_ERROR) {
		result = -1;
	} else if (t == TREE_RESERVED) {
		if (!r->dry)
			sys_unlinkat(v.fd, text, 0);
	} else if (t == TREE_SKIP) {
		r->stays = true;
	} else if (t == TREE_ENTRY && r->it.meta.type == ENTRY_DIR) {
		result = remove_dir(r, &v, name, e);
	} else if (t == TREE_ENTRY && r->dry) {
		r->met++;
	} else if (t == TREE_ENTRY) {
		if (!may_delete(r)) {
			r->stays = true;
		} else if (sys_unlinkat(v.fd, text, 0) < 0 && errno != ENOENT) {
			result = err_sys(e, ERR_PARTIAL, "cannot delete");
		} else {
			D->c->stats->files_deleted++;
		}
	}
	visit_release(&D->tree, &v);
	return result;
}

static void remover_init(struct remover *r, struct dest *D, bool dry)
{
	*r = (struct remover){.D = D, .dry = dry};
	item_init(&r->it);
}

int remove_entry(struct dest *D, struct dir *d, struct bytes name, struct err *e)
{
	struct remover r;
	remover_init(&r, D, false);
	int result = remove_one(&r, d, name, e);
	item_release(&r.it);
	return result < 0 ? -1 : r.stays;
}

int remove_content(struct dest *D, struct dir *d, struct err *e)
{
	struct remover r;
	remover_init(&r, D, false);
	r.counted = true;
	int result = remove_inside(&r, d, e);
	item_release(&r.it);
	return result;
}

void remove_temp_dir(struct dest *D, struct dir *d, struct bytes name)
{
	struct err why;
	struct dir *old = dirs_child(D->dirs, d, name, &why);
	if (!old)
		return;
	char text[NAME_BYTES_MAX + 1];
	memcpy(text, name.p, name.n);
	text[name.n] = '\0';
	int fd = dir_pin(D->dirs, d, &why);
	if (fd >= 0 && remove_content(D, old, &why) == 0)
		sys_unlinkat(fd, text, AT_REMOVEDIR);
	if (fd >= 0)
		dir_unpin(D->dirs, d);
	dir_unref(D->dirs, old);
}

bool removable(struct dest *D, struct dir *d, struct bytes name)
{
	struct remover r;
	remover_init(&r, D, true);
	struct err why;
	int result = remove_one(&r, d, name, &why);
	item_release(&r.it);
	if (result < 0 || r.stays)
		return false;
	uint64_t left = D->deletes_left;
	if (left != UINT64_MAX && r.met > left)
		return false;
	if (left != UINT64_MAX)
		D->deletes_left -=
			r.met; /* taken off now: purging what was replaced goes uncounted */
	return true;
}

static int compare_paths(const void *a, const void *b)
{
	const struct deletion *x = *(const struct deletion *const *)a;
	const struct deletion *y = *(const struct deletion *const *)b;
	CLEANUP_BUF struct buf px;
	CLEANUP_BUF struct buf py;
	buf_init(&px, 1 << 20);
	buf_init(&py, 1 << 20);
	dir_path(x->d, (struct bytes){.p = (const uint8_t *)x->name, .n = x->name_len}, &px);
	dir_path(y->d, (struct bytes){.p = (const uint8_t *)y->name, .n = y->name_len}, &py);
	size_t n = px.len < py.len ? px.len : py.len;
	int r = n ? memcmp(px.data, py.data, n) : 0;
	return r ? r : (px.len > py.len) - (px.len < py.len);
}

static int delete_one(struct dest *D, struct remover *r, struct deletion *del, struct err *e)
{
	struct bytes name = {.p = (const uint8_t *)del->name, .n = del->name_len};
	struct err why = {0};
	int fd = dir_pin(D->dirs, del->d, &why);
	if (fd < 0)
		return 0; /* a directory above it went first */
	struct kept_time kept;
	keep_time(&kept, fd);
	int result = remove_one(r, del->d, name, &why);
	restore_time(&kept);
	dir_unpin(D->dirs, del->d);
	if (result < 0)
		dest_entry_failed(D, &(struct ddir){.d = del->d}, name, &why, (struct h128){0});
	else if (r->stays)
		tree_leave_out(&D->tree, del->d, name, LEFT_OUT_WHOLE);
	r->stays = false;
	(void)e;
	return 0;
}

int run_deletions(struct dest *D, struct err *e)
{
	size_t n = 0;
	for (struct deletion *x = D->deletions; x; x = x->next)
		n++;
	if (n == 0)
		return 0;
	link_stage(D->link, STAGE_DELETE);
	CLEANUP_FREE struct deletion **all = mem_alloc(n, sizeof *all);
	size_t i = 0;
	for (struct deletion *x = D->deletions; x; x = x->next)
		all[i++] = x;
	if (D->o->max_delete != UINT64_MAX)
		qsort(all, n, sizeof all[0], compare_paths);
	struct remover r;
	remover_init(&r, D, false);
	int result = 0;
	for (i = 0; i < n && result == 0 && !r.limit_hit; i++)
		result = delete_one(D, &r, all[i], e);
	D->delete_limit = r.limit_hit;
	if (r.limit_hit) {
		struct bytes none = {0};
		dest_issue(D, ISSUE_NOTE, ERR_MAX_DELETE, 0, D->root->d, none,
			   "more deletions than --max-delete allows; the rest is kept");
		for (size_t k = i ? i - 1 : 0; k < n; k++) {
			struct bytes name = {.p = (const uint8_t *)all[k]->name,
					     .n = all[k]->name_len};
			tree_leave_out(&D->tree, all[k]->d, name, LEFT_OUT_WHOLE);
		}
	}
	item_release(&r.it);
	return result;
}
