/* SPDX-License-Identifier: Apache-2.0 */
/* For this room's tests: keys in a temporary directory, programs, a way to die. */
#ifndef SCRIBE_SSHRIG_H
#define SCRIBE_SSHRIG_H

#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "err.h"
#include "keygen.h"

/* Keys and files of one test program. */
struct rig {
	char dir[64];
	char host[96];
	char host_pub[96];
	char user[96];
	char user_pub[96];
	char authorized[96];
};

/* Ends the process with a line; used where cmocka's longjmp must not go, such as in children. */
__attribute__((noreturn, format(printf, 1, 2), unused)) static void die(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	_exit(99);
}

__attribute__((unused)) static void rig_copy(const char *from, const char *to)
{
	char buf[4096];
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	ssize_t n = in < 0 || out < 0 ? -1 : read(in, buf, sizeof buf);
	if (n < 0 || write(out, buf, (size_t)n) != n)
		die("copying %s to %s", from, to);
	close(in);
	close(out);
}

/* A small text file, NUL-terminated. Returns buf. */
__attribute__((unused)) static char *rig_read(const char *path, char *buf, size_t cap)
{
	int in = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = in < 0 ? -1 : read(in, buf, cap - 1);
	if (n < 0)
		die("reading %s", path);
	buf[n] = '\0';
	close(in);
	return buf;
}

__attribute__((unused)) static void rig_write(const char *path, const char *text)
{
	int out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (out < 0 || write(out, text, strlen(text)) != (ssize_t)strlen(text))
		die("writing %s", path);
	close(out);
}

__attribute__((unused)) static void rig_make(struct rig *r)
{
	struct err e;
	const char *base = getenv("TMPDIR");
	snprintf(r->dir, sizeof r->dir, "%.30s/scribe-ssh-XXXXXX", base ? base : "/tmp");
	if (!mkdtemp(r->dir))
		die("mkdtemp %s", r->dir);
	snprintf(r->host, sizeof r->host, "%s/host", r->dir);
	snprintf(r->host_pub, sizeof r->host_pub, "%s/host.pub", r->dir);
	snprintf(r->user, sizeof r->user, "%s/user", r->dir);
	snprintf(r->user_pub, sizeof r->user_pub, "%s/user.pub", r->dir);
	snprintf(r->authorized, sizeof r->authorized, "%s/authorized_keys", r->dir);
	if (keygen_write(r->host, KEYGEN_ED25519, NULL, NULL, &e) < 0 ||
	    keygen_write(r->user, KEYGEN_ED25519, "someone", NULL, &e) < 0)
		die("%s", e.msg);
	rig_copy(r->user_pub, r->authorized);
}

/* Runs a program without a shell and returns its exit status; its output goes to out, or nowhere.
 */
__attribute__((unused)) static int run(const char *out, const char *const argv[])
{
	pid_t pid = fork();
	if (pid == 0) {
		int in = open("/dev/null", O_RDONLY);
		int fd = open(out ? out : "/dev/null", O_WRONLY | O_CREAT | O_TRUNC, 0600);
		dup2(in, 0);
		dup2(fd, 1);
		dup2(fd, 2);
		/* POSIX promises not to write there, in spite of the type. */
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	int status = 0;
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

__attribute__((unused)) static void rig_remove(struct rig *r)
{
	const char *argv[] = {"rm", "-rf", r->dir, NULL};
	(void)run(NULL, argv);
}

#endif
