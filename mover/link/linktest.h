/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the tests of links: a link whose received frames lie in a queue, and the raw other end of a
 * socket pair, which can speak out of turn.
 */
#ifndef SCRIBE_LINKTEST_H
#define SCRIBE_LINKTEST_H

#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "link.h"
#include "mem.h"
#include "queue.h"

enum { BOX_FRAMES = 1 << 17, SOCKET_BYTES = 65536 };

/* One end: what its link delivered, and how it went down. */
struct end {
	struct link *l;
	struct queue box;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int downs; /* guarded by lock */
	struct err why;
};

static inline void end_route(void *owner, struct link_frame *f)
{
	struct end *x = owner;
	if (queue_try_push(&x->box, f, 1) != QUEUE_OK)
		abort(); /* more frames than any test sends */
}

static inline void end_down(void *owner, const struct err *why)
{
	struct end *x = owner;
	pthread_mutex_lock(&x->lock);
	x->downs++;
	x->why = *why;
	pthread_cond_broadcast(&x->changed);
	pthread_mutex_unlock(&x->lock);
	queue_close(&x->box);
}

static inline void end_open(struct end *x, int fd, char peer_role, bool peer_dialled,
			    uint64_t bwlimit)
{
	struct link_config c = {.peer_role = peer_role,
				.peer_dialled = peer_dialled,
				.bwlimit = bwlimit,
				.route = end_route,
				.down = end_down,
				.owner = x};
	memset(x, 0, sizeof *x);
	queue_init(&x->box, BOX_FRAMES, BOX_FRAMES);
	pthread_mutex_init(&x->lock, NULL);
	pthread_cond_init(&x->changed, NULL);
	x->l = link_new(&c, transport_fds(fd, fd, "peer"));
}

/* The next frame, NULL if none came within timeout_ms or the link is down and all were taken. */
static inline struct link_frame *end_take(struct end *x, int timeout_ms)
{
	void *f;
	return queue_pop(&x->box, &f, timeout_ms) == QUEUE_OK ? f : NULL;
}

static inline void end_close(struct end *x)
{
	struct link_frame *f;
	link_close(x->l);
	while ((f = end_take(x, 0)) != NULL)
		link_done(x->l, f);
	link_free(x->l);
	queue_release(&x->box);
	pthread_mutex_destroy(&x->lock);
	pthread_cond_destroy(&x->changed);
}

/* Waits until the link has gone down by itself. */
static inline struct err end_wait_down(struct end *x)
{
	pthread_mutex_lock(&x->lock);
	while (x->downs == 0)
		pthread_cond_wait(&x->changed, &x->lock);
	struct err why = x->why;
	pthread_mutex_unlock(&x->lock);
	return why;
}

static inline int end_downs(struct end *x)
{
	pthread_mutex_lock(&x->lock);
	int n = x->downs;
	pthread_mutex_unlock(&x->lock);
	return n;
}

/* A pair of connected sockets with small buffers. */
static inline bool socket_pair(int s[2])
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) < 0)
		return false;
	int bytes = SOCKET_BYTES;
	for (int i = 0; i < 2; i++) {
		setsockopt(s[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
		setsockopt(s[i], SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
	}
	return true;
}

/* Writes all of it; false when the other end is gone. */
static inline bool raw_write(int fd, const void *p, size_t n)
{
	while (n) {
		ssize_t w = send(fd, p, n, MSG_NOSIGNAL);
		if (w <= 0)
			return false;
		p = (const uint8_t *)p + w;
		n -= (size_t)w;
	}
	return true;
}

static inline bool raw_frame(int fd, uint8_t type, const void *p, size_t n)
{
	uint8_t header[FRAME_HEADER_BYTES];
	frame_header_encode(header, type, (uint32_t)n);
	return raw_write(fd, header, sizeof header) && raw_write(fd, p, n);
}

static inline bool raw_read(int fd, void *p, size_t n)
{
	while (n) {
		ssize_t r = recv(fd, p, n, 0);
		if (r <= 0)
			return false;
		p = (uint8_t *)p + r;
		n -= (size_t)r;
	}
	return true;
}

#endif
