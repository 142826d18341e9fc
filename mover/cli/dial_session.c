/* SPDX-License-Identifier: Apache-2.0 */
#include "dial_session.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "bulk.h"
#include "cli.h"
#include "dest.h"
#include "mem.h"
#include "output.h"
#include "parse.h"
#include "peer_address.h"
#include "peer_tap.h"
#include "rsh_spawn.h"
#include "signals.h"
#include "source.h"
#include "sshclient.h"
#include "text.h"

#define BACKOFF_FIRST (PARSE_NS_PER_S / 2)
#define BACKOFF_RETRY (15 * PARSE_NS_PER_S) /* at most this between two tries */
#define BACKOFF_WAIT  (5 * PARSE_NS_PER_S)

struct dial_session {
	const struct dial_role *role;
	struct dial_options options;
	struct run_options run;
	struct run_stats stats;
	struct peer_address peer;
	struct output output;
	struct run_outcome outcome;
	int root_fd;
	bool established;             /* the peer's program has spoken in this run */
	unsigned tries;               /* failed ones since it last did */
	uint64_t failing_since;       /* monotonic ns; 0: the last session was established */
	struct peer_heard bulk_heard; /* of bulk connections; nobody asks */
};

static const char *remote_command(const struct dial_session *d)
{
	const char *own = d->options.remote_command;
	return own ? own : d->role->remote_command;
}

static void on_remote_line(void *arg, const char *line)
{
	struct dial_session *d = arg;
	output_note(&d->output, 1, "peer: %s", line);
}

static struct transport *connect_ssh(struct dial_session *d, struct peer_heard *heard,
				     struct err *e)
{
	const struct dial_options *o = &d->options;
	int64_t ms = o->timeout / (PARSE_NS_PER_S / 1000);
	struct ssh_dial dial = {
		.host = d->peer.host,
		.port = o->port,
		.user = d->peer.user ? d->peer.user : PEER_USER_DEFAULT,
		.identity = o->identity,
		.pinned_key = o->known_host_key,
		.known_hosts = o->known_hosts,
		.ciphers = o->ciphers,
		.command = remote_command(d),
		.timeout_ms = ms < 1           ? 1
			      : ms > INT32_MAX ? INT32_MAX
					       : (int)ms,
		.cancel_fd = signals_fd(),
	};
	struct transport *t = ssh_dial(&dial, e);
	if (!t)
		return NULL;
	ssh_transport_on_stderr(t, on_remote_line, d);
	return peer_tap_new(t, 0, heard);
}

static struct transport *connect_rsh(struct dial_session *d, struct peer_heard *heard,
				     struct err *e)
{
	pid_t pid;
	int fd = rsh_spawn(d->options.rsh, &d->peer, remote_command(d), &pid, e);
	if (fd < 0)
		return NULL;
	return peer_tap_new(transport_fds(fd, fd, d->peer.host), pid, heard);
}

/* Every session counts anew; only times add up. */
static void forget_counts(struct run_stats *s)
{
	s->entries_seen = 0;
	s->files_total = 0;
	s->bytes_total = 0;
	s->files_transferred = 0;
	s->files_deleted = 0;
	s->files_failed = 0;
	s->files_changed = 0;
	s->bytes_literal = 0;
	s->bytes_matched = 0;
	s->bytes_written = 0;
	s->skipped_mounts = 0;
}

static void add_wire(struct link_counters *sum, const struct link_counters *one)
{
	sum->socket_in += one->socket_in;
	sum->socket_out += one->socket_out;
	sum->handshake_in += one->handshake_in;
	sum->handshake_out += one->handshake_out;
	sum->blocked_ns += one->blocked_ns;
	if (one->lanes > sum->lanes)
		sum->lanes = one->lanes;
}

/* One more connection for the data of a run, to the peer of the first one. */
static struct transport *dial_more(void *owner, struct err *e)
{
	struct dial_session *d = owner;
	struct peer_heard *heard = &d->bulk_heard;
	return d->options.rsh ? connect_rsh(d, heard, e) : connect_ssh(d, heard, e);
}

static unsigned more_lanes(const struct dial_session *d)
{
	uint64_t n = d->options.connections;
	return n == 0 ? BULK_AUTO : (unsigned)n - 1;
}

static void run_engine(struct dial_session *d, struct transport *t, struct run_result *result)
{
	struct run_events events = output_events(&d->output);
	if (d->role->role == ROLE_SOURCE) {
		struct source_config c = {.root_fd = d->root_fd,
					  .dialled = true,
					  .options = &d->run,
					  .events = events,
					  .stats = &d->stats,
					  .bwlimit = d->options.bwlimit,
					  .dial_more = dial_more,
					  .dial_owner = d,
					  .more_lanes = more_lanes(d)};
		source_run(&c, t, result);
		return;
	}
	struct dest_config c = {.root_fd = d->root_fd,
				.dialled = true,
				.options = &d->run,
				.events = events,
				.stats = &d->stats,
				.bwlimit = d->options.bwlimit,
				.dial_more = dial_more,
				.dial_owner = d,
				.more_lanes = more_lanes(d),
				.peer_id = d->peer.host};
	dest_run(&c, t, result);
}

/* One connection and what came of it, in d->outcome.result. */
static void one_session(struct dial_session *d)
{
	struct run_result *result = &d->outcome.result;
	struct link_counters wire = result->wire;
	struct peer_heard heard = {0};
	struct err e = {0};
	struct transport *t =
		d->options.rsh ? connect_rsh(d, &heard, &e) : connect_ssh(d, &heard, &e);
	*result = (struct run_result){0};
	if (t) {
		forget_counts(&d->stats);
		d->outcome.sessions++;
		run_engine(d, t, result);
		add_wire(&wire, &result->wire);
		if (result->err.code)
			peer_heard_explain(&heard,
					   d->options.rsh ? d->options.rsh : remote_command(d),
					   &result->err);
	} else {
		result->err = e;
	}
	result->wire = wire;
	if (heard.bytes && result->err.code != ERR_BUSY) {
		d->established = true;
		d->failing_since = 0;
		d->tries = 0;
	}
}

/* Half a second, doubled each time up to a limit, and spread so that many who lost the same peer do
 * not come back at the same moment. */
static int64_t backoff(unsigned tries, int64_t limit)
{
	int64_t delay = BACKOFF_FIRST;
	for (unsigned i = 1; i < tries && delay < limit; i++)
		delay *= 2;
	if (delay > limit)
		delay = limit;
	uint32_t dice = 0;
	if (getrandom(&dice, sizeof dice, GRND_NONBLOCK) != (ssize_t)sizeof dice)
		dice = UINT32_MAX / 2;
	return delay / 2 + (int64_t)((double)delay * dice / UINT32_MAX);
}

/* Decides what follows a failed session: the delay until the next one, or -1 to give up. */
static int64_t next_try(struct dial_session *d)
{
	enum err_code code = d->outcome.result.err.code;
	bool transport = code == ERR_CONNECT || code == ERR_TIMEOUT;
	int64_t limit = d->established ? d->options.retry_for : d->options.wait_for;
	if (signals_got() || d->outcome.result.committed || !(transport || code == ERR_BUSY))
		return -1;
	uint64_t now = run_now_ns();
	if (!d->failing_since)
		d->failing_since = now;
	int64_t left = limit - (int64_t)(now - d->failing_since);
	if (left <= 0)
		return -1;
	int64_t delay = backoff(++d->tries, d->established ? BACKOFF_RETRY : BACKOFF_WAIT);
	return delay < left ? delay : left;
}

static int run_sessions(struct dial_session *d)
{
	const struct dial_options *o = &d->options;
	struct output_config c = {
		.command = d->role->role == ROLE_SOURCE ? "push" : "pull",
		.role = d->role->role,
		.json = o->json,
		.stats = o->stats,
		.quiet = o->quiet,
		.itemize = o->itemize,
		.dry_run = o->dry_run,
		.verbose = o->verbose,
		.progress = (enum progress_mode)o->progress,
		.report_path = o->report,
	};
	output_start(&d->output, &c, &d->stats, d->peer.host);
	d->outcome.role = d->role->role;
	d->outcome.options = &d->run;
	d->outcome.stats = &d->stats;
	for (;;) {
		one_session(d);
		int64_t delay = d->outcome.result.err.code ? next_try(d) : -1;
		if (delay < 0)
			break;
		output_retry(&d->output, d->tries, delay, &d->outcome.result.err);
		if (signals_sleep(delay))
			break;
	}
	if (d->outcome.result.err.code)
		d->outcome.signal = signals_got();
	return output_finish(&d->output, &d->outcome);
}

static int prepare(struct dial_session *d, const struct opt_result *given, struct err *e)
{
	const char *directory = given->operands[d->role->directory_operand];
	const char *peer = given->operands[1 - d->role->directory_operand];
	if (dial_options_check(&d->options, given, e) < 0 ||
	    peer_address_parse(peer, &d->peer, e) < 0)
		return -1;
	d->root_fd = cli_open_dir(d->role->directory, directory, e);
	if (d->root_fd < 0 || dial_options_apply(&d->options, d->peer.path, &d->run, e) < 0)
		return -1;
	return signals_install(SIGNALS_ONCE, e);
}

int dial_command(const struct opt_command *self, const struct dial_role *role, int argc,
		 char **argv)
{
	struct opt_result given;
	struct err e = {0};
	struct dial_session *d = mem_alloc(1, sizeof *d);
	d->role = role;
	d->root_fd = -1;
	dial_options_init(&d->options);
	int code = cli_parse(self, argc, argv, &d->options, &given);
	if (code == CLI_GO_ON && prepare(d, &given, &e) < 0)
		code = cli_error(self->name, &e);
	else if (code == CLI_GO_ON)
		code = run_sessions(d);
	mem_cleanup_close(&d->root_fd);
	peer_address_release(&d->peer);
	run_options_release(&d->run);
	dial_options_release(&d->options);
	free(d);
	return code;
}
