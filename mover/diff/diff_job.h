/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the comparer share: the state of one run, one entry as seen on both sides, and
 * the ways to report. Private to this folder. Side 0 is A, side 1 is B.
 */
#ifndef SCRIBE_DIFF_JOB_H
#define SCRIBE_DIFF_JOB_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "buf.h"
#include "diff_links.h"
#include "treediff.h"

enum {
	DIFF_IO = 256 << 10,   /* one read */
	DIFF_LIST = 64 << 10,  /* XATTR_LIST_MAX */
	DIFF_VALUE = 64 << 10, /* XATTR_SIZE_MAX; fits DIFF_IO */
	DIFF_TEXT = 512,       /* a value in a report */
};

/* One entry on one side. name is a single component, "." for the root. */
struct diff_object {
	int dirfd;
	const char *name;
	struct statx st;
};

struct diff_job {
	const struct treediff_options *opt;
	struct treediff_result *result;
	struct buf path; /* of the entry at hand, relative; empty for the root */
	struct diff_links links;
	char *list[2];    /* DIFF_LIST each */
	uint8_t *data[2]; /* DIFF_IO each */
};

void diff_job_init(struct diff_job *job, const struct treediff_options *opt,
		   struct treediff_result *result);
void diff_job_release(struct diff_job *job);

static inline bool diff_wants(const struct diff_job *job, enum treediff_attr attr)
{
	return !(job->opt->ignore & (1u << attr));
}

/* True when stop_after differences were found. */
bool diff_stopped(const struct diff_job *job);
/* Counts and reports a difference of the entry at hand, unless its attribute is ignored. */
void diff_report(struct diff_job *job, enum treediff_attr attr, const char *a, const char *b);
/* Counts and reports that the entry at hand could not be compared. */
void diff_failed(struct diff_job *job, int side, const char *what);
/* The same with ": <strerror(errno)>". */
void diff_failed_sys(struct diff_job *job, int side, const char *what);

/* statx of o->name without following it into o->st. 0, or -1 with errno. */
int diff_stat(struct diff_object *o);
/* statx of an open fd. 0, or -1 with errno. */
int diff_stat_fd(int fd, struct statx *st);
/* openat for reading that follows no symlink, never blocks and leaves atime alone where the caller
 * may ask for that. An fd, or -1 with errno. */
int diff_open(int dirfd, const char *name, int flags);
/* A path of the entry for the l*xattr calls. 0, or -1 with errno ENAMETOOLONG. */
int diff_proc_path(char out[PATH_MAX], const struct diff_object *o);
/* The same object in the same state: device, inode, size, mtime and ctime. */
bool diff_same_state(const struct statx *x, const struct statx *y);
bool diff_same_inode(const struct statx *x, const struct statx *y);
/* "file", "directory", ... Static. */
const char *diff_type_word(unsigned mode);

/* diff_entry.c: compares all of an entry that is there on both sides (not the children). */
void diff_entry(struct diff_job *job, const struct diff_object o[2]);
/* diff_xattr.c: the extended attributes, the ACLs. */
void diff_xattrs(struct diff_job *job, const struct diff_object o[2]);
void diff_acls(struct diff_job *job, const struct diff_object o[2]);
/* diff_content.c: the bytes and holes of two regular files. */
void diff_content(struct diff_job *job, const struct diff_object o[2]);

#endif
