/* SPDX-License-Identifier: Apache-2.0 */
#include "rsdelta.h"

#include <errno.h>
#include <librsync.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "mem.h"

enum {
	PIECE_MAX = 256 << 10,
	PIECE_MIN = 16 << 10,
	OUT_LEN = 64 << 10,
	GROUP_BITS = 14, /* low bits of the weak sum that tell its neighbourhood in the table */
	CHAIN_MAX = 64,
	SLOW_NS_PER_BYTE = 200, /* honest data takes 2-10 */
};

static const uint64_t HOPELESS_BYTES = 8u << 20;
static const uint64_t TRAP_NS = 250u * 1000 * 1000;
static const uint64_t TRAP_NS_PER_BYTE = 60;

struct rsdelta_sig {
	rs_signature_t *sums;
	uint64_t window_len;
	uint64_t block_len;
	uint8_t *records; /* as they came: RSDELTA_SIG_RECORD bytes for each block */
};

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t thread_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Reads exactly n bytes; a file that ends early was changed under us. */
static int read_exact(int fd, void *p, size_t n, uint64_t off, struct err *e)
{
	size_t got = 0;
	while (got < n) {
		ssize_t r = pread(fd, (uint8_t *)p + got, n - got, (off_t)(off + got));
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return err_sys(e, ERR_FAILURE, "cannot read at offset %llu",
				       (unsigned long long)(off + got));
		if (r == 0)
			return err_set(e, ERR_CHANGED,
				       "the file ends at offset %llu, it was longer before",
				       (unsigned long long)(off + got));
		got += (size_t)r;
	}
	return 0;
}

static int lib_error(struct err *e, const char *what, rs_result r)
{
	return err_set(e, ERR_FAILURE, "librsync cannot %s: %s", what, rs_strerror(r));
}

size_t rsdelta_block_len(uint64_t window_len)
{
	return window_len <= 4u << 20 ? 1024 : 2048;
}

static bool block_len_ok(uint64_t block_len)
{
	return block_len >= RSDELTA_BLOCK_MIN && block_len <= RSDELTA_BLOCK_MAX;
}

size_t rsdelta_sig_len(uint64_t window_len, size_t block_len)
{
	if (!window_len || window_len > RSDELTA_WINDOW_MAX || !block_len_ok(block_len))
		return 0;
	uint64_t blocks = (window_len + block_len - 1) / block_len;
	if (blocks > RSDELTA_BLOCKS_MAX)
		return 0;
	return RSDELTA_SIG_HEADER + (size_t)blocks * RSDELTA_SIG_RECORD;
}

/* Gives one piece of input to a job that writes into the memory at *at, at most *room bytes. */
static rs_result push(rs_job_t *job, uint8_t *in, size_t n, bool eof, uint8_t **at, size_t *room)
{
	rs_buffers_t b = {.next_in = (char *)in,
			  .avail_in = n,
			  .eof_in = eof,
			  .next_out = (char *)*at,
			  .avail_out = *room};
	rs_result r;
	size_t before;
	do {
		before = b.avail_in;
		r = rs_job_iter(job, &b);
	} while (r == RS_BLOCKED && b.avail_in && b.avail_in < before);
	*at = (uint8_t *)b.next_out;
	*room = b.avail_out;
	return r == RS_BLOCKED && b.avail_in ? RS_INTERNAL_ERROR : r;
}

static int sign_window(rs_job_t *job, int fd, uint64_t off, uint64_t len, uint8_t *out, size_t room,
		       struct err *e)
{
	CLEANUP_FREE uint8_t *in = mem_alloc_raw(PIECE_MAX);
	rs_result r = RS_BLOCKED;
	for (uint64_t done = 0; done < len && r == RS_BLOCKED;) {
		size_t n = len - done < PIECE_MAX ? (size_t)(len - done) : PIECE_MAX;
		if (read_exact(fd, in, n, off + done, e) < 0)
			return -1;
		done += n;
		r = push(job, in, n, done == len, &out, &room);
	}
	if (r != RS_DONE)
		return lib_error(e, "make a signature", r);
	if (room)
		return err_set(e, ERR_FAILURE, "librsync made a signature of unexpected length");
	return 0;
}

int rsdelta_signature(int fd, uint64_t off, uint64_t len, size_t block_len, struct buf *out,
		      struct err *e)
{
	size_t need = rsdelta_sig_len(len, block_len);
	if (!need || off > INT64_MAX - len)
		return err_set(e, ERR_USAGE,
			       "a signature of %llu bytes in blocks of %zu is beyond limits",
			       (unsigned long long)len, block_len);
	if (buf_reserve(out, need) < 0)
		return err_set(e, ERR_USAGE, "no room for a signature of %zu bytes", need);
	rs_job_t *job = rs_sig_begin(block_len, RSDELTA_STRONG, RS_RK_BLAKE2_SIG_MAGIC);
	if (!job)
		return lib_error(e, "begin a signature", RS_MEM_ERROR);
	int r = sign_window(job, fd, off, len, out->data + out->len, need, e);
	rs_job_free(job);
	if (r == 0)
		out->len += need;
	return r;
}

static int check_signature(const uint8_t *p, size_t n, uint64_t window_len, struct err *e)
{
	if (n < RSDELTA_SIG_HEADER || n > RSDELTA_SIG_MAX)
		return err_set(e, ERR_PROTOCOL, "a block signature of %zu bytes", n);
	if (be32(p) != RS_RK_BLAKE2_SIG_MAGIC)
		return err_set(e, ERR_PROTOCOL, "a block signature of unknown kind 0x%08x",
			       be32(p));
	if (be32(p + 8) != RSDELTA_STRONG)
		return err_set(e, ERR_PROTOCOL, "a block signature with strong sums of %u bytes",
			       be32(p + 8));
	size_t want = rsdelta_sig_len(window_len, be32(p + 4));
	if (!want || n != want)
		return err_set(e, ERR_PROTOCOL,
			       "a block signature of %zu bytes for %llu bytes in blocks of %u", n,
			       (unsigned long long)window_len, be32(p + 4));
	return 0;
}

static int compare_keys(const void *a, const void *b)
{
	uint64_t x, y;
	memcpy(&x, a, sizeof x);
	memcpy(&y, b, sizeof y);
	return (x > y) - (x < y);
}

static const uint8_t *record_at(const uint8_t *records, uint64_t key)
{
	return records + (size_t)(uint32_t)key * RSDELTA_SIG_RECORD;
}

/*
 * librsync's hash table takes the low bits of the weak sum as they are and chains without limit,
 * and the weak sum is easy to steer: a crafted file would make loading and searching quadratic.
 * Different records beyond CHAIN_MAX of one group of low bits become copies of its first, which
 * the table leaves out as duplicates; their blocks are then sent as literals. An honest group has
 * 4 records in the mean.
 */
static void shorten_chains(uint8_t *records, size_t count)
{
	CLEANUP_FREE uint64_t *keys = mem_alloc(count, sizeof *keys);
	for (size_t i = 0; i < count; i++) {
		uint64_t weak = be32(records + i * RSDELTA_SIG_RECORD);
		uint64_t group = weak & ((1u << GROUP_BITS) - 1);
		keys[i] = group << (64 - GROUP_BITS) | weak >> GROUP_BITS << 32 | i;
	}
	qsort(keys, count, sizeof *keys, compare_keys);
	size_t first = 0, different = 1;
	for (size_t i = 1; i < count; i++) {
		const uint8_t *record = record_at(records, keys[i]);
		if ((keys[i] ^ keys[first]) >> (64 - GROUP_BITS)) {
			first = i;
			different = 1;
		} else if (memcmp(record, record_at(records, keys[i - 1]), RSDELTA_SIG_RECORD) !=
			   0) {
			different++;
		}
		if (different > CHAIN_MAX)
			memcpy(records + (record - records), record_at(records, keys[first]),
			       RSDELTA_SIG_RECORD);
	}
}

static rs_result feed_signature(uint8_t *p, size_t n, rs_signature_t **sums)
{
	rs_job_t *job = rs_loadsig_begin(sums);
	if (!job)
		return RS_MEM_ERROR;
	rs_result r = RS_BLOCKED;
	for (size_t done = 0; done < n && r == RS_BLOCKED;) {
		size_t piece = n - done < PIECE_MAX ? n - done : PIECE_MAX;
		uint8_t *none = NULL;
		size_t room = 0;
		r = push(job, p + done, piece, done + piece == n, &none, &room);
		done += piece;
	}
	rs_job_free(job);
	return r == RS_DONE ? rs_build_hash_table(*sums) : r;
}

int rsdelta_load(const void *p, size_t n, uint64_t window_len, struct rsdelta_sig **out,
		 struct err *e)
{
	if (check_signature(p, n, window_len, e) < 0)
		return -1;
	CLEANUP_FREE uint8_t *copy = mem_alloc_raw(n);
	memcpy(copy, p, n);
	shorten_chains(copy + RSDELTA_SIG_HEADER, (n - RSDELTA_SIG_HEADER) / RSDELTA_SIG_RECORD);
	rs_signature_t *sums = NULL;
	rs_result r = feed_signature(copy, n, &sums);
	if (r != RS_DONE) {
		if (sums)
			rs_free_sumset(sums);
		return err_set(e, ERR_PROTOCOL, "librsync refuses a block signature: %s",
			       rs_strerror(r));
	}
	struct rsdelta_sig *s = mem_alloc(1, sizeof *s);
	s->sums = sums;
	s->window_len = window_len;
	s->block_len = be32(copy + 4);
	s->records =
		(uint8_t *)mem_dup((const uint8_t *)p + RSDELTA_SIG_HEADER, n - RSDELTA_SIG_HEADER);
	*out = s;
	return 0;
}

void rsdelta_sig_free(struct rsdelta_sig *s)
{
	if (!s)
		return;
	rs_free_sumset(s->sums);
	free(s->records);
	free(s);
}

uint64_t rsdelta_sig_window(const struct rsdelta_sig *s)
{
	return s->window_len;
}

/* The command bytes of librsync's delta format. */
enum {
	OP_END = 0x00,
	OP_LITERAL_1 = 0x01, /* to OP_LITERAL_64: the length itself */
	OP_LITERAL_64 = 0x40,
	OP_LITERAL_N1 = 0x41, /* to N8: length in 1, 2, 4, 8 bytes */
	OP_LITERAL_N8 = 0x44,
	OP_COPY_N1_N1 = 0x45, /* to N8_N8: offset, then length, big endian */
	OP_COPY_N8_N8 = 0x54,
};

enum parse_state { AT_MAGIC, AT_OP, AT_ARGS, AT_LITERAL, AT_END };

/* One delta under way: librsync's output is parsed as it comes, in pieces cut anywhere. */
struct delta {
	const struct rsdelta_sig *sig;
	const struct rsdelta_sink *sink;
	struct rsdelta_stats *st;
	uint64_t src_off; /* start of the range in the source file */
	uint64_t src_len;

	enum parse_state state;
	uint8_t head[20]; /* bytes of the command being read */
	size_t have, want;
	size_t off_bytes, len_bytes; /* widths of its arguments */
	uint64_t literal_left;

	uint64_t described;           /* bytes of source in commands seen, emitted or pending */
	uint64_t copy_from, copy_len; /* pending COPY; at most one of copy and literal is pending */
	size_t lit_len;
	uint8_t lit[RSDELTA_LITERAL_MAX];

	size_t in_len;
	uint8_t in[PIECE_MAX];
	uint8_t out[OUT_LEN];
};

static int emit_pending(struct delta *d, struct err *e)
{
	struct rsdelta_cmd c = {.src = d->src_off + d->st->covered};
	if (d->copy_len) {
		c.kind = RSDELTA_COPY;
		c.from = d->copy_from;
		c.len = d->copy_len;
		d->st->copied += c.len;
		d->st->copies++;
	} else if (d->lit_len) {
		c.kind = RSDELTA_LITERAL;
		c.bytes = d->lit;
		c.len = d->lit_len;
		d->st->literal += c.len;
		d->st->literals++;
	} else {
		return 0;
	}
	d->copy_len = 0;
	d->lit_len = 0;
	d->st->covered += c.len;
	return d->sink->emit(d->sink->arg, &c, e) < 0 ? -1 : 0;
}

/* Counts n more bytes of source as described; more than there are is a fault of the library. */
static int describe(struct delta *d, uint64_t n, struct err *e)
{
	if (n > d->src_len - d->described)
		return err_set(e, ERR_FAILURE, "librsync describes more bytes than it was given");
	d->described += n;
	return 0;
}

/*
 * How many of the len bytes at `from` the basis also has at `at`, by the signature, in whole
 * blocks. librsync knows only the first of equal blocks, so that a run of zeros or a repeated page
 * would cut one long copy into many.
 */
static uint64_t same_bytes(const struct rsdelta_sig *s, uint64_t from, uint64_t at, uint64_t len)
{
	uint64_t block = s->block_len;
	uint64_t done = 0;
	if (from % block || at % block)
		return 0;
	while (done < len && at + done < s->window_len) {
		uint64_t n = len - done < block ? len - done : block;
		const uint8_t *a = s->records + (from + done) / block * RSDELTA_SIG_RECORD;
		const uint8_t *b = s->records + (at + done) / block * RSDELTA_SIG_RECORD;
		if (n > s->window_len - at - done || memcmp(a, b, RSDELTA_SIG_RECORD) != 0)
			break;
		done += n;
	}
	return done;
}

static int add_copy(struct delta *d, uint64_t from, uint64_t len, struct err *e)
{
	if (rsdelta_check_copy(from, len, d->sig->window_len, e) < 0 || describe(d, len, e) < 0)
		return -1;
	if (d->copy_len) {
		uint64_t end = d->copy_from + d->copy_len;
		uint64_t n = end == from ? len : same_bytes(d->sig, from, end, len);
		d->copy_len += n;
		from += n;
		len -= n;
	}
	if (!len)
		return 0;
	if (emit_pending(d, e) < 0)
		return -1;
	d->copy_from = from;
	d->copy_len = len;
	return 0;
}

static int add_literal(struct delta *d, const uint8_t *p, size_t n, struct err *e)
{
	if (describe(d, n, e) < 0 || (d->copy_len && emit_pending(d, e) < 0))
		return -1;
	while (n) {
		size_t k = sizeof d->lit - d->lit_len < n ? sizeof d->lit - d->lit_len : n;
		memcpy(d->lit + d->lit_len, p, k);
		d->lit_len += k;
		p += k;
		n -= k;
		if (d->lit_len == sizeof d->lit && emit_pending(d, e) < 0)
			return -1;
	}
	return 0;
}

static void expect(struct delta *d, enum parse_state state, size_t want)
{
	d->state = state;
	d->have = 0;
	d->want = want;
}

static int begin_command(struct delta *d, uint8_t op, struct err *e)
{
	if (op == OP_END) {
		expect(d, AT_END, 0);
	} else if (op <= OP_LITERAL_64) {
		expect(d, AT_LITERAL, 0);
		d->literal_left = op;
	} else if (op <= OP_LITERAL_N8) {
		d->off_bytes = 0;
		d->len_bytes = (size_t)1 << (op - OP_LITERAL_N1);
		expect(d, AT_ARGS, d->len_bytes);
	} else if (op <= OP_COPY_N8_N8) {
		d->off_bytes = (size_t)1 << (op - OP_COPY_N1_N1) / 4;
		d->len_bytes = (size_t)1 << (op - OP_COPY_N1_N1) % 4;
		expect(d, AT_ARGS, d->off_bytes + d->len_bytes);
	} else {
		return err_set(e, ERR_FAILURE, "librsync wrote an unknown command 0x%02x", op);
	}
	return 0;
}

static uint64_t big_endian(const uint8_t *p, size_t n)
{
	uint64_t v = 0;
	for (size_t i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

/* All bytes of the current head are there. */
static int end_head(struct delta *d, struct err *e)
{
	enum parse_state state = d->state;
	expect(d, AT_OP, 1);
	if (state == AT_MAGIC)
		return be32(d->head) == RS_DELTA_MAGIC
			       ? 0
			       : err_set(e, ERR_FAILURE, "librsync wrote an unknown delta format");
	if (state == AT_OP)
		return begin_command(d, d->head[0], e);
	uint64_t len = big_endian(d->head + d->off_bytes, d->len_bytes);
	if (d->off_bytes)
		return add_copy(d, big_endian(d->head, d->off_bytes), len, e);
	expect(d, AT_LITERAL, 0);
	d->literal_left = len;
	return 0;
}

static int parse(struct delta *d, const uint8_t *p, size_t n, struct err *e)
{
	while (n) {
		if (d->state == AT_END)
			return err_set(e, ERR_FAILURE,
				       "librsync wrote on after the end of a delta");
		size_t k;
		if (d->state == AT_LITERAL) {
			k = d->literal_left < n ? (size_t)d->literal_left : n;
			if (add_literal(d, p, k, e) < 0)
				return -1;
			d->literal_left -= k;
			if (!d->literal_left)
				expect(d, AT_OP, 1);
		} else {
			k = d->want - d->have < n ? d->want - d->have : n;
			memcpy(d->head + d->have, p, k);
			d->have += k;
			if (d->have == d->want && end_head(d, e) < 0)
				return -1;
		}
		p += k;
		n -= k;
	}
	return 0;
}

/*
 * Lets the job work on d->in until it wants more input. What it leaves over is moved to the front:
 * librsync 2.3.2 takes everything, 2.3.3 and later may leave a tail.
 * 0 blocked for input, 1 done, -1 error.
 */
static int work(struct delta *d, rs_job_t *job, bool eof, struct err *e)
{
	rs_buffers_t b = {.next_in = (char *)d->in, .avail_in = d->in_len, .eof_in = eof};
	rs_result r;
	bool moved;
	do {
		size_t before = b.avail_in;
		b.next_out = (char *)d->out;
		b.avail_out = sizeof d->out;
		r = rs_job_iter(job, &b);
		if (r != RS_DONE && r != RS_BLOCKED)
			return lib_error(e, "make a delta", r);
		size_t made = sizeof d->out - b.avail_out;
		if (parse(d, d->out, made, e) < 0)
			return -1;
		moved = made || b.avail_in != before;
	} while (r == RS_BLOCKED && moved && (eof || !b.avail_out));
	if (b.avail_in)
		memmove(d->in, b.next_in, b.avail_in);
	d->in_len = b.avail_in;
	if (r == RS_BLOCKED && (eof || d->in_len == sizeof d->in))
		return lib_error(e, "make a delta", RS_INTERNAL_ERROR);
	return r == RS_DONE;
}

/* Bytes to read next: grown while the search is quick, so that a trap shows in its first bytes. */
static size_t next_piece(size_t piece, size_t n, uint64_t ns)
{
	if (ns > (uint64_t)n * SLOW_NS_PER_BYTE)
		return PIECE_MIN;
	return piece < PIECE_MAX / 2 ? piece * 2 : PIECE_MAX;
}

static int search(struct delta *d, rs_job_t *job, int fd, struct err *e)
{
	struct rsdelta_stats *st = d->st;
	uint64_t start = thread_ns();
	size_t piece = PIECE_MIN;
	int done = 0;
	while (!done) {
		if (d->sink->stop && d->sink->stop(d->sink->arg, st))
			return emit_pending(d, e) < 0 ? -1 : RSDELTA_STOPPED;
		size_t n = sizeof d->in - d->in_len < piece ? sizeof d->in - d->in_len : piece;
		if (n > d->src_len - st->consumed)
			n = (size_t)(d->src_len - st->consumed);
		if (read_exact(fd, d->in + d->in_len, n, d->src_off + st->consumed, e) < 0)
			return -1;
		d->in_len += n;
		st->consumed += n;
		done = work(d, job, st->consumed == d->src_len, e);
		if (done < 0)
			return -1;
		uint64_t ns = thread_ns() - start;
		piece = next_piece(piece, n, ns - st->ns);
		st->ns = ns;
	}
	if (d->state != AT_END || d->described != d->src_len)
		return err_set(e, ERR_FAILURE, "librsync described %llu of %llu bytes",
			       (unsigned long long)d->described, (unsigned long long)d->src_len);
	return emit_pending(d, e);
}

int rsdelta_delta(const struct rsdelta_sig *s, int fd, uint64_t off, uint64_t len,
		  const struct rsdelta_sink *sink, struct rsdelta_stats *st, struct err *e)
{
	*st = (struct rsdelta_stats){0};
	if (len > RSDELTA_RANGE_MAX || off > INT64_MAX - len)
		return err_set(e, ERR_USAGE, "a delta of %llu bytes is beyond limits",
			       (unsigned long long)len);
	if (!len)
		return 0;
	CLEANUP_FREE struct delta *d = mem_alloc_raw(sizeof *d);
	memset(d, 0, offsetof(struct delta, lit));
	d->in_len = 0;
	d->sink = sink;
	d->st = st;
	d->src_off = off;
	d->src_len = len;
	d->sig = s;
	expect(d, AT_MAGIC, 4);
	rs_job_t *job = rs_delta_begin(s->sums);
	if (!job)
		return lib_error(e, "begin a delta", RS_MEM_ERROR);
	int r = search(d, job, fd, e);
	rs_job_free(job);
	return r;
}

bool rsdelta_hopeless(const struct rsdelta_stats *so_far)
{
	if (so_far->ns > TRAP_NS + so_far->consumed * TRAP_NS_PER_BYTE)
		return true;
	/* What was searched and not yet described is, but for one literal at most, a match that
	 * still goes on. */
	uint64_t running = so_far->consumed - so_far->covered;
	uint64_t found = so_far->copied + (running > RSDELTA_LITERAL_MAX ? running : 0);
	return so_far->consumed >= HOPELESS_BYTES && found < so_far->consumed / 20;
}

int rsdelta_check_copy(uint64_t from, uint64_t len, uint64_t window_len, struct err *e)
{
	if (len && from <= window_len && len <= window_len - from)
		return 0;
	return err_set(e, ERR_PROTOCOL, "a copy of %llu bytes at %llu in a window of %llu",
		       (unsigned long long)len, (unsigned long long)from,
		       (unsigned long long)window_len);
}
