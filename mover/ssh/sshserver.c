/* SPDX-License-Identifier: Apache-2.0 */
#include "sshserver.h"

#include <ctype.h>
#include <libssh/callbacks.h>
#include <libssh/libssh.h>
#include <libssh/server.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "authkeys.h"
#include "mem.h"
#include "netdial.h"
#include "sshconn.h"
#include "sshkeys.h"
#include "text.h"

enum {
	REQUESTS_MAX = 24,               /* authentication requests of any kind */
	HANDSHAKE_BYTES_MAX = 256 << 10, /* received before the exec request is accepted */
};

struct ssh_server {
	struct ssh_server_config cfg;
	ssh_bind bind; /* owns the host key */
	struct authkeys keys;
	char fingerprint[SSH_FINGERPRINT_MAX];
};

/* Where one connection stands. What libssh thinks of it grants nothing. */
struct entry {
	struct ssh_server *server;
	struct sshconn *conn;
	struct ssh_session_info *info;
	struct ssh_server_callbacks_struct callbacks;
	unsigned requests;
	unsigned failed;
	bool authenticated; /* a valid signature of an authorized key was seen */
	bool opened;        /* the one channel exists */
	bool accepted;      /* the one exec request was granted */
	char refused[96];   /* what was asked for last and not granted */
};

/* Keys */

static int set_bind_options(struct ssh_server *s, ssh_key host_key, struct err *e)
{
	static const bool off = false;
	static const int rsa_min = SSHKEYS_RSA_BITS_MIN;
	const char *ciphers =
		s->cfg.ciphers && *s->cfg.ciphers ? s->cfg.ciphers : SSH_CIPHERS_DEFAULT;
	char text[TEXT_ESCAPED_MAX];
	if (ssh_bind_options_set(s->bind, SSH_BIND_OPTIONS_PROCESS_CONFIG, &off) < 0 ||
	    ssh_bind_options_set(s->bind, SSH_BIND_OPTIONS_RSA_MIN_SIZE, &rsa_min) < 0 ||
	    ssh_bind_options_set(s->bind, SSH_BIND_OPTIONS_KEY_EXCHANGE, SSHKEYS_KEX) < 0 ||
	    ssh_bind_options_set(s->bind, SSH_BIND_OPTIONS_HMAC_C_S, SSHKEYS_HMAC) < 0 ||
	    ssh_bind_options_set(s->bind, SSH_BIND_OPTIONS_HMAC_S_C, SSHKEYS_HMAC) < 0 ||
	    ssh_bind_options_set(s->bind, SSH_BIND_OPTIONS_PUBKEY_ACCEPTED_KEY_TYPES,
				 SSHKEYS_USER_ALGORITHMS) < 0 ||
	    ssh_bind_options_set(s->bind, SSH_BIND_OPTIONS_HOSTKEY_ALGORITHMS,
				 sshkeys_host_algorithms(host_key)) < 0)
		return err_set(e, ERR_FAILURE, "libssh refuses an option: %s",
			       ssh_get_error(s->bind));
	if (ssh_bind_options_set(s->bind, SSH_BIND_OPTIONS_CIPHERS_C_S, ciphers) < 0 ||
	    ssh_bind_options_set(s->bind, SSH_BIND_OPTIONS_CIPHERS_S_C, ciphers) < 0)
		return err_set(e, ERR_USAGE, "--cipher: no cipher of this list is known: %s",
			       text_escape(text, sizeof text, ciphers, strlen(ciphers)));
	if (ssh_bind_options_set(s->bind, SSH_BIND_OPTIONS_IMPORT_KEY, host_key) < 0)
		return err_set(e, ERR_USAGE, "libssh refuses the host key: %s",
			       ssh_get_error(s->bind));
	return 0;
}

static int load_host_key(struct ssh_server *s, struct err *e)
{
	CLEANUP_SSH_KEY ssh_key key = sshkeys_load_private(s->cfg.host_key, "host key", e);
	if (!key)
		return -1;
	sshkeys_fingerprint(key, s->fingerprint, sizeof s->fingerprint);
	if (set_bind_options(s, key, e) < 0)
		return -1;
	key = NULL; /* the bind owns it now */
	return 0;
}

struct ssh_server *ssh_server_new(const struct ssh_server_config *cfg, struct err *e)
{
	if (!cfg->host_key || !cfg->authorized_keys) {
		err_set(e, ERR_USAGE, "a server needs a host key and an authorized keys file");
		return NULL;
	}
	struct ssh_server *s = mem_alloc(1, sizeof *s);
	s->cfg = *cfg;
	s->bind = ssh_bind_new();
	int rc = s->bind ? 0 : err_set(e, ERR_FAILURE, "libssh cannot start");
	if (rc == 0)
		rc = load_host_key(s, e);
	if (rc == 0)
		rc = ssh_server_reload_keys(s, e);
	if (rc == 0)
		return s;
	ssh_server_free(s);
	return NULL;
}

int ssh_server_reload_keys(struct ssh_server *s, struct err *e)
{
	struct authkeys keys;
	if (authkeys_load(s->cfg.authorized_keys, s->cfg.warn, s->cfg.warn_arg, &keys, e) < 0)
		return -1;
	authkeys_release(&s->keys);
	s->keys = keys;
	return 0;
}

void ssh_server_free(struct ssh_server *s)
{
	if (!s)
		return;
	authkeys_release(&s->keys);
	ssh_bind_free(s->bind);
	free(s);
}

const char *ssh_server_fingerprint(const struct ssh_server *s)
{
	return s->fingerprint;
}

/* Authentication */

/* libssh answers requests that were sent ahead all in one go, so every one asks this. */
static bool is_spent(const struct entry *n)
{
	return n->failed >= SSH_AUTH_ATTEMPTS || n->requests > REQUESTS_MAX;
}

static int on_pubkey(ssh_session session, const char *user, ssh_key key, char signature_state,
		     void *userdata)
{
	(void)session;
	struct entry *n = userdata;
	const char *wanted = n->server->cfg.user;
	n->requests++;
	const struct authkey *known = NULL;
	if (!n->authenticated && !is_spent(n) && (!wanted || strcmp(user, wanted) == 0))
		known = authkeys_find(&n->server->keys, key);
	if (known && signature_state == SSH_PUBLICKEY_STATE_NONE)
		return SSH_AUTH_SUCCESS; /* such a key may sign; grants nothing yet */
	if (!known || signature_state != SSH_PUBLICKEY_STATE_VALID) {
		n->failed++;
		return SSH_AUTH_DENIED;
	}
	n->authenticated = true;
	text_escape(n->info->user, sizeof n->info->user, user, strlen(user));
	sshkeys_fingerprint(key, n->info->fingerprint, sizeof n->info->fingerprint);
	snprintf(n->info->key_comment, sizeof n->info->key_comment, "%s", known->comment);
	return SSH_AUTH_SUCCESS;
}

static int on_none(ssh_session session, const char *user, void *userdata)
{
	(void)session;
	(void)user;
	struct entry *n = userdata;
	n->requests++;
	return SSH_AUTH_DENIED;
}

static int on_password(ssh_session session, const char *user, const char *password, void *userdata)
{
	(void)password;
	struct entry *n = userdata;
	n->failed++;
	return on_none(session, user, userdata);
}

/* Debian's libssh enters its GSSAPI code for whoever asks, unless it is told that no method fits.
 */
static ssh_string on_gssapi(ssh_session session, const char *user, int count, ssh_string *oids,
			    void *userdata)
{
	(void)session;
	(void)user;
	(void)count;
	(void)oids;
	struct entry *n = userdata;
	n->requests++;
	n->failed++;
	return NULL;
}

static int on_service(ssh_session session, const char *service, void *userdata)
{
	(void)session;
	struct entry *n = userdata;
	n->requests++;
	return strcmp(service, "ssh-userauth") == 0 ? 0 : -1;
}

/* The channel and its one request */

static void refused(struct entry *n, const char *what, const char *detail)
{
	char text[64];
	text_escape(text, sizeof text, detail, strlen(detail));
	snprintf(n->refused, sizeof n->refused, "%s%s", what, text);
}

/* "scribe-mover receive" or "scribe-mover send", alone or with more words, in printable ASCII. */
static bool is_our_command(const char *command)
{
	static const char program[] = "scribe-mover ";
	if (strlen(command) >= SSH_COMMAND_MAX)
		return false;
	for (const char *p = command; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			return false;
	if (strncmp(command, program, sizeof program - 1) != 0)
		return false;
	const char *verb = command + sizeof program - 1;
	size_t len = strcspn(verb, " ");
	return (len == 7 && memcmp(verb, "receive", 7) == 0) ||
	       (len == 4 && memcmp(verb, "send", 4) == 0);
}

static int on_exec(ssh_session session, ssh_channel channel, const char *command, void *userdata)
{
	(void)session;
	/* The channel's callbacks share one userdata, the connection. */
	struct sshconn *c = userdata;
	struct entry *n = c->extra;
	if (!n->authenticated || channel != c->channel || n->accepted || !is_our_command(command)) {
		refused(n, "to run: ", command);
		return 1;
	}
	n->accepted = true;
	memcpy(n->info->command, command, strlen(command) + 1);
	return 0;
}

static int on_pty(ssh_session session, ssh_channel channel, const char *term, int x, int y, int px,
		  int py, void *userdata)
{
	(void)session;
	(void)channel;
	(void)term;
	(void)x;
	(void)y;
	(void)px;
	(void)py;
	struct sshconn *c = userdata;
	refused(c->extra, "a terminal", "");
	return -1;
}

static int on_shell(ssh_session session, ssh_channel channel, void *userdata)
{
	(void)session;
	(void)channel;
	struct sshconn *c = userdata;
	refused(c->extra, "a shell", "");
	return 1;
}

static int on_subsystem(ssh_session session, ssh_channel channel, const char *name, void *userdata)
{
	(void)session;
	(void)channel;
	struct sshconn *c = userdata;
	refused(c->extra, "the subsystem ", name);
	return 1;
}

static ssh_channel on_channel(ssh_session session, void *userdata)
{
	struct entry *n = userdata;
	if (!n->authenticated || n->opened) {
		refused(n, "a further channel", "");
		return NULL;
	}
	ssh_channel channel = ssh_channel_new(session);
	if (!channel)
		return NULL;
	struct ssh_channel_callbacks_struct *cb = &n->conn->callbacks;
	cb->channel_exec_request_function = on_exec;
	cb->channel_pty_request_function = on_pty;
	cb->channel_shell_request_function = on_shell;
	cb->channel_subsystem_request_function = on_subsystem;
	n->opened = true;
	if (sshconn_attach(n->conn, channel) == 0)
		return channel;
	ssh_channel_free(channel);
	return NULL;
}

/* The course of one connection */

static void set_callbacks(struct entry *n)
{
	n->callbacks.userdata = n;
	n->callbacks.auth_pubkey_function = on_pubkey;
	n->callbacks.auth_none_function = on_none;
	n->callbacks.auth_password_function = on_password;
	n->callbacks.gssapi_select_oid_function = on_gssapi;
	n->callbacks.service_request_function = on_service;
	n->callbacks.channel_open_request_session_function = on_channel;
	ssh_callbacks_init(&n->callbacks);
	ssh_set_server_callbacks(n->conn->session, &n->callbacks);
	ssh_set_auth_methods(n->conn->session, SSH_AUTH_METHOD_PUBLICKEY);
}

/* Why a connection ended before it was of use. */
static int entry_failed(struct entry *n, struct err *e)
{
	struct sshconn *c = n->conn;
	if (*n->refused)
		return err_set(e, ERR_PROTOCOL, "%s asked for what is not served: %s", c->base.peer,
			       n->refused);
	if (n->failed && !n->authenticated)
		return err_set(e, ERR_AUTH, "%s: no accepted key in %u attempts", c->base.peer,
			       n->failed);
	bool spoke = ssh_get_clientbanner(c->session) != NULL;
	return sshconn_failed(c, "no request came", c->base.peer, spoke, e);
}

static int check_limits(struct entry *n, struct err *e)
{
	if (!n->authenticated && is_spent(n)) {
		sshconn_drain(n->conn, net_now_ms() + 100); /* the last refusal should arrive */
		return err_set(e, ERR_AUTH, "%s: no accepted key in %u attempts",
			       n->conn->base.peer, n->failed);
	}
	if (n->conn->socket_counter.in_bytes > HANDSHAKE_BYTES_MAX)
		return err_set(e, ERR_PROTOCOL, "%s sends too much before its request",
			       n->conn->base.peer);
	return 0;
}

static int wait_peer(struct entry *n, int64_t deadline, struct err *e)
{
	if (sshconn_wait(n->conn, deadline, -1, e) < 0)
		return err_wrap(e, "%s has not %s in time", n->conn->base.peer,
				n->authenticated ? "asked for anything" : "authenticated");
	return 0;
}

static int key_exchange(struct entry *n, int64_t deadline, struct err *e)
{
	int rc;
	while ((rc = ssh_handle_key_exchange(n->conn->session)) == SSH_AGAIN)
		if (check_limits(n, e) < 0 || wait_peer(n, deadline, e) < 0)
			return -1;
	return rc == SSH_OK ? 0 : entry_failed(n, e);
}

static int until_exec(struct entry *n, int64_t deadline, void (*authenticated)(void *arg),
		      void *arg, struct err *e)
{
	bool told = false;
	for (;;) {
		sshconn_pump(n->conn);
		if (n->authenticated && !told && authenticated)
			authenticated(arg);
		told = n->authenticated;
		if (n->accepted)
			return 0;
		if (check_limits(n, e) < 0)
			return -1;
		if (n->conn->broken || n->conn->closed)
			return entry_failed(n, e);
		if (wait_peer(n, deadline, e) < 0)
			return -1;
	}
}

static int serve(struct entry *n, int64_t deadline, void (*authenticated)(void *arg), void *arg,
		 struct err *e)
{
	struct ssh_server *s = n->server;
	if (sshconn_options(n->conn, s->cfg.ciphers, s->cfg.rekey_bytes, e) < 0)
		return -1;
	int fd = sshconn_dup_fd(n->conn, e);
	if (fd < 0)
		return -1;
	if (ssh_bind_accept_fd(s->bind, n->conn->session, fd) != SSH_OK)
		return err_set(e, ERR_FAILURE, "libssh refuses a connection: %s",
			       ssh_get_error(s->bind));
	ssh_set_blocking(n->conn->session, 0);
	set_callbacks(n);
	if (key_exchange(n, deadline, e) < 0 || until_exec(n, deadline, authenticated, arg, e) < 0)
		return -1;
	n->info = NULL; /* the caller's, only valid until here */
	return sshconn_ready(n->conn, e);
}

struct transport *ssh_server_session(struct ssh_server *s, int fd, void (*authenticated)(void *arg),
				     void *arg, struct ssh_session_info *info, struct err *e)
{
	int ms = s->cfg.deadline_ms > 0 ? s->cfg.deadline_ms : SSH_SERVER_DEADLINE_MS;
	int64_t deadline = net_now_ms() + ms;
	struct sshconn *c = sshconn_new(fd, s->cfg.socket_buffer, e);
	if (!c)
		return NULL;
	struct entry *n = mem_alloc(1, sizeof *n);
	memset(info, 0, sizeof *info);
	n->server = s;
	n->conn = c;
	n->info = info;
	c->extra = n;
	if (serve(n, deadline, authenticated, arg, e) == 0)
		return &c->base;
	sshconn_free(c);
	return NULL;
}

void ssh_transport_send_stderr(struct transport *t, const char *text)
{
	struct sshconn *c = sshconn_of(t);
	size_t n = strlen(text);
	sshconn_pump(c);
	if (c->broken || c->ended || c->closed || sshconn_has_unsent(c))
		return;
	uint32_t window = ssh_channel_window_size(c->channel);
	if (n > window)
		n = window;
	if (n > SSH_STDERR_KEPT)
		n = SSH_STDERR_KEPT;
	if (n)
		(void)ssh_channel_write_stderr(c->channel, text, (uint32_t)n);
	c->base.socket_out = c->socket_counter.out_bytes;
}

void ssh_transport_send_exit(struct transport *t, int status, int timeout_ms)
{
	struct sshconn *c = sshconn_of(t);
	if (!c->broken && !c->closed) {
		if (!c->ended)
			(void)ssh_channel_send_eof(c->channel);
		(void)ssh_channel_request_send_exit_status(c->channel, status);
		(void)ssh_channel_close(c->channel);
	}
	c->ended = true;
	sshconn_linger(c, net_now_ms() + timeout_ms);
}
