/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk: both trees at the same time, depth first, names in bytewise order. The stack is on the
 * heap, and only its top levels keep their directories open; a closed one is opened again through
 * ".." of its child or, if that is no longer the same directory, by components from the root.
 */
#include "treediff.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "diff_job.h"
#include "diff_names.h"
#include "mem.h"
#include "text.h"

enum {
	OPEN_LEVELS = 16,
	NAME_BUDGET = 40 << 20,
};

struct level_side {
	int fd; /* -1 while closed */
	struct statx st;
	struct diff_names names;
	size_t at; /* next of names */
};

struct level {
	struct level_side s[2];
	size_t path_len;
	char *after; /* the last name of the batch at hand, NULL before the first */
	bool more;   /* names behind it are still to be read */
};

struct walk {
	struct diff_job job;
	struct level *level;
	size_t depth;
	size_t cap;
	size_t held;    /* bytes of names on all levels */
	int closing[2]; /* the directories of the level left last, for their ".." */
};

static void close_pair(int fd[2])
{
	mem_cleanup_close(&fd[0]);
	mem_cleanup_close(&fd[1]);
}

static void drop_names(struct walk *w, struct level *l)
{
	for (int i = 0; i < 2; i++) {
		w->held -= diff_names_held(&l->s[i].names);
		diff_names_release(&l->s[i].names);
		l->s[i].at = 0;
	}
}

/* Adds a level for the directories fd, which it takes over, at the path at hand. */
static void push(struct walk *w, const int fd[2], const struct diff_object o[2])
{
	if (w->depth == w->cap) {
		w->cap = w->cap ? w->cap * 2 : 32;
		w->level = mem_realloc(w->level, w->cap, sizeof(*w->level));
	}
	struct level *l = &w->level[w->depth++];
	memset(l, 0, sizeof(*l));
	for (int i = 0; i < 2; i++) {
		l->s[i].fd = fd[i];
		l->s[i].st = o[i].st;
	}
	l->path_len = w->job.path.len;
	l->more = true;
	/* The root stays open for the walk by components. */
	if (w->depth > OPEN_LEVELS + 1) {
		struct level *far = &w->level[w->depth - 1 - OPEN_LEVELS];
		mem_cleanup_close(&far->s[0].fd);
		mem_cleanup_close(&far->s[1].fd);
	}
}

static void pop(struct walk *w)
{
	struct level *l = &w->level[--w->depth];
	drop_names(w, l);
	free(l->after);
	close_pair(w->closing);
	for (int i = 0; i < 2; i++)
		w->closing[i] = l->s[i].fd;
}

static bool is_directory(int fd, const struct statx *expected)
{
	struct statx st;
	return diff_stat_fd(fd, &st) == 0 && diff_same_inode(&st, expected);
}

static int open_checked(int dirfd, const char *name, const struct statx *expected)
{
	int fd = diff_open(dirfd, name, O_DIRECTORY);
	if (fd >= 0 && !is_directory(fd, expected)) {
		close(fd);
		errno = ESTALE;
		return -1;
	}
	return fd;
}

/* Opens the directory at path below root by its components. */
static int open_by_path(int root, const char *path, size_t len, const struct statx *expected)
{
	CLEANUP_FREE char *copy = mem_dup(path, len);
	CLEANUP_FD int dir = -1;
	char *name = copy;
	for (;;) {
		char *slash = strchr(name, '/');
		int from = dir >= 0 ? dir : root;
		if (!slash)
			return open_checked(from, name, expected);
		*slash = '\0';
		int next = diff_open(from, name, O_DIRECTORY);
		if (next < 0)
			return -1;
		mem_cleanup_close(&dir);
		dir = next;
		name = slash + 1;
	}
}

/* Opens the top level's directories again if they were closed. 0, or -1 after reporting. */
static int reopen(struct walk *w, struct level *l)
{
	for (int i = 0; i < 2; i++) {
		struct level_side *s = &l->s[i];
		if (s->fd < 0 && w->closing[i] >= 0)
			s->fd = open_checked(w->closing[i], "..", &s->st);
		if (s->fd < 0)
			s->fd = open_by_path(w->level[0].s[i].fd, buf_str(&w->job.path),
					     l->path_len, &s->st);
		if (s->fd < 0) {
			w->job.path.len = l->path_len;
			diff_failed_sys(&w->job, i, "cannot open the directory again");
			return -1;
		}
	}
	return 0;
}

/* Reads the next batch of names of both sides, up to the same last name. 0, or -1 after reporting.
 */
static int refill(struct walk *w, struct level *l)
{
	size_t budget = w->job.opt->name_budget ? w->job.opt->name_budget : NAME_BUDGET;
	drop_names(w, l);
	size_t max = budget > w->held ? (budget - w->held) / 2 : 0;
	for (int i = 0; i < 2; i++) {
		struct level_side *s = &l->s[i];
		if (diff_names_read(&s->names, s->fd, l->after, max, w->job.data[i], DIFF_IO) < 0) {
			w->job.path.len = l->path_len;
			diff_failed_sys(&w->job, i, "cannot read the directory");
			return -1;
		}
		w->held += diff_names_held(&s->names);
	}
	const char *last = NULL;
	for (int i = 0; i < 2; i++) {
		const struct diff_names *n = &l->s[i].names;
		const char *end = n->more ? diff_names_get(n, n->n - 1) : NULL;
		if (end && (!last || strcmp(end, last) < 0))
			last = end;
	}
	l->more = last != NULL;
	free(l->after);
	l->after = last ? mem_strdup(last) : NULL;
	for (int i = 0; last && i < 2; i++)
		diff_names_limit(&l->s[i].names, l->after);
	return 0;
}

static bool is_reserved(const char *name)
{
	return strcmp(name, "lost+found") == 0 || strcmp(name, ".scribe-mover") == 0;
}

/* Another file system than the directory it lies in? Btrfs subvolumes differ by device only. */
static bool is_mount(const struct statx *st, const struct statx *parent)
{
	if (st->stx_dev_major != parent->stx_dev_major ||
	    st->stx_dev_minor != parent->stx_dev_minor)
		return true;
	return (st->stx_mask & parent->stx_mask & STATX_MNT_ID) &&
	       st->stx_mnt_id != parent->stx_mnt_id;
}

static bool in_scope(struct diff_job *job, const struct diff_object *o)
{
	const struct treediff_options *opt = job->opt;
	return !opt->filter ||
	       opt->filter(opt->arg, buf_str(&job->path), job->path.len, S_ISDIR(o->st.stx_mode));
}

/* Two directories with equal names: goes down into them, unless they are mount points. */
static void descend(struct walk *w, const struct diff_object o[2])
{
	const struct level *l = &w->level[w->depth - 1];
	if (!w->job.opt->cross_mounts &&
	    (is_mount(&o[0].st, &l->s[0].st) || is_mount(&o[1].st, &l->s[1].st))) {
		w->job.result->mounts++;
		return;
	}
	if (w->job.path.len > TREEDIFF_PATH_MAX) {
		diff_failed(&w->job, 0, "the path is too long to go down");
		return;
	}
	int fd[2] = {-1, -1};
	for (int i = 0; i < 2; i++) {
		fd[i] = open_checked(o[i].dirfd, o[i].name, &o[i].st);
		if (fd[i] < 0) {
			diff_failed_sys(&w->job, i, "cannot open the directory");
			close_pair(fd);
			return;
		}
	}
	push(w, fd, o);
}

/* Compares one name of the top level; there[side] tells who has it. */
static void visit(struct walk *w, const char *name, const bool there[2])
{
	struct level *l = &w->level[w->depth - 1];
	struct diff_job *job = &w->job;
	bool has[2];
	struct diff_object o[2];
	job->path.len = l->path_len;
	if (w->depth == 1 && is_reserved(name))
		return;
	if (l->path_len)
		buf_put_u8(&job->path, '/');
	buf_puts(&job->path, name);
	for (int i = 0; i < 2; i++) {
		o[i].dirfd = l->s[i].fd;
		o[i].name = name;
		if (there[i] && diff_stat(&o[i]) < 0) {
			diff_failed_sys(job, i, "listed but cannot be read");
			return;
		}
		has[i] = there[i] && in_scope(job, &o[i]);
	}
	if (has[0] && has[1]) {
		diff_entry(job, o);
		if (S_ISDIR(o[0].st.stx_mode) && S_ISDIR(o[1].st.stx_mode))
			descend(w, o);
	} else if (has[0]) {
		diff_report(job, TREEDIFF_MISSING, diff_type_word(o[0].st.stx_mode), "-");
	} else if (has[1]) {
		diff_report(job, TREEDIFF_EXTRA, "-", diff_type_word(o[1].st.stx_mode));
	}
}

/* Takes the next name of the batch from both sides and compares it; false if there is none. */
static bool step(struct walk *w, struct level *l)
{
	struct level_side *a = &l->s[0];
	struct level_side *b = &l->s[1];
	bool end_a = a->at == a->names.n;
	bool end_b = b->at == b->names.n;
	if (end_a && end_b)
		return false;
	int order = end_a   ? 1
		    : end_b ? -1
			    : strcmp(diff_names_get(&a->names, a->at),
				     diff_names_get(&b->names, b->at));
	bool there[2] = {order <= 0, order >= 0};
	const char *name =
		order <= 0 ? diff_names_get(&a->names, a->at) : diff_names_get(&b->names, b->at);
	a->at += there[0];
	b->at += there[1];
	visit(w, name, there);
	return true;
}

static void walk_all(struct walk *w)
{
	while (w->depth && !diff_stopped(&w->job)) {
		struct level *l = &w->level[w->depth - 1];
		if ((l->s[0].fd < 0 || l->s[1].fd < 0) && reopen(w, l) < 0) {
			pop(w);
			continue;
		}
		if (step(w, l))
			continue;
		if (!l->more || refill(w, l) < 0)
			pop(w);
	}
	while (w->depth)
		pop(w);
	close_pair(w->closing);
}

static int open_root(const char *path, struct diff_object *o, struct err *e)
{
	char text[TEXT_ESCAPED_MAX];
	const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK;
	int fd = open(path, flags | O_NOATIME);
	if (fd < 0 && errno == EPERM)
		fd = open(path, flags);
	o->dirfd = fd;
	o->name = ".";
	if (fd >= 0 && diff_stat(o) == 0)
		return fd;
	err_sys(e, ERR_FAILURE, "cannot open directory %s",
		text_escape(text, sizeof(text), path, strlen(path)));
	mem_cleanup_close(&fd);
	return -1;
}

int treediff_run(const char *a, const char *b, const struct treediff_options *opt,
		 struct treediff_result *result, struct err *e)
{
	static const struct treediff_options usual = {0};
	struct diff_object o[2];
	int fd[2];
	memset(result, 0, sizeof(*result));
	fd[0] = open_root(a, &o[0], e);
	if (fd[0] < 0)
		return -1;
	fd[1] = open_root(b, &o[1], e);
	if (fd[1] < 0) {
		close(fd[0]);
		return -1;
	}
	struct walk w = {.closing = {-1, -1}};
	diff_job_init(&w.job, opt ? opt : &usual, result);
	diff_entry(&w.job, o);
	push(&w, fd, o);
	walk_all(&w);
	free(w.level);
	diff_job_release(&w.job);
	return 0;
}
