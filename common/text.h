/* SPDX-License-Identifier: Apache-2.0 */
/* Turning foreign bytes into text that is safe to print on a terminal, in a log, in JSON. */
#ifndef SCRIBE_TEXT_H
#define SCRIBE_TEXT_H

#include <stddef.h>

/*
 * Writes bytes [p, p+n) into out (capacity cap >= 1, always NUL-terminated), with control bytes
 * (C0, C1, DEL), backslash and invalid UTF-8 as \ooo octal (backslash itself as \\), newline as \n,
 * tab as \t. Output that does not fit is cut and ends in "...". Returns out.
 */
char *text_escape(char *out, size_t cap, const void *p, size_t n);

/* The same for text that may hold escaped parts already: backslashes stay as they are, so nothing
 * is escaped twice. For messages of our own; not reversible. */
char *text_clean(char *out, size_t cap, const void *p, size_t n);

enum { TEXT_ESCAPED_MAX = 320 };

#endif
