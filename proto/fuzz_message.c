/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hostile payloads for every decoder: the first byte picks the message, the rest is its payload.
 * What is taken must encode to the same bytes; what is not must say ERR_PROTOCOL.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int r, const struct err *e, const struct buf *b, const uint8_t *p, size_t n)
{
	if (r < 0 && (e->code != ERR_PROTOCOL || !e->msg[0]))
		abort();
	if (r == 0 && (b->overflow || b->len != n || (n && memcmp(b->data, p, n) != 0)))
		abort();
}

#define MESSAGE(NAME, name, type, channel, sender, fields)                                         \
	static void try_##name(const uint8_t *p, size_t n, struct buf *b)                          \
	{                                                                                          \
		struct msg_##name m;                                                               \
		struct err e = {0};                                                                \
		int r = msg_##name##_decode(&m, p, n, &e);                                         \
		if (r == 0)                                                                        \
			msg_##name##_encode(&m, b);                                                \
		check(r, &e, b, p, n);                                                             \
	}
#include "messages.def"
#undef MESSAGE

typedef void try_fn(const uint8_t *p, size_t n, struct buf *b);

#define MESSAGE(NAME, name, type, channel, sender, fields) try_##name,
static try_fn *const decoders[] = {
#include "messages.def"
};
#undef MESSAGE

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	struct buf b;
	buf_init(&b, FRAME_PAYLOAD_MAX);
	decoders[data[0] % (sizeof decoders / sizeof decoders[0])](data + 1, size - 1, &b);
	if (size > FRAME_HEADER_BYTES) {
		struct frame_header h;
		struct err e = {0};
		uint8_t again[FRAME_HEADER_BYTES];
		int r = frame_header_decode(&h, data + 1, &e);
		if (r == 0) {
			frame_header_encode(again, h.type, h.length);
			if (memcmp(again, data + 1, sizeof again) != 0 ||
			    h.length > FRAME_PAYLOAD_MAX)
				abort();
		} else if (e.code != ERR_PROTOCOL) {
			abort();
		}
	}
	buf_release(&b);
	return 0;
}
