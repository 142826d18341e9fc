/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages of the protocol as structs, with encoders and decoders (SPEC.md 3 and 5). Pure.
 *
 * For each row of messages.def there is `struct msg_<name>`, and
 *     void msg_<name>_encode(const struct msg_<name> *m, struct buf *out);   appends the payload
 *     int  msg_<name>_decode(struct msg_<name> *m, const uint8_t *p, size_t n, struct err *e);
 * A decoder checks every maximum and that nothing is left over; struct bytes fields point into p.
 */
#ifndef SCRIBE_MESSAGE_H
#define SCRIBE_MESSAGE_H

#include "entry.h"
#include "err.h"
#include "protocol.h"
#include "wire.h"

enum message_type {
#define MESSAGE(NAME, name, type, channel, sender, fields) WIRE_##NAME = type,
#include "messages.def"
#undef MESSAGE
};

#define U8(f)         uint8_t f;
#define U16(f)        uint16_t f;
#define U64(f)        uint64_t f;
#define VAR(f, max)   uint64_t f;
#define SVAR(f)       int64_t f;
#define H128(f)       struct h128 f;
#define FIX(f, len)   uint8_t f[len];
#define BYTES(f, max) struct bytes f;
#define REST(f, max)  struct bytes f;
#define MESSAGE(NAME, name, type, channel, sender, fields)                                         \
	struct msg_##name {                                                                        \
		fields uint8_t end_of_message;                                                     \
	};                                                                                         \
	void msg_##name##_encode(const struct msg_##name *m, struct buf *out);                     \
	int msg_##name##_decode(struct msg_##name *m, const uint8_t *p, size_t n, struct err *e);
#include "messages.def"
#undef MESSAGE
#undef U8
#undef U16
#undef U64
#undef VAR
#undef SVAR
#undef H128
#undef FIX
#undef BYTES
#undef REST

/* Name of a message type for logs, NULL if unknown. */
const char *message_name(uint8_t type);
/* Channel of a message type, -1 if unknown. */
int message_channel(uint8_t type);
/* 'S', 'D', 'B' or 'X': who may send it; 0 if unknown. */
char message_sender(uint8_t type);

struct frame_header {
	uint32_t length;
	uint8_t type;
};
void frame_header_encode(uint8_t out[FRAME_HEADER_BYTES], uint8_t type, uint32_t length);
/* Refuses unknown types, lengths over the maximum and set reserved bytes. */
int frame_header_decode(struct frame_header *h, const uint8_t in[FRAME_HEADER_BYTES],
			struct err *e);

#endif
