/* SPDX-License-Identifier: Apache-2.0 */
/* Hard-link groups: which buckets differ, and the names in them. */
#include <stdlib.h>
#include <string.h>

#include "linked.h"
#include "mem.h"
#include "source_int.h"

enum { LINKS_FLUSH = 48 << 10 };

static int send_links(struct source *s, uint8_t kind, bool last, struct buf *body, struct err *e)
{
	int r = LINK_SEND(s->link, LINKS, links, e, .kind = kind, .last = last,
			  .body = {.p = body->data, .n = body->len});
	buf_clear(body);
	return r;
}

/* Kind 0: the destination's sums came; the answer is the buckets that differ and how many names
 * each has. */
static int differing(struct source *s, struct bytes raw, struct err *e)
{
	CLEANUP_FREE uint64_t *sums = mem_alloc(LINK_BUCKETS, sizeof *sums);
	CLEANUP_FREE uint32_t *names = mem_alloc(LINK_BUCKETS, sizeof *names);
	CLEANUP_BUF struct buf body;
	buf_init(&body, FRAME_BODY_MAX);
	links_buckets(&s->tree.links, sums, names);
	struct cursor c = cursor_of(raw.p, raw.n);
	for (uint64_t i = 0; i < LINK_BUCKETS; i++) {
		if (get_u64(&c) == sums[i])
			continue;
		put_var(&body, i);
		put_var(&body, names[i]);
	}
	return send_links(s, 0, true, &body, e);
}

struct naming {
	struct source *s;
	struct buf body;
};

static int name_one(void *arg, struct dir *d, struct bytes name, const struct item *it,
		    const struct link_slot *group, struct err *e)
{
	struct naming *n = arg;
	CLEANUP_BUF struct buf path;
	(void)it;
	buf_init(&path, PATH_BYTES_MAX);
	dir_path(d, name, &path);
	put_u64(&n->body, group->key);
	put_bytes(&n->body, path.data, path.len);
	return n->body.len > LINKS_FLUSH ? send_links(n->s, 1, false, &n->body, e) : 0;
}

int answer_links(struct source *s, const struct link_frame *f, struct err *e)
{
	struct msg_links_req m;
	if (msg_links_req_decode(&m, f->payload, f->length, e) < 0)
		return -1;
	if (m.buckets.n % 8 || m.kind > 1 || (m.kind == 0 && m.buckets.n != LINK_BUCKETS * 8))
		return err_set(e, ERR_PROTOCOL,
			       "the destination asked for links in an unknown way");
	if (m.kind == 0)
		return differing(s, m.buckets, e);
	CLEANUP_FREE bool *chosen = mem_alloc(LINK_BUCKETS, sizeof *chosen);
	struct cursor c = cursor_of(m.buckets.p, m.buckets.n);
	while (cursor_left(&c))
		chosen[get_u64(&c) % LINK_BUCKETS] = true;
	struct naming n = {.s = s};
	buf_init(&n.body, FRAME_BODY_MAX);
	int r = tree_each_linked(&s->tree, chosen, name_one, &n, e);
	if (r == 0)
		r = send_links(s, 1, true, &n.body, e);
	buf_release(&n.body);
	return r;
}
