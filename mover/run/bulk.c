/* SPDX-License-Identifier: Apache-2.0 */
#include "bulk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "mem.h"
#include "message.h"
#include "run.h"

enum { PUMP_BUFFER = 256 << 10 };

struct bulk_door {
	struct link *link;
	uint8_t token[BULK_TOKEN_BYTES];
	int fd, stop;
	pthread_t thread;
};

/* The abstract socket's address: known to whoever knows the token, told to nobody. */
static socklen_t address(struct sockaddr_un *a, const uint8_t token[BULK_TOKEN_BYTES])
{
	char hex[33];
	h128_hex(hex, hash128(NULL, token, BULK_TOKEN_BYTES));
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	int n = snprintf(a->sun_path + 1, sizeof a->sun_path - 1, "scribe-mover-%s", hex);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

static bool same_token(const uint8_t *a, const uint8_t *b)
{
	uint8_t differs = 0;
	for (int i = 0; i < BULK_TOKEN_BYTES; i++)
		differs |= (uint8_t)(a[i] ^ b[i]);
	return differs == 0;
}

static void admit(struct bulk_door *b, int fd)
{
	struct ucred who;
	socklen_t n = sizeof who;
	uint8_t token[BULK_TOKEN_BYTES];
	struct timeval limit = {.tv_sec = 2};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) < 0 || who.uid != geteuid() ||
	    recv(fd, token, sizeof token, MSG_WAITALL) != (ssize_t)sizeof token ||
	    !same_token(token, b->token)) {
		close(fd);
		return;
	}
	int other = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (other < 0)
		close(fd);
	else
		link_add_lane(b->link, transport_fds(fd, other, "bulk"));
}

static void *door_main(void *arg)
{
	struct bulk_door *b = arg;
	for (;;) {
		struct pollfd fds[2] = {{.fd = b->fd, .events = POLLIN},
					{.fd = b->stop, .events = POLLIN}};
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return NULL;
		if (fds[1].revents)
			return NULL;
		int fd = fds[0].revents ? accept4(b->fd, NULL, NULL, SOCK_CLOEXEC) : -1;
		if (fd >= 0)
			admit(b, fd);
	}
}

struct bulk_door *bulk_open(struct link *l, const uint8_t token[BULK_TOKEN_BYTES])
{
	struct sockaddr_un a;
	socklen_t n = address(&a, token);
	struct bulk_door *b = mem_alloc(1, sizeof *b);
	b->link = l;
	memcpy(b->token, token, sizeof b->token);
	b->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	b->stop = eventfd(0, EFD_CLOEXEC);
	if (b->fd < 0 || b->stop < 0 || bind(b->fd, (struct sockaddr *)&a, n) < 0 ||
	    listen(b->fd, BULK_LANES_MAX) < 0 ||
	    pthread_create(&b->thread, NULL, door_main, b) != 0) {
		if (b->fd >= 0)
			close(b->fd);
		if (b->stop >= 0)
			close(b->stop);
		free(b);
		return NULL;
	}
	return b;
}

void bulk_close(struct bulk_door *b)
{
	if (!b)
		return;
	uint64_t one = 1;
	ssize_t ignored = write(b->stop, &one, sizeof one);
	(void)ignored;
	pthread_join(b->thread, NULL);
	close(b->fd);
	close(b->stop);
	free(b);
}

/* Connects to the run's process and shows the token. */
static int knock(const uint8_t token[BULK_TOKEN_BYTES], struct err *e)
{
	struct sockaddr_un a;
	socklen_t n = address(&a, token);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, n) < 0 ||
	    send(fd, token, BULK_TOKEN_BYTES, MSG_NOSIGNAL) != BULK_TOKEN_BYTES) {
		if (fd >= 0)
			close(fd);
		return err_set(e, ERR_AUTH, "no run waits for this bulk connection");
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

struct pipe_half {
	uint8_t *data;
	size_t at, end;
};

/* Reads into an empty half; -1 at the end of the stream. */
static int fill_from(struct transport *t, struct pipe_half *h, struct err *e)
{
	bool eof = false;
	if (h->at < h->end)
		return 0;
	ssize_t n = t->ops->read(t, h->data, PUMP_BUFFER, &eof, e);
	h->at = 0;
	h->end = n > 0 ? (size_t)n : 0;
	return n < 0 ? -1 : (int)(n > 0);
}

static int drain_to(struct transport *t, struct pipe_half *h, struct err *e)
{
	while (h->at < h->end) {
		ssize_t n = t->ops->write(t, h->data + h->at, h->end - h->at, e);
		if (n < 0)
			return -1;
		if (n == 0)
			return 0;
		h->at += (size_t)n;
	}
	return 0;
}

/* Moves bytes both ways until one side ends. */
static void pump(struct transport *a, struct transport *b)
{
	struct pipe_half ab = {.data = mem_alloc_raw(PUMP_BUFFER)};
	struct pipe_half ba = {.data = mem_alloc_raw(PUMP_BUFFER)};
	struct err e;
	for (;;) {
		int ra = fill_from(a, &ab, &e);
		int rb = fill_from(b, &ba, &e);
		if (drain_to(b, &ab, &e) < 0 || drain_to(a, &ba, &e) < 0 || ra < 0 || rb < 0)
			break;
		if (ra > 0 || rb > 0)
			continue;
		struct pollfd fds[2 * TRANSPORT_POLLFDS];
		int n = a->ops->pollfds(a, fds, ba.at < ba.end);
		n += b->ops->pollfds(b, fds + n, ab.at < ab.end);
		/* A side whose bytes have nowhere to go yet must not wake us for more. */
		if (poll(fds, (nfds_t)n, ab.at < ab.end || ba.at < ba.end ? 10 : 1000) < 0 &&
		    errno != EINTR)
			break;
	}
	free(ab.data);
	free(ba.data);
}

static int put(struct transport *t, uint8_t type, const struct buf *b, uint64_t until,
	       struct err *e)
{
	CLEANUP_BUF struct buf out;
	buf_init(&out, FRAME_PAYLOAD_MAX + FRAME_HEADER_BYTES);
	uint8_t header[FRAME_HEADER_BYTES];
	frame_header_encode(header, type, (uint32_t)b->len);
	buf_put(&out, header, sizeof header);
	buf_put(&out, b->data, b->len);
	while (out.len) {
		ssize_t n = t->ops->write(t, out.data, out.len, e);
		if (n < 0)
			return -1;
		buf_consume(&out, (size_t)n);
		if (n == 0) {
			struct pollfd fds[TRANSPORT_POLLFDS];
			poll(fds, (nfds_t)t->ops->pollfds(t, fds, true), 100);
		}
		if (run_now_ns() > until)
			return err_set(e, ERR_TIMEOUT, "a bulk connection did not come up in time");
	}
	return 0;
}

/* Says that the lane may be used from here on. */
static int answer(struct transport *t, struct err *e)
{
	CLEANUP_BUF struct buf b;
	buf_init(&b, 64);
	struct msg_pong m = {.token = 1};
	msg_pong_encode(&m, &b);
	return put(t, WIRE_PONG, &b, run_now_ns() + BULK_TIMEOUT_MS * 1000000ull, e);
}

int bulk_serve(struct link *l, struct mailbox *in, struct err *e)
{
	struct link_frame *f = run_take(l, in, BULK_TIMEOUT_MS, e);
	if (!f)
		return -1;
	struct msg_bind m;
	int r = f->type == WIRE_BIND
			? msg_bind_decode(&m, f->payload, f->length, e)
			: err_set(e, ERR_PROTOCOL, "expected BIND, got %s", message_name(f->type));
	link_done(l, f);
	int fd = r < 0 ? -1 : knock(m.token, e);
	if (fd < 0)
		return -1;
	struct transport *run = transport_fds(fd, fcntl(fd, F_DUPFD_CLOEXEC, 0), "run");
	/* The dialling side sends nothing between BIND and the answer to it; so the connection is
	 * taken out of the link first, and nothing that comes behind the answer can end up there.
	 */
	struct transport *t = link_flush(l, BULK_TIMEOUT_MS) == 0 ? link_detach(l) : NULL;
	if (t && answer(t, e) == 0)
		pump(t, run);
	if (t) {
		t->ops->shutdown(t, 1000);
		t->ops->free(t);
	}
	run->ops->free(run);
	return t ? 0 : -1;
}

static int get_exact(struct transport *t, uint8_t *p, size_t n, uint64_t until, struct err *e)
{
	for (size_t got = 0; got < n;) {
		bool eof = false;
		ssize_t r = t->ops->read(t, p + got, n - got, &eof, e);
		if (r < 0)
			return -1;
		got += (size_t)r;
		if (r == 0) {
			struct pollfd fds[TRANSPORT_POLLFDS];
			poll(fds, (nfds_t)t->ops->pollfds(t, fds, false), 100);
		}
		if (run_now_ns() > until)
			return err_set(e, ERR_TIMEOUT,
				       "a bulk connection was not answered in time");
	}
	return 0;
}

int bulk_join(struct transport *t, const uint8_t token[BULK_TOKEN_BYTES], struct err *e)
{
	uint64_t until = run_now_ns() + BULK_TIMEOUT_MS * 1000000ull;
	struct msg_hello hello = {.magic = {'S', 'C', 'R', 'B'},
				  .version_min = PROTOCOL_VERSION,
				  .version_max = PROTOCOL_VERSION,
				  .role = ROLE_BULK};
	struct msg_bind bind_to;
	memcpy(bind_to.token, token, sizeof bind_to.token);
	CLEANUP_BUF struct buf b;
	buf_init(&b, FRAME_PAYLOAD_MAX);
	msg_hello_encode(&hello, &b);
	if (put(t, WIRE_HELLO, &b, until, e) < 0)
		return -1;
	buf_clear(&b);
	msg_bind_encode(&bind_to, &b);
	if (put(t, WIRE_BIND, &b, until, e) < 0)
		return -1;
	for (;;) {
		uint8_t header[FRAME_HEADER_BYTES];
		uint8_t payload[ABORT_TEXT_MAX + 64];
		struct frame_header h;
		if (get_exact(t, header, sizeof header, until, e) < 0 ||
		    frame_header_decode(&h, header, e) < 0)
			return -1;
		if (h.length > sizeof payload)
			return err_set(e, ERR_PROTOCOL, "peer sent %s to a bulk connection",
				       message_name(h.type));
		if (get_exact(t, payload, h.length, until, e) < 0)
			return -1;
		if (h.type == WIRE_PONG)
			return 0;
		if (h.type == WIRE_ABORT)
			return err_set(e, ERR_AUTH,
				       "the other side has no run for this bulk connection");
	}
}

struct bulk_dialler {
	struct link *link;
	uint8_t token[BULK_TOKEN_BYTES];
	unsigned count;
	bulk_dial_fn *dial;
	void *owner;
	_Atomic bool stop;
	pthread_t thread;
};

/* Waits until more lanes are worth it; their number, 0 if the run ends before. */
static unsigned wait_for_need(struct bulk_dialler *d)
{
	/* Asked while the line is still idle, and of several answers the shortest counts: behind
	 * data of our own every answer is late. */
	int asked = 0;
	while (!d->stop && link_error(d->link, NULL) == ERR_OK) {
		struct link_counters c = link_counters(d->link);
		uint64_t rtt_ms = c.rtt_ns / 1000000;
		uint64_t carried = c.socket_in + c.socket_out;
		if (asked < BULK_AUTO_PINGS) {
			link_ping(d->link);
			asked++;
		}
		if (c.rtt_ns && rtt_ms < BULK_AUTO_RTT_MS)
			return 0;
		if (c.rtt_ns && asked == BULK_AUTO_PINGS && carried >= BULK_AUTO_BYTES)
			return BULK_AUTO_LANES;
		usleep(20000);
	}
	return 0;
}

static void *dialler_main(void *arg)
{
	struct bulk_dialler *d = arg;
	if (d->count == BULK_AUTO)
		d->count = wait_for_need(d);
	for (unsigned i = 0; i < d->count && !d->stop; i++) {
		struct err e = {0};
		struct transport *t = d->dial(d->owner, &e);
		if (!t)
			break;
		if (bulk_join(t, d->token, &e) < 0) {
			t->ops->free(t);
			break;
		}
		link_add_lane(d->link, t);
	}
	return NULL;
}

struct bulk_dialler *bulk_dial(struct link *l, const uint8_t token[BULK_TOKEN_BYTES],
			       unsigned count, bulk_dial_fn *dial, void *owner)
{
	if (count == 0 || !dial)
		return NULL;
	struct bulk_dialler *d = mem_alloc(1, sizeof *d);
	d->link = l;
	memcpy(d->token, token, sizeof d->token);
	d->count = count == BULK_AUTO || count < BULK_LANES_MAX ? count : BULK_LANES_MAX;
	d->dial = dial;
	d->owner = owner;
	if (pthread_create(&d->thread, NULL, dialler_main, d) != 0) {
		free(d);
		return NULL;
	}
	return d;
}

void bulk_dial_end(struct bulk_dialler *d)
{
	if (!d)
		return;
	d->stop = true;
	pthread_join(d->thread, NULL);
	free(d);
}
