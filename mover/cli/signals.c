/* SPDX-License-Identifier: Apache-2.0 */
#include "signals.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Set by signals_install(), read by the handler. */
static volatile sig_atomic_t signal_wake = -1;
static volatile sig_atomic_t signal_hard;
/* Set by the handler. */
static volatile sig_atomic_t signal_first;
static volatile sig_atomic_t signal_seen;

static void handle(int number)
{
	int saved = errno;
	uint64_t one = 1;
	if (signal_seen && signal_hard)
		_exit(128 + number);
	if (!signal_first)
		signal_first = number;
	if (signal_seen < INT_MAX)
		signal_seen++;
	ssize_t ignored = write(signal_wake, &one, sizeof one);
	(void)ignored;
	errno = saved;
}

int signals_install(enum signals_mode mode, struct err *e)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return err_sys(e, ERR_FAILURE, "eventfd");
	if (signal_wake >= 0)
		close(signal_wake);
	signal_wake = fd;
	signal_hard = mode == SIGNALS_ONCE;
	signal_first = 0;
	signal_seen = 0;
	struct sigaction sa = {.sa_handler = handle, .sa_flags = SA_RESTART};
	sigfillset(&sa.sa_mask);
	sigaction(SIGTERM, &sa, NULL);
	/* A program started by nohup or in the background of a script keeps ignoring these. */
	static const int polite[] = {SIGINT, SIGHUP};
	for (size_t i = 0; i < sizeof polite / sizeof *polite; i++) {
		struct sigaction old;
		if (sigaction(polite[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			sigaction(polite[i], &sa, NULL);
	}
	if (mode == SIGNALS_SESSION)
		signal(SIGINT, SIG_IGN);
	return 0;
}

int signals_got(void)
{
	return signal_first;
}

int signals_count(void)
{
	return signal_seen;
}

int signals_fd(void)
{
	return signal_wake;
}

bool signals_sleep(int64_t ns)
{
	struct pollfd p = {.fd = signal_wake, .events = POLLIN};
	struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
	if (!signal_first)
		ppoll(&p, 1, &t, NULL);
	return signal_first != 0;
}
