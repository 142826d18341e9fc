/* SPDX-License-Identifier: Apache-2.0 */
/* Cutting a command line into words as a shell does, without a shell. Pure. */
#ifndef SCRIBE_RSH_WORDS_H
#define SCRIBE_RSH_WORDS_H

#include <stddef.h>

#include "err.h"

enum { RSH_WORDS_MAX = 256 };

/*
 * Words are separated by blanks; '...' keeps everything, "..." everything but \ before " \ $ `,
 * a \ outside quotes keeps the next byte. Nothing is expanded: ~ $ * ; | and the like are ordinary.
 * Returns the number of words; *words is NULL-terminated, free it with rsh_words_free(). -1 with *e
 * ERR_USAGE: nothing there, an open quote, a \ at the end, more than RSH_WORDS_MAX words.
 */
int rsh_words(const char *text, char ***words, struct err *e);
void rsh_words_free(char **words);

#endif
