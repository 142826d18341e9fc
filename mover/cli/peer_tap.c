/* SPDX-License-Identifier: Apache-2.0 */
#include "peer_tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "cli.h"
#include "mem.h"
#include "rsh_spawn.h"
#include "sshclient.h"
#include "text.h"

enum { EXIT_WAIT_MS = 3000, REAP_WAIT_MS = 5000 };

struct tap {
	struct transport base;
	struct transport *inner;
	pid_t pid; /* of --rsh; 0: inner is an SSH channel */
	struct peer_heard *heard;
	bool closed;
};

static struct tap *of(struct transport *t)
{
	return (struct tap *)(void *)t;
}

static void copy_counters(struct tap *p)
{
	p->base.socket_in = p->inner->socket_in;
	p->base.socket_out = p->inner->socket_out;
	p->base.handshake_in = p->inner->handshake_in;
	p->base.handshake_out = p->inner->handshake_out;
}

static int tap_pollfds(struct transport *t, struct pollfd *fds, bool want_write)
{
	struct transport *inner = of(t)->inner;
	return inner->ops->pollfds(inner, fds, want_write);
}

static ssize_t tap_read(struct transport *t, void *p, size_t n, bool *eof, struct err *e)
{
	struct tap *tap = of(t);
	ssize_t got = tap->inner->ops->read(tap->inner, p, n, eof, e);
	if (got > 0)
		tap->heard->bytes += (uint64_t)got;
	copy_counters(tap);
	return got;
}

static ssize_t tap_write(struct transport *t, const void *p, size_t n, struct err *e)
{
	struct tap *tap = of(t);
	ssize_t put = tap->inner->ops->write(tap->inner, p, n, e);
	copy_counters(tap);
	return put;
}

static void tap_shutdown(struct transport *t, int timeout_ms)
{
	struct tap *tap = of(t);
	tap->inner->ops->shutdown(tap->inner, timeout_ms);
	copy_counters(tap);
}

/* The last line that is not empty. */
static void keep_last_line(const char *text, char *out, size_t cap)
{
	const char *line = text;
	size_t len = 0;
	for (const char *p = text; *p;) {
		size_t n = strcspn(p, "\n");
		if (n) {
			line = p;
			len = n;
		}
		p += n;
		p += strspn(p, "\n");
	}
	text_clean(out, cap, line, len);
}

static void listen_to_end(struct tap *tap)
{
	struct ssh_exit x;
	struct peer_heard *h = tap->heard;
	if (!ssh_transport_exit(tap->inner, EXIT_WAIT_MS, &x))
		x = (struct ssh_exit){0};
	h->exited = x.known;
	h->status = x.status;
	keep_last_line(ssh_transport_stderr(tap->inner), h->words, sizeof h->words);
}

/* A peer that never spoke has perhaps told why on its stderr, before the connection goes. */
static void tap_close(struct transport *t)
{
	struct tap *tap = of(t);
	if (!tap->pid && !tap->heard->bytes && !tap->closed)
		listen_to_end(tap);
	tap->closed = true;
	if (tap->inner->ops->close)
		tap->inner->ops->close(tap->inner);
	copy_counters(tap);
}

static void tap_free(struct transport *t)
{
	struct tap *tap = of(t);
	tap_close(t);
	tap->inner->ops->free(tap->inner);
	if (tap->pid) {
		int status = rsh_reap(tap->pid, REAP_WAIT_MS);
		tap->heard->exited = status >= 0;
		tap->heard->status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	}
	free(tap);
}

static const struct transport_ops tap_ops = {
	.pollfds = tap_pollfds,
	.read = tap_read,
	.write = tap_write,
	.shutdown = tap_shutdown,
	.close = tap_close,
	.free = tap_free,
};

struct transport *peer_tap_new(struct transport *inner, pid_t pid, struct peer_heard *heard)
{
	struct tap *tap = mem_alloc(1, sizeof *tap);
	*heard = (struct peer_heard){0};
	tap->base.ops = &tap_ops;
	memcpy(tap->base.peer, inner->peer, sizeof tap->base.peer);
	tap->inner = inner;
	tap->pid = pid;
	tap->heard = heard;
	copy_counters(tap);
	return &tap->base;
}

/* What an exit status of a program that never spoke our protocol means to us. */
static enum err_code code_of(int status)
{
	switch (status) {
	case ERR_BRAKE:
	case ERR_CONNECT:
	case ERR_AUTH:
	case ERR_PROTOCOL:
	case ERR_TIMEOUT:
	case ERR_SPACE:
	case ERR_BUSY:
		return (enum err_code)status;
	case 255: /* what ssh says when it did not get through */
	case 0:
	case -1:
		return ERR_CONNECT;
	default:
		return ERR_FAILURE;
	}
}

void peer_heard_explain(const struct peer_heard *heard, const char *command, struct err *e)
{
	char shown[TEXT_ESCAPED_MAX];
	char said[sizeof heard->words + 4];
	bool lost = e->code == ERR_CONNECT || e->code == ERR_TIMEOUT;
	if (heard->bytes || !heard->exited || !lost)
		return;
	text_escape(shown, sizeof shown, command, strlen(command));
	snprintf(said, sizeof said, "%s%s", *heard->words ? ": " : "", heard->words);
	if (heard->status < 0)
		err_set(e, ERR_CONNECT, "\"%s\" was ended by a signal before it answered%s", shown,
			said);
	else if (heard->status == 127)
		err_set(e, ERR_FAILURE,
			"\"%s\" could not be run%s; install " CLI_PROGRAM
			" there or name it by --remote-command",
			shown, said);
	else
		err_set(e, code_of(heard->status),
			"\"%s\" ended with status %d before it answered%s", shown, heard->status,
			said);
}
