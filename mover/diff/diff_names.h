/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sorted names of a directory, in memory of a fixed size whatever the directory holds: if they
 * do not fit, the smallest that do are kept, and the rest is had by reading the directory again for
 * the names behind the last one. Private to this folder. Not thread-safe.
 */
#ifndef SCRIBE_DIFF_NAMES_H
#define SCRIBE_DIFF_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct diff_names {
	char *bytes; /* NUL-terminated names */
	size_t len;
	size_t cap;
	uint32_t *at; /* offsets into bytes, sorted by name (bytewise) after reading */
	size_t n;
	size_t cap_n;
	bool more; /* names behind the last one were left out */
};

enum { DIFF_NAMES_MIN = 8 << 10, DIFF_NAMES_MAX = 1 << 30 };

/* An empty list; allocates nothing. */
void diff_names_init(struct diff_names *l);
void diff_names_release(struct diff_names *l);

/*
 * Reads the names of directory fd that sort behind after (NULL: all), without "." and "..", into
 * an initialised, empty list of about max bytes (forced into DIFF_NAMES_MIN..DIFF_NAMES_MAX; for a
 * moment half as much again). At least one name is kept if there is any. Names occur once.
 * scratch is room for cap bytes of directory entries, cap >= 32 KiB.
 * 0, or -1 with errno; the list is then empty.
 */
int diff_names_read(struct diff_names *l, int fd, const char *after, size_t max, void *scratch,
		    size_t cap);

static inline const char *diff_names_get(const struct diff_names *l, size_t i)
{
	return l->bytes + l->at[i];
}

/* Drops the names that sort behind last; sets more if there were any. */
void diff_names_limit(struct diff_names *l, const char *last);
/* Bytes of memory held. */
size_t diff_names_held(const struct diff_names *l);

#endif
