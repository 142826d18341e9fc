/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The embedded SSH server: from an accepted socket to a transport, and nothing but that.
 *
 * Public keys are the only way in. One session channel, one exec request whose first words are
 * "scribe-mover receive" or "scribe-mover send"; pty, shell, subsystems, environment, X11, agents,
 * forwarding and further channels are refused. No configuration outside struct ssh_server_config is
 * read. Everything before the exec request is bounded in time, bytes and attempts.
 */
#ifndef SCRIBE_SSHSERVER_H
#define SCRIBE_SSHSERVER_H

#include <stdint.h>

#include "err.h"
#include "sshclient.h"
#include "transport.h"

enum {
	SSH_SERVER_DEADLINE_MS = 30000,
	SSH_AUTH_ATTEMPTS = 3,        /* failed ones, then the connection is dropped */
	SSH_AUTHKEYS_MAX = 1024,      /* keys in one authorized_keys file */
	SSH_AUTHKEYS_BYTES = 1 << 20, /* size of that file */
	SSH_COMMAND_MAX = 2048,
	SSH_USER_MAX = 128,
};

/* Strings are borrowed and must outlive the struct ssh_server made from them. */
struct ssh_server_config {
	const char *host_key;        /* private key file; its own .pub is not needed */
	const char *authorized_keys; /* OpenSSH authorized_keys file */
	const char *user;            /* the only user name let in; NULL = any */
	const char *ciphers;         /* comma list, NULL = SSH_CIPHERS_DEFAULT */
	int deadline_ms;             /* from accept to exec; 0 = SSH_SERVER_DEADLINE_MS */
	uint64_t rekey_bytes;        /* as in struct ssh_dial */
	int socket_buffer;           /* as in struct ssh_dial */
	void (*warn)(void *arg,
		     const char *line); /* lines of the key file that are not used; or NULL */
	void *warn_arg;
};

struct ssh_server;

/*
 * Reads and checks the keys. NULL with *e: ERR_USAGE for a file that is missing, too open, too
 * large or without a usable key. The result is used by one thread at a time, or by forked children;
 * it outlives the transports made with it.
 */
struct ssh_server *ssh_server_new(const struct ssh_server_config *cfg, struct err *e);
void ssh_server_free(struct ssh_server *s);

/* Reads authorized_keys again (a child may do so before each session). On error the old keys stay.
 */
int ssh_server_reload_keys(struct ssh_server *s, struct err *e);

/* SHA256 fingerprint of the host key, as "SHA256:...". Lives as long as s. */
const char *ssh_server_fingerprint(const struct ssh_server *s);

/* Who got in, and what was asked for. The command's options are for the caller to parse; it holds
 * printable ASCII only. */
struct ssh_session_info {
	char command[SSH_COMMAND_MAX];
	char user[SSH_USER_MAX]; /* escaped */
	char fingerprint[SSH_FINGERPRINT_MAX];
	char key_comment[128]; /* of the authorized_keys line, escaped */
};

/*
 * Serves one connection up to an accepted exec request. Takes fd in every case. `authenticated`
 * (may be NULL) is called once, as soon as the peer has proven its key.
 * NULL with *e: ERR_TIMEOUT (deadline), ERR_AUTH (no accepted key), ERR_CONNECT (peer went away,
 * or closed it without asking for anything), ERR_PROTOCOL (not SSH, or something we refuse).
 */
struct transport *ssh_server_session(struct ssh_server *s, int fd, void (*authenticated)(void *arg),
				     void *arg, struct ssh_session_info *info, struct err *e);

/*
 * Sends text to the peer's stderr; cut to what fits without waiting. Only for transports of
 * ssh_server_session().
 */
void ssh_transport_send_stderr(struct transport *t, const char *text);

/*
 * Ends the stream with an exit status, closes the channel and waits for the peer to leave, all in
 * at most timeout_ms. Nothing can be read or written afterwards. Use it in place of
 * t->ops->shutdown on the server side.
 */
void ssh_transport_send_exit(struct transport *t, int status, int timeout_ms);

#endif
