/* SPDX-License-Identifier: Apache-2.0 */
#include "source_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "mem.h"
#include "resolve.h"

enum { UNRECORDED_SECONDS = 3600, OPENING_TIMEOUT_MS = 60000, REPORTED_MAX = 1 << 16 };

int64_t source_clock(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec;
}

void source_issue(struct source *s, enum issue_kind kind, enum err_code code, int error,
		  const struct dir *d, struct bytes name, const char *text)
{
	CLEANUP_BUF struct buf path;
	buf_init(&path, PATH_BYTES_MAX);
	dir_path(d, name, &path);
	pthread_mutex_lock(&s->events_lock);
	uint64_t id = hash64(&s->key, path.data, path.len) | 1;
	bool fresh = !idmap_get(&s->reported, id);
	idmap_put(&s->reported, id, 1);
	if (fresh && kind == ISSUE_SKIPPED_MOUNT)
		s->c->stats->skipped_mounts++;
	else if (fresh && code == ERR_CHANGED)
		s->c->stats->files_changed++;
	else if (fresh && kind == ISSUE_FAILED)
		s->c->stats->files_failed++;
	struct run_issue issue = {.kind = kind,
				  .code = code,
				  .error = error,
				  .path = {.p = path.data, .n = path.len},
				  .text = text};
	if (fresh && s->c->events.issue)
		s->c->events.issue(s->c->events.owner, &issue);
	pthread_mutex_unlock(&s->events_lock);
}

void source_fail(struct source *s, const struct err *why)
{
	pthread_mutex_lock(&s->lock);
	bool first = s->failure.code == ERR_OK;
	if (first)
		s->failure = *why;
	pthread_mutex_unlock(&s->lock);
	if (first)
		link_fail(s->link, why);
}

void source_leave_out(struct source *s, struct dir *d, struct bytes name)
{
	struct left_path *lp = mem_alloc(1, sizeof *lp);
	lp->dir = dir_ref(s->dirs, d);
	lp->name = mem_dup(name.p, name.n);
	lp->name_len = name.n;
	pthread_mutex_lock(&s->lock);
	lp->next = s->left;
	s->left = lp;
	pthread_mutex_unlock(&s->lock);
}

void job_free(struct source *s, struct job *j)
{
	if (!j)
		return;
	dir_unref(s->dirs, j->dir);
	free(j->name);
	free(j->leaves);
	free(j);
}

bool source_jobs_full(struct source *s)
{
	pthread_mutex_lock(&s->lock);
	bool full = s->stream_jobs >= STREAM_JOBS_MAX;
	pthread_mutex_unlock(&s->lock);
	return full;
}

int source_push_job(struct source *s, struct job *j)
{
	pthread_mutex_lock(&s->lock);
	while (s->stream_jobs >= STREAM_JOBS_MAX && !s->stopping)
		pthread_cond_wait(&s->jobs_done, &s->lock);
	s->stream_jobs++;
	s->jobs_open++;
	pthread_mutex_unlock(&s->lock);
	if (queue_push(&s->jobs, j, 1) == QUEUE_OK)
		return 0;
	job_free(s, j);
	return -1;
}

/* Runs on a lane's thread: sorts frames to whoever waits for them. */
static void route(void *owner, struct link_frame *f)
{
	struct source *s = owner;
	if (f->type == WIRE_SUMS) {
		struct cursor c = cursor_of(f->payload, f->length);
		uint64_t fid = get_var(&c, UINT64_MAX - 1);
		for (unsigned i = 0; i < s->worker_count; i++) {
			if (s->workers[i].waiting_for == fid + 1) {
				mailbox_put(&s->workers[i].sums, f);
				return;
			}
		}
		link_done(s->link, f);
		return;
	}
	mailbox_put(&s->control, f);
}

static void down(void *owner, const struct err *why)
{
	struct source *s = owner;
	(void)why;
	mailbox_close(&s->control);
	mailbox_close(&s->listing);
	queue_close(&s->jobs);
	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	pthread_cond_broadcast(&s->jobs_done);
	pthread_mutex_unlock(&s->lock);
	for (unsigned i = 0; i < s->worker_count; i++)
		mailbox_close(&s->workers[i].sums);
}

static void tree_problem(void *owner, const struct dir *d, struct bytes name, const struct err *why)
{
	source_issue(owner, ISSUE_FAILED, ERR_PARTIAL, why->sys, d, name, why->msg);
}

static void tree_mount(void *owner, const struct dir *d, struct bytes name)
{
	source_issue(owner, ISSUE_SKIPPED_MOUNT, ERR_OK, 0, d, name, "mount point, not crossed");
}

static bool tree_stop(void *owner)
{
	struct source *s = owner;
	if (s->c->events.stop && s->c->events.stop(s->c->events.owner))
		return true;
	return mailbox_closed(&s->control);
}

static int open_root(struct source *s, struct err *e)
{
	struct run_options *o = s->c->options;
	int fd = run_resolve(s->c->root_fd, s->c->dialled ? "" : o->path,
			     s->c->dialled ? 0 : o->path_len, false, e);
	if (fd < 0)
		return -1;
	s->dirs = dirs_new(fd, &s->key, e);
	return s->dirs ? 0 : -1;
}

static int send_begin(struct source *s, struct err *e)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	s->clock = t.tv_sec;
	s->clock_ns = (uint32_t)t.tv_nsec;
	struct dir *root = dirs_root(s->dirs);
	uint64_t incarnation = root->ino;
	dir_unref(s->dirs, root);
	return LINK_SEND(s->link, BEGIN, begin, e, .clock = t.tv_sec,
			 .clock_ns = (uint64_t)t.tv_nsec, .incarnation = incarnation);
}

static int64_t racy_from(int64_t last_clock)
{
	enum { MARGIN_SECONDS = 60 };
	return last_clock < INT64_MIN + MARGIN_SECONDS ? INT64_MIN : last_clock - MARGIN_SECONDS;
}

/* Fills mask and tree from BEGIN_OK. */
static int take_begin_ok(struct source *s, const struct msg_begin_ok *m, struct err *e)
{
	if (m->granule_ns == 0 || m->mask & ~s->c->options->attrs)
		return err_set(e, ERR_PROTOCOL,
			       "the destination announced an impossible filesystem");
	s->mask =
		(struct mask){.want = s->c->options->attrs,
			      .attrs = m->mask,
			      .granule_ns = (uint32_t)(m->granule_ns > 4000000000u ? 4000000000u
										   : m->granule_ns),
			      .time_min = m->time_min,
			      .time_max = m->time_max,
			      .xattr_max = (uint32_t)m->xattr_max};
	s->tree.dirs = s->dirs;
	s->tree.mask = &s->mask;
	s->tree.filter = &s->c->options->filter;
	s->tree.key = &s->key;
	s->tree.source = true;
	s->tree.counting = true;
	s->tree.one_file_system = s->c->options->flags & OPT_ONE_FILE_SYSTEM;
	/* Where content has to be looked at in any case, every file counts as too young for its
	 * time to say anything, and nothing is pruned. */
	bool look = (s->c->options->flags & OPT_CHECKSUM) || !(m->mask & ATTR_TIMES);
	/* A replica without a record may be what a killed first run left: what is younger than such
	 * a run could be is looked at. */
	bool record = m->state & DESTINATION_HAS_RECORD;
	int64_t since = record ? m->last_clock : s->clock - UNRECORDED_SECONDS;
	s->tree.racy_from = look ? INT64_MIN : racy_from(since);
	s->tree.problem = tree_problem;
	s->tree.mount = tree_mount;
	s->tree.stop = tree_stop;
	s->tree.owner = s;
	return tree_init(&s->tree, e);
}

static void begin_lanes(struct source *s, const struct msg_begin_ok *ok)
{
	if (s->c->dialled)
		s->dialler = bulk_dial(s->link, ok->token, s->c->more_lanes, s->c->dial_more,
				       s->c->dial_owner);
	else
		s->door = bulk_open(s->link, ok->token);
}

/* A frame that main makes for the lister. */
static void tell_lister(struct source *s, uint8_t type, uint8_t value)
{
	struct link_frame *f = mem_alloc(1, sizeof *f + 1);
	f->type = type;
	f->length = 1;
	f->channel = CHANNELS;
	f->payload[0] = value;
	mailbox_put(&s->listing, f);
}

/* The lister may be busy for long; the credit of what it will only look at then must go back at
 * once, or the destination could not go on with what the lister waits for. */
static int keep_for_lister(struct source *s, const struct link_frame *f, struct err *e)
{
	if (mailbox_count(&s->listing) > LISTING_BACKLOG_MAX)
		return err_set(e, ERR_PROTOCOL, "the destination left too many entries out");
	struct link_frame *copy = mem_alloc_raw(sizeof *copy + f->length);
	memcpy(copy, f, sizeof *copy + f->length);
	copy->channel = CHANNELS;
	mailbox_put(&s->listing, copy);
	return 0;
}

static int open_dir(struct source *s, const struct link_frame *f, struct err *e)
{
	struct msg_dir_open m;
	if (msg_dir_open_decode(&m, f->payload, f->length, e) < 0)
		return -1;
	if (!name_valid(m.name) || m.handle == 0)
		return err_set(e, ERR_PROTOCOL, "the destination named an impossible directory");
	pthread_mutex_lock(&s->lock);
	struct dir *parent = ptrmap_get(&s->handles, m.parent);
	if (parent)
		dir_ref(s->dirs, parent);
	bool taken = ptrmap_get(&s->handles, m.handle);
	bool many = s->handles.count > 100000;
	pthread_mutex_unlock(&s->lock);
	if ((taken || many) && parent)
		dir_unref(s->dirs, parent);
	if (taken || many)
		return err_set(e, ERR_PROTOCOL, "the destination misused a directory handle");
	struct err why;
	/* An absent parent failed to open before; what hangs below it is reported gone when listed.
	 */
	struct dir *d = parent ? dirs_child(s->dirs, parent, m.name, &why) : NULL;
	if (parent)
		dir_unref(s->dirs, parent);
	if (!d)
		return 0;
	pthread_mutex_lock(&s->lock);
	ptrmap_put(&s->handles, m.handle, d);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

int source_close_dir(struct source *s, const struct link_frame *f, struct err *e)
{
	struct msg_dir_close m;
	if (msg_dir_close_decode(&m, f->payload, f->length, e) < 0)
		return -1;
	pthread_mutex_lock(&s->lock);
	struct dir *d = m.handle ? ptrmap_remove(&s->handles, m.handle) : NULL;
	pthread_mutex_unlock(&s->lock);
	if (d)
		dir_unref(s->dirs, d);
	return 0;
}

static int take_want(struct source *s, const struct link_frame *f, struct err *e)
{
	struct msg_want m;
	if (msg_want_decode(&m, f->payload, f->length, e) < 0)
		return -1;
	if (!name_valid(m.name) || m.mode > WANT_COMPARE || m.leaves.n % 16 || (m.fid & FID_STREAM))
		return err_set(e, ERR_PROTOCOL, "the destination asked for an impossible file");
	pthread_mutex_lock(&s->lock);
	/* Without the directory the file counts as gone, which the worker says in its turn. */
	struct dir *d = ptrmap_get(&s->handles, m.handle);
	if (d)
		dir_ref(s->dirs, d);
	pthread_mutex_unlock(&s->lock);
	struct job *j = mem_alloc(1, sizeof *j);
	*j = (struct job){.fid = m.fid,
			  .dir = d,
			  .name = mem_dup(m.name.p, m.name.n),
			  .name_len = m.name.n,
			  .mode = m.mode,
			  .basis_size = m.basis_size};
	if (m.leaves.n) {
		j->leaves = (uint8_t *)mem_dup(m.leaves.p, m.leaves.n);
		j->leaf_count = m.leaves.n / 16;
	}
	pthread_mutex_lock(&s->lock);
	s->jobs_open++;
	pthread_mutex_unlock(&s->lock);
	enum queue_result q = queue_try_push(&s->jobs, j, 1);
	if (q == QUEUE_OK)
		return 0;
	job_free(s, j);
	if (q == QUEUE_CLOSED)
		return err_set(e, ERR_CONNECT, "connection closed");
	return err_set(e, ERR_PROTOCOL, "the destination asked for too many files at once");
}

static int take_item(struct source *s, const struct link_frame *f, struct err *e)
{
	pthread_mutex_lock(&s->events_lock);
	int r = item_order_put(&s->order, f->payload, f->length, s->c->events.item,
			       s->c->events.owner, e);
	pthread_mutex_unlock(&s->events_lock);
	return r;
}

static int take_issue(struct source *s, const struct link_frame *f, struct err *e)
{
	struct msg_issue m;
	if (msg_issue_decode(&m, f->payload, f->length, e) < 0)
		return -1;
	char text[ABORT_TEXT_MAX + 1];
	memcpy(text, m.text.p, m.text.n);
	text[m.text.n] = '\0';
	enum err_code code = m.code <= ERR_MAX_DELETE ? (enum err_code)m.code : ERR_PARTIAL;
	struct run_issue issue = {.kind = m.kind <= ISSUE_DELETED ? m.kind : ISSUE_NOTE,
				  .code = code,
				  .error = (int)m.error,
				  .path = m.path,
				  .text = text};
	pthread_mutex_lock(&s->events_lock);
	if (s->c->events.issue)
		s->c->events.issue(s->c->events.owner, &issue);
	pthread_mutex_unlock(&s->events_lock);
	return 0;
}

static int take_committed(struct source *s, const struct link_frame *f, struct run_result *r,
			  struct err *e)
{
	struct msg_committed m;
	if (msg_committed_decode(&m, f->payload, f->length, e) < 0)
		return -1;
	r->committed = m.code != ERR_VERIFY;
	r->has_hashes = !(s->c->options->flags & OPT_DRY_RUN);
	r->hash_destination = m.root_hash;
	r->hash_source = m.source_root_hash;
	r->files_total = m.files_total;
	r->bytes_total = m.bytes_total;
	r->files_transferred = m.files_transferred;
	r->files_deleted = m.files_deleted;
	r->files_failed = m.files_failed;
	r->bytes_literal = m.bytes_literal;
	r->bytes_matched = m.bytes_matched;
	r->bytes_written = m.bytes_written;
	if (m.code) {
		char text[ABORT_TEXT_MAX + 1];
		memcpy(text, m.message.p, m.message.n);
		text[m.message.n] = '\0';
		err_set(&r->err, m.code <= ERR_MAX_DELETE ? (enum err_code)m.code : ERR_FAILURE,
			"%s", text);
	}
	return 0;
}

/* Handles one control message. 1 when the run is over, 0 to go on, -1 on failure. */
static int handle(struct source *s, struct link_frame *f, struct run_result *result, struct err *e)
{
	struct msg_begin_ok ok;
	int r = 0;
	switch (f->type) {
	case WIRE_BEGIN_OK:
		if (s->tree.cache || msg_begin_ok_decode(&ok, f->payload, f->length, e) < 0 ||
		    take_begin_ok(s, &ok, e) < 0)
			r = s->tree.cache && !e->code ? err_set(e, ERR_PROTOCOL, "BEGIN_OK twice")
						      : -1;
		else
			begin_lanes(s, &ok),
				tell_lister(s, WIRE_ROOT, ok.state & DESTINATION_EMPTY);
		break;
	case WIRE_DIR_OPEN:
		r = open_dir(s, f, e);
		break;
	case WIRE_DIR_CLOSE: /* in order with the listings, which use the handle */
	case WIRE_LIST_REQ:
	case WIRE_STREAM_REQ:
	case WIRE_CONFIRM_REQ:
	case WIRE_LINKS_REQ:
	case WIRE_DONE:
		if (!s->tree.cache)
			return err_set(e, ERR_PROTOCOL,
				       "the destination asked before it agreed to begin");
		mailbox_put(&s->listing, f);
		return 0;
	case WIRE_LEAVE_OUT:
		r = s->tree.cache ? keep_for_lister(s, f, e)
				  : err_set(e, ERR_PROTOCOL, "LEAVE_OUT before BEGIN_OK");
		break;
	case WIRE_WANT:
		r = s->tree.cache ? take_want(s, f, e)
				  : err_set(e, ERR_PROTOCOL, "WANT before BEGIN_OK");
		break;
	case WIRE_ITEM:
		r = take_item(s, f, e);
		break;
	case WIRE_ISSUE:
		r = take_issue(s, f, e);
		break;
	case WIRE_ACK:
		break;
	case WIRE_COMMITTED:
		r = take_committed(s, f, result, e) < 0 ? -1 : 1;
		break;
	default:
		r = err_set(e, ERR_PROTOCOL, "unexpected message %s", message_name(f->type));
	}
	link_done(s->link, f);
	return r;
}

static int session(struct source *s, struct run_result *result, struct err *e)
{
	struct opening op = {.role = ROLE_SOURCE, .dialled = s->c->dialled};
	if (run_open(s->link, &s->control, &op, s->c->options, OPENING_TIMEOUT_MS, e) < 0)
		return -1;
	if (op.peer_role == ROLE_BULK)
		return bulk_serve(s->link, &s->control, e);
	hash_key_init(&s->key, op.nonce, op.peer_nonce);
	if (open_root(s, e) < 0)
		return -1;
	ptrmap_put(&s->handles, 0, dirs_root(s->dirs));
	if (send_begin(s, e) < 0)
		return -1;
	for (;;) {
		struct link_frame *f = run_take(s->link, &s->control, 1000, e);
		if (s->c->events.stop && s->c->events.stop(s->c->events.owner) &&
		    s->failure.code == ERR_OK) {
			if (f)
				link_done(s->link, f);
			return err_set(e, ERR_FAILURE, "stopped by a signal");
		}
		if (!f && e->code == ERR_TIMEOUT && link_error(s->link, NULL) == ERR_OK) {
			*e = (struct err){0};
			continue;
		}
		int r = f ? handle(s, f, result, e) : -1;
		if (r)
			return r < 0 ? -1 : 0;
	}
}

static void start_threads(struct source *s)
{
	pthread_create(&s->lister, NULL, lister_main, s);
	for (unsigned i = 0; i < s->worker_count; i++)
		pthread_create(&s->workers[i].thread, NULL, worker_main, &s->workers[i]);
}

static void stop_threads(struct source *s)
{
	down(s, NULL);
	pthread_join(s->lister, NULL);
	for (unsigned i = 0; i < s->worker_count; i++) {
		pthread_join(s->workers[i].thread, NULL);
	}
	void *j;
	while (queue_pop(&s->jobs, &j, 0) == QUEUE_OK)
		job_free(s, j);
}

static void release(struct source *s)
{
	while (s->left) {
		struct left_path *lp = s->left;
		s->left = lp->next;
		dir_unref(s->dirs, lp->dir);
		free(lp->name);
		free(lp);
	}
	for (size_t i = 0; i < s->handles.cap; i++)
		if (s->handles.slots[i].p)
			dir_unref(s->dirs, s->handles.slots[i].p);
	ptrmap_release(&s->handles);
	item_order_release(&s->order);
	tree_release(&s->tree);
	dirs_free(s->dirs);
	link_free(s->link);
	mailbox_release(&s->control);
	mailbox_release(&s->listing);
	queue_release(&s->jobs);
	idmap_release(&s->reported);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->events_lock);
	pthread_cond_destroy(&s->jobs_done);
}

void source_run(const struct source_config *c, struct transport *t, struct run_result *result)
{
	struct source *s = mem_alloc(1, sizeof *s);
	s->c = c;
	s->worker_count = c->workers ? c->workers : (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	if (s->worker_count > WORKERS_MAX)
		s->worker_count = WORKERS_MAX;
	mailbox_init(&s->control);
	mailbox_init(&s->listing);
	for (unsigned i = 0; i < s->worker_count; i++) {
		s->workers[i].s = s;
		mailbox_init(&s->workers[i].sums);
	}
	queue_init(&s->jobs, JOBS_MAX, JOBS_MAX);
	ptrmap_init(&s->handles);
	item_order_init(&s->order);
	idmap_init(&s->reported, REPORTED_MAX);
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->events_lock, NULL);
	pthread_cond_init(&s->jobs_done, NULL);
	struct link_config lc = {.self = &s->link,
				 .peer_role = 'D',
				 .peer_dialled = !c->dialled,
				 .bwlimit = c->bwlimit,
				 .route = route,
				 .down = down,
				 .owner = s};
	s->link = link_new(&lc, t);
	start_threads(s);
	struct err e = {0};
	*result = (struct run_result){0};
	if (session(s, result, &e) < 0) {
		link_fail(s->link, &e);
		pthread_mutex_lock(&s->lock);
		result->err = s->failure.code ? s->failure : e;
		pthread_mutex_unlock(&s->lock);
	} else {
		link_expect_end(s->link);
		LINK_SEND(s->link, BYE, bye, NULL, 0);
		link_flush(s->link, 5000);
	}
	result->files_changed = c->stats->files_changed;
	result->skipped_mounts = c->stats->skipped_mounts;
	memcpy(result->dropped, s->tree.dropped, sizeof result->dropped);
	bulk_close(s->door);
	bulk_dial_end(s->dialler);
	stop_threads(s);
	link_close(s->link);
	result->wire = link_counters(s->link);
	for (unsigned i = 0; i < s->worker_count; i++)
		mailbox_release(&s->workers[i].sums);
	release(s);
	free(s);
}
