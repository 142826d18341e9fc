/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the tests of this folder: a pair of empty directories A and B on a real file system, what a
 * comparison of them reported, and raw ways to make odd entries.
 */
#ifndef SCRIBE_DIFFTEST_H
#define SCRIBE_DIFFTEST_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "treediff.h"

struct pair {
	char base[256];
	char path[2][264];
	int fd[2];
};

/* Lines "ATTR path" in the order of the reports, paths raw, "." for the root. */
struct found {
	char line[64][320];
	size_t n;
	char a[128]; /* texts of the last difference */
	char b[128];
	char failure[320]; /* the last one */
	struct treediff_result result;
};

static inline void remove_all(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		unlinkat(dirfd, name, 0);
		return;
	}
	DIR *d = fdopendir(fd);
	struct dirent *entry;
	while (d && (entry = readdir(d)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			remove_all(fd, entry->d_name);
	closedir(d);
	unlinkat(dirfd, name, AT_REMOVEDIR);
}

/* In TMPDIR, /var/tmp (seldom a tmpfs) or /tmp. False if no directory can be made. */
static inline bool pair_open(struct pair *p)
{
	const char *const places[] = {getenv("TMPDIR"), "/var/tmp", "/tmp"};
	bool made = false;
	for (size_t i = 0; i < 3 && !made; i++) {
		if (!places[i] || !*places[i])
			continue;
		snprintf(p->base, sizeof(p->base), "%s/treediff.XXXXXX", places[i]);
		made = mkdtemp(p->base) != NULL;
	}
	if (!made)
		return false;
	for (int i = 0; i < 2; i++) {
		snprintf(p->path[i], sizeof(p->path[i]), "%s/%c", p->base, "ab"[i]);
		mkdir(p->path[i], 0755);
		p->fd[i] = open(p->path[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	return p->fd[0] >= 0 && p->fd[1] >= 0;
}

static inline void pair_close(struct pair *p)
{
	close(p->fd[0]);
	close(p->fd[1]);
	remove_all(AT_FDCWD, p->base);
}

static inline void on_item(void *arg, const struct treediff_item *item)
{
	struct found *f = arg;
	if (f->n < 64)
		snprintf(f->line[f->n], sizeof(f->line[0]), "%s %s", treediff_attr_word(item->attr),
			 item->path_len ? item->path : ".");
	f->n++;
	snprintf(f->a, sizeof(f->a), "%s", item->a);
	snprintf(f->b, sizeof(f->b), "%s", item->b);
}

static inline void on_failed(void *arg, const struct treediff_failure *failure)
{
	struct found *f = arg;
	snprintf(f->failure, sizeof(f->failure), "%c %s %s", failure->side, failure->path,
		 failure->message);
}

/* Compares; opt's callbacks are set here, its filter gets *f too. Returns treediff_run's value. */
static inline int compare(const struct pair *p, struct treediff_options opt, struct found *f)
{
	struct err e = {0};
	f->n = 0;
	f->failure[0] = f->a[0] = f->b[0] = '\0';
	opt.report = on_item;
	opt.failed = on_failed;
	opt.arg = f;
	return treediff_run(p->path[0], p->path[1], &opt, &f->result, &e);
}

static inline int put_file(int dirfd, const char *name, const void *data, size_t n)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	ssize_t put = fd < 0 ? -1 : write(fd, data, n);
	if (fd >= 0)
		close(fd);
	return put == (ssize_t)n ? 0 : -1;
}

/* Writes n times byte at offset of an existing file. */
static inline int poke(int dirfd, const char *name, off_t at, int byte, size_t n)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CLOEXEC);
	char *data = malloc(n);
	if (data)
		memset(data, byte, n);
	ssize_t put = fd < 0 || !data ? -1 : pwrite(fd, data, n, at);
	free(data);
	if (fd >= 0)
		close(fd);
	return put == (ssize_t)n ? 0 : -1;
}

#endif
