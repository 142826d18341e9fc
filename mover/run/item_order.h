/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Putting itemize lines into the order of their numbers: what a comparison of content leads to is
 * known late, but a dry run and the real one must print the same lines in the same order. Not
 * thread-safe.
 */
#ifndef SCRIBE_ITEM_ORDER_H
#define SCRIBE_ITEM_ORDER_H

#include "message.h"
#include "ptrmap.h"
#include "run.h"

enum { ITEM_ORDER_LINES = 1 << 16, ITEM_ORDER_BYTES = 64 << 20 };

struct item_order {
	struct ptrmap held; /* number -> encoded message */
	uint64_t last;      /* number printed last */
	size_t bytes;
};

void item_order_init(struct item_order *o);
void item_order_release(struct item_order *o);

/* Takes the encoded ITEM in [p, p + n) and calls `print` for every line whose turn has come (not
 * for those given up, whose code is empty). Lines that wait too long for an earlier one are printed
 * all the same. ERR_PROTOCOL for a number used twice, an unprintable code, or too much to hold. */
int item_order_put(struct item_order *o, const uint8_t *p, size_t n,
		   void (*print)(void *owner, const struct run_item *item), void *owner,
		   struct err *e);

#endif
