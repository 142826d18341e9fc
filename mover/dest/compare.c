/* SPDX-License-Identifier: Apache-2.0 */
/* One entry of the source against what stands here: the verdict, its itemize line, and the first
 * step. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "dest_int.h"
#include "mem.h"
#include "sys.h"

enum {
	FIXED_MAX = 1 << 16,
	CODE = 11,
	BASIS_MIN = 64 << 10,
	INLINE_MAX = WANT_LEAVES_MAX * LEAF_BYTES
};

static bool dry(const struct dest *D)
{
	return D->o->flags & OPT_DRY_RUN;
}

/* For our own owner, who is the one to print when this side dialled. */
static void print_in_turn(struct dest *D, const struct buf *b)
{
	struct err ignored;
	if (!D->c->events.item)
		return;
	pthread_mutex_lock(&D->events_lock);
	item_order_put(&D->order, b->data, b->len, D->c->events.item, D->c->events.owner, &ignored);
	pthread_mutex_unlock(&D->events_lock);
}

void item_line(struct dest *D, const char code[11], const struct dir *d, struct bytes name,
	       char arrow, struct bytes target)
{
	if (!(D->o->flags & OPT_ITEMIZE) || D->silent)
		return;
	CLEANUP_BUF struct buf path;
	buf_init(&path, PATH_BYTES_MAX);
	dir_path(d, name, &path);
	if (path.len == 0)
		buf_puts(&path, ".");
	if (code[0] == '*' ? code[10] == 'd' : code[1] == 'd')
		buf_puts(&path, "/");
	struct msg_item m = {.seq = D->line_seq ? D->line_seq : ++D->next_seq,
			     .path = {.p = path.data, .n = path.len},
			     .arrow = (uint8_t)arrow,
			     .target = target};
	memcpy(m.code, code, CODE);
	if (code[0] == '*')
		m.code[10] = ' ';
	buf_clear(&D->frame);
	msg_item_encode(&m, &D->frame);
	link_send(D->link, WIRE_ITEM, &D->frame, NULL);
	D->line_seq = 0;
	print_in_turn(D, &D->frame);
}

void item_void(struct dest *D, uint64_t seq)
{
	if (!seq || !(D->o->flags & OPT_ITEMIZE))
		return;
	CLEANUP_BUF struct buf b;
	buf_init(&b, FRAME_PAYLOAD_MAX);
	struct msg_item m = {.seq = seq};
	msg_item_encode(&m, &b);
	link_send(D->link, WIRE_ITEM, &b, NULL);
	print_in_turn(D, &b);
}

static int delete_lines(struct dest *D, struct dir *d, struct bytes name)
{
	struct err why;
	struct dir *child = d->depth < TREE_DEPTH_MAX ? dirs_child(D->dirs, d, name, &why) : NULL;
	struct visit v;
	struct scan sc = {.fd = -1};
	CLEANUP_ITEM struct item it;
	item_init(&it);
	if (!child)
		return 0;
	int r = visit_init(&D->tree, &v, child, &why);
	if (r == 0)
		r = scan_init(&sc, D->dirs, child, &why);
	struct bytes one;
	unsigned char type;
	while (r == 0 && scan_next(&sc, &one, &type, &why) > 0) {
		if (tree_read(&D->tree, &v, one, true, &it, &why) != TREE_ENTRY)
			continue;
		CLEANUP_FREE char *kept = mem_dup(one.p, one.n);
		struct bytes own = {.p = (const uint8_t *)kept, .n = one.n};
		bool opaque = it.meta.type == ENTRY_DIR && tree_opaque(&D->tree, &it);
		if (!opaque)
			item_deleting(D, child, own, it.meta.type);
	}
	scan_release(&sc);
	visit_release(&D->tree, &v);
	dir_unref(D->dirs, child);
	return 0;
}

int item_deleting(struct dest *D, struct dir *d, struct bytes name, uint8_t type)
{
	if (!(D->o->flags & OPT_ITEMIZE) || D->silent)
		return 0;
	if (type == ENTRY_DIR)
		delete_lines(D, d, name);
	item_line(D, type == ENTRY_DIR ? "*deleting d" : "*deleting  ", d, name, '\0',
		  (struct bytes){0});
	return 0;
}

static char type_letter(uint8_t type)
{
	return type == ENTRY_FILE                          ? 'f'
	       : type == ENTRY_DIR                         ? 'd'
	       : type == ENTRY_SYMLINK                     ? 'L'
	       : type == ENTRY_CHAR || type == ENTRY_BLOCK ? 'D'
							   : 'S';
}

static bool xattr_differs(struct bytes a, struct bytes b, bool acl)
{
	/* Both blobs are sorted; only the names of the one family or the other are looked at. */
	struct cursor ca = cursor_of(a.p, a.n);
	struct cursor cb = cursor_of(b.p, b.n);
	for (;;) {
		struct bytes na = {0};
		struct bytes va = {0};
		struct bytes nb = {0};
		struct bytes vb = {0};
		do
			if (!xattr_next(&ca, &na, &va))
				na.n = 0;
		while (na.n && (memcmp(na.p, "system", na.n < 6 ? na.n : 6) == 0) != acl);
		do
			if (!xattr_next(&cb, &nb, &vb))
				nb.n = 0;
		while (nb.n && (memcmp(nb.p, "system", nb.n < 6 ? nb.n : 6) == 0) != acl);
		if (na.n == 0 && nb.n == 0)
			return false;
		if (na.n != nb.n || memcmp(na.p, nb.p, na.n) || va.n != vb.n ||
		    (va.n && memcmp(va.p, vb.p, va.n)))
			return true;
	}
}

/* Fills columns 2..10 for two metas of one type; true if any differs. */
static bool code_diff(char code[CODE + 1], const struct meta *want, const struct meta *own)
{
	memcpy(code + 2, ".........", 10);
	if (want->type == ENTRY_FILE && want->size != own->size)
		code[3] = 's';
	if (want->mtime != own->mtime || want->mtime_ns != own->mtime_ns)
		code[4] = 't';
	if (want->mode != own->mode)
		code[5] = 'p';
	if (want->uid != own->uid)
		code[6] = 'o';
	if (want->gid != own->gid)
		code[7] = 'g';
	if (xattr_differs(want->xattrs, own->xattrs, true))
		code[9] = 'a';
	if (xattr_differs(want->xattrs, own->xattrs, false))
		code[10] = 'x';
	return strspn(code + 2, ".") != 9;
}

static void line(struct dest *D, char first, const char *rest, const struct ddir *dd,
		 const struct entry *en)
{
	char code[CODE + 1];
	code[0] = first;
	code[1] = type_letter(en->meta.type);
	memcpy(code + 2, rest, 10);
	bool symlink = en->meta.type == ENTRY_SYMLINK;
	item_line(D, code, dd->d, en->name, symlink ? '-' : '\0',
		  symlink ? en->meta.link : (struct bytes){0});
	D->changed = true;
}

static void name_text(const struct entry *en, char out[NAME_BYTES_MAX + 1])
{
	memcpy(out, en->name.p, en->name.n);
	out[en->name.n] = '\0';
}

static int fail_entry(struct dest *D, struct ddir *dd, const struct entry *en,
		      const struct err *why)
{
	dest_entry_failed(D, dd, en->name, why, (struct h128){0});
	return 0;
}

static void touch(struct dest *D, struct ddir *dd)
{
	pthread_mutex_lock(&D->lock);
	dd->touched = true;
	pthread_mutex_unlock(&D->lock);
	tree_touch(&D->tree, dd->d);
}

void anchor_name(uint64_t group, char out[TEMP_NAME_MAX])
{
	snprintf(out, TEMP_NAME_MAX, "l-%016llx", (unsigned long long)group);
}

static enum group_state group_get(struct dest *D, uint64_t group)
{
	pthread_mutex_lock(&D->lock);
	enum group_state s = (enum group_state)(uintptr_t)ptrmap_get(&D->groups, group);
	pthread_mutex_unlock(&D->lock);
	return s;
}

void group_set(struct dest *D, uint64_t group, enum group_state s)
{
	pthread_mutex_lock(&D->lock);
	ptrmap_put(&D->groups, group, (void *)(uintptr_t)s);
	pthread_mutex_unlock(&D->lock);
}

/* True if the entry is to become a link to what was brought earlier in this run. */
static bool is_member(struct dest *D, const struct entry *en)
{
	return (en->flags & ENTRY_LINKED) && group_get(D, en->group) != 0;
}

/* Queues a name to be linked once the group's first name has landed. */
static int want_link(struct dest *D, struct ddir *dd, const struct entry *en, uint8_t own_type)
{
	if (dry(D))
		return 0;
	struct dfile *f = dfile_new(dd, en, 0);
	f->own_type = own_type;
	f->link = true;
	dfile_publish(D, f);
	D->made_links = true;
	touch(D, dd);
	dfile_ready(D, f);
	return 0;
}

/* The leaf hashes of a small old file travel with the request and save the source from asking. */
static void inline_leaves(struct dest *D, struct visit *v, const struct entry *en, struct buf *out)
{
	char name[NAME_BYTES_MAX + 1];
	uint64_t size = D->own.meta.size;
	if (size > INLINE_MAX)
		return;
	name_text(en, name);
	CLEANUP_FD int fd =
		sys_openat(v->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
	if (fd < 0)
		return;
	CLEANUP_FREE uint8_t *data = mem_alloc_raw(LEAF_BYTES);
	for (uint64_t at = 0; at < size; at += LEAF_BYTES) {
		size_t want = size - at < LEAF_BYTES ? (size_t)(size - at) : LEAF_BYTES;
		if (sys_pread(fd, data, want, at) != (ssize_t)want) {
			buf_clear(out);
			return;
		}
		put_h128(out, hash128(&D->key, data, want));
	}
}

/* Asks for a file's content. basis: the old file may serve. */
static int want_file(struct dest *D, struct ddir *dd, struct visit *v, const struct entry *en,
		     uint8_t own_type, enum want_mode mode, struct err *e)
{
	if ((en->flags & ENTRY_LINKED) && mode != WANT_COMPARE) {
		group_set(D, en->group, GROUP_PENDING);
		D->made_links = true;
	}
	if (dry(D) && mode != WANT_COMPARE)
		return 0;
	D->next_fid += 2;
	struct dfile *f = dfile_new(dd, en, D->next_fid);
	f->own_type = own_type;
	f->compare_only = mode == WANT_COMPARE;
	f->seq = f->compare_only ? ++D->next_seq : 0;
	if (mode != WANT_FULL) {
		f->basis_size = D->own.meta.size;
		f->own_nlink = D->own.nlink;
	}
	dfile_publish(D, f);
	if (mode != WANT_COMPARE)
		touch(D, dd);
	if (plan_handle(D, dd, e) < 0)
		return -1;
	CLEANUP_BUF struct buf leaves;
	buf_init(&leaves, WANT_LEAVES_MAX * 16);
	if (mode != WANT_FULL)
		inline_leaves(D, v, en, &leaves);
	struct msg_want m = {.fid = f->fid,
			     .handle = dd->handle,
			     .name = en->name,
			     .mode = (uint8_t)mode,
			     .basis_size = f->basis_size,
			     .leaves = {.p = leaves.data, .n = leaves.len}};
	return plan_want(D, &m, e);
}

static int make_node(struct dest *D, int dirfd, const char *name, const struct meta *m)
{
	(void)D;
	switch (m->type) {
	case ENTRY_SYMLINK: {
		CLEANUP_FREE char *text = mem_dup(m->link.p, m->link.n);
		return sys_symlinkat(text, dirfd, name);
	}
	case ENTRY_FIFO:
		return sys_mknodat(dirfd, name, S_IFIFO | 0600, 0);
	case ENTRY_SOCKET:
		return sys_mknodat(dirfd, name, S_IFSOCK | 0600, 0);
	default:
		return sys_mknodat(dirfd, name, (m->type == ENTRY_CHAR ? S_IFCHR : S_IFBLK) | 0600,
				   makedev(m->rdev_major, m->rdev_minor));
	}
}

/* Symbolic links, devices, FIFOs, sockets: no data, so they land at once. */
static int make_special(struct dest *D, struct ddir *dd, struct visit *v, const struct entry *en,
			uint8_t own_type)
{
	if (dry(D))
		return 0;
	struct err why;
	char name[NAME_BYTES_MAX + 1];
	char temp[TEMP_NAME_MAX];
	name_text(en, name);
	temp_name(D, ++D->temps, temp);
	touch(D, dd);
	if (make_node(D, v->fd, temp, &en->meta) < 0) {
		err_sys(&why, ERR_PARTIAL, "cannot create");
		return fail_entry(D, dd, en, &why);
	}
	if (attr_apply(-1, v->fd, temp, &en->meta, NULL, &D->mask, &why) < 0 ||
	    land_temp(D, dd, v->fd, temp, name, own_type, false, &why) < 0) {
		sys_unlinkat(v->fd, temp, 0);
		return fail_entry(D, dd, en, &why);
	}
	if (en->flags & ENTRY_LINKED) {
		char anchor[TEMP_NAME_MAX];
		anchor_name(en->group, anchor);
		int state = dest_state(D, &why);
		bool ok = state >= 0 && sys_linkat(v->fd, name, state, anchor) == 0;
		group_set(D, en->group, ok ? GROUP_ANCHORED : GROUP_LOST);
		D->made_links = true;
	}
	return 0;
}

/* A directory that is not here. In a stream its content follows; else it is asked for. */
static int make_dir(struct dest *D, struct ddir *dd, struct visit *v, const struct entry *en,
		    uint8_t own_type, bool streaming, struct err *e)
{
	struct err why;
	bool dead = false;
	struct dir *d = NULL;
	if (dry(D)) {
		d = dirs_name_only(D->dirs, dd->d, en->name);
	} else {
		char name[NAME_BYTES_MAX + 1];
		char temp[TEMP_NAME_MAX];
		name_text(en, name);
		touch(D, dd);
		int r;
		if (own_type) {
			temp_name(D, ++D->temps, temp);
			r = sys_mkdirat(v->fd, temp, 0700) < 0
				    ? err_sys(&why, ERR_PARTIAL, "cannot create directory")
				    : land_temp(D, dd, v->fd, temp, name, own_type, true, &why);
		} else {
			r = sys_mkdirat(v->fd, name, 0700) < 0
				    ? err_sys(&why, ERR_PARTIAL, "cannot create directory")
				    : 0;
		}
		if (r == 0)
			d = dirs_child(D->dirs, dd->d, en->name, &why);
		if (!d) {
			fail_entry(D, dd, en, &why);
			if (!streaming)
				return 0;
			/* The stream goes on below it: what comes is taken note of and dropped. */
			d = dirs_name_only(D->dirs, dd->d, en->name);
			dead = true;
		}
	}
	struct ddir *child = ddir_new(D, dd, d, dead ? NULL : &en->meta);
	child->touched = !dead;
	child->dead = dead;
	if (streaming) {
		D->stream_at = child;
		return 0;
	}
	if (en->digest.flags & DIGEST_OPAQUE) {
		ddir_done_one(D, child);
		return 0;
	}
	return plan_stream(D, child, e);
}

/* A file in a stream: its content comes unasked, or it is empty. */
static int streamed_file(struct dest *D, struct ddir *dd, const struct entry *en)
{
	bool content = en->flags & ENTRY_STREAM;
	/* The group may have come another way before; its names are put together at the end then.
	 */
	bool known = (en->flags & ENTRY_LINKED) && group_get(D, en->group) != 0;
	if (!content && en->meta.size) {
		struct err why;
		err_set(&why, ERR_PARTIAL, "the file it is a hard link to did not come");
		return fail_entry(D, dd, en, &why);
	}
	if ((en->flags & ENTRY_LINKED) && !known)
		group_set(D, en->group, GROUP_PENDING);
	D->made_links |= (en->flags & ENTRY_LINKED) != 0;
	if (dry(D))
		return 0;
	touch(D, dd);
	struct dfile *f = dfile_start(D, dd, en, content ? en->fid : 0, 0, known);
	return content ? 0 : file_empty(D, f);
}

static int new_entry(struct dest *D, struct ddir *dd, struct visit *v, const struct entry *en,
		     uint8_t own_type, bool streaming, struct err *e)
{
	uint8_t type = en->meta.type;
	if (is_member(D, en) && !(en->flags & ENTRY_STREAM)) {
		line(D, 'h', "+++++++++", dd, en);
		return want_link(D, dd, en, own_type);
	}
	if (type == ENTRY_DIR) {
		line(D, 'c', "+++++++++", dd, en);
		return make_dir(D, dd, v, en, own_type, streaming, e);
	}
	if (type != ENTRY_FILE) {
		line(D, 'c', "+++++++++", dd, en);
		if ((en->flags & ENTRY_LINKED) && dry(D))
			group_set(D, en->group, GROUP_PENDING);
		return make_special(D, dd, v, en, own_type);
	}
	line(D, D->arrow, "+++++++++", dd, en);
	if (streaming)
		return streamed_file(D, dd, en);
	if (en->meta.size)
		return want_file(D, dd, v, en, own_type, WANT_FULL, e);
	if (en->flags & ENTRY_LINKED)
		group_set(D, en->group, GROUP_PENDING);
	if (dry(D))
		return 0;
	touch(D, dd);
	return file_empty(D, dfile_start(D, dd, en, 0, own_type, false));
}

/* What stands here is of another type than the source's entry. */
static int replace_entry(struct dest *D, struct ddir *dd, struct visit *v, const struct entry *en,
			 struct err *e)
{
	uint8_t own_type = D->own.meta.type;
	struct err why;
	if (own_type == ENTRY_DIR) {
		if (tree_opaque(&D->tree, &D->own)) {
			err_set(&why, ERR_PARTIAL, "a mount point is in the way");
			return fail_entry(D, dd, en, &why);
		}
		struct tree_sum below;
		struct err ignored;
		if (!(D->o->flags & OPT_DELETE) &&
		    (tree_child_sum(&D->tree, dd->d, en->name, &D->own, &below, &ignored) < 0 ||
		     below.entries)) {
			err_set(&why, ERR_PARTIAL,
				"a non-empty directory is in the way; --delete lets it go");
			return fail_entry(D, dd, en, &why);
		}
		if (!removable(D, dd->d, en->name)) {
			err_set(&why, ERR_PARTIAL,
				"a directory is in the way with excluded content or a mount in it, "
				"or with more than --max-delete allows");
			return fail_entry(D, dd, en, &why);
		}
		item_deleting(D, dd->d, en->name, ENTRY_DIR);
	}
	return new_entry(D, dd, v, en, own_type, false, e);
}

struct fixed_meta {
	size_t n;
	uint8_t bytes[];
};

static uint64_t own_inode(const struct dest *D)
{
	uint64_t record[2] = {D->own.dev, D->own.ino};
	return hash64(&D->key, record, sizeof record);
}

static bool own_shared(const struct dest *D)
{
	return D->own.nlink > 1 && D->own.meta.type != ENTRY_DIR;
}

/* What is set under one name of an inode shows under its other names: remembered, so that a dry
 * run, which sets nothing, says what the real run will say. */
static void remember_fix(struct dest *D, const struct meta *want)
{
	if (!own_shared(D) || D->fixed.count >= FIXED_MAX || ptrmap_get(&D->fixed, own_inode(D)))
		return;
	CLEANUP_BUF struct buf b;
	buf_init(&b, META_BYTES_MAX);
	meta_encode(want, &b);
	struct fixed_meta *f = mem_alloc_raw(sizeof *f + b.len);
	f->n = b.len;
	memcpy(f->bytes, b.data, b.len);
	ptrmap_put(&D->fixed, own_inode(D), f);
}

static void recall_fix(struct dest *D)
{
	const struct fixed_meta *f =
		own_shared(D) && !D->silent ? ptrmap_get(&D->fixed, own_inode(D)) : NULL;
	if (!f)
		return;
	struct cursor c = cursor_of(f->bytes, f->n);
	struct meta m;
	meta_decode(&m, &c);
	if (m.type == D->own.meta.type)
		D->own.meta = m;
}

/* Content and type are right: only attributes are brought in line. */
static int fix_meta(struct dest *D, struct ddir *dd, struct visit *v, const struct entry *en)
{
	struct err why;
	char name[NAME_BYTES_MAX + 1];
	remember_fix(D, &en->meta);
	if (dry(D))
		return 0;
	name_text(en, name);
	tree_touch(&D->tree, dd->d);
	int fd = -1;
	if (en->meta.type == ENTRY_FILE || en->meta.type == ENTRY_DIR)
		fd = sys_openat(v->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
	int r = attr_apply(fd, v->fd, name, &en->meta, &D->own, &D->mask, &why);
	if (fd >= 0)
		close(fd);
	return r < 0 ? fail_entry(D, dd, en, &why) : 0;
}

static int same_file(struct dest *D, struct ddir *dd, struct visit *v, const struct entry *en,
		     struct err *e)
{
	char code[CODE + 1];
	const struct meta *own = &D->own.meta;
	bool differs = code_diff(code, &en->meta, own);
	bool stale = en->meta.size != own->size || en->meta.mtime != own->mtime ||
		     en->meta.mtime_ns != own->mtime_ns;
	bool look = (en->flags & ENTRY_RACY) || (D->o->flags & OPT_CHECKSUM) ||
		    !(D->mask.attrs & ATTR_TIMES);
	if (!differs && !look)
		return 0;
	if (stale && is_member(D, en)) {
		line(D, 'h', code + 2, dd, en);
		return want_link(D, dd, en, ENTRY_FILE);
	}
	if (stale) {
		line(D, D->arrow, code + 2, dd, en);
		if (en->meta.size == 0 && !dry(D)) {
			if (en->flags & ENTRY_LINKED)
				group_set(D, en->group, GROUP_PENDING);
			touch(D, dd);
			return file_empty(D, dfile_start(D, dd, en, 0, ENTRY_FILE, false));
		}
		bool basis = own->size >= BASIS_MIN && en->meta.size >= BASIS_MIN;
		return want_file(D, dd, v, en, ENTRY_FILE, basis ? WANT_PATCH : WANT_FULL, e);
	}
	/* Attributes of a shared inode are set when its first name comes, whenever its content is
	 * through. */
	if (differs && look && own->size && own_shared(D)) {
		line(D, '.', code + 2, dd, en);
		int r = fix_meta(D, dd, v, en);
		if (r < 0)
			return r;
		differs = false;
	}
	if (look && own->size)
		return want_file(D, dd, v, en, ENTRY_FILE, WANT_COMPARE, e);
	if (!differs)
		return 0;
	line(D, '.', code + 2, dd, en);
	return fix_meta(D, dd, v, en);
}

/* A mount on either side is compared on neither. */
static int opaque_dir(struct dest *D, struct ddir *dd, const struct entry *en, bool here,
		      struct err *e)
{
	dest_issue(D, ISSUE_SKIPPED_MOUNT, ERR_OK, 0, dd->d, en->name,
		   here ? "mount point at the destination, not crossed"
			: "mount point at the source, not crossed");
	tree_leave_out(&D->tree, dd->d, en->name, LEFT_OUT_CONTENT);
	D->left_any = true;
	if (!here)
		return 0;
	CLEANUP_BUF struct buf path;
	buf_init(&path, PATH_BYTES_MAX);
	dir_path(dd->d, en->name, &path);
	struct h128 zero = {0};
	return LINK_SEND(D->link, LEAVE_OUT, leave_out, e, .how = LEFT_OUT_CONTENT, .term = zero,
			 .path = {.p = path.data, .n = path.len});
}

/* Whoever is not root needs write permission in a directory for the time of the work; its own mode
 * is set again when it is finished. */
static void loosen(struct dest *D, struct ddir *dd)
{
	struct err why;
	struct stat st;
	if (geteuid() == 0 || dry(D))
		return;
	int fd = dir_pin(D->dirs, dd->d, &why);
	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && (st.st_mode & 0700) != 0700 &&
	    sys_fchmod(fd, (st.st_mode & 07777) | 0700) == 0)
		dd->touched = true;
	dir_unpin(D->dirs, dd->d);
}

static int same_dir(struct dest *D, struct ddir *dd, struct visit *v, const struct entry *en,
		    struct err *e)
{
	char code[CODE + 1];
	bool differs = code_diff(code, &en->meta, &D->own.meta);
	bool opaque_here = tree_opaque(&D->tree, &D->own);
	struct tree_sum own = {0};
	/* Walking below may use D->own's memory only through its own items, so D->own stays valid.
	 */
	if (!opaque_here && tree_child_sum(&D->tree, dd->d, en->name, &D->own, &own, e) < 0)
		return -1;
	if (differs)
		line(D, '.', code + 2, dd, en);
	bool opaque = opaque_here || (en->digest.flags & DIGEST_OPAQUE);
	bool equal = h128_equal(own.d.sum, en->digest.sum) && !own.d.flags && !en->digest.flags;
	if (opaque && !equal && opaque_dir(D, dd, en, opaque_here, e) < 0)
		return -1;
	if (opaque || equal)
		return differs ? fix_meta(D, dd, v, en) : 0;
	struct err why;
	struct dir *d = dirs_child(D->dirs, dd->d, en->name, &why);
	if (!d)
		return fail_entry(D, dd, en, &why);
	struct ddir *child = ddir_new(D, dd, d, &en->meta);
	child->touched = differs;
	loosen(D, child);
	if (differs)
		tree_touch(&D->tree, dd->d);
	if (en->digest.flags & DIGEST_RACY)
		D->racy_seen = true;
	plan_dir(D, child, en->digest.children, own.d.children);
	ddir_done_one(D, child);
	return 0;
}

static bool same_bytes(struct bytes a, struct bytes b)
{
	return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

static int same_special(struct dest *D, struct ddir *dd, struct visit *v, const struct entry *en)
{
	char code[CODE + 1];
	const struct meta *own = &D->own.meta;
	bool differs = code_diff(code, &en->meta, own);
	bool other = en->meta.type == ENTRY_SYMLINK
			     ? !same_bytes(en->meta.link, own->link)
			     : en->meta.rdev_major != own->rdev_major ||
				       en->meta.rdev_minor != own->rdev_minor;
	if (other) {
		code[2] = 'c';
		if (is_member(D, en)) {
			line(D, 'h', code + 2, dd, en);
			return want_link(D, dd, en, own->type);
		}
		line(D, 'c', code + 2, dd, en);
		if ((en->flags & ENTRY_LINKED) && dry(D))
			group_set(D, en->group, GROUP_PENDING);
		return make_special(D, dd, v, en, own->type);
	}
	if (!differs)
		return 0;
	line(D, '.', code + 2, dd, en);
	return fix_meta(D, dd, v, en);
}

int compare_entry(struct dest *D, struct ddir *dd, struct visit *v, const struct entry *en,
		  bool absent, struct err *e)
{
	struct err why = {0};
	D->c->stats->entries_seen++;
	if (absent)
		return new_entry(D, dd, v, en, 0, true, e);
	int t = tree_read(&D->tree, v, en->name, false, &D->own, &why);
	if (t == TREE_ERROR)
		return fail_entry(D, dd, en, &why);
	if (t == TREE_SKIP) {
		err_set(&why, ERR_PARTIAL,
			"something that cannot be replicated here is in the way");
		return fail_entry(D, dd, en, &why);
	}
	if (t != TREE_ENTRY)
		return new_entry(D, dd, v, en, 0, false, e);
	recall_fix(D);
	if (D->own.meta.type != en->meta.type)
		return replace_entry(D, dd, v, en, e);
	if (en->meta.type == ENTRY_FILE)
		return same_file(D, dd, v, en, e);
	if (en->meta.type == ENTRY_DIR)
		return same_dir(D, dd, v, en, e);
	return same_special(D, dd, v, en);
}

/* The content of a file whose size and time agree was compared: equal, or replaced in a temp by
 * now. */
int compare_over(struct dest *D, struct dfile *f, struct err *e)
{
	(void)e;
	struct visit v;
	struct err why = {0};
	struct entry en = {.name = {.p = (const uint8_t *)f->name, .n = f->name_len}};
	struct cursor c = cursor_of(f->meta, f->meta_len);
	meta_decode(&en.meta, &c);
	char code[CODE + 1];
	int t = visit_init(&D->tree, &v, f->dd->d, &why) < 0
			? TREE_ERROR
			: tree_read(&D->tree, &v, en.name, false, &D->own, &why);
	if (t == TREE_ENTRY)
		recall_fix(D);
	bool differs = t == TREE_ENTRY && D->own.meta.type == ENTRY_FILE &&
		       code_diff(code, &en.meta, &D->own.meta);
	D->line_seq = f->seq;
	if (f->same) {
		if (differs) {
			line(D, '.', code + 2, f->dd, &en);
			fix_meta(D, f->dd, &v, &en);
		}
		if (D->line_seq)
			item_void(D, f->seq);
		D->line_seq = 0;
		visit_release(&D->tree, &v);
		file_over(D, f);
		return 0;
	}
	visit_release(&D->tree, &v);
	if (!differs)
		memcpy(code + 2, ".........", 10);
	code[2] = 'c';
	line(D, D->arrow, code + 2, f->dd, &en);
	touch(D, f->dd);
	if (dry(D))
		file_over(D, f);
	else
		dfile_ready(D, f);
	return 0;
}

void compare_root(struct dest *D)
{
	struct err why;
	char code[CODE + 1] = ".d.........";
	int fd = dir_pin(D->dirs, D->root->d, &why);
	if (fd < 0)
		return;
	struct meta want;
	struct cursor c = cursor_of(D->root->meta, D->root->meta_len);
	meta_decode(&want, &c);
	if (attr_read(&D->own, fd, NULL, &D->mask, &why) == ATTR_READ &&
	    code_diff(code, &want, &D->own.meta)) {
		item_line(D, code, D->root->d, (struct bytes){0}, '\0', (struct bytes){0});
		D->root->touched = true;
		D->changed = true;
	}
	dir_unpin(D->dirs, D->root->d);
}
