/* SPDX-License-Identifier: Apache-2.0 */
/* The text for people that has a fixed form: rsync's itemized lines, its summary, its figures.
 * Pure. */
#ifndef SCRIBE_SUMMARY_H
#define SCRIBE_SUMMARY_H

#include <stdint.h>

#include "buf.h"
#include "run.h"

/* Appends n with commas between thousands: "1,234,567". */
void summary_number(struct buf *out, uint64_t n);
/* The same with two decimals: "1,200.67". 0 for anything that is no number. */
void summary_decimal(struct buf *out, double v);

/*
 * Appends the three lines that end every successful run, as rsync writes them:
 *
 *      sent 1,234 bytes  received 567 bytes  1,200.67 bytes/sec
 *      total size is 9,999  speedup is 5.55
 *      rsync completed in 3s
 */
void summary_lines(struct buf *out, uint64_t sent, uint64_t received, uint64_t total_size,
		   int64_t duration_ns);

/*
 * Appends bytes of a name as rsync prints them: control bytes but TAB, bytes from 0x7f on, and a
 * backslash that would read as such an escape, as \#ooo.
 */
void itemize_escape(struct buf *out, const void *p, size_t n);

/*
 * Appends one line for an item, "CODE PATH[ -> TARGET| => LEADER]\n". Directories end in '/', the
 * root is "./".
 */
void itemize_line(struct buf *out, const struct run_item *item);

enum { ITEMIZE_LINE_MAX = 1 << 20 }; /* enough for any path and target */

#endif
