/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A duplex byte stream that one thread drives without ever blocking: an SSH channel, or a pair of
 * pipes under sshd or --rsh. The thread that owns the transport loops
 *
 *      poll(fds from t->ops->pollfds, ...) ; t->ops->pump ; read/write until 0
 *
 * All calls of one transport come from one thread.
 */
#ifndef SCRIBE_TRANSPORT_H
#define SCRIBE_TRANSPORT_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"

struct transport;

enum { TRANSPORT_POLLFDS = 2, TRANSPORT_READ_HINT = 16 << 20 };

struct transport_ops {
	/* Fills up to TRANSPORT_POLLFDS entries with fds and the events that must wake the owner,
	 * given that it wants to write (want_write). Returns their number. */
	int (*pollfds)(struct transport *t, struct pollfd *fds, bool want_write);
	/* Reads at most n bytes that are there now. > 0 bytes, 0 nothing now, -1 with *e set; the
	 * clean end of the stream is -1 with e->code ERR_CONNECT and *eof true. Also makes internal
	 * progress (key re-exchange, window updates, flushing of what was written). */
	ssize_t (*read)(struct transport *t, void *p, size_t n, bool *eof, struct err *e);
	/* Hands over at most n bytes; returns how many were taken, 0 if none can be taken now (peer
	 * window or socket full; then wait with want_write), -1 with *e. Never holds more than
	 * about one frame (256 KiB) in memory beyond what the kernel took. */
	ssize_t (*write)(struct transport *t, const void *p, size_t n, struct err *e);
	/* Tells the peer that no more bytes come; flushes for at most timeout_ms. */
	void (*shutdown)(struct transport *t, int timeout_ms);
	/* Ends the connection; the counters are final then and only free() may follow. May be NULL.
	 */
	void (*close)(struct transport *t);
	/* Closes if that was not done, and frees. */
	void (*free)(struct transport *t);
};

/* First member of each implementation's struct. The counters are bytes at the socket (encrypted,
 * for SSH, including the handshake in handshake_*), written by the owner thread only. */
struct transport {
	const struct transport_ops *ops;
	uint64_t socket_in, socket_out;       /* all bytes, handshake included */
	uint64_t handshake_in, handshake_out; /* of which before the channel was ready */
	char peer[160];                       /* "192.0.2.7:40112" or "stdin", printable */
};

/* A transport over two non-blocking-capable fds (may be the same). Takes ownership of both. */
struct transport *transport_fds(int in, int out, const char *peer);

#endif
