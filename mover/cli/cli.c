/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "text.h"

enum { OPEN_FILES = 8192 };

const struct opt_command *const cli_commands[] = {
	&command_push,    &command_pull, &command_serve,
	&command_receive, &command_send, &command_recover,
	&command_keygen,  &command_diff, &command_help,
	&command_version, NULL,
};

char *cli_error_line(char out[CLI_LINE_MAX], const char *command, const struct err *e)
{
	char line[CLI_LINE_MAX];
	char advice[128];
	const char *colon = command ? ": " : "";
	if (!command)
		command = "";
	/* The advice for a failure of no class is to read its message, which is done here. */
	if (strchr(e->msg, ';') || strstr(e->msg, "see ") || e->code == ERR_FAILURE)
		advice[0] = '\0';
	else if (e->code == ERR_USAGE)
		snprintf(advice, sizeof advice, "; see %s %s%s--help", CLI_PROGRAM, command,
			 *command ? " " : "");
	else
		snprintf(advice, sizeof advice, "; %s", err_advice(e->code));
	int n = snprintf(line, sizeof line, "%s: %s%s%s%s", CLI_PROGRAM, command, colon, e->msg,
			 advice);
	size_t len = n < 0 ? 0 : strnlen(line, sizeof line);
	return text_clean(out, CLI_LINE_MAX, line, len);
}

int cli_error(const char *command, const struct err *e)
{
	char line[CLI_LINE_MAX];
	fflush(stdout);
	fprintf(stderr, "%s\n", cli_error_line(line, command, e));
	return e->code ? (int)e->code : ERR_FAILURE;
}

int cli_finish(const char *command, int code)
{
	struct err e = {0};
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	err_sys(&e, ERR_FAILURE, "writing to standard output");
	e.code = ERR_FAILURE; /* a full disk here is not the destination's */
	int failed = cli_error(command, &e);
	return code ? code : failed;
}

int cli_parse(const struct opt_command *c, int argc, char **argv, void *target,
	      struct opt_result *r)
{
	struct err e = {0};
	if (opt_parse(c, argc, argv, target, r, &e) < 0)
		return cli_error(c->name, &e);
	if (!r->help)
		return CLI_GO_ON;
	opt_help(CLI_PROGRAM, c, stdout);
	return cli_finish(c->name, ERR_OK);
}

int cli_open_dir(const char *what, const char *path, struct err *e)
{
	char shown[TEXT_ESCAPED_MAX];
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	text_escape(shown, sizeof shown, path, strlen(path));
	int sys = errno;
	if (sys == ENOENT)
		err_set(e, ERR_USAGE, "%s %s: no such directory; name an existing directory", what,
			shown);
	else if (sys == ENOTDIR)
		err_set(e, ERR_USAGE, "%s %s: not a directory; name a directory", what, shown);
	else if (sys == EACCES)
		err_set(e, ERR_USAGE, "%s %s: permission denied; run as a user who may read it",
			what, shown);
	else
		err_sys(e, ERR_USAGE, "%s %s", what, shown);
	if (e)
		e->sys = sys;
	return -1;
}

/* A descriptor 0, 1 or 2 that is closed would be given to the next file or socket, and what is
 * printed would end up there. */
static void occupy_standard_fds(void)
{
	int fd;
	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

static int no_command(const char *first)
{
	struct err e = {0};
	if (!first) {
		err_set(&e, ERR_USAGE, "no command given; see %s --help", CLI_PROGRAM);
		return cli_error(NULL, &e);
	}
	err_set(&e, ERR_USAGE, "options stand behind the command; see %s --help", CLI_PROGRAM);
	return cli_error(NULL, &e);
}

/* Walking a deep tree holds a file or two per level; the usual soft limit is meant for select(2).
 */
static void allow_files(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= OPEN_FILES)
		return;
	limit.rlim_cur = limit.rlim_max < OPEN_FILES ? limit.rlim_max : OPEN_FILES;
	setrlimit(RLIMIT_NOFILE, &limit);
}

int cli_main(int argc, char **argv)
{
	occupy_standard_fds();
	signal(SIGPIPE, SIG_IGN);
	allow_files();
	const char *first = argc > 1 ? argv[1] : NULL;
	if (!first)
		return no_command(first);
	if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0)
		first = "help";
	else if (strcmp(first, "--version") == 0 || strcmp(first, "-V") == 0)
		first = "version";
	else if (*first == '-')
		return no_command(first);
	struct err e = {0};
	const struct opt_command *c = opt_find(cli_commands, first, &e);
	if (!c)
		return cli_error(NULL, &e);
	return c->run(c, argc - 1, argv + 1, NULL);
}
