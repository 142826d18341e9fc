/* SPDX-License-Identifier: Apache-2.0 */
/* For this room's tests: keys in a temporary directory, a server in a child process, checked streams. */
#ifndef SCRIBE_SSHPAIRING_H
#define SCRIBE_SSHPAIRING_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "err.h"
#include "keygen.h"
#include "mem.h"
#include "sshclient.h"
#include "sshserver.h"

/* Keys and files of one test program. */
struct rig {
	char dir[64];
	char host[96];
	char host_pub[96];
	char user[96];
	char user_pub[96];
	char authorized[96];
};

enum { PATTERN_LEN = 1048573, DRIVE_CHUNK = 256 << 10, DRIVE_STALL_MS = 60000 };

/* Ends the process with a line; used where cmocka's longjmp must not go, such as in children. */
__attribute__((noreturn, format(printf, 1, 2), unused)) static void die(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	_exit(99);
}

__attribute__((unused)) static void rig_copy(const char *from, const char *to)
{
	char buf[4096];
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	ssize_t n = in < 0 || out < 0 ? -1 : read(in, buf, sizeof buf);
	if (n < 0 || write(out, buf, (size_t)n) != n)
		die("copying %s to %s", from, to);
	close(in);
	close(out);
}

__attribute__((unused)) static void rig_write(const char *path, const char *text)
{
	int out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (out < 0 || write(out, text, strlen(text)) != (ssize_t)strlen(text))
		die("writing %s", path);
	close(out);
}

__attribute__((unused)) static void rig_make(struct rig *r)
{
	struct err e;
	const char *base = getenv("TMPDIR");
	snprintf(r->dir, sizeof r->dir, "%.30s/scribe-ssh-XXXXXX", base ? base : "/tmp");
	if (!mkdtemp(r->dir))
		die("mkdtemp %s", r->dir);
	snprintf(r->host, sizeof r->host, "%s/host", r->dir);
	snprintf(r->host_pub, sizeof r->host_pub, "%s/host.pub", r->dir);
	snprintf(r->user, sizeof r->user, "%s/user", r->dir);
	snprintf(r->user_pub, sizeof r->user_pub, "%s/user.pub", r->dir);
	snprintf(r->authorized, sizeof r->authorized, "%s/authorized_keys", r->dir);
	if (keygen_write(r->host, KEYGEN_ED25519, NULL, NULL, &e) < 0 ||
	    keygen_write(r->user, KEYGEN_ED25519, "someone", NULL, &e) < 0)
		die("%s", e.msg);
	rig_copy(r->user_pub, r->authorized);
}

/* Runs a program without a shell and returns its exit status; its output goes to out, or nowhere. */
__attribute__((unused)) static int run(const char *out, const char *const argv[])
{
	pid_t pid = fork();
	if (pid == 0) {
		int in = open("/dev/null", O_RDONLY);
		int fd = open(out ? out : "/dev/null", O_WRONLY | O_CREAT | O_TRUNC, 0600);
		dup2(in, 0);
		dup2(fd, 1);
		dup2(fd, 2);
		/* POSIX promises not to write there, in spite of the type. */
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	int status = 0;
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

__attribute__((unused)) static void rig_remove(struct rig *r)
{
	const char *argv[] = {"rm", "-rf", r->dir, NULL};
	(void)run(NULL, argv);
}

/* A listening socket on the loopback; its port in *port. */
__attribute__((unused)) static int listen_loopback(uint16_t *port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof sa;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof sa) < 0 || listen(fd, 16) < 0 ||
	    getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
		die("listening: %s", strerror(errno));
	*port = ntohs(sa.sin_port);
	return fd;
}

__attribute__((unused)) static int connect_loopback(uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof sa) < 0)
		die("connecting: %s", strerror(errno));
	return fd;
}

/*
 * A process between client and server. It passes everything on to the server, and of the answers the
 * first `back` bytes; the rest it swallows, or leaves unread.
 */
__attribute__((unused)) static pid_t odd_relay(uint16_t to, size_t back, bool swallow, uint16_t *port)
{
	int listening = listen_loopback(port);
	pid_t pid = fork();
	if (pid) {
		close(listening);
		return pid;
	}
	static char buf[65536];
	int client = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
	int server = connect_loopback(to);
	for (;;) {
		struct pollfd fds[2] = {{.fd = client, .events = POLLIN},
					{.fd = back || swallow ? server : -1, .events = POLLIN}};
		if (poll(fds, 2, -1) < 0)
			_exit(1);
		if (fds[0].revents) {
			ssize_t n = read(client, buf, sizeof buf);
			if (n <= 0 || send(server, buf, (size_t)n, MSG_NOSIGNAL) != n)
				_exit(0);
		}
		if (fds[1].revents) {
			ssize_t n = read(server, buf, back && back < sizeof buf ? back : sizeof buf);
			if (n <= 0 || (back && send(client, buf, (size_t)n, MSG_NOSIGNAL) != n))
				_exit(0);
			back -= back ? (size_t)n : 0;
		}
	}
}

/* The byte stream that tests send: a random block, repeated; its length is coprime to every buffer. */
__attribute__((unused)) static uint8_t *pattern_make(unsigned seed)
{
	uint8_t *p = mem_alloc_raw(2 * (size_t)PATTERN_LEN);
	uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
	for (size_t i = 0; i < PATTERN_LEN; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = p[i + PATTERN_LEN] = (uint8_t)(x >> 24);
	}
	return p;
}

struct drive {
	struct transport *t;
	uint64_t send; /* bytes to send and to expect */
	uint64_t expect;
	unsigned seed_out;
	unsigned seed_in;
	unsigned polls; /* times it had to wait */
};

__attribute__((unused)) static ssize_t drive_read(struct drive *d, const uint8_t *pattern, uint8_t *buf,
						  uint64_t *got)
{
	struct err e;
	bool eof;
	ssize_t n = d->t->ops->read(d->t, buf, DRIVE_CHUNK, &eof, &e);
	if (n < 0)
		die("read after %llu bytes: %s", (unsigned long long)*got, e.msg);
	if (n > 0 && memcmp(buf, pattern + *got % PATTERN_LEN, (size_t)n) != 0)
		die("wrong bytes after %llu", (unsigned long long)*got);
	*got += (uint64_t)n;
	return n;
}

__attribute__((unused)) static ssize_t drive_write(struct drive *d, const uint8_t *pattern,
						   uint64_t *sent)
{
	struct err e;
	uint64_t left = d->send - *sent;
	size_t n = left < DRIVE_CHUNK ? (size_t)left : DRIVE_CHUNK;
	ssize_t put = d->t->ops->write(d->t, pattern + *sent % PATTERN_LEN, n, &e);
	if (put < 0)
		die("write after %llu bytes: %s", (unsigned long long)*sent, e.msg);
	*sent += (uint64_t)put;
	return put;
}

/* Waits until the transport has something to do. */
__attribute__((unused)) static void drive_wait(struct transport *t, bool want_write)
{
	struct pollfd fds[TRANSPORT_POLLFDS];
	int n = t->ops->pollfds(t, fds, want_write);
	int rc = n ? poll(fds, (nfds_t)n, DRIVE_STALL_MS) : 0;
	if (rc == 0)
		die("stalled (%s)", t->peer);
}

/* Sends and receives what d says, in one thread, each byte checked. Dies on any failure. */
__attribute__((unused)) static void drive(struct drive *d)
{
	uint8_t *out = pattern_make(d->seed_out);
	uint8_t *in = pattern_make(d->seed_in);
	uint8_t *buf = mem_alloc_raw(DRIVE_CHUNK);
	uint64_t sent = 0;
	uint64_t got = 0;
	while (sent < d->send || got < d->expect) {
		bool moved = got < d->expect && drive_read(d, in, buf, &got) > 0;
		if (sent < d->send)
			moved = drive_write(d, out, &sent) > 0 || moved;
		if (moved)
			continue;
		d->polls++;
		drive_wait(d->t, sent < d->send);
	}
	free(out);
	free(in);
	free(buf);
}

/* Reads until the end of the stream; returns the bytes dropped. */
__attribute__((unused)) static uint64_t drive_to_end(struct transport *t)
{
	uint8_t *buf = mem_alloc_raw(DRIVE_CHUNK);
	uint64_t total = 0;
	for (;;) {
		struct err e;
		bool eof;
		ssize_t n = t->ops->read(t, buf, DRIVE_CHUNK, &eof, &e);
		if (n < 0 && eof)
			break;
		if (n < 0)
			die("read: %s", e.msg);
		total += (uint64_t)n;
		if (n == 0)
			drive_wait(t, false);
	}
	free(buf);
	return total;
}

/* A server process that serves one connection. */
struct served {
	pid_t pid;
	uint16_t port;
};

typedef int serve_fn(struct transport *t, const struct ssh_session_info *info, void *arg);

__attribute__((unused)) static void ignore_warning(void *arg, const char *line)
{
	(void)arg;
	(void)line;
}

/*
 * Forks a server for one connection. Its exit status is the error's code when the session failed, else
 * what fn returned. cfg NULL = the rig's keys and defaults.
 */
__attribute__((unused)) static struct served serve_one(struct rig *r, const struct ssh_server_config *cfg,
						       serve_fn *fn, void *arg)
{
	struct ssh_server_config own = {.host_key = r->host, .authorized_keys = r->authorized};
	struct served s;
	int listening = listen_loopback(&s.port);
	s.pid = fork();
	if (s.pid) {
		close(listening);
		return s;
	}
	struct err e;
	struct ssh_session_info info;
	struct ssh_server *server = ssh_server_new(cfg ? cfg : &own, &e);
	if (!server)
		die("server: %s", e.msg);
	int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
	struct transport *t = ssh_server_session(server, fd, NULL, NULL, &info, &e);
	if (!t && getenv("SCRIBE_TEST_VERBOSE"))
		fprintf(stderr, "server: %d %s\n", e.code, e.msg);
	int rc = t ? fn(t, &info, arg) : (int)e.code;
	if (t)
		t->ops->free(t);
	ssh_server_free(server);
	_exit(rc);
}

__attribute__((unused)) static int served_status(struct served *s)
{
	int status = 0;
	waitpid(s->pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

__attribute__((unused)) static struct ssh_dial dial_to(const struct rig *r, uint16_t port)
{
	return (struct ssh_dial){.host = "127.0.0.1",
				 .port = port,
				 .user = "mover",
				 .identity = r->user,
				 .pinned_key = r->host_pub,
				 .command = "scribe-mover receive"};
}

__attribute__((unused)) static double seconds(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

#endif
