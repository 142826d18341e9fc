/* SPDX-License-Identifier: Apache-2.0 */
/* How dialling fails: class, message, time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sshpairing.h"

static struct rig *rig_of(void **state)
{
	return *state;
}

static struct err dial_fails(const struct ssh_dial *d, enum err_code code, const char *part)
{
	struct err e = {0};
	assert_null(ssh_dial(d, &e));
	if (e.code != code || !strstr(e.msg, part))
		fail_msg("expected %d with \"%s\", got %d: %s", (int)code, part, (int)e.code,
			 e.msg);
	return e;
}

/* A child that accepts one connection, sends text and stays, or leaves at once. */
static pid_t odd_server(uint16_t *port, const char *text, bool stay)
{
	int listening = listen_loopback(port);
	pid_t pid = fork();
	if (pid == 0) {
		int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
		if (*text)
			(void)send(fd, text, strlen(text), MSG_NOSIGNAL);
		char buf[4096];
		while (stay && read(fd, buf, sizeof buf) > 0)
			;
		_exit(0);
	}
	close(listening);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void nobody_listens(void **state)
{
	uint16_t port;
	close(listen_loopback(&port));
	struct ssh_dial d = dial_to(rig_of(state), port);
	struct err e = dial_fails(&d, ERR_CONNECT, "127.0.0.1:");
	assert_int_equal(e.sys, ECONNREFUSED);
	/* Every address of the name is tried; the last word is from one of them. */
	d.host = "localhost";
	e = dial_fails(&d, ERR_CONNECT, "refused");
	assert_int_equal(e.sys, ECONNREFUSED);
}

static void names_that_do_not_exist(void **state)
{
	struct ssh_dial d = dial_to(rig_of(state), 22);
	d.host = "no-such-host.invalid";
	d.timeout_ms = 20000;
	struct err e = {0};
	assert_null(ssh_dial(&d, &e));
	/* A machine without a resolver may take its time over it. */
	assert_true(e.code == ERR_CONNECT || e.code == ERR_TIMEOUT);
	d.host = "bad\nname";
	dial_fails(&d, ERR_CONNECT, "bad\\nname");
}

static void a_silent_server(void **state)
{
	uint16_t port;
	pid_t pid = odd_server(&port, "", true);
	struct ssh_dial d = dial_to(rig_of(state), port);
	d.timeout_ms = 300;
	dial_fails(&d, ERR_TIMEOUT, "SSH handshake with 127.0.0.1:");
	end(pid);
}

static void a_server_that_stops_in_the_middle(void **state)
{
	uint16_t port;
	pid_t pid = odd_server(&port, "SSH-2.0-Slow_1.0\r\n", true);
	struct ssh_dial d = dial_to(rig_of(state), port);
	d.timeout_ms = 300;
	dial_fails(&d, ERR_TIMEOUT, "SSH handshake");
	end(pid);
}

static void a_server_that_leaves(void **state)
{
	uint16_t port;
	pid_t pid = odd_server(&port, "", false);
	struct ssh_dial d = dial_to(rig_of(state), port);
	dial_fails(&d, ERR_CONNECT, "ended the connection");
	end(pid);
	pid = odd_server(&port, "SSH-2.0-Gone_1.0\r\n", false);
	d.port = port;
	dial_fails(&d, ERR_CONNECT, "ended the connection");
	end(pid);
}

static void a_server_of_another_kind(void **state)
{
	static const char *const banners[] = {
		"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
		"220 mail.example.org ESMTP\r\n",
		"\001\002\003\004\r\n\r\n",
		"SSH-1.5-Old\r\n",
	};
	for (size_t i = 0; i < sizeof banners / sizeof banners[0]; i++) {
		uint16_t port;
		pid_t pid = odd_server(&port, banners[i], false);
		struct ssh_dial d = dial_to(rig_of(state), port);
		d.timeout_ms = 5000;
		dial_fails(&d, ERR_PROTOCOL, "");
		end(pid);
	}
}

static void giving_up_on_request(void **state)
{
	uint16_t port;
	pid_t pid = odd_server(&port, "", true);
	int pipes[2];
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(write(pipes[1], "x", 1), 1);
	struct ssh_dial d = dial_to(rig_of(state), port);
	d.cancel_fd = pipes[0];
	struct err e = dial_fails(&d, ERR_FAILURE, "");
	assert_int_equal(e.sys, ECANCELED);
	close(pipes[0]);
	close(pipes[1]);
	end(pid);
}

/* Key files: nothing is dialled, so no server is needed. */

static void options_that_are_missing(void **state)
{
	struct ssh_dial d = dial_to(rig_of(state), 1);
	d.pinned_key = NULL;
	dial_fails(&d, ERR_USAGE, "pinned");
	d = dial_to(rig_of(state), 1);
	d.user = "";
	dial_fails(&d, ERR_USAGE, "user name");
	d = dial_to(rig_of(state), 1);
	d.identity = NULL;
	dial_fails(&d, ERR_USAGE, "identity");
	d = dial_to(rig_of(state), 1);
	d.host = NULL;
	dial_fails(&d, ERR_USAGE, "host");
	d = dial_to(rig_of(state), 1);
	d.command = NULL;
	dial_fails(&d, ERR_USAGE, "command");
}

static void key_files_are_checked(void **state)
{
	struct rig *r = rig_of(state);
	char path[160];
	struct ssh_dial d = dial_to(r, 1);
	d.identity = path;
	snprintf(path, sizeof path, "%s/missing", r->dir);
	struct err e = dial_fails(&d, ERR_USAGE, "missing: No such file");
	assert_int_equal(e.sys, ENOENT);
	snprintf(path, sizeof path, "%s", r->dir);
	dial_fails(&d, ERR_USAGE, "not a regular file");
	snprintf(path, sizeof path, "%s/garbage", r->dir);
	rig_write(path, "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END\n");
	dial_fails(&d, ERR_USAGE, "chmod 600");
	chmod(path, 0600);
	dial_fails(&d, ERR_USAGE, "not a private key");
	rig_write(path, "");
	dial_fails(&d, ERR_USAGE, "not a private key");
	/* Closed to the group as well, since the file is ours. */
	static const mode_t open_modes[] = {0640, 0620, 0604, 0602, 0644};
	for (size_t i = 0; i < sizeof open_modes / sizeof open_modes[0]; i++) {
		chmod(r->user, open_modes[i]);
		d.identity = r->user;
		dial_fails(&d, ERR_USAGE, "chmod 600");
	}
	chmod(r->user, 0400);
	d.pinned_key = path;
	dial_fails(&d, ERR_USAGE, "it is empty");
	rig_write(path, "# only\n\n  \nssh-ed25519 nonsense\n");
	dial_fails(&d, ERR_USAGE, "damaged");
	rig_write(path, "ssh-dss AAAA\n");
	dial_fails(&d, ERR_USAGE, "type that is accepted");
	chmod(r->user, 0600);
}

static void weak_and_locked_keys_are_refused(void **state)
{
	struct rig *r = rig_of(state);
	char weak[160], locked[160];
	snprintf(weak, sizeof weak, "%s/weak", r->dir);
	snprintf(locked, sizeof locked, "%s/locked", r->dir);
	const char *make_weak[] = {"ssh-keygen", "-q", "-t", "rsa", "-b", "2048",
				   "-N",         "",   "-f", weak,  NULL};
	const char *make_locked[] = {"ssh-keygen", "-q", "-t",   "ed25519", "-N",
				     "secret",     "-f", locked, NULL};
	if (run(NULL, make_weak) != 0 || run(NULL, make_locked) != 0)
		skip();
	struct ssh_dial d = dial_to(r, 1);
	d.identity = weak;
	dial_fails(&d, ERR_USAGE, "below 3072 bits");
	d.identity = locked;
	dial_fails(&d, ERR_USAGE, "without a passphrase");
	/* PEM with a passphrase must not lead to a prompt on a terminal. */
	const char *to_pem[] = {"ssh-keygen", "-q", "-p",     "-m", "PEM", "-P",
				"",           "-N", "secret", "-f", weak,  NULL};
	assert_int_equal(run(NULL, to_pem), 0);
	d.identity = weak;
	dial_fails(&d, ERR_USAGE, "without a passphrase");
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
		cmocka_unit_test(nobody_listens),
		cmocka_unit_test(names_that_do_not_exist),
		cmocka_unit_test(a_silent_server),
		cmocka_unit_test(a_server_that_stops_in_the_middle),
		cmocka_unit_test(a_server_that_leaves),
		cmocka_unit_test(a_server_of_another_kind),
		cmocka_unit_test(giving_up_on_request),
		cmocka_unit_test(options_that_are_missing),
		cmocka_unit_test(key_files_are_checked),
		cmocka_unit_test(weak_and_locked_keys_are_refused),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, make_rig, remove_rig);
}
