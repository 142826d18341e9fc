/* SPDX-License-Identifier: Apache-2.0 */
#include "sshlisten.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mem.h"
#include "netdial.h"
#include "text.h"

enum {
	BACKLOG = 64,
	ACCEPTS_PER_STEP = 32,
	EXHAUSTED_PAUSE_MS = 500, /* no accept for so long after running out of fds or processes */
	UNAUTHENTICATED_MS = 45000,
	MAX_UNAUTHENTICATED = 16,
	MAX_PER_ADDRESS = 4,
	MAX_CHILDREN = 256,
};

struct child {
	pid_t pid; /* 0 = free slot */
	int pidfd;
	int told; /* read end of its pipe; -1 once it has authenticated or closed it */
	bool authenticated;
	bool killed;
	int64_t deadline;
	uint8_t address[16]; /* what the limit per address counts by */
	char peer[NET_PEER_MAX];
};

struct sshlisten {
	struct sshlisten_config cfg;
	int fd; /* -1 after sshlisten_stop() */
	uint16_t port;
	char where[NET_PEER_MAX];
	int64_t pause_until;
	struct child *children; /* cfg.max_children slots */
	struct pollfd *fds;     /* room for two per child and two more */
};

/* Binding */

static int bind_one(const struct addrinfo *ai, bool any, struct err *e)
{
	CLEANUP_FD int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
				   ai->ai_protocol);
	if (fd < 0)
		return err_sys(e, ERR_FAILURE, "socket");
	int on = 1;
	int v6only = !any;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (ai->ai_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only);
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0)
		return err_sys(e, ERR_FAILURE, "bind");
	if (listen(fd, BACKLOG) < 0)
		return err_sys(e, ERR_FAILURE, "listen");
	int listening = fd;
	fd = -1;
	return listening;
}

static int bind_any(struct sshlisten *l, struct err *e)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(l->cfg.port)};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(l->cfg.port)};
	struct addrinfo ai = {.ai_family = AF_INET6,
			      .ai_socktype = SOCK_STREAM,
			      .ai_addr = (struct sockaddr *)&six,
			      .ai_addrlen = sizeof six};
	l->fd = bind_one(&ai, true, e);
	if (l->fd >= 0 || (e->sys != EAFNOSUPPORT && e->sys != EADDRNOTAVAIL))
		return l->fd < 0 ? err_wrap(e, "listening on port %u", l->cfg.port) : 0;
	/* A host without IPv6. */
	ai.ai_family = AF_INET;
	ai.ai_addr = (struct sockaddr *)&four;
	ai.ai_addrlen = sizeof four;
	l->fd = bind_one(&ai, true, e);
	return l->fd < 0 ? err_wrap(e, "listening on port %u", l->cfg.port) : 0;
}

static int bind_address(struct sshlisten *l, struct err *e)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *list = NULL;
	char port[8], shown[TEXT_ESCAPED_MAX];
	text_escape(shown, sizeof shown, l->cfg.address, strlen(l->cfg.address));
	snprintf(port, sizeof port, "%u", l->cfg.port);
	int rc = getaddrinfo(l->cfg.address, port, &hints, &list);
	if (rc)
		return err_set(e, ERR_USAGE, "listen address %s: %s", shown, gai_strerror(rc));
	for (const struct addrinfo *ai = list; ai && l->fd < 0; ai = ai->ai_next)
		l->fd = bind_one(ai, false, e);
	freeaddrinfo(list);
	return l->fd < 0 ? err_wrap(e, "listening on %s port %u", shown, l->cfg.port) : 0;
}

static int find_name(struct sshlisten *l, struct err *e)
{
	struct sockaddr_storage ss = {0};
	socklen_t len = sizeof ss;
	if (getsockname(l->fd, (struct sockaddr *)&ss, &len) < 0)
		return err_sys(e, ERR_FAILURE, "getsockname");
	net_address_text((struct sockaddr *)&ss, len, l->where);
	in_port_t port = ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&ss)->sin6_port
						  : ((struct sockaddr_in *)(void *)&ss)->sin_port;
	l->port = ntohs(port);
	return 0;
}

static int or_default(int value, int standard)
{
	return value > 0 ? value : standard;
}

struct sshlisten *sshlisten_new(const struct sshlisten_config *cfg, struct err *e)
{
	struct err ignored;
	if (!e)
		e = &ignored;
	struct sshlisten *l = mem_alloc(1, sizeof *l);
	l->cfg = *cfg;
	l->fd = -1;
	l->cfg.max_unauthenticated = or_default(cfg->max_unauthenticated, MAX_UNAUTHENTICATED);
	l->cfg.max_per_address = or_default(cfg->max_per_address, MAX_PER_ADDRESS);
	l->cfg.max_children = or_default(cfg->max_children, MAX_CHILDREN);
	l->cfg.unauthenticated_ms = or_default(cfg->unauthenticated_ms, UNAUTHENTICATED_MS);
	l->children = mem_alloc((size_t)l->cfg.max_children, sizeof *l->children);
	l->fds = mem_alloc((size_t)l->cfg.max_children * 2 + 2, sizeof *l->fds);
	bool any = !cfg->address || !*cfg->address;
	int rc = any ? bind_any(l, e) : bind_address(l, e);
	if (rc == 0)
		rc = find_name(l, e);
	if (rc == 0)
		return l;
	sshlisten_free(l);
	return NULL;
}

const char *sshlisten_where(const struct sshlisten *l)
{
	return l->where;
}

uint16_t sshlisten_port(const struct sshlisten *l)
{
	return l->port;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Closes what the parent holds, in the parent as in a child. */
static void close_all(struct sshlisten *l)
{
	close_fd(&l->fd);
	for (int i = 0; i < l->cfg.max_children; i++) {
		if (!l->children[i].pid)
			continue;
		close_fd(&l->children[i].pidfd);
		close_fd(&l->children[i].told);
	}
}

void sshlisten_free(struct sshlisten *l)
{
	if (!l)
		return;
	close_all(l);
	free(l->children);
	free(l->fds);
	free(l);
}

void sshlisten_stop(struct sshlisten *l)
{
	close_fd(&l->fd);
}

/* Counting */

/* An IPv4 address as it is, mapped or not; of an IPv6 address the /64, which one host can fill. */
static void address_key(const struct sockaddr_storage *ss, uint8_t key[16])
{
	memset(key, 0, 16);
	if (ss->ss_family == AF_INET) {
		memcpy(key + 12, &((const struct sockaddr_in *)(const void *)ss)->sin_addr, 4);
		return;
	}
	if (ss->ss_family != AF_INET6)
		return;
	const struct in6_addr *a = &((const struct sockaddr_in6 *)(const void *)ss)->sin6_addr;
	if (IN6_IS_ADDR_V4MAPPED(a)) {
		memcpy(key + 12, a->s6_addr + 12, 4);
		return;
	}
	memcpy(key, a->s6_addr, 8);
	key[8] = 1; /* apart from every IPv4 address */
}

int sshlisten_children(const struct sshlisten *l)
{
	int n = 0;
	for (int i = 0; i < l->cfg.max_children; i++)
		n += l->children[i].pid != 0;
	return n;
}

int sshlisten_authenticated_children(const struct sshlisten *l)
{
	int n = 0;
	for (int i = 0; i < l->cfg.max_children; i++)
		n += l->children[i].pid != 0 && l->children[i].authenticated;
	return n;
}

/* NULL if a connection from this address may be served, else why not. */
static const char *over_limit(const struct sshlisten *l, const uint8_t key[16])
{
	int total = 0;
	int strangers = 0;
	int same = 0;
	for (int i = 0; i < l->cfg.max_children; i++) {
		const struct child *c = &l->children[i];
		if (!c->pid)
			continue;
		total++;
		if (c->authenticated)
			continue;
		strangers++;
		same += memcmp(c->address, key, 16) == 0;
	}
	if (total >= l->cfg.max_children)
		return "too many connections";
	if (strangers >= l->cfg.max_unauthenticated)
		return "too many connections that have not authenticated";
	if (same >= l->cfg.max_per_address)
		return "too many connections from this address that have not authenticated";
	return NULL;
}

/* Children */

static void run_child(struct sshlisten *l, int fd, int tell, const char *peer)
	__attribute__((noreturn));

static void run_child(struct sshlisten *l, int fd, int tell, const char *peer)
{
	struct sshlisten_conn conn = {.fd = fd, .tell = tell};
	snprintf(conn.peer, sizeof conn.peer, "%s", peer);
	sshlisten_child_fn *child = l->cfg.child;
	void *arg = l->cfg.arg;
	close_all(l);
	_exit(child(&conn, arg));
}

static void refuse(struct sshlisten *l, const char *peer, const char *why)
{
	if (l->cfg.refused)
		l->cfg.refused(l->cfg.arg, peer, why);
}

static struct child *free_slot(struct sshlisten *l)
{
	for (int i = 0; i < l->cfg.max_children; i++)
		if (!l->children[i].pid)
			return &l->children[i];
	return NULL;
}

/* Makes a child for fd, which stays the caller's. */
static int start_child(struct sshlisten *l, struct child *c, int fd)
{
	int pipes[2];
	if (pipe2(pipes, O_CLOEXEC | O_NONBLOCK) < 0)
		return -1;
	pid_t pid = fork();
	if (pid == 0) {
		close(pipes[0]);
		run_child(l, fd, pipes[1], c->peer);
	}
	close(pipes[1]);
	int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	if (pidfd < 0) {
		int sys = errno;
		if (pid > 0) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
		}
		close(pipes[0]);
		errno = sys;
		return -1;
	}
	c->pid = pid;
	c->pidfd = pidfd;
	c->told = pipes[0];
	c->authenticated = false;
	c->killed = false;
	c->deadline = net_now_ms() + l->cfg.unauthenticated_ms;
	return 0;
}

static void take(struct sshlisten *l, int fd, const struct sockaddr_storage *ss, socklen_t len)
{
	uint8_t key[16];
	char peer[NET_PEER_MAX];
	address_key(ss, key);
	net_address_text((const struct sockaddr *)ss, len, peer);
	const char *why = over_limit(l, key);
	struct child *c = why ? NULL : free_slot(l);
	if (c) {
		memcpy(c->address, key, sizeof c->address);
		memcpy(c->peer, peer, sizeof c->peer);
		if (start_child(l, c, fd) < 0) {
			why = "no process can be started";
			l->pause_until = net_now_ms() + EXHAUSTED_PAUSE_MS;
		}
	}
	close(fd);
	if (why)
		refuse(l, peer, why);
}

static int accept_some(struct sshlisten *l, struct err *e)
{
	for (int i = 0; i < ACCEPTS_PER_STEP; i++) {
		struct sockaddr_storage ss = {0};
		socklen_t len = sizeof ss;
		int fd = accept4(l->fd, (struct sockaddr *)&ss, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0) {
			take(l, fd, &ss, len);
			continue;
		}
		switch (errno) {
		case EMFILE:
		case ENFILE:
		case ENOBUFS:
		case ENOMEM:
			l->pause_until = net_now_ms() + EXHAUSTED_PAUSE_MS;
			return 0;
		case EBADF:
		case EINVAL:
		case ENOTSOCK:
			return err_sys(e, ERR_FAILURE, "accepting on %s", l->where);
		default: /* nothing there, or a connection that died while it waited */
			return 0;
		}
	}
	return 0;
}

static void hear(struct child *c)
{
	char byte;
	ssize_t n = read(c->told, &byte, 1);
	if (n < 0)
		return;
	if (n == 1)
		c->authenticated = true;
	close_fd(&c->told);
}

static void reap(struct sshlisten *l, struct child *c)
{
	int status = 0;
	if (c->told >= 0)
		hear(c);
	if (waitpid(c->pid, &status, WNOHANG) == 0)
		return;
	struct child gone = *c;
	close_fd(&gone.pidfd);
	close_fd(&gone.told);
	memset(c, 0, sizeof *c);
	if (l->cfg.exited)
		l->cfg.exited(l->cfg.arg, gone.pid, status, gone.authenticated, gone.peer);
}

/* A child enforces its own deadline; this is for one that hangs. */
static void kill_overdue(struct sshlisten *l, int64_t now)
{
	for (int i = 0; i < l->cfg.max_children; i++) {
		struct child *c = &l->children[i];
		if (c->pid && !c->authenticated && !c->killed && now >= c->deadline) {
			c->killed = true;
			kill(c->pid, SIGKILL);
		}
	}
}

static int64_t earliest(const struct sshlisten *l, int64_t until)
{
	for (int i = 0; i < l->cfg.max_children; i++) {
		const struct child *c = &l->children[i];
		if (c->pid && !c->authenticated && !c->killed && (until < 0 || c->deadline < until))
			until = c->deadline;
	}
	return until;
}

void sshlisten_signal(struct sshlisten *l, int sig, bool only_unauthenticated)
{
	for (int i = 0; i < l->cfg.max_children; i++) {
		const struct child *c = &l->children[i];
		if (c->pid && !(only_unauthenticated && c->authenticated))
			kill(c->pid, sig);
	}
}

/* Slots 0 and 1 are the listening socket and extra_fd, then two per child slot. */
static nfds_t fill(struct sshlisten *l, int extra_fd, int64_t now)
{
	l->fds[0] = (struct pollfd){.fd = now < l->pause_until ? -1 : l->fd, .events = POLLIN};
	l->fds[1] = (struct pollfd){.fd = extra_fd, .events = POLLIN};
	for (int i = 0; i < l->cfg.max_children; i++) {
		const struct child *c = &l->children[i];
		struct pollfd *p = &l->fds[2 + 2 * i];
		p[0] = (struct pollfd){.fd = c->pid ? c->pidfd : -1, .events = POLLIN};
		p[1] = (struct pollfd){.fd = c->pid ? c->told : -1, .events = POLLIN};
	}
	return (nfds_t)l->cfg.max_children * 2 + 2;
}

static int wait_ms(const struct sshlisten *l, int64_t now, int timeout_ms)
{
	int64_t until = earliest(l, timeout_ms < 0 ? -1 : now + timeout_ms);
	if (l->pause_until > now && (until < 0 || l->pause_until < until))
		until = l->pause_until;
	if (until < 0)
		return -1;
	return until <= now ? 0 : until - now > 60000 ? 60000 : (int)(until - now);
}

int sshlisten_step(struct sshlisten *l, int extra_fd, int timeout_ms, struct err *e)
{
	int64_t now = net_now_ms();
	nfds_t count = fill(l, extra_fd, now);
	int n = poll(l->fds, count, wait_ms(l, now, timeout_ms));
	if (n < 0)
		return errno == EINTR ? 0 : err_sys(e, ERR_FAILURE, "poll");
	/* What children have to say comes first: it makes room under the limits. */
	for (int i = 0; i < l->cfg.max_children; i++) {
		struct child *c = &l->children[i];
		if (c->pid && c->told >= 0 && l->fds[3 + 2 * i].revents)
			hear(c);
		if (c->pid && l->fds[2 + 2 * i].revents)
			reap(l, c);
	}
	kill_overdue(l, net_now_ms());
	bool extra = l->fds[1].revents != 0;
	if (l->fds[0].revents && accept_some(l, e) < 0)
		return -1;
	return extra ? 1 : 0;
}

void sshlisten_authenticated(struct sshlisten_conn *c)
{
	if (c->tell < 0)
		return;
	ssize_t ignored = write(c->tell, "a", 1);
	(void)ignored;
	close_fd(&c->tell);
}
