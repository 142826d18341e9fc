/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bringing the link structure in line where names, attributes and content are right already. The
 * source names the groups of the buckets that differ; here names are parted (copied to an inode of
 * their own) and joined (linked to their group's first name) until the partition is the source's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "dest_int.h"
#include "linked.h"
#include "mem.h"
#include "sys.h"

enum { NAMES_PER_SLICE = 32768, SLICE_MAX = 1 << 22 };

/* One name: which group the source has it in (0: in none), and its inode here. */
struct link_name {
	uint64_t group;
	uint64_t dev, ino; /* ino 0: not known to be linked here */
	char *path;
	size_t len;
	bool here, there;
};

struct slice {
	struct dest *D;
	struct link_name *v;
	size_t n, cap;
};

static struct link_name *slice_add(struct slice *s, struct bytes path)
{
	if (s->n == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 256;
		s->v = mem_realloc(s->v, s->cap, sizeof *s->v);
	}
	struct link_name *n = &s->v[s->n++];
	*n = (struct link_name){.path = mem_dup(path.p, path.n), .len = path.n};
	return n;
}

static int by_path(const void *a, const void *b)
{
	const struct link_name *x = a;
	const struct link_name *y = b;
	size_t n = x->len < y->len ? x->len : y->len;
	int r = memcmp(x->path, y->path, n);
	return r ? r : (x->len > y->len) - (x->len < y->len);
}

static int by_group(const void *a, const void *b)
{
	const struct link_name *x = a;
	const struct link_name *y = b;
	if (x->group != y->group)
		return x->group < y->group ? -1 : 1;
	return by_path(a, b);
}

static int own_name(void *arg, struct dir *d, struct bytes name, const struct item *it,
		    const struct link_slot *group, struct err *e)
{
	struct slice *s = arg;
	CLEANUP_BUF struct buf path;
	(void)e;
	(void)group;
	buf_init(&path, PATH_BYTES_MAX);
	dir_path(d, name, &path);
	struct link_name *n = slice_add(s, (struct bytes){.p = path.data, .n = path.len});
	n->here = true;
	n->dev = it->dev;
	n->ino = it->ino;
	return 0;
}

/* A name of the tree held open: its directory and what stands there. */
struct spot {
	struct dir *d;
	int dirfd;
	char name[NAME_BYTES_MAX + 1];
	struct bytes bytes;
	struct stat dir_before;
};

static int spot_open(struct dest *D, struct spot *sp, const struct link_name *n, struct err *e)
{
	const char *slash = memrchr(n->path, '/', n->len);
	const char *leaf = slash ? slash + 1 : n->path;
	sp->bytes.n = n->len - (size_t)(leaf - n->path);
	memcpy(sp->name, leaf, sp->bytes.n);
	sp->name[sp->bytes.n] = '\0';
	sp->bytes.p = (const uint8_t *)sp->name;
	struct dir *d = dirs_root(D->dirs);
	for (const char *at = n->path; d && at < leaf;) {
		const char *next = memchr(at, '/', (size_t)(leaf - at));
		struct bytes one = {.p = (const uint8_t *)at, .n = (size_t)(next - at)};
		struct dir *child = dirs_child(D->dirs, d, one, e);
		dir_unref(D->dirs, d);
		d = child;
		if (d && d->dev != D->tree.root_dev && D->tree.one_file_system) {
			dir_unref(D->dirs, d);
			return err_set(e, ERR_PARTIAL, "lies behind a mount point");
		}
		at = next + 1;
	}
	sp->d = d;
	sp->dirfd = d ? dir_pin(D->dirs, d, e) : -1;
	if (sp->dirfd < 0 || fstat(sp->dirfd, &sp->dir_before) < 0) {
		if (d)
			dir_unref(D->dirs, d);
		return -1;
	}
	return 0;
}

/* Reads what stands there, if it is in scope: a peer's path may name what is not. TREE_ENTRY or
 * another enum tree_read. */
static int spot_read(struct dest *D, struct spot *sp, struct item *it, struct err *e)
{
	struct visit v;
	int r = visit_init(&D->tree, &v, sp->d, e) < 0
			? TREE_ERROR
			: tree_read(&D->tree, &v, sp->bytes, true, it, e);
	visit_release(&D->tree, &v);
	return r == TREE_ENTRY && it->meta.type == ENTRY_DIR ? TREE_SKIP : r;
}

static void spot_close(struct dest *D, struct spot *sp)
{
	sys_utimens(sp->dirfd, NULL, sp->dir_before.st_mtim.tv_sec,
		    (uint32_t)sp->dir_before.st_mtim.tv_nsec);
	tree_touch(&D->tree, sp->d);
	dir_unpin(D->dirs, sp->d);
	dir_unref(D->dirs, sp->d);
}

/* Copies the data extents of a file; what is hole stays hole. */
static int copy_data(int from, int to, uint64_t size)
{
	if (sys_ftruncate(to, size) < 0)
		return -1;
	for (uint64_t at = 0; at < size;) {
		off_t data = lseek(from, (off_t)at, SEEK_DATA);
		if (data < 0)
			return errno == ENXIO ? 0 : -1;
		off_t hole = lseek(from, data, SEEK_HOLE);
		uint64_t end = hole < 0 ? size : (uint64_t)hole;
		if (sys_copy_range(from, (uint64_t)data, to, (uint64_t)data, end - (uint64_t)data) <
		    0)
			return -1;
		at = end;
	}
	return 0;
}

static int copy_file(struct spot *sp, const char *temp, const struct item *it,
		     const struct mask *mask, struct err *e)
{
	CLEANUP_FD int from =
		sys_openat(sp->dirfd, sp->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	CLEANUP_FD int to = from < 0 ? -1
				     : sys_openat(sp->dirfd, temp,
						  O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW, 0600);
	if (to < 0)
		return err_sys(e, ERR_PARTIAL, "cannot part a hard link");
	if (sys_clone(to, from) < 0 && copy_data(from, to, it->meta.size) < 0)
		return err_sys(e, ERR_PARTIAL, "cannot copy to part a hard link");
	if (attr_apply(to, -1, NULL, &it->meta, NULL, mask, e) < 0)
		return -1;
	return sys_fdatasync(to) < 0 ? err_sys(e, ERR_FAILURE, "cannot sync a file") : 0;
}

static int copy_node(struct spot *sp, const char *temp, const struct item *it,
		     const struct mask *mask, struct err *e)
{
	const struct meta *m = &it->meta;
	int r;
	if (m->type == ENTRY_SYMLINK) {
		CLEANUP_FREE char *text = mem_dup(m->link.p, m->link.n);
		r = sys_symlinkat(text, sp->dirfd, temp);
	} else {
		mode_t kind = m->type == ENTRY_FIFO     ? S_IFIFO
			      : m->type == ENTRY_SOCKET ? S_IFSOCK
			      : m->type == ENTRY_CHAR   ? S_IFCHR
							: S_IFBLK;
		r = sys_mknodat(sp->dirfd, temp, kind | 0600,
				makedev(m->rdev_major, m->rdev_minor));
	}
	if (r < 0)
		return err_sys(e, ERR_PARTIAL, "cannot part a hard link");
	return attr_apply(-1, sp->dirfd, temp, m, NULL, mask, e);
}

/* Gives the name an inode of its own. */
static int part(struct dest *D, struct link_name *n, struct err *e)
{
	struct spot sp;
	CLEANUP_ITEM struct item it;
	item_init(&it);
	if (spot_open(D, &sp, n, e) < 0)
		return -1;
	char temp[TEMP_NAME_MAX];
	temp_name(D, ++D->temps, temp);
	int r = spot_read(D, &sp, &it, e);
	bool failed = r == TREE_ERROR;
	if (r == TREE_ENTRY && it.nlink > 1) {
		r = it.meta.type == ENTRY_FILE ? copy_file(&sp, temp, &it, &D->mask, e)
					       : copy_node(&sp, temp, &it, &D->mask, e);
		if (r == 0 && sys_renameat(sp.dirfd, temp, sp.dirfd, sp.name, 0) < 0)
			r = err_sys(e, ERR_PARTIAL, "cannot rename into place");
		if (r < 0)
			sys_unlinkat(sp.dirfd, temp, 0);
		struct stat st;
		if (r == 0 && fstatat(sp.dirfd, sp.name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			n->ino = st.st_ino;
		failed = r < 0;
		D->parted = true;
		D->changed = true;
	}
	spot_close(D, &sp);
	return failed ? -1 : 0;
}

/* Makes `n` another name of `leader`, if it is the same file but for the inode. */
static int join(struct dest *D, const struct link_name *leader, struct link_name *n, struct err *e)
{
	struct spot a;
	struct spot b;
	CLEANUP_ITEM struct item ia;
	CLEANUP_ITEM struct item ib;
	item_init(&ia);
	item_init(&ib);
	if (spot_open(D, &a, leader, e) < 0)
		return -1;
	if (spot_open(D, &b, n, e) < 0) {
		spot_close(D, &a);
		return -1;
	}
	int r = 0;
	if (spot_read(D, &a, &ia, e) == TREE_ENTRY && spot_read(D, &b, &ib, e) == TREE_ENTRY &&
	    ia.ino != ib.ino && meta_equal(&ia.meta, &ib.meta)) {
		char temp[TEMP_NAME_MAX];
		temp_name(D, ++D->temps, temp);
		if (sys_linkat(a.dirfd, a.name, b.dirfd, temp) < 0 ||
		    sys_renameat(b.dirfd, temp, b.dirfd, b.name, 0) < 0)
			r = err_sys(e, ERR_PARTIAL, "cannot make a hard link");
		sys_unlinkat(b.dirfd, temp, 0);
		D->changed = true;
	} else if (ia.ino && ib.ino && ia.ino != ib.ino) {
		D->parted = true; /* not equal yet: another look is due */
	}
	spot_close(D, &b);
	spot_close(D, &a);
	return r;
}

static void merge_same_paths(struct slice *s)
{
	if (s->n)
		qsort(s->v, s->n, sizeof *s->v, by_path);
	size_t out = 0;
	for (size_t i = 0; i < s->n; i++) {
		if (out && by_path(&s->v[out - 1], &s->v[i]) == 0) {
			struct link_name *a = &s->v[out - 1];
			struct link_name *b = &s->v[i];
			a->here |= b->here;
			a->there |= b->there;
			a->group = a->group ? a->group : b->group;
			if (b->ino) {
				a->ino = b->ino;
				a->dev = b->dev;
			}
			free(b->path);
			continue;
		}
		s->v[out++] = s->v[i];
	}
	s->n = out;
}

static void note_failure(struct dest *D, const struct link_name *n, const struct err *why)
{
	D->c->stats->files_failed++;
	dest_issue(D, ISSUE_FAILED, ERR_PARTIAL, why->sys, D->root->d,
		   (struct bytes){.p = (const uint8_t *)n->path, .n = n->len}, why->msg);
}

/* True if another name of the slice has the same inode here and another group. */
static bool shared_outside(const struct slice *s, const struct link_name *leader)
{
	for (size_t i = 0; i < s->n; i++)
		if (leader->ino && s->v[i].ino == leader->ino && s->v[i].dev == leader->dev &&
		    s->v[i].group != leader->group)
			return true;
	return false;
}

/* Of the names of one group [first, end) brings that to the front whose inode takes the least
 * space: copies made by others may have lost their holes. */
static void choose_leader(struct slice *s, size_t first, size_t end)
{
	struct dest *D = s->D;
	uint64_t least = UINT64_MAX;
	size_t best = first;
	CLEANUP_ITEM struct item it;
	item_init(&it);
	for (size_t i = first; i < end; i++) {
		struct spot sp;
		struct err why;
		if (spot_open(D, &sp, &s->v[i], &why) < 0)
			continue;
		if (spot_read(D, &sp, &it, &why) == TREE_ENTRY && it.disk_bytes < least) {
			least = it.disk_bytes;
			best = i;
		}
		spot_close(D, &sp);
	}
	struct link_name swap = s->v[first];
	s->v[first] = s->v[best];
	s->v[best] = swap;
}

static void settle(struct slice *s)
{
	struct dest *D = s->D;
	struct err why;
	merge_same_paths(s);
	for (size_t i = 0; i < s->n; i++)
		if (!s->v[i].there && s->v[i].here && part(D, &s->v[i], &why) < 0)
			note_failure(D, &s->v[i], &why);
	if (s->n)
		qsort(s->v, s->n, sizeof *s->v, by_group);
	for (size_t i = 0; i < s->n;) {
		struct link_name *leader = &s->v[i];
		size_t end = i + 1;
		while (end < s->n && s->v[end].group == leader->group)
			end++;
		if (leader->there) {
			choose_leader(s, i, end);
			if (shared_outside(s, leader) && part(D, leader, &why) < 0)
				note_failure(D, leader, &why);
			for (size_t k = i + 1; k < end; k++)
				if (join(D, leader, &s->v[k], &why) < 0)
					note_failure(D, &s->v[k], &why);
		}
		i = end;
	}
}

static struct link_frame *take_links(struct dest *D, struct msg_links *m, struct err *e)
{
	for (;;) {
		struct link_frame *f = run_take(D->link, &D->inbox, -1, e);
		if (!f)
			return NULL;
		if (f->type == WIRE_LINKS) {
			if (msg_links_decode(m, f->payload, f->length, e) == 0)
				return f;
			link_done(D->link, f);
			return NULL;
		}
		if (plan_message(D, f, e) < 0)
			return NULL;
	}
}

/* One slice of buckets: the source's names and ours, then parting and joining. */
static int one_slice(struct dest *D, const uint64_t *buckets, size_t count, struct err *e)
{
	struct slice s = {.D = D};
	CLEANUP_FREE bool *chosen = mem_alloc(LINK_BUCKETS, sizeof *chosen);
	CLEANUP_BUF struct buf b;
	buf_init(&b, LINK_BUCKETS * 8);
	for (size_t i = 0; i < count; i++) {
		put_u64(&b, buckets[i]);
		chosen[buckets[i]] = true;
	}
	int r = LINK_SEND(D->link, LINKS_REQ, links_req, e, .kind = 1,
			  .buckets = {.p = b.data, .n = b.len});
	if (r == 0)
		r = tree_each_linked(&D->tree, chosen, own_name, &s, e);
	for (bool last = false; r == 0 && !last;) {
		struct msg_links m;
		struct link_frame *f = take_links(D, &m, e);
		if (!f) {
			r = -1;
			break;
		}
		struct cursor c = cursor_of(m.body.p, m.body.n);
		while (cursor_left(&c)) {
			uint64_t group = get_u64(&c);
			struct bytes path = get_bytes(&c, PATH_BYTES_MAX);
			if (c.bad || !path_valid(path) || s.n >= SLICE_MAX) {
				r = err_set(e, ERR_PROTOCOL, "the source sent an impossible path");
				break;
			}
			struct link_name *n = slice_add(&s, path);
			n->group = group | 1;
			n->there = true;
		}
		last = m.last;
		link_done(D->link, f);
	}
	if (r == 0)
		settle(&s);
	for (size_t i = 0; i < s.n; i++)
		free(s.v[i].path);
	free(s.v);
	return r;
}

static int differing_buckets(struct dest *D, struct msg_links *m, struct link_frame **frame,
			     struct err *e)
{
	CLEANUP_FREE uint64_t *sums = mem_alloc(LINK_BUCKETS, sizeof *sums);
	CLEANUP_BUF struct buf b;
	buf_init(&b, LINK_BUCKETS * 8);
	links_buckets(&D->tree.links, sums, NULL);
	for (size_t i = 0; i < LINK_BUCKETS; i++)
		put_u64(&b, sums[i]);
	if (LINK_SEND(D->link, LINKS_REQ, links_req, e, .kind = 0,
		      .buckets = {.p = b.data, .n = b.len}) < 0)
		return -1;
	*frame = take_links(D, m, e);
	return *frame ? 0 : -1;
}

int relink_all(struct dest *D, const struct msg_source_final *m, struct err *e)
{
	struct h128 zero = {0};
	struct tree_sum sum;
	if (h128_equal(m->links, zero) && !D->had_links && !D->made_links)
		return 0;
	D->had_links = true;
	tree_forget(&D->tree);
	if (tree_sum(&D->tree, D->root->d, &sum, e) < 0)
		return -1;
	if (h128_equal(m->links, tree_links_hash(&D->tree)))
		return 0;
	struct msg_links reply;
	struct link_frame *f;
	if (differing_buckets(D, &reply, &f, e) < 0)
		return -1;
	struct cursor c = cursor_of(reply.body.p, reply.body.n);
	CLEANUP_FREE uint64_t *list = mem_alloc(LINK_BUCKETS, sizeof *list);
	size_t n = 0;
	uint64_t names = 0;
	int r = 0;
	while (cursor_left(&c) && r == 0) {
		list[n++] = get_var(&c, LINK_BUCKETS - 1);
		names += get_var(&c, UINT32_MAX);
		if (c.bad) {
			r = err_set(e, ERR_PROTOCOL, "the source sent malformed link buckets");
			break;
		}
		if (names >= NAMES_PER_SLICE || n == LINK_BUCKETS || !cursor_left(&c)) {
			r = one_slice(D, list, n, e);
			n = 0;
			names = 0;
		}
	}
	link_done(D->link, f);
	return r;
}
