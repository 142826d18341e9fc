/* SPDX-License-Identifier: Apache-2.0 */
/* Our client against OpenSSH's server, OpenSSH's client against our server. Skipped without them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pwd.h>

#include "sshpairing.h"

enum { BULK = 64 << 20 };

struct context {
	struct rig rig;
	char me[64];
	pid_t sshd; /* 0 = there is none */
	uint16_t port;
	char known[128];
	char config[128];
	char log[128];
};

/* OpenSSH's server */

static bool is_listening(uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool yes = connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0;
	close(fd);
	return yes;
}

static void start_sshd(struct context *c)
{
	static const char program[] = "/usr/sbin/sshd";
	char text[1024];
	if (access(program, X_OK) != 0)
		return;
	if (geteuid() == 0)
		(void)mkdir("/run/sshd", 0755);
	close(listen_loopback(&c->port));
	snprintf(c->config, sizeof c->config, "%s/sshd_config", c->rig.dir);
	snprintf(c->log, sizeof c->log, "%s/sshd_log", c->rig.dir);
	snprintf(text, sizeof text,
		 "Port %u\nListenAddress 127.0.0.1\nHostKey %s\nAuthorizedKeysFile %s\nPidFile "
		 "none\n"
		 "StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n"
		 "LogLevel VERBOSE\n",
		 c->port, c->rig.host, c->rig.authorized);
	rig_write(c->config, text);
	c->sshd = fork();
	if (c->sshd == 0) {
		execl(program, program, "-D", "-E", c->log, "-f", c->config, (char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < 200; i++) {
		int status;
		if (is_listening(c->port))
			return;
		if (waitpid(c->sshd, &status, WNOHANG) == c->sshd)
			break;
		usleep(50000);
	}
	c->sshd = 0;
}

static struct ssh_dial dial_sshd(struct context *c, const char *command)
{
	if (!c->sshd)
		skip();
	struct ssh_dial d = dial_to(&c->rig, c->port);
	d.user = c->me;
	d.command = command;
	return d;
}

static struct transport *dial(const struct ssh_dial *d)
{
	struct err e;
	struct transport *t = ssh_dial(d, &e);
	if (!t)
		fail_msg("%s", e.msg);
	return t;
}

static void bulk_through_sshd(struct context *c, uint64_t rekey, int socket_buffer,
			      const char *name)
{
	struct ssh_dial d = dial_sshd(c, "cat");
	d.rekey_bytes = rekey;
	d.socket_buffer = socket_buffer;
	struct transport *t = dial(&d);
	struct drive both = {.t = t, .send = BULK, .expect = BULK, .seed_out = 1, .seed_in = 1};
	double start = seconds();
	drive(&both);
	print_message("%s: %.0f MB/s\n", name, 2 * BULK / (seconds() - start) / 1e6);
	t->ops->shutdown(t, 10000);
	assert_int_equal(drive_to_end(t), 0);
	struct ssh_exit x;
	assert_true(ssh_transport_exit(t, 10000, &x));
	assert_int_equal(x.status, 0);
	t->ops->free(t);
}

static void opposed_bulk_through_sshd(void **state)
{
	bulk_through_sshd(*state, 0, 0, "sshd, both ways");
	bulk_through_sshd(*state, 0, 64 << 10, "sshd, both ways, small buffers");
}

static void key_exchanges_with_sshd(void **state)
{
	bulk_through_sshd(*state, 4 << 20, 64 << 10, "sshd, both ways, rekeyed");
}

static void one_way_from_sshd(void **state)
{
	struct ssh_dial d = dial_sshd(*state, "head -c 67108864 /dev/zero");
	struct transport *t = dial(&d);
	double start = seconds();
	assert_int_equal(drive_to_end(t), 67108864);
	print_message("from sshd: %.0f MB/s\n", 67.1 / (seconds() - start));
	t->ops->free(t);
}

static void exit_status_from_sshd(void **state)
{
	struct ssh_dial d = dial_sshd(*state, "echo scribe-mover: no such volume >&2; exit 3");
	struct transport *t = dial(&d);
	struct ssh_exit x;
	assert_int_equal(drive_to_end(t), 0);
	assert_true(ssh_transport_exit(t, 10000, &x));
	assert_int_equal(x.status, 3);
	assert_string_equal(ssh_transport_stderr(t), "scribe-mover: no such volume\n");
	t->ops->free(t);

	d = dial_sshd(*state, "kill -KILL $$");
	t = dial(&d);
	assert_int_equal(drive_to_end(t), 0);
	assert_true(ssh_transport_exit(t, 10000, &x));
	assert_int_equal(x.status, -1);
	assert_string_equal(x.signal, "KILL");
	t->ops->free(t);
}

static void forced_command_of_sshd(void **state)
{
	struct context *c = *state;
	struct ssh_dial d = dial_sshd(c, "scribe-mover receive");
	char key[1024], line[2048];
	rig_read(c->rig.user_pub, key, sizeof key);
	snprintf(line, sizeof line, "restrict,command=\"echo asked: $SSH_ORIGINAL_COMMAND\" %s",
		 key);
	rig_write(c->rig.authorized, line);
	struct transport *t = dial(&d);
	char got[64] = "";
	size_t have = 0;
	for (;;) {
		struct err e;
		bool eof;
		ssize_t r = t->ops->read(t, got + have, sizeof got - 1 - have, &eof, &e);
		if (r < 0)
			break;
		have += (size_t)r;
		if (r == 0)
			drive_wait(t, false);
	}
	assert_string_equal(got, "asked: scribe-mover receive\n");
	t->ops->free(t);
	rig_copy(c->rig.user_pub, c->rig.authorized);
}

static void known_hosts_files(void **state)
{
	struct context *c = *state;
	struct ssh_dial d = dial_sshd(c, "true");
	char key[1024], line[2048];
	struct err e;
	rig_read(c->rig.host_pub, key, sizeof key);
	d.pinned_key = NULL;
	d.known_hosts = c->known;

	snprintf(line, sizeof line, "[127.0.0.1]:%u %s", c->port, key);
	rig_write(c->known, line);
	struct transport *t = dial(&d);
	t->ops->free(t);

	rig_write(c->known, "# nobody\n");
	assert_null(ssh_dial(&d, &e));
	assert_int_equal(e.code, ERR_AUTH);
	assert_non_null(strstr(e.msg, "is not in the known hosts file"));

	rig_read(c->rig.user_pub, key, sizeof key);
	snprintf(line, sizeof line, "[127.0.0.1]:%u %s", c->port, key);
	rig_write(c->known, line);
	assert_null(ssh_dial(&d, &e));
	assert_int_equal(e.code, ERR_AUTH);
	assert_non_null(strstr(e.msg, "has another"));

	unlink(c->known);
	assert_null(ssh_dial(&d, &e));
	assert_int_equal(e.code, ERR_USAGE);
}

static void keys_that_sshd_refuses(void **state)
{
	struct context *c = *state;
	struct ssh_dial d = dial_sshd(c, "true");
	struct err e;
	d.identity = c->rig.host;
	assert_null(ssh_dial(&d, &e));
	assert_int_equal(e.code, ERR_AUTH);
	d.identity = c->rig.user;
	d.pinned_key = c->rig.user_pub;
	assert_null(ssh_dial(&d, &e));
	assert_int_equal(e.code, ERR_AUTH);
	assert_non_null(strstr(e.msg, "is pinned"));
}

/* OpenSSH's client */

static int echo(struct transport *t, const struct ssh_session_info *info, void *arg)
{
	(void)info;
	(void)arg;
	static uint8_t buf[65536];
	struct err e;
	bool eof;
	ssize_t n;
	while ((n = t->ops->read(t, buf, sizeof buf, &eof, &e)) >= 0) {
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
	if (!eof)
		return 52;
	ssh_transport_send_stderr(t, "done\n");
	ssh_transport_send_exit(t, 9, 5000);
	return 0;
}

/* Becomes ssh, with its streams in files. */
__attribute__((noreturn)) static void become_ssh(struct context *c, uint16_t number, const char *in,
						 const char *out, const char *const *more)
{
	char port[8], known[160];
	snprintf(port, sizeof port, "%u", number);
	snprintf(known, sizeof known, "UserKnownHostsFile=%s", c->known);
	const char *const options[] = {"ssh", "-F", "/dev/null", "-p", port, "-i", c->rig.user};
	const char *const settings[] = {known, "IdentitiesOnly=yes", "BatchMode=yes",
					"StrictHostKeyChecking=yes"};
	const char *argv[40] = {0};
	size_t at = 0;
	for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
		argv[at++] = options[i];
	for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
		argv[at++] = "-o";
		argv[at++] = settings[i];
	}
	while (*more && at < 39)
		argv[at++] = *more++;
	unsetenv("SSH_AUTH_SOCK");
	dup2(open(in, O_RDONLY), 0);
	dup2(open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600), 1);
	if (!getenv("SCRIBE_TEST_VERBOSE"))
		dup2(open("/dev/null", O_WRONLY), 2);
	execvp("ssh", (char *const *)(uintptr_t)argv);
	_exit(127);
}

/* Runs ssh against our server; in, out: files. Returns its exit status, the server's in *served. */
static int run_ssh(struct context *c, const char *in, const char *out, int deadline_ms, int *served,
		   const char *const *more)
{
	struct ssh_server_config cfg = {.host_key = c->rig.host,
					.authorized_keys = c->rig.authorized,
					.deadline_ms = deadline_ms};
	struct served s = serve_one(&c->rig, &cfg, echo, NULL);
	char key[1024], line[2048];
	rig_read(c->rig.host_pub, key, sizeof key);
	snprintf(line, sizeof line, "[127.0.0.1]:%u %s", s.port, key);
	rig_write(c->known, line);
	pid_t pid = fork();
	if (pid == 0)
		become_ssh(c, s.port, in, out, more);
	int status = 0;
	waitpid(pid, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
		kill(s.pid, SIGKILL);
		(void)served_status(&s);
		skip();
	}
	*served = served_status(&s);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void ssh_runs_our_command(void **state)
{
	struct context *c = *state;
	char in[160], out[160];
	snprintf(in, sizeof in, "%s/in", c->rig.dir);
	snprintf(out, sizeof out, "%s/out", c->rig.dir);
	FILE *f = fopen(in, "we");
	uint8_t *pattern = pattern_make(3);
	for (int i = 0; i < 32; i++)
		assert_int_equal(fwrite(pattern, 1, PATTERN_LEN, f), PATTERN_LEN);
	fclose(f);
	free(pattern);
	static const char *const plain[] = {"mover@127.0.0.1", "scribe-mover receive", NULL};
	static const char *const rekey[] = {"-o", "RekeyLimit=4M", "mover@127.0.0.1",
					    "scribe-mover receive", NULL};
	static const char *const *const ways[] = {plain, rekey};
	for (size_t i = 0; i < 2; i++) {
		int served;
		assert_int_equal(run_ssh(c, in, out, 0, &served, ways[i]), 9);
		assert_int_equal(served, 0);
		const char *cmp[] = {"cmp", in, out, NULL};
		assert_int_equal(run(NULL, cmp), 0);
	}
}

static void ssh_asks_for_other_things(void **state)
{
	struct context *c = *state;
	static const char *const shell[] = {"-T", "mover@127.0.0.1", NULL};
	/* ssh gives up by itself when it cannot have the terminal that it must have. */
	static const char *const terminal[] = {"-tt", "mover@127.0.0.1", "scribe-mover receive",
					       NULL};
	static const char *const command[] = {"mover@127.0.0.1", "id", NULL};
	static const char *const sftp[] = {"-s", "mover@127.0.0.1", "sftp", NULL};
	static const char *const stdio[] = {"-W", "127.0.0.1:22", "mover@127.0.0.1", NULL};
	static const char *const remote[] = {"-o", "ExitOnForwardFailure=yes",
					     "-R", "0:127.0.0.1:22",
					     "-N", "mover@127.0.0.1",
					     NULL};
	static const char *const nothing[] = {"-N", "mover@127.0.0.1", NULL};
	static const char *const *const asked[] = {shell, terminal, command, sftp,
						   stdio, remote,   nothing};
	char out[160];
	snprintf(out, sizeof out, "%s/out", c->rig.dir);
	for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
		int served;
		struct stat st;
		int rc = run_ssh(c, "/dev/null", out, 2000, &served, asked[i]);
		if (rc == 0 || (served == 0 && asked[i] != terminal))
			fail_msg("case %zu: ssh %d, server %d", i, rc, served);
		assert_int_equal(stat(out, &st), 0);
		assert_int_equal(st.st_size, 0);
	}
}

static int make_context(void **state)
{
	struct context *c = mem_alloc(1, sizeof *c);
	struct passwd *pw = getpwuid(geteuid());
	rig_make(&c->rig);
	snprintf(c->me, sizeof c->me, "%s", pw ? pw->pw_name : "");
	snprintf(c->known, sizeof c->known, "%s/known_hosts", c->rig.dir);
	start_sshd(c);
	*state = c;
	return 0;
}

static int remove_context(void **state)
{
	struct context *c = *state;
	if (c->sshd) {
		kill(c->sshd, SIGTERM);
		waitpid(c->sshd, NULL, 0);
	}
	rig_remove(&c->rig);
	free(c);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opposed_bulk_through_sshd),
		cmocka_unit_test(key_exchanges_with_sshd),
		cmocka_unit_test(one_way_from_sshd),
		cmocka_unit_test(exit_status_from_sshd),
		cmocka_unit_test(forced_command_of_sshd),
		cmocka_unit_test(known_hosts_files),
		cmocka_unit_test(keys_that_sshd_refuses),
		cmocka_unit_test(ssh_runs_our_command),
		cmocka_unit_test(ssh_asks_for_other_things),
	};
	if (access("/usr/sbin/sshd", X_OK) != 0 && access("/usr/bin/ssh", X_OK) != 0)
		return 77;
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, make_context, remove_context);
}
