/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A listening socket whose connections are served by one forked child each, so that a crash in one
 * session never ends another.
 *
 * The parent knows which children have authenticated: a child says so on a pipe. Connections beyond
 * the limits on unauthenticated ones are closed at once, without a byte. Children are watched by
 * pidfds: no signal handler, no signal mask, nothing global. The parent must be single-threaded.
 */
#ifndef SCRIBE_SSHLISTEN_H
#define SCRIBE_SSHLISTEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"

/* A connection, as its child sees it. */
struct sshlisten_conn {
	int fd;        /* the accepted socket, non-blocking, close-on-exec; the child owns it */
	int tell;      /* for sshlisten_authenticated() */
	char peer[64]; /* "192.0.2.7:40112" or "[2001:db8::1]:40112" */
};

/* The child's whole life: its return value becomes the exit status. Standard streams are as in the
 * parent; the listening socket, pidfds and pipes of the parent are closed already. */
typedef int sshlisten_child_fn(struct sshlisten_conn *c, void *arg);
/* Told to the parent when a child has ended. status as from waitpid(). */
typedef void sshlisten_exit_fn(void *arg, pid_t pid, int status, bool authenticated,
			       const char *peer);

/* Zero = default. */
struct sshlisten_config {
	const char
		*address; /* NULL or "" = all addresses, IPv6 and IPv4; else one name or address */
	uint16_t port;    /* 0 = a free one */
	int max_unauthenticated; /* 16 */
	int max_per_address;     /* 4 of those, per IPv4 address or IPv6 /64 */
	int max_children;        /* 256 */
	int unauthenticated_ms;  /* a child that has not authenticated by then is killed; 45,000 */
	sshlisten_child_fn *child;
	sshlisten_exit_fn *exited;                                     /* may be NULL */
	void (*refused)(void *arg, const char *peer, const char *why); /* may be NULL */
	void *arg;
};

struct sshlisten;

/* Binds and listens. NULL with *e (ERR_USAGE for a bad address, else ERR_FAILURE, e->sys set). */
struct sshlisten *sshlisten_new(const struct sshlisten_config *cfg, struct err *e);
/* Closes everything; children live on and are no longer watched. */
void sshlisten_free(struct sshlisten *l);

/* "ADDR:PORT" with the real port; IPv6 addresses in brackets. Lives as long as l. */
const char *sshlisten_where(const struct sshlisten *l);
uint16_t sshlisten_port(const struct sshlisten *l);

/*
 * Waits at most timeout_ms (-1 = for ever) for something to do and does it: accept and fork, note
 * authentications, reap. extra_fd (-1 = none), such as a signalfd, ends the wait when readable.
 * 1: extra_fd is readable, 0: not, -1 with *e: the listening socket is broken.
 */
int sshlisten_step(struct sshlisten *l, int extra_fd, int timeout_ms, struct err *e);

/* Stops accepting; children go on and sshlisten_step() still reaps them. */
void sshlisten_stop(struct sshlisten *l);
/* Number of living children; those that have authenticated. */
int sshlisten_children(const struct sshlisten *l);
int sshlisten_authenticated_children(const struct sshlisten *l);
/* Sends a signal to every child, or only to the unauthenticated ones. */
void sshlisten_signal(struct sshlisten *l, int sig, bool only_unauthenticated);

/* For the child: tells the parent that the peer has proven its key. Closes c->tell. */
void sshlisten_authenticated(struct sshlisten_conn *c);

#endif
