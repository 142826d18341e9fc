/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mem.h"
#include "transport.h"

enum { CHUNK = 256 << 10, OPPOSED = 16 << 20 };

struct ends {
	struct transport *a;
	struct transport *b;
};

static struct ends over_pipes(void)
{
	int ab[2], ba[2];
	assert_int_equal(pipe2(ab, O_CLOEXEC), 0);
	assert_int_equal(pipe2(ba, O_CLOEXEC), 0);
	return (struct ends){transport_fds(ba[0], ab[1], "a"), transport_fds(ab[0], ba[1], "b")};
}

static struct ends over_socketpair(void)
{
	int s[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	return (struct ends){transport_fds(s[0], s[0], "a"), transport_fds(s[1], s[1], "b")};
}

static void release(struct ends *p)
{
	p->a->ops->free(p->a);
	p->b->ops->free(p->b);
}

static uint8_t pattern(uint64_t at, unsigned salt)
{
	return (uint8_t)((at * 2654435761u + salt) >> 13);
}

/* One side of an opposed transfer: what it has sent and received, both checked by position. */
struct side {
	struct transport *t;
	uint64_t sent;
	uint64_t got;
	unsigned salt_out;
	unsigned salt_in;
	bool stuck; /* the last write took less than offered */
};

static bool turn(struct side *s)
{
	uint8_t *buf = mem_alloc_raw(CHUNK);
	bool moved = false;
	bool eof;
	struct err e;
	ssize_t n;
	while ((n = s->t->ops->read(s->t, buf, CHUNK, &eof, &e)) > 0) {
		for (ssize_t i = 0; i < n; i += 97)
			assert_int_equal(buf[i], pattern(s->got + (uint64_t)i, s->salt_in));
		s->got += (uint64_t)n;
		moved = true;
	}
	assert_int_equal(n, 0);
	s->stuck = false;
	if (s->sent < OPPOSED) {
		size_t want = OPPOSED - s->sent < CHUNK ? (size_t)(OPPOSED - s->sent) : CHUNK;
		for (size_t i = 0; i < want; i++)
			buf[i] = pattern(s->sent + i, s->salt_out);
		n = s->t->ops->write(s->t, buf, want, &e);
		assert_true(n >= 0);
		s->sent += (uint64_t)n;
		s->stuck = (size_t)n < want;
		moved = moved || n > 0;
	}
	free(buf);
	return moved;
}

static void opposed(struct ends p)
{
	struct side a = {.t = p.a, .salt_out = 1, .salt_in = 2};
	struct side b = {.t = p.b, .salt_out = 2, .salt_in = 1};
	while (a.got < OPPOSED || b.got < OPPOSED) {
		bool moved = turn(&a);
		moved = turn(&b) || moved;
		assert_true(moved); /* one thread drives both: no move now means none ever */
	}
	assert_int_equal(a.t->socket_out, OPPOSED);
	assert_int_equal(a.t->socket_in, OPPOSED);
	assert_int_equal(b.t->socket_out, OPPOSED);
	release(&p);
}

static void opposed_bulk_over_pipes(void **state)
{
	(void)state;
	opposed(over_pipes());
}

static void opposed_bulk_over_socketpair(void **state)
{
	(void)state;
	opposed(over_socketpair());
}

static void full_pipe_takes_nothing_and_wakes_by_pollout(void **state)
{
	(void)state;
	struct ends p = over_pipes();
	static const uint8_t zeros[65536];
	struct err e;
	uint64_t total = 0;
	ssize_t n;
	while ((n = p.a->ops->write(p.a, zeros, sizeof zeros, &e)) > 0)
		total += (uint64_t)n;
	assert_int_equal(n, 0);
	assert_true(total > 0);

	struct pollfd fds[TRANSPORT_POLLFDS];
	int count = p.a->ops->pollfds(p.a, fds, true);
	assert_int_equal(count, 2);
	assert_int_equal(poll(fds, (nfds_t)count, 0), 0);
	count = p.a->ops->pollfds(p.a, fds, false);
	assert_int_equal(count, 1);
	assert_int_equal(fds[0].events, POLLIN);

	uint8_t *sink = mem_alloc_raw(total);
	bool eof;
	assert_true(p.b->ops->read(p.b, sink, total, &eof, &e) > 0);
	count = p.a->ops->pollfds(p.a, fds, true);
	assert_int_equal(poll(fds, (nfds_t)count, 1000), 1);
	assert_true(fds[1].revents & POLLOUT);
	free(sink);
	release(&p);
}

static void ends_cleanly(struct ends p)
{
	struct err e;
	uint8_t buf[16];
	bool eof;
	assert_int_equal(p.a->ops->read(p.a, buf, sizeof buf, &eof, &e), 0);
	assert_false(eof);
	assert_int_equal(p.a->ops->write(p.a, "last", 4, &e), 4);
	p.a->ops->shutdown(p.a, 100);
	assert_int_equal(p.a->ops->write(p.a, "x", 1, &e), -1);
	assert_int_equal(e.code, ERR_CONNECT);

	assert_int_equal(p.b->ops->read(p.b, buf, sizeof buf, &eof, &e), 4);
	assert_memory_equal(buf, "last", 4);
	assert_int_equal(p.b->ops->read(p.b, buf, sizeof buf, &eof, &e), -1);
	assert_true(eof);
	assert_int_equal(e.code, ERR_CONNECT);
	/* The end stays the end, and is not waited for again. */
	assert_int_equal(p.b->ops->read(p.b, buf, sizeof buf, &eof, &e), -1);
	assert_true(eof);
	struct pollfd fds[TRANSPORT_POLLFDS];
	assert_int_equal(p.b->ops->pollfds(p.b, fds, false), 0);

	/* The other direction still works. */
	assert_int_equal(p.b->ops->write(p.b, "back", 4, &e), 4);
	assert_int_equal(p.a->ops->read(p.a, buf, sizeof buf, &eof, &e), 4);
	release(&p);
}

static void half_close_over_pipes(void **state)
{
	(void)state;
	ends_cleanly(over_pipes());
}

static void half_close_over_socketpair(void **state)
{
	(void)state;
	ends_cleanly(over_socketpair());
}

static void a_vanished_reader_is_an_error(struct ends p)
{
	struct err e;
	p.b->ops->free(p.b);
	assert_int_equal(p.a->ops->write(p.a, "x", 1, &e), -1);
	assert_int_equal(e.code, ERR_CONNECT);
	assert_int_equal(e.sys, EPIPE);
	struct pollfd fds[TRANSPORT_POLLFDS];
	int count = p.a->ops->pollfds(p.a, fds, true);
	for (int i = 0; i < count; i++)
		assert_false(fds[i].events & POLLOUT);
	p.a->ops->free(p.a);
}

static void vanished_reader(void **state)
{
	(void)state;
	a_vanished_reader_is_an_error(over_pipes());
	/* A socket needs no ignored SIGPIPE. */
	signal(SIGPIPE, SIG_DFL);
	a_vanished_reader_is_an_error(over_socketpair());
	signal(SIGPIPE, SIG_IGN);
}

static void file_flags_are_restored(void **state)
{
	(void)state;
	int in[2], out[2];
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	int shared_in = dup(in[0]);
	int shared_out = dup(out[1]);
	struct transport *t = transport_fds(in[0], out[1], "parent");
	assert_string_equal(t->peer, "parent");
	assert_true(fcntl(shared_in, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(shared_out, F_GETFL) & O_NONBLOCK);
	t->ops->free(t);
	assert_false(fcntl(shared_in, F_GETFL) & O_NONBLOCK);
	assert_false(fcntl(shared_out, F_GETFL) & O_NONBLOCK);
	assert_int_equal(fcntl(in[0], F_GETFD), -1);
	assert_int_equal(fcntl(out[1], F_GETFD), -1);
	close(shared_in);
	close(shared_out);
	close(in[1]);
	close(out[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opposed_bulk_over_pipes),
		cmocka_unit_test(opposed_bulk_over_socketpair),
		cmocka_unit_test(full_pipe_takes_nothing_and_wakes_by_pollout),
		cmocka_unit_test(half_close_over_pipes),
		cmocka_unit_test(half_close_over_socketpair),
		cmocka_unit_test(vanished_reader),
		cmocka_unit_test(file_flags_are_restored),
	};
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
