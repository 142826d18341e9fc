/* SPDX-License-Identifier: Apache-2.0 */
/* --rsh: a program such as ssh that carries the stream in place of our own SSH. */
#ifndef SCRIBE_RSH_SPAWN_H
#define SCRIBE_RSH_SPAWN_H

#include <sys/types.h>

#include "err.h"
#include "peer_address.h"

/*
 * Starts "COMMAND... [-l USER] HOST REMOTE_COMMAND" with a socket as its stdin and stdout; stderr
 * is ours. An interrupt from the terminal goes to us alone. Returns our end of the socket and sets
 * *pid; -1 with *e: ERR_USAGE if there is no such program, else ERR_FAILURE.
 */
int rsh_spawn(const char *command, const struct peer_address *peer, const char *remote_command,
	      pid_t *pid, struct err *e);

/*
 * Waits for the program's end after the socket was closed; after timeout_ms it gets SIGTERM and
 * then SIGKILL. Returns the status as from waitpid(), -1 if it can't be known.
 */
int rsh_reap(pid_t pid, int timeout_ms);

#endif
