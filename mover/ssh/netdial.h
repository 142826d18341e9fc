/* SPDX-License-Identifier: Apache-2.0 */
/* TCP with deadlines: resolving, connecting, waiting. Times are milliseconds of CLOCK_MONOTONIC. */
#ifndef SCRIBE_NETDIAL_H
#define SCRIBE_NETDIAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "err.h"

enum { NET_PEER_MAX = 64 };

/* Milliseconds of a clock that never jumps. */
int64_t net_now_ms(void);

/*
 * Connects to host:port, trying each address in turn with its share of the time left. Returns a
 * tuned non-blocking close-on-exec socket and writes "ADDR:PORT" to peer. -1 with *e: ERR_CONNECT
 * (e->sys), ERR_TIMEOUT, or ERR_FAILURE with ECANCELED when cancel_fd (-1 = none) became readable.
 * A name is resolved on a helper thread, since the resolver knows no deadline.
 */
int net_dial(const char *host, uint16_t port, int64_t deadline_ms, int cancel_fd, int socket_buffer,
	     char peer[NET_PEER_MAX], struct err *e);

/* O_NONBLOCK, TCP_NODELAY, keep-alives and TCP_USER_TIMEOUT; socket_buffer > 0 sets both buffers.
 * What the socket's family does not know is left out. -1 with *e if it cannot be non-blocking. */
int net_tune(int fd, int socket_buffer, struct err *e);
/* O_NONBLOCK alone, verified. */
int net_set_nonblocking(int fd, struct err *e);

/* Waits until fd has one of events (0 = only the deadline counts). 0, or -1 with *e: ERR_TIMEOUT,
 * or ERR_FAILURE with ECANCELED. */
int net_wait(int fd, short events, int64_t deadline_ms, int cancel_fd, struct err *e);

/* True if the peer has closed its direction and everything before it was read. */
bool net_is_closed(int fd);

/* "192.0.2.7:40112", "[2001:db8::1]:40112" or "local". */
void net_address_text(const struct sockaddr *sa, socklen_t len, char out[NET_PEER_MAX]);
void net_peer_text(int fd, char out[NET_PEER_MAX]);

#endif
