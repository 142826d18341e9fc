/* SPDX-License-Identifier: Apache-2.0 */
#include "diff_job.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "text.h"

static const char *const words[TREEDIFF_ATTRS] = {
	[TREEDIFF_MISSING] = "missing", [TREEDIFF_EXTRA] = "extra",     [TREEDIFF_TYPE] = "type",
	[TREEDIFF_MODE] = "mode",       [TREEDIFF_UID] = "uid",         [TREEDIFF_GID] = "gid",
	[TREEDIFF_SIZE] = "size",       [TREEDIFF_CONTENT] = "content", [TREEDIFF_MTIME] = "mtime",
	[TREEDIFF_RDEV] = "rdev",       [TREEDIFF_TARGET] = "target",   [TREEDIFF_XATTR] = "xattr",
	[TREEDIFF_ACL] = "acl",         [TREEDIFF_LINKS] = "links",     [TREEDIFF_HOLES] = "holes",
};

const char *treediff_attr_word(enum treediff_attr attr)
{
	return words[attr];
}

int treediff_attr_parse(const char *word)
{
	for (int i = 0; i < TREEDIFF_ATTRS; i++)
		if (strcmp(words[i], word) == 0)
			return i;
	return -1;
}

void diff_job_init(struct diff_job *job, const struct treediff_options *opt,
		   struct treediff_result *result)
{
	job->opt = opt;
	job->result = result;
	/* Room for any name below the deepest directory, so that appending never fails. */
	buf_init(&job->path, TREEDIFF_PATH_MAX + PATH_MAX + 2);
	diff_links_init(&job->links);
	for (int side = 0; side < 2; side++) {
		job->list[side] = mem_alloc_raw(DIFF_LIST);
		job->data[side] = mem_alloc_raw(DIFF_IO);
	}
}

void diff_job_release(struct diff_job *job)
{
	buf_release(&job->path);
	diff_links_release(&job->links);
	for (int side = 0; side < 2; side++) {
		free(job->list[side]);
		free(job->data[side]);
	}
}

bool diff_stopped(const struct diff_job *job)
{
	return job->opt->stop_after && job->result->differences >= job->opt->stop_after;
}

void diff_report(struct diff_job *job, enum treediff_attr attr, const char *a, const char *b)
{
	if (!diff_wants(job, attr) || diff_stopped(job))
		return;
	job->result->differences++;
	if (!job->opt->report)
		return;
	struct treediff_item item = {
		.path = buf_str(&job->path),
		.path_len = job->path.len,
		.attr = attr,
		.a = a,
		.b = b,
	};
	job->opt->report(job->opt->arg, &item);
}

void diff_failed(struct diff_job *job, int side, const char *what)
{
	job->result->errors++;
	if (!job->opt->failed)
		return;
	struct treediff_failure failure = {
		.path = buf_str(&job->path),
		.path_len = job->path.len,
		.side = side ? 'B' : 'A',
		.message = what,
	};
	job->opt->failed(job->opt->arg, &failure);
}

void diff_failed_sys(struct diff_job *job, int side, const char *what)
{
	char text[DIFF_TEXT];
	snprintf(text, sizeof(text), "%s: %s", what, strerror(errno));
	diff_failed(job, side, text);
}

enum { STAT_MASK = STATX_BASIC_STATS | STATX_MNT_ID };

int diff_stat(struct diff_object *o)
{
	return statx(o->dirfd, o->name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STAT_MASK, &o->st);
}

int diff_stat_fd(int fd, struct statx *st)
{
	return statx(fd, "", AT_EMPTY_PATH, STAT_MASK, st);
}

int diff_open(int dirfd, const char *name, int flags)
{
	flags |= O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
	int fd = openat(dirfd, name, flags | O_NOATIME);
	if (fd < 0 && errno == EPERM)
		fd = openat(dirfd, name, flags);
	return fd;
}

int diff_proc_path(char out[PATH_MAX], const struct diff_object *o)
{
	int n = snprintf(out, PATH_MAX, "/proc/self/fd/%d/%s", o->dirfd, o->name);
	if (n > 0 && n < PATH_MAX)
		return 0;
	errno = ENAMETOOLONG;
	return -1;
}

bool diff_same_inode(const struct statx *x, const struct statx *y)
{
	return x->stx_ino == y->stx_ino && x->stx_dev_major == y->stx_dev_major &&
	       x->stx_dev_minor == y->stx_dev_minor;
}

static bool same_time(const struct statx_timestamp *x, const struct statx_timestamp *y)
{
	return x->tv_sec == y->tv_sec && x->tv_nsec == y->tv_nsec;
}

bool diff_same_state(const struct statx *x, const struct statx *y)
{
	return diff_same_inode(x, y) && x->stx_size == y->stx_size &&
	       same_time(&x->stx_mtime, &y->stx_mtime) && same_time(&x->stx_ctime, &y->stx_ctime);
}

const char *diff_type_word(unsigned mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "directory";
	case S_IFLNK:
		return "symlink";
	case S_IFIFO:
		return "fifo";
	case S_IFSOCK:
		return "socket";
	case S_IFCHR:
		return "char-device";
	case S_IFBLK:
		return "block-device";
	default:
		return "unknown";
	}
}

/* The path as printable text of any length. */
static char *printable(const char *path, size_t len)
{
	size_t cap = len * 4 + 2;
	char *out = mem_alloc_raw(cap);
	return text_escape(out, cap, len ? path : ".", len ? len : 1);
}

void treediff_print(FILE *out, const struct treediff_item *item)
{
	CLEANUP_FREE char *path = printable(item->path, item->path_len);
	fprintf(out, "%s  %s  %s  %s\n", treediff_attr_word(item->attr), path, item->a, item->b);
}

void treediff_print_failure(FILE *out, const struct treediff_failure *failure)
{
	CLEANUP_FREE char *path = printable(failure->path, failure->path_len);
	fprintf(out, "error  %s  %c: %s\n", path, failure->side, failure->message);
}
