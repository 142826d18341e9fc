/* SPDX-License-Identifier: Apache-2.0 */
#include "run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "mem.h"
#include "text.h"

void run_options_init(struct run_options *o)
{
	*o = (struct run_options){.attrs = ATTR_DEFAULT,
				  .flags = OPT_ONE_FILE_SYSTEM,
				  .max_delete = UINT64_MAX,
				  .max_shrink = 50,
				  .compress = COMPRESS_AUTO};
	o->path = mem_strdup("");
	o->source_id = mem_strdup("");
	filter_init(&o->filter);
}

void run_options_release(struct run_options *o)
{
	free(o->path);
	free(o->source_id);
	filter_release(&o->filter);
	o->path = o->source_id = NULL;
}

int run_random(void *p, size_t n, struct err *e)
{
	if (getrandom(p, n, 0) != (ssize_t)n)
		return err_sys(e, ERR_FAILURE, "cannot get random bytes");
	return 0;
}

uint64_t run_now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int run_options_new_id(struct run_options *o, struct err *e)
{
	return run_random(o->run_id, sizeof o->run_id, e);
}

static int send_options(struct link *l, const struct run_options *o, struct err *e)
{
	CLEANUP_BUF struct buf rules;
	buf_init(&rules, FILTER_WIRE_BYTES_MAX);
	if (filter_encode(&o->filter, &rules) < 0)
		return err_set(e, ERR_USAGE, "include and exclude patterns are too large together");
	struct msg_options m = {
		.path = {.p = (const uint8_t *)o->path, .n = o->path_len},
		.flags = o->flags,
		.attrs = o->attrs,
		.max_delete = o->max_delete,
		.max_shrink = o->max_shrink,
		.in_place = o->in_place,
		.compress = o->compress,
		.source_id = {.p = (const uint8_t *)o->source_id, .n = strlen(o->source_id)},
		.sync_number = o->sync_number,
		.data_as_of = o->data_as_of,
		.data_as_of_ns = o->data_as_of_ns,
		.filter = {.p = rules.data, .n = rules.len},
	};
	memcpy(m.run_id, o->run_id, sizeof m.run_id);
	CLEANUP_BUF struct buf b;
	buf_init(&b, FRAME_PAYLOAD_MAX);
	msg_options_encode(&m, &b);
	return link_send(l, WIRE_OPTIONS, &b, e);
}

static int take_options(struct run_options *o, const struct link_frame *f, struct err *e)
{
	struct msg_options m;
	if (msg_options_decode(&m, f->payload, f->length, e) < 0)
		return -1;
	if (m.flags & ~(uint64_t)OPT_FLAGS_ALL || m.attrs & ~(uint64_t)ATTR_ALL ||
	    m.max_shrink > 100 || m.in_place > IN_PLACE_ALWAYS)
		return err_set(e, ERR_PROTOCOL,
			       "peer asked for options this version does not know");
	if (memchr(m.path.p, '\0', m.path.n) || memchr(m.source_id.p, '\0', m.source_id.n))
		return err_set(e, ERR_PROTOCOL, "peer sent a NUL byte in a path or source id");
	memcpy(o->run_id, m.run_id, sizeof o->run_id);
	free(o->path);
	o->path = mem_dup(m.path.p, m.path.n);
	o->path_len = m.path.n;
	free(o->source_id);
	o->source_id = mem_dup(m.source_id.p, m.source_id.n);
	o->flags = m.flags;
	o->attrs = m.attrs;
	o->max_delete = m.max_delete;
	o->max_shrink = m.max_shrink;
	o->in_place = m.in_place;
	o->compress = m.compress;
	o->sync_number = m.sync_number;
	o->data_as_of = m.data_as_of;
	o->data_as_of_ns = (uint32_t)m.data_as_of_ns;
	return filter_decode(&o->filter, m.filter.p, m.filter.n, e);
}

static int take_hello(struct opening *op, const struct link_frame *f, struct err *e)
{
	struct msg_hello m;
	if (msg_hello_decode(&m, f->payload, f->length, e) < 0)
		return -1;
	if (memcmp(m.magic, "SCRB", 4) != 0)
		return err_set(e, ERR_PROTOCOL,
			       "the other side does not speak scribe-mover's protocol");
	if (m.version_min > PROTOCOL_VERSION || m.version_max < PROTOCOL_VERSION)
		return err_set(e, ERR_PROTOCOL,
			       "the other side speaks protocol versions %u to %u, this one %d; "
			       "update one of them",
			       m.version_min, m.version_max, PROTOCOL_VERSION);
	memcpy(op->peer_nonce, m.nonce, sizeof op->peer_nonce);
	op->peer_role = m.role;
	op->features &= m.features;
	if (m.role != ROLE_SOURCE && m.role != ROLE_DESTINATION && m.role != ROLE_BULK)
		return err_set(e, ERR_PROTOCOL, "peer announced role %u", m.role);
	if (m.role == ROLE_BULK && op->dialled)
		return err_set(e, ERR_PROTOCOL, "peer announced itself as a bulk connection");
	if (m.role == (uint8_t)op->role)
		return err_set(
			e, ERR_PROTOCOL,
			"both sides are the %s of data; push to a --root, pull from a --source",
			op->role == ROLE_SOURCE ? "source" : "destination");
	return 0;
}

struct link_frame *run_take(struct link *l, struct mailbox *in, int timeout_ms, struct err *e)
{
	struct link_frame *f = mailbox_take(in, timeout_ms);
	if (!f) {
		if (link_error(l, e) == ERR_OK)
			err_set(e, ERR_TIMEOUT, "the other side did not answer in time");
		else if (e && e->code == ERR_OK)
			err_set(e, ERR_CONNECT, "connection closed by the other side");
		return NULL;
	}
	if (f->type != WIRE_ABORT)
		return f;
	struct msg_abort m;
	if (msg_abort_decode(&m, f->payload, f->length, e) == 0) {
		char text[ABORT_TEXT_MAX];
		text_escape(text, sizeof text - 1, m.text.p, m.text.n);
		enum err_code code = m.code <= ERR_MAX_DELETE ? (enum err_code)m.code : ERR_FAILURE;
		err_set(e, code ? code : ERR_FAILURE, "%s", text);
	}
	link_done(l, f);
	return NULL;
}

int run_open(struct link *l, struct mailbox *in, struct opening *op, struct run_options *o,
	     int timeout_ms, struct err *e)
{
	static const char software[] = "scribe-mover/" SCRIBE_VERSION;
	if (run_random(op->nonce, sizeof op->nonce, e) < 0)
		return -1;
	struct msg_hello hello = {.magic = {'S', 'C', 'R', 'B'},
				  .version_min = PROTOCOL_VERSION,
				  .version_max = PROTOCOL_VERSION,
				  .features = op->features,
				  .role = (uint8_t)op->role,
				  .software = {.p = (const uint8_t *)software,
					       .n = sizeof software - 1}};
	memcpy(hello.nonce, op->nonce, sizeof hello.nonce);
	CLEANUP_BUF struct buf b;
	buf_init(&b, FRAME_PAYLOAD_MAX);
	msg_hello_encode(&hello, &b);
	if (link_send(l, WIRE_HELLO, &b, e) < 0)
		return -1;
	if (op->dialled && send_options(l, o, e) < 0)
		return -1;
	bool greeted = false;
	for (;;) {
		struct link_frame *f = run_take(l, in, timeout_ms, e);
		if (!f)
			return -1;
		int r = -1;
		bool done = false;
		if (f->type == WIRE_HELLO && !greeted) {
			r = take_hello(op, f, e);
			greeted = true;
			done = op->dialled || op->peer_role == ROLE_BULK;
		} else if (f->type == WIRE_OPTIONS && greeted && !op->dialled) {
			r = take_options(o, f, e);
			done = true;
		} else {
			err_set(e, ERR_PROTOCOL, "peer sent %s during the opening",
				message_name(f->type));
		}
		link_done(l, f);
		if (r < 0 || done)
			return r;
	}
}
