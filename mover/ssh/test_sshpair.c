/* SPDX-License-Identifier: Apache-2.0 */
/* Our client against our server: data in all directions, and everything that must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sshpairing.h"

enum { ONE_WAY = 256 << 20, OPPOSED = 64 << 20, SMALL_BUFFER = 64 << 10 };

static struct rig *rig_of(void **state)
{
	return *state;
}

static struct transport *dial(const struct ssh_dial *d)
{
	struct err e;
	struct transport *t = ssh_dial(d, &e);
	if (!t)
		fail_msg("%s", e.msg);
	return t;
}

/* Server behaviours */

static int serve_echo(struct transport *t, const struct ssh_session_info *info, void *arg)
{
	(void)arg;
	static uint8_t buf[65536];
	struct err e;
	bool eof;
	if (strcmp(info->command, "scribe-mover receive") != 0 ||
	    strcmp(info->user, "mover") != 0 || strcmp(info->key_comment, "someone") != 0 ||
	    strncmp(info->fingerprint, "SHA256:", 7) != 0)
		return 50;
	for (;;) {
		ssize_t n = t->ops->read(t, buf, sizeof buf, &eof, &e);
		if (n < 0)
			break;
		for (ssize_t at = 0; at < n;) {
			ssize_t put = t->ops->write(t, buf + at, (size_t)(n - at), &e);
			if (put < 0)
				return 51;
			if (put == 0)
				drive_wait(t, true);
			at += put;
		}
		if (n == 0)
			drive_wait(t, false);
	}
	t->ops->shutdown(t, 5000);
	return eof ? 0 : 52;
}

static int serve_drive(struct transport *t, const struct ssh_session_info *info, void *arg)
{
	(void)info;
	struct drive d = *(struct drive *)arg;
	d.t = t;
	drive(&d);
	t->ops->shutdown(t, 10000);
	(void)drive_to_end(t);
	return 0;
}

static int serve_exit(struct transport *t, const struct ssh_session_info *info, void *arg)
{
	(void)info;
	(void)arg;
	ssh_transport_send_stderr(t, "first line\nsecond \033[31mline\r\nlast");
	ssh_transport_send_exit(t, 7, 5000);
	return 0;
}

/* Says something and vanishes without any ceremony. */
static int serve_last_words(struct transport *t, const struct ssh_session_info *info, void *arg)
{
	(void)info;
	(void)arg;
	struct err e;
	if (t->ops->write(t, "last words", 10, &e) != 10)
		return 60;
	t->ops->shutdown(t, 5000);
	_exit(0);
}

static int serve_idle(struct transport *t, const struct ssh_session_info *info, void *arg)
{
	(void)info;
	(void)arg;
	(void)drive_to_end(t);
	return 0;
}

/* Data */

static void echo_in_small_steps(void **state)
{
	struct served s = serve_one(rig_of(state), NULL, serve_echo, NULL);
	struct ssh_dial d = dial_to(rig_of(state), s.port);
	struct transport *t = dial(&d);
	struct err e;
	char want[64], got[64];
	bool eof;

	assert_string_equal(ssh_transport_cipher(t), "aes128-gcm@openssh.com");
	assert_string_not_equal(t->peer, "");
	assert_true(t->handshake_in > 500 && t->handshake_in < 20000);
	assert_true(t->handshake_out > 500 && t->handshake_out < 20000);
	assert_int_equal(fcntl(0, F_GETFD) >= 0, 1);
	for (int i = 0; i < 200; i++) {
		size_t len = (size_t)snprintf(want, sizeof want, "message %d", i);
		assert_int_equal(t->ops->write(t, want, len, &e), len);
		size_t have = 0;
		while (have < len) {
			ssize_t n = t->ops->read(t, got + have, sizeof got - have, &eof, &e);
			assert_true(n >= 0);
			have += (size_t)n;
			if (n == 0)
				drive_wait(t, false);
		}
		assert_int_equal(have, len);
		assert_memory_equal(got, want, len);
	}
	assert_true(t->socket_out > t->handshake_out);
	t->ops->shutdown(t, 5000);
	assert_int_equal(t->ops->write(t, "x", 1, &e), -1);
	assert_int_equal(e.code, ERR_CONNECT);
	assert_int_equal(drive_to_end(t), 0);
	t->ops->free(t);
	assert_int_equal(served_status(&s), 0);
}

/* Moves bytes both ways and checks the counters; prints the speed, which is no assertion. */
static void transfer(struct rig *r, struct drive client, const struct ssh_dial *extra,
		     const char *name)
{
	struct drive other = {.send = client.expect,
			      .expect = client.send,
			      .seed_out = client.seed_in,
			      .seed_in = client.seed_out};
	struct ssh_server_config cfg = {.host_key = r->host,
					.authorized_keys = r->authorized,
					.socket_buffer = extra->socket_buffer,
					.rekey_bytes = extra->rekey_bytes};
	struct served s = serve_one(r, &cfg, serve_drive, &other);
	struct ssh_dial d = dial_to(r, s.port);
	d.socket_buffer = extra->socket_buffer;
	d.rekey_bytes = extra->rekey_bytes;
	d.ciphers = extra->ciphers;
	struct transport *t = dial(&d);
	client.t = t;
	double start = seconds();
	drive(&client);
	t->ops->shutdown(t, 10000);
	(void)drive_to_end(t);
	double took = seconds() - start;
	print_message("%s: %.0f MB/s, %u waits\n", name,
		      (double)(client.send + client.expect) / took / 1e6, client.polls);
	uint64_t out = t->socket_out - t->handshake_out;
	uint64_t in = t->socket_in - t->handshake_in;
	/* SSH adds about 50 bytes to 32 KiB, window messages and key exchanges a little more. */
	assert_in_range(out, client.send,
			client.send + client.send / 50 + client.expect / 50 + 100000);
	assert_in_range(in, client.expect,
			client.expect + client.expect / 50 + client.send / 50 + 100000);
	t->ops->free(t);
	assert_int_equal(served_status(&s), 0);
}

static void one_way_up(void **state)
{
	struct ssh_dial plain = {0};
	transfer(rig_of(state), (struct drive){.send = ONE_WAY, .seed_out = 1}, &plain, "up");
}

static void one_way_down(void **state)
{
	struct ssh_dial plain = {0};
	transfer(rig_of(state), (struct drive){.expect = ONE_WAY, .seed_in = 2}, &plain, "down");
}

static void opposed_bulk_with_small_socket_buffers(void **state)
{
	struct ssh_dial small = {.socket_buffer = SMALL_BUFFER};
	struct drive both = {.send = OPPOSED, .expect = OPPOSED, .seed_out = 3, .seed_in = 4};
	transfer(rig_of(state), both, &small, "opposed");
}

static void opposed_bulk_across_key_exchanges(void **state)
{
	struct ssh_dial rekey = {.socket_buffer = SMALL_BUFFER, .rekey_bytes = 4 << 20};
	struct drive both = {
		.send = OPPOSED / 2, .expect = OPPOSED / 2, .seed_out = 5, .seed_in = 6};
	transfer(rig_of(state), both, &rekey, "opposed, rekeyed");
}

/* A reader that stays away is held back by TCP, not by memory, and loses nothing. */
static void an_absent_reader_pushes_back(void **state)
{
	enum { TOTAL = 64 << 20, TURNS = 200000, SANE_UNREAD = 24 << 20 };
	struct drive other = {.send = TOTAL, .seed_out = 7};
	struct served s = serve_one(rig_of(state), NULL, serve_drive, &other);
	struct ssh_dial d = dial_to(rig_of(state), s.port);
	struct transport *t = dial(&d);
	struct err e;
	uint64_t last = 0;
	for (int quiet = 0, i = 0; i < TURNS && quiet < 2000; i++) {
		assert_true(t->ops->write(t, "", 0, &e) == 0); /* makes progress, reads nothing */
		quiet = t->socket_in == last ? quiet + 1 : 0;
		last = t->socket_in;
		if (quiet)
			usleep(100);
	}
	assert_true(t->socket_in < SANE_UNREAD);
	struct drive me = {.t = t, .expect = TOTAL, .seed_in = 7};
	drive(&me);
	t->ops->shutdown(t, 5000);
	(void)drive_to_end(t);
	t->ops->free(t);
	assert_int_equal(served_status(&s), 0);
}

/* Writes until the window is used up for good; its size in MiB, rounded, is the exit status. */
static int serve_window(struct transport *t, const struct ssh_session_info *info, void *arg)
{
	(void)info;
	(void)arg;
	static const uint8_t zeros[65536];
	uint64_t total = 0;
	for (int quiet = 0; quiet < 5;) {
		struct err e;
		struct pollfd fds[TRANSPORT_POLLFDS];
		ssize_t n = t->ops->write(t, zeros, sizeof zeros, &e);
		if (n < 0)
			return 90;
		total += (uint64_t)n;
		if (n > 0)
			quiet = 0;
		else if (poll(fds, (nfds_t)t->ops->pollfds(t, fds, true), 100) == 0)
			quiet++;
	}
	return (int)((total + (1 << 19)) >> 20);
}

/* Without it one stream is limited to 1.28 MB per round trip. */
static void the_receive_window_is_large(void **state)
{
	struct served s = serve_one(rig_of(state), NULL, serve_window, NULL);
	uint16_t port;
	pid_t relay = odd_relay(s.port, 8192, true, &port);
	struct ssh_dial d = dial_to(rig_of(state), port);
	struct transport *t = dial(&d);
	assert_int_equal(served_status(&s), 16);
	kill(relay, SIGKILL);
	waitpid(relay, NULL, 0);
	t->ops->free(t);
}

/* Ends */

struct lines {
	char text[256];
};

static void add_line(void *arg, const char *line)
{
	struct lines *l = arg;
	size_t at = strlen(l->text);
	snprintf(l->text + at, sizeof l->text - at, "%s|", line);
}

static void exit_status_and_stderr_arrive(void **state)
{
	struct served s = serve_one(rig_of(state), NULL, serve_exit, NULL);
	struct ssh_dial d = dial_to(rig_of(state), s.port);
	struct transport *t = dial(&d);
	struct lines lines = {""};
	struct ssh_exit x;
	assert_int_equal(drive_to_end(t), 0);
	assert_true(ssh_transport_exit(t, 5000, &x));
	assert_int_equal(x.status, 7);
	assert_string_equal(x.signal, "");
	ssh_transport_on_stderr(t, add_line, &lines);
	assert_string_equal(lines.text, "first line|second \\033[31mline|last|");
	assert_string_equal(ssh_transport_stderr(t), "first line\nsecond \\033[31mline\nlast\n");
	t->ops->free(t);
	assert_int_equal(served_status(&s), 0);
}

static void last_words_are_read_after_the_connection_is_gone(void **state)
{
	struct served s = serve_one(rig_of(state), NULL, serve_last_words, NULL);
	struct ssh_dial d = dial_to(rig_of(state), s.port);
	struct transport *t = dial(&d);
	struct err e;
	bool eof;
	char buf[32];
	assert_int_equal(served_status(&s), 0);
	/* Writing first lets libssh see data and end in one go. */
	for (int i = 0; i < 50; i++)
		(void)t->ops->write(t, "are you there?", 14, &e);
	assert_int_equal(t->ops->read(t, buf, sizeof buf, &eof, &e), 10);
	assert_memory_equal(buf, "last words", 10);
	assert_int_equal(t->ops->read(t, buf, sizeof buf, &eof, &e), -1);
	assert_int_equal(e.code, ERR_CONNECT);
	assert_true(eof);
	t->ops->free(t);
}

static void a_killed_server_is_no_clean_end(void **state)
{
	struct served s = serve_one(rig_of(state), NULL, serve_idle, NULL);
	struct ssh_dial d = dial_to(rig_of(state), s.port);
	struct transport *t = dial(&d);
	struct err e;
	bool eof = true;
	char buf[32];
	ssize_t n;
	kill(s.pid, SIGKILL);
	assert_int_equal(served_status(&s), 128 + SIGKILL);
	while ((n = t->ops->read(t, buf, sizeof buf, &eof, &e)) == 0)
		drive_wait(t, false);
	assert_int_equal(n, -1);
	assert_false(eof);
	assert_int_equal(e.code, ERR_CONNECT);
	assert_int_equal(t->ops->write(t, "x", 1, &e), -1);
	t->ops->free(t);
}

/* Refusals */

static void dial_fails(const struct ssh_dial *d, enum err_code code, const char *part)
{
	struct err e = {0};
	assert_null(ssh_dial(d, &e));
	if (e.code != code || !strstr(e.msg, part))
		fail_msg("expected %d with \"%s\", got %d: %s", (int)code, part, (int)e.code,
			 e.msg);
}

static void another_host_key_stops_before_authentication(void **state)
{
	struct rig *r = rig_of(state);
	struct served s = serve_one(r, NULL, serve_idle, NULL);
	struct ssh_dial d = dial_to(r, s.port);
	d.pinned_key = r->user_pub;
	dial_fails(&d, ERR_AUTH, "is pinned");
	/* The server saw no authentication attempt: that would be ERR_AUTH. */
	assert_int_equal(served_status(&s), ERR_CONNECT);
}

static void another_type_of_host_key_is_refused(void **state)
{
	struct rig *r = rig_of(state);
	char rsa[128], pub[140];
	struct err e;
	snprintf(rsa, sizeof rsa, "%s/pinned_rsa", r->dir);
	snprintf(pub, sizeof pub, "%s.pub", rsa);
	assert_int_equal(keygen_write(rsa, KEYGEN_RSA, NULL, NULL, &e), 0);
	struct served s = serve_one(r, NULL, serve_idle, NULL);
	struct ssh_dial d = dial_to(r, s.port);
	d.pinned_key = pub;
	dial_fails(&d, ERR_PROTOCOL, "no common algorithm");
	assert_int_equal(served_status(&s), ERR_PROTOCOL);
}

static void rsa_keys_work_on_both_sides(void **state)
{
	struct rig *r = rig_of(state);
	char rsa[128], pub[140], keys[140];
	struct err e;
	snprintf(rsa, sizeof rsa, "%s/rsa", r->dir);
	snprintf(pub, sizeof pub, "%s.pub", rsa);
	snprintf(keys, sizeof keys, "%s.authorized", rsa);
	assert_int_equal(keygen_write(rsa, KEYGEN_RSA, "someone", NULL, &e), 0);
	rig_copy(pub, keys);
	struct ssh_server_config cfg = {.host_key = rsa, .authorized_keys = keys};
	struct served s = serve_one(r, &cfg, serve_echo, NULL);
	struct ssh_dial d = dial_to(r, s.port);
	d.identity = rsa;
	d.pinned_key = pub;
	struct transport *t = dial(&d);
	t->ops->shutdown(t, 5000);
	assert_int_equal(drive_to_end(t), 0);
	t->ops->free(t);
	assert_int_equal(served_status(&s), 0);
}

static void another_user_key_is_refused(void **state)
{
	struct rig *r = rig_of(state);
	struct served s = serve_one(r, NULL, serve_idle, NULL);
	struct ssh_dial d = dial_to(r, s.port);
	d.identity = r->host;
	dial_fails(&d, ERR_AUTH, "refuses the key SHA256:");
	assert_int_equal(served_status(&s), ERR_AUTH);
}

static void another_user_name_is_refused(void **state)
{
	struct rig *r = rig_of(state);
	struct ssh_server_config cfg = {.host_key = r->host,
					.authorized_keys = r->authorized,
					.user = "root"};
	struct served s = serve_one(r, &cfg, serve_idle, NULL);
	struct ssh_dial d = dial_to(r, s.port);
	dial_fails(&d, ERR_AUTH, "for user mover");
	assert_int_equal(served_status(&s), ERR_AUTH);
}

static void other_commands_are_refused(void **state)
{
	static const char *const commands[] = {
		"ls",
		"scribe-mover",
		"scribe-mover ",
		"scribe-mover receiver",
		"scribe-mover  receive",
		"scribe-mover serve --root /",
		"scribe-moverx receive",
		" scribe-mover receive",
		"scribe-mover receive\n",
		"scribe-mover send \001",
	};
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		struct served s = serve_one(rig_of(state), NULL, serve_idle, NULL);
		struct ssh_dial d = dial_to(rig_of(state), s.port);
		d.command = commands[i];
		dial_fails(&d, ERR_PROTOCOL, "refuses to run");
		assert_int_equal(served_status(&s), ERR_PROTOCOL);
	}
}

static int serve_command(struct transport *t, const struct ssh_session_info *info, void *arg)
{
	return strcmp(info->command, arg) == 0 ? serve_idle(t, info, NULL) : 70;
}

static void options_of_the_command_are_passed_on(void **state)
{
	static char command[] = "scribe-mover send --source /data --x='1 2'";
	struct served s = serve_one(rig_of(state), NULL, serve_command, command);
	struct ssh_dial d = dial_to(rig_of(state), s.port);
	d.command = command;
	struct transport *t = dial(&d);
	t->ops->free(t);
	assert_int_equal(served_status(&s), 0);
}

static void ciphers_are_gcm_unless_asked(void **state)
{
	struct rig *r = rig_of(state);
	static const char chacha[] = "chacha20-poly1305@openssh.com";
	struct ssh_server_config cfg = {.host_key = r->host,
					.authorized_keys = r->authorized,
					.ciphers = chacha};
	struct served s = serve_one(r, &cfg, serve_idle, NULL);
	struct ssh_dial d = dial_to(r, s.port);
	dial_fails(&d, ERR_PROTOCOL, "no common algorithm");
	(void)served_status(&s);

	s = serve_one(r, &cfg, serve_idle, NULL);
	d = dial_to(r, s.port);
	d.ciphers = chacha;
	struct transport *t = dial(&d);
	assert_string_equal(ssh_transport_cipher(t), chacha);
	t->ops->free(t);
	assert_int_equal(served_status(&s), 0);

	d.ciphers = "rot13";
	s = serve_one(r, NULL, serve_idle, NULL);
	d.port = s.port;
	dial_fails(&d, ERR_USAGE, "rot13");
	(void)served_status(&s);
}

/* As in a container: no HOME, and a uid that no passwd file knows. */
static void no_home_is_needed(void **state)
{
	struct rig *r = rig_of(state);
	struct served s = serve_one(r, NULL, serve_idle, NULL);
	pid_t pid = fork();
	if (pid == 0) {
		struct ssh_dial d = dial_to(r, s.port);
		struct err e;
		clearenv();
		if (geteuid() == 0 &&
		    (chown(r->user, 54321, 54321) < 0 || chown(r->dir, 54321, 54321) < 0 ||
		     setgid(54321) < 0 || setuid(54321) < 0))
			_exit(80);
		struct transport *t = ssh_dial(&d, &e);
		if (!t)
			die("%s", e.msg);
		t->ops->free(t);
		_exit(0);
	}
	int status = 0;
	waitpid(pid, &status, 0);
	assert_int_equal(chown(r->user, geteuid(), getegid()), 0);
	assert_int_equal(chown(r->dir, geteuid(), getegid()), 0);
	assert_int_equal(status, 0);
	assert_int_equal(served_status(&s), 0);
}

static int open_fds(void)
{
	int n = 0;
	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void no_descriptors_are_left(void **state)
{
	struct rig *r = rig_of(state);
	int before = open_fds();
	for (int i = 0; i < 5; i++) {
		struct served s = serve_one(r, NULL, serve_idle, NULL);
		struct ssh_dial d = dial_to(r, s.port);
		struct transport *t = dial(&d);
		t->ops->free(t);
		assert_int_equal(served_status(&s), 0);
		s = serve_one(r, NULL, serve_idle, NULL);
		d.port = s.port;
		d.pinned_key = r->user_pub;
		dial_fails(&d, ERR_AUTH, "is pinned");
		(void)served_status(&s);
	}
	assert_int_equal(open_fds(), before);
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
		cmocka_unit_test(echo_in_small_steps),
		cmocka_unit_test(one_way_up),
		cmocka_unit_test(one_way_down),
		cmocka_unit_test(opposed_bulk_with_small_socket_buffers),
		cmocka_unit_test(opposed_bulk_across_key_exchanges),
		cmocka_unit_test(an_absent_reader_pushes_back),
		cmocka_unit_test(the_receive_window_is_large),
		cmocka_unit_test(exit_status_and_stderr_arrive),
		cmocka_unit_test(last_words_are_read_after_the_connection_is_gone),
		cmocka_unit_test(a_killed_server_is_no_clean_end),
		cmocka_unit_test(another_host_key_stops_before_authentication),
		cmocka_unit_test(another_type_of_host_key_is_refused),
		cmocka_unit_test(rsa_keys_work_on_both_sides),
		cmocka_unit_test(another_user_key_is_refused),
		cmocka_unit_test(another_user_name_is_refused),
		cmocka_unit_test(other_commands_are_refused),
		cmocka_unit_test(options_of_the_command_are_passed_on),
		cmocka_unit_test(ciphers_are_gcm_unless_asked),
		cmocka_unit_test(no_home_is_needed),
		cmocka_unit_test(no_descriptors_are_left),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, make_rig, remove_rig);
}
