/* SPDX-License-Identifier: Apache-2.0 */
/* The embedded server against peers that mean no good, or something else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <libssh/libssh.h>
#include <libssh/server.h>

#include "sshkeys.h"
#include "sshpairing.h"

enum { SHORT_DEADLINE_MS = 1000 };

static struct rig *rig_of(void **state)
{
	return *state;
}

static int serve_to_end(struct transport *t, const struct ssh_session_info *info, void *arg)
{
	(void)info;
	(void)arg;
	(void)drive_to_end(t);
	return 0;
}

static struct served serve(struct rig *r, int deadline_ms)
{
	struct ssh_server_config cfg = {.host_key = r->host,
					.authorized_keys = r->authorized,
					.deadline_ms = deadline_ms};
	return serve_one(r, &cfg, serve_to_end, NULL);
}

/* Raw peers */

/* Reads until the server closes. */
static void read_to_end(int fd)
{
	char buf[4096];
	while (read(fd, buf, sizeof buf) > 0)
		;
	close(fd);
}

static void a_silent_peer_is_dropped(void **state)
{
	struct served s = serve(rig_of(state), SHORT_DEADLINE_MS);
	read_to_end(connect_loopback(s.port));
	assert_int_equal(served_status(&s), ERR_TIMEOUT);
}

static void a_dripping_peer_is_dropped(void **state)
{
	struct served s = serve(rig_of(state), SHORT_DEADLINE_MS);
	int fd = connect_loopback(s.port);
	static const char banner[] =
		"SSH-2.0-Drip_1.0_with_a_long_name_that_takes_its_time_to_arrive\r\n";
	for (int i = 0; i < 200; i++) {
		if (send(fd, &banner[(size_t)i % (sizeof banner - 3)], 1, MSG_NOSIGNAL) < 0)
			break;
		usleep(50000);
	}
	read_to_end(fd);
	/* The banner itself has a limit in libssh that may be met first. */
	int status = served_status(&s);
	assert_true(status == ERR_TIMEOUT || status == ERR_PROTOCOL);
}

static void peers_of_another_kind(void **state)
{
	static const char binary[] =
		"SSH-2.0-x\r\n\377\377\377\377garbage instead of a key exchange";
	static const char *const said[] = {
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"\026\003\001\002\r\n\r\n",
		binary,
		"SSH-2.0-x\r\nabc",
	};
	for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) {
		struct served s = serve(rig_of(state), 5000);
		int fd = connect_loopback(s.port);
		assert_true(send(fd, said[i], strlen(said[i]), MSG_NOSIGNAL) > 0);
		shutdown(fd, SHUT_WR);
		read_to_end(fd);
		int status = served_status(&s);
		assert_true(status == ERR_PROTOCOL || status == ERR_CONNECT);
	}
}

static void a_flood_before_the_key_exchange(void **state)
{
	struct served s = serve(rig_of(state), 20000);
	int fd = connect_loopback(s.port);
	/* Valid packets without an end: SSH_MSG_IGNORE of 1,000 bytes. */
	static uint8_t packet[1024];
	packet[2] = 1020 >> 8;
	packet[3] = 1020 & 255;
	packet[4] = 4;
	packet[5] = 2;
	assert_true(send(fd, "SSH-2.0-flood\r\n", 15, MSG_NOSIGNAL) > 0);
	for (int i = 0; i < 100000; i++)
		if (send(fd, packet, sizeof packet, MSG_NOSIGNAL) < 0)
			break;
	read_to_end(fd);
	assert_int_equal(served_status(&s), ERR_PROTOCOL);
}

/* Peers with libssh's own client, which does what it is told */

struct peer {
	ssh_session session;
	ssh_key key;
};

static struct peer peer_connect(struct rig *r, uint16_t port, const char *identity)
{
	struct peer p = {.session = ssh_new()};
	unsigned number = port;
	bool off = false;
	struct err e;
	(void)r;
	ssh_options_set(p.session, SSH_OPTIONS_HOST, "127.0.0.1");
	ssh_options_set(p.session, SSH_OPTIONS_PORT, &number);
	ssh_options_set(p.session, SSH_OPTIONS_USER, "mover");
	ssh_options_set(p.session, SSH_OPTIONS_PROCESS_CONFIG, &off);
	assert_int_equal(ssh_connect(p.session), SSH_OK);
	p.key = sshkeys_load_private(identity, "identity", &e);
	assert_non_null(p.key);
	return p;
}

static void peer_leave(struct peer *p)
{
	ssh_disconnect(p->session);
	ssh_free(p->session);
	ssh_key_free(p->key);
}

static void only_public_keys_are_offered(void **state)
{
	struct rig *r = rig_of(state);
	struct served s = serve(r, 20000);
	struct peer p = peer_connect(r, s.port, r->user);
	assert_int_equal(ssh_userauth_none(p.session, NULL), SSH_AUTH_DENIED);
	assert_int_equal(ssh_userauth_list(p.session, NULL), SSH_AUTH_METHOD_PUBLICKEY);
	assert_int_equal(ssh_userauth_password(p.session, NULL, "secret"), SSH_AUTH_DENIED);
	assert_int_equal(ssh_userauth_publickey(p.session, NULL, p.key), SSH_AUTH_SUCCESS);
	peer_leave(&p);
	assert_int_equal(served_status(&s), ERR_CONNECT);
}

static void an_offered_key_is_not_a_proven_one(void **state)
{
	struct rig *r = rig_of(state);
	struct served s = serve(r, 20000);
	struct peer p = peer_connect(r, s.port, r->user);
	struct err e;
	CLEANUP_SSH_KEY ssh_key public_key = sshkeys_load_public(r->user_pub, "key", &e);
	assert_int_equal(ssh_userauth_try_publickey(p.session, NULL, public_key), SSH_AUTH_SUCCESS);
	/* The client library itself refuses to go on without having authenticated. */
	assert_null(ssh_channel_new(p.session));
	peer_leave(&p);
	assert_int_equal(served_status(&s), ERR_CONNECT);
}

static void three_attempts_and_no_more(void **state)
{
	struct rig *r = rig_of(state);
	struct served s = serve(r, 20000);
	struct peer p = peer_connect(r, s.port, r->host);
	for (int i = 0; i < SSH_AUTH_ATTEMPTS - 1; i++)
		assert_int_equal(ssh_userauth_publickey(p.session, NULL, p.key), SSH_AUTH_DENIED);
	(void)ssh_userauth_publickey(p.session, NULL, p.key);
	/* Dropped: the right key is of no use any more. */
	struct err e;
	CLEANUP_SSH_KEY ssh_key right = sshkeys_load_private(r->user, "key", &e);
	assert_int_not_equal(ssh_userauth_publickey(p.session, NULL, right), SSH_AUTH_SUCCESS);
	peer_leave(&p);
	assert_int_equal(served_status(&s), ERR_AUTH);
}

static void endless_requests_are_cut(void **state)
{
	struct rig *r = rig_of(state);
	struct served s = serve(r, 20000);
	struct peer p = peer_connect(r, s.port, r->user);
	int i = 0;
	while (i < 1000 && ssh_userauth_none(p.session, NULL) == SSH_AUTH_DENIED)
		i++;
	assert_true(i < 100);
	peer_leave(&p);
	assert_int_equal(served_status(&s), ERR_AUTH);
}

static ssh_channel open_session(struct peer *p)
{
	ssh_channel c = ssh_channel_new(p->session);
	assert_non_null(c);
	assert_int_equal(ssh_channel_open_session(c), SSH_OK);
	return c;
}

static void everything_but_exec_is_refused(void **state)
{
	struct rig *r = rig_of(state);
	struct served s = serve(r, 20000);
	struct peer p = peer_connect(r, s.port, r->user);
	assert_int_equal(ssh_userauth_publickey(p.session, NULL, p.key), SSH_AUTH_SUCCESS);
	int port = 0;
	assert_int_equal(ssh_channel_listen_forward(p.session, NULL, 0, &port), SSH_ERROR);
	ssh_channel forward = ssh_channel_new(p.session);
	assert_int_equal(ssh_channel_open_forward(forward, "127.0.0.1", 22, "127.0.0.1", 1),
			 SSH_ERROR);
	ssh_channel c = open_session(&p);
	assert_int_equal(ssh_channel_request_pty(c), SSH_ERROR);
	assert_int_equal(ssh_channel_request_shell(c), SSH_ERROR);
	assert_int_equal(ssh_channel_request_sftp(c), SSH_ERROR);
	assert_int_equal(ssh_channel_request_subsystem(c, "scribe-mover"), SSH_ERROR);
	assert_int_equal(ssh_channel_request_x11(c, 0, NULL, NULL, 0), SSH_ERROR);
	assert_int_equal(ssh_channel_request_env(c, "LD_PRELOAD", "/tmp/x.so"), SSH_ERROR);
	assert_int_equal(ssh_channel_request_exec(c, "sh -c id"), SSH_ERROR);
	ssh_channel second = ssh_channel_new(p.session);
	assert_int_equal(ssh_channel_open_session(second), SSH_ERROR);
	/* After all that the one thing that is served still works, once. */
	assert_int_equal(ssh_channel_request_exec(c, "scribe-mover receive"), SSH_OK);
	assert_int_equal(ssh_channel_request_exec(c, "scribe-mover receive"), SSH_ERROR);
	second = ssh_channel_new(p.session);
	assert_int_equal(ssh_channel_open_session(second), SSH_ERROR);
	assert_int_equal(ssh_channel_write(c, "data", 4), 4);
	assert_int_equal(ssh_channel_send_eof(c), SSH_OK);
	peer_leave(&p);
	assert_int_equal(served_status(&s), 0);
}

static void an_authenticated_peer_that_asks_for_nothing(void **state)
{
	struct rig *r = rig_of(state);
	struct served s = serve(r, SHORT_DEADLINE_MS);
	struct peer p = peer_connect(r, s.port, r->user);
	assert_int_equal(ssh_userauth_publickey(p.session, NULL, p.key), SSH_AUTH_SUCCESS);
	assert_int_equal(served_status(&s), ERR_TIMEOUT);
	peer_leave(&p);
}

static int serve_until_broken(struct transport *t, const struct ssh_session_info *info, void *arg)
{
	(void)info;
	(void)arg;
	char buf[4096];
	struct err e;
	bool eof;
	ssize_t n;
	while ((n = t->ops->read(t, buf, sizeof buf, &eof, &e)) >= 0)
		if (n == 0)
			drive_wait(t, false);
	return (int)e.code;
}

/* Requests without end, whose answers nobody reads, must not fill the server's memory. */
static void answers_that_nobody_reads(void **state)
{
	struct rig *r = rig_of(state);
	struct ssh_server_config cfg = {.host_key = r->host,
					.authorized_keys = r->authorized,
					.socket_buffer = 65536};
	struct served s = serve_one(r, &cfg, serve_until_broken, NULL);
	uint16_t port;
	pid_t relay = odd_relay(s.port, 16384, false, &port);
	pid_t flooder = fork();
	if (flooder == 0) {
		struct peer p = peer_connect(r, port, r->user);
		if (ssh_userauth_publickey(p.session, NULL, p.key) != SSH_AUTH_SUCCESS)
			die("flooder cannot log in");
		if (ssh_channel_request_exec(open_session(&p), "scribe-mover receive") != SSH_OK)
			die("flooder cannot start");
		ssh_set_blocking(p.session, 0);
		for (int i = 1; i < 1000000; i++) {
			ssh_channel c = ssh_channel_new(p.session);
			(void)ssh_channel_open_session(c);
			ssh_channel_free(c); /* a long list of them would slow the flood down */
		}
		_exit(0);
	}
	assert_int_equal(served_status(&s), ERR_PROTOCOL);
	kill(flooder, SIGKILL);
	waitpid(flooder, NULL, 0);
	kill(relay, SIGKILL);
	waitpid(relay, NULL, 0);
}

/* The server object */

static void configuration_errors(void **state)
{
	struct rig *r = rig_of(state);
	struct err e;
	struct ssh_server_config cfg = {.host_key = r->host};
	assert_null(ssh_server_new(&cfg, &e));
	assert_int_equal(e.code, ERR_USAGE);
	cfg.authorized_keys = "/nonexistent/keys";
	assert_null(ssh_server_new(&cfg, &e));
	assert_int_equal(e.code, ERR_USAGE);
	cfg.authorized_keys = r->authorized;
	cfg.ciphers = "rot13";
	assert_null(ssh_server_new(&cfg, &e));
	assert_int_equal(e.code, ERR_USAGE);
	cfg.ciphers = NULL;
	chmod(r->host, 0644);
	assert_null(ssh_server_new(&cfg, &e));
	assert_non_null(strstr(e.msg, "chmod 600"));
	chmod(r->host, 0600);
	cfg.host_key = r->host_pub;
	chmod(r->host_pub, 0600);
	assert_null(ssh_server_new(&cfg, &e));
	assert_int_equal(e.code, ERR_USAGE);
	chmod(r->host_pub, 0644);
}

static void keys_can_be_read_again(void **state)
{
	struct rig *r = rig_of(state);
	struct err e;
	struct ssh_server_config cfg = {.host_key = r->host, .authorized_keys = r->authorized};
	struct ssh_server *server = ssh_server_new(&cfg, &e);
	assert_non_null(server);
	assert_int_equal(strncmp(ssh_server_fingerprint(server), "SHA256:", 7), 0);
	assert_int_equal(ssh_server_reload_keys(server, &e), 0);
	rig_write(r->authorized, "# nobody\n");
	assert_int_equal(ssh_server_reload_keys(server, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	rig_copy(r->user_pub, r->authorized);
	assert_int_equal(ssh_server_reload_keys(server, &e), 0);
	ssh_server_free(server);
}

static int make_rig(void **state)
{
	struct rig *r = mem_alloc(1, sizeof *r);
	rig_make(r);
	*state = r;
	return 0;
}

static int remove_rig(void **state)
{
	rig_remove(*state);
	free(*state);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_silent_peer_is_dropped),
		cmocka_unit_test(a_dripping_peer_is_dropped),
		cmocka_unit_test(peers_of_another_kind),
		cmocka_unit_test(a_flood_before_the_key_exchange),
		cmocka_unit_test(only_public_keys_are_offered),
		cmocka_unit_test(an_offered_key_is_not_a_proven_one),
		cmocka_unit_test(three_attempts_and_no_more),
		cmocka_unit_test(endless_requests_are_cut),
		cmocka_unit_test(everything_but_exec_is_refused),
		cmocka_unit_test(an_authenticated_peer_that_asks_for_nothing),
		cmocka_unit_test(answers_that_nobody_reads),
		cmocka_unit_test(configuration_errors),
		cmocka_unit_test(keys_can_be_read_again),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, make_rig, remove_rig);
}
