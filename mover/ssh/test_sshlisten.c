/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sshlisten.h"
#include "sshpairing.h"

/* What a test's listener was told. */
struct heard {
	struct sshlisten *l;
	int exits;
	int authenticated_exits;
	int refusals;
	int last_status;
	char why[128];
};

/* The child does what the client's first byte says. */
static int obey(struct sshlisten_conn *c, void *arg)
{
	(void)arg;
	char order;
	/* Nothing of the parent is open but the test's own client ends, which must not live on
	 * here. */
	char others = '0';
	for (int fd = 3; fd < 256; fd++) {
		if (fd != c->fd && fd != c->tell && fcntl(fd, F_GETFD) >= 0) {
			others++;
			close(fd);
		}
	}
	if (fcntl(c->fd, F_GETFL) & O_NONBLOCK)
		(void)fcntl(c->fd, F_SETFL, 0);
	while (read(c->fd, &order, 1) == 1) {
		switch (order) {
		case 'a':
			sshlisten_authenticated(c);
			(void)send(c->fd, "A", 1, MSG_NOSIGNAL);
			break;
		case 'c':
			abort();
		case 'p':
			(void)send(c->fd, c->peer, strlen(c->peer), MSG_NOSIGNAL);
			return 0;
		case 'f':
			(void)send(c->fd, &others, 1, MSG_NOSIGNAL);
			break;
		case '7':
			return 7;
		default:
			return 1;
		}
	}
	return 0;
}

static void on_exit_of_child(void *arg, pid_t pid, int status, bool authenticated, const char *peer)
{
	struct heard *h = arg;
	assert_true(pid > 0);
	assert_int_equal(strncmp(peer, "127.0.0.1:", 10), 0);
	h->exits++;
	h->authenticated_exits += authenticated;
	h->last_status = status;
}

static void on_refused(void *arg, const char *peer, const char *why)
{
	struct heard *h = arg;
	assert_int_equal(strncmp(peer, "127.0.0.1:", 10), 0);
	h->refusals++;
	snprintf(h->why, sizeof h->why, "%s", why);
}

static struct sshlisten_config config(struct heard *h)
{
	memset(h, 0, sizeof *h);
	return (struct sshlisten_config){.address = "127.0.0.1",
					 .child = obey,
					 .exited = on_exit_of_child,
					 .refused = on_refused,
					 .arg = h};
}

static void start(struct heard *h, const struct sshlisten_config *cfg)
{
	struct err e;
	h->l = sshlisten_new(cfg, &e);
	if (!h->l)
		fail_msg("%s", e.msg);
}

static void step(struct heard *h)
{
	struct err e;
	if (sshlisten_step(h->l, -1, 50, &e) < 0)
		fail_msg("%s", e.msg);
}

/* Steps until *value is `want`; the limit is generous, not a measurement. */
static void until(struct heard *h, const int *value, int want)
{
	for (int i = 0; i < 400 && *value != want; i++)
		step(h);
	assert_int_equal(*value, want);
}

static int call(struct heard *h)
{
	int fd = connect_loopback(sshlisten_port(h->l));
	step(h);
	return fd;
}

static void order(int fd, char c)
{
	assert_int_equal(send(fd, &c, 1, MSG_NOSIGNAL), 1);
}

static void finish(struct heard *h)
{
	sshlisten_signal(h->l, SIGKILL, false);
	for (int i = 0; i < 400 && sshlisten_children(h->l); i++)
		step(h);
	assert_int_equal(sshlisten_children(h->l), 0);
	sshlisten_free(h->l);
}

static void children_serve_and_end(void **state)
{
	(void)state;
	struct heard h;
	struct sshlisten_config cfg = config(&h);
	start(&h, &cfg);
	char where[64];
	snprintf(where, sizeof where, "127.0.0.1:%u", sshlisten_port(h.l));
	assert_string_equal(sshlisten_where(h.l), where);
	assert_true(sshlisten_port(h.l) > 0);

	int fd = call(&h);
	assert_int_equal(sshlisten_children(h.l), 1);
	order(fd, 'p');
	char peer[64] = "";
	assert_true(recv(fd, peer, sizeof peer - 1, 0) > 0);
	assert_int_equal(strncmp(peer, "127.0.0.1:", 10), 0);
	until(&h, &h.exits, 1);
	assert_int_equal(h.last_status, 0);
	close(fd);

	fd = call(&h);
	order(fd, '7');
	until(&h, &h.exits, 2);
	assert_int_equal(WEXITSTATUS(h.last_status), 7);
	assert_int_equal(h.authenticated_exits, 0);
	close(fd);
	finish(&h);
}

static void a_crash_ends_nobody_else(void **state)
{
	(void)state;
	struct heard h;
	struct sshlisten_config cfg = config(&h);
	start(&h, &cfg);
	int good = call(&h);
	int bad = call(&h);
	order(bad, 'c');
	until(&h, &h.exits, 1);
	assert_true(WIFSIGNALED(h.last_status) || WEXITSTATUS(h.last_status) != 0);
	order(good, 'a');
	char c;
	assert_int_equal(recv(good, &c, 1, 0), 1);
	assert_int_equal(sshlisten_children(h.l), 1);
	close(good);
	close(bad);
	until(&h, &h.exits, 2);
	assert_int_equal(h.authenticated_exits, 1);
	finish(&h);
}

/* The peer is gone at once, without a byte. */
static void is_refused(struct heard *h, const char *part)
{
	int before = h->refusals;
	int fd = connect_loopback(sshlisten_port(h->l));
	until(h, &h->refusals, before + 1);
	char c;
	assert_true(recv(fd, &c, 1, 0) <= 0);
	close(fd);
	if (!strstr(h->why, part))
		fail_msg("refused with: %s", h->why);
}

static void strangers_of_one_address_are_few(void **state)
{
	(void)state;
	struct heard h;
	struct sshlisten_config cfg = config(&h);
	start(&h, &cfg);
	int fds[8];
	for (int i = 0; i < 4; i++)
		fds[i] = call(&h);
	assert_int_equal(sshlisten_children(h.l), 4);
	is_refused(&h, "from this address");
	/* Who has authenticated does not count. */
	order(fds[0], 'a');
	char c;
	assert_int_equal(recv(fds[0], &c, 1, 0), 1);
	for (int i = 0; i < 100 && sshlisten_authenticated_children(h.l) != 1; i++)
		step(&h);
	assert_int_equal(sshlisten_authenticated_children(h.l), 1);
	fds[4] = call(&h);
	assert_int_equal(sshlisten_children(h.l), 5);
	is_refused(&h, "from this address");
	/* Nor who has left. */
	close(fds[1]);
	until(&h, &h.exits, 1);
	fds[1] = call(&h);
	assert_int_equal(sshlisten_children(h.l), 5);
	for (int i = 0; i < 5; i++)
		close(fds[i]);
	until(&h, &h.exits, 6);
	assert_int_equal(h.authenticated_exits, 1);
	finish(&h);
}

static void strangers_are_few_in_all(void **state)
{
	(void)state;
	struct heard h;
	struct sshlisten_config cfg = config(&h);
	cfg.max_per_address = 100;
	start(&h, &cfg);
	int fds[16];
	for (int i = 0; i < 16; i++)
		fds[i] = call(&h);
	assert_int_equal(sshlisten_children(h.l), 16);
	is_refused(&h, "have not authenticated");
	for (int i = 0; i < 16; i++)
		close(fds[i]);
	until(&h, &h.exits, 16);
	finish(&h);

	cfg = config(&h);
	cfg.max_children = 2;
	start(&h, &cfg);
	fds[0] = call(&h);
	fds[1] = call(&h);
	order(fds[0], 'a');
	order(fds[1], 'a');
	for (int i = 0; i < 100 && sshlisten_authenticated_children(h.l) != 2; i++)
		step(&h);
	is_refused(&h, "too many connections");
	close(fds[0]);
	close(fds[1]);
	finish(&h);
}

static void children_inherit_nothing(void **state)
{
	(void)state;
	struct heard h;
	struct sshlisten_config cfg = config(&h);
	char first, third;
	start(&h, &cfg);
	int a = call(&h);
	order(a, 'f');
	assert_int_equal(recv(a, &first, 1, 0), 1);
	int b = call(&h);
	int c = connect_loopback(sshlisten_port(h.l));
	step(&h);
	order(c, 'f');
	assert_int_equal(recv(c, &third, 1, 0), 1);
	/* The test's own client ends are inherited by later children, and nothing else. */
	assert_int_equal(third - first, 2);
	close(a);
	close(b);
	close(c);
	finish(&h);
}

static void a_hanging_stranger_is_killed(void **state)
{
	(void)state;
	struct heard h;
	struct sshlisten_config cfg = config(&h);
	cfg.unauthenticated_ms = 300;
	start(&h, &cfg);
	int known = call(&h);
	order(known, 'a');
	char c;
	assert_int_equal(recv(known, &c, 1, 0), 1);
	int stranger = call(&h);
	until(&h, &h.exits, 1);
	assert_true(WIFSIGNALED(h.last_status));
	assert_int_equal(h.authenticated_exits, 0);
	assert_int_equal(sshlisten_children(h.l), 1);
	close(stranger);
	close(known);
	finish(&h);
}

static void stopping_keeps_the_children(void **state)
{
	(void)state;
	struct heard h;
	struct err e;
	struct sshlisten_config cfg = config(&h);
	start(&h, &cfg);
	uint16_t port = sshlisten_port(h.l);
	int fd = call(&h);
	char c;
	order(fd, 'a'); /* its answer means that the child has let go of the listening socket */
	assert_int_equal(recv(fd, &c, 1, 0), 1);
	sshlisten_stop(h.l);
	int refused = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	assert_int_equal(connect(refused, (struct sockaddr *)&sa, sizeof sa), -1);
	close(refused);
	assert_int_equal(sshlisten_children(h.l), 1);
	close(fd);
	until(&h, &h.exits, 1);
	/* The caller's own descriptor ends the wait. */
	int pipes[2];
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(sshlisten_step(h.l, pipes[0], 0, &e), 0);
	assert_int_equal(write(pipes[1], "x", 1), 1);
	assert_int_equal(sshlisten_step(h.l, pipes[0], -1, &e), 1);
	close(pipes[0]);
	close(pipes[1]);
	finish(&h);
}

static void addresses(void **state)
{
	(void)state;
	struct heard h;
	struct err e = {0};
	struct sshlisten_config cfg = config(&h);
	start(&h, &cfg);
	cfg.port = sshlisten_port(h.l);
	assert_null(sshlisten_new(&cfg, &e));
	assert_int_equal(e.sys, EADDRINUSE);
	sshlisten_free(h.l);

	cfg = config(&h);
	cfg.address = "no such address";
	assert_null(sshlisten_new(&cfg, &e));
	assert_int_equal(e.code, ERR_USAGE);

	/* All addresses: an IPv4 caller gets in, whether the socket is IPv6 or not. */
	cfg = config(&h);
	cfg.address = NULL;
	cfg.exited = NULL;
	start(&h, &cfg);
	int fd = call(&h);
	assert_int_equal(sshlisten_children(h.l), 1);
	close(fd);
	finish(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(children_serve_and_end),
		cmocka_unit_test(a_crash_ends_nobody_else),
		cmocka_unit_test(strangers_of_one_address_are_few),
		cmocka_unit_test(strangers_are_few_in_all),
		cmocka_unit_test(children_inherit_nothing),
		cmocka_unit_test(a_hanging_stranger_is_killed),
		cmocka_unit_test(stopping_keeps_the_children),
		cmocka_unit_test(addresses),
	};
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
