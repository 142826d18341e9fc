/* SPDX-License-Identifier: Apache-2.0 */
/* The writer threads: data frames into temps, read back, attributes set, ready for an epoch. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "dest_int.h"
#include "journal.h"
#include "mem.h"
#include "sys.h"

enum { UNKNOWN_FILE_SECONDS = 600, SMALL_PARALLEL = 1 };

struct writer {
	struct dest *D;
	struct codec *codec;
	uint8_t *raw;  /* PACK_RAW_MAX bytes, decompressed */
	uint8_t *back; /* SEGMENT_RAW_MAX bytes, read back */
};

struct dfile *dfile_new(struct ddir *dd, const struct entry *en, uint64_t fid)
{
	struct dfile *f = mem_alloc(1, sizeof *f);
	f->fid = fid;
	f->dd = dd;
	f->name = mem_dup(en->name.p, en->name.n);
	f->name_len = en->name.n;
	f->group = en->flags & ENTRY_LINKED ? en->group : 0;
	f->fd = f->basis_fd = -1;
	pthread_mutex_init(&f->lock, NULL);
	struct buf b;
	buf_init(&b, META_BYTES_MAX);
	meta_encode(&en->meta, &b);
	f->meta = b.data;
	f->meta_len = b.len;
	return f;
}

void dfile_publish(struct dest *D, struct dfile *f)
{
	pthread_mutex_lock(&D->lock);
	f->dd->pending++;
	D->files_open++;
	D->stream_files += f->fid & FID_STREAM;
	if (f->fid) {
		ptrmap_put(&D->files, f->fid, f);
		pthread_cond_broadcast(&D->files_moved);
	}
	pthread_mutex_unlock(&D->lock);
}

struct dfile *dfile_start(struct dest *D, struct ddir *dd, const struct entry *en, uint64_t fid,
			  uint8_t own_type, bool apart)
{
	struct dfile *f = dfile_new(dd, en, fid);
	f->own_type = own_type;
	if (apart)
		f->group = 0;
	dfile_publish(D, f);
	return f;
}

void dfile_free(struct dest *D, struct dfile *f)
{
	struct ddir *dd = f->dd;
	if (f->fd >= 0)
		close(f->fd);
	if (f->basis_fd >= 0)
		close(f->basis_fd);
	journal_free(f->journal);
	free(f->name);
	free(f->meta);
	pthread_mutex_destroy(&f->lock);
	free(f);
	ddir_done_one(D, dd);
}

/* Called with the lock held: true once when the planner waits for room. */
static bool turn_over(struct dest *D)
{
	bool starved = D->wants_starved && D->wants_open < WANTS_IN_FLIGHT_MAX;
	if (starved)
		D->wants_starved = false;
	return starved;
}

static void forget(struct dest *D, struct dfile *f)
{
	pthread_mutex_lock(&D->lock);
	if (f->fid) {
		ptrmap_remove(&D->files, f->fid);
		if (!(f->fid & FID_STREAM))
			D->wants_open--;
	}
	D->files_open--;
	D->stream_files -= f->fid & FID_STREAM;
	bool starved = turn_over(D);
	pthread_cond_broadcast(&D->files_moved);
	pthread_mutex_unlock(&D->lock);
	if (starved)
		dest_wake_planner(D);
}

void dfile_ready(struct dest *D, struct dfile *f)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	pthread_mutex_lock(&D->lock);
	/* The finisher waits for nobody, so waiting for it is safe; only links may depend on what
	 * is still to come, and those are not held against the files they wait for. */
	while (!D->stopping &&
	       (f->link ? D->ready_links : D->ready_count - D->ready_links) >= READY_MAX)
		pthread_cond_wait(&D->files_moved, &D->lock);
	if (f->fid) {
		ptrmap_remove(&D->files, f->fid);
		if (!(f->fid & FID_STREAM))
			D->wants_open--;
	}
	D->files_open--;
	D->stream_files -= f->fid & FID_STREAM;
	D->ready_links += f->link;
	f->next = NULL;
	*D->ready_end = f;
	D->ready_end = &f->next;
	if (D->ready_count++ == 0)
		D->ready_since = (uint64_t)t.tv_sec;
	D->ready_bytes += f->bytes;
	bool starved = turn_over(D);
	pthread_cond_broadcast(&D->files_moved);
	pthread_mutex_unlock(&D->lock);
	if (starved)
		dest_wake_planner(D);
}

/* A file with which nothing is to be done after all. */
void file_over(struct dest *D, struct dfile *f)
{
	forget(D, f);
	dfile_free(D, f);
}

static struct bytes name_of(const struct dfile *f)
{
	return (struct bytes){.p = (const uint8_t *)f->name, .n = f->name_len};
}

static void remove_temp(struct dest *D, struct dfile *f)
{
	if (f->fd < 0 || f->way == WAY_JOURNAL)
		return;
	char temp[TEMP_NAME_MAX];
	temp_name(D, f->temp, temp);
	struct err why;
	int dirfd = dir_pin(D->dirs, f->dd->d, &why);
	if (dirfd >= 0) {
		sys_unlinkat(dirfd, temp, 0);
		dir_unpin(D->dirs, f->dd->d);
	}
}

/* Takes the file out of the run. silent: the source reported it and left it out itself. */
static void drop(struct dest *D, struct dfile *f, const struct err *why, bool silent)
{
	remove_temp(D, f);
	item_void(D, f->seq);
	if (f->group)
		group_set(D, f->group, GROUP_LOST);
	if (why->code == ERR_VERIFY) {
		D->c->stats->files_failed++;
		dest_issue(D, ISSUE_FAILED, ERR_VERIFY, 0, f->dd->d, name_of(f), why->msg);
		pthread_mutex_lock(&D->lock);
		D->broken_files++;
		pthread_mutex_unlock(&D->lock);
	} else if (f->dd->dead) {
		/* Its directory was reported and left out as a whole. */
		D->c->stats->files_failed++;
	} else if (silent) {
		dest_left_out(D, f->dd, name_of(f), (struct h128){0}, true);
	} else {
		dest_entry_failed(D, f->dd, name_of(f), why, f->term);
	}
	if (why->code == ERR_SPACE)
		dest_fail(D, why);
	forget(D, f);
	dfile_free(D, f);
}

void dfile_give_up(struct dest *D, struct dfile *f, const struct err *why)
{
	drop(D, f, why, false);
}

/* Waits until the planner has met the file's entry: data may overtake listings. */
static struct dfile *find_file(struct dest *D, uint64_t fid, struct err *e)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += UNKNOWN_FILE_SECONDS;
	pthread_mutex_lock(&D->lock);
	struct dfile *f;
	int r = 0;
	while (!(f = ptrmap_get(&D->files, fid)) && !D->stopping && r != ETIMEDOUT)
		r = pthread_cond_timedwait(&D->files_moved, &D->lock, &until);
	bool stopping = D->stopping;
	if (f)
		f->users++;
	pthread_mutex_unlock(&D->lock);
	if (!f && (!stopping || link_error(D->link, e) == ERR_OK))
		err_set(e, stopping ? ERR_CONNECT : ERR_PROTOCOL,
			stopping ? "connection closed"
				 : "the source sent content of a file it never listed");
	return f;
}

static void put_file(struct dest *D, struct dfile *f)
{
	pthread_mutex_lock(&D->lock);
	f->users--;
	if (f->claimed)
		pthread_cond_broadcast(&D->files_moved);
	pthread_mutex_unlock(&D->lock);
}

/* Makes the caller, who holds a reference, the one that concludes the file: nobody finds it any
 * more, and whoever still holds it has let go. False if another one was first; the reference is
 * given back then. */
static bool claim(struct dest *D, struct dfile *f)
{
	pthread_mutex_lock(&D->lock);
	bool first = !f->claimed;
	if (first) {
		f->claimed = true;
		ptrmap_remove(&D->files, f->fid);
		while (f->users > 1)
			pthread_cond_wait(&D->files_moved, &D->lock);
	} else {
		f->users--;
		pthread_cond_broadcast(&D->files_moved);
	}
	pthread_mutex_unlock(&D->lock);
	return first;
}

static int open_temp(struct dest *D, struct dfile *f, struct err *e)
{
	char temp[TEMP_NAME_MAX];
	int dirfd = dir_pin(D->dirs, f->dd->d, e);
	if (dirfd < 0)
		return -1;
	do {
		f->temp = ++D->temps;
		temp_name(D, f->temp, temp);
		f->fd = sys_openat(dirfd, temp, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW, 0600);
	} while (f->fd < 0 && errno == EEXIST);
	if (f->fd < 0)
		err_sys(e, ERR_FAILURE, "cannot create a temporary file");
	if (f->fd >= 0 && f->basis_size && f->basis_fd < 0) {
		f->basis_fd = sys_openat(dirfd, f->name,
					 O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
		struct stat st;
		if (f->basis_fd >= 0 && (fstat(f->basis_fd, &st) < 0 || !S_ISREG(st.st_mode))) {
			close(f->basis_fd);
			f->basis_fd = -1;
		}
	}
	dir_unpin(D->dirs, f->dd->d);
	return f->fd < 0 ? -1 : 0;
}

/* Decides how the file is brought about and opens what that takes. Called with f->lock held. A
 * clone is best: cheap, and the old file stays whole; then in place; then a new file. */
static int open_way(struct dest *D, struct dfile *f, struct err *e)
{
	if (f->way != WAY_NONE)
		return 0;
	if (f->basis_size && D->o->in_place == IN_PLACE_ALWAYS && journal_wanted(D, f)) {
		f->way = WAY_JOURNAL;
		return journal_open(D, f, e);
	}
	if (open_temp(D, f, e) < 0)
		return -1;
	f->way = WAY_TEMP;
	f->can_clone = f->basis_fd >= 0 && sys_clone(f->fd, f->basis_fd) == 0;
	if (f->can_clone)
		f->way = WAY_CLONE;
	if (f->basis_fd < 0 || !journal_wanted(D, f))
		return 0;
	remove_temp(D, f);
	close(f->fd);
	f->fd = -1;
	f->way = WAY_JOURNAL;
	return journal_open(D, f, e);
}

/* Copies a range into a file that is a hole there; holes stay. */
static int copy_extents(int from, uint64_t src, int to, uint64_t dst, uint64_t n)
{
	uint64_t end = src + n;
	for (uint64_t at = src; at < end;) {
		off_t data = lseek(from, (off_t)at, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			return 0;
		uint64_t start = data < 0 || (uint64_t)data < at ? at : (uint64_t)data;
		if (start >= end)
			return 0;
		off_t hole = lseek(from, (off_t)start, SEEK_HOLE);
		uint64_t stop = hole < 0 || (uint64_t)hole > end ? end : (uint64_t)hole;
		if (sys_copy_range(from, start, to, dst + (start - src), stop - start) < 0)
			return -1;
		at = stop;
	}
	return 0;
}

/* From a journal to a whole new file, when the plan turns out to be more than writes in place. */
static int leave_journal(struct dest *D, struct dfile *f, struct err *e)
{
	if (open_temp(D, f, e) < 0)
		return -1;
	if (sys_ftruncate(f->fd, f->basis_size) < 0 ||
	    copy_extents(f->basis_fd, 0, f->fd, 0, f->basis_size) < 0)
		return err_sys(e, ERR_FAILURE, "cannot copy the old file");
	D->c->stats->bytes_written += f->basis_size;
	if (journal_into(f->journal, f->fd, e) < 0)
		return -1;
	journal_discard(D, f->journal);
	f->journal = NULL;
	f->way = WAY_CLONE;
	return 0;
}

static int put_data(struct dest *D, struct dfile *f, const uint8_t *p, size_t n, uint64_t offset,
		    struct err *e)
{
	if (offset > (uint64_t)INT64_MAX - n)
		return err_set(e, ERR_PROTOCOL, "the source sent data beyond any file");
	if (open_way(D, f, e) < 0)
		return -1;
	uint64_t since = run_now_ns();
	if (f->way == WAY_JOURNAL) {
		int r = journal_data(f->journal, p, n, offset, e);
		if (r < 0)
			return -1;
		if (r > 0 && leave_journal(D, f, e) < 0)
			return -1;
	}
	if (f->way != WAY_JOURNAL && sys_pwrite(f->fd, p, n, offset) < 0)
		return err_sys(e, ERR_FAILURE, "cannot write");
	D->c->stats->ns_write += run_now_ns() - since;
	D->c->stats->bytes_written += n;
	f->bytes += n;
	return 0;
}

static int put_hole(struct dest *D, struct dfile *f, uint64_t offset, uint64_t n, struct err *e)
{
	if (offset > (uint64_t)INT64_MAX - n)
		return err_set(e, ERR_PROTOCOL, "the source sent a hole beyond any file");
	if (open_way(D, f, e) < 0)
		return -1;
	if (f->way == WAY_JOURNAL) {
		if (journal_hole(f->journal, offset, n, e) < 0)
			return -1;
	} else if (f->way == WAY_CLONE && sys_punch(f->fd, offset, n) < 0) {
		return err_sys(e, ERR_FAILURE, "cannot punch a hole");
	}
	return 0;
}

static int put_copy(struct dest *D, struct dfile *f, uint64_t dst, uint64_t src, uint64_t n,
		    struct err *e)
{
	if (dst > (uint64_t)INT64_MAX - n || src > f->basis_size || n > f->basis_size - src)
		return err_set(e, ERR_PROTOCOL,
			       "the source refers to content the old file does not have");
	if (open_way(D, f, e) < 0)
		return -1;
	f->matched += n;
	if (f->way == WAY_JOURNAL && dst == src)
		return 0;
	if (f->way == WAY_JOURNAL && leave_journal(D, f, e) < 0)
		return -1;
	if (f->way == WAY_CLONE && dst == src)
		return 0;
	if (f->basis_fd < 0)
		return err_set(e, ERR_PARTIAL, "the old file vanished");
	int r = f->way == WAY_CLONE ? sys_copy_range(f->basis_fd, src, f->fd, dst, n)
				    : copy_extents(f->basis_fd, src, f->fd, dst, n);
	if (r < 0)
		return err_sys(e, ERR_FAILURE, "cannot copy from the old file");
	D->c->stats->bytes_written += n;
	return 0;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* The content hash of what is on disk now, holes skipped; with punch, whole leaves of zeros become
 * holes. */
int content_of(int fd, uint64_t size, bool punch, uint8_t *data, struct h128 *out, struct err *e)
{
	struct h128 sum = {0};
	for (uint64_t at = 0; at < size;) {
		off_t next = lseek(fd, (off_t)at, SEEK_DATA);
		if (next < 0 && errno == ENXIO)
			break;
		if (next > 0 && (uint64_t)next > at)
			at = (uint64_t)next - (uint64_t)next % LEAF_BYTES;
		if (at >= size)
			break;
		size_t want = size - at < SEGMENT_RAW_MAX ? (size_t)(size - at) : SEGMENT_RAW_MAX;
		ssize_t n = sys_pread(fd, data, want, at);
		if (n < 0)
			return err_sys(e, ERR_FAILURE, "cannot read back");
		if ((size_t)n != want)
			return err_set(e, ERR_VERIFY, "is shorter on disk than what was written");
		for (size_t k = 0; k < want; k += LEAF_BYTES) {
			size_t len = want - k < LEAF_BYTES ? want - k : LEAF_BYTES;
			if (!all_zero(data + k, len))
				h128_add(&sum, hash_leaf_term((at + k) / LEAF_BYTES,
							      hash128(NULL, data + k, len)));
			else if (punch && len == LEAF_BYTES)
				sys_punch(fd, at + k, len);
		}
		at += want;
	}
	*out = hash_content(size, sum);
	return 0;
}

static int take_meta(struct dfile *f, struct bytes raw, uint64_t size, struct err *e)
{
	if (raw.n) {
		free(f->meta);
		f->meta = (uint8_t *)mem_dup(raw.p, raw.n);
		f->meta_len = raw.n;
	}
	struct meta m;
	struct cursor c = cursor_of(f->meta, f->meta_len);
	meta_decode(&m, &c);
	if (c.bad || cursor_left(&c) || m.type != ENTRY_FILE || m.size != size)
		return err_set(e, ERR_PROTOCOL,
			       "the source sent attributes that do not fit the file");
	return 0;
}

/* A clone has its size already, and XFS answers even a truncation that changes nothing by writing
 * the last block again, with preallocated space around it that then counts as data. */
static int set_size(int fd, uint64_t size)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -1;
	return (uint64_t)st.st_size == size ? 0 : sys_ftruncate(fd, size);
}

/* Verifies what is on disk, sets the attributes, hands the temp to the next epoch. */
static int complete(struct writer *w, struct dfile *f, struct h128 content, struct err *e)
{
	struct dest *D = w->D;
	struct meta m;
	struct cursor c = cursor_of(f->meta, f->meta_len);
	meta_decode(&m, &c);
	uint8_t record[16 + NAME_BYTES_MAX];
	h128_store(record, content);
	memcpy(record + 16, f->name, f->name_len);
	f->term = hash128(NULL, record, 16 + f->name_len);
	f->content = content;
	if (f->way == WAY_JOURNAL)
		return journal_seal(D, f, &m, e);
	if (open_way(D, f, e) < 0)
		return -1;
	if (set_size(f->fd, m.size) < 0)
		return err_sys(e, ERR_FAILURE, "cannot set the size");
	struct h128 there;
	uint64_t since = run_now_ns();
	if (content_of(f->fd, m.size, D->mask.attrs & ATTR_SPARSE, w->back, &there, e) < 0)
		return -1;
	D->c->stats->ns_verify += run_now_ns() - since;
	if (!h128_equal(there, content))
		return err_set(e, ERR_VERIFY, "content on disk differs from what the source sent");
	if (attr_apply(f->fd, -1, NULL, &m, NULL, &D->mask, e) < 0)
		return -1;
	close(f->fd);
	f->fd = -1;
	f->has_temp = true;
	if (f->basis_fd >= 0)
		close(f->basis_fd);
	f->basis_fd = -1;
	return 0;
}

static void conclude(struct writer *w, struct dfile *f, struct h128 content)
{
	struct err why = {0};
	struct dest *D = w->D;
	if (complete(w, f, content, &why) < 0) {
		drop(D, f, &why, false);
		return;
	}
	if (f->compare_only)
		dest_tell_planner(D, WIRE_WANT, f);
	else
		dfile_ready(D, f);
}

int file_empty(struct dest *D, struct dfile *f)
{
	struct writer w = {.D = D, .back = mem_alloc_raw(1)};
	struct h128 zero = {0};
	struct err why = {0};
	f->no_content = true;
	if (complete(&w, f, hash_content(0, zero), &why) < 0)
		drop(D, f, &why, false);
	else
		dfile_ready(D, f);
	free(w.back);
	return 0;
}

static int take_pack_item(struct writer *w, struct cursor *c, struct err *e)
{
	struct dest *D = w->D;
	uint64_t fid = get_var(c, UINT64_MAX);
	uint8_t status = get_u8(c);
	get_var(c, 4095);
	struct bytes meta = get_bytes(c, META_BYTES_MAX);
	struct h128 content = get_h128(c);
	struct bytes data = get_bytes(c, PACK_FILE_MAX);
	if (c->bad || status > FILE_FAILED)
		return err_set(e, ERR_PROTOCOL, "the source sent a malformed pack");
	struct dfile *f = find_file(D, fid, e);
	if (!f)
		return -1;
	struct err why = {0};
	if (!claim(D, f))
		return err_set(e, ERR_PROTOCOL, "the source sent a file twice");
	if (f->way != WAY_NONE || f->covered || f->ended ||
	    (status == FILE_OK && take_meta(f, meta, data.n, e) < 0)) {
		file_over(D, f);
		return e->code ? -1
			       : err_set(e, ERR_PROTOCOL, "the source sent a file in two ways");
	}
	if (f->broken) {
		drop(D, f, &f->why, true);
		return 0;
	}
	if (status != FILE_OK) {
		err_set(&why, ERR_CHANGED, "not sent by the source");
		drop(D, f, &why, true);
		return 0;
	}
	if (data.n && put_data(D, f, data.p, data.n, 0, &why) < 0) {
		drop(D, f, &why, false);
		return 0;
	}
	D->c->stats->bytes_literal += data.n;
	conclude(w, f, content);
	return 0;
}

static int take_pack(struct writer *w, const struct link_frame *fr, struct err *e)
{
	struct msg_pack m;
	if (msg_pack_decode(&m, fr->payload, fr->length, e) < 0)
		return -1;
	struct bytes body = m.body;
	if (m.codec == CODEC_ZSTD) {
		if (m.raw_len == 0 ||
		    codec_decompress(w->codec, body.p, body.n, w->raw, m.raw_len, e) < 0)
			return e->code ? -1
				       : err_set(e, ERR_PROTOCOL, "the source sent an empty pack");
		body = (struct bytes){.p = w->raw, .n = m.raw_len};
	} else if (m.codec != CODEC_RAW || body.n != m.raw_len) {
		return err_set(e, ERR_PROTOCOL, "the source sent a pack of wrong length");
	}
	struct cursor c = cursor_of(body.p, body.n);
	for (int files = 0; cursor_left(&c); files++) {
		if (files == PACK_FILES_MAX)
			return err_set(e, ERR_PROTOCOL,
				       "the source sent too many files in one pack");
		if (take_pack_item(w, &c, e) < 0)
			return -1;
	}
	return 0;
}

/* After something came for the file: once the end and everything it counts are here, in whatever
 * order, the file is concluded. Called with f->lock held; releases it and the reference. */
static int advance(struct writer *w, struct dfile *f, struct err *e)
{
	struct dest *D = w->D;
	bool over = f->ended && f->covered == f->end.covered;
	bool lied = f->ended && (f->covered > f->end.covered ||
				 (f->end.status == FILE_OK && f->end.covered != f->end.size));
	pthread_mutex_unlock(&f->lock);
	if (!over || lied) {
		put_file(D, f);
		return lied ? err_set(e, ERR_PROTOCOL, "the source sent ranges that do not add up")
			    : 0;
	}
	if (!claim(D, f))
		return err_set(e, ERR_PROTOCOL, "the source ended a file twice");
	struct err gone = {0};
	if (f->end.status == FILE_SAME || f->end.status == FILE_DIFFERS) {
		f->same = f->end.status == FILE_SAME;
		dest_tell_planner(D, WIRE_WANT, f);
	} else if (f->end.status != FILE_OK) {
		err_set(&gone, ERR_CHANGED, "not sent by the source");
		drop(D, f, &gone, true);
	} else if (f->broken) {
		gone = f->why;
		drop(D, f, &gone, false);
	} else {
		D->c->stats->bytes_matched += f->matched;
		conclude(w, f, f->end.content);
	}
	return 0;
}

static void note(struct dfile *f, const struct err *why)
{
	if (!f->broken)
		f->why = *why;
	f->broken = true;
}

static int take_segment(struct writer *w, const struct link_frame *fr, struct err *e)
{
	struct msg_segment m;
	if (msg_segment_decode(&m, fr->payload, fr->length, e) < 0)
		return -1;
	struct bytes body = m.body;
	if (m.codec == CODEC_ZSTD) {
		if (m.raw_len == 0 ||
		    codec_decompress(w->codec, body.p, body.n, w->raw, m.raw_len, e) < 0)
			return e->code ? -1
				       : err_set(e, ERR_PROTOCOL,
						 "the source sent an empty segment");
		body = (struct bytes){.p = w->raw, .n = m.raw_len};
	} else if (m.codec != CODEC_RAW || body.n != m.raw_len) {
		return err_set(e, ERR_PROTOCOL, "the source sent a segment of wrong length");
	}
	if (hash64(NULL, body.p, body.n) != m.check)
		return err_set(e, ERR_PROTOCOL, "a segment arrived damaged");
	struct dfile *f = find_file(w->D, m.fid, e);
	if (!f)
		return -1;
	pthread_mutex_lock(&f->lock);
	struct err why = {0};
	w->D->c->stats->bytes_literal += body.n;
	f->covered += body.n;
	if (!f->broken && put_data(w->D, f, body.p, body.n, m.offset, &why) < 0)
		note(f, &why);
	return advance(w, f, e);
}

static int take_ranges(struct writer *w, const struct link_frame *fr, struct err *e)
{
	struct msg_ranges m;
	if (msg_ranges_decode(&m, fr->payload, fr->length, e) < 0)
		return -1;
	struct dfile *f = find_file(w->D, m.fid, e);
	if (!f)
		return -1;
	struct cursor c = cursor_of(m.ranges.p, m.ranges.n);
	pthread_mutex_lock(&f->lock);
	while (cursor_left(&c) && !c.bad) {
		uint8_t kind = get_u8(&c);
		uint64_t dst = get_var(&c, INT64_MAX);
		uint64_t src = kind == RANGE_COPY ? get_var(&c, INT64_MAX) : 0;
		uint64_t n = get_var(&c, INT64_MAX);
		if (c.bad || kind > RANGE_HOLE)
			break;
		struct err why = {0};
		int r = f->broken            ? 0
			: kind == RANGE_COPY ? put_copy(w->D, f, dst, src, n, &why)
					     : put_hole(w->D, f, dst, n, &why);
		f->covered += n;
		if (r < 0)
			note(f, &why);
	}
	bool bad = c.bad || cursor_left(&c);
	if (advance(w, f, e) < 0)
		return -1;
	return bad ? err_set(e, ERR_PROTOCOL, "the source sent malformed ranges") : 0;
}

static int take_end(struct writer *w, const struct link_frame *fr, struct err *e)
{
	struct msg_file_end m;
	if (msg_file_end_decode(&m, fr->payload, fr->length, e) < 0)
		return -1;
	if (m.status > FILE_DIFFERS)
		return err_set(e, ERR_PROTOCOL, "the source sent an unknown file status");
	struct dfile *f = find_file(w->D, m.fid, e);
	if (!f)
		return -1;
	pthread_mutex_lock(&f->lock);
	bool twice = f->ended;
	if (twice || (m.status == FILE_OK && take_meta(f, m.meta, m.size, e) < 0)) {
		pthread_mutex_unlock(&f->lock);
		put_file(w->D, f);
		return twice ? err_set(e, ERR_PROTOCOL, "the source ended a file twice") : -1;
	}
	f->end = m;
	f->end.meta = (struct bytes){0};
	f->ended = true;
	return advance(w, f, e);
}

void *writer_main(void *arg)
{
	struct dest *D = arg;
	struct writer w = {.D = D,
			   .codec = codec_new(),
			   .raw = mem_alloc_raw(PACK_RAW_MAX),
			   .back = mem_alloc_raw(SEGMENT_RAW_MAX)};
	struct link_frame *f;
	while ((f = mailbox_take(&D->data, -1))) {
		struct err e = {0};
		int r;
		switch (f->type) {
		case WIRE_PACK:
			r = take_pack(&w, f, &e);
			break;
		case WIRE_SEGMENT:
			r = take_segment(&w, f, &e);
			break;
		case WIRE_RANGES:
			r = take_ranges(&w, f, &e);
			break;
		default:
			r = take_end(&w, f, &e);
		}
		link_done(D->link, f);
		if (r < 0)
			dest_fail(D, &e);
	}
	codec_free(w.codec);
	free(w.raw);
	free(w.back);
	return NULL;
}
