/* SPDX-License-Identifier: Apache-2.0 */
/* For this room's tests: a server in a child process, and how to dial it. Brings the others along.
 */
#ifndef SCRIBE_SSHPAIRING_H
#define SCRIBE_SSHPAIRING_H

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "err.h"
#include "mem.h"
#include "sshclient.h"
#include "sshloop.h"
#include "sshrig.h"
#include "sshserver.h"
#include "sshstream.h"

/* A server process that serves one connection. */
struct served {
	pid_t pid;
	uint16_t port;
};

typedef int serve_fn(struct transport *t, const struct ssh_session_info *info, void *arg);

__attribute__((unused)) static void ignore_warning(void *arg, const char *line)
{
	(void)arg;
	(void)line;
}

/*
 * Forks a server for one connection. Its exit status is the error's code when the session failed,
 * else what fn returned. cfg NULL = the rig's keys and defaults.
 */
__attribute__((unused)) static struct served
serve_one(struct rig *r, const struct ssh_server_config *cfg, serve_fn *fn, void *arg)
{
	struct ssh_server_config own = {.host_key = r->host, .authorized_keys = r->authorized};
	struct served s;
	int listening = listen_loopback(&s.port);
	s.pid = fork();
	if (s.pid) {
		close(listening);
		return s;
	}
	struct err e;
	struct ssh_session_info info;
	struct ssh_server *server = ssh_server_new(cfg ? cfg : &own, &e);
	if (!server)
		die("server: %s", e.msg);
	int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
	struct transport *t = ssh_server_session(server, fd, NULL, NULL, &info, &e);
	if (!t && getenv("SCRIBE_TEST_VERBOSE"))
		fprintf(stderr, "server: %d %s\n", e.code, e.msg);
	int rc = t ? fn(t, &info, arg) : (int)e.code;
	if (t)
		t->ops->free(t);
	ssh_server_free(server);
	_exit(rc);
}

__attribute__((unused)) static int served_status(struct served *s)
{
	int status = 0;
	waitpid(s->pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

__attribute__((unused)) static struct ssh_dial dial_to(const struct rig *r, uint16_t port)
{
	return (struct ssh_dial){.host = "127.0.0.1",
				 .port = port,
				 .user = "mover",
				 .identity = r->user,
				 .pinned_key = r->host_pub,
				 .command = "scribe-mover receive"};
}

#endif
