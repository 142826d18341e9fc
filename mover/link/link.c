/* SPDX-License-Identifier: Apache-2.0 */
#include "link.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "mem.h"

enum {
	LANES_MAX = 16,
	OUT_BYTES_MAX = 2 << 20, /* queued for sending per channel with credits */
	STAGING = 64 << 10,
	SMALL_FRAME = 16 << 10,
	READS_PER_TURN = 64,
	BWLIMIT_PIECE = 16 << 10,
	CONTROL_OUT_MAX = 8 << 20, /* control messages that wait for the socket */
};

struct out_frame {
	struct out_frame *next;
	size_t n; /* header included */
	uint8_t data[];
};

struct out_queue {
	struct out_frame *first, *last;
	size_t bytes;
};

struct lane {
	struct link *link;
	struct transport *t;
	pthread_t thread;
	int wake;
	int index;
	/* Owned by the lane's thread. */
	struct out_frame *writing; /* partly written */
	size_t written;
	uint8_t *staging; /* small frames put together */
	size_t staged, staged_out;
	uint8_t header[FRAME_HEADER_BYTES];
	size_t header_got;
	struct link_frame *reading;
	size_t got;
	uint8_t *in; /* bytes read and not yet parsed */
	size_t in_at, in_end;
	/* Copies of the transport's counters, guarded by link->lock. */
	uint64_t socket_in, socket_out, handshake_in, handshake_out;
};

struct link {
	struct link_config config;
	pthread_mutex_t lock;
	pthread_cond_t moved; /* credit came, frames left, or the link went down */
	/* All below guarded by lock. */
	struct out_queue out[CHANNELS];
	int64_t credit[CHANNELS];      /* bytes we may still send */
	uint64_t consumed[CHANNELS];   /* given back by the owner, not yet granted */
	int64_t outstanding[CHANNELS]; /* granted and received, not given back */
	struct lane *lanes[LANES_MAX];
	int lane_count, lanes_running;
	struct err error;
	bool is_down, down_called, ending, closing, closed;
	uint8_t stage;
	uint64_t last_rx, last_heartbeat, blocked_ns, rtt_ns;
	double tokens; /* of the bandwidth limit */
	uint64_t tokens_at;
	size_t unsent; /* bytes taken by lanes and not yet written */
};

static const int64_t windows[CHANNELS] = {
	[CH_CONTROL] = CONTROL_BACKLOG_MAX, [CH_META] = WINDOW_META, [CH_DATA] = WINDOW_DATA};

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void wake_lanes(struct link *l, bool all)
{
	uint64_t one = 1;
	for (int i = 0; i < (all ? l->lane_count : 1); i++) {
		ssize_t ignored = write(l->lanes[i]->wake, &one, sizeof one);
		(void)ignored;
	}
}

static void queue_frame(struct link *l, int channel, uint8_t type, const void *p, size_t n)
{
	struct out_frame *f = mem_alloc_raw(sizeof *f + FRAME_HEADER_BYTES + n);
	f->next = NULL;
	f->n = FRAME_HEADER_BYTES + n;
	frame_header_encode(f->data, type, (uint32_t)n);
	if (n)
		memcpy(f->data + FRAME_HEADER_BYTES, p, n);
	struct out_queue *q = &l->out[channel];
	if (q->last)
		q->last->next = f;
	else
		q->first = f;
	q->last = f;
	q->bytes += f->n;
	wake_lanes(l, channel == CH_DATA);
}

static void mark_down(struct link *l, const struct err *why)
{
	if (l->is_down)
		return;
	l->is_down = true;
	if (why)
		l->error = *why;
	pthread_cond_broadcast(&l->moved);
	wake_lanes(l, true);
}

int link_send(struct link *l, enum message_type type, const struct buf *b, struct err *e)
{
	int channel = message_channel((uint8_t)type);
	int64_t cost = (int64_t)(b->len + FRAME_HEADER_BYTES);
	if (b->overflow)
		return err_set(e, ERR_FAILURE, "message %s too large to send",
			       message_name((uint8_t)type));
	pthread_mutex_lock(&l->lock);
	uint64_t since = 0;
	while (!l->is_down && channel != CH_CONTROL &&
	       (l->out[channel].bytes > OUT_BYTES_MAX ||
		(l->credit[channel] < cost && l->credit[channel] <= windows[channel] / 4 * 3))) {
		if (!since)
			since = now_ns();
		pthread_cond_wait(&l->moved, &l->lock);
	}
	if (since)
		l->blocked_ns += now_ns() - since;
	int r = 0;
	if (l->is_down) {
		if (e)
			*e = l->error;
		if (e && e->code == ERR_OK)
			err_set(e, ERR_CONNECT, "connection closed");
		r = -1;
	} else {
		l->credit[channel] -= channel == CH_CONTROL ? 0 : cost;
		queue_frame(l, channel, (uint8_t)type, b->data, b->len);
		if (channel == CH_CONTROL && l->out[channel].bytes > CONTROL_OUT_MAX) {
			/* A peer that asks and never reads. */
			struct err why;
			err_set(&why, ERR_PROTOCOL,
				"the other side does not read what it asked for");
			mark_down(l, &why);
		}
	}
	pthread_mutex_unlock(&l->lock);
	return r;
}

void link_done(struct link *l, struct link_frame *f)
{
	pthread_mutex_lock(&l->lock);
	int channel = f->channel;
	uint64_t cost = f->length + FRAME_HEADER_BYTES;
	l->outstanding[channel] -= (int64_t)cost;
	if (channel != CH_CONTROL) {
		l->consumed[channel] += cost;
		if (l->consumed[channel] >= (uint64_t)windows[channel] / 4 && !l->is_down) {
			struct buf b;
			buf_init(&b, 64);
			struct msg_credit m = {.channel = (uint8_t)channel,
					       .bytes = l->consumed[channel]};
			msg_credit_encode(&m, &b);
			queue_frame(l, CH_CONTROL, WIRE_CREDIT, b.data, b.len);
			buf_release(&b);
			l->consumed[channel] = 0;
		}
	}
	pthread_mutex_unlock(&l->lock);
	free(f);
}

static int take_credit(struct link *l, const struct link_frame *f, struct err *e)
{
	struct msg_credit m;
	if (msg_credit_decode(&m, f->payload, f->length, e) < 0)
		return -1;
	if (m.channel != CH_META && m.channel != CH_DATA)
		return err_set(e, ERR_PROTOCOL, "peer granted credit for channel %u", m.channel);
	pthread_mutex_lock(&l->lock);
	l->credit[m.channel] += (int64_t)m.bytes;
	bool over = l->credit[m.channel] > windows[m.channel];
	pthread_cond_broadcast(&l->moved);
	pthread_mutex_unlock(&l->lock);
	return over ? err_set(e, ERR_PROTOCOL, "peer granted more credit than was used") : 0;
}

static int check_sender(const struct link *l, uint8_t type, struct err *e)
{
	char who = message_sender(type);
	if (who == 'B' || who == l->config.peer_role || (who == 'X' && l->config.peer_dialled))
		return 0;
	return err_set(e, ERR_PROTOCOL, "peer sent %s, which is not its part to send",
		       message_name(type));
}

/* The token of a PING is the clock when it was sent. */
static int take_pong(struct link *l, const struct link_frame *f, struct err *e)
{
	struct msg_pong m;
	if (msg_pong_decode(&m, f->payload, f->length, e) < 0)
		return -1;
	pthread_mutex_lock(&l->lock);
	uint64_t took = now_ns() - m.token;
	if (took < DEAD_SECONDS * 1000000000ull && (l->rtt_ns == 0 || took < l->rtt_ns))
		l->rtt_ns = took ? took : 1;
	pthread_mutex_unlock(&l->lock);
	return 0;
}

/* A whole frame has arrived. */
static int deliver(struct lane *ln, struct link_frame *f, struct err *e)
{
	struct link *l = ln->link;
	int r = 0;
	if (check_sender(l, f->type, e) < 0) {
		r = -1;
	} else if (f->type == WIRE_CREDIT) {
		r = take_credit(l, f, e);
	} else if (f->type == WIRE_PING) {
		struct buf b;
		buf_init(&b, 64);
		buf_put(&b, f->payload, f->length);
		r = link_send(l, WIRE_PONG, &b, e);
		buf_release(&b);
	} else if (f->type == WIRE_PONG) {
		r = take_pong(l, f, e);
	} else if (f->type != WIRE_HEARTBEAT) {
		pthread_mutex_lock(&l->lock);
		l->outstanding[f->channel] += f->length + FRAME_HEADER_BYTES;
		bool over = l->outstanding[f->channel] > windows[f->channel] + FRAME_PAYLOAD_MAX;
		pthread_mutex_unlock(&l->lock);
		if (!over) {
			l->config.route(l->config.owner, f);
			return 0;
		}
		r = err_set(e, ERR_PROTOCOL, "peer sent more than it had credit for");
	}
	free(f);
	return r;
}

/* Parses what is in ln->in into frames. */
static int parse_input(struct lane *ln, struct err *e)
{
	while (ln->in_at < ln->in_end) {
		size_t have = ln->in_end - ln->in_at;
		if (!ln->reading) {
			size_t n = FRAME_HEADER_BYTES - ln->header_got;
			if (n > have)
				n = have;
			memcpy(ln->header + ln->header_got, ln->in + ln->in_at, n);
			ln->header_got += n;
			ln->in_at += n;
			if (ln->header_got < FRAME_HEADER_BYTES)
				return 0;
			struct frame_header h;
			if (frame_header_decode(&h, ln->header, e) < 0)
				return -1;
			ln->header_got = 0;
			ln->reading = mem_alloc_raw(sizeof *ln->reading + h.length);
			ln->reading->next = NULL;
			ln->reading->length = h.length;
			ln->reading->type = h.type;
			ln->reading->channel = (uint8_t)message_channel(h.type);
			ln->got = 0;
			have = ln->in_end - ln->in_at;
		}
		size_t n = ln->reading->length - ln->got;
		if (n > have)
			n = have;
		memcpy(ln->reading->payload + ln->got, ln->in + ln->in_at, n);
		ln->got += n;
		ln->in_at += n;
		if (ln->got == ln->reading->length) {
			struct link_frame *f = ln->reading;
			ln->reading = NULL;
			if (deliver(ln, f, e) < 0)
				return -1;
		}
	}
	return 0;
}

/* Reads what is there. 1 if something came, 0 if not, -1 on error, -2 at the end of the stream. */
static int read_some(struct lane *ln, struct err *e)
{
	bool eof = false;
	ssize_t n;
	/* A large rest of a frame goes straight to its place. */
	if (ln->reading && ln->reading->length - ln->got >= STAGING) {
		n = ln->t->ops->read(ln->t, ln->reading->payload + ln->got,
				     ln->reading->length - ln->got, &eof, e);
		if (n > 0) {
			ln->got += (size_t)n;
			if (ln->got == ln->reading->length) {
				struct link_frame *f = ln->reading;
				ln->reading = NULL;
				if (deliver(ln, f, e) < 0)
					return -1;
			}
			return 1;
		}
	} else {
		n = ln->t->ops->read(ln->t, ln->in, STAGING, &eof, e);
		if (n > 0) {
			ln->in_at = 0;
			ln->in_end = (size_t)n;
			return parse_input(ln, e) < 0 ? -1 : 1;
		}
	}
	return n < 0 ? (eof ? -2 : -1) : 0;
}

static struct out_frame *take_frame(struct link *l, int channel)
{
	struct out_queue *q = &l->out[channel];
	struct out_frame *f = q->first;
	q->first = f->next;
	if (!q->first)
		q->last = NULL;
	q->bytes -= f->n;
	l->unsent += f->n;
	pthread_cond_broadcast(&l->moved);
	return f;
}

/* Fills the lane's output: one large frame, or several small ones staged together. */
static void pick_output(struct lane *ln)
{
	struct link *l = ln->link;
	pthread_mutex_lock(&l->lock);
	for (int ch = ln->index == 0 ? CH_CONTROL : CH_DATA; ch < CHANNELS && !ln->writing; ch++) {
		while (l->out[ch].first && !ln->writing) {
			size_t n = l->out[ch].first->n;
			if (n <= SMALL_FRAME && ln->staged + n > STAGING)
				break;
			if (n > SMALL_FRAME && ln->staged)
				break;
			struct out_frame *f = take_frame(l, ch);
			if (n > SMALL_FRAME) {
				ln->writing = f;
				ln->written = 0;
			} else {
				memcpy(ln->staging + ln->staged, f->data, n);
				ln->staged += n;
				free(f);
			}
		}
	}
	pthread_mutex_unlock(&l->lock);
}

static size_t allowance(struct link *l, size_t n)
{
	if (!l->config.bwlimit)
		return n;
	pthread_mutex_lock(&l->lock);
	uint64_t now = now_ns();
	double rate = (double)l->config.bwlimit;
	if (now > l->tokens_at) {
		l->tokens += (double)(now - l->tokens_at) * rate / 1e9;
		l->tokens_at = now;
	}
	double burst = rate / 10 > 32768 ? rate / 10 : 32768;
	if (l->tokens > burst)
		l->tokens = burst;
	/* Small pieces would each travel in a packet of their own. */
	size_t piece = n < BWLIMIT_PIECE ? n : BWLIMIT_PIECE;
	size_t may = l->tokens < (double)piece ? 0 : (size_t)l->tokens;
	pthread_mutex_unlock(&l->lock);
	return n < may ? n : may;
}

/* Writes what can be written now. 1 if output is left over, 0 if none, -1 on error. */
static int write_some(struct lane *ln, struct err *e)
{
	struct link *l = ln->link;
	for (int turn = 0; turn < READS_PER_TURN; turn++) {
		if (!ln->writing && !ln->staged)
			pick_output(ln);
		if (!ln->writing && !ln->staged)
			return 0;
		const uint8_t *p =
			ln->staged ? ln->staging + ln->staged_out : ln->writing->data + ln->written;
		size_t n = ln->staged ? ln->staged - ln->staged_out : ln->writing->n - ln->written;
		size_t may = allowance(l, n);
		if (may == 0)
			return 1;
		ssize_t w = ln->t->ops->write(ln->t, p, may, e);
		if (w < 0)
			return -1;
		if (w == 0)
			return 1;
		pthread_mutex_lock(&l->lock);
		l->unsent -= (size_t)w;
		l->tokens -= (double)w;
		if (l->unsent == 0)
			pthread_cond_broadcast(&l->moved);
		pthread_mutex_unlock(&l->lock);
		if (ln->staged) {
			ln->staged_out += (size_t)w;
			if (ln->staged_out == ln->staged)
				ln->staged = ln->staged_out = 0;
		} else {
			ln->written += (size_t)w;
			if (ln->written == ln->writing->n) {
				free(ln->writing);
				ln->writing = NULL;
			}
		}
	}
	return 1;
}

/* Heartbeats and the dead-peer rule; true while the link lives. */
static bool tick(struct lane *ln, bool received, struct err *e)
{
	struct link *l = ln->link;
	uint64_t now = now_ns();
	bool alive = true;
	pthread_mutex_lock(&l->lock);
	ln->socket_in = ln->t->socket_in;
	ln->socket_out = ln->t->socket_out;
	ln->handshake_in = ln->t->handshake_in;
	ln->handshake_out = ln->t->handshake_out;
	if (received)
		l->last_rx = now;
	if (ln->index == 0 && now > l->last_heartbeat + HEARTBEAT_SECONDS * 1000000000ull &&
	    !l->is_down) {
		struct buf b;
		buf_init(&b, 64);
		struct msg_heartbeat m = {.stage = l->stage};
		msg_heartbeat_encode(&m, &b);
		queue_frame(l, CH_CONTROL, WIRE_HEARTBEAT, b.data, b.len);
		buf_release(&b);
		l->last_heartbeat = now;
	}
	/* Another lane may have heard something after this one looked at the clock. */
	if (now > l->last_rx + DEAD_SECONDS * 1000000000ull) {
		err_set(e, ERR_TIMEOUT, "peer silent for %d seconds", DEAD_SECONDS);
		alive = false;
	}
	pthread_mutex_unlock(&l->lock);
	return alive;
}

static bool closing(struct link *l)
{
	pthread_mutex_lock(&l->lock);
	bool c = l->closing;
	pthread_mutex_unlock(&l->lock);
	return c;
}

/* One turn of a lane: wait, read, write. 0 to go on, -1 on error, -2 at the end of the stream. */
static int turn(struct lane *ln, bool want_write, bool *left, struct err *e)
{
	struct pollfd fds[TRANSPORT_POLLFDS + 1];
	int n = ln->t->ops->pollfds(ln->t, fds, want_write);
	fds[n] = (struct pollfd){.fd = ln->wake, .events = POLLIN};
	int timeout = ln->link->config.bwlimit && want_write ? 10 : 1000;
	if (poll(fds, (nfds_t)n + 1, timeout) < 0 && errno != EINTR)
		return err_sys(e, ERR_FAILURE, "poll");
	uint64_t drained;
	if (fds[n].revents & POLLIN) {
		ssize_t ignored = read(ln->wake, &drained, sizeof drained);
		(void)ignored;
	}
	bool received = false;
	int r = 1;
	for (int i = 0; i < READS_PER_TURN && r > 0; i++) {
		r = read_some(ln, e);
		received |= r > 0;
	}
	if (r < 0)
		return r;
	int w = write_some(ln, e);
	if (w < 0)
		return -1;
	*left = w > 0;
	return tick(ln, received, e) ? 0 : -1;
}

static void *lane_main(void *arg)
{
	struct lane *ln = arg;
	struct link *l = ln->link;
	struct err e = {0};
	bool left = false;
	int r = 0;
	while (r == 0 && !closing(l))
		r = turn(ln, left, &left, &e);
	tick(ln, false, &e);
	pthread_mutex_lock(&l->lock);
	if (r == -2 && l->ending)
		e = (struct err){0};
	else if (r == -2)
		err_set(&e, ERR_CONNECT, "connection closed by the other side");
	if (r != 0)
		mark_down(l, &e);
	bool call = r != 0 && !l->down_called;
	if (call)
		l->down_called = true;
	struct err why = l->error;
	pthread_mutex_unlock(&l->lock);
	if (call && l->config.down)
		l->config.down(l->config.owner, &why);
	return NULL;
}

static void start_lane(struct link *l, struct transport *t)
{
	struct lane *ln = mem_alloc(1, sizeof *ln);
	ln->link = l;
	ln->t = t;
	ln->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ln->staging = mem_alloc_raw(STAGING);
	ln->in = mem_alloc_raw(STAGING);
	pthread_mutex_lock(&l->lock);
	ln->index = l->lane_count;
	l->lanes[l->lane_count++] = ln;
	pthread_mutex_unlock(&l->lock);
	pthread_create(&ln->thread, NULL, lane_main, ln);
}

struct link *link_new(const struct link_config *c, struct transport *t)
{
	struct link *l = mem_alloc(1, sizeof *l);
	l->config = *c;
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->moved, NULL);
	for (int i = 0; i < CHANNELS; i++)
		l->credit[i] = windows[i];
	l->last_rx = l->last_heartbeat = l->tokens_at = now_ns();
	if (c->self)
		*c->self = l;
	start_lane(l, t);
	return l;
}

void link_add_lane(struct link *l, struct transport *t)
{
	pthread_mutex_lock(&l->lock);
	bool room = l->lane_count < LANES_MAX && !l->is_down && !l->closing;
	pthread_mutex_unlock(&l->lock);
	if (room)
		start_lane(l, t);
	else
		t->ops->free(t);
}

static void free_queue(struct out_queue *q)
{
	while (q->first) {
		struct out_frame *f = q->first;
		q->first = f->next;
		free(f);
	}
}

struct transport *link_detach(struct link *l)
{
	pthread_mutex_lock(&l->lock);
	struct lane *ln = l->lanes[0];
	bool down = l->is_down;
	l->closed = l->closing = true;
	wake_lanes(l, true);
	pthread_mutex_unlock(&l->lock);
	pthread_join(ln->thread, NULL);
	struct transport *t = down ? NULL : ln->t;
	if (t)
		ln->t = NULL;
	return t;
}

void link_close(struct link *l)
{
	pthread_mutex_lock(&l->lock);
	bool done = l->closed;
	l->closed = true;
	l->closing = true;
	mark_down(l, NULL);
	pthread_mutex_unlock(&l->lock);
	for (int i = 0; i < l->lane_count && !done; i++) {
		struct lane *ln = l->lanes[i];
		pthread_join(ln->thread, NULL);
		ln->t->ops->shutdown(ln->t, 1000);
		if (ln->t->ops->close)
			ln->t->ops->close(ln->t);
		ln->socket_in = ln->t->socket_in;
		ln->socket_out = ln->t->socket_out;
	}
}

void link_free(struct link *l)
{
	if (!l)
		return;
	link_close(l);
	for (int i = 0; i < l->lane_count; i++) {
		struct lane *ln = l->lanes[i];
		if (ln->t)
			ln->t->ops->free(ln->t);
		close(ln->wake);
		free(ln->staging);
		free(ln->in);
		free(ln->writing);
		free(ln->reading);
		free(ln);
	}
	for (int i = 0; i < CHANNELS; i++)
		free_queue(&l->out[i]);
	pthread_mutex_destroy(&l->lock);
	pthread_cond_destroy(&l->moved);
	free(l);
}

int link_flush(struct link *l, int timeout_ms)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&l->lock);
	int r = 0;
	for (;;) {
		size_t waiting = l->unsent;
		for (int i = 0; i < CHANNELS; i++)
			waiting += l->out[i].bytes;
		if (waiting == 0 || l->is_down || r == ETIMEDOUT)
			break;
		r = pthread_cond_timedwait(&l->moved, &l->lock, &until);
	}
	bool down = l->is_down;
	pthread_mutex_unlock(&l->lock);
	return down || r == ETIMEDOUT ? -1 : 0;
}

void link_expect_end(struct link *l)
{
	pthread_mutex_lock(&l->lock);
	l->ending = true;
	pthread_mutex_unlock(&l->lock);
}

void link_fail(struct link *l, const struct err *why)
{
	struct buf b;
	buf_init(&b, FRAME_PAYLOAD_MAX);
	struct msg_abort m = {.code = (uint8_t)why->code,
			      .text = {.p = (const uint8_t *)why->msg, .n = strlen(why->msg)}};
	msg_abort_encode(&m, &b);
	if (link_send(l, WIRE_ABORT, &b, NULL) == 0)
		link_flush(l, 2000);
	buf_release(&b);
	pthread_mutex_lock(&l->lock);
	mark_down(l, why);
	bool call = !l->down_called;
	l->down_called = true;
	pthread_mutex_unlock(&l->lock);
	if (call && l->config.down)
		l->config.down(l->config.owner, why);
}

enum err_code link_error(struct link *l, struct err *e)
{
	pthread_mutex_lock(&l->lock);
	if (e)
		*e = l->error;
	enum err_code code = l->is_down ? (l->error.code ? l->error.code : ERR_CONNECT) : ERR_OK;
	pthread_mutex_unlock(&l->lock);
	return code;
}

void link_ping(struct link *l)
{
	LINK_SEND(l, PING, ping, NULL, .token = now_ns());
}

void link_stage(struct link *l, enum stage stage)
{
	pthread_mutex_lock(&l->lock);
	l->stage = (uint8_t)stage;
	pthread_mutex_unlock(&l->lock);
}

struct link_counters link_counters(struct link *l)
{
	struct link_counters c = {0};
	pthread_mutex_lock(&l->lock);
	for (int i = 0; i < l->lane_count; i++) {
		c.socket_in += l->lanes[i]->socket_in;
		c.socket_out += l->lanes[i]->socket_out;
		c.handshake_in += l->lanes[i]->handshake_in;
		c.handshake_out += l->lanes[i]->handshake_out;
	}
	c.blocked_ns = l->blocked_ns;
	c.rtt_ns = l->rtt_ns;
	c.lanes = (uint64_t)l->lane_count;
	pthread_mutex_unlock(&l->lock);
	return c;
}
