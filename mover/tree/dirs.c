/* SPDX-License-Identifier: Apache-2.0 */
#include "dirs.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem.h"
#include "sys.h"
#include "text.h"

struct dirs {
	const struct hash_key *key;
	struct dir *root;
	pthread_mutex_t lock;
	/* Guarded by lock. */
	struct dir *oldest, *newest;
	unsigned open_count;
};

static void lru_remove(struct dirs *ds, struct dir *d)
{
	if (d->older)
		d->older->newer = d->newer;
	else if (ds->oldest == d)
		ds->oldest = d->newer;
	if (d->newer)
		d->newer->older = d->older;
	else if (ds->newest == d)
		ds->newest = d->older;
	d->older = d->newer = NULL;
}

static void lru_add(struct dirs *ds, struct dir *d)
{
	d->older = ds->newest;
	d->newer = NULL;
	if (ds->newest)
		ds->newest->newer = d;
	else
		ds->oldest = d;
	ds->newest = d;
}

/* Closes the longest unused fds until one more may be opened. The root is never on the list. */
static void make_room(struct dirs *ds)
{
	while (ds->open_count >= DIRS_OPEN_MAX && ds->oldest) {
		struct dir *d = ds->oldest;
		lru_remove(ds, d);
		close(d->fd);
		d->fd = -1;
		ds->open_count--;
	}
}

struct dirs *dirs_new(int root_fd, const struct hash_key *key, struct err *e)
{
	struct stat st;
	if (fstat(root_fd, &st) < 0) {
		err_sys(e, ERR_FAILURE, "cannot stat the root directory");
		close(root_fd);
		return NULL;
	}
	struct dirs *ds = mem_alloc(1, sizeof *ds);
	pthread_mutex_init(&ds->lock, NULL);
	ds->key = key;
	ds->root = mem_alloc(1, sizeof *ds->root);
	*ds->root = (struct dir){.name = mem_strdup(""),
				 .dev = st.st_dev,
				 .ino = st.st_ino,
				 .fd = root_fd,
				 .refs = 1,
				 .pins = 1};
	return ds;
}

void dirs_free(struct dirs *ds)
{
	if (!ds)
		return;
	close(ds->root->fd);
	free(ds->root->name);
	free(ds->root);
	pthread_mutex_destroy(&ds->lock);
	free(ds);
}

void dirs_set_key(struct dirs *ds, const struct hash_key *key)
{
	ds->key = key;
}

struct dir *dirs_root(struct dirs *ds)
{
	return dir_ref(ds, ds->root);
}

struct dir *dir_ref(struct dirs *ds, struct dir *d)
{
	pthread_mutex_lock(&ds->lock);
	d->refs++;
	pthread_mutex_unlock(&ds->lock);
	return d;
}

void dir_unref(struct dirs *ds, struct dir *d)
{
	while (d) {
		pthread_mutex_lock(&ds->lock);
		bool last = --d->refs == 0;
		if (last && d->fd >= 0) {
			lru_remove(ds, d);
			close(d->fd);
			ds->open_count--;
		}
		pthread_mutex_unlock(&ds->lock);
		if (!last)
			return;
		struct dir *parent = d->parent;
		free(d->name);
		free(d);
		d = parent;
	}
}

/* Opens name below an fd as a directory and nothing else. */
static int open_component(int parent_fd, const char *name)
{
	return sys_openat(parent_fd, name,
			  O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
}

/* Called with the lock held. The chain of closed ancestors is opened from the top. */
static int open_locked(struct dirs *ds, struct dir *d, struct err *e)
{
	while (d->fd < 0) {
		struct dir *top = d;
		while (top->parent->fd < 0)
			top = top->parent;
		/* Held, so that making room for the child does not close it again. */
		struct dir *above = top->parent;
		if (above->pins++ == 0)
			lru_remove(ds, above);
		make_room(ds);
		int fd = open_component(above->fd, top->name);
		int sys = errno;
		if (--above->pins == 0)
			lru_add(ds, above);
		errno = sys;
		struct stat st;
		if (fd < 0 || fstat(fd, &st) < 0) {
			sys = errno;
			if (fd >= 0)
				close(fd);
			errno = sys;
			return err_sys(e, ERR_FAILURE, "cannot open directory");
		}
		if (st.st_dev != top->dev || st.st_ino != top->ino) {
			close(fd);
			errno = ESTALE;
			return err_sys(e, ERR_FAILURE, "directory was replaced meanwhile");
		}
		top->fd = fd;
		ds->open_count++;
		if (top->pins == 0)
			lru_add(ds, top);
	}
	return 0;
}

int dir_pin(struct dirs *ds, struct dir *d, struct err *e)
{
	pthread_mutex_lock(&ds->lock);
	int fd = -1;
	if (open_locked(ds, d, e) == 0) {
		if (d->pins++ == 0)
			lru_remove(ds, d);
		fd = d->fd;
	}
	pthread_mutex_unlock(&ds->lock);
	return fd;
}

void dir_unpin(struct dirs *ds, struct dir *d)
{
	pthread_mutex_lock(&ds->lock);
	if (--d->pins == 0)
		lru_add(ds, d);
	pthread_mutex_unlock(&ds->lock);
}

struct dir *dirs_child(struct dirs *ds, struct dir *parent, struct bytes name, struct err *e)
{
	CLEANUP_FREE char *text = mem_dup(name.p, name.n);
	int parent_fd = dir_pin(ds, parent, e);
	if (parent_fd < 0)
		return NULL;
	int fd = open_component(parent_fd, text);
	int sys = errno;
	dir_unpin(ds, parent);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0) {
		errno = fd < 0 ? sys : errno;
		char path[256];
		err_sys(e, ERR_FAILURE, "cannot open directory %s",
			dir_path_text(parent, name, path));
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	struct dir *d = mem_alloc(1, sizeof *d);
	*d = (struct dir){.parent = dir_ref(ds, parent),
			  .name = text,
			  .name_len = name.n,
			  .depth = parent->depth + 1,
			  .dev = st.st_dev,
			  .ino = st.st_ino,
			  .fd = fd,
			  .refs = 1};
	text = NULL;
	if (ds->key)
		d->id = hash_path(ds->key, parent->id, name.p, name.n);
	pthread_mutex_lock(&ds->lock);
	make_room(ds);
	ds->open_count++;
	lru_add(ds, d);
	pthread_mutex_unlock(&ds->lock);
	return d;
}

struct dir *dirs_name_only(struct dirs *ds, struct dir *parent, struct bytes name)
{
	struct dir *d = mem_alloc(1, sizeof *d);
	*d = (struct dir){.parent = dir_ref(ds, parent),
			  .name = mem_dup(name.p, name.n),
			  .name_len = name.n,
			  .depth = parent->depth + 1,
			  .fd = -1,
			  .refs = 1};
	return d;
}

void dir_path(const struct dir *d, struct bytes name, struct buf *out)
{
	size_t total = name.n;
	for (const struct dir *a = d; a->parent; a = a->parent)
		total += a->name_len + 1;
	if (total && name.n == 0)
		total--;
	size_t at = out->len;
	if (total == 0 || buf_reserve(out, total) < 0)
		return;
	out->len = at + total;
	uint8_t *end = out->data + out->len;
	if (name.n) {
		end -= name.n;
		memcpy(end, name.p, name.n);
	}
	bool slash = name.n > 0;
	for (const struct dir *a = d; a->parent; a = a->parent) {
		if (slash)
			*--end = '/';
		end -= a->name_len;
		memcpy(end, a->name, a->name_len);
		slash = true;
	}
}

char *dir_path_text(const struct dir *d, struct bytes name, char out[256])
{
	CLEANUP_BUF struct buf path;
	buf_init(&path, 1 << 20);
	dir_path(d, name, &path);
	if (path.len == 0)
		buf_puts(&path, ".");
	return text_escape(out, 240, path.data, path.len);
}
