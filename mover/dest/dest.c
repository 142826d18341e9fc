/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dest_int.h"
#include "mem.h"
#include "resolve.h"
#include "state.h"
#include "sys.h"

enum { OPENING_TIMEOUT_MS = 60000, STATE_MODE = 0700 };

void dest_fail(struct dest *D, const struct err *why)
{
	pthread_mutex_lock(&D->lock);
	bool first = D->failure.code == ERR_OK;
	if (first)
		D->failure = *why;
	pthread_mutex_unlock(&D->lock);
	if (first)
		link_fail(D->link, why);
}

void dest_issue(struct dest *D, enum issue_kind kind, enum err_code code, int error,
		const struct dir *d, struct bytes name, const char *text)
{
	CLEANUP_BUF struct buf path;
	buf_init(&path, PATH_BYTES_MAX);
	dir_path(d, name, &path);
	pthread_mutex_lock(&D->events_lock);
	if (kind == ISSUE_SKIPPED_MOUNT)
		D->c->stats->skipped_mounts++;
	struct run_issue issue = {.kind = kind,
				  .code = code,
				  .error = error,
				  .path = {.p = path.data, .n = path.len},
				  .text = text};
	if (D->c->events.issue)
		D->c->events.issue(D->c->events.owner, &issue);
	pthread_mutex_unlock(&D->events_lock);
	LINK_SEND(D->link, ISSUE, issue, NULL, .kind = (uint8_t)kind, .code = (uint8_t)code,
		  .error = (uint64_t)(error > 0 && error < 4096 ? error : 0),
		  .path = {.p = path.data, .n = path.len},
		  .text = {.p = (const uint8_t *)text, .n = strlen(text)});
}

/* The planner owns the tree: it leaves the entry out and tells the source, in order with the rest.
 */
void dest_left_out(struct dest *D, const struct ddir *dd, struct bytes name, struct h128 term,
		   bool source_knows)
{
	CLEANUP_BUF struct buf path;
	buf_init(&path, PATH_BYTES_MAX);
	dir_path(dd->d, name, &path);
	struct link_frame *f = mem_alloc(1, sizeof *f + 18 + path.len);
	f->type = WIRE_LEAVE_OUT;
	f->channel = FRAME_LOCAL;
	f->length = (uint32_t)(17 + path.len);
	f->payload[0] = source_knows;
	h128_store(f->payload + 1, term);
	if (path.len)
		memcpy(f->payload + 17, path.data, path.len);
	mailbox_put(&D->inbox, f);
}

void dest_entry_failed(struct dest *D, struct ddir *dd, struct bytes name, const struct err *why,
		       struct h128 term)
{
	D->c->stats->files_failed++;
	dest_issue(D, ISSUE_FAILED, why->code == ERR_CHANGED ? ERR_CHANGED : ERR_PARTIAL, why->sys,
		   dd->d, name, why->msg);
	dest_left_out(D, dd, name, term, false);
}

void dest_tell_planner(struct dest *D, enum message_type type, struct dfile *file)
{
	struct link_frame *f = mem_alloc(1, sizeof *f + sizeof file);
	f->type = (uint8_t)type;
	f->channel = FRAME_LOCAL;
	f->length = sizeof file;
	memcpy(f->payload, &file, sizeof file);
	mailbox_put(&D->inbox, f);
}

void dest_wake_planner(struct dest *D)
{
	struct link_frame *f = mem_alloc(1, sizeof *f);
	f->type = WIRE_ACK; /* never sent to a destination: stands for "look again" */
	f->channel = FRAME_LOCAL;
	mailbox_put(&D->inbox, f);
}

void temp_name(const struct dest *D, uint64_t number, char out[TEMP_NAME_MAX])
{
	snprintf(out, TEMP_NAME_MAX, TREE_TEMP_PREFIX "%s-%llu", D->run_hex,
		 (unsigned long long)number);
}

int dest_state(struct dest *D, struct err *e)
{
	pthread_mutex_lock(&D->state_lock);
	if (D->state_fd < 0) {
		if (sys_mkdirat(D->root_fd, TREE_STATE_DIR, STATE_MODE) < 0 && errno != EEXIST)
			err_sys(e, ERR_FAILURE, "cannot make %s in the destination",
				TREE_STATE_DIR);
		else
			D->state_fd = sys_openat(D->root_fd, TREE_STATE_DIR,
						 O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
		if (D->state_fd < 0)
			err_sys(e, ERR_FAILURE, "cannot open %s in the destination",
				TREE_STATE_DIR);
	}
	int fd = D->state_fd;
	pthread_mutex_unlock(&D->state_lock);
	return fd;
}

/* Runs on a lane's thread. */
static void route(void *owner, struct link_frame *f)
{
	struct dest *D = owner;
	switch (f->type) {
	case WIRE_PACK:
	case WIRE_SEGMENT:
	case WIRE_RANGES:
	case WIRE_FILE_END:
		mailbox_put(&D->data, f);
		break;
	case WIRE_SUMS_REQ:
	case WIRE_SIGNATURE_REQ:
		mailbox_put(&D->sums, f);
		break;
	default:
		mailbox_put(&D->inbox, f);
	}
}

static void down(void *owner, const struct err *why)
{
	struct dest *D = owner;
	(void)why;
	mailbox_close(&D->inbox);
	mailbox_close(&D->data);
	mailbox_close(&D->sums);
	pthread_mutex_lock(&D->lock);
	D->stopping = true;
	pthread_cond_broadcast(&D->files_moved);
	pthread_mutex_unlock(&D->lock);
}

static int lock_one(struct dest *D, int fd, int how, struct err *e)
{
	if (flock(fd, how | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			return err_set(e, ERR_BUSY,
				       "another run is replicating into this destination (or above "
				       "or below it)");
		if (errno != EOPNOTSUPP && errno != ENOLCK && errno != ENOSYS)
			return err_sys(e, ERR_FAILURE, "cannot lock the destination");
	}
	D->locks[D->lock_count++] = fd;
	return 0;
}

static int lock_prefix(struct dest *D, size_t n, int how, struct err *e)
{
	if (D->lock_count == (int)(sizeof D->locks / sizeof D->locks[0]))
		return err_set(e, ERR_USAGE, "the path below the root has more than %d components",
			       D->lock_count - 1);
	int fd = run_resolve(D->c->root_fd, D->o->path, n, false, e);
	if (fd < 0)
		return -1;
	if (lock_one(D, fd, how, e) < 0) {
		close(fd);
		return -1;
	}
	return 0;
}

/* Exclusive on the replica's directory, shared on each directory above it up to the served root. */
static int lock_path(struct dest *D, struct err *e)
{
	const char *p = D->o->path;
	size_t n = D->o->path_len;
	size_t begin = strspn(p, "/");
	if (begin < n && lock_prefix(D, 0, LOCK_SH, e) < 0)
		return -1;
	for (size_t at = begin; at < n; at++)
		if (p[at] == '/' && p[at - 1] != '/' && lock_prefix(D, at, LOCK_SH, e) < 0)
			return -1;
	return lock_prefix(D, n, LOCK_EX, e);
}

static int open_replica(struct dest *D, struct err *e)
{
	struct run_options *o = D->o;
	bool local = D->c->dialled; /* pull: the path belongs to the source's side */
	if (local) {
		free(o->path);
		o->path = mem_strdup("");
		o->path_len = 0;
	}
	while (o->path_len && o->path[o->path_len - 1] == '/')
		o->path[--o->path_len] = '\0';
	bool make = !(o->flags & OPT_DRY_RUN);
	D->root_fd = run_resolve(D->c->root_fd, o->path, o->path_len, make, e);
	if (D->root_fd < 0 || lock_path(D, e) < 0)
		return -1;
	int own = sys_openat(D->root_fd, ".", O_RDONLY | O_DIRECTORY, 0);
	if (own < 0)
		return err_sys(e, ERR_FAILURE, "cannot open the destination");
	D->dirs = dirs_new(own, &D->key, e);
	if (!D->dirs || dest_record_read(D->root_fd, &D->record, e) < 0)
		return -1;
	struct recover_result rr;
	return make ? state_recover(D->root_fd, &rr, e) : 0;
}

static int check_source(struct dest *D, struct err *e)
{
	const char *id = D->o->source_id;
	if (!*id || !D->record.present || !*D->record.source_id ||
	    strcmp(id, D->record.source_id) == 0)
		return 0;
	if (D->o->flags & OPT_ACCEPT_NEW_SOURCE)
		return 0;
	return err_set(e, ERR_BRAKE,
		       "the destination holds a replica of source %s, not of %s; "
		       "--accept-new-source overrides",
		       D->record.source_id, id);
}

static void tree_problem(void *owner, const struct dir *d, struct bytes name, const struct err *why)
{
	struct dest *D = owner;
	if (D->verifying)
		return;
	D->c->stats->files_failed++;
	dest_issue(D, ISSUE_FAILED, ERR_PARTIAL, why->sys, d, name, why->msg);
}

static void tree_mount(void *owner, const struct dir *d, struct bytes name)
{
	(void)owner;
	(void)d;
	(void)name;
}

static bool tree_stop(void *owner)
{
	struct dest *D = owner;
	if (D->c->events.stop && D->c->events.stop(D->c->events.owner))
		return true;
	return mailbox_closed(&D->inbox);
}

/* Temps of dead runs (ours is the only living one, and it has made none yet): removed, times kept.
 */
static void tree_reserved_name(void *owner, struct visit *v, struct bytes name)
{
	struct dest *D = owner;
	struct stat st;
	char text[NAME_BYTES_MAX + 1];
	if (D->root || (D->o->flags & OPT_DRY_RUN) || fstat(v->fd, &st) < 0)
		return;
	memcpy(text, name.p, name.n);
	text[name.n] = '\0';
	if (!v->d->parent && strcmp(text, TREE_STATE_DIR) == 0)
		return;
	if (sys_unlinkat(v->fd, text, 0) < 0 && errno == EISDIR)
		remove_temp_dir(D, v->d, name);
	sys_utimens(v->fd, NULL, st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec);
}

/* True if the replica has nothing in scope. */
static int look_empty(struct dest *D, bool *empty, struct err *e)
{
	struct dir *root = dirs_root(D->dirs);
	struct visit v;
	struct scan sc;
	int r = visit_init(&D->tree, &v, root, e);
	if (r == 0)
		r = scan_init(&sc, D->dirs, root, e);
	if (r == 0) {
		struct bytes name;
		unsigned char type;
		int more;
		*empty = true;
		while (*empty && (more = scan_next(&sc, &name, &type, e)) != 0) {
			if (more < 0) {
				r = -1;
				break;
			}
			int t = tree_read(&D->tree, &v, name, true, &D->own, e);
			if (t == TREE_RESERVED)
				tree_reserved_name(D, &v, name);
			*empty = t == TREE_SKIP || t == TREE_GONE || t == TREE_RESERVED;
		}
		scan_release(&sc);
	}
	visit_release(&D->tree, &v);
	dir_unref(D->dirs, root);
	return r;
}

static int prepare_tree(struct dest *D, struct err *e)
{
	if (mask_probe(&D->mask, D->root_fd, D->o->attrs, e) < 0)
		return -1;
	D->tree.dirs = D->dirs;
	D->tree.mask = &D->mask;
	D->tree.filter = &D->o->filter;
	D->tree.key = &D->key;
	D->tree.one_file_system = D->o->flags & OPT_ONE_FILE_SYSTEM;
	D->tree.racy_from = INT64_MAX;
	D->tree.problem = tree_problem;
	D->tree.mount = tree_mount;
	D->tree.stop = tree_stop;
	D->tree.reserved = tree_reserved_name;
	D->tree.owner = D;
	if (tree_init(&D->tree, e) < 0)
		return -1;
	return look_empty(D, &D->empty, e);
}

static int answer_begin(struct dest *D, struct err *e)
{
	struct msg_begin_ok m = {.state = (uint8_t)((D->empty ? DESTINATION_EMPTY : 0) |
						    (D->record.present ? DESTINATION_HAS_RECORD
								       : 0)),
				 .last_clock = D->record.source_clock,
				 .mask = D->mask.attrs,
				 .granule_ns = D->mask.granule_ns,
				 .time_min = D->mask.time_min,
				 .time_max = D->mask.time_max,
				 .xattr_max = D->mask.xattr_max};
	if (run_random(m.token, sizeof m.token, e) < 0)
		return -1;
	CLEANUP_BUF struct buf b;
	buf_init(&b, FRAME_PAYLOAD_MAX);
	msg_begin_ok_encode(&m, &b);
	if (!D->c->dialled)
		D->door = bulk_open(D->link, m.token);
	if (link_send(D->link, WIRE_BEGIN_OK, &b, e) < 0)
		return -1;
	if (D->c->dialled)
		D->dialler = bulk_dial(D->link, m.token, D->c->more_lanes, D->c->dial_more,
				       D->c->dial_owner);
	return 0;
}

static int take_begin(struct dest *D, struct err *e)
{
	struct link_frame *f = run_take(D->link, &D->inbox, OPENING_TIMEOUT_MS, e);
	if (!f)
		return -1;
	int r = f->type == WIRE_BEGIN
			? msg_begin_decode(&D->begin, f->payload, f->length, e)
			: err_set(e, ERR_PROTOCOL, "expected BEGIN, got %s", message_name(f->type));
	link_done(D->link, f);
	return r;
}

static int session(struct dest *D, struct run_result *result, struct err *e)
{
	struct opening op = {.role = ROLE_DESTINATION, .dialled = D->c->dialled};
	if (run_open(D->link, &D->inbox, &op, D->o, OPENING_TIMEOUT_MS, e) < 0)
		return -1;
	if (op.peer_role == ROLE_BULK)
		return bulk_serve(D->link, &D->inbox, e);
	hash_key_init(&D->key, op.peer_nonce, op.nonce);
	for (int i = 0; i < RUN_ID_BYTES; i++)
		snprintf(D->run_hex + 2 * i, 3, "%02x", D->o->run_id[i]);
	D->arrow = D->c->dialled ? '>' : '<';
	D->deletes_left = D->o->max_delete;
	if (open_replica(D, e) < 0 || check_source(D, e) < 0 || prepare_tree(D, e) < 0)
		return -1;
	if (take_begin(D, e) < 0 || answer_begin(D, e) < 0 || plan_begin(D, e) < 0)
		return -1;
	for (;;) {
		struct link_frame *f = run_take(D->link, &D->inbox, 1000, e);
		if (!f && e->code == ERR_TIMEOUT && link_error(D->link, NULL) == ERR_OK) {
			*e = (struct err){0};
			if (tree_stop(D))
				return err_set(e, ERR_CONNECT, "the destination was told to stop");
			continue;
		}
		if (!f)
			return -1;
		if (plan_message(D, f, e) < 0)
			return -1;
		if (plan_idle(D))
			return finish_run(D, result, e);
	}
}

static void start_threads(struct dest *D)
{
	for (unsigned i = 0; i < D->writer_count; i++)
		pthread_create(&D->writers[i], NULL, writer_main, D);
	pthread_create(&D->summer, NULL, summer_main, D);
	pthread_create(&D->finisher, NULL, finisher_main, D);
}

static void stop_threads(struct dest *D)
{
	down(D, NULL);
	for (unsigned i = 0; i < D->writer_count; i++)
		pthread_join(D->writers[i], NULL);
	pthread_join(D->summer, NULL);
	pthread_join(D->finisher, NULL);
}

static void init(struct dest *D, const struct dest_config *c)
{
	D->c = c;
	D->o = c->options;
	D->root_fd = D->state_fd = -1;
	D->writer_count = c->workers ? c->workers : (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	if (D->writer_count > WRITERS_MAX)
		D->writer_count = WRITERS_MAX;
	mailbox_init(&D->inbox);
	mailbox_init(&D->data);
	mailbox_init(&D->sums);
	ptrmap_init(&D->requests);
	item_order_init(&D->order);
	ptrmap_init(&D->groups);
	ptrmap_init(&D->files);
	item_init(&D->own);
	ptrmap_init(&D->fixed);
	buf_init(&D->frame, FRAME_PAYLOAD_MAX);
	D->ready_end = &D->ready;
	D->done_end = &D->done;
	D->deletions_end = &D->deletions;
	pthread_mutex_init(&D->lock, NULL);
	pthread_mutex_init(&D->state_lock, NULL);
	pthread_mutex_init(&D->events_lock, NULL);
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&D->files_moved, &attr);
	pthread_condattr_destroy(&attr);
}

static void release(struct dest *D)
{
	while (D->deletions) {
		struct deletion *x = D->deletions;
		D->deletions = x->next;
		dir_unref(D->dirs, x->d);
		free(x->name);
		free(x);
	}
	tree_release(&D->tree);
	dirs_free(D->dirs);
	for (int i = 0; i < D->lock_count; i++)
		close(D->locks[i]);
	if (D->state_fd >= 0)
		close(D->state_fd);
	if (D->root_fd >= 0)
		close(D->root_fd);
	mailbox_release(&D->inbox);
	mailbox_release(&D->data);
	mailbox_release(&D->sums);
	ptrmap_release(&D->requests);
	item_order_release(&D->order);
	ptrmap_release(&D->groups);
	ptrmap_release(&D->files);
	item_release(&D->own);
	for (size_t i = 0; i < D->fixed.cap; i++)
		free(D->fixed.slots[i].p);
	ptrmap_release(&D->fixed);
	buf_release(&D->frame);
	pthread_mutex_destroy(&D->lock);
	pthread_mutex_destroy(&D->state_lock);
	pthread_mutex_destroy(&D->events_lock);
	pthread_cond_destroy(&D->files_moved);
}

void dest_run(const struct dest_config *c, struct transport *t, struct run_result *result)
{
	struct dest *D = mem_alloc(1, sizeof *D);
	init(D, c);
	struct link_config lc = {.self = &D->link,
				 .peer_role = 'S',
				 .peer_dialled = !c->dialled,
				 .bwlimit = c->bwlimit,
				 .route = route,
				 .down = down,
				 .owner = D};
	D->link = link_new(&lc, t);
	start_threads(D);
	struct err e = {0};
	*result = (struct run_result){0};
	if (session(D, result, &e) < 0) {
		link_fail(D->link, &e);
		pthread_mutex_lock(&D->lock);
		result->err = D->failure.code ? D->failure : e;
		pthread_mutex_unlock(&D->lock);
	}
	if (result->files_failed < c->stats->files_failed)
		result->files_failed = c->stats->files_failed;
	result->files_deleted = c->stats->files_deleted;
	memcpy(result->dropped, D->tree.dropped, sizeof result->dropped);
	bulk_close(D->door);
	bulk_dial_end(D->dialler);
	stop_threads(D);
	link_close(D->link);
	result->wire = link_counters(D->link);
	plan_release(D);
	link_free(D->link);
	release(D);
	free(D);
}
