/* SPDX-License-Identifier: Apache-2.0 */
#include "netdial.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "mem.h"
#include "text.h"

enum {
	USER_TIMEOUT_MS = 130000, /* above the protocol's own 120 s, so that it speaks first */
	KEEPALIVE_IDLE_S = 60,
	KEEPALIVE_INTERVAL_S = 15,
	ATTEMPT_MIN_MS = 500, /* an address's share of the time is never shorter than that */
};

int64_t net_now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int net_set_nonblocking(int fd, struct err *e)
{
	int flags = fcntl(fd, F_GETFL);
	if (flags >= 0 && !(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0)
		flags = fcntl(fd, F_GETFL);
	if (flags < 0 || !(flags & O_NONBLOCK))
		return err_sys(e, ERR_FAILURE, "making a socket non-blocking");
	return 0;
}

static void set_int(int fd, int level, int option, int value)
{
	(void)setsockopt(fd, level, option, &value, sizeof value);
}

int net_tune(int fd, int socket_buffer, struct err *e)
{
	if (socket_buffer > 0) {
		set_int(fd, SOL_SOCKET, SO_SNDBUF, socket_buffer);
		set_int(fd, SOL_SOCKET, SO_RCVBUF, socket_buffer);
	}
	set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
	set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
	set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS);
	return net_set_nonblocking(fd, e);
}

static int cancelled(struct err *e)
{
	errno = ECANCELED;
	return err_sys(e, ERR_FAILURE, "connecting");
}

int net_wait(int fd, short events, int64_t deadline_ms, int cancel_fd, struct err *e)
{
	for (;;) {
		int64_t left = deadline_ms - net_now_ms();
		if (left <= 0) {
			errno = ETIMEDOUT;
			return err_sys(e, ERR_TIMEOUT, "waiting for the other side");
		}
		struct pollfd fds[2] = {{.fd = events ? fd : -1, .events = events},
					{.fd = cancel_fd, .events = POLLIN}};
		int n = poll(fds, 2, left > 60000 ? 60000 : (int)left);
		if (n < 0 && errno != EINTR)
			return err_sys(e, ERR_FAILURE, "poll");
		if (n > 0 && fds[1].revents)
			return cancelled(e);
		if (n > 0 && fds[0].revents)
			return 0;
	}
}

bool net_is_closed(int fd)
{
	char c;
	ssize_t n = recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);
	return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

void net_address_text(const struct sockaddr *sa, socklen_t len, char out[NET_PEER_MAX])
{
	char host[NI_MAXHOST], port[NI_MAXSERV];
	if ((sa->sa_family != AF_INET && sa->sa_family != AF_INET6) ||
	    getnameinfo(sa, len, host, sizeof host, port, sizeof port,
			NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
		snprintf(out, NET_PEER_MAX, "local");
		return;
	}
	bool bracket = strchr(host, ':') != NULL;
	snprintf(out, NET_PEER_MAX, bracket ? "[%.50s]:%.5s" : "%.50s:%.5s", host, port);
}

void net_peer_text(int fd, char out[NET_PEER_MAX])
{
	struct sockaddr_storage ss = {0};
	socklen_t len = sizeof ss;
	if (getpeername(fd, (struct sockaddr *)&ss, &len) < 0)
		len = 0;
	net_address_text((struct sockaddr *)&ss, len, out);
}

/* One name being resolved. Two owners, the caller and the helper thread; the last one frees it. */
struct lookup {
	atomic_int owners;
	int done;   /* eventfd */
	int status; /* of getaddrinfo(), valid once done is readable; sys with EAI_SYSTEM */
	int sys;
	struct addrinfo *list;
	char host[NI_MAXHOST];
	char port[NI_MAXSERV];
};

static void lookup_drop(struct lookup *l)
{
	if (atomic_fetch_sub(&l->owners, 1) != 1)
		return;
	if (l->list)
		freeaddrinfo(l->list);
	close(l->done);
	free(l);
}

static void lookup_run(struct lookup *l, int flags)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags};
	errno = 0;
	l->status = getaddrinfo(l->host, l->port, &hints, &l->list);
	l->sys = errno;
	if (l->status != 0)
		l->list = NULL;
}

static void *lookup_thread(void *arg)
{
	struct lookup *l = arg;
	lookup_run(l, AI_ADDRCONFIG);
	(void)eventfd_write(l->done, 1);
	lookup_drop(l);
	return NULL;
}

static int lookup_start(struct lookup *l, struct err *e)
{
	pthread_attr_t attr;
	pthread_t id;
	sigset_t all, old;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	atomic_fetch_add(&l->owners, 1);
	int rc = pthread_create(&id, &attr, lookup_thread, l);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (rc) {
		lookup_drop(l);
		errno = rc;
		return err_sys(e, ERR_FAILURE, "starting the resolver thread");
	}
	return 0;
}

static int lookup_failed(const struct lookup *l, struct err *e)
{
	char name[TEXT_ESCAPED_MAX];
	text_escape(name, sizeof name, l->host, strlen(l->host));
	if (l->status == EAI_SYSTEM) {
		errno = l->sys;
		return err_sys(e, ERR_CONNECT, "resolving %s", name);
	}
	return err_set(e, ERR_CONNECT, "resolving %s: %s", name, gai_strerror(l->status));
}

/* Resolves; *out stays valid until lookup_drop(). */
static int resolve(const char *host, uint16_t port, int64_t deadline, int cancel_fd,
		   struct lookup **out, struct err *e)
{
	if (strlen(host) >= NI_MAXHOST)
		return err_set(e, ERR_USAGE, "the host name is too long");
	struct lookup *l = mem_alloc(1, sizeof *l);
	atomic_init(&l->owners, 1);
	snprintf(l->host, sizeof l->host, "%s", host);
	snprintf(l->port, sizeof l->port, "%u", port);
	l->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int rc = l->done < 0 ? err_sys(e, ERR_FAILURE, "eventfd") : 0;
	if (rc == 0) {
		lookup_run(l, AI_NUMERICHOST);
		if (l->status == EAI_NONAME)
			rc = lookup_start(l, e);
		else
			(void)eventfd_write(l->done, 1);
	}
	if (rc == 0 && net_wait(l->done, POLLIN, deadline, cancel_fd, e) < 0)
		rc = err_wrap(e, "resolving the host name");
	if (rc == 0 && l->status != 0)
		rc = lookup_failed(l, e);
	if (rc < 0) {
		lookup_drop(l);
		return -1;
	}
	*out = l;
	return 0;
}

/* One address. Returns the fd, or -1 with *e. */
static int connect_one(const struct addrinfo *ai, int64_t deadline, int cancel_fd,
		       int socket_buffer, struct err *e)
{
	CLEANUP_FD int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
				   ai->ai_protocol);
	if (fd < 0)
		return err_sys(e, ERR_CONNECT, "socket");
	if (net_tune(fd, socket_buffer, e) < 0)
		return -1;
	if (connect(fd, ai->ai_addr, ai->ai_addrlen) < 0 && errno != EINPROGRESS)
		return err_sys(e, ERR_CONNECT, "connect");
	if (net_wait(fd, POLLOUT, deadline, cancel_fd, e) < 0)
		return -1;
	int sys = 0;
	socklen_t len = sizeof sys;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &sys, &len) < 0)
		sys = errno;
	if (sys) {
		errno = sys;
		return err_sys(e, sys == ETIMEDOUT ? ERR_TIMEOUT : ERR_CONNECT, "connect");
	}
	int connected = fd;
	fd = -1;
	return connected;
}

static int count(const struct addrinfo *ai)
{
	int n = 0;
	for (; ai; ai = ai->ai_next)
		n++;
	return n;
}

/* A dead address must not use up the time of the living one behind it. */
static int64_t share(int64_t deadline, int addresses_left)
{
	int64_t now = net_now_ms();
	int64_t part = (deadline - now) / addresses_left;
	if (part < ATTEMPT_MIN_MS)
		part = ATTEMPT_MIN_MS;
	return now + part < deadline ? now + part : deadline;
}

int net_dial(const char *host, uint16_t port, int64_t deadline_ms, int cancel_fd, int socket_buffer,
	     char peer[NET_PEER_MAX], struct err *e)
{
	struct lookup *l = NULL;
	if (resolve(host, port, deadline_ms, cancel_fd, &l, e) < 0)
		return -1;
	int fd = -1;
	int left = count(l->list);
	for (const struct addrinfo *ai = l->list; ai && fd < 0; ai = ai->ai_next) {
		net_address_text(ai->ai_addr, ai->ai_addrlen, peer);
		fd = connect_one(ai, share(deadline_ms, left--), cancel_fd, socket_buffer, e);
		if (fd < 0)
			err_wrap(e, "cannot connect to %s", peer);
		if (fd < 0 && e && e->sys == ECANCELED)
			break;
	}
	lookup_drop(l);
	return fd;
}
