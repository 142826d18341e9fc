/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "message.h"

/* What messages.def says, as data: one table of fields per message, so that every test is written
 * once. */
enum kind { K_U8, K_U16, K_U64, K_VAR, K_SVAR, K_H128, K_FIX, K_BYTES, K_REST };

struct field {
	enum kind kind;
	size_t at; /* offset in the struct */
	uint64_t max;
	const char *name;
};

enum { FIELDS_MAX = 24, ROUNDS = 200 };

struct kind_of_message {
	const char *name;
	uint8_t type;
	int channel;
	char sender;
	size_t size;
	size_t (*fields)(struct field *out);
	void (*encode)(const void *m, struct buf *out);
	int (*decode)(void *m, const uint8_t *p, size_t n, struct err *e);
};

#define FIELD(k, f, m)                                                                             \
	out[n++] = (struct field){.kind = k, .at = offsetof(self, f), .max = m, .name = #f};
#define U8(f)       FIELD(K_U8, f, 0)
#define U16(f)      FIELD(K_U16, f, 0)
#define U64(f)      FIELD(K_U64, f, 0)
#define VAR(f, m)   FIELD(K_VAR, f, m)
#define SVAR(f)     FIELD(K_SVAR, f, 0)
#define H128(f)     FIELD(K_H128, f, 0)
#define FIX(f, len) FIELD(K_FIX, f, len)
#define BYTES(f, m) FIELD(K_BYTES, f, m)
#define REST(f, m)  FIELD(K_REST, f, m)
#define MESSAGE(NAME, low, type, channel, sender, list)                                            \
	static size_t fields_##low(struct field *out)                                              \
	{                                                                                          \
		typedef struct msg_##low self;                                                     \
		size_t n = 0;                                                                      \
		(void)sizeof(self);                                                                \
		(void)out;                                                                         \
		list return n;                                                                     \
	}                                                                                          \
	static void encode_##low(const void *m, struct buf *out)                                   \
	{                                                                                          \
		msg_##low##_encode(m, out);                                                        \
	}                                                                                          \
	static int decode_##low(void *m, const uint8_t *p, size_t n, struct err *e)                \
	{                                                                                          \
		return msg_##low##_decode(m, p, n, e);                                             \
	}
#include "messages.def"
#undef MESSAGE

#define MESSAGE(NAME, low, type, channel, sender, list)                                            \
	{#NAME,        type,         CH_##channel, #sender[0], sizeof(struct msg_##low),           \
	 fields_##low, encode_##low, decode_##low},
static const struct kind_of_message messages[] = {
#include "messages.def"
};
#undef MESSAGE

enum { MESSAGES = sizeof messages / sizeof messages[0] };

static uint64_t next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* One message under test: its struct, and the bytes its ranges point into. */
struct trial {
	const struct kind_of_message *k;
	struct field fields[FIELDS_MAX];
	size_t n;
	uint8_t *m;
	uint8_t *pool; /* random bytes, more than any range may have */
	uint64_t seed;
};

enum { POOL = FRAME_PAYLOAD_MAX + 1 };

static void trial_init(struct trial *t, const struct kind_of_message *k, uint64_t seed)
{
	*t = (struct trial){.k = k, .seed = seed};
	t->n = k->fields(t->fields);
	assert_true(t->n <= FIELDS_MAX);
	t->m = mem_alloc(1, k->size);
	t->pool = mem_alloc_raw(POOL);
	for (size_t i = 0; i < POOL; i += 8) {
		uint64_t v = next(&seed);
		memcpy(t->pool + i, &v, POOL - i < 8 ? POOL - i : 8);
	}
}

static void trial_release(struct trial *t)
{
	free(t->m);
	free(t->pool);
}

static void set_u64(struct trial *t, const struct field *f, uint64_t v)
{
	memcpy(t->m + f->at, &v, sizeof v);
}

static void set_range(struct trial *t, const struct field *f, size_t n)
{
	struct bytes r = {.p = t->pool, .n = n};
	memcpy(t->m + f->at, &r, sizeof r);
}

static void set_random(struct trial *t, const struct field *f)
{
	uint64_t v = next(&t->seed);
	v >>= next(&t->seed) % 64;
	uint16_t small = (uint16_t)v;
	struct h128 h = {.lo = v, .hi = next(&t->seed)};
	switch (f->kind) {
	case K_U8:
		t->m[f->at] = (uint8_t)v;
		break;
	case K_U16:
		memcpy(t->m + f->at, &small, sizeof small);
		break;
	case K_VAR:
		set_u64(t, f, f->max == UINT64_MAX ? v : v % (f->max + 1));
		break;
	case K_U64:
	case K_SVAR:
		set_u64(t, f, v);
		break;
	case K_H128:
		memcpy(t->m + f->at, &h, sizeof h);
		break;
	case K_FIX:
		memcpy(t->m + f->at, t->pool + v % 1000, f->max);
		break;
	case K_BYTES:
	case K_REST:
		set_range(t, f, v % ((f->max < 200 ? f->max : 200) + 1));
		break;
	}
}

static void set_largest(struct trial *t, const struct field *f)
{
	static const struct h128 ones = {.lo = UINT64_MAX, .hi = UINT64_MAX};
	static const uint16_t all = UINT16_MAX;
	switch (f->kind) {
	case K_U8:
		t->m[f->at] = UINT8_MAX;
		break;
	case K_U16:
		memcpy(t->m + f->at, &all, sizeof all);
		break;
	case K_VAR:
		set_u64(t, f, f->max);
		break;
	case K_U64:
		set_u64(t, f, UINT64_MAX);
		break;
	case K_SVAR:
		set_u64(t, f, (uint64_t)1 << 63);
		break;
	case K_H128:
		memcpy(t->m + f->at, &ones, sizeof ones);
		break;
	case K_FIX:
		memset(t->m + f->at, 0xff, f->max);
		break;
	case K_BYTES:
	case K_REST:
		set_range(t, f, f->max);
		break;
	}
}

static bool ends_in_rest(const struct trial *t)
{
	return t->n && t->fields[t->n - 1].kind == K_REST;
}

static int decode(const struct trial *t, void *into, const uint8_t *p, size_t n)
{
	struct err e = {0};
	int r = t->k->decode(into, p, n, &e);
	if (r < 0) {
		assert_int_equal(e.code, ERR_PROTOCOL);
		assert_non_null(strstr(e.msg, t->k->name));
	} else {
		assert_int_equal(e.code, ERR_OK);
	}
	return r;
}

/* The bytes alone in memory of their exact size, so that a read beyond them is seen. */
static int decode_exact(const struct trial *t, const uint8_t *p, size_t n)
{
	CLEANUP_FREE uint8_t *into = mem_alloc_raw(t->k->size);
	CLEANUP_FREE uint8_t *copy = mem_alloc_raw(n);
	if (n)
		memcpy(copy, p, n);
	return decode(t, into, copy, n);
}

/* decode, encode again: the same bytes. */
static void check_round_trip(const struct trial *t, const struct buf *b)
{
	CLEANUP_FREE uint8_t *back = mem_alloc_raw(t->k->size);
	memset(back, 0xa5, t->k->size);
	uint8_t none = 0;
	if (decode(t, back, b->len ? b->data : &none, b->len) < 0)
		fail_msg("%s of %zu bytes was refused", t->k->name, b->len);
	struct buf again;
	buf_init(&again, FRAME_PAYLOAD_MAX);
	t->k->encode(back, &again);
	assert_int_equal(again.len, b->len);
	if (b->len)
		assert_memory_equal(again.data, b->data, b->len);
	buf_release(&again);
}

static void every_message_round_trips(void **state)
{
	(void)state;
	uint64_t seed = 1;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (size_t i = 0; i < MESSAGES; i++) {
		struct trial t;
		trial_init(&t, &messages[i], seed + i);
		for (int round = 0; round < ROUNDS; round++) {
			for (size_t f = 0; f < t.n; f++)
				set_random(&t, &t.fields[f]);
			struct buf b;
			buf_init(&b, FRAME_PAYLOAD_MAX);
			t.k->encode(t.m, &b);
			assert_false(b.overflow);
			check_round_trip(&t, &b);
			buf_release(&b);
		}
		trial_release(&t);
	}
}

/* Cut before its REST a message lacks something at every length; behind that, REST is just shorter.
 */
static void every_truncation_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < MESSAGES; i++) {
		struct trial t;
		trial_init(&t, &messages[i], 1000 + i);
		for (size_t f = 0; f < t.n; f++)
			set_random(&t, &t.fields[f]);
		if (ends_in_rest(&t))
			set_range(&t, &t.fields[t.n - 1], 0);
		struct buf b;
		buf_init(&b, FRAME_PAYLOAD_MAX);
		t.k->encode(t.m, &b);
		for (size_t cut = 0; cut < b.len; cut++)
			if (decode_exact(&t, b.data, cut) == 0)
				fail_msg("%s cut to %zu of %zu was taken", t.k->name, cut, b.len);
		assert_int_equal(decode_exact(&t, b.data, b.len), 0);
		buf_put_u8(&b, 0);
		if ((decode_exact(&t, b.data, b.len) == 0) != ends_in_rest(&t))
			fail_msg("%s with one byte more", t.k->name);
		buf_release(&b);
		trial_release(&t);
	}
}

static void the_largest_message_is_taken_and_fits_a_frame(void **state)
{
	(void)state;
	for (size_t i = 0; i < MESSAGES; i++) {
		struct trial t;
		trial_init(&t, &messages[i], 2000 + i);
		for (size_t f = 0; f < t.n; f++)
			set_largest(&t, &t.fields[f]);
		struct buf b;
		buf_init(&b, FRAME_PAYLOAD_MAX);
		t.k->encode(t.m, &b);
		if (b.overflow)
			fail_msg("%s can be larger than a frame", t.k->name);
		check_round_trip(&t, &b);
		buf_release(&b);
		trial_release(&t);
	}
}

static void what_is_over_a_maximum_is_refused(void **state)
{
	(void)state;
	unsigned checked = 0;
	for (size_t i = 0; i < MESSAGES; i++) {
		struct trial t;
		trial_init(&t, &messages[i], 3000 + i);
		for (size_t over = 0; over < t.n; over++) {
			const struct field *f = &t.fields[over];
			bool range = f->kind == K_BYTES || f->kind == K_REST;
			if (!range && (f->kind != K_VAR || f->max == UINT64_MAX))
				continue;
			for (size_t k = 0; k < t.n; k++)
				set_random(&t, &t.fields[k]);
			struct buf b;
			buf_init(&b, FRAME_PAYLOAD_MAX + 512);
			if (range)
				set_range(&t, f, f->max + 1);
			else
				set_u64(&t, f, f->max + 1);
			t.k->encode(t.m, &b);
			assert_false(b.overflow);
			if (decode_exact(&t, b.data, b.len) == 0)
				fail_msg("%s.%s over its maximum was taken", t.k->name, f->name);
			buf_release(&b);
			checked++;
		}
		trial_release(&t);
	}
	assert_true(checked > 40);
}

/* A decoder leaves no field as it found it, even when it fails. */
static void failed_messages_hold_no_wild_pointers(void **state)
{
	(void)state;
	for (size_t i = 0; i < MESSAGES; i++) {
		struct trial t;
		trial_init(&t, &messages[i], 4000 + i);
		memset(t.m, 0xa5, t.k->size);
		uint8_t none = 0;
		struct err e = {0};
		int r = t.k->decode(t.m, &none, 0, &e);
		assert_int_equal(r, t.n == 0 || (t.n == 1 && ends_in_rest(&t)) ? 0 : -1);
		for (size_t f = 0; f < t.n; f++) {
			struct bytes range;
			if (t.fields[f].kind != K_BYTES && t.fields[f].kind != K_REST)
				continue;
			memcpy(&range, t.m + t.fields[f].at, sizeof range);
			assert_int_equal(range.n, 0);
		}
		trial_release(&t);
	}
}

static const struct kind_of_message *by_type(unsigned type)
{
	const struct kind_of_message *found = NULL;
	for (size_t i = 0; i < MESSAGES; i++)
		if (messages[i].type == type) {
			assert_null(found); /* types are unique */
			found = &messages[i];
		}
	return found;
}

static void types_have_name_channel_and_sender(void **state)
{
	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		const struct kind_of_message *k = by_type(type);
		if (!k) {
			assert_null(message_name((uint8_t)type));
			assert_int_equal(message_channel((uint8_t)type), -1);
			assert_int_equal(message_sender((uint8_t)type), 0);
			continue;
		}
		assert_string_equal(message_name(k->type), k->name);
		assert_int_equal(message_channel(k->type), k->channel);
		assert_int_equal(message_sender(k->type), k->sender);
		assert_non_null(strchr("SDBX", k->sender));
	}
	assert_int_equal(message_channel(WIRE_SEGMENT), CH_DATA);
	assert_int_equal(message_sender(WIRE_SEGMENT), 'S');
	assert_int_equal(message_channel(WIRE_HELLO), CH_CONTROL);
	assert_int_equal(message_sender(WIRE_OPTIONS), 'X');
	assert_null(message_name(STREAM_LEAVE));
}

static bool header_taken(uint8_t type, uint32_t length, size_t flip)
{
	uint8_t raw[FRAME_HEADER_BYTES];
	frame_header_encode(raw, type, length);
	if (flip)
		raw[flip / 8] ^= (uint8_t)(1u << flip % 8);
	struct frame_header h = {0};
	struct err e = {0};
	int r = frame_header_decode(&h, raw, &e);
	if (r < 0)
		assert_int_equal(e.code, ERR_PROTOCOL);
	else if (!flip)
		assert_true(h.length == length && h.type == type);
	return r == 0;
}

static void frame_headers_are_checked(void **state)
{
	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		bool known = by_type(type) != NULL;
		assert_int_equal(header_taken((uint8_t)type, 0, 0), known);
		assert_int_equal(header_taken((uint8_t)type, 0x00012345, 0), known);
		assert_int_equal(header_taken((uint8_t)type, FRAME_PAYLOAD_MAX, 0), known);
		assert_false(header_taken((uint8_t)type, FRAME_PAYLOAD_MAX + 1, 0));
		assert_false(header_taken((uint8_t)type, UINT32_MAX, 0));
	}
	for (size_t bit = 40; bit < 64; bit++)
		assert_false(header_taken(WIRE_PING, 8, bit));
	uint8_t raw[FRAME_HEADER_BYTES];
	static const uint8_t expected[] = {0x04, 0x03, 0x02, 0x01, 0x41, 0, 0, 0};
	frame_header_encode(raw, WIRE_SEGMENT, 0x01020304);
	assert_memory_equal(raw, expected, sizeof raw);
}

/* A known message byte by byte, for whoever writes a second implementation. */
static void a_message_has_the_bytes_of_the_specification(void **state)
{
	(void)state;
	const struct msg_segment m = {.fid = 300,
				      .offset = 65536,
				      .raw_len = 5,
				      .codec = CODEC_RAW,
				      .check = 0x0102030405060708,
				      .body = {.p = (const uint8_t *)"hello", .n = 5}};
	static const uint8_t expected[] = {0xac, 0x02, 0x80, 0x80, 0x04, 0x05, 0x00,
					   0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02,
					   0x01, 'h',  'e',  'l',  'l',  'o'};
	struct buf b;
	buf_init(&b, 64);
	msg_segment_encode(&m, &b);
	assert_int_equal(b.len, sizeof expected);
	assert_memory_equal(b.data, expected, sizeof expected);
	struct msg_segment back;
	struct err e = {0};
	assert_int_equal(msg_segment_decode(&back, b.data, b.len, &e), 0);
	assert_true(back.fid == 300 && back.offset == 65536 && back.check == m.check);
	assert_ptr_equal(back.body.p, b.data + 15); /* borrowed, not copied */
	buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_message_round_trips),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(the_largest_message_is_taken_and_fits_a_frame),
		cmocka_unit_test(what_is_over_a_maximum_is_refused),
		cmocka_unit_test(failed_messages_hold_no_wild_pointers),
		cmocka_unit_test(types_have_name_channel_and_sender),
		cmocka_unit_test(frame_headers_are_checked),
		cmocka_unit_test(a_message_has_the_bytes_of_the_specification),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
