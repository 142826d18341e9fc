/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The finisher: epochs. What is in an epoch becomes durable before it gets its name, and its names
 * become durable before it is acknowledged: data of temps and journals, sync; journals applied,
 * sync; renames, directory attributes; sync; ACK.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dest_int.h"
#include "journal.h"
#include "mem.h"
#include "sys.h"

struct epoch {
	struct dfile *files;
	uint64_t count, bytes;
};

/* Waits until there is something to close; false at the end of the session. */
static bool next_epoch(struct dest *D, struct epoch *ep)
{
	pthread_mutex_lock(&D->lock);
	for (;;) {
		struct timespec t;
		clock_gettime(CLOCK_MONOTONIC, &t);
		bool idle = D->compare_done && D->files_open == 0;
		bool full =
			(D->ready_count && D->journals_open >= EPOCH_JOURNALS) ||
			D->ready_count >= EPOCH_FILES || D->ready_bytes >= EPOCH_BYTES ||
			(D->ready_count && (uint64_t)t.tv_sec >= D->ready_since + EPOCH_SECONDS);
		if (D->stopping || full || (idle && (D->ready || D->done)) ||
		    (D->done && !D->ready))
			break;
		t.tv_sec += 1;
		pthread_cond_timedwait(&D->files_moved, &D->lock, &t);
	}
	bool go = !D->stopping;
	*ep = (struct epoch){0};
	if (go) {
		*ep = (struct epoch){.files = D->ready,
				     .count = D->ready_count,
				     .bytes = D->ready_bytes};
		D->ready = NULL;
		D->ready_end = &D->ready;
		D->ready_count = D->ready_bytes = D->ready_links = 0;
		pthread_cond_broadcast(&D->files_moved);
	}
	pthread_mutex_unlock(&D->lock);
	return go;
}

/* Makes the data of the epoch durable: one by one when they are few, else the whole filesystem. */
static int sync_data(struct dest *D, const struct epoch *ep, struct err *e)
{
	/* A journal's name must be durable too, before it is applied. */
	bool whole = ep->count >= SYNC_EACH_BELOW;
	for (struct dfile *f = ep->files; f && !whole; f = f->next)
		whole = f->way == WAY_JOURNAL;
	if (whole)
		return sys_syncfs(D->root_fd) < 0
			       ? err_sys(e, ERR_FAILURE, "cannot sync the destination")
			       : 0;
	for (struct dfile *f = ep->files; f; f = f->next) {
		if (f->link)
			continue;
		char temp[TEMP_NAME_MAX];
		temp_name(D, f->temp, temp);
		int dirfd = dir_pin(D->dirs, f->dd->d, e);
		if (dirfd < 0)
			return -1;
		int r = 0;
		if (f->way == WAY_JOURNAL) {
			r = journal_sync(f->journal, e);
		} else {
			int fd = sys_openat(dirfd, temp, O_RDONLY | O_NOFOLLOW, 0);
			/* A mode that shuts out its owner is no reason not to sync. */
			r = (fd < 0 ? sys_syncfs(D->root_fd) : sys_fdatasync(fd)) < 0
				    ? err_sys(e, ERR_FAILURE, "cannot sync a file")
				    : 0;
			if (fd >= 0)
				close(fd);
		}
		dir_unpin(D->dirs, f->dd->d);
		if (r < 0)
			return -1;
	}
	return 0;
}

static int apply_journals(struct dest *D, const struct epoch *ep, struct err *e)
{
	bool any = false;
	for (struct dfile *f = ep->files; f; f = f->next) {
		if (f->way != WAY_JOURNAL)
			continue;
		struct err why;
		if (journal_apply(D, f, &why) < 0) {
			f->broken = true;
			f->why = why;
		}
		any = true;
	}
	if (any && sys_syncfs(D->root_fd) < 0)
		return err_sys(e, ERR_FAILURE, "cannot sync the destination");
	return 0;
}

static void landed(struct dest *D, struct dfile *f)
{
	if (!f->link && !f->no_content) {
		pthread_mutex_lock(&D->lock);
		h128_add(&D->content, f->term);
		D->files_landed++;
		pthread_mutex_unlock(&D->lock);
		D->c->stats->files_transferred++;
	}
	dfile_free(D, f);
}

static void fail_landing(struct dest *D, struct dfile *f, const struct err *why)
{
	struct bytes name = {.p = (const uint8_t *)f->name, .n = f->name_len};
	struct h128 none = {0};
	if (why->code == ERR_VERIFY) {
		D->c->stats->files_failed++;
		dest_issue(D, ISSUE_FAILED, ERR_VERIFY, 0, f->dd->d, name, why->msg);
		pthread_mutex_lock(&D->lock);
		D->broken_files++;
		pthread_mutex_unlock(&D->lock);
	} else {
		dest_entry_failed(D, f->dd, name, why, f->link || f->no_content ? none : f->term);
	}
	if (f->group && !f->link)
		group_set(D, f->group, GROUP_LOST);
	dfile_free(D, f);
}

/* Links wait until their group's first name has landed; what must wait goes back on the list. */
static void land_links(struct dest *D, struct dfile *links)
{
	while (links) {
		struct dfile *f = links;
		links = f->next;
		pthread_mutex_lock(&D->lock);
		enum group_state s = (enum group_state)(uintptr_t)ptrmap_get(&D->groups, f->group);
		if (s == GROUP_PENDING) {
			f->next = NULL;
			*D->ready_end = f;
			D->ready_end = &f->next;
			D->ready_links++;
			if (D->ready_count++ == 0)
				D->ready_since = run_now_ns() / 1000000000u;
		}
		pthread_mutex_unlock(&D->lock);
		if (s == GROUP_PENDING)
			continue;
		struct err why = {0};
		if (s == GROUP_LOST)
			err_set(&why, ERR_PARTIAL,
				"the file it is a hard link to could not be replicated");
		if (s == GROUP_LOST || land_file(D, f, &why) < 0)
			fail_landing(D, f, &why);
		else
			landed(D, f);
	}
}

static void land_all(struct dest *D, struct epoch *ep)
{
	struct dfile *links = NULL;
	struct dfile **end = &links;
	while (ep->files) {
		struct dfile *f = ep->files;
		ep->files = f->next;
		if (f->link) {
			f->next = NULL;
			*end = f;
			end = &f->next;
			continue;
		}
		struct err why = {0};
		if (f->broken)
			fail_landing(D, f, &f->why);
		else if (land_file(D, f, &why) < 0)
			fail_landing(D, f, &why);
		else
			landed(D, f);
	}
	land_links(D, links);
}

/* The directory's own attributes, after everything in it. */
static void finish_dir(struct dest *D, struct ddir *dd)
{
	struct err why = {0};
	struct meta want;
	struct cursor c = cursor_of(dd->meta, dd->meta_len);
	if (!dd->meta || !dd->touched || (D->o->flags & OPT_DRY_RUN))
		return;
	meta_decode(&want, &c);
	int fd = dir_pin(D->dirs, dd->d, &why);
	if (fd < 0)
		return;
	CLEANUP_ITEM struct item own;
	item_init(&own);
	int r = attr_read(&own, fd, NULL, &D->mask, &why);
	if (r == ATTR_READ)
		r = attr_apply(fd, -1, NULL, &want, &own, &D->mask, &why);
	dir_unpin(D->dirs, dd->d);
	if (r < 0) {
		struct bytes name = {.p = (const uint8_t *)dd->d->name, .n = dd->d->name_len};
		dest_entry_failed(D, dd->parent ? dd->parent : dd, name, &why, (struct h128){0});
	}
}

/* Directories with nothing open below, children before parents because they get ready in that
 * order. */
static void finish_dirs(struct dest *D)
{
	for (;;) {
		pthread_mutex_lock(&D->lock);
		struct ddir *dd = D->done;
		if (dd) {
			D->done = dd->next;
			if (!D->done)
				D->done_end = &D->done;
		}
		pthread_mutex_unlock(&D->lock);
		if (!dd)
			return;
		struct ddir *parent = dd->parent;
		if (!parent) {
			/* The root's own attributes come last of all, when the state directory is
			 * gone. */
			pthread_mutex_lock(&D->lock);
			D->root_done = true;
			pthread_mutex_unlock(&D->lock);
			dest_wake_planner(D);
			continue;
		}
		finish_dir(D, dd);
		ddir_free(D, dd);
		ddir_done_one(D, parent);
	}
}

static int close_epoch(struct dest *D, struct epoch *ep, struct err *e)
{
	uint64_t since = run_now_ns();
	bool any = ep->files != NULL;
	uint64_t files = ep->count;
	if (any && (sync_data(D, ep, e) < 0 || apply_journals(D, ep, e) < 0))
		return -1;
	if (any)
		land_all(D, ep);
	finish_dirs(D);
	if (any && sys_syncfs(D->root_fd) < 0)
		return err_sys(e, ERR_FAILURE, "cannot sync the destination");
	D->c->stats->ns_sync += run_now_ns() - since;
	if (any)
		return LINK_SEND(D->link, ACK, ack, e, .epoch = ++D->epoch, .files = files,
				 .bytes = ep->bytes);
	return 0;
}

static void release_files(struct dest *D, struct dfile *f)
{
	while (f) {
		struct dfile *next = f->next;
		dfile_free(D, f);
		f = next;
	}
}

void *finisher_main(void *arg)
{
	struct dest *D = arg;
	struct epoch ep;
	while (next_epoch(D, &ep)) {
		struct err e = {0};
		if (close_epoch(D, &ep, &e) < 0) {
			release_files(D, ep.files);
			dest_fail(D, &e);
			break;
		}
	}
	return NULL;
}
