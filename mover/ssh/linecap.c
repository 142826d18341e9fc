/* SPDX-License-Identifier: Apache-2.0 */
#include "linecap.h"

#include <string.h>

#include "text.h"

enum { ESCAPED_LINE_MAX = LINECAP_LINE_MAX * 4 + 1 };

void linecap_init(struct linecap *c, size_t keep)
{
	*c = (struct linecap){0};
	buf_init(&c->kept, keep);
}

void linecap_release(struct linecap *c)
{
	buf_release(&c->kept);
}

/* Forgets the oldest whole lines until need more bytes and a NUL fit. */
static void make_room(struct linecap *c, size_t need)
{
	while (c->kept.len && c->kept.len + need + 1 > c->kept.max) {
		uint8_t *nl = memchr(c->kept.data, '\n', c->kept.len);
		size_t drop = nl ? (size_t)(nl - c->kept.data) + 1 : c->kept.len;
		buf_consume(&c->kept, drop);
		c->undelivered_at = c->undelivered_at > drop ? c->undelivered_at - drop : 0;
	}
}

static void deliver(struct linecap *c, const char *text)
{
	if (c->fn && c->delivered < LINECAP_LINES_MAX) {
		c->delivered++;
		c->fn(c->arg, text);
	}
}

static void end_line(struct linecap *c)
{
	size_t len = c->len;
	if (len && c->line[len - 1] == '\r')
		len--;
	c->len = 0;
	if (!len)
		return;
	char text[ESCAPED_LINE_MAX];
	text_escape(text, sizeof text, c->line, len);
	size_t n = strlen(text);
	make_room(c, n + 1);
	if (buf_put(&c->kept, text, n) == 0)
		(void)buf_put_u8(&c->kept, '\n');
	deliver(c, text);
	if (c->fn)
		c->undelivered_at = c->kept.len;
}

void linecap_feed(struct linecap *c, const void *p, size_t n)
{
	const char *s = p;
	for (size_t i = 0; i < n; i++) {
		if (s[i] == '\n')
			end_line(c);
		else if (c->len < sizeof c->line)
			c->line[c->len++] = s[i];
	}
}

void linecap_flush(struct linecap *c)
{
	end_line(c);
}

void linecap_receiver(struct linecap *c, linecap_fn *fn, void *arg)
{
	c->fn = fn;
	c->arg = arg;
	if (!fn)
		return;
	while (c->undelivered_at < c->kept.len) {
		const uint8_t *from = c->kept.data + c->undelivered_at;
		const uint8_t *nl = memchr(from, '\n', c->kept.len - c->undelivered_at);
		size_t len = nl ? (size_t)(nl - from) : c->kept.len - c->undelivered_at;
		char text[ESCAPED_LINE_MAX];
		if (len >= sizeof text)
			len = sizeof text - 1;
		memcpy(text, from, len);
		text[len] = '\0';
		c->undelivered_at += len + 1;
		deliver(c, text);
	}
	c->undelivered_at = c->kept.len;
}

const char *linecap_text(struct linecap *c)
{
	return buf_str(&c->kept);
}
