/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A transport around another one that finds out what the engine cannot know: whether the peer's
 * program has spoken at all, and if not, how it ended and what it wrote to its stderr. So "command
 * not found" at the other side is told as such, and not as a lost connection.
 */
#ifndef SCRIBE_PEER_TAP_H
#define SCRIBE_PEER_TAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"
#include "transport.h"

struct peer_heard {
	uint64_t bytes;  /* payload that came from the peer */
	bool exited;     /* status is known */
	int status;      /* exit status of the remote command, or of --rsh; -1: by a signal */
	char words[400]; /* the last line of the remote stderr, printable; "" if none */
};

/*
 * Takes ownership of inner, which is from ssh_dial() (pid 0) or the stream of a --rsh program.
 * heard is filled while the transport lives and complete when it has been freed; the caller's, it
 * must live so long.
 */
struct transport *peer_tap_new(struct transport *inner, pid_t pid, struct peer_heard *heard);

/*
 * Makes *e of a session that ended with an error tell what the remote command said, if its program
 * never spoke. Errors of the engine after it spoke stay as they are.
 */
void peer_heard_explain(const struct peer_heard *heard, const char *command, struct err *e);

#endif
