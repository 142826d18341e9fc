/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames over one or more transports ("lanes"), with credits. Lane 0 carries everything, further
 * lanes carry the data channel only. Each lane has a thread of its own which never waits for
 * anything but its sockets: it hands every received frame to the owner's route() and has granted a
 * buffer for it before.
 *
 * Sending on the meta and data channels waits for the peer's credit; sending on the control channel
 * never waits (what may be under way there is bounded by the protocol's counts, SPEC.md 6). All
 * functions may be called from any thread, except where said.
 */
#ifndef SCRIBE_LINK_H
#define SCRIBE_LINK_H

#include "buf.h"
#include "err.h"
#include "message.h"
#include "transport.h"

struct link;

/* A received frame. Give it back with link_done() when its bytes are no longer needed. */
struct link_frame {
	struct link_frame *next; /* for the holder's use */
	uint32_t length;
	uint8_t type;
	uint8_t channel;
	uint8_t payload[];
};

struct link_config {
	struct link **self; /* set before anything is called; may be NULL */
	char peer_role;     /* 'S' or 'D': messages only the other role may send are refused */
	bool peer_dialled;
	uint64_t bwlimit; /* bytes per second on the socket, 0 = none */
	/* Called on a lane's thread; must not block; takes ownership of f. */
	void (*route)(void *owner, struct link_frame *f);
	/* Called once, on a lane's thread, when the link is down; *why->code ERR_OK after a clean
	 * end. */
	void (*down)(void *owner, const struct err *why);
	void *owner;
};

/* Takes ownership of t and starts lane 0. */
struct link *link_new(const struct link_config *c, struct transport *t);
/* Adds a bulk lane. Takes ownership of t. */
void link_add_lane(struct link *l, struct transport *t);
/* Stops lane 0 and hands its transport out, for whoever goes on with it as plain bytes; the link is
 * then only fit for link_free(). NULL if it is down. */
struct transport *link_detach(struct link *l);
/* Ends all lanes and closes their transports; the counters are final then. */
void link_close(struct link *l);
/* link_close() if that was not done, then frees. Frames still held by the owner must have been
 * given back. */
void link_free(struct link *l);

/* Queues one frame whose payload is b (copied). 0, or -1 if the link is down (*e says why). */
int link_send(struct link *l, enum message_type type, const struct buf *b, struct err *e);
/* link_send() of an encoded struct msg_<name>. */
#define LINK_SEND(l, NAME, name, e, ...)                                                           \
	__extension__({                                                                            \
		struct buf b_;                                                                     \
		buf_init(&b_, FRAME_PAYLOAD_MAX);                                                  \
		const struct msg_##name m_ = {__VA_ARGS__};                                        \
		msg_##name##_encode(&m_, &b_);                                                     \
		int r_ = link_send(l, WIRE_##NAME, &b_, e);                                        \
		buf_release(&b_);                                                                  \
		r_;                                                                                \
	})

/* Frees a frame and grants its bytes to the peer again. */
void link_done(struct link *l, struct link_frame *f);

/* Waits until everything queued has been given to the sockets, at most timeout_ms. 0 or -1. */
int link_flush(struct link *l, int timeout_ms);
/* After this the peer's closing is a clean end and not an error. */
void link_expect_end(struct link *l);
/* Takes the link down with this error; the peer is told by an ABORT if it can still be reached. */
void link_fail(struct link *l, const struct err *why);
/* ERR_OK while the link is up. */
enum err_code link_error(struct link *l, struct err *e);

/* Asks the peer's link for an answer, to learn the round trip (link_counters). */
void link_ping(struct link *l);

/* What this side does now, for heartbeats. */
void link_stage(struct link *l, enum stage stage);

struct link_counters {
	uint64_t socket_in, socket_out;       /* at the sockets, handshakes included */
	uint64_t handshake_in, handshake_out; /* of which before the channel was ready */
	uint64_t blocked_ns;                  /* time senders waited for credit */
	uint64_t lanes;
	uint64_t rtt_ns; /* shortest round trip seen between the two programs, 0 = none yet */
};
struct link_counters link_counters(struct link *l);

#endif
