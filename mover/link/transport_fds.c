/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A transport over two file descriptors: the pipes of sshd's forced command, of --rsh, or a
 * socketpair. The kernel's buffers are the only ones. Writing to a pipe without a reader raises
 * SIGPIPE, which the process must ignore; sockets do without.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mem.h"
#include "transport.h"

struct fds_transport {
	struct transport base;
	int in;
	int out;      /* -1 after shutdown of a pipe */
	int in_flags; /* file status flags as they were, since others may share them */
	int out_flags;
	bool out_is_socket;
	bool in_ended;
	bool out_ended;
};

static struct fds_transport *of(struct transport *t)
{
	return (struct fds_transport *)(void *)t;
}

static bool is_again(int sys)
{
	return sys == EAGAIN || sys == EINTR;
}

static int fds_pollfds(struct transport *t, struct pollfd *fds, bool want_write)
{
	struct fds_transport *f = of(t);
	int n = 0;
	/* A side that has ended would report POLLHUP for ever, and no wait would wait. */
	bool write_too = want_write && !f->out_ended;
	if (!f->in_ended)
		fds[n++] = (struct pollfd){.fd = f->in, .events = POLLIN};
	if (write_too && n == 1 && f->in == f->out)
		fds[0].events |= POLLOUT;
	else if (write_too)
		fds[n++] = (struct pollfd){.fd = f->out, .events = POLLOUT};
	return n;
}

static ssize_t fds_read(struct transport *t, void *p, size_t n, bool *eof, struct err *e)
{
	struct fds_transport *f = of(t);
	*eof = false;
	if (!n)
		return 0;
	ssize_t got = f->in_ended ? 0 : read(f->in, p, n);
	if (got > 0) {
		t->socket_in += (uint64_t)got;
		return got;
	}
	if (got == 0) {
		f->in_ended = true;
		*eof = true;
		return err_set(e, ERR_CONNECT, "%s: end of stream", t->peer);
	}
	if (is_again(errno))
		return 0;
	f->in_ended = true;
	return err_sys(e, ERR_CONNECT, "reading from %s", t->peer);
}

static ssize_t fds_write(struct transport *t, const void *p, size_t n, struct err *e)
{
	struct fds_transport *f = of(t);
	if (f->out_ended)
		return err_set(e, ERR_CONNECT, "%s: the stream was shut down", t->peer);
	if (!n)
		return 0;
	ssize_t put = f->out_is_socket ? send(f->out, p, n, MSG_NOSIGNAL) : write(f->out, p, n);
	if (put >= 0) {
		t->socket_out += (uint64_t)put;
		return put;
	}
	if (is_again(errno))
		return 0;
	f->out_ended = true;
	return err_sys(e, ERR_CONNECT, "writing to %s", t->peer);
}

static void restore_flags(int fd, int flags)
{
	if (fd >= 0 && flags >= 0)
		(void)fcntl(fd, F_SETFL, flags);
}

static void close_out(struct fds_transport *f)
{
	if (f->out >= 0 && f->out != f->in) {
		restore_flags(f->out, f->out_flags);
		close(f->out);
	}
	f->out = -1;
}

static void fds_shutdown(struct transport *t, int timeout_ms)
{
	struct fds_transport *f = of(t);
	(void)timeout_ms; /* what was taken is in the kernel already */
	f->out_ended = true;
	if (f->out >= 0 && f->out_is_socket)
		(void)shutdown(f->out, SHUT_WR);
	else
		close_out(f);
}

static void fds_free(struct transport *t)
{
	struct fds_transport *f = of(t);
	close_out(f);
	restore_flags(f->in, f->in_flags);
	close(f->in);
	free(f);
}

static const struct transport_ops fds_ops = {
	.pollfds = fds_pollfds,
	.read = fds_read,
	.write = fds_write,
	.shutdown = fds_shutdown,
	.free = fds_free,
};

static int set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	if (flags >= 0)
		(void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	return flags;
}

static bool is_socket(int fd)
{
	int type;
	socklen_t len = sizeof type;
	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0;
}

struct transport *transport_fds(int in, int out, const char *peer)
{
	struct fds_transport *f = mem_alloc(1, sizeof *f);
	f->base.ops = &fds_ops;
	snprintf(f->base.peer, sizeof f->base.peer, "%s", peer);
	f->in = in;
	f->out = out;
	f->in_flags = set_nonblocking(in);
	/* Of two fds for one description the second already looks non-blocking. */
	f->out_flags = out == in ? f->in_flags : set_nonblocking(out);
	f->out_is_socket = is_socket(out);
	return &f->base;
}
