/* SPDX-License-Identifier: Apache-2.0 */
/* receive and send: one session on stdin and stdout, as an SSH server's forced command. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "mem.h"
#include "served_run.h"
#include "signals.h"
#include "text.h"
#include "transport.h"

struct stdio_options {
	const char *directory, *report;
	uint64_t bwlimit;
	unsigned verbose;
	int log_format;
};

/* What the user asked the SSH server for, if that put us in its place. */
static int check_original_command(enum role role, struct err *e)
{
	const char *asked = getenv("SSH_ORIGINAL_COMMAND");
	char shown[TEXT_ESCAPED_MAX];
	if (!asked || served_accepts(asked, role))
		return 0;
	text_escape(shown, sizeof shown, asked, strlen(asked));
	return err_set(e, ERR_USAGE, "this key may not run \"%s\"; only %s %s", shown, CLI_PROGRAM,
		       served_verb(role));
}

static int move_fd(int from, int to, struct err *e)
{
	int fd = fcntl(from, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (fd < 0)
		return err_sys(e, ERR_FAILURE, "descriptor %d", from);
	if (dup2(to, from) < 0) {
		err_sys(e, ERR_FAILURE, "descriptor %d", from);
		close(fd);
		return -1;
	}
	return fd;
}

/* Takes stdin and stdout away from everybody else: a stray print must not end up among frames. */
static struct transport *take_streams(struct err *e)
{
	const char *from = getenv("SSH_CONNECTION");
	char peer[64] = "stdin";
	if (isatty(STDIN_FILENO) || isatty(STDOUT_FILENO)) {
		err_set(e, ERR_USAGE,
			"stdin and stdout are a terminal; this is for an SSH server to run");
		return NULL;
	}
	if (from)
		text_escape(peer, sizeof peer, from, strcspn(from, " "));
	CLEANUP_FD int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null < 0) {
		err_sys(e, ERR_FAILURE, "/dev/null");
		return NULL;
	}
	int in = move_fd(STDIN_FILENO, null, e);
	int out = in < 0 ? -1 : move_fd(STDOUT_FILENO, STDERR_FILENO, e);
	if (out >= 0)
		return transport_fds(in, out, peer);
	if (in >= 0)
		close(in);
	return NULL;
}

static int session(const struct opt_command *self, const struct stdio_options *o, enum role role)
{
	struct err e = {0};
	struct log log;
	struct served s = {.root_fd = -1,
			   .bwlimit = o->bwlimit,
			   .peer_id = "ssh",
			   .report_path = o->report,
			   .log = &log};
	bool source = role == ROLE_SOURCE;
	int code = ERR_FAILURE;
	struct transport *t = NULL;
	if (check_original_command(role, &e) == 0 &&
	    (!o->report || run_report_check(o->report, &e) == 0) &&
	    served_open(&s, source ? NULL : o->directory, source ? o->directory : NULL, &e) == 0 &&
	    signals_install(SIGNALS_ONCE, &e) == 0)
		t = take_streams(&e);
	if (!t) {
		mem_cleanup_close(&s.root_fd);
		return cli_error(self->name, &e);
	}
	/* The peer hears of failures by the protocol; stderr is for what that can't carry. */
	enum log_level level = o->verbose > 1    ? LOG_LEVEL_DEBUG
			       : o->verbose == 1 ? LOG_LEVEL_INFO
						 : LOG_LEVEL_ERROR;
	log_init(&log, STDERR_FILENO, level, (enum log_format)o->log_format);
	served_run(&s, t, &code);
	log_release(&log);
	mem_cleanup_close(&s.root_fd);
	return code;
}

static int run_as(const struct opt_command *self, int argc, char **argv, enum role role)
{
	struct stdio_options o = {0};
	struct opt_result given;
	int code = cli_parse(self, argc, argv, &o, &given);
	return code == CLI_GO_ON ? session(self, &o, role) : code;
}

static int run_receive(const struct opt_command *self, int argc, char **argv, void *context)
{
	(void)context;
	return run_as(self, argc, argv, ROLE_DESTINATION);
}

static int run_send(const struct opt_command *self, int argc, char **argv, void *context)
{
	(void)context;
	return run_as(self, argc, argv, ROLE_SOURCE);
}

static const char *const log_formats[] = {"text", "json", NULL};

#define AT(member) .offset = offsetof(struct stdio_options, member)

#define DIRECTORY(NAME, HELP)                                                                      \
	{                                                                                          \
		.name = NAME, .kind = OPT_STRING, .arg = "DIR", AT(directory),                     \
		.flags = OPT_REQUIRED, .help = HELP                                                \
	}

#define COMMON                                                                                     \
	{.name = "bwlimit",                                                                        \
	 .kind = OPT_RATE,                                                                         \
	 AT(bwlimit),                                                                              \
	 .help = "send at most so many bytes per second"},                                         \
		{.name = "report",                                                                 \
		 .kind = OPT_STRING,                                                               \
		 .arg = "FILE",                                                                    \
		 AT(report),                                                                       \
		 .help = "write the report (one JSON document) to this file"},                     \
		{.name = "log-format",                                                             \
		 .kind = OPT_ENUM,                                                                 \
		 AT(log_format),                                                                   \
		 .def = "text",                                                                    \
		 .names = log_formats,                                                             \
		 .help = "form of the log on stderr"},                                             \
		{.name = "verbose",                                                                \
		 .short_name = 'v',                                                                \
		 .kind = OPT_COUNT,                                                                \
		 AT(verbose),                                                                      \
		 .help = "log more than errors"},                                                  \
	{                                                                                          \
		0                                                                                  \
	}

static const struct opt receive_options[] = {
	DIRECTORY("root", "receive into this directory"),
	COMMON,
};

static const struct opt send_options[] = {
	DIRECTORY("source", "send from this directory"),
	COMMON,
};

static const char details[] =
	"For the authorized_keys file of an SSH server, as a forced command with the option "
	"\"restrict\". The peer's own command line is not looked at beyond its first two words.";

static const char *const receive_examples[] = {
	"restrict,command=\"scribe-mover receive --root /data\" ssh-ed25519 AAAA...",
	NULL,
};

static const char *const send_examples[] = {
	"restrict,command=\"scribe-mover send --source /data\" ssh-ed25519 AAAA...",
	NULL,
};

const struct opt_command command_receive = {
	.name = "receive",
	.summary = "be the destination on stdin and stdout, run by an SSH server",
	.operands = "",
	.options = receive_options,
	.details = details,
	.examples = receive_examples,
	.run = run_receive,
};

const struct opt_command command_send = {
	.name = "send",
	.summary = "be the source on stdin and stdout, run by an SSH server",
	.operands = "",
	.options = send_options,
	.details = details,
	.examples = send_examples,
	.run = run_send,
};
