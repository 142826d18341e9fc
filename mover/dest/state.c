/* SPDX-License-Identifier: Apache-2.0 */
#include "state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dest_int.h"
#include "journal.h"
#include "mem.h"
#include "scan.h"
#include "sys.h"

static void copy_name(char out[NAME_BYTES_MAX + 1], struct bytes name)
{
	memcpy(out, name.p, name.n);
	out[name.n] = '\0';
}

/* Names that this program gives: journals "j-" and digits, anchors "l-" and 16 hex digits. */
static bool own_state(const char *name)
{
	if (name[0] == '\0' || name[1] != '-')
		return false;
	size_t n = strlen(name + 2);
	if (name[0] == 'j')
		return n > 0 && strspn(name + 2, "0123456789") == n;
	return name[0] == 'l' && n == 16 && strspn(name + 2, "0123456789abcdef") == n;
}

int state_recover(int root_fd, struct recover_result *result, struct err *e)
{
	*result = (struct recover_result){0};
	int fd = sys_openat(root_fd, TREE_STATE_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return errno == ENOENT ? 0
				       : err_sys(e, ERR_FAILURE, "cannot open %s", TREE_STATE_DIR);
	struct stat root;
	if (fstat(root_fd, &root) < 0) {
		close(fd);
		return err_sys(e, ERR_FAILURE, "cannot stat the destination");
	}
	struct dirs *ds = dirs_new(fd, NULL, e);
	struct dir *d = ds ? dirs_root(ds) : NULL;
	struct scan sc;
	int r = ds ? scan_init(&sc, ds, d, e) : -1;
	if (r == 0) {
		struct bytes name;
		unsigned char type;
		while (r == 0 && scan_next(&sc, &name, &type, e) > 0) {
			char text[NAME_BYTES_MAX + 1];
			copy_name(text, name);
			if (!own_state(text)) {
				r = err_set(e, ERR_FAILURE,
					    "%s holds something that scribe-mover did not make; "
					    "move it away",
					    TREE_STATE_DIR);
				break;
			}
			if (text[0] == 'j') {
				int done = journal_replay(root_fd, fd, text, e);
				r = done < 0 ? -1 : 0;
				result->journals_replayed += done > 0;
				result->journals_dropped += done == 0;
			}
			if (r == 0 && sys_unlinkat(fd, text, 0) < 0 && errno != ENOENT)
				r = err_sys(e, ERR_FAILURE, "cannot remove %s/%s", TREE_STATE_DIR,
					    text);
		}
		scan_release(&sc);
	}
	if (ds) {
		dir_unref(ds, d);
		dirs_free(ds);
	}
	if (r == 0 && sys_unlinkat(root_fd, TREE_STATE_DIR, AT_REMOVEDIR) < 0)
		r = err_sys(e, ERR_FAILURE, "cannot remove %s", TREE_STATE_DIR);
	if (r == 0)
		sys_utimens(root_fd, NULL, root.st_mtim.tv_sec, (uint32_t)root.st_mtim.tv_nsec);
	return r;
}

static int clean_dir(struct dirs *ds, struct dir *d, struct recover_result *result, struct err *e);

static int clean_child(struct dirs *ds, struct dir *d, struct bytes name,
		       struct recover_result *result, struct err *e)
{
	struct err why;
	struct dir *child = dirs_child(ds, d, name, &why);
	if (!child)
		return 0; /* gone, or not ours to read: nothing of ours was written there */
	int r = child->dev == d->dev ? clean_dir(ds, child, result, e) : 0;
	dir_unref(ds, child);
	return r;
}

static int clean_dir(struct dirs *ds, struct dir *d, struct recover_result *result, struct err *e)
{
	struct scan sc;
	int fd = dir_pin(ds, d, e);
	if (fd < 0)
		return -1;
	struct stat st;
	bool known = fstat(fd, &st) == 0;
	uint64_t before = result->temps_removed;
	/* Nothing of ours was written deeper. */
	bool deep = d->depth > TREE_DEPTH_MAX;
	int r = deep ? 0 : scan_init(&sc, ds, d, e);
	struct bytes name;
	unsigned char type;
	while (r == 0 && !deep && scan_next(&sc, &name, &type, e) > 0) {
		char text[NAME_BYTES_MAX + 1];
		copy_name(text, name);
		struct bytes own = {.p = (const uint8_t *)text, .n = name.n};
		if (tree_reserved(d, own) && strcmp(text, TREE_STATE_DIR) != 0) {
			if (sys_unlinkat(fd, text, 0) == 0 ||
			    (errno == EISDIR && sys_unlinkat(fd, text, AT_REMOVEDIR) == 0))
				result->temps_removed++;
		} else if (type == DT_DIR || type == DT_UNKNOWN) {
			r = clean_child(ds, d, own, result, e);
		}
	}
	if (r == 0 && !deep)
		scan_release(&sc);
	if (known && result->temps_removed != before)
		sys_utimens(fd, NULL, st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec);
	dir_unpin(ds, d);
	return r;
}

int state_remove_temps(int root_fd, struct recover_result *result, struct err *e)
{
	int own = sys_openat(root_fd, ".", O_RDONLY | O_DIRECTORY, 0);
	if (own < 0)
		return err_sys(e, ERR_FAILURE, "cannot open the destination");
	struct dirs *ds = dirs_new(own, NULL, e);
	if (!ds)
		return -1;
	struct dir *root = dirs_root(ds);
	int r = clean_dir(ds, root, result, e);
	dir_unref(ds, root);
	dirs_free(ds);
	return r;
}

int dest_recover(int root_fd, struct recover_result *result, struct err *e)
{
	if (flock(root_fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return err_set(e, ERR_BUSY, "a run is replicating into this directory");
	int r = state_recover(root_fd, result, e);
	if (r == 0)
		r = state_remove_temps(root_fd, result, e);
	if (r == 0 && sys_syncfs(root_fd) < 0)
		r = err_sys(e, ERR_FAILURE, "cannot sync");
	flock(root_fd, LOCK_UN);
	return r;
}
