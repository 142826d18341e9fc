/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue of received frames between the network thread and one or more consumers. Putting never
 * waits: what can be under way is bounded by credits and by the protocol's counts. Any thread.
 */
#ifndef SCRIBE_MAILBOX_H
#define SCRIBE_MAILBOX_H

#include <pthread.h>

#include "link.h"

struct mailbox {
	pthread_mutex_t lock;
	pthread_cond_t arrived;
	/* Guarded by lock. */
	struct link_frame *first, *last;
	size_t count;
	bool closed;
	uint64_t starved_ns;
};

void mailbox_init(struct mailbox *m);
/* Frees what is left in it without giving credit back. */
void mailbox_release(struct mailbox *m);
/* Takes ownership of f; frees it if the box is closed. */
void mailbox_put(struct mailbox *m, struct link_frame *f);
/* The oldest frame, waiting at most timeout_ms (-1 for ever); NULL after the timeout or when closed
 * and empty. */
struct link_frame *mailbox_take(struct mailbox *m, int timeout_ms);
/* Refuses further frames and wakes everybody; what is in it can still be taken. */
void mailbox_close(struct mailbox *m);
bool mailbox_closed(struct mailbox *m);
size_t mailbox_count(struct mailbox *m);

#endif
