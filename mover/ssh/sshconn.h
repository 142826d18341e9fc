/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One SSH connection as a transport, for both sides. Internal to this room.
 *
 * libssh is driven without blocking, by one thread. What it needs to behave:
 *  - It sets its socket to blocking while it connects; O_NONBLOCK is set again behind its back.
 *  - Its out buffer grows without limit in non-blocking mode: no new data while it is not empty.
 *  - It loses unread data once it has seen the connection's end: the data callback takes all at
 * once.
 *  - Its receive window is 1.28 MB unless a read asks for more: see sshconn_pump().
 */
#ifndef SCRIBE_SSHCONN_H
#define SCRIBE_SSHCONN_H

#include <libssh/callbacks.h>
#include <libssh/libssh.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "linecap.h"
#include "sshclient.h"
#include "sshkeys.h"
#include "transport.h"

enum {
	SSHCONN_WRITE_MAX = 256 << 10, /* bytes handed to libssh at once */
	SSHCONN_WINDOW_STEP = 4 << 20, /* the window is raised after so many bytes */
	SSHCONN_UNREAD_MAX = 16 << 20, /* beyond it the socket is left alone: TCP pushes back */
	SSHCONN_REPLIES_MAX = 2 << 20, /* unsent bytes caused by the peer's own requests */
};

struct sshconn {
	struct transport base;
	ssh_session session;
	ssh_channel channel;
	struct ssh_channel_callbacks_struct callbacks;
	struct ssh_counter_struct socket_counter;
	struct ssh_counter_struct packet_counter;
	int fd;        /* our duplicate: libssh closes its own whenever it likes, or never */
	int lib_fd;    /* the number libssh was given, -1 = none */
	int wake;      /* an eventfd that is always readable, polled while there is unread data */
	bool eof;      /* the peer sent everything */
	bool eof_told; /* and the reader knows */
	bool closed;   /* the peer closed the channel */
	bool broken;   /* no further use; why says what happened */
	bool farewell; /* the disconnect message has been sent */
	bool ended;    /* our own end of stream was sent */
	bool stalled;  /* libssh took nothing although the window is open: keys are being exchanged
			*/
	bool discard;  /* incoming data is dropped */
	const char *why;

	uint8_t *dest; /* where the callback may put data: the reader's buffer */
	size_t dest_cap;
	size_t dest_len;
	uint8_t *unread; /* what did not fit there */
	size_t unread_cap;
	size_t unread_at;
	size_t unread_len;
	uint8_t *window;       /* TRANSPORT_READ_HINT bytes of address space for the window trick */
	uint64_t since_window; /* bytes since the window was last raised */
	uint64_t owed;         /* bytes written during a key exchange that libssh has put aside */
	uint64_t owed_since;   /* packet_counter.out_bytes then */
	uint64_t sent_flushed; /* sent_total() when libssh's out buffer was last empty */

	struct linecap errors; /* the remote stderr */
	struct ssh_exit exit;
	char cipher[64];

	void *extra; /* owned: what the server's callbacks need; freed after the session */
};

/* Makes a connection object around a connected socket and owns fd from now on, error or not. */
struct sshconn *sshconn_new(int fd, int socket_buffer, struct err *e);
void sshconn_free(struct sshconn *c);
/* A duplicate of the socket that libssh will own; -1 with *e. */
int sshconn_dup_fd(struct sshconn *c, struct err *e);

/* Sets the options that both sides share: algorithms, limits, no configuration files. */
int sshconn_options(struct sshconn *c, const char *ciphers, uint64_t rekey_bytes, struct err *e);

/* Makes channel the stream of this transport. Before any data can arrive. */
int sshconn_attach(struct sshconn *c, ssh_channel channel);
/* Ends the handshake: counters, non-blocking mode, first large window. -1 with *e. */
int sshconn_ready(struct sshconn *c, struct err *e);

/* Lets libssh do what it can now without waiting; nothing while SSHCONN_UNREAD_MAX bytes are
 * unread. */
void sshconn_pump(struct sshconn *c);
/* True while libssh holds bytes that the kernel has not taken. */
bool sshconn_has_unsent(struct sshconn *c);
/* Waits for the peer during a handshake. 0, or -1 with *e. */
int sshconn_wait(struct sshconn *c, int64_t deadline_ms, int cancel_fd, struct err *e);
/* Pumps until everything is sent and, on TCP, acknowledged; or until the deadline. */
void sshconn_drain(struct sshconn *c, int64_t deadline_ms);

/* The same, then waits for the peer to leave first, dropping its bytes: closing with unread bytes
 * resets the connection, and OpenSSH then forgets what it has not read. */
void sshconn_linger(struct sshconn *c, int64_t deadline_ms);

/* libssh's last error, escaped into out. */
const char *sshconn_error(struct sshconn *c, char *out, size_t cap);
/* Sets *e for a step of the handshake that libssh gave up: ERR_CONNECT if the peer went away, else
 * ERR_PROTOCOL. spoke: the peer's SSH banner was seen. Returns -1. */
int sshconn_failed(struct sshconn *c, const char *step, const char *who, bool spoke, struct err *e);

struct sshconn *sshconn_of(struct transport *t);

#endif
