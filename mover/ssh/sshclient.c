/* SPDX-License-Identifier: Apache-2.0 */
#include "sshclient.h"

#include <errno.h>
#include <libssh/callbacks.h>
#include <libssh/libssh.h>
#include <libssh/server.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "netdial.h"
#include "sshconn.h"
#include "sshkeys.h"
#include "text.h"

/* A dial under way. */
struct attempt {
	const struct ssh_dial *dial;
	struct sshconn *conn;
	ssh_key identity;
	ssh_key pinned; /* NULL: known_hosts decides */
	int64_t deadline;
	int cancel_fd;
	char where[TEXT_ESCAPED_MAX]; /* host and port, for messages */
};

static int check_dial(const struct ssh_dial *d, struct err *e)
{
	if (!d->host || !*d->host)
		return err_set(e, ERR_USAGE, "no host to connect to");
	if (!d->user || !*d->user)
		return err_set(e, ERR_USAGE, "no user name to log in with");
	if (!d->identity || !*d->identity)
		return err_set(e, ERR_USAGE, "no identity (private key file) to log in with");
	if (!d->pinned_key && !d->known_hosts)
		return err_set(
			e, ERR_USAGE,
			"the server's public key must be pinned: name its file, or a known_hosts "
			"file");
	if (!d->command || !*d->command)
		return err_set(e, ERR_USAGE, "no remote command");
	return 0;
}

static int load_keys(struct attempt *a, struct err *e)
{
	a->identity = sshkeys_load_private(a->dial->identity, "identity", e);
	if (!a->identity)
		return -1;
	if (!a->dial->pinned_key) {
		/* libssh takes a missing file for an empty one; that would blame the server. */
		CLEANUP_BUF struct buf text = {0};
		return sshkeys_read_file(a->dial->known_hosts, "known hosts file", SSHKEYS_SHARED,
					 16 << 20, &text, e);
	}
	a->pinned = sshkeys_load_public(a->dial->pinned_key, "known host key", e);
	return a->pinned ? 0 : -1;
}

/* libssh expands %-sequences in file names. */
static char *escape_percent(const char *path)
{
	char *out = mem_alloc(strlen(path) + 1, 2);
	char *p = out;
	for (; *path; path++) {
		if (*path == '%')
			*p++ = '%';
		*p++ = *path;
	}
	return out;
}

static int set_options(struct attempt *a, struct err *e)
{
	const struct ssh_dial *d = a->dial;
	ssh_session s = a->conn->session;
	unsigned port = d->port ? d->port : 22;
	CLEANUP_FREE char *known =
		a->pinned ? mem_strdup("/dev/null") : escape_percent(d->known_hosts);
	const char *algorithms =
		a->pinned ? sshkeys_host_algorithms(a->pinned) : SSHKEYS_HOST_ALGORITHMS;
	if (sshconn_options(a->conn, d->ciphers, d->rekey_bytes, e) < 0)
		return -1;
	/* The name only matters for looking it up in known_hosts. */
	if (ssh_options_set(s, SSH_OPTIONS_HOST, d->host) < 0 &&
	    (!a->pinned || ssh_options_set(s, SSH_OPTIONS_HOST, "pinned") < 0))
		return err_set(e, ERR_USAGE, "%s: not a host name", a->where);
	if (ssh_options_set(s, SSH_OPTIONS_PORT, &port) < 0 ||
	    ssh_options_set(s, SSH_OPTIONS_USER, d->user) < 0 ||
	    ssh_options_set(s, SSH_OPTIONS_SSH_DIR, "/nonexistent") < 0 ||
	    ssh_options_set(s, SSH_OPTIONS_KNOWNHOSTS, known) < 0 ||
	    ssh_options_set(s, SSH_OPTIONS_GLOBAL_KNOWNHOSTS, "/dev/null") < 0 ||
	    ssh_options_set(s, SSH_OPTIONS_HOSTKEYS, algorithms) < 0) {
		char text[TEXT_ESCAPED_MAX];
		return err_set(e, ERR_FAILURE, "libssh refuses an option: %s",
			       sshconn_error(a->conn, text, sizeof text));
	}
	int fd = sshconn_dup_fd(a->conn, e);
	if (fd < 0)
		return -1;
	if (ssh_options_set(s, SSH_OPTIONS_FD, &fd) < 0)
		return err_set(e, ERR_FAILURE, "libssh refuses a socket");
	return 0;
}

/* Why a step before the transport was ready failed. */
static int step_failed(struct attempt *a, const char *step, struct err *e)
{
	bool spoke = ssh_get_serverbanner(a->conn->session) != NULL;
	return sshconn_failed(a->conn, step, a->where, spoke, e);
}

/* Waits for the next thing to happen in a step. */
static int wait_step(struct attempt *a, const char *step, struct err *e)
{
	if (sshconn_wait(a->conn, a->deadline, a->cancel_fd, e) < 0)
		return err_wrap(e, "%s with %s", step, a->where);
	return 0;
}

static int handshake(struct attempt *a, struct err *e)
{
	static const char step[] = "SSH handshake";
	int rc;
	while ((rc = ssh_connect(a->conn->session)) == SSH_AGAIN)
		if (wait_step(a, step, e) < 0)
			return -1;
	return rc == SSH_OK ? 0 : step_failed(a, step, e);
}

static int check_pinned(struct attempt *a, ssh_key key, struct err *e)
{
	if (ssh_key_cmp(key, a->pinned, SSH_KEY_CMP_PUBLIC) == 0)
		return 0;
	char found[SSH_FINGERPRINT_MAX], wanted[SSH_FINGERPRINT_MAX];
	sshkeys_fingerprint(key, found, sizeof found);
	sshkeys_fingerprint(a->pinned, wanted, sizeof wanted);
	return err_set(e, ERR_AUTH, "%s has the host key %s, but %s is pinned", a->where, found,
		       wanted);
}

static int check_known(struct attempt *a, ssh_key key, struct err *e)
{
	char found[SSH_FINGERPRINT_MAX];
	sshkeys_fingerprint(key, found, sizeof found);
	switch (ssh_session_is_known_server(a->conn->session)) {
	case SSH_KNOWN_HOSTS_OK:
		return 0;
	case SSH_KNOWN_HOSTS_CHANGED:
		return err_set(e, ERR_AUTH,
			       "%s has the host key %s; the known hosts file has another", a->where,
			       found);
	default:
		return err_set(e, ERR_AUTH,
			       "%s is not in the known hosts file with its host key %s", a->where,
			       found);
	}
}

/* Before anything about the user is sent. */
static int check_host_key(struct attempt *a, struct err *e)
{
	CLEANUP_SSH_KEY ssh_key key = NULL;
	if (ssh_get_server_publickey(a->conn->session, &key) != SSH_OK)
		return step_failed(a, "reading the host key", e);
	const char *why = sshkeys_refusal(key);
	if (why)
		return err_set(e, ERR_AUTH, "the host key of %s: %s", a->where, why);
	return a->pinned ? check_pinned(a, key, e) : check_known(a, key, e);
}

static int authenticate(struct attempt *a, struct err *e)
{
	static const char step[] = "authentication";
	int rc;
	/*
	 * Asked for first, since its answer comes behind the server's list of signature algorithms:
	 * without that list libssh would sign with RSA and SHA-1, and refuse itself.
	 */
	while ((rc = ssh_service_request(a->conn->session, "ssh-userauth")) == SSH_AGAIN)
		if (wait_step(a, step, e) < 0)
			return -1;
	if (rc != SSH_OK)
		return step_failed(a, step, e);
	while ((rc = ssh_userauth_publickey(a->conn->session, NULL, a->identity)) == SSH_AUTH_AGAIN)
		if (wait_step(a, step, e) < 0)
			return -1;
	char fingerprint[SSH_FINGERPRINT_MAX];
	char user[TEXT_ESCAPED_MAX];
	sshkeys_fingerprint(a->identity, fingerprint, sizeof fingerprint);
	text_escape(user, sizeof user, a->dial->user, strlen(a->dial->user));
	if (rc == SSH_AUTH_SUCCESS)
		return 0;
	if (rc == SSH_AUTH_DENIED)
		return err_set(e, ERR_AUTH, "%s refuses the key %s for user %s", a->where,
			       fingerprint, user);
	if (rc == SSH_AUTH_PARTIAL)
		return err_set(e, ERR_AUTH, "%s wants more than the key %s for user %s", a->where,
			       fingerprint, user);
	return step_failed(a, step, e);
}

static int open_channel(struct attempt *a, struct err *e)
{
	static const char step[] = "opening a channel";
	ssh_channel channel = ssh_channel_new(a->conn->session);
	if (!channel || sshconn_attach(a->conn, channel) < 0)
		return step_failed(a, step, e);
	int rc;
	while ((rc = ssh_channel_open_session(channel)) == SSH_AGAIN)
		if (wait_step(a, step, e) < 0)
			return -1;
	if (rc != SSH_OK)
		return step_failed(a, step, e);
	while ((rc = ssh_channel_request_exec(channel, a->dial->command)) == SSH_AGAIN)
		if (wait_step(a, "starting the remote command", e) < 0)
			return -1;
	if (rc == SSH_OK)
		return 0;
	if (net_is_closed(a->conn->fd))
		return step_failed(a, "starting the remote command", e);
	char command[TEXT_ESCAPED_MAX];
	text_escape(command, sizeof command, a->dial->command, strlen(a->dial->command));
	return err_set(e, ERR_PROTOCOL, "%s refuses to run: %s", a->where, command);
}

/* A server may not open channels here, nor ask for anything. */
static int refuse_message(ssh_session session, ssh_message message, void *arg)
{
	(void)session;
	(void)message;
	(void)arg;
	return 1;
}

static int connect_all(struct attempt *a, struct err *e)
{
	const struct ssh_dial *d = a->dial;
	char peer[NET_PEER_MAX];
	int fd = net_dial(d->host, d->port ? d->port : 22, a->deadline, a->cancel_fd,
			  d->socket_buffer, peer, e);
	if (fd < 0)
		return -1;
	a->conn = sshconn_new(fd, d->socket_buffer, e);
	if (!a->conn || set_options(a, e) < 0)
		return -1;
	ssh_set_message_callback(a->conn->session, refuse_message, NULL);
	if (handshake(a, e) < 0 || check_host_key(a, e) < 0 || authenticate(a, e) < 0 ||
	    open_channel(a, e) < 0)
		return -1;
	return sshconn_ready(a->conn, e);
}

struct transport *ssh_dial(const struct ssh_dial *dial, struct err *e)
{
	struct attempt a = {.dial = dial};
	a.deadline = net_now_ms() + (dial->timeout_ms > 0 ? dial->timeout_ms : SSH_DIAL_TIMEOUT_MS);
	a.cancel_fd = dial->cancel_fd > 0 ? dial->cancel_fd : -1;
	if (check_dial(dial, e) < 0)
		return NULL;
	char host[TEXT_ESCAPED_MAX - 16];
	text_escape(host, sizeof host, dial->host, strlen(dial->host));
	snprintf(a.where, sizeof a.where, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host,
		 dial->port ? dial->port : 22u);
	int rc = load_keys(&a, e);
	if (rc == 0)
		rc = connect_all(&a, e);
	ssh_key_free(a.identity);
	ssh_key_free(a.pinned);
	if (rc == 0)
		return &a.conn->base;
	sshconn_free(a.conn);
	return NULL;
}

bool ssh_transport_exit(struct transport *t, int timeout_ms, struct ssh_exit *x)
{
	struct sshconn *c = sshconn_of(t);
	int64_t deadline = net_now_ms() + timeout_ms;
	c->discard = true;
	c->unread_len = 0;
	sshconn_pump(c);
	while (!c->exit.known && !c->closed && !c->broken && net_now_ms() < deadline) {
		if (sshconn_wait(c, deadline, -1, NULL) < 0)
			break;
		sshconn_pump(c);
	}
	*x = c->exit;
	return x->known;
}

void ssh_transport_on_stderr(struct transport *t, ssh_line_fn *fn, void *arg)
{
	linecap_receiver(&sshconn_of(t)->errors, fn, arg);
}

const char *ssh_transport_stderr(struct transport *t)
{
	return linecap_text(&sshconn_of(t)->errors);
}

const char *ssh_transport_cipher(const struct transport *t)
{
	return ((const struct sshconn *)(const void *)t)->cipher;
}
