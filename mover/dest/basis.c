/* SPDX-License-Identifier: Apache-2.0 */
/* The summer thread: hashes, anchors and signatures of old files, asked for by the source. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "anchor.h"
#include "dest_int.h"
#include "mem.h"
#include "rsdelta.h"
#include "sys.h"

enum { CHUNK = 262144, SUMS_FLUSH = 64 << 10, PAGES_PER_LEAF = LEAF_BYTES / PAGE_BYTES };

struct summing {
	struct dest *D;
	uint64_t fid, size;
	int fd;
	uint8_t level;
	uint64_t first; /* of the next frame */
	struct buf sums, frame;
	uint8_t *data;             /* CHUNK bytes */
	uint64_t data_to, hole_to; /* the extent that the last look met ends here */
	struct h128 zero_leaf;
};

static int flush(struct summing *s, bool last, struct err *e)
{
	struct msg_sums m = {.fid = s->fid,
			     .level = s->level,
			     .first = s->first,
			     .last = last,
			     .sums = {.p = s->sums.data, .n = s->sums.len}};
	buf_clear(&s->frame);
	msg_sums_encode(&m, &s->frame);
	s->first += s->sums.len;
	buf_clear(&s->sums);
	return link_send(s->D->link, WIRE_SUMS, &s->frame, e);
}

/* The hash of one leaf; one past the end hashes as empty. */
static int leaf(struct summing *s, uint64_t index, struct h128 *out)
{
	uint64_t at = index * LEAF_BYTES;
	size_t want = at >= s->size               ? 0
		      : s->size - at < LEAF_BYTES ? (size_t)(s->size - at)
						  : LEAF_BYTES;
	if (want == LEAF_BYTES && at + want > s->data_to && at + want > s->hole_to) {
		off_t next = lseek(s->fd, (off_t)at, SEEK_DATA);
		if (next < 0 && errno == ENXIO)
			s->hole_to = s->size;
		else if (next > 0 && (uint64_t)next > at)
			s->hole_to = (uint64_t)next;
		else
			next = lseek(s->fd, (off_t)at, SEEK_HOLE);
		if (s->hole_to <= at)
			s->data_to = next < 0 ? s->size : (uint64_t)next;
	}
	if (want == LEAF_BYTES && at + want <= s->hole_to && at + want > s->data_to) {
		*out = s->zero_leaf;
		return 0;
	}
	if (want && sys_pread(s->fd, s->data, want, at) != (ssize_t)want)
		return -1;
	*out = hash128(&s->D->key, s->data, want);
	return 0;
}

static int send_leaves(struct summing *s, uint64_t first, uint64_t count, struct err *e)
{
	for (uint64_t i = 0; i < count; i++) {
		struct h128 h;
		if (leaf(s, first + i, &h) < 0)
			return 0;
		put_h128(&s->sums, h);
		if (s->sums.len >= SUMS_FLUSH && flush(s, false, e) < 0)
			return -1;
	}
	return 0;
}

static int send_windows(struct summing *s, uint64_t first, uint64_t count, struct err *e)
{
	CLEANUP_FREE uint8_t *leaves = mem_alloc(WINDOW_LEAVES, 16);
	for (uint64_t w = 0; w < count; w++) {
		for (uint64_t i = 0; i < WINDOW_LEAVES; i++) {
			struct h128 h;
			if (leaf(s, (first + w) * WINDOW_LEAVES + i, &h) < 0)
				return 0;
			h128_store(leaves + 16 * i, h);
		}
		put_h128(&s->sums, hash128(&s->D->key, leaves, WINDOW_LEAVES * 16));
		if (s->sums.len >= SUMS_FLUSH && flush(s, false, e) < 0)
			return -1;
	}
	return 0;
}

static int send_pages(struct summing *s, struct bytes list, struct err *e)
{
	struct cursor c = cursor_of(list.p, list.n);
	while (cursor_left(&c)) {
		uint64_t at = (uint64_t)get_u32(&c) * LEAF_BYTES;
		size_t want = at >= s->size               ? 0
			      : s->size - at < LEAF_BYTES ? (size_t)(s->size - at)
							  : LEAF_BYTES;
		if (c.bad || (want && sys_pread(s->fd, s->data, want, at) != (ssize_t)want))
			return 0;
		for (size_t p = 0; p < PAGES_PER_LEAF; p++) {
			size_t from = p * PAGE_BYTES < want ? p * PAGE_BYTES : want;
			size_t len = want - from < PAGE_BYTES ? want - from : PAGE_BYTES;
			put_u64(&s->sums, hash64(&s->D->key, s->data + from, len));
		}
		if (s->sums.len >= SUMS_FLUSH && flush(s, false, e) < 0)
			return -1;
	}
	return 0;
}

static int send_anchors(struct summing *s)
{
	struct h128 seed = hash128(&s->D->key, "anchors", 7);
	struct anchor_params params = anchor_params_for(seed.lo, s->size);
	struct anchor_scan *scan = anchor_scan_new(&params, NULL);
	for (uint64_t at = 0; at < s->size;) {
		off_t data = lseek(s->fd, (off_t)at, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break;
		if (data > 0 && (uint64_t)data > at)
			at = (uint64_t)data;
		size_t want = s->size - at < CHUNK ? (size_t)(s->size - at) : CHUNK;
		ssize_t n = sys_pread(s->fd, s->data, want, at);
		if (n <= 0)
			break;
		anchor_scan_feed(scan, s->data, (size_t)n, at);
		at += (uint64_t)n;
	}
	struct anchor_list list = anchor_scan_finish(scan);
	anchor_scan_free(scan);
	anchor_encode(&list, &s->sums);
	anchor_list_release(&list);
	return 0;
}

/* Opens the old file for as long as it is needed; -1 if it is not what the plan was made for. */
static int open_basis(struct dest *D, uint64_t fid, uint64_t *size)
{
	pthread_mutex_lock(&D->lock);
	struct dfile *f = ptrmap_get(&D->files, fid);
	struct dir *d = f ? dir_ref(D->dirs, f->dd->d) : NULL;
	CLEANUP_FREE char *name = f ? mem_dup(f->name, f->name_len) : NULL;
	*size = f ? f->basis_size : 0;
	pthread_mutex_unlock(&D->lock);
	if (!d)
		return -1;
	struct err why;
	int dirfd = dir_pin(D->dirs, d, &why);
	int fd = -1;
	if (dirfd >= 0) {
		fd = sys_openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
		dir_unpin(D->dirs, d);
	}
	dir_unref(D->dirs, d);
	struct stat st;
	if (fd >= 0 &&
	    (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != *size)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static int answer_sums(struct summing *s, const struct link_frame *f, struct err *e)
{
	struct msg_sums_req m;
	if (msg_sums_req_decode(&m, f->payload, f->length, e) < 0)
		return -1;
	if (m.level > SUMS_ANCHORS || m.leaves.n % 4 || (m.level != SUMS_PAGES && m.leaves.n))
		return err_set(e, ERR_PROTOCOL, "the source asked for sums in an unknown way");
	s->fid = m.fid;
	s->level = m.level;
	s->data_to = s->hole_to = 0;
	memset(s->data, 0, LEAF_BYTES);
	s->zero_leaf = hash128(&s->D->key, s->data, LEAF_BYTES);
	s->fd = open_basis(s->D, m.fid, &s->size);
	int r = 0;
	if (s->fd >= 0 && m.first < INT64_MAX / LEAF_BYTES / WINDOW_LEAVES) {
		if (m.level == SUMS_LEAVES)
			r = send_leaves(s, m.first, m.count, e);
		else if (m.level == SUMS_WINDOWS)
			r = send_windows(s, m.first, m.count, e);
		else if (m.level == SUMS_PAGES)
			r = send_pages(s, m.leaves, e);
		else
			r = send_anchors(s);
	}
	if (s->fd >= 0)
		close(s->fd);
	return r < 0 ? -1 : flush(s, true, e);
}

static int answer_signature(struct summing *s, const struct link_frame *f, struct err *e)
{
	struct msg_signature_req m;
	if (msg_signature_req_decode(&m, f->payload, f->length, e) < 0)
		return -1;
	s->fid = m.fid;
	s->level = SUMS_SIGNATURE;
	s->fd = open_basis(s->D, m.fid, &s->size);
	CLEANUP_BUF struct buf sig;
	buf_init(&sig, RSDELTA_SIG_MAX);
	struct err why;
	if (s->fd >= 0 && m.length && m.offset <= s->size && m.length <= s->size - m.offset) {
		uint64_t since = run_now_ns();
		rsdelta_signature(s->fd, m.offset, m.length, rsdelta_block_len(m.length), &sig,
				  &why);
		s->D->c->stats->ns_delta += run_now_ns() - since;
	}
	if (s->fd >= 0)
		close(s->fd);
	for (size_t at = 0; at < sig.len;) {
		size_t n = sig.len - at < SUMS_FLUSH ? sig.len - at : SUMS_FLUSH;
		buf_put(&s->sums, sig.data + at, n);
		at += n;
		if (at < sig.len && flush(s, false, e) < 0)
			return -1;
	}
	return flush(s, true, e);
}

void *summer_main(void *arg)
{
	struct dest *D = arg;
	struct summing s = {.D = D, .data = mem_alloc_raw(CHUNK)};
	buf_init(&s.sums, FRAME_BODY_MAX);
	buf_init(&s.frame, FRAME_PAYLOAD_MAX);
	struct link_frame *f;
	while ((f = mailbox_take(&D->sums, -1))) {
		struct err e = {0};
		s.first = 0;
		buf_clear(&s.sums);
		int r = f->type == WIRE_SUMS_REQ ? answer_sums(&s, f, &e)
						 : answer_signature(&s, f, &e);
		link_done(D->link, f);
		if (r < 0)
			dest_fail(D, &e);
	}
	buf_release(&s.sums);
	buf_release(&s.frame);
	free(s.data);
	return NULL;
}
