/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "linktest.h"

enum { MIB = 1 << 20, OPPOSED = 64 * MIB, PATIENCE_MS = 60000 };

static uint64_t next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* The source dials. */
struct both {
	struct end source, destination;
};

static void both_open(struct both *x)
{
	int s[2];
	assert_true(socket_pair(s));
	end_open(&x->source, s[0], 'D', false, 0);
	end_open(&x->destination, s[1], 'S', true, 0);
}

static void both_close(struct both *x)
{
	link_expect_end(x->destination.l);
	end_close(&x->source);
	end_close(&x->destination);
}

/* A payload whose bytes follow from its number: number, length, then a pattern. */
static void fill(struct buf *b, uint64_t number, size_t n)
{
	buf_clear(b);
	put_u64(b, number);
	put_u64(b, n);
	assert_int_equal(buf_reserve(b, n), 0);
	for (size_t i = 0; i < n; i++)
		b->data[16 + i] = (uint8_t)((i * 31 + number * 7) >> 3);
	b->len += n;
}

static uint64_t check(const struct link_frame *f)
{
	struct cursor c = cursor_of(f->payload, f->length);
	uint64_t number = get_u64(&c);
	uint64_t n = get_u64(&c);
	assert_int_equal(n, cursor_left(&c));
	for (size_t i = 0; i < cursor_left(&c); i += 13)
		assert_int_equal(c.p[i], (uint8_t)((i * 31 + number * 7) >> 3));
	return number;
}

/* A thread that sends numbered frames of one type. */
struct sender {
	struct link *l;
	enum message_type type;
	uint64_t count;
	size_t size_max;
	uint64_t seed;
	pthread_t thread;
	int result;
	_Atomic uint64_t sent; /* bytes, headers included */
};

static void *send_all(void *arg)
{
	struct sender *s = arg;
	struct buf b;
	struct err e;
	buf_init(&b, FRAME_PAYLOAD_MAX);
	for (uint64_t i = 0; i < s->count && s->result == 0; i++) {
		fill(&b, i, s->seed ? next(&s->seed) % s->size_max : s->size_max);
		s->result = link_send(s->l, s->type, &b, &e);
		atomic_fetch_add(&s->sent, b.len + FRAME_HEADER_BYTES);
	}
	buf_release(&b);
	return NULL;
}

static void start(struct sender *s)
{
	assert_int_equal(pthread_create(&s->thread, NULL, send_all, s), 0);
}

static void join(struct sender *s)
{
	assert_int_equal(pthread_join(s->thread, NULL), 0);
	assert_int_equal(s->result, 0);
}

static void channels_keep_their_order(void **state)
{
	(void)state;
	enum { COUNT = 1500 };
	struct both x;
	both_open(&x);
	print_message("seeds 11, 12, 13\n");
	struct sender s[CHANNELS] = {
		{.l = x.source.l, .type = WIRE_SUMS_REQ, .count = COUNT, .size_max = 3000},
		{.l = x.source.l, .type = WIRE_ENTRIES, .count = COUNT, .size_max = 40000},
		{.l = x.source.l, .type = WIRE_SEGMENT, .count = COUNT, .size_max = 100000},
	};
	for (int i = 0; i < CHANNELS; i++) {
		s[i].seed = 11 + (uint64_t)i;
		start(&s[i]);
	}
	uint64_t got[CHANNELS] = {0};
	for (int i = 0; i < CHANNELS * COUNT; i++) {
		struct link_frame *f = end_take(&x.destination, PATIENCE_MS);
		assert_non_null(f);
		assert_int_equal(f->channel, message_channel(f->type));
		assert_int_equal(f->type, s[f->channel].type);
		assert_int_equal(check(f), got[f->channel]++);
		link_done(x.destination.l, f);
	}
	for (int i = 0; i < CHANNELS; i++)
		join(&s[i]);
	assert_int_equal(link_error(x.source.l, NULL), ERR_OK);
	both_close(&x);
}

/* Several lanes share the data channel; the others stay on the first and in order. */
static void lanes_lose_and_double_nothing(void **state)
{
	(void)state;
	enum { COUNT = 600, EXTRA = 3 };
	struct both x;
	both_open(&x);
	for (int i = 0; i < EXTRA; i++) {
		int s[2];
		assert_true(socket_pair(s));
		link_add_lane(x.source.l, transport_fds(s[0], s[0], "lane"));
		link_add_lane(x.destination.l, transport_fds(s[1], s[1], "lane"));
	}
	struct sender meta = {.l = x.source.l,
			      .type = WIRE_ENTRIES,
			      .count = COUNT,
			      .size_max = 9000,
			      .seed = 21};
	struct sender data = {.l = x.source.l,
			      .type = WIRE_SEGMENT,
			      .count = COUNT,
			      .size_max = 150000,
			      .seed = 22};
	start(&meta);
	start(&data);
	uint64_t in_order = 0;
	uint8_t seen[COUNT] = {0};
	for (int i = 0; i < 2 * COUNT; i++) {
		struct link_frame *f = end_take(&x.destination, PATIENCE_MS);
		assert_non_null(f);
		uint64_t number = check(f);
		assert_true(number < COUNT);
		if (f->channel == CH_META)
			assert_int_equal(number, in_order++);
		else
			assert_int_equal(seen[number]++, 0);
		link_done(x.destination.l, f);
	}
	join(&meta);
	join(&data);
	assert_int_equal(link_counters(x.source.l).lanes, 1 + EXTRA);
	uint64_t sent = atomic_load(&meta.sent) + atomic_load(&data.sent);
	link_close(x.source.l);
	assert_true(link_counters(x.source.l).socket_out >= sent);
	both_close(&x);
}

static void a_sender_waits_for_credit(enum message_type type, int64_t window)
{
	struct both x;
	both_open(&x);
	enum { SIZE = 32768 - 16 - FRAME_HEADER_BYTES };
	uint64_t frames = 3 * (uint64_t)window / 32768;
	struct sender s = {.l = x.source.l, .type = type, .count = frames, .size_max = SIZE};
	start(&s);
	/* What comes while nothing is given back is held: exactly one window. */
	struct link_frame *held = NULL;
	struct link_frame *f;
	int64_t bytes = 0;
	while (bytes < window) {
		assert_non_null(f = end_take(&x.destination, PATIENCE_MS));
		bytes += f->length + FRAME_HEADER_BYTES;
		f->next = held;
		held = f;
	}
	assert_int_equal(bytes, window);
	assert_null(end_take(&x.destination, 100));
	assert_true(atomic_load(&s.sent) <= (uint64_t)window);
	/* Control frames pass by. */
	assert_int_equal(LINK_SEND(x.source.l, BEGIN, begin, NULL, .clock = 1), 0);
	assert_non_null(f = end_take(&x.destination, PATIENCE_MS));
	assert_int_equal(f->type, WIRE_BEGIN);
	link_done(x.destination.l, f);
	uint64_t got = (uint64_t)window / 32768;
	while (held) {
		f = held;
		held = f->next;
		link_done(x.destination.l, f);
	}
	for (; got < frames; got++) {
		assert_non_null(f = end_take(&x.destination, PATIENCE_MS));
		assert_int_equal(check(f), got);
		link_done(x.destination.l, f);
	}
	join(&s);
	assert_true(link_counters(x.source.l).blocked_ns > 0);
	both_close(&x);
}

static void credit_of_the_meta_channel(void **state)
{
	(void)state;
	a_sender_waits_for_credit(WIRE_ENTRIES, WINDOW_META);
}

static void credit_of_the_data_channel(void **state)
{
	(void)state;
	a_sender_waits_for_credit(WIRE_SEGMENT, WINDOW_DATA);
}

/* Takes and gives back until `count` data frames have come. */
struct taker {
	struct end *end;
	uint64_t count;
	pthread_t thread;
	uint64_t got;
};

static void *take_all(void *arg)
{
	struct taker *t = arg;
	struct link_frame *f;
	while (t->got < t->count && (f = end_take(t->end, PATIENCE_MS)) != NULL) {
		t->got++;
		link_done(t->end->l, f);
	}
	return NULL;
}

static void opposed_bulk_never_deadlocks(void **state)
{
	(void)state;
	enum { FRAME = 256 << 10, COUNT = OPPOSED / FRAME };
	struct both x;
	both_open(&x);
	struct sender up = {
		.l = x.source.l, .type = WIRE_SEGMENT, .count = COUNT, .size_max = FRAME};
	struct sender down = {
		.l = x.destination.l, .type = WIRE_SUMS, .count = COUNT, .size_max = FRAME};
	struct taker at_source = {.end = &x.source, .count = COUNT};
	struct taker at_destination = {.end = &x.destination, .count = COUNT};
	start(&up);
	start(&down);
	assert_int_equal(pthread_create(&at_source.thread, NULL, take_all, &at_source), 0);
	assert_int_equal(pthread_create(&at_destination.thread, NULL, take_all, &at_destination),
			 0);
	pthread_join(at_source.thread, NULL);
	pthread_join(at_destination.thread, NULL);
	assert_int_equal(at_source.got, COUNT);
	assert_int_equal(at_destination.got, COUNT);
	join(&up);
	join(&down);
	both_close(&x);
}

/* A link with the test itself at the other end. */
struct alone {
	struct end end;
	int fd;
};

static void alone_open(struct alone *x, char peer_role, bool peer_dialled)
{
	int s[2];
	assert_true(socket_pair(s));
	end_open(&x->end, s[0], peer_role, peer_dialled, 0);
	x->fd = s[1];
}

static void alone_close(struct alone *x)
{
	end_close(&x->end);
	close(x->fd);
}

static void pings_are_answered(void **state)
{
	(void)state;
	struct alone x;
	alone_open(&x, 'S', false);
	for (uint64_t token = 1; token < 1000; token *= 3) {
		struct buf b;
		buf_init(&b, 64);
		put_u64(&b, token);
		assert_true(raw_frame(x.fd, WIRE_PING, b.data, b.len));
		uint8_t answer[FRAME_HEADER_BYTES + 8];
		assert_true(raw_read(x.fd, answer, sizeof answer));
		struct frame_header h;
		struct err e;
		assert_int_equal(frame_header_decode(&h, answer, &e), 0);
		assert_int_equal(h.type, WIRE_PONG);
		assert_int_equal(h.length, 8);
		assert_memory_equal(answer + FRAME_HEADER_BYTES, b.data, 8);
		buf_release(&b);
	}
	/* Neither these nor heartbeats and pongs are the owner's business. */
	assert_true(raw_frame(x.fd, WIRE_PONG, "\1\2\3\4\5\6\7\10", 8));
	assert_true(raw_frame(x.fd, WIRE_HEARTBEAT, "\1\0", 2));
	assert_true(raw_frame(x.fd, WIRE_BYE, "", 0));
	struct link_frame *f = end_take(&x.end, PATIENCE_MS);
	assert_non_null(f);
	assert_int_equal(f->type, WIRE_BYE);
	assert_int_equal(f->length, 0);
	link_done(x.end.l, f);
	alone_close(&x);
}

/* Frames in pieces of every kind, as a network may cut them. */
static void frames_may_come_in_pieces(void **state)
{
	(void)state;
	struct alone x;
	alone_open(&x, 'S', false);
	uint64_t seed = 404;
	print_message("seed %llu\n", (unsigned long long)seed);
	static const size_t sizes[] = {0, 1, 7, 100, 65535, 65536, 70000, 300000, MIB};
	struct buf b, wire;
	buf_init(&b, FRAME_PAYLOAD_MAX);
	buf_init(&wire, 8 * MIB);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		uint8_t header[FRAME_HEADER_BYTES];
		fill(&b, i, sizes[i]);
		frame_header_encode(header, WIRE_SEGMENT, (uint32_t)b.len);
		buf_put(&wire, header, sizeof header);
		buf_put(&wire, b.data, b.len);
	}
	for (int round = 0; round < 3; round++) {
		for (size_t at = 0; at < wire.len;) {
			size_t n = round == 0 && at < 1000 ? 1 : 1 + next(&seed) % 100000;
			n = n < wire.len - at ? n : wire.len - at;
			assert_true(raw_write(x.fd, wire.data + at, n));
			at += n;
		}
		for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
			struct link_frame *f = end_take(&x.end, PATIENCE_MS);
			assert_non_null(f);
			assert_int_equal(check(f), i);
			assert_int_equal(f->length, 16 + sizes[i]);
			link_done(x.end.l, f);
		}
	}
	buf_release(&b);
	buf_release(&wire);
	alone_close(&x);
}

/* Writes raw bytes to a link and sees it go down for them. */
static void refused(char role, bool dialled, const void *p, size_t n)
{
	struct alone x;
	alone_open(&x, role, dialled);
	assert_true(raw_write(x.fd, p, n));
	struct err why = end_wait_down(&x.end);
	assert_int_equal(why.code, ERR_PROTOCOL);
	assert_true(why.msg[0]);
	struct err e = {0};
	assert_int_equal(link_error(x.end.l, &e), ERR_PROTOCOL);
	assert_string_equal(e.msg, why.msg);
	assert_int_equal(LINK_SEND(x.end.l, PING, ping, &e, .token = 1), -1);
	assert_int_equal(e.code, ERR_PROTOCOL);
	link_close(x.end.l);
	assert_int_equal(end_downs(&x.end), 1);
	assert_null(end_take(&x.end, 0));
	alone_close(&x);
}

static void refused_frame(char role, bool dialled, uint8_t type, const void *p, size_t n)
{
	struct buf b;
	buf_init(&b, 4096);
	assert_int_equal(buf_reserve(&b, FRAME_HEADER_BYTES), 0);
	frame_header_encode(b.data, type, (uint32_t)n);
	b.len = FRAME_HEADER_BYTES;
	buf_put(&b, p, n);
	refused(role, dialled, b.data, b.len);
	buf_release(&b);
}

static void malformed_headers_are_refused(void **state)
{
	(void)state;
	static const uint8_t unknown[] = {0, 0, 0, 0, 0xee, 0, 0, 0};
	static const uint8_t nothing[] = {0, 0, 0, 0, 0, 0, 0, 0};
	static const uint8_t reserved[3][8] = {
		{8, 0, 0, 0, WIRE_PING, 1, 0, 0},
		{8, 0, 0, 0, WIRE_PING, 0, 0x80, 0},
		{8, 0, 0, 0, WIRE_PING, 0, 0, 1},
	};
	refused('S', false, unknown, sizeof unknown);
	refused('S', false, nothing, sizeof nothing);
	for (int i = 0; i < 3; i++)
		refused('S', false, reserved[i], sizeof reserved[i]);
	uint8_t header[FRAME_HEADER_BYTES];
	frame_header_encode(header, WIRE_SEGMENT, FRAME_PAYLOAD_MAX + 1);
	refused('S', false, header, sizeof header);
	frame_header_encode(header, WIRE_SEGMENT, UINT32_MAX);
	refused('S', false, header, sizeof header);
	/* What another program would say. */
	refused('S', false, "SSH-2.0-OpenSSH_9.2\r\n", 21);
}

static void wrong_senders_are_refused(void **state)
{
	(void)state;
	for (unsigned type = 1; type < 256; type++) {
		char who = message_sender((uint8_t)type);
		if (!who)
			continue;
		if (who == 'S')
			refused_frame('D', true, (uint8_t)type, "", 0);
		if (who == 'D')
			refused_frame('S', true, (uint8_t)type, "", 0);
		if (who == 'X') {
			refused_frame('S', false, (uint8_t)type, "", 0);
			refused_frame('D', false, (uint8_t)type, "", 0);
		}
	}
}

static void bad_credit_is_refused(void **state)
{
	(void)state;
	static const uint8_t for_control[] = {CH_CONTROL, 1};
	static const uint8_t for_nothing[] = {CHANNELS, 1};
	static const uint8_t unearned_meta[] = {CH_META, 1};
	static const uint8_t unearned_data[] = {CH_DATA, 1};
	static const uint8_t cut[] = {CH_DATA};
	static const uint8_t over[] = {CH_DATA, 0x81, 0x80, 0x80, 0x80, 0x10};
	refused_frame('S', false, WIRE_CREDIT, for_control, sizeof for_control);
	refused_frame('S', false, WIRE_CREDIT, for_nothing, sizeof for_nothing);
	refused_frame('S', false, WIRE_CREDIT, unearned_meta, sizeof unearned_meta);
	refused_frame('S', false, WIRE_CREDIT, unearned_data, sizeof unearned_data);
	refused_frame('S', false, WIRE_CREDIT, cut, sizeof cut);
	refused_frame('S', false, WIRE_CREDIT, over, sizeof over);
}

/* Sends what fits of an endless row of frames of 64 KiB; `sent` bytes of it have gone before. */
static uint64_t raw_try(int fd, uint8_t type, const uint8_t *zeros, uint64_t sent)
{
	uint8_t header[FRAME_HEADER_BYTES];
	frame_header_encode(header, type, 65536);
	size_t at = sent % (65536 + sizeof header);
	const uint8_t *p = at < sizeof header ? header + at : zeros;
	size_t n = at < sizeof header ? sizeof header - at : 65536 + sizeof header - at;
	ssize_t w = send(fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (w < 0)
		sched_yield();
	return w < 0 ? 0 : (uint64_t)w;
}

/* A peer that sends on without credit is cut off before it can fill the memory. */
static void exceeding_the_credit_is_refused(void **state)
{
	(void)state;
	static const struct {
		uint8_t type;
		uint64_t window;
	} channels[] = {{WIRE_SUMS_REQ, CONTROL_BACKLOG_MAX},
			{WIRE_ENTRIES, WINDOW_META},
			{WIRE_SEGMENT, WINDOW_DATA}};
	CLEANUP_FREE uint8_t *zeros = mem_alloc(1, 65536);
	for (int i = 0; i < 3; i++) {
		struct alone x;
		alone_open(&x, 'S', false);
		uint64_t limit = channels[i].window + FRAME_PAYLOAD_MAX;
		uint64_t sent = 0;
		while (end_downs(&x.end) == 0 && sent < 2 * limit)
			sent += raw_try(x.fd, channels[i].type, zeros, sent);
		assert_int_equal(end_wait_down(&x.end).code, ERR_PROTOCOL);
		link_close(x.end.l);
		uint64_t held = 0;
		struct link_frame *f;
		while ((f = end_take(&x.end, 0)) != NULL) {
			held += f->length + FRAME_HEADER_BYTES;
			link_done(x.end.l, f);
		}
		assert_in_range(held, channels[i].window, limit);
		assert_int_equal(end_downs(&x.end), 1);
		alone_close(&x);
	}
}

static void down_is_told_once(void **state)
{
	(void)state;
	for (int expected = 0; expected < 2; expected++) {
		struct both x;
		both_open(&x);
		for (int i = 0; i < 3; i++) {
			int s[2];
			assert_true(socket_pair(s));
			link_add_lane(x.source.l, transport_fds(s[0], s[0], "lane"));
			link_add_lane(x.destination.l, transport_fds(s[1], s[1], "lane"));
		}
		if (expected)
			link_expect_end(x.destination.l);
		link_close(x.source.l);
		struct err why = end_wait_down(&x.destination);
		assert_int_equal(why.code, expected ? ERR_OK : ERR_CONNECT);
		assert_int_not_equal(link_error(x.destination.l, NULL), ERR_OK);
		struct err e = {0};
		assert_int_equal(LINK_SEND(x.destination.l, PING, ping, &e, .token = 1), -1);
		assert_int_equal(e.code, ERR_CONNECT);
		link_close(x.destination.l);
		assert_int_equal(end_downs(&x.destination), 1);
		both_close(&x);
	}
}

/* Frames that came before the end are delivered, a cut one is not. */
static void what_came_before_the_end_is_delivered(void **state)
{
	(void)state;
	struct alone x;
	alone_open(&x, 'S', false);
	assert_true(raw_frame(x.fd, WIRE_BEGIN, "abc", 3));
	uint8_t header[FRAME_HEADER_BYTES];
	frame_header_encode(header, WIRE_SEGMENT, 100);
	assert_true(raw_write(x.fd, header, sizeof header));
	assert_true(raw_write(x.fd, "half", 4));
	assert_int_equal(shutdown(x.fd, SHUT_WR), 0);
	assert_int_equal(end_wait_down(&x.end).code, ERR_CONNECT);
	struct link_frame *f = end_take(&x.end, 0);
	assert_non_null(f);
	assert_int_equal(f->type, WIRE_BEGIN);
	assert_memory_equal(f->payload, "abc", 3);
	link_done(x.end.l, f);
	assert_null(end_take(&x.end, 0));
	alone_close(&x);
}

/* Senders that wait for credit are woken when the link goes down. */
static void a_waiting_sender_is_woken(void **state)
{
	(void)state;
	struct alone x;
	alone_open(&x, 'D', false);
	struct sender s = {.l = x.end.l, .type = WIRE_ENTRIES, .count = 1000, .size_max = 65536};
	start(&s);
	CLEANUP_FREE uint8_t *sink = mem_alloc_raw(WINDOW_META / 2);
	assert_true(raw_read(x.fd, sink, WINDOW_META / 2));
	close(x.fd);
	pthread_join(s.thread, NULL);
	assert_int_equal(s.result, -1);
	assert_int_equal(end_wait_down(&x.end).code, ERR_CONNECT);
	end_close(&x.end);
}

static void failing_tells_the_peer(void **state)
{
	(void)state;
	struct alone x;
	alone_open(&x, 'S', false);
	struct err why;
	err_set(&why, ERR_SPACE, "no space left");
	link_fail(x.end.l, &why);
	uint8_t header[FRAME_HEADER_BYTES];
	uint8_t payload[64];
	struct frame_header h;
	struct msg_abort m;
	struct err e = {0};
	assert_true(raw_read(x.fd, header, sizeof header));
	assert_int_equal(frame_header_decode(&h, header, &e), 0);
	assert_int_equal(h.type, WIRE_ABORT);
	assert_in_range(h.length, 1, sizeof payload);
	assert_true(raw_read(x.fd, payload, h.length));
	assert_int_equal(msg_abort_decode(&m, payload, h.length, &e), 0);
	assert_int_equal(m.code, ERR_SPACE);
	assert_int_equal(m.text.n, 13);
	assert_memory_equal(m.text.p, "no space left", 13);
	assert_int_equal(link_error(x.end.l, &e), ERR_SPACE);
	assert_string_equal(e.msg, "no space left");
	assert_int_equal(LINK_SEND(x.end.l, PING, ping, &e, .token = 1), -1);
	assert_int_equal(e.code, ERR_SPACE);
	/* A second failure and the peer's end change nothing. */
	struct err later;
	err_set(&later, ERR_FAILURE, "later");
	link_fail(x.end.l, &later);
	shutdown(x.fd, SHUT_RDWR);
	link_close(x.end.l);
	assert_int_equal(end_downs(&x.end), 1);
	assert_int_equal(x.end.why.code, ERR_SPACE);
	assert_int_equal(link_error(x.end.l, NULL), ERR_SPACE);
	alone_close(&x);
}

static void flush_means_given_to_the_socket(void **state)
{
	(void)state;
	struct alone x;
	alone_open(&x, 'D', false);
	struct buf b;
	buf_init(&b, 4096);
	for (uint64_t i = 0; i < 40; i++) {
		fill(&b, i, 100);
		assert_int_equal(link_send(x.end.l, WIRE_SEGMENT, &b, NULL), 0);
	}
	assert_int_equal(link_flush(x.end.l, PATIENCE_MS), 0);
	for (uint64_t i = 0; i < 40; i++) {
		uint8_t frame[FRAME_HEADER_BYTES + 116];
		assert_int_equal(recv(x.fd, frame, sizeof frame, MSG_DONTWAIT | MSG_WAITALL),
				 sizeof frame);
		assert_int_equal(frame[FRAME_HEADER_BYTES], i);
	}
	assert_int_equal(recv(x.fd, b.data, 1, MSG_DONTWAIT), -1);
	assert_int_equal(link_flush(x.end.l, 0), 0);
	/* Nobody reads: it gives up. */
	buf_release(&b);
	buf_init(&b, FRAME_PAYLOAD_MAX);
	fill(&b, 0, MIB);
	assert_int_equal(link_send(x.end.l, WIRE_SEGMENT, &b, NULL), 0);
	assert_int_equal(link_flush(x.end.l, 1000), -1);
	link_close(x.end.l);
	assert_int_equal(link_flush(x.end.l, 1000), -1);
	buf_release(&b);
	alone_close(&x);
}

static void what_is_too_large_is_not_sent(void **state)
{
	(void)state;
	struct both x;
	both_open(&x);
	struct buf b;
	buf_init(&b, 16);
	assert_int_equal(buf_put(&b, "0123456789abcdefg", 17), -1);
	struct err e = {0};
	assert_int_equal(link_send(x.source.l, WIRE_SEGMENT, &b, &e), -1);
	assert_int_equal(e.code, ERR_FAILURE);
	assert_int_equal(link_error(x.source.l, NULL), ERR_OK);
	buf_release(&b);
	buf_init(&b, FRAME_PAYLOAD_MAX);
	fill(&b, 9, FRAME_PAYLOAD_MAX - 16);
	assert_int_equal(link_send(x.source.l, WIRE_ENTRIES, &b, &e), 0);
	struct link_frame *f = end_take(&x.destination, PATIENCE_MS);
	assert_non_null(f);
	assert_int_equal(f->length, FRAME_PAYLOAD_MAX);
	assert_int_equal(check(f), 9);
	link_done(x.destination.l, f);
	buf_release(&b);
	both_close(&x);
}

static uint64_t clock_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* However the threads are scheduled, never more leaves than the rate allows for the time gone by.
 */
static void bandwidth_is_limited(void **state)
{
	(void)state;
	enum { RATE = 4 << 20, TOTAL = 2 * MIB };
	int s[2];
	assert_true(socket_pair(s));
	struct end end;
	uint64_t began = clock_ns();
	end_open(&end, s[0], 'D', false, RATE);
	struct sender sender = {.l = end.l, .type = WIRE_SEGMENT, .count = 64, .size_max = 40000};
	start(&sender);
	CLEANUP_FREE uint8_t *sink = mem_alloc_raw(65536);
	uint64_t got = 0;
	while (got < TOTAL) {
		ssize_t n = recv(s[1], sink, 65536, 0);
		assert_true(n > 0);
		got += (uint64_t)n;
		double seconds = (double)(clock_ns() - began) / 1e9;
		/* A tenth of a second's worth may come in one go. */
		assert_true((double)got <= seconds * RATE * 1.15 + RATE / 10.0 + 32768);
	}
	double seconds = (double)(clock_ns() - began) / 1e9;
	print_message("%.2f MiB/s of %d\n", (double)got / MIB / seconds, RATE / MIB);
	close(s[1]);
	pthread_join(sender.thread, NULL);
	end_close(&end);
}

static void lanes_have_a_maximum(void **state)
{
	(void)state;
	struct alone x;
	alone_open(&x, 'S', false);
	int far[20];
	for (int i = 0; i < 20; i++) {
		int s[2];
		assert_true(socket_pair(s));
		link_add_lane(x.end.l, transport_fds(s[0], s[0], "lane"));
		far[i] = s[1];
	}
	assert_int_equal(link_counters(x.end.l).lanes, 16);
	/* The one that was too many is closed. */
	char none;
	assert_int_equal(recv(far[19], &none, 1, 0), 0);
	assert_int_equal(recv(far[0], &none, 1, MSG_DONTWAIT), -1);
	alone_close(&x);
	for (int i = 0; i < 20; i++)
		close(far[i]);
}

/* What was a link goes on as plain bytes, and none is lost on the way. */
static void a_lane_can_be_handed_out(void **state)
{
	(void)state;
	struct alone x;
	struct err e = {0};
	alone_open(&x, 'S', false);
	assert_true(raw_frame(x.fd, WIRE_BEGIN, "abc", 3));
	struct link_frame *f = end_take(&x.end, PATIENCE_MS);
	assert_non_null(f);
	link_done(x.end.l, f);
	assert_int_equal(LINK_SEND(x.end.l, ABORT, abort, &e, .code = 3), 0);
	assert_int_equal(link_flush(x.end.l, PATIENCE_MS), 0);
	struct transport *t = link_detach(x.end.l);
	assert_non_null(t);
	uint8_t bytes[FRAME_HEADER_BYTES + 2];
	assert_true(raw_read(x.fd, bytes, sizeof bytes));
	assert_int_equal(bytes[4], WIRE_ABORT);
	assert_int_equal(t->ops->write(t, "plain", 5, &e), 5);
	assert_true(raw_read(x.fd, bytes, 5));
	assert_memory_equal(bytes, "plain", 5);
	assert_true(raw_write(x.fd, "back", 4));
	bool eof;
	assert_int_equal(t->ops->read(t, bytes, sizeof bytes, &eof, &e), 4);
	assert_memory_equal(bytes, "back", 4);
	alone_close(&x);
	t->ops->free(t);
	/* There is nothing to hand out of a link that is down. */
	alone_open(&x, 'S', false);
	shutdown(x.fd, SHUT_RDWR);
	end_wait_down(&x.end);
	assert_null(link_detach(x.end.l));
	alone_close(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(channels_keep_their_order),
		cmocka_unit_test(lanes_lose_and_double_nothing),
		cmocka_unit_test(credit_of_the_meta_channel),
		cmocka_unit_test(credit_of_the_data_channel),
		cmocka_unit_test(opposed_bulk_never_deadlocks),
		cmocka_unit_test(pings_are_answered),
		cmocka_unit_test(frames_may_come_in_pieces),
		cmocka_unit_test(malformed_headers_are_refused),
		cmocka_unit_test(wrong_senders_are_refused),
		cmocka_unit_test(bad_credit_is_refused),
		cmocka_unit_test(exceeding_the_credit_is_refused),
		cmocka_unit_test(down_is_told_once),
		cmocka_unit_test(what_came_before_the_end_is_delivered),
		cmocka_unit_test(a_waiting_sender_is_woken),
		cmocka_unit_test(failing_tells_the_peer),
		cmocka_unit_test(flush_means_given_to_the_socket),
		cmocka_unit_test(what_is_too_large_is_not_sent),
		cmocka_unit_test(bandwidth_is_limited),
		cmocka_unit_test(lanes_have_a_maximum),
		cmocka_unit_test(a_lane_can_be_handed_out),
	};
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
