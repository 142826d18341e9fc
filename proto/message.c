/* SPDX-License-Identifier: Apache-2.0 */
#include "message.h"

/* Encoders: one put per field. */
#define U8(f)         buf_put_u8(out, m->f);
#define U16(f)        put_u16(out, m->f);
#define U64(f)        put_u64(out, m->f);
#define VAR(f, max)   put_var(out, m->f);
#define SVAR(f)       put_svar(out, m->f);
#define H128(f)       put_h128(out, m->f);
#define FIX(f, len)   buf_put(out, m->f, len);
#define BYTES(f, max) put_bytes(out, m->f.p, m->f.n);
#define REST(f, max)  buf_put(out, m->f.p, m->f.n);
#define MESSAGE(NAME, name, type, channel, sender, fields)                                         \
	void msg_##name##_encode(const struct msg_##name *m, struct buf *out)                      \
	{                                                                                          \
		(void)m;                                                                           \
		(void)out;                                                                         \
		fields                                                                             \
	}
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

static void get_fixed(struct cursor *c, uint8_t *out, size_t n)
{
	struct bytes r = get_raw(c, n);
	for (size_t i = 0; i < n; i++)
		out[i] = r.n ? r.p[i] : 0;
}

static struct bytes get_rest(struct cursor *c, size_t max)
{
	size_t n = cursor_left(c);
	if (n > max) {
		c->bad = true;
		return (struct bytes){0};
	}
	return get_raw(c, n);
}

static int finish(const struct cursor *c, const char *name, struct err *e)
{
	if (c->bad)
		return err_set(e, ERR_PROTOCOL, "peer sent a malformed %s message", name);
	if (cursor_left(c))
		return err_set(e, ERR_PROTOCOL, "peer sent a %s message with %zu bytes too many",
			       name, cursor_left(c));
	return 0;
}

#define U8(f)         m->f = get_u8(&c);
#define U16(f)        m->f = get_u16(&c);
#define U64(f)        m->f = get_u64(&c);
#define VAR(f, max)   m->f = get_var(&c, max);
#define SVAR(f)       m->f = get_svar(&c);
#define H128(f)       m->f = get_h128(&c);
#define FIX(f, len)   get_fixed(&c, m->f, len);
#define BYTES(f, max) m->f = get_bytes(&c, max);
#define REST(f, max)  m->f = get_rest(&c, max);
#define MESSAGE(NAME, name, type, channel, sender, fields)                                         \
	int msg_##name##_decode(struct msg_##name *m, const uint8_t *p, size_t n, struct err *e)   \
	{                                                                                          \
		struct cursor c = cursor_of(p, n);                                                 \
		*m = (struct msg_##name){0};                                                       \
		fields return finish(&c, #NAME, e);                                                \
	}
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

struct row {
	uint8_t type;
	uint8_t channel;
	char sender;
	const char *name;
};

#define MESSAGE(NAME, name, type, channel, sender, fields) {type, CH_##channel, #sender[0], #NAME},
static const struct row rows[] = {
#include "messages.def"
};
#undef MESSAGE

static const struct row *find(uint8_t type)
{
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		if (rows[i].type == type)
			return &rows[i];
	return NULL;
}

const char *message_name(uint8_t type)
{
	const struct row *r = find(type);
	return r ? r->name : NULL;
}

int message_channel(uint8_t type)
{
	const struct row *r = find(type);
	return r ? r->channel : -1;
}

char message_sender(uint8_t type)
{
	const struct row *r = find(type);
	return r ? r->sender : 0;
}

void frame_header_encode(uint8_t out[FRAME_HEADER_BYTES], uint8_t type, uint32_t length)
{
	for (int i = 0; i < 4; i++)
		out[i] = (uint8_t)(length >> (8 * i));
	out[4] = type;
	out[5] = out[6] = out[7] = 0;
}

int frame_header_decode(struct frame_header *h, const uint8_t in[FRAME_HEADER_BYTES], struct err *e)
{
	h->length = (uint32_t)in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 |
		    (uint32_t)in[3] << 24;
	h->type = in[4];
	if (!message_name(h->type))
		return err_set(e, ERR_PROTOCOL,
			       "peer sent a frame of unknown type 0x%02x; is it scribe-mover?",
			       h->type);
	if (in[5] | in[6] | in[7])
		return err_set(e, ERR_PROTOCOL, "peer sent a frame with reserved bits set");
	if (h->length > FRAME_PAYLOAD_MAX)
		return err_set(e, ERR_PROTOCOL,
			       "peer sent a %s frame of %u bytes, over the maximum of %d",
			       message_name(h->type), h->length, FRAME_PAYLOAD_MAX);
	return 0;
}
