/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mem.h"
#include "run.h"
#include "transport.h"

enum { PATIENCE_MS = 30000 };

/* One end of a run that is about to begin. */
struct end {
	struct link *l;
	struct mailbox in;
	struct opening op;
	struct run_options o;
	struct err e;
	int result;
	pthread_t thread;
};

static void route(void *owner, struct link_frame *f)
{
	mailbox_put(&((struct end *)owner)->in, f);
}

static void down(void *owner, const struct err *why)
{
	(void)why;
	mailbox_close(&((struct end *)owner)->in);
}

static void end_open(struct end *x, int fd, enum role role, bool dialled)
{
	*x = (struct end){.op = {.role = role, .dialled = dialled, .features = 0xf0}};
	mailbox_init(&x->in);
	run_options_init(&x->o);
	struct link_config c = {.peer_role = role == ROLE_SOURCE ? 'D' : 'S',
				.peer_dialled = !dialled,
				.route = route,
				.down = down,
				.owner = x};
	x->l = link_new(&c, transport_fds(fd, fd, "peer"));
}

static void end_close(struct end *x)
{
	struct link_frame *f;
	link_close(x->l);
	while ((f = mailbox_take(&x->in, 0)) != NULL)
		link_done(x->l, f);
	link_free(x->l);
	mailbox_release(&x->in);
	run_options_release(&x->o);
}

static void *open_run(void *arg)
{
	struct end *x = arg;
	x->result = run_open(x->l, &x->in, &x->op, &x->o, PATIENCE_MS, &x->e);
	return NULL;
}

/* Both run_open() at once. */
static void meet(struct end *a, struct end *b)
{
	assert_int_equal(pthread_create(&a->thread, NULL, open_run, a), 0);
	assert_int_equal(pthread_create(&b->thread, NULL, open_run, b), 0);
	pthread_join(a->thread, NULL);
	pthread_join(b->thread, NULL);
}

static void pair(struct end *dialling, enum role dialling_role, struct end *serving,
		 enum role serving_role)
{
	int s[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	end_open(dialling, s[0], dialling_role, true);
	end_open(serving, s[1], serving_role, false);
}

static void set_options(struct run_options *o)
{
	struct err e;
	static const char path[] = "a/\xff dir\n";
	free(o->path);
	o->path_len = sizeof path - 1;
	o->path = mem_dup(path, o->path_len);
	free(o->source_id);
	o->source_id = mem_strdup("cluster/volume");
	o->flags = OPT_DELETE | OPT_CHECKSUM | OPT_ACCEPT_NEW_SOURCE;
	o->attrs = ATTR_ALL & ~(uint64_t)ATTR_OWNER;
	o->max_delete = 12345678901;
	o->max_shrink = 100;
	o->in_place = IN_PLACE_ALWAYS;
	o->compress = COMPRESS_AUTO;
	o->sync_number = UINT64_MAX;
	o->data_as_of = -5;
	o->data_as_of_ns = 999999999;
	assert_int_equal(run_options_new_id(o, &e), 0);
	assert_int_equal(filter_add(&o->filter, FILTER_EXCLUDE, "*.tmp", &e), 0);
	assert_int_equal(filter_add(&o->filter, FILTER_INCLUDE, "/keep/", &e), 0);
}

static void assert_same_options(const struct run_options *a, const struct run_options *b)
{
	assert_memory_equal(a->run_id, b->run_id, sizeof a->run_id);
	assert_int_equal(a->path_len, b->path_len);
	assert_memory_equal(a->path, b->path, a->path_len + 1);
	assert_string_equal(a->source_id, b->source_id);
	assert_true(a->flags == b->flags && a->attrs == b->attrs);
	assert_true(a->max_delete == b->max_delete && a->max_shrink == b->max_shrink);
	assert_true(a->in_place == b->in_place && a->compress == b->compress);
	assert_true(a->sync_number == b->sync_number && a->data_as_of == b->data_as_of);
	assert_int_equal(a->data_as_of_ns, b->data_as_of_ns);
	struct buf x, y;
	buf_init(&x, FILTER_WIRE_MAX);
	buf_init(&y, FILTER_WIRE_MAX);
	filter_encode(&a->filter, &x);
	filter_encode(&b->filter, &y);
	assert_int_equal(x.len, y.len);
	assert_memory_equal(x.data, y.data, x.len);
	buf_release(&x);
	buf_release(&y);
}

static void they_agree(enum role dialling, enum role serving)
{
	struct end a, b;
	pair(&a, dialling, &b, serving);
	set_options(&a.o);
	a.op.features = 0x3c;
	meet(&a, &b);
	if (a.result < 0 || b.result < 0)
		fail_msg("%s / %s", a.e.msg, b.e.msg);
	assert_memory_equal(a.op.nonce, b.op.peer_nonce, sizeof a.op.nonce);
	assert_memory_equal(b.op.nonce, a.op.peer_nonce, sizeof a.op.nonce);
	assert_memory_not_equal(a.op.nonce, b.op.nonce, sizeof a.op.nonce);
	assert_int_equal(a.op.peer_role, serving);
	assert_int_equal(b.op.peer_role, dialling);
	assert_true(a.op.features == 0x30 && b.op.features == 0x30);
	assert_same_options(&a.o, &b.o);
	/* The link is fit for use, and nothing is left over. */
	assert_int_equal(mailbox_count(&a.in) + mailbox_count(&b.in), 0);
	assert_int_equal(LINK_SEND(b.l, BYE, bye, NULL, 0), 0);
	struct link_frame *f = run_take(a.l, &a.in, PATIENCE_MS, &a.e);
	assert_non_null(f);
	assert_int_equal(f->type, WIRE_BYE);
	link_done(a.l, f);
	end_close(&a);
	end_close(&b);
}

static void the_source_dials(void **state)
{
	(void)state;
	they_agree(ROLE_SOURCE, ROLE_DESTINATION);
}

static void the_destination_dials(void **state)
{
	(void)state;
	they_agree(ROLE_DESTINATION, ROLE_SOURCE);
}

static void equal_roles_do_not_meet(void **state)
{
	(void)state;
	static const enum role roles[] = {ROLE_SOURCE, ROLE_DESTINATION};
	for (int i = 0; i < 2; i++) {
		struct end a, b;
		pair(&a, roles[i], &b, roles[i]);
		meet(&a, &b);
		assert_int_equal(a.result, -1);
		assert_int_equal(b.result, -1);
		assert_int_equal(a.e.code, ERR_PROTOCOL);
		assert_int_equal(b.e.code, ERR_PROTOCOL);
		assert_non_null(strstr(a.e.msg, i ? "destination" : "source"));
		end_close(&a);
		end_close(&b);
	}
}

/* The test itself as the peer. */
struct alone {
	struct end end;
	int fd;
};

static void alone_open(struct alone *x, enum role role, bool dialled)
{
	int s[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	end_open(&x->end, s[0], role, dialled);
	x->fd = s[1];
}

static void alone_close(struct alone *x)
{
	end_close(&x->end);
	close(x->fd);
}

static void say(struct alone *x, enum message_type type, const struct buf *b)
{
	uint8_t header[FRAME_HEADER_BYTES];
	frame_header_encode(header, (uint8_t)type, (uint32_t)b->len);
	assert_int_equal(send(x->fd, header, sizeof header, MSG_NOSIGNAL), sizeof header);
	if (b->len)
		assert_int_equal(send(x->fd, b->data, b->len, MSG_NOSIGNAL), b->len);
}

static struct msg_hello good_hello(enum role role)
{
	return (struct msg_hello){.magic = {'S', 'C', 'R', 'B'},
				  .version_min = 1,
				  .version_max = PROTOCOL_VERSION,
				  .role = (uint8_t)role,
				  .software = {.p = (const uint8_t *)"test", .n = 4}};
}

static void say_hello(struct alone *x, const struct msg_hello *m)
{
	struct buf b;
	buf_init(&b, 4096);
	msg_hello_encode(m, &b);
	say(x, WIRE_HELLO, &b);
	buf_release(&b);
}

static void refused(struct alone *x, enum err_code code, const char *text)
{
	open_run(&x->end);
	assert_int_equal(x->end.result, -1);
	assert_int_equal(x->end.e.code, code);
	if (!strstr(x->end.e.msg, text))
		fail_msg("\"%s\" does not say \"%s\"", x->end.e.msg, text);
	alone_close(x);
}

static void hellos_are_checked(void **state)
{
	(void)state;
	for (int dialled = 0; dialled < 2; dialled++) {
		struct alone x;
		struct msg_hello m = good_hello(ROLE_DESTINATION);
		m.version_min = PROTOCOL_VERSION + 1;
		m.version_max = PROTOCOL_VERSION + 3;
		alone_open(&x, ROLE_SOURCE, dialled);
		say_hello(&x, &m);
		refused(&x, ERR_PROTOCOL, "versions 2 to 4");
		m.version_min = 0;
		m.version_max = PROTOCOL_VERSION - 1;
		alone_open(&x, ROLE_SOURCE, dialled);
		say_hello(&x, &m);
		refused(&x, ERR_PROTOCOL, "versions 0 to 0");
		m = good_hello(ROLE_DESTINATION);
		m.magic[3] = 'C';
		alone_open(&x, ROLE_SOURCE, dialled);
		say_hello(&x, &m);
		refused(&x, ERR_PROTOCOL, "protocol");
		static const uint8_t roles[] = {0, 4, 255};
		for (size_t i = 0; i < sizeof roles; i++) {
			m = good_hello((enum role)roles[i]);
			alone_open(&x, ROLE_SOURCE, dialled);
			say_hello(&x, &m);
			refused(&x, ERR_PROTOCOL, "role");
		}
	}
	/* A wider range of versions is fine. */
	struct alone x;
	struct msg_hello m = good_hello(ROLE_DESTINATION);
	m.version_min = 0;
	m.version_max = UINT16_MAX;
	alone_open(&x, ROLE_SOURCE, true);
	say_hello(&x, &m);
	open_run(&x.end);
	assert_int_equal(x.end.result, 0);
	alone_close(&x);
}

static void bulk_connections_are_for_the_serving_side(void **state)
{
	(void)state;
	struct alone x;
	struct msg_hello m = good_hello(ROLE_BULK);
	alone_open(&x, ROLE_DESTINATION, true);
	say_hello(&x, &m);
	refused(&x, ERR_PROTOCOL, "bulk");
	alone_open(&x, ROLE_DESTINATION, false);
	say_hello(&x, &m);
	open_run(&x.end);
	assert_int_equal(x.end.result, 0);
	assert_int_equal(x.end.op.peer_role, ROLE_BULK);
	alone_close(&x);
}

static void other_messages_are_out_of_order(void **state)
{
	(void)state;
	struct alone x;
	struct buf empty;
	buf_init(&empty, 16);
	const struct msg_hello m = good_hello(ROLE_SOURCE);
	alone_open(&x, ROLE_DESTINATION, false);
	say(&x, WIRE_BYE, &empty);
	refused(&x, ERR_PROTOCOL, "BYE");
	alone_open(&x, ROLE_DESTINATION, false);
	say(&x, WIRE_OPTIONS, &empty);
	refused(&x, ERR_PROTOCOL, "OPTIONS");
	alone_open(&x, ROLE_DESTINATION, false);
	say_hello(&x, &m);
	say_hello(&x, &m);
	refused(&x, ERR_PROTOCOL, "HELLO");
	alone_open(&x, ROLE_DESTINATION, false);
	say_hello(&x, &m);
	say(&x, WIRE_OPTIONS, &empty);
	refused(&x, ERR_PROTOCOL, "OPTIONS");
	alone_open(&x, ROLE_DESTINATION, false);
	say(&x, WIRE_HELLO, &empty);
	refused(&x, ERR_PROTOCOL, "HELLO");
	/* Options are for who dialled to say. */
	alone_open(&x, ROLE_DESTINATION, true);
	say(&x, WIRE_OPTIONS, &empty);
	refused(&x, ERR_PROTOCOL, "OPTIONS");
}

static struct msg_options good_options(void)
{
	static const uint8_t no_rules[] = {1, 0, 0};
	return (struct msg_options){.max_delete = 10,
				    .max_shrink = 50,
				    .attrs = ATTR_DEFAULT,
				    .path = {.p = (const uint8_t *)"a", .n = 1},
				    .source_id = {.p = (const uint8_t *)"id", .n = 2},
				    .filter = {.p = no_rules, .n = sizeof no_rules}};
}

static int take_options(const struct msg_options *m, struct alone *x)
{
	const struct msg_hello hello = good_hello(ROLE_SOURCE);
	struct buf b;
	buf_init(&b, FRAME_PAYLOAD_MAX);
	alone_open(x, ROLE_DESTINATION, false);
	say_hello(x, &hello);
	msg_options_encode(m, &b);
	say(x, WIRE_OPTIONS, &b);
	buf_release(&b);
	open_run(&x->end);
	return x->end.result;
}

static void options_refused(const struct msg_options *m)
{
	struct alone x;
	assert_int_equal(take_options(m, &x), -1);
	assert_int_equal(x.end.e.code, ERR_PROTOCOL);
	alone_close(&x);
}

static void options_have_ranges(void **state)
{
	(void)state;
	struct alone x;
	struct msg_options m = good_options();
	assert_int_equal(take_options(&m, &x), 0);
	assert_int_equal(x.end.o.path_len, 1);
	assert_string_equal(x.end.o.source_id, "id");
	alone_close(&x);

	m.max_shrink = 101;
	options_refused(&m);
	m = good_options();
	m.in_place = IN_PLACE_ALWAYS + 1;
	options_refused(&m);
	m = good_options();
	m.flags = OPT_FLAGS_ALL + 1;
	options_refused(&m);
	m.flags = (uint64_t)1 << 63;
	options_refused(&m);
	m = good_options();
	m.attrs = ATTR_ALL + 1;
	options_refused(&m);
	m = good_options();
	m.path = (struct bytes){.p = (const uint8_t *)"a\0b", .n = 3};
	options_refused(&m);
	m = good_options();
	m.source_id = (struct bytes){.p = (const uint8_t *)"a\0b", .n = 3};
	options_refused(&m);
	m = good_options();
	m.filter = (struct bytes){.p = (const uint8_t *)"\1\1\0", .n = 3};
	options_refused(&m);
	m = good_options();
	m.data_as_of_ns = 1000000000;
	options_refused(&m);
}

static void a_silent_or_lost_peer_is_told_apart(void **state)
{
	(void)state;
	struct alone x;
	alone_open(&x, ROLE_SOURCE, true);
	struct err e = {0};
	assert_int_equal(run_open(x.end.l, &x.end.in, &x.end.op, &x.end.o, 50, &e), -1);
	assert_int_equal(e.code, ERR_TIMEOUT);
	alone_close(&x);
	alone_open(&x, ROLE_SOURCE, true);
	shutdown(x.fd, SHUT_RDWR);
	refused(&x, ERR_CONNECT, "closed");
	/* A clean end is no answer, either. */
	alone_open(&x, ROLE_SOURCE, true);
	link_expect_end(x.end.l);
	shutdown(x.fd, SHUT_WR);
	refused(&x, ERR_CONNECT, "closed");
	/* Another program at the other end. */
	alone_open(&x, ROLE_SOURCE, true);
	static const char banner[] = "This account is currently not available.\n";
	assert_int_equal(send(x.fd, banner, sizeof banner - 1, 0), sizeof banner - 1);
	refused(&x, ERR_PROTOCOL, "peer sent a frame");
}

static void the_abort_of_a_peer_is_its_error(void **state)
{
	(void)state;
	static const struct {
		uint8_t code;
		enum err_code expected;
	} codes[] = {{ERR_BUSY, ERR_BUSY},   {ERR_BRAKE, ERR_BRAKE},
		     {ERR_OK, ERR_FAILURE},  {200, ERR_FAILURE},
		     {ERR_SPACE, ERR_SPACE}, {ERR_MAX_DELETE, ERR_MAX_DELETE}};
	for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
		struct alone x;
		struct buf b;
		buf_init(&b, 1024);
		const struct msg_abort m = {.code = codes[i].code,
					    .text = {.p = (const uint8_t *)"in use\033[2J",
						     .n = 10}};
		msg_abort_encode(&m, &b);
		alone_open(&x, ROLE_SOURCE, true);
		say(&x, WIRE_ABORT, &b);
		buf_release(&b);
		refused(&x, codes[i].expected, "in use\\033[2J");
	}
	struct alone x;
	struct buf empty;
	buf_init(&empty, 16);
	alone_open(&x, ROLE_SOURCE, true);
	say(&x, WIRE_ABORT, &empty);
	refused(&x, ERR_PROTOCOL, "ABORT");
}

static void run_ids_differ(void **state)
{
	(void)state;
	struct run_options a, b;
	struct err e;
	run_options_init(&a);
	run_options_init(&b);
	assert_int_equal(run_options_new_id(&a, &e), 0);
	assert_int_equal(run_options_new_id(&b, &e), 0);
	assert_memory_not_equal(a.run_id, b.run_id, RUN_ID_BYTES);
	assert_true(a.flags == OPT_ONE_FILE_SYSTEM && a.attrs == ATTR_DEFAULT);
	assert_true(a.max_delete == UINT64_MAX && a.max_shrink == 50);
	run_options_release(&a);
	run_options_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_source_dials),
		cmocka_unit_test(the_destination_dials),
		cmocka_unit_test(equal_roles_do_not_meet),
		cmocka_unit_test(hellos_are_checked),
		cmocka_unit_test(bulk_connections_are_for_the_serving_side),
		cmocka_unit_test(other_messages_are_out_of_order),
		cmocka_unit_test(options_have_ranges),
		cmocka_unit_test(a_silent_or_lost_peer_is_told_apart),
		cmocka_unit_test(the_abort_of_a_peer_is_its_error),
		cmocka_unit_test(run_ids_differ),
	};
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
