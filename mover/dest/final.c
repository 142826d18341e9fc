/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a run: deletions, links, verification of the whole, commit. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "dest_int.h"
#include "mem.h"
#include "scan.h"
#include "sys.h"

enum { RACY_MARGIN_SECONDS = 120, SETTLE_ROUNDS = 4 };

void state_remove(struct dest *D)
{
	pthread_mutex_lock(&D->state_lock);
	int fd = D->state_fd;
	D->state_fd = -1;
	pthread_mutex_unlock(&D->state_lock);
	if (fd < 0)
		return;
	struct err why;
	struct dirs *ds = dirs_new(fd, NULL, &why);
	if (!ds)
		return;
	struct dir *d = dirs_root(ds);
	struct scan sc;
	if (scan_init(&sc, ds, d, &why) == 0) {
		struct bytes name;
		unsigned char type;
		while (scan_next(&sc, &name, &type, &why) > 0) {
			char text[NAME_BYTES_MAX + 1];
			memcpy(text, name.p, name.n);
			text[name.n] = '\0';
			if (!D->keep_state || text[0] != 'j')
				sys_unlinkat(fd, text, 0);
		}
		scan_release(&sc);
	}
	dir_unref(ds, d);
	dirs_free(ds);
	sys_unlinkat(D->root_fd, TREE_STATE_DIR, AT_REMOVEDIR);
}

/* The root's own attributes, last of all. */
static int finish_root(struct dest *D, struct err *e)
{
	struct meta want;
	struct cursor c = cursor_of(D->root->meta, D->root->meta_len);
	meta_decode(&want, &c);
	CLEANUP_ITEM struct item own;
	item_init(&own);
	int r = attr_read(&own, D->root_fd, NULL, &D->mask, e);
	if (r == ATTR_READ)
		r = attr_apply(D->root_fd, -1, NULL, &want, &own, &D->mask, e);
	return r == ATTR_READ ? 0 : err_wrap(e, "destination root");
}

/* Asks the source for its digest and waits for it, the planner's messages going on. */
static int ask_final(struct dest *D, uint8_t mode, struct msg_source_final *m, struct err *e)
{
	if (LINK_SEND(D->link, DONE, done, e, .mode = mode) < 0)
		return -1;
	for (;;) {
		struct link_frame *f = run_take(D->link, &D->inbox, -1, e);
		if (!f)
			return -1;
		if (f->type != WIRE_SOURCE_FINAL) {
			if (plan_message(D, f, e) < 0)
				return -1;
			continue;
		}
		int r = msg_source_final_decode(m, f->payload, f->length, e);
		link_done(D->link, f);
		return r;
	}
}

static int own_final(struct dest *D, struct tree_sum *sum, struct h128 *root_hash, struct err *e)
{
	CLEANUP_ITEM struct item it;
	item_init(&it);
	/* Links are gathered in full walks only. */
	if (D->made_links || D->had_links)
		tree_forget(&D->tree);
	if (tree_sum(&D->tree, D->root->d, sum, e) < 0 ||
	    attr_read(&it, D->root_fd, NULL, &D->mask, e) != ATTR_READ)
		return -1;
	pthread_mutex_lock(&D->lock);
	struct h128 content = D->content;
	pthread_mutex_unlock(&D->lock);
	struct meta want;
	struct cursor c = cursor_of(D->root->meta, D->root->meta_len);
	meta_decode(&want, &c);
	D->root_right = meta_equal(&want, &it.meta);
	*root_hash = tree_root_hash(&it.meta, sum, tree_links_hash(&D->tree), content);
	return 0;
}

static bool agree(const struct dest *D, const struct tree_sum *own,
		  const struct msg_source_final *m)
{
	return D->root_right && h128_equal(own->d.sum, m->sum) &&
	       h128_equal(tree_links_hash(&D->tree), m->links);
}

/* Digests differ: both walk afresh, and if they still differ, the entries that do are named. */
static int find_mismatches(struct dest *D, struct tree_sum *own, struct h128 *root_hash,
			   struct msg_source_final *m, struct err *e)
{
	tree_forget(&D->tree);
	if (ask_final(D, 1, m, e) < 0 || own_final(D, own, root_hash, e) < 0)
		return -1;
	if (agree(D, own, m))
		return 0;
	D->verifying = true;
	if (!D->root_right) {
		D->mismatches++;
		dest_issue(D, ISSUE_FAILED, ERR_VERIFY, 0, D->root->d, (struct bytes){0},
			   "attributes of the root directory differ from those that were set");
	}
	if (plan_again(D, UINT64_MAX, e) < 0)
		return -1;
	if (D->mismatches || D->mismatches_changed || agree(D, own, m))
		return 0;
	if (D->tree.left_overflow) {
		dest_issue(
			D, ISSUE_NOTE, ERR_OK, 0, D->root->d, (struct bytes){0},
			"too many entries are left out for the digests to be compared as a whole");
		return 0;
	}
	D->mismatches++;
	bool links = !h128_equal(tree_links_hash(&D->tree), m->links);
	dest_issue(D, ISSUE_FAILED, ERR_VERIFY, 0, D->root->d, (struct bytes){0},
		   links ? "hard links differ between source and destination"
			 : "the digests of source and destination differ");
	return 0;
}

static void count_peak(struct msg_committed *m)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	m->peak_rss = (uint64_t)u.ru_maxrss * 1024;
	m->cpu_ns = ((uint64_t)u.ru_utime.tv_sec + (uint64_t)u.ru_stime.tv_sec) * 1000000000u +
		    ((uint64_t)u.ru_utime.tv_usec + (uint64_t)u.ru_stime.tv_usec) * 1000u;
}

static enum err_code outcome(const struct dest *D, const struct msg_source_final *m, char *text,
			     size_t cap)
{
	struct run_stats *st = D->c->stats;
	if (D->mismatches || D->broken_files) {
		snprintf(text, cap,
			 "the destination does not hold what was written: %llu entries differ",
			 (unsigned long long)(D->mismatches + D->broken_files));
		return ERR_VERIFY;
	}
	uint64_t failed = st->files_failed + m->failed;
	if (!failed && (m->digest_flags & DIGEST_INCOMPLETE))
		failed = 1;
	if (failed) {
		snprintf(text, cap, "%llu entries could not be replicated",
			 (unsigned long long)failed);
		return ERR_PARTIAL;
	}
	if (D->delete_limit) {
		snprintf(text, cap, "more deletions than --max-delete allows");
		return ERR_MAX_DELETE;
	}
	if (m->changed || D->mismatches_changed) {
		snprintf(text, cap,
			 "%llu entries changed or vanished at the source while they were read",
			 (unsigned long long)(m->changed ? m->changed : D->mismatches_changed));
		return ERR_CHANGED;
	}
	return ERR_OK;
}

static int write_record(struct dest *D, struct h128 root_hash, struct err *e)
{
	struct dest_record r = {.present = true,
				.incarnation = D->begin.incarnation,
				.sync_number = D->o->sync_number,
				.data_as_of = D->o->data_as_of,
				.data_as_of_ns = D->o->data_as_of_ns,
				.source_clock = D->begin.clock,
				.root_hash = root_hash};
	size_t n = strnlen(D->o->source_id, SOURCE_ID_MAX);
	memcpy(r.source_id, *D->o->source_id ? D->o->source_id : D->record.source_id,
	       *D->o->source_id ? n : strlen(D->record.source_id));
	memcpy(r.run_id, D->o->run_id, sizeof r.run_id);
	/* Entries too young to trust were compared by content and agreed: once they are old enough,
	 * a newer clock spares the next runs that work. Until then nothing would be won by writing.
	 */
	bool older = D->racy_seen && !(D->o->flags & OPT_CHECKSUM) &&
		     D->begin.clock > D->record.source_clock + RACY_MARGIN_SECONDS;
	bool news = !D->record.present || D->changed || older ||
		    strcmp(r.source_id, D->record.source_id) != 0 ||
		    r.sync_number != D->record.sync_number;
	if (!news || (D->o->flags & OPT_DRY_RUN))
		return 0;
	struct err why;
	if (dest_record_write(D->root_fd, &r, &why) < 0)
		dest_issue(D, ISSUE_NOTE, ERR_OK, why.sys, D->root->d, (struct bytes){0}, why.msg);
	return sys_syncfs(D->root_fd) < 0 ? err_sys(e, ERR_FAILURE, "cannot sync the destination")
					  : 0;
}

static int commit(struct dest *D, const struct tree_sum *own, struct h128 root_hash,
		  const struct msg_source_final *m, struct run_result *result, struct err *e)
{
	char text[ABORT_TEXT_MAX] = "";
	enum err_code code = outcome(D, m, text, sizeof text);
	link_stage(D->link, STAGE_COMMIT);
	if (code != ERR_VERIFY && write_record(D, root_hash, e) < 0)
		return -1;
	struct run_stats *st = D->c->stats;
	struct msg_committed cm = {.code = (uint8_t)code,
				   .changed_anything = D->changed,
				   .root_hash = root_hash,
				   .source_root_hash = m->root_hash,
				   .files_total = own->entries,
				   .bytes_total = own->bytes,
				   .files_transferred = st->files_transferred,
				   .files_deleted = st->files_deleted,
				   .files_failed = st->files_failed + m->failed,
				   .bytes_literal = st->bytes_literal,
				   .bytes_matched = st->bytes_matched,
				   .bytes_written = st->bytes_written,
				   .message = {.p = (const uint8_t *)text, .n = strlen(text)}};
	count_peak(&cm);
	buf_clear(&D->frame);
	msg_committed_encode(&cm, &D->frame);
	if (code)
		err_set(&result->err, code, "%s", text);
	result->committed = code != ERR_VERIFY;
	result->has_hashes = true;
	result->hash_source = m->root_hash;
	result->hash_destination = root_hash;
	result->content_covered = D->o->flags & OPT_CHECKSUM;
	result->files_failed = st->files_failed + m->failed;
	result->files_total = own->entries;
	result->bytes_total = own->bytes;
	result->files_transferred = st->files_transferred;
	result->bytes_literal = st->bytes_literal;
	result->bytes_matched = st->bytes_matched;
	result->bytes_written = st->bytes_written;
	link_expect_end(D->link);
	if (link_send(D->link, WIRE_COMMITTED, &D->frame, e) < 0)
		return -1;
	/* The peer says BYE when it has the result; without it the result stays what it is. */
	struct err ignored = {0};
	struct link_frame *f = run_take(D->link, &D->inbox, LINGER_SECONDS * 1000, &ignored);
	if (f)
		link_done(D->link, f);
	return 0;
}

static int finish_dry(struct dest *D, struct run_result *result, struct err *e)
{
	struct msg_source_final m;
	if (ask_final(D, 0, &m, e) < 0)
		return -1;
	struct tree_sum own = D->own_sum;
	struct h128 none = {0};
	int r = commit(D, &own, none, &m, result, e);
	result->has_hashes = false;
	return r;
}

/* Links and attributes depend on each other: what was set under one name showed under the others
 * while they were one inode, and only equal files are joined. So both are looked at in turn until
 * nothing moves. */
static int settle_links(struct dest *D, struct msg_source_final *m, struct err *e)
{
	for (int round = 0; round < SETTLE_ROUNDS; round++) {
		D->parted = false;
		if (relink_all(D, m, e) < 0)
			return -1;
		if (!D->parted)
			return 0;
		D->silent = true;
		int r = plan_again(D, UINT64_MAX, e);
		D->silent = false;
		/* It may have brought content, which the source's word must cover. */
		if (r < 0 || ask_final(D, 0, m, e) < 0)
			return -1;
	}
	return 0;
}

int finish_run(struct dest *D, struct run_result *result, struct err *e)
{
	if (D->o->flags & OPT_DRY_RUN)
		return finish_dry(D, result, e);
	struct msg_source_final m;
	struct tree_sum own;
	struct h128 root_hash;
	if (run_deletions(D, e) < 0)
		return -1;
	if (ask_final(D, 0, &m, e) < 0 || settle_links(D, &m, e) < 0)
		return -1;
	state_remove(D);
	if ((D->changed || D->root->touched) && finish_root(D, e) < 0)
		return -1;
	if (D->changed && sys_syncfs(D->root_fd) < 0)
		return err_sys(e, ERR_FAILURE, "cannot sync the destination");
	link_stage(D->link, STAGE_VERIFY);
	if (own_final(D, &own, &root_hash, e) < 0)
		return -1;
	if (!agree(D, &own, &m) && find_mismatches(D, &own, &root_hash, &m, e) < 0)
		return -1;
	return commit(D, &own, root_hash, &m, result, e);
}
