/* SPDX-License-Identifier: Apache-2.0 */
/* For this room's tests: loopback sockets, and a relay that can be told to misbehave. */
#ifndef SCRIBE_SSHLOOP_H
#define SCRIBE_SSHLOOP_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "sshrig.h"

/* A listening socket on the loopback; its port in *port. */
__attribute__((unused)) static int listen_loopback(uint16_t *port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof sa;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof sa) < 0 || listen(fd, 16) < 0 ||
	    getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
		die("listening: %s", strerror(errno));
	*port = ntohs(sa.sin_port);
	return fd;
}

__attribute__((unused)) static int connect_loopback(uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof sa) < 0)
		die("connecting: %s", strerror(errno));
	return fd;
}

/*
 * A process between client and server. It passes everything on to the server, and of the answers
 * the first `back` bytes; the rest it swallows, or leaves unread.
 */
__attribute__((unused)) static pid_t odd_relay(uint16_t to, size_t back, bool swallow,
					       uint16_t *port)
{
	int listening = listen_loopback(port);
	pid_t pid = fork();
	if (pid) {
		close(listening);
		return pid;
	}
	static char buf[65536];
	int client = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
	int server = connect_loopback(to);
	for (;;) {
		struct pollfd fds[2] = {{.fd = client, .events = POLLIN},
					{.fd = back || swallow ? server : -1, .events = POLLIN}};
		if (poll(fds, 2, -1) < 0)
			_exit(1);
		if (fds[0].revents) {
			ssize_t n = read(client, buf, sizeof buf);
			if (n <= 0 || send(server, buf, (size_t)n, MSG_NOSIGNAL) != n)
				_exit(0);
		}
		if (fds[1].revents) {
			ssize_t n =
				read(server, buf, back && back < sizeof buf ? back : sizeof buf);
			if (n <= 0 || (back && send(client, buf, (size_t)n, MSG_NOSIGNAL) != n))
				_exit(0);
			back -= back ? (size_t)n : 0;
		}
	}
}

__attribute__((unused)) static double seconds(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

#endif
