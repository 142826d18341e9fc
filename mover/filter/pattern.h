/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One rsync name pattern, compiled. What a pattern means is told in filter.h; this is the part of
 * the filter that knows wildcards and nothing of rule lists.
 *
 * A compiled pattern is constant: any number of threads may match with it at once.
 */
#ifndef SCRIBE_PATTERN_H
#define SCRIBE_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PATTERN_MAX = 4096,                  /* bytes of one pattern */
	PATTERN_STARS_MAX = PATTERN_MAX / 2, /* runs of '*', which something else must part */
};

/* Which part of a path the pattern has to cover. */
enum pattern_scope {
	PATTERN_NAME,  /* the last component */
	PATTERN_PATH,  /* all of it */
	PATTERN_TAIL,  /* its last `components` components */
	PATTERN_SUFFIX /* all of it, or what follows any of its slashes */
};

struct pattern {
	uint16_t *ops;       /* one per thing to match; the values are private to pattern.c */
	size_t count;        /* of ops */
	uint8_t (*sets)[32]; /* bit sets of the bytes that bracket expressions accept */
	size_t stars;        /* runs of one '*' */
	size_t components;   /* for PATTERN_TAIL */
	enum pattern_scope scope;
	bool dirs_only;    /* written with a slash at its end */
	bool slash_before; /* begins with "**": the path is taken with a slash before it */
	bool slash_after;  /* ends with "***": a directory is taken with a slash after it */
	bool never;        /* malformed: matches nothing */
};

/* Compiles n bytes (1 to PATTERN_MAX, none of them NUL); any bytes make a pattern. The text is not
 * needed afterwards. Release with pattern_release(). */
void pattern_init(struct pattern *p, const char *text, size_t n);
void pattern_release(struct pattern *p);

/*
 * Whether the path of n bytes, relative and without slashes at its ends, matches. Takes at most in
 * the order of n * p->count steps whatever pattern and path are, and a fixed amount of stack.
 */
bool pattern_match(const struct pattern *p, const char *path, size_t n, bool is_dir);

#endif
