/* SPDX-License-Identifier: Apache-2.0 */
/* Giving a finished temp its name. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dest_int.h"
#include "journal.h"
#include "mem.h"
#include "sys.h"

/* The old object moved out of the way under `temp`: it goes. */
static int purge_old(struct dest *D, struct ddir *dd, const char *temp, uint8_t own_type,
		     struct err *e)
{
	int dirfd = dir_pin(D->dirs, dd->d, e);
	if (dirfd < 0)
		return -1;
	int r = 0;
	if (own_type != ENTRY_DIR) {
		r = sys_unlinkat(dirfd, temp, 0);
		if (r < 0)
			err_sys(e, ERR_PARTIAL, "cannot remove what stood in the way");
	} else {
		struct err why;
		struct bytes name = {.p = (const uint8_t *)temp, .n = strlen(temp)};
		struct dir *old = dirs_child(D->dirs, dd->d, name, &why);
		if (old) {
			r = remove_content(D, old, &why);
			dir_unref(D->dirs, old);
		}
		if (!old || r < 0 || sys_unlinkat(dirfd, temp, AT_REMOVEDIR) < 0)
			r = err_sys(e, ERR_PARTIAL,
				    "cannot remove the directory that stood in the way");
	}
	dir_unpin(D->dirs, dd->d);
	return r;
}

int land_temp(struct dest *D, struct ddir *dd, int dirfd, const char *temp, const char *name,
	      uint8_t own_type, bool new_is_dir, struct err *e)
{
	if (own_type == 0) {
		if (sys_renameat(dirfd, temp, dirfd, name, RENAME_NOREPLACE) == 0)
			return 0;
		if (errno == EINVAL || errno == ENOSYS) {
			/* The filesystem cannot refuse to replace: look first. */
			struct stat st;
			if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
				errno = EEXIST;
			else if (sys_renameat(dirfd, temp, dirfd, name, 0) == 0)
				return 0;
		}
		if (errno == EEXIST)
			return err_set(e, ERR_PARTIAL,
				       "the destination holds another name that it takes for this "
				       "one (case or normal form)");
		return err_sys(e, ERR_FAILURE, "cannot rename into place");
	}
	if (own_type != ENTRY_DIR && !new_is_dir) {
		if (sys_renameat(dirfd, temp, dirfd, name, 0) < 0)
			return err_sys(e, ERR_FAILURE, "cannot rename into place");
		return 0;
	}
	if (sys_renameat(dirfd, temp, dirfd, name, RENAME_EXCHANGE) < 0)
		return err_sys(e, ERR_FAILURE, "cannot exchange with what stands in the way");
	return purge_old(D, dd, temp, own_type, e);
}

/* Keeps the inode reachable for the other names of its group. */
static void anchor(struct dest *D, struct dfile *f, int dirfd)
{
	struct err why;
	char name[TEMP_NAME_MAX];
	anchor_name(f->group, name);
	int state = dest_state(D, &why);
	if (state >= 0)
		sys_unlinkat(state, name, 0);
	bool ok = state >= 0 && sys_linkat(dirfd, f->name, state, name) == 0;
	group_set(D, f->group, ok ? GROUP_ANCHORED : GROUP_LOST);
}

static int same_inode(int dir_a, const char *a, int dir_b, const char *b)
{
	struct stat x;
	struct stat y;
	return fstatat(dir_a, a, &x, AT_SYMLINK_NOFOLLOW) == 0 &&
	       fstatat(dir_b, b, &y, AT_SYMLINK_NOFOLLOW) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

static int land_link(struct dest *D, struct dfile *f, int dirfd, struct err *e)
{
	char name[TEMP_NAME_MAX];
	char temp[TEMP_NAME_MAX];
	anchor_name(f->group, name);
	int state = dest_state(D, e);
	if (state < 0)
		return -1;
	if (f->own_type && same_inode(state, name, dirfd, f->name))
		return 0;
	temp_name(D, ++D->temps, temp);
	if (sys_linkat(state, name, dirfd, temp) < 0)
		return err_sys(e, ERR_PARTIAL, "cannot make a hard link");
	int r = land_temp(D, f->dd, dirfd, temp, f->name, f->own_type, false, e);
	/* A rename onto the same inode does nothing and leaves the temp. */
	sys_unlinkat(dirfd, temp, 0);
	return r;
}

int land_file(struct dest *D, struct dfile *f, struct err *e)
{
	int dirfd = dir_pin(D->dirs, f->dd->d, e);
	if (dirfd < 0)
		return -1;
	int r;
	if (f->link) {
		r = land_link(D, f, dirfd, e);
	} else if (f->way == WAY_JOURNAL) {
		struct meta m;
		struct cursor c = cursor_of(f->meta, f->meta_len);
		meta_decode(&m, &c);
		r = attr_apply(f->basis_fd, -1, NULL, &m, NULL, &D->mask, e);
		if (r == 0) {
			journal_discard(D, f->journal);
			f->journal = NULL;
		}
	} else {
		char temp[TEMP_NAME_MAX];
		temp_name(D, f->temp, temp);
		r = land_temp(D, f->dd, dirfd, temp, f->name, f->own_type, false, e);
		if (r < 0)
			sys_unlinkat(dirfd, temp, 0);
	}
	if (r == 0 && f->group && !f->link)
		anchor(D, f, dirfd);
	dir_unpin(D->dirs, f->dd->d);
	return r;
}
