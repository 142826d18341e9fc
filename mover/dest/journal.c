/* SPDX-License-Identifier: Apache-2.0 */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem.h"
#include "sys.h"

/*
 * On disk, little endian:
 *   header  "SCRBJRN1", u64 inode, u64 size, i64 mtime, u32 mtime_ns, varint length + path below
 * the root, then u64 hash of all that; padded to HEADER_BYTES record  u8 kind, u64 offset, u64
 * length, data: h128 of the old bytes, u64 hash of the new bytes, u64 hash of the record so far;
 * then the bytes seal    u8 KIND_SEAL, u64 new size, u64 number of records, zeros, u64 hash of the
 * seal
 */
enum {
	HEADER_BYTES = 4096 + PATH_BYTES_MAX,
	RECORD_BYTES = 1 + 8 + 8 + 16 + 8 + 8,
	KIND_DATA = 1,
	KIND_HOLE = 2,
	KIND_SEAL = 3,
	WORTH_FROM = 1 << 20, /* smaller files are written anew */
	CHUNK = SEGMENT_RAW_MAX,
};

static const uint8_t magic[8] = {'S', 'C', 'R', 'B', 'J', 'R', 'N', '1'};

struct journal {
	struct dest *owner;
	int fd;    /* the journal */
	int basis; /* the file to be changed; borrowed from the dfile */
	char name[TEMP_NAME_MAX];
	uint64_t at; /* end of what was written */
	uint64_t records, data_bytes, limit;
	uint8_t *old; /* CHUNK bytes of scratch */
	uint64_t new_size;
	uint64_t data_records; /* met by the last walk */
};

struct record {
	uint8_t kind;
	uint64_t offset, length;
	struct h128 old;
	uint64_t fresh;
};

bool journal_wanted(struct dest *D, const struct dfile *f)
{
	pthread_mutex_lock(&D->lock);
	bool many = D->journals_open >= EPOCH_JOURNALS;
	pthread_mutex_unlock(&D->lock);
	if (many || D->o->in_place == IN_PLACE_NEVER || f->basis_size == 0)
		return false;
	/* A name that is no name of ours would be changed with it. */
	if (f->own_nlink > 1)
		return false;
	if (D->o->in_place == IN_PLACE_ALWAYS)
		return true;
	return f->basis_size >= WORTH_FROM && !f->can_clone;
}

static void encode_record(const struct record *r, uint8_t raw[RECORD_BYTES])
{
	struct buf b = {.data = raw, .cap = RECORD_BYTES, .max = RECORD_BYTES};
	buf_put_u8(&b, r->kind);
	put_u64(&b, r->offset);
	put_u64(&b, r->length);
	put_h128(&b, r->old);
	put_u64(&b, r->fresh);
	put_u64(&b, hash64(NULL, raw, b.len));
}

static bool decode_record(struct record *r, const uint8_t raw[RECORD_BYTES])
{
	struct cursor c = cursor_of(raw, RECORD_BYTES);
	r->kind = get_u8(&c);
	r->offset = get_u64(&c);
	r->length = get_u64(&c);
	r->old = get_h128(&c);
	r->fresh = get_u64(&c);
	return get_u64(&c) == hash64(NULL, raw, RECORD_BYTES - 8) && r->kind >= KIND_DATA &&
	       r->kind <= KIND_SEAL && r->offset <= (uint64_t)INT64_MAX - r->length;
}

/* The hash of a file's bytes [offset, offset + n); what lies beyond its end counts as nothing. */
static int range_hash(int fd, uint8_t *scratch, uint64_t offset, size_t n, struct h128 *out,
		      struct err *e)
{
	ssize_t got = sys_pread(fd, scratch, n, offset);
	if (got < 0)
		return err_sys(e, ERR_FAILURE, "cannot read the old file");
	*out = hash128(NULL, scratch, (size_t)got);
	return 0;
}

static int write_header(struct dest *D, struct journal *j, const struct dfile *f,
			const struct stat *st, struct err *e)
{
	CLEANUP_BUF struct buf b;
	CLEANUP_BUF struct buf path;
	(void)D;
	buf_init(&b, HEADER_BYTES);
	buf_init(&path, PATH_BYTES_MAX);
	dir_path(f->dd->d, (struct bytes){.p = (const uint8_t *)f->name, .n = f->name_len}, &path);
	if (path.overflow)
		return err_set(e, ERR_PARTIAL, "path too long for a journal");
	buf_put(&b, magic, sizeof magic);
	put_u64(&b, st->st_ino);
	put_u64(&b, (uint64_t)st->st_size);
	put_u64(&b, (uint64_t)st->st_mtim.tv_sec);
	put_u32(&b, (uint32_t)st->st_mtim.tv_nsec);
	put_bytes(&b, path.data, path.len);
	put_u64(&b, hash64(NULL, b.data, b.len));
	j->at = HEADER_BYTES;
	return sys_pwrite(j->fd, b.data, b.len, 0) < 0
		       ? err_sys(e, ERR_FAILURE, "cannot write a journal")
		       : 0;
}

int journal_open(struct dest *D, struct dfile *f, struct err *e)
{
	int state = dest_state(D, e);
	int dirfd = state < 0 ? -1 : dir_pin(D->dirs, f->dd->d, e);
	if (dirfd < 0)
		return -1;
	if (f->basis_fd >= 0)
		close(f->basis_fd);
	f->basis_fd = sys_openat(dirfd, f->name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
	int sys = errno;
	dir_unpin(D->dirs, f->dd->d);
	struct stat st;
	if (f->basis_fd < 0 || fstat(f->basis_fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    (uint64_t)st.st_size != f->basis_size || st.st_nlink != 1) {
		errno = f->basis_fd < 0 ? sys : ESTALE;
		return err_sys(e, ERR_PARTIAL, "the old file is not what it was");
	}
	struct journal *j = mem_alloc(1, sizeof *j);
	snprintf(j->name, sizeof j->name, "j-%llu", (unsigned long long)++D->temps);
	j->basis = f->basis_fd;
	j->limit = D->o->in_place == IN_PLACE_ALWAYS ? UINT64_MAX : f->basis_size / 2;
	j->old = mem_alloc_raw(CHUNK);
	f->journal = j;
	j->owner = D;
	pthread_mutex_lock(&D->lock);
	D->journals_open++;
	pthread_mutex_unlock(&D->lock);
	j->fd = sys_openat(state, j->name, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW, 0600);
	if (j->fd < 0)
		return err_sys(e, ERR_FAILURE, "cannot create a journal");
	return write_header(D, j, f, &st, e);
}

void journal_free(struct journal *j)
{
	if (!j)
		return;
	pthread_mutex_lock(&j->owner->lock);
	j->owner->journals_open--;
	pthread_mutex_unlock(&j->owner->lock);
	if (j->fd >= 0)
		close(j->fd);
	free(j->old);
	free(j);
}

void journal_discard(struct dest *D, struct journal *j)
{
	struct err why;
	int state = j ? dest_state(D, &why) : -1;
	if (state >= 0)
		sys_unlinkat(state, j->name, 0);
	journal_free(j);
}

static int put_record(struct journal *j, const struct record *r, const uint8_t *p, struct err *e)
{
	uint8_t raw[RECORD_BYTES];
	encode_record(r, raw);
	if (sys_pwrite(j->fd, raw, sizeof raw, j->at) < 0)
		return err_sys(e, ERR_FAILURE, "cannot write a journal");
	j->at += sizeof raw;
	if (p && sys_pwrite(j->fd, p, (size_t)r->length, j->at) < 0)
		return err_sys(e, ERR_FAILURE, "cannot write a journal");
	j->at += p ? r->length : 0;
	j->records++;
	return 0;
}

int journal_data(struct journal *j, const uint8_t *p, size_t n, uint64_t offset, struct err *e)
{
	if (j->data_bytes + n > j->limit)
		return 1;
	for (size_t done = 0; done < n;) {
		size_t len = n - done < CHUNK ? n - done : CHUNK;
		struct record r = {.kind = KIND_DATA,
				   .offset = offset + done,
				   .length = len,
				   .fresh = hash64(NULL, p + done, len)};
		if (range_hash(j->basis, j->old, r.offset, len, &r.old, e) < 0 ||
		    put_record(j, &r, p + done, e) < 0)
			return -1;
		done += len;
	}
	j->data_bytes += n;
	return 0;
}

int journal_hole(struct journal *j, uint64_t offset, uint64_t n, struct err *e)
{
	struct record r = {.kind = KIND_HOLE, .offset = offset, .length = n};
	return put_record(j, &r, NULL, e);
}

/* May the record be written over what stands there? Old bytes, new bytes, or a page-wise mix of
 * both. */
static bool fits(int fd, const struct record *r, const uint8_t *fresh, uint8_t *scratch,
		 struct err *e)
{
	struct h128 there;
	size_t n = (size_t)r->length;
	if (range_hash(fd, scratch, r->offset, n, &there, e) < 0)
		return false;
	if (h128_equal(there, r->old))
		return true;
	/* Cut short while it was applied: from some page on it is still the old one, which the hash
	 * of the whole cannot show; so at least its beginning must be new. */
	return memcmp(scratch, fresh, n < PAGE_BYTES ? n : PAGE_BYTES) == 0;
}

enum walk_mode { WALK_CHECK, WALK_STRICT, WALK_APPLY };

/*
 * Goes through the records. CHECK: are they whole and is there a seal; STRICT: does each fit the
 * file as it was; APPLY: write them to `to`. 1 sealed, 0 not sealed or not fitting, -1 on error.
 */
static int walk(struct journal *j, int to, enum walk_mode mode, struct err *e)
{
	CLEANUP_FREE uint8_t *data = mem_alloc_raw(CHUNK);
	uint64_t at = HEADER_BYTES;
	j->data_records = 0;
	for (uint64_t count = 0;; count++) {
		uint8_t raw[RECORD_BYTES];
		struct record r;
		ssize_t n = sys_pread(j->fd, raw, sizeof raw, at);
		if (n < 0)
			return err_sys(e, ERR_FAILURE, "cannot read a journal");
		if (n == 0 && mode == WALK_APPLY)
			return 0; /* not sealed: what is there was applied */
		if (n != (ssize_t)sizeof raw || !decode_record(&r, raw))
			return 0;
		at += sizeof raw;
		if (r.kind == KIND_SEAL) {
			j->new_size = r.offset;
			return r.length == count;
		}
		if (r.kind == KIND_HOLE) {
			if (mode == WALK_APPLY && sys_punch(to, r.offset, r.length) < 0)
				return err_sys(e, ERR_FAILURE, "cannot punch a hole");
			continue;
		}
		if (r.length > CHUNK ||
		    sys_pread(j->fd, data, (size_t)r.length, at) != (ssize_t)r.length ||
		    hash64(NULL, data, (size_t)r.length) != r.fresh)
			return 0;
		j->data_records++;
		if (mode == WALK_STRICT && !fits(to, &r, data, j->old, e))
			return 0;
		if (mode == WALK_APPLY && sys_pwrite(to, data, (size_t)r.length, r.offset) < 0)
			return err_sys(e, ERR_FAILURE, "cannot write");
		at += r.length;
	}
}

int journal_into(struct journal *j, int fd, struct err *e)
{
	return walk(j, fd, WALK_APPLY, e) < 0 ? -1 : 0;
}

int journal_seal(struct dest *D, struct dfile *f, const struct meta *m, struct err *e)
{
	struct journal *j = f->journal;
	struct record seal = {.kind = KIND_SEAL, .offset = m->size, .length = j->records};
	uint8_t raw[RECORD_BYTES];
	(void)D;
	encode_record(&seal, raw);
	j->new_size = m->size;
	if (sys_pwrite(j->fd, raw, sizeof raw, j->at) < 0)
		return err_sys(e, ERR_FAILURE, "cannot write a journal");
	/* Read back what will be applied: a journal that does not hold what it should is found out
	 * before the file is touched. */
	int r = walk(j, -1, WALK_CHECK, e);
	return r < 0 ? -1
	       : r == 0
		       ? err_set(e, ERR_VERIFY, "the journal on disk differs from what was written")
		       : 0;
}

int journal_sync(struct journal *j, struct err *e)
{
	return sys_fdatasync(j->fd) < 0 ? err_sys(e, ERR_FAILURE, "cannot sync a journal") : 0;
}

int journal_apply(struct dest *D, struct dfile *f, struct err *e)
{
	struct journal *j = f->journal;
	struct stat st;
	if (fstat(j->basis, &st) < 0 || st.st_nlink != 1 || (uint64_t)st.st_size != f->basis_size)
		return err_set(e, ERR_PARTIAL, "the file was changed here by somebody else");
	int r = walk(j, j->basis, WALK_STRICT, e);
	if (r <= 0)
		return r < 0 ? -1
			     : err_set(e, ERR_PARTIAL,
				       "the file was changed here by somebody else");
	if (walk(j, j->basis, WALK_APPLY, e) < 0 || sys_ftruncate(j->basis, j->new_size) < 0) {
		/* Half old, half new: the journal stays, and recover or the next run finishes it.
		 */
		pthread_mutex_lock(&D->lock);
		D->keep_state = true;
		pthread_mutex_unlock(&D->lock);
		return e->code ? -1 : err_sys(e, ERR_FAILURE, "cannot set the size");
	}
	D->c->stats->bytes_written += j->data_bytes;
	struct h128 there;
	if (content_of(j->basis, j->new_size, D->mask.attrs & ATTR_SPARSE, j->old, &there, e) < 0)
		return -1;
	if (!h128_equal(there, f->content))
		return err_set(e, ERR_VERIFY, "content on disk differs from what the source sent");
	return 0;
}

/* What the header says the journal is for. */
struct target {
	uint64_t ino, size;
	int64_t mtime;
	uint32_t mtime_ns;
	struct bytes path;
};

static bool read_header(int fd, uint8_t *raw, struct target *t)
{
	ssize_t n = sys_pread(fd, raw, HEADER_BYTES, 0);
	if (n < (ssize_t)sizeof magic || memcmp(raw, magic, sizeof magic) != 0)
		return false;
	struct cursor c = cursor_of(raw + sizeof magic, (size_t)n - sizeof magic);
	t->ino = get_u64(&c);
	t->size = get_u64(&c);
	t->mtime = (int64_t)get_u64(&c);
	t->mtime_ns = get_u32(&c);
	t->path = get_bytes(&c, PATH_BYTES_MAX);
	size_t covered = (size_t)(c.p - raw);
	uint64_t sum = get_u64(&c);
	return !c.bad && sum == hash64(NULL, raw, covered);
}

/* Opens the journal's file by components; -1 if there is none such any more. */
static int open_target(int root_fd, const struct target *t)
{
	int at = fcntl(root_fd, F_DUPFD_CLOEXEC, 0);
	const uint8_t *p = t->path.p;
	const uint8_t *end = p + t->path.n;
	while (at >= 0 && p < end) {
		const uint8_t *slash = memchr(p, '/', (size_t)(end - p));
		struct bytes name = {.p = p, .n = slash ? (size_t)(slash - p) : (size_t)(end - p)};
		char text[NAME_BYTES_MAX + 1];
		int next = -1;
		if (name_valid(name)) {
			memcpy(text, name.p, name.n);
			text[name.n] = '\0';
			next = sys_openat(at, text,
					  slash ? O_RDONLY | O_DIRECTORY | O_NOFOLLOW
						: O_RDWR | O_NOFOLLOW | O_NONBLOCK,
					  0);
		}
		close(at);
		at = next;
		p = slash ? slash + 1 : end;
	}
	struct stat st;
	if (at >= 0 && (fstat(at, &st) < 0 || !S_ISREG(st.st_mode) || st.st_ino != t->ino ||
			st.st_nlink != 1)) {
		close(at);
		at = -1;
	}
	return at;
}

/* Is the file still exactly what the journal was made for? */
static bool untouched(int fd, const struct target *t)
{
	struct stat st;
	return fstat(fd, &st) == 0 && (uint64_t)st.st_size == t->size &&
	       st.st_mtim.tv_sec == t->mtime && (uint32_t)st.st_mtim.tv_nsec == t->mtime_ns;
}

/* Applies a sealed journal. Either its file is untouched, or applying had begun, and then each
 * record of data meets old or new bytes, and there is at least one that shows whose file it is. */
static int replay(struct journal *j, int to, const struct target *t, struct err *e)
{
	int r = walk(j, to, WALK_CHECK, e);
	if (r <= 0)
		return r;
	r = walk(j, to, WALK_STRICT, e);
	if (r < 0)
		return -1;
	if (!untouched(to, t) && (r == 0 || j->data_records == 0)) {
		/* Neither the old nor the new file: the next run must look at its content. */
		sys_utimens(to, NULL, 0, 0);
		return 0;
	}
	if (r == 0)
		return 0;
	if (walk(j, to, WALK_APPLY, e) < 0)
		return -1;
	if (sys_ftruncate(to, j->new_size) < 0)
		return err_sys(e, ERR_FAILURE, "cannot set the size");
	/* The attributes come with the next run; until then the time must not match the source's.
	 */
	sys_utimens(to, NULL, 0, 0);
	return sys_fdatasync(to) < 0 ? err_sys(e, ERR_FAILURE, "cannot sync a file") : 1;
}

int journal_replay(int root_fd, int state_fd, const char *name, struct err *e)
{
	CLEANUP_FREE uint8_t *raw = mem_alloc_raw(HEADER_BYTES);
	struct journal j = {.fd = sys_openat(state_fd, name, O_RDONLY | O_NOFOLLOW, 0)};
	if (j.fd < 0)
		return err_sys(e, ERR_FAILURE, "cannot open a journal");
	struct target t;
	int r = 0;
	if (read_header(j.fd, raw, &t)) {
		CLEANUP_FD int to = open_target(root_fd, &t);
		CLEANUP_FREE uint8_t *scratch = mem_alloc_raw(CHUNK);
		j.old = scratch;
		if (to >= 0)
			r = replay(&j, to, &t, e);
	}
	close(j.fd);
	return r;
}
