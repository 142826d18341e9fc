/* SPDX-License-Identifier: Apache-2.0 */
/* Foreign text that comes in pieces, made into printable lines; the end of it is kept. */
#ifndef SCRIBE_LINECAP_H
#define SCRIBE_LINECAP_H

#include <stddef.h>

#include "buf.h"

enum {
	LINECAP_LINE_MAX = 512,   /* foreign bytes of a line that are used; the rest is dropped */
	LINECAP_LINES_MAX = 1000, /* lines delivered; later ones are only kept */
};

typedef void linecap_fn(void *arg, const char *line);

struct linecap {
	char line[LINECAP_LINE_MAX];
	size_t len;
	struct buf kept; /* escaped lines, each with a newline behind it */
	size_t delivered;
	size_t undelivered_at; /* where in kept the lines start that nobody was there to receive */
	linecap_fn *fn;
	void *arg;
};

/* keep: how many bytes of escaped text are kept at most. */
void linecap_init(struct linecap *c, size_t keep);
void linecap_release(struct linecap *c);
/* Takes n bytes and delivers the lines that became complete. */
void linecap_feed(struct linecap *c, const void *p, size_t n);
/* Takes what is there as the last line. */
void linecap_flush(struct linecap *c);
/* Sets the receiver; it gets the kept lines that had no receiver. */
void linecap_receiver(struct linecap *c, linecap_fn *fn, void *arg);
/* The kept lines, the newest last; valid until the next call. */
const char *linecap_text(struct linecap *c);

#endif
