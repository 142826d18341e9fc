/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "diff_job.h"
#include "mem.h"

enum { HOLE_ALIGN_MAX = 4 << 20 };

/* An open regular file and the data range at or behind the last place asked for. */
struct side {
	int fd;
	struct statx st; /* when opened */
	uint64_t data;
	uint64_t hole; /* end of the data range */
};

static int side_open(struct diff_job *job, int side, const struct diff_object *o, struct side *s)
{
	s->fd = diff_open(o->dirfd, o->name, 0);
	if (s->fd < 0 || diff_stat_fd(s->fd, &s->st) < 0) {
		diff_failed_sys(job, side, "cannot open the file");
		return -1;
	}
	if (diff_same_state(&s->st, &o->st))
		return 0;
	diff_failed(job, side, "changed while it was compared");
	return -1;
}

/*
 * Moves the known data range to the first one that ends behind pos. Both ends are the file's size
 * if there is no more data. A file system that knows no holes has one range.
 */
static int side_seek(struct side *s, uint64_t pos)
{
	if (pos < s->hole)
		return 0;
	off_t at = lseek(s->fd, (off_t)pos, SEEK_DATA);
	if (at < 0 && errno == ENXIO) {
		s->data = s->hole = UINT64_MAX;
		return 0;
	}
	if (at < 0 && (errno == EINVAL || errno == EOPNOTSUPP)) {
		s->data = pos;
		s->hole = UINT64_MAX;
		return 0;
	}
	if (at < 0)
		return -1;
	s->data = (uint64_t)at;
	at = lseek(s->fd, at, SEEK_HOLE);
	if (at < 0 && errno != ENXIO)
		return -1;
	s->hole = at < 0 ? UINT64_MAX : (uint64_t)at;
	/* A file that shrinks meanwhile must not keep the caller from going on. */
	if (s->hole <= s->data)
		s->hole = s->data + 1;
	return 0;
}

static int read_full(int fd, uint8_t *out, size_t n, uint64_t pos)
{
	size_t have = 0;
	while (have < n) {
		ssize_t got = pread(fd, out + have, n - have, (off_t)(pos + have));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0) {
			errno = ENODATA;
			return -1;
		}
		have += (size_t)got;
	}
	return 0;
}

/* Compares n bytes at pos. 1: equal, 0: reported as different, -1: failed. */
static int compare_piece(struct diff_job *job, struct side s[2], uint64_t pos, size_t n)
{
	for (int i = 0; i < 2; i++) {
		if (read_full(s[i].fd, job->data[i], n, pos) < 0) {
			diff_failed_sys(job, i, "cannot read the file");
			return -1;
		}
	}
	job->result->bytes += n;
	if (memcmp(job->data[0], job->data[1], n) == 0)
		return 1;
	size_t at = 0;
	while (job->data[0][at] == job->data[1][at])
		at++;
	char text[2][DIFF_TEXT];
	for (int i = 0; i < 2; i++)
		snprintf(text[i], DIFF_TEXT, "0x%02x at %llu", job->data[i][at],
			 (unsigned long long)(pos + at));
	diff_report(job, TREEDIFF_CONTENT, text[0], text[1]);
	return 0;
}

static void compare_bytes(struct diff_job *job, struct side s[2], uint64_t size)
{
	uint64_t pos = 0;
	s[0].hole = s[1].hole = 0;
	while (pos < size) {
		for (int i = 0; i < 2; i++) {
			if (side_seek(&s[i], pos) < 0) {
				diff_failed_sys(job, i, "cannot seek in the file");
				return;
			}
		}
		uint64_t data = s[0].data < s[1].data ? s[0].data : s[1].data;
		if (data > pos)
			pos = data;
		if (pos >= size)
			return;
		uint64_t left = size - pos;
		size_t n = left < DIFF_IO ? (size_t)left : DIFF_IO;
		if (compare_piece(job, s, pos, n) <= 0)
			return;
		pos += n;
	}
}

/*
 * Every hole of s[from] must be one in s[to], as far as it covers whole aligned blocks. Reports the
 * first that is not and returns 0; 1: all are; -1: failed.
 */
static int compare_holes(struct diff_job *job, struct side s[2], int from, uint64_t size)
{
	int to = !from;
	uint64_t align = s[to].st.stx_blksize;
	if (align < TREEDIFF_HOLE_MIN)
		align = TREEDIFF_HOLE_MIN;
	if (align > HOLE_ALIGN_MAX)
		align = HOLE_ALIGN_MAX;
	s[0].hole = s[1].hole = 0;
	uint64_t pos = 0;
	while (pos < size) {
		if (side_seek(&s[from], pos) < 0) {
			diff_failed_sys(job, from, "cannot seek in the file");
			return -1;
		}
		uint64_t end = s[from].data < size ? s[from].data : size;
		uint64_t first = (pos + align - 1) / align * align;
		uint64_t last = end / align * align;
		if (end > pos && end - pos >= TREEDIFF_HOLE_MIN && first < last) {
			if (side_seek(&s[to], first) < 0) {
				diff_failed_sys(job, to, "cannot seek in the file");
				return -1;
			}
			if (s[to].data < last) {
				uint64_t bad = s[to].data > first ? s[to].data : first;
				char text[2][DIFF_TEXT];
				snprintf(text[from], DIFF_TEXT, "hole %llu..%llu",
					 (unsigned long long)pos, (unsigned long long)end);
				snprintf(text[to], DIFF_TEXT, "data at %llu",
					 (unsigned long long)bad);
				diff_report(job, TREEDIFF_HOLES, text[0], text[1]);
				return 0;
			}
		}
		pos = s[from].hole;
	}
	return 1;
}

/* Compares two opened files as far as both go, and makes sure that they stayed as they were. */
static void compare_open(struct diff_job *job, struct side s[2], uint64_t size)
{
	/* Holes first: reading may make a file system (XFS, over space set aside for sharing) take
	 * cached pages of a hole for data. */
	if (diff_wants(job, TREEDIFF_HOLES) && compare_holes(job, s, 0, size) == 1 &&
	    job->opt->exact_holes)
		compare_holes(job, s, 1, size);
	if (diff_wants(job, TREEDIFF_CONTENT))
		compare_bytes(job, s, size);
	for (int i = 0; i < 2; i++) {
		struct statx now;
		if (diff_stat_fd(s[i].fd, &now) < 0)
			diff_failed_sys(job, i, "cannot stat the file");
		else if (!diff_same_state(&now, &s[i].st))
			diff_failed(job, i, "changed while it was compared");
	}
}

void diff_content(struct diff_job *job, const struct diff_object o[2])
{
	uint64_t size = o[0].st.stx_size < o[1].st.stx_size ? o[0].st.stx_size : o[1].st.stx_size;
	if (!size || (!diff_wants(job, TREEDIFF_CONTENT) && !diff_wants(job, TREEDIFF_HOLES)))
		return;
	struct side s[2] = {{.fd = -1}, {.fd = -1}};
	if (side_open(job, 0, &o[0], &s[0]) == 0 && side_open(job, 1, &o[1], &s[1]) == 0)
		compare_open(job, s, size);
	mem_cleanup_close(&s[0].fd);
	mem_cleanup_close(&s[1].fd);
}
