/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "dest.h"
#include "mem.h"
#include "netdial.h"
#include "parse.h"
#include "served_run.h"
#include "signals.h"
#include "sshlisten.h"
#include "sshserver.h"

enum {
	STOP_GRACE_MS = 30000, /* for running sessions to reach a consistent point */
	END_GRACE_MS = 3000,   /* for what else is connected when the one run has ended */
	STEP_MS = 200,
	/* Exit statuses by which a session tells its parent what came of it; those below are the
	 * code of a run that ended. */
	CHILD_NO_RUN = 100,
	CHILD_LOST,
	CHILD_STOPPED,
};

struct serve_options {
	const char *root, *source, *host_key, *authorized_keys, *listen, *user, *ciphers, *report;
	uint16_t port;
	bool once, quiet;
	uint64_t published;
	int64_t retry_for;
	uint64_t bwlimit;
	unsigned verbose;
	int log_format;
};

struct serve {
	const struct opt_command *command;
	struct serve_options o;
	struct served served;
	struct log log;
	struct ssh_server *ssh;
	struct sshlisten *listen;
	struct timespec start;
	/* For --once. */
	bool ended;    /* the run has ended with code */
	bool reported; /* a session has written the report */
	int code;
	int64_t lost_until; /* net_now_ms() when a lost run is given up; 0: none is lost */
};

/* The session: a process of its own */

static void tell_authenticated(void *arg)
{
	sshlisten_authenticated(arg);
}

static void on_keys_warning(void *arg, const char *line)
{
	struct serve *s = arg;
	log_warn(&s->log, "ssh", "authorized keys: %s", line);
}

static void refuse_command(struct transport *t, enum role role)
{
	char text[160];
	snprintf(text, sizeof text,
		 CLI_PROGRAM ": serve: this is a %s; " CLI_PROGRAM " %s is served, %s to it\n",
		 role == ROLE_SOURCE ? "source" : "destination", served_verb(role),
		 role == ROLE_SOURCE ? "pull" : "push");
	ssh_transport_send_stderr(t, text);
	ssh_transport_send_exit(t, ERR_USAGE, 2000);
	t->ops->free(t);
}

static int session(struct sshlisten_conn *c, void *arg)
{
	struct serve *s = arg;
	struct ssh_session_info info;
	struct err e = {0};
	int code;
	/* A session must not outlive its parent, which is the one to be stopped. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (signals_install(SIGNALS_SESSION, &e) < 0)
		return CHILD_NO_RUN;
	if (ssh_server_reload_keys(s->ssh, &e) < 0)
		log_err(&s->log, LOG_LEVEL_WARN, "ssh", &e);
	struct transport *t = ssh_server_session(s->ssh, c->fd, tell_authenticated, c, &info, &e);
	if (!t) {
		log_err(&s->log, LOG_LEVEL_INFO, "ssh", &e);
		return CHILD_NO_RUN;
	}
	log_write(&s->log, LOG_LEVEL_INFO, "ssh",
		  LOG_KV(LOG_STR("peer", c->peer), LOG_STR("key", info.fingerprint),
			 LOG_STR("comment", info.key_comment), LOG_STR("user", info.user)),
		  "session");
	if (!served_accepts(info.command, s->served.role)) {
		log_warn(&s->log, "ssh", "%s asked for what is not served: %s", c->peer,
			 info.command);
		refuse_command(t, s->served.role);
		return CHILD_NO_RUN;
	}
	s->served.peer_id = info.fingerprint;
	switch (served_run(&s->served, t, &code)) {
	case SERVED_ENDED:
		return code;
	case SERVED_LOST:
		return CHILD_LOST;
	case SERVED_STOPPED:
		return CHILD_STOPPED;
	default:
		return CHILD_NO_RUN;
	}
}

/* The parent */

static void on_refused(void *arg, const char *peer, const char *why)
{
	struct serve *s = arg;
	log_warn(&s->log, "ssh", "%s turned away: %s", peer, why);
}

static void on_exit_of_session(void *arg, pid_t pid, int status, bool authenticated,
			       const char *peer)
{
	struct serve *s = arg;
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : CHILD_LOST;
	if (!WIFEXITED(status) && authenticated)
		log_error(&s->log, "ssh", "the session of %s (process %ld) was ended by signal %d",
			  peer, (long)pid, WTERMSIG(status));
	if (!authenticated || code == CHILD_NO_RUN || s->ended)
		return;
	if (code == CHILD_LOST) {
		s->lost_until = net_now_ms() + s->o.retry_for / (PARSE_NS_PER_S / 1000);
		return;
	}
	s->reported = true;
	if (code == CHILD_STOPPED)
		return;
	s->ended = s->o.once;
	s->code = code;
	s->lost_until = 0;
}

/* Ends all sessions: at once if they take longer than grace_ms, or at a second signal. */
static void end_sessions(struct serve *s, int grace_ms)
{
	int64_t deadline = net_now_ms() + grace_ms;
	bool killed = false;
	struct err e = {0};
	sshlisten_stop(s->listen);
	sshlisten_signal(s->listen, SIGTERM, false);
	while (sshlisten_children(s->listen) > 0) {
		if (!killed && (signals_count() > 1 || net_now_ms() > deadline)) {
			sshlisten_signal(s->listen, SIGKILL, false);
			killed = true;
		}
		if (sshlisten_step(s->listen, -1, STEP_MS, &e) < 0)
			break;
	}
}

/* Milliseconds until the lost run is given up; -1: there is none, or somebody is connected who may
 * be continuing it. */
static int patience(const struct serve *s)
{
	if (!s->o.once || !s->lost_until || sshlisten_authenticated_children(s->listen) > 0)
		return -1;
	int64_t left = s->lost_until - net_now_ms();
	return left < 0 ? 0 : left > 60000 ? 60000 : (int)left;
}

static int serve_loop(struct serve *s, struct err *e)
{
	for (;;) {
		int wait_ms = patience(s);
		if (wait_ms == 0)
			return err_set(
				e, ERR_TIMEOUT,
				"the connection was lost during a run and did not come again");
		int r = sshlisten_step(s->listen, signals_fd(), wait_ms, e);
		if (r < 0)
			return -1;
		if (s->ended) {
			end_sessions(s, END_GRACE_MS);
			return 0;
		}
		if (!signals_got())
			continue;
		log_info(&s->log, "serve", "stopping");
		end_sessions(s, STOP_GRACE_MS);
		return 0;
	}
}

static void save_failure(struct serve *s, const struct err *e, int signal)
{
	struct err why = {0};
	struct run_outcome out = {
		.role = s->served.role, .start = s->start, .signal = signal, .result.err = *e};
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	out.duration_ns =
		(now.tv_sec - s->start.tv_sec) * PARSE_NS_PER_S + now.tv_nsec - s->start.tv_nsec;
	run_outcome_judge(&out);
	struct report *r = run_report_new(&out, NULL);
	if (run_report_save(r, s->o.report, &why) < 0)
		cli_error(s->command->name, &why);
	report_free(r);
}

/* Where --once ends without a run that ended. */
static int end_without_run(struct serve *s, int signal, struct err *e)
{
	if (signal)
		err_set(e, ERR_FAILURE, "ended by signal %d before a run was committed", signal);
	if (s->o.report && !s->reported)
		save_failure(s, e, signal);
	if (!signal)
		return cli_error(s->command->name, e);
	log_warn(&s->log, "serve", "%s", e->msg);
	return 128 + signal;
}

static int serve(struct serve *s, struct err *e)
{
	struct sshlisten_config c = {.address = s->o.listen,
				     .port = s->o.port,
				     .child = session,
				     .exited = on_exit_of_session,
				     .refused = on_refused,
				     .arg = s};
	s->listen = sshlisten_new(&c, e);
	if (!s->listen)
		return -1;
	printf("listening on %s\n", sshlisten_where(s->listen));
	fflush(stdout);
	return serve_loop(s, e);
}

/* Ends at once if the last committed run is one that was not published yet. */
static int check_published(struct serve *s, const struct opt_result *given, struct err *e)
{
	struct dest_record record = {0};
	if (!opt_given(given, "published"))
		return 0;
	if (dest_record_read(s->served.root_fd, &record, e) < 0)
		return -1;
	if (!record.present || record.sync_number <= s->o.published)
		return 0;
	struct run_options options;
	run_options_init(&options);
	memcpy(options.run_id, record.run_id, sizeof options.run_id);
	free(options.source_id);
	options.source_id = mem_strdup(record.source_id);
	options.sync_number = record.sync_number;
	options.data_as_of = record.data_as_of;
	options.data_as_of_ns = record.data_as_of_ns;
	struct run_outcome out = {.role = ROLE_DESTINATION,
				  .options = &options,
				  .start = s->start,
				  .recorded = true,
				  .result = {.committed = true,
					     .hash_destination = record.root_hash}};
	log_info(&s->log, "serve", "sync %llu was committed already",
		 (unsigned long long)record.sync_number);
	struct report *r = run_report_new(&out, NULL);
	int rc = s->o.report ? run_report_save(r, s->o.report, e) : 0;
	report_free(r);
	run_options_release(&options);
	return rc < 0 ? -1 : 1;
}

static int prepare(struct serve *s, const struct opt_result *given, struct err *e)
{
	if (s->o.report && run_report_check(s->o.report, e) < 0)
		return -1;
	if (opt_given(given, "published") && !s->o.root)
		return err_set(e, ERR_USAGE, "--published: only a --root has committed runs");
	if (served_open(&s->served, s->o.root, s->o.source, e) < 0)
		return -1;
	struct ssh_server_config c = {.host_key = s->o.host_key,
				      .authorized_keys = s->o.authorized_keys,
				      .user = s->o.user,
				      .ciphers = s->o.ciphers,
				      .warn = on_keys_warning,
				      .warn_arg = s};
	s->ssh = ssh_server_new(&c, e);
	if (!s->ssh || signals_install(SIGNALS_COUNT, e) < 0)
		return -1;
	signal(SIGHUP, SIG_IGN);
	return check_published(s, given, e);
}

static int run_serve(struct serve *s, const struct opt_result *given)
{
	struct err e = {0};
	int rc = prepare(s, given, &e);
	if (rc > 0)
		return ERR_OK;
	if (rc == 0)
		rc = serve(s, &e);
	if (rc < 0)
		return s->o.once ? end_without_run(s, 0, &e) : cli_error(s->command->name, &e);
	if (!s->o.once)
		return ERR_OK;
	return s->ended ? s->code : end_without_run(s, signals_got(), &e);
}

static int run(const struct opt_command *self, int argc, char **argv, void *context)
{
	struct opt_result given;
	struct serve *s = mem_alloc(1, sizeof *s);
	(void)context;
	s->command = self;
	s->served.root_fd = -1;
	clock_gettime(CLOCK_REALTIME, &s->start);
	int code = cli_parse(self, argc, argv, &s->o, &given);
	if (code == CLI_GO_ON) {
		enum log_level level = s->o.quiet     ? LOG_LEVEL_WARN
				       : s->o.verbose ? LOG_LEVEL_DEBUG
						      : LOG_LEVEL_INFO;
		log_init(&s->log, STDERR_FILENO, level, (enum log_format)s->o.log_format);
		s->served.log = &s->log;
		s->served.bwlimit = s->o.bwlimit;
		s->served.report_path = s->o.report;
		code = run_serve(s, &given);
		sshlisten_free(s->listen);
		ssh_server_free(s->ssh);
		mem_cleanup_close(&s->served.root_fd);
		log_release(&s->log);
	}
	free(s);
	return code;
}

static const char *const log_formats[] = {"text", "json", NULL};

#define AT(member) .offset = offsetof(struct serve_options, member)

static const struct opt options[] = {
	{.name = "root",
	 .kind = OPT_STRING,
	 .arg = "DIR",
	 AT(root),
	 .help = "receive into this directory; peers push"},
	{.name = "source",
	 .kind = OPT_STRING,
	 .arg = "DIR",
	 AT(source),
	 .help = "send from this directory; peers pull"},
	{.name = "host-key",
	 .kind = OPT_STRING,
	 .arg = "FILE",
	 AT(host_key),
	 .flags = OPT_REQUIRED,
	 .help = "private key of this server"},
	{.name = "authorized-keys",
	 .kind = OPT_STRING,
	 .arg = "FILE",
	 AT(authorized_keys),
	 .flags = OPT_REQUIRED,
	 .help = "public keys that are let in; read again for each session"},
	{.name = "user",
	 .kind = OPT_STRING,
	 .arg = "NAME",
	 AT(user),
	 .help = "the only user name let in; any, if left out"},
	{.name = "listen",
	 .kind = OPT_STRING,
	 .arg = "ADDR",
	 AT(listen),
	 .help = "address to listen on; all, if left out"},
	{.name = "port",
	 .short_name = 'p',
	 .kind = OPT_PORT,
	 .flags = OPT_ZERO_OK,
	 AT(port),
	 .def = "22",
	 .help = "port to listen on; 0 takes a free one"},
	{.name = "cipher",
	 .kind = OPT_STRING,
	 .arg = "LIST",
	 AT(ciphers),
	 .flags = OPT_DEF_TEXT,
	 .def = "aes128-gcm@openssh.com,aes256-gcm@openssh.com",
	 .help = "SSH ciphers to offer, with commas between them"},
	{.name = "bwlimit",
	 .kind = OPT_RATE,
	 AT(bwlimit),
	 .help = "send at most so many bytes per second and session"},
	{.name = "once",
	 .kind = OPT_FLAG,
	 AT(once),
	 .help = "end when a run ends; exit 0 means that it was committed"},
	{.name = "published",
	 .kind = OPT_U64,
	 AT(published),
	 .help = "with --once: end at once if a sync above this number is committed already"},
	{.name = "retry-for",
	 .kind = OPT_DURATION,
	 AT(retry_for),
	 .def = "10m",
	 .help = "with --once: how long a lost run may stay away"},
	{.name = "report",
	 .kind = OPT_STRING,
	 .arg = "FILE",
	 AT(report),
	 .help = "write the report of the last run (one JSON document) to this file"},
	{.name = "log-format",
	 .kind = OPT_ENUM,
	 AT(log_format),
	 .def = "text",
	 .names = log_formats,
	 .help = "form of the log on stderr"},
	{.name = "verbose", .short_name = 'v', .kind = OPT_COUNT, AT(verbose), .help = "log more"},
	{.name = "quiet",
	 .short_name = 'q',
	 .kind = OPT_FLAG,
	 AT(quiet),
	 .help = "log warnings and errors only"},
	{0},
};

static const struct opt_rule rules[] = {
	{"root", OPT_ONE_OF, "source"},
	{"root", OPT_EXCLUDES, "source"},
	{"published", OPT_NEEDS, "once"},
	{"quiet", OPT_EXCLUDES, "verbose"},
	{0},
};

static const char *const examples[] = {
	"scribe-mover serve --root /data --host-key host --authorized-keys keys --port 8022",
	"scribe-mover serve --once --root /data --host-key host --authorized-keys keys --port 0",
	NULL,
};

const struct opt_command command_serve = {
	.name = "serve",
	.summary = "wait for peers that push to or pull from a directory",
	.operands = "",
	.options = options,
	.rules = rules,
	.details =
		"An SSH server for this purpose alone: public keys only, no shell, no terminal, no "
		"forwarding. When it is ready it prints \"listening on ADDR:PORT\" on standard "
		"output. "
		"Each session is a process of its own.\n"
		"After SIGTERM running sessions reach a consistent point, then a daemon ends with "
		"0 and "
		"--once with 143. Without --once it serves until then. With --once it ends when a "
		"run "
		"was committed, was ended with a reason, or was lost for longer than --retry-for; "
		"strangers and dry runs do not end it.",
	.examples = examples,
	.run = run,
};
