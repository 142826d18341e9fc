/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bulk lanes: further connections that carry the data channel of a run. The dialling side opens
 * them with the run's token; on the serving side each arrives in a process of its own, which passes
 * its bytes on to the process that holds the run, over an abstract socket named after the token.
 */
#ifndef SCRIBE_BULK_H
#define SCRIBE_BULK_H

#include "link.h"
#include "mailbox.h"

enum {
	BULK_TOKEN_BYTES = 32,
	BULK_LANES_MAX = 15,
	BULK_TIMEOUT_MS = 30000,
	/* A count of lanes: as many as the round trip makes worth it, once the first connection is
	   busy. */
	BULK_AUTO = 1000,
	BULK_AUTO_BYTES = 4 << 20, /* carried by the first connection alone */
	BULK_AUTO_PINGS = 3,
	/* Below this one window fills the line, and more lanes would only share processors. */
	BULK_AUTO_RTT_MS = 5,
	BULK_AUTO_LANES = 3,
};

struct bulk_door;

/* Serving side, in the process of the run: admits lanes that bring the token (peer uid checked) and
 * adds them to l until it is closed. NULL if there can be none (the run goes on over one
 * connection). */
struct bulk_door *bulk_open(struct link *l, const uint8_t token[BULK_TOKEN_BYTES]);
/* Waits for the door's thread. NULL is fine. Call before link_free(). */
void bulk_close(struct bulk_door *b);

/* Serving side, in the lane's own process, after the peer said HELLO as bulk: takes its BIND, then
 * moves bytes between t and the run's process until either ends. Takes l apart; the caller frees it
 * after. */
int bulk_serve(struct link *l, struct mailbox *in, struct err *e);

/* Dialling side: introduces a fresh connection with the token. 0 when it may be added as a lane. */
int bulk_join(struct transport *t, const uint8_t token[BULK_TOKEN_BYTES], struct err *e);

/* Opens up to `count` lanes (or BULK_AUTO) one after the other, on a thread of its own. */
struct bulk_dialler;
typedef struct transport *bulk_dial_fn(void *owner, struct err *e);
struct bulk_dialler *bulk_dial(struct link *l, const uint8_t token[BULK_TOKEN_BYTES],
			       unsigned count, bulk_dial_fn *dial, void *owner);
/* Waits until no more lanes are being opened. NULL is fine. Call before link_free(). */
void bulk_dial_end(struct bulk_dialler *d);

#endif
