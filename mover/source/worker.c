/* SPDX-License-Identifier: Apache-2.0 */
/* The worker threads: reading files and sending what the destination lacks. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem.h"
#include "source_int.h"
#include "sys.h"

static bool all_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

int worker_segment(struct worker *w, struct job *j, const uint8_t *p, size_t n, uint64_t offset,
		   struct err *e)
{
	struct msg_segment m = {.fid = j->fid,
				.offset = offset,
				.raw_len = n,
				.codec = CODEC_RAW,
				.check = hash64(NULL, p, n),
				.body = {.p = p, .n = n}};
	int64_t level = w->s->c->options->compress;
	if (level != COMPRESS_OFF && level != COMPRESS_AUTO && codec_probe(p, n)) {
		uint64_t since = run_now_ns();
		size_t packed =
			codec_compress(w->codec, (int)level, p, n, w->packed, SEGMENT_RAW_MAX);
		w->s->c->stats->ns_compress += run_now_ns() - since;
		if (packed) {
			m.codec = CODEC_ZSTD;
			m.body = (struct bytes){.p = w->packed, .n = packed};
		}
	}
	buf_clear(&w->frame);
	msg_segment_encode(&m, &w->frame);
	w->s->c->stats->bytes_literal += n;
	j->sent += n;
	return link_send(w->s->link, WIRE_SEGMENT, &w->frame, e);
}

static int send_range(struct worker *w, struct job *j, uint8_t kind, uint64_t dst, uint64_t src,
		      uint64_t length, struct err *e)
{
	uint8_t raw[40];
	struct buf b = {.data = raw, .cap = sizeof raw, .max = sizeof raw};
	buf_put_u8(&b, kind);
	put_var(&b, dst);
	if (kind == RANGE_COPY)
		put_var(&b, src);
	put_var(&b, length);
	struct msg_ranges m = {.fid = j->fid, .ranges = {.p = raw, .n = b.len}};
	j->sent += length;
	buf_clear(&w->frame);
	msg_ranges_encode(&m, &w->frame);
	return link_send(w->s->link, WIRE_RANGES, &w->frame, e);
}

int worker_hole(struct worker *w, struct job *j, uint64_t offset, uint64_t length, struct err *e)
{
	return length ? send_range(w, j, RANGE_HOLE, offset, 0, length, e) : 0;
}

int worker_copy(struct worker *w, struct job *j, uint64_t dst, uint64_t src, uint64_t length,
		struct err *e)
{
	w->s->c->stats->bytes_matched += length;
	return length ? send_range(w, j, RANGE_COPY, dst, src, length, e) : 0;
}

int worker_send_end(struct worker *w, struct job *j, enum file_status status, int error,
		    uint64_t size, struct h128 content, const struct meta *meta, struct err *e)
{
	CLEANUP_BUF struct buf mb;
	buf_init(&mb, META_BYTES_MAX);
	if (meta)
		meta_encode(meta, &mb);
	struct msg_file_end m = {.fid = j->fid,
				 .status = (uint8_t)status,
				 .error = (uint64_t)error,
				 .size = size,
				 .covered = j->sent,
				 .content = content,
				 .meta = {.p = mb.data, .n = mb.len}};
	buf_clear(&w->frame);
	msg_file_end_encode(&m, &w->frame);
	return link_send(w->s->link, WIRE_FILE_END, &w->frame, e);
}

/* Adds the leaf terms of [offset, offset+n), offset on a leaf border; all-zero leaves add nothing.
 */
static void add_leaves(struct h128 *sum, const uint8_t *p, size_t n, uint64_t offset)
{
	for (size_t at = 0; at < n; at += LEAF_BYTES) {
		size_t len = n - at < LEAF_BYTES ? n - at : LEAF_BYTES;
		if (!all_zero(p + at, len))
			h128_add(sum, hash_leaf_term((offset + at) / LEAF_BYTES,
						     hash128(NULL, p + at, len)));
	}
}

/* Sends one chunk that was read, zero leaves as holes. */
static int send_chunk(struct worker *w, struct job *j, size_t n, uint64_t offset, uint64_t *hole,
		      struct err *e)
{
	size_t at = 0;
	while (at < n) {
		size_t len = n - at < LEAF_BYTES ? n - at : LEAF_BYTES;
		if (all_zero(w->data + at, len)) {
			*hole += len;
			at += len;
			continue;
		}
		size_t end = at + len;
		while (end < n) {
			size_t next = n - end < LEAF_BYTES ? n - end : LEAF_BYTES;
			if (all_zero(w->data + end, next))
				break;
			end += next;
		}
		if (*hole && worker_hole(w, j, offset + at - *hole, *hole, e) < 0)
			return -1;
		*hole = 0;
		if (worker_segment(w, j, w->data + at, end - at, offset + at, e) < 0)
			return -1;
		at = end;
	}
	return 0;
}

int worker_send_range(struct worker *w, struct job *j, int fd, uint64_t from, uint64_t to,
		      struct h128 *sum, struct err *e)
{
	uint64_t at = from;
	uint64_t hole = 0; /* bytes of hole that end at `at` and are not yet sent */
	while (at < to) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA);
		uint64_t start = data < 0 ? (errno == ENXIO ? to : at) : (uint64_t)data;
		/* Leaves stay whole, so that both sides cut the content at the same places. */
		start -= start % LEAF_BYTES;
		if (start < at)
			start = at;
		if (start > to)
			start = to;
		hole += start - at;
		at = start;
		off_t next = at < to ? lseek(fd, (off_t)at, SEEK_HOLE) : -1;
		uint64_t end = next < 0 || (uint64_t)next > to ? to : (uint64_t)next;
		end = (end + LEAF_BYTES - 1) / LEAF_BYTES * LEAF_BYTES;
		if (end <= at)
			end = at + LEAF_BYTES;
		if (end > to)
			end = to;
		while (at < end) {
			size_t want = SEGMENT_RAW_MAX - at % LEAF_BYTES;
			if (want > end - at)
				want = (size_t)(end - at);
			uint64_t since = run_now_ns();
			ssize_t n = sys_pread(fd, w->data, want, at);
			w->s->c->stats->ns_read += run_now_ns() - since;
			if (n < 0)
				return err_sys(e, ERR_PARTIAL, "cannot read");
			if (n == 0)
				return err_set(e, ERR_CHANGED,
					       "file became shorter while it was read");
			if (sum)
				add_leaves(sum, w->data, (size_t)n, at);
			if (send_chunk(w, j, (size_t)n, at, &hole, e) < 0)
				return -1;
			at += (uint64_t)n;
		}
	}
	if (hole && worker_hole(w, j, to - hole, hole, e) < 0)
		return -1;
	return 0;
}

/* Gives the collected small files to the link. */
static int flush_pack(struct worker *w, struct err *e)
{
	if (w->pack.len == 0)
		return 0;
	struct msg_pack m = {.codec = CODEC_RAW,
			     .raw_len = w->pack.len,
			     .body = {.p = w->pack.data, .n = w->pack.len}};
	int64_t level = w->s->c->options->compress;
	if (level != COMPRESS_OFF && level != COMPRESS_AUTO &&
	    codec_probe(w->pack.data, w->pack.len)) {
		uint64_t since = run_now_ns();
		size_t packed = codec_compress(w->codec, (int)level, w->pack.data, w->pack.len,
					       w->packed, PACK_RAW_MAX);
		w->s->c->stats->ns_compress += run_now_ns() - since;
		if (packed) {
			m.codec = CODEC_ZSTD;
			m.body = (struct bytes){.p = w->packed, .n = packed};
		}
	}
	buf_clear(&w->frame);
	msg_pack_encode(&m, &w->frame);
	buf_clear(&w->pack);
	w->pack_files = 0;
	return link_send(w->s->link, WIRE_PACK, &w->frame, e);
}

static int pack_put(struct worker *w, const struct job *j, enum file_status status, int error,
		    const struct meta *meta, const uint8_t *p, size_t n, struct h128 content,
		    struct err *e)
{
	CLEANUP_BUF struct buf mb;
	buf_init(&mb, META_BYTES_MAX);
	if (meta)
		meta_encode(meta, &mb);
	bool full = w->pack.len + n + mb.len + 64 > PACK_RAW_MAX || w->pack_files == PACK_FILES_MAX;
	if (full && flush_pack(w, e) < 0)
		return -1;
	w->pack_files++;
	put_var(&w->pack, j->fid);
	buf_put_u8(&w->pack, (uint8_t)status);
	put_var(&w->pack, (uint64_t)error);
	put_bytes(&w->pack, mb.data, mb.len);
	put_h128(&w->pack, content);
	put_bytes(&w->pack, p, n);
	w->s->c->stats->bytes_literal += n;
	return 0;
}

static bool same_version(const struct item *a, const struct stat *st)
{
	return a->ctime == st->st_ctim.tv_sec && a->ctime_ns == (uint32_t)st->st_ctim.tv_nsec &&
	       a->meta.size == (uint64_t)st->st_size && a->ino == st->st_ino;
}

static void count_sent(struct worker *w, const struct job *j, struct h128 content)
{
	struct source *s = w->s;
	uint8_t record[16 + NAME_BYTES_MAX];
	h128_store(record, content);
	memcpy(record + 16, j->name, j->name_len);
	pthread_mutex_lock(&s->lock);
	h128_add(&s->content, hash128(NULL, record, 16 + j->name_len));
	pthread_mutex_unlock(&s->lock);
	s->c->stats->files_transferred++;
}

static void failed(struct worker *w, struct job *j, enum err_code code, int error, const char *text)
{
	struct bytes name = {.p = (const uint8_t *)j->name, .n = j->name_len};
	source_leave_out(w->s, j->dir, name);
	source_issue(w->s, ISSUE_FAILED, code, error, j->dir, name, text);
}

/* Meta to send with a file: none if the listing still holds. */
static const struct meta *fresh_meta(const struct worker *w, const struct job *j)
{
	bool listed = j->stream && j->ctime == w->item.ctime && j->ctime_ns == w->item.ctime_ns;
	return listed ? NULL : &w->item.meta;
}

/* A small file is read whole, again if it changes meanwhile. */
static int send_small(struct worker *w, struct job *j, int fd, struct err *e)
{
	for (int tries = 0; tries < READ_TRIES; tries++) {
		size_t size = (size_t)w->item.meta.size;
		ssize_t n = sys_pread(fd, w->data, size, 0);
		struct stat st;
		if (n < 0 || fstat(fd, &st) < 0) {
			failed(w, j, ERR_PARTIAL, errno, "cannot read");
			return pack_put(w, j, FILE_FAILED, errno, NULL, NULL, 0, (struct h128){0},
					e);
		}
		if ((size_t)n == size && same_version(&w->item, &st)) {
			struct h128 sum = {0};
			add_leaves(&sum, w->data, size, 0);
			struct h128 content = hash_content(size, sum);
			count_sent(w, j, content);
			return pack_put(w, j, FILE_OK, 0, fresh_meta(w, j), w->data, size, content,
					e);
		}
		if (attr_read(&w->item, fd, NULL, &w->s->mask, e) != ATTR_READ ||
		    w->item.meta.size > PACK_FILE_MAX)
			break;
	}
	failed(w, j, ERR_CHANGED, 0, "changed while it was read");
	return pack_put(w, j, FILE_CHANGED, 0, NULL, NULL, 0, (struct h128){0}, e);
}

/* After the file turned out to have changed: is what was sent still what it begins with? */
static bool prefix_holds(struct worker *w, int fd, uint64_t size, struct h128 sent)
{
	struct h128 sum = {0};
	for (uint64_t at = 0; at < size;) {
		size_t want = size - at < SEGMENT_RAW_MAX ? (size_t)(size - at) : SEGMENT_RAW_MAX;
		if (sys_pread(fd, w->data, want, at) != (ssize_t)want)
			return false;
		add_leaves(&sum, w->data, want, at);
		at += want;
	}
	return h128_equal(sum, sent);
}

int worker_finish(struct worker *w, struct job *j, int fd, struct h128 sum, struct err *e)
{
	struct stat st;
	uint64_t size = w->item.meta.size;
	if (fstat(fd, &st) < 0 ||
	    (!same_version(&w->item, &st) &&
	     ((uint64_t)st.st_size < size || !prefix_holds(w, fd, size, sum)))) {
		failed(w, j, ERR_CHANGED, 0, "changed while it was read");
		return worker_send_end(w, j, FILE_CHANGED, 0, size, (struct h128){0}, NULL, e);
	}
	struct h128 content = hash_content(size, sum);
	count_sent(w, j, content);
	return worker_send_end(w, j, FILE_OK, 0, size, content, fresh_meta(w, j), e);
}

int worker_send_file(struct worker *w, struct job *j, int fd, struct err *e)
{
	if (w->item.meta.size <= PACK_FILE_MAX)
		return send_small(w, j, fd, e);
	if (flush_pack(w, e) < 0)
		return -1;
	struct h128 sum = {0};
	struct err why = {0};
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	if (worker_send_range(w, j, fd, 0, w->item.meta.size, &sum, &why) < 0) {
		if (why.code != ERR_PARTIAL && why.code != ERR_CHANGED) {
			*e = why;
			return -1;
		}
		failed(w, j, why.code, why.sys, why.msg);
		return worker_send_end(w, j, why.code == ERR_CHANGED ? FILE_CHANGED : FILE_FAILED,
				       why.sys, w->item.meta.size, (struct h128){0}, NULL, e);
	}
	return worker_finish(w, j, fd, sum, e);
}

static int open_source(struct worker *w, const struct job *j, struct err *e)
{
	int dirfd = dir_pin(w->s->dirs, j->dir, e);
	if (dirfd < 0)
		return -1;
	int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
	int fd = sys_openat(dirfd, j->name, flags | O_NOATIME, 0);
	if (fd < 0 && errno == EPERM)
		fd = sys_openat(dirfd, j->name, flags, 0);
	if (fd < 0)
		err_sys(e, ERR_PARTIAL, "cannot open");
	dir_unpin(w->s->dirs, j->dir);
	return fd;
}

static int run_job(struct worker *w, struct job *j, struct err *e)
{
	struct err why = {0};
	if (!j->dir)
		return worker_send_end(w, j, FILE_GONE, 0, 0, (struct h128){0}, NULL, e);
	CLEANUP_FD int fd = open_source(w, j, &why);
	if (fd < 0) {
		bool gone = why.sys == ENOENT || why.sys == ESTALE || why.sys == ELOOP ||
			    why.sys == ENOTDIR;
		failed(w, j, gone ? ERR_CHANGED : ERR_PARTIAL, why.sys,
		       gone ? "vanished" : why.msg);
		return worker_send_end(w, j, gone ? FILE_GONE : FILE_FAILED, why.sys, 0,
				       (struct h128){0}, NULL, e);
	}
	int r = attr_read(&w->item, fd, NULL, &w->s->mask, &why);
	if (r != ATTR_READ || w->item.meta.type != ENTRY_FILE) {
		failed(w, j, r == ATTR_ERROR ? ERR_PARTIAL : ERR_CHANGED, why.sys,
		       r == ATTR_ERROR ? why.msg : "is no regular file any more");
		return worker_send_end(w, j, r == ATTR_ERROR ? FILE_FAILED : FILE_GONE, why.sys, 0,
				       (struct h128){0}, NULL, e);
	}
	if (j->mode != WANT_FULL)
		return flush_pack(w, e) < 0 ? -1 : worker_send_patch(w, j, fd, e);
	return worker_send_file(w, j, fd, e);
}

static void job_over(struct source *s)
{
	pthread_mutex_lock(&s->lock);
	if (--s->jobs_open == 0)
		pthread_cond_broadcast(&s->jobs_done);
	pthread_mutex_unlock(&s->lock);
}

static void stream_job_over(struct source *s)
{
	pthread_mutex_lock(&s->lock);
	s->stream_jobs--;
	pthread_cond_broadcast(&s->jobs_done);
	pthread_mutex_unlock(&s->lock);
}

void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct source *s = w->s;
	w->codec = codec_new();
	w->data = mem_alloc_raw(SEGMENT_RAW_MAX);
	w->packed = mem_alloc_raw(PACK_RAW_MAX);
	item_init(&w->item);
	buf_init(&w->frame, FRAME_PAYLOAD_MAX);
	buf_init(&w->pack, PACK_RAW_MAX);
	uint64_t packed_jobs = 0;
	struct err e = {0};
	int r = 0;
	while (r == 0) {
		void *item;
		enum queue_result q = queue_pop(&s->jobs, &item, w->pack.len ? 0 : -1);
		if (q == QUEUE_CLOSED)
			break;
		if (q == QUEUE_OK) {
			bool streamed = ((struct job *)item)->stream;
			r = run_job(w, item, &e);
			job_free(s, item);
			if (streamed)
				stream_job_over(s);
			packed_jobs++;
		} else {
			r = flush_pack(w, &e);
		}
		/* A job counts as open until its data has left the pack. */
		while (r == 0 && w->pack.len == 0 && packed_jobs) {
			job_over(s);
			packed_jobs--;
		}
	}
	if (r < 0)
		source_fail(s, &e);
	pthread_mutex_lock(&s->lock);
	pthread_cond_broadcast(&s->jobs_done);
	pthread_mutex_unlock(&s->lock);
	codec_free(w->codec);
	free(w->data);
	free(w->packed);
	item_release(&w->item);
	buf_release(&w->frame);
	buf_release(&w->pack);
	return NULL;
}
