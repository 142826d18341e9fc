/* SPDX-License-Identifier: Apache-2.0 */
#include "rsh_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mem.h"
#include "rsh_words.h"
#include "text.h"

enum { TERM_GRACE_MS = 2000 };

/* Runs between fork() and exec() of a process with threads: async-signal-safe calls only. */
static void become(char **argv, int stream, int tell) __attribute__((noreturn));

static void become(char **argv, int stream, int tell)
{
	/* The terminal's interrupt would cut the line before we have reached a consistent point. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	if (dup2(stream, STDIN_FILENO) >= 0 && dup2(stream, STDOUT_FILENO) >= 0)
		execvp(argv[0], argv);
	int sys = errno;
	ssize_t ignored = write(tell, &sys, sizeof sys);
	(void)ignored;
	_exit(127);
}

/* Waits for exec() or the errno that tells why there is none. */
static int started(pid_t pid, int told, const char *program, struct err *e)
{
	int sys = 0;
	ssize_t n;
	do
		n = read(told, &sys, sizeof sys);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return 0;
	char shown[TEXT_ESCAPED_MAX];
	text_escape(shown, sizeof shown, program, strlen(program));
	waitpid(pid, NULL, 0);
	errno = sys;
	return err_sys(e, ERR_USAGE, "--rsh: cannot run %s", shown);
}

static int start(char **argv, pid_t *pid, struct err *e)
{
	int pair[2];
	int pipes[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, ERR_FAILURE, "socketpair");
	CLEANUP_FD int ours = pair[0];
	CLEANUP_FD int theirs = pair[1];
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return err_sys(e, ERR_FAILURE, "pipe");
	CLEANUP_FD int told = pipes[0];
	*pid = fork();
	if (*pid == 0)
		become(argv, theirs, pipes[1]);
	int sys = errno;
	close(pipes[1]);
	errno = sys;
	if (*pid < 0)
		return err_sys(e, ERR_FAILURE, "fork");
	if (started(*pid, told, argv[0], e) < 0)
		return -1;
	int stream = ours;
	ours = -1;
	return stream;
}

int rsh_spawn(const char *command, const struct peer_address *peer, const char *remote_command,
	      pid_t *pid, struct err *e)
{
	char **words;
	int n = rsh_words(command, &words, e);
	if (n < 0)
		return err_wrap(e, "--rsh");
	words = mem_realloc(words, (size_t)n + 5, sizeof *words);
	if (peer->user) {
		words[n++] = mem_strdup("-l");
		words[n++] = mem_strdup(peer->user);
	}
	words[n++] = mem_strdup(peer->host);
	words[n++] = mem_strdup(remote_command);
	words[n] = NULL;
	int fd = start(words, pid, e);
	rsh_words_free(words);
	return fd;
}

static bool ended(int pidfd, int timeout_ms)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	int n;
	do
		n = poll(&p, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	return n != 0;
}

int rsh_reap(pid_t pid, int timeout_ms)
{
	CLEANUP_FD int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd >= 0 && !ended(pidfd, timeout_ms)) {
		kill(pid, SIGTERM);
		if (!ended(pidfd, TERM_GRACE_MS))
			kill(pid, SIGKILL);
	}
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return status;
}
