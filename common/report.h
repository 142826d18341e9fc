/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building one JSON object and writing it as one line. Used for the report of a run, which must fit
 * a container's termination message, and for the events of --json. Names, text and bytes of any
 * origin give valid JSON: invalid UTF-8 and control bytes are escaped with text.h.
 *
 * A report belongs to one thread. Keys are literals and appear in the order of the calls; a key set
 * again replaces its value. Between report_open() and report_close() calls go into the nested
 * object or list; in a list the key is ignored (pass NULL).
 */
#ifndef SCRIBE_REPORT_H
#define SCRIBE_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "buf.h"
#include "err.h"

enum {
	REPORT_MAX = 4096,      /* bytes of a document, newline not counted */
	REPORT_TEXT_MAX = 2048, /* one text; a longer one is cut and ends in "..." */
	REPORT_DEPTH_MAX = 4,   /* nested objects and lists */
};

struct report;

struct report *report_new(void) __attribute__((returns_nonnull, warn_unused_result));
void report_free(struct report *r); /* NULL is fine */

/* Text of our own or escaped before; NULL gives null. */
void report_str(struct report *r, const char *key, const char *text);
/* n foreign bytes (a file name), escaped with text_escape(). */
void report_bytes(struct report *r, const char *key, const void *p, size_t n);
void report_u64(struct report *r, const char *key, uint64_t v);
void report_i64(struct report *r, const char *key, int64_t v);
/* Three decimals, as for seconds; null unless finite. */
void report_double(struct report *r, const char *key, double v);
void report_bool(struct report *r, const char *key, bool v);
void report_null(struct report *r, const char *key);
/* RFC 3339 UTC; Go-style duration (parse.h). */
void report_time(struct report *r, const char *key, struct timespec t);
void report_duration(struct report *r, const char *key, int64_t ns);

/* A nested object or list, at most REPORT_DEPTH_MAX deep (a deeper one is a bug and aborts). */
void report_open(struct report *r, const char *key);
void report_open_list(struct report *r, const char *key);
void report_close(struct report *r);

/*
 * Appends the document to out, at most max bytes. When it does not fit, "truncated":true is added
 * and the document shortened: first the top-level text "message" is cut (down to 160 bytes), then
 * the top-level keys of `optional` (NULL-terminated, may be NULL) are left out in that order, then
 * every long text is cut; "truncated":true is added. The object itself is not changed. 0, or -1
 * with ERR_FAILURE if even that does not fit.
 */
int report_render(struct report *r, size_t max, const char *const *optional, struct buf *out,
		  struct err *e);

/*
 * Renders with REPORT_MAX - 1 and writes the document and a newline with one write(2): lines of
 * several threads into one pipe never mix. 0, or -1 with ERR_FAILURE.
 */
int report_write_line(struct report *r, const char *const *optional, int fd, struct err *e);

static inline void report_cleanup(struct report **r)
{
	report_free(*r);
	*r = NULL;
}

#define CLEANUP_REPORT __attribute__((cleanup(report_cleanup)))

#endif
