/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "diff_job.h"
#include "text.h"

__extension__ typedef __int128 wide;

enum { NUMBER = 48 };

static void compare_numbers(struct diff_job *job, enum treediff_attr attr, uint64_t a, uint64_t b)
{
	char text[2][NUMBER];
	if (a == b)
		return;
	for (int i = 0; i < 2; i++) {
		unsigned long long v = i ? b : a;
		if (attr == TREEDIFF_MODE)
			snprintf(text[i], NUMBER, "%04llo", v);
		else
			snprintf(text[i], NUMBER, "%llu", v);
	}
	diff_report(job, attr, text[0], text[1]);
}

/* Time in units of the granule, rounded down also before 1970. */
static wide ticks(const struct statx_timestamp *t, uint64_t granule)
{
	wide ns = (wide)t->tv_sec * 1000000000 + t->tv_nsec;
	wide unit = granule ? (wide)granule : 1;
	wide whole = ns / unit;
	return ns % unit < 0 ? whole - 1 : whole;
}

static void compare_mtime(struct diff_job *job, const struct diff_object o[2])
{
	const struct statx_timestamp *t[2] = {&o[0].st.stx_mtime, &o[1].st.stx_mtime};
	uint64_t granule = job->opt->granule_ns;
	if (ticks(t[0], granule) == ticks(t[1], granule))
		return;
	char text[2][NUMBER];
	for (int i = 0; i < 2; i++)
		snprintf(text[i], NUMBER, "%lld.%09u", (long long)t[i]->tv_sec, t[i]->tv_nsec);
	diff_report(job, TREEDIFF_MTIME, text[0], text[1]);
}

static void compare_rdev(struct diff_job *job, const struct diff_object o[2])
{
	const struct statx *x = &o[0].st;
	const struct statx *y = &o[1].st;
	if (x->stx_rdev_major == y->stx_rdev_major && x->stx_rdev_minor == y->stx_rdev_minor)
		return;
	char text[2][NUMBER];
	for (int i = 0; i < 2; i++)
		snprintf(text[i], NUMBER, "%u:%u", o[i].st.stx_rdev_major, o[i].st.stx_rdev_minor);
	diff_report(job, TREEDIFF_RDEV, text[0], text[1]);
}

static void compare_target(struct diff_job *job, const struct diff_object o[2])
{
	size_t len[2];
	char text[2][DIFF_TEXT];
	if (!diff_wants(job, TREEDIFF_TARGET))
		return;
	for (int i = 0; i < 2; i++) {
		ssize_t n = readlinkat(o[i].dirfd, o[i].name, (char *)job->data[i], DIFF_IO);
		if (n < 0 || n == DIFF_IO) {
			if (n == DIFF_IO)
				errno = ENAMETOOLONG;
			diff_failed_sys(job, i, "cannot read the link");
			return;
		}
		len[i] = (size_t)n;
		text_escape(text[i], DIFF_TEXT, job->data[i], len[i]);
	}
	if (len[0] != len[1] || memcmp(job->data[0], job->data[1], len[0]) != 0)
		diff_report(job, TREEDIFF_TARGET, text[0], text[1]);
}

static void compare_links(struct diff_job *job, const struct diff_object o[2])
{
	struct diff_inode id[2];
	bool multi[2];
	const char *earlier[2];
	char text[2][DIFF_TEXT];
	if (!diff_wants(job, TREEDIFF_LINKS))
		return;
	for (int i = 0; i < 2; i++) {
		const struct statx *st = &o[i].st;
		id[i].dev = (uint64_t)st->stx_dev_major << 32 | st->stx_dev_minor;
		id[i].ino = st->stx_ino;
		multi[i] = st->stx_nlink > 1;
	}
	if (diff_links_add(&job->links, id, multi, buf_str(&job->path), job->path.len, earlier))
		return;
	for (int i = 0; i < 2; i++)
		text_escape(text[i], DIFF_TEXT, earlier[i] ? earlier[i] : "-",
			    earlier[i] ? strlen(earlier[i]) : 1);
	diff_report(job, TREEDIFF_LINKS, text[0], text[1]);
}

void diff_entry(struct diff_job *job, const struct diff_object o[2])
{
	const struct statx *x = &o[0].st;
	const struct statx *y = &o[1].st;
	unsigned type = x->stx_mode & S_IFMT;
	job->result->entries++;
	if ((y->stx_mode & S_IFMT) != type) {
		diff_report(job, TREEDIFF_TYPE, diff_type_word(x->stx_mode),
			    diff_type_word(y->stx_mode));
		return;
	}
	if (type != S_IFLNK)
		compare_numbers(job, TREEDIFF_MODE, x->stx_mode & 07777u, y->stx_mode & 07777u);
	compare_numbers(job, TREEDIFF_UID, x->stx_uid, y->stx_uid);
	compare_numbers(job, TREEDIFF_GID, x->stx_gid, y->stx_gid);
	compare_mtime(job, o);
	if (type == S_IFCHR || type == S_IFBLK)
		compare_rdev(job, o);
	if (type == S_IFLNK)
		compare_target(job, o);
	diff_xattrs(job, o);
	if (type != S_IFLNK)
		diff_acls(job, o);
	if (type != S_IFDIR)
		compare_links(job, o);
	if (type == S_IFREG) {
		compare_numbers(job, TREEDIFF_SIZE, x->stx_size, y->stx_size);
		diff_content(job, o);
	}
}
