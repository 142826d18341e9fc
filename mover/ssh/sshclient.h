/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dialling an SSH server: one call from a host name to a transport whose remote command runs.
 *
 * Nothing outside struct ssh_dial is consulted: no agent, no ~/.ssh, no /etc/ssh, no $HOME, no
 * prompt. The server's host key is compared before anything of the user is sent. Only AES-GCM
 * ciphers are offered unless others are asked for by name.
 *
 * One transport belongs to one thread; different transports may live in different threads. The
 * process must ignore SIGPIPE.
 */
#ifndef SCRIBE_SSHCLIENT_H
#define SCRIBE_SSHCLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "transport.h"

#define SSH_CIPHERS_DEFAULT "aes128-gcm@openssh.com,aes256-gcm@openssh.com"

enum { SSH_DIAL_TIMEOUT_MS = 30000, SSH_STDERR_KEPT = 4096, SSH_FINGERPRINT_MAX = 64 };

/* What to dial. Strings are borrowed for the call, except where said. Zero or NULL = the default.
 */
struct ssh_dial {
	const char *host; /* name or address; an IPv6 address without brackets */
	uint16_t port;    /* 0 = 22 */
	const char *user;
	const char *identity;   /* private key file, PEM or OpenSSH format, without a passphrase */
	const char *pinned_key; /* public key file of the server; this or known_hosts is required */
	const char *known_hosts; /* OpenSSH known_hosts file, used when pinned_key is NULL */
	const char *ciphers;     /* comma list, NULL = SSH_CIPHERS_DEFAULT */
	const char *command;     /* what to exec there, e.g. "scribe-mover receive" */
	int timeout_ms;          /* whole dial: DNS, connect, key exchange, auth, exec; 0 = 30 s */
	int cancel_fd;           /* readable = give up; 0 or less = none */
	uint64_t rekey_bytes; /* new session keys after so many bytes; 0 = the cipher's own limit */
	int socket_buffer;    /* SO_SNDBUF and SO_RCVBUF in bytes; 0 = the kernel's auto tuning */
};

/*
 * Dials. NULL with *e set:
 *   ERR_USAGE     a file is missing, readable by others, not a key, or has a passphrase; bad option
 *   ERR_CONNECT   no address, refused, unreachable, closed (e->sys = errno where there is one)
 *   ERR_TIMEOUT   the deadline passed
 *   ERR_AUTH      another host key than the pinned one, or the user key is refused
 *   ERR_PROTOCOL  not SSH, no common algorithm, or the command is refused
 *   ERR_FAILURE   cancelled (e->sys = ECANCELED)
 */
struct transport *ssh_dial(const struct ssh_dial *dial, struct err *e);

/* How the remote command ended. */
struct ssh_exit {
	bool known;      /* false: the connection ended without a word about it */
	int status;      /* exit status, or -1 if a signal ended it */
	char signal[16]; /* "TERM", "KILL", ... or "" */
};

/*
 * Waits at most timeout_ms for the remote command's end, after the stream's end was read. Input
 * that comes meanwhile is dropped. Only for transports of ssh_dial(). Returns x->known.
 */
bool ssh_transport_exit(struct transport *t, int timeout_ms, struct ssh_exit *x);

/* Called with each complete line the remote side writes to its stderr: escaped, without newline. */
typedef void ssh_line_fn(void *arg, const char *line);

/* Sets who gets the remote stderr's lines. Lines that came earlier are delivered at once. */
void ssh_transport_on_stderr(struct transport *t, ssh_line_fn *fn, void *arg);

/* The last SSH_STDERR_KEPT bytes of the remote stderr, escaped line by line; "" if none. Valid
 * until the next call on t. */
const char *ssh_transport_stderr(struct transport *t);

/* The cipher in use, such as "aes128-gcm@openssh.com". Lives as long as t. */
const char *ssh_transport_cipher(const struct transport *t);

#endif
