/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growable byte buffer with a hard maximum, fixed when it is made.
 *
 * Invariants: len <= cap <= max. Appending beyond max fails, leaves the content
 * as it was and sets `overflow`, which stays set until buf_clear(); so a writer may
 * append many times and check once. Memory exhaustion ends the process (mem.h).
 * Not thread-safe.
 */
#ifndef SCRIBE_BUF_H
#define SCRIBE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *data;
	size_t len;
	size_t cap;
	size_t max;
	bool overflow;
};

/* Makes an empty buffer that may grow to max bytes; allocates nothing yet. */
void buf_init(struct buf *b, size_t max);
/* Frees the memory; the buffer is then empty with max 0. */
void buf_release(struct buf *b);
/* Forgets the content, keeps the memory. */
void buf_clear(struct buf *b);
/* Makes room for n more bytes. 0, or -1 beyond max (overflow set). */
int buf_reserve(struct buf *b, size_t n);
/* Appends n bytes. 0, or -1 beyond max. */
int buf_put(struct buf *b, const void *p, size_t n);
int buf_put_u8(struct buf *b, uint8_t v);
/* Appends a NUL-terminated string without its NUL. */
int buf_puts(struct buf *b, const char *s);
/* Appends printf output without a NUL. */
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* NUL-terminates (not counted in len) and returns the text; "" on overflow or when empty. */
const char *buf_str(struct buf *b);
/* Drops the first n bytes (n <= len). */
void buf_consume(struct buf *b, size_t n);

#define CLEANUP_BUF __attribute__((cleanup(buf_release)))

#endif
