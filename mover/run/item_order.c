/* SPDX-License-Identifier: Apache-2.0 */
#include "item_order.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

struct held {
	size_t n;
	uint8_t payload[];
};

void item_order_init(struct item_order *o)
{
	*o = (struct item_order){0};
	ptrmap_init(&o->held);
}

void item_order_release(struct item_order *o)
{
	for (size_t i = 0; i < o->held.cap; i++)
		free(o->held.slots[i].p);
	ptrmap_release(&o->held);
}

static int print_one(const uint8_t *p, size_t n, void (*print)(void *, const struct run_item *),
		     void *owner, struct err *e)
{
	struct msg_item m;
	char code[12];
	if (msg_item_decode(&m, p, n, e) < 0)
		return -1;
	memcpy(code, m.code, 11);
	code[11] = '\0';
	if (code[0] == '\0')
		return 0;
	for (int i = 0; i < 11; i++)
		if (code[i] < ' ' || code[i] > '~')
			return err_set(e, ERR_PROTOCOL,
				       "the destination sent an unprintable itemize line");
	struct run_item item = {.code = code,
				.path = m.path,
				.arrow = m.arrow == '-' || m.arrow == '=' ? (char)m.arrow : '\0',
				.target = m.target};
	if (print)
		print(owner, &item);
	return 0;
}

static uint64_t first_held(const struct item_order *o)
{
	uint64_t first = UINT64_MAX;
	for (size_t i = 0; i < o->held.cap; i++)
		if (o->held.slots[i].p && o->held.slots[i].id < first)
			first = o->held.slots[i].id;
	return first;
}

static int hold(struct item_order *o, uint64_t seq, const uint8_t *p, size_t n, struct err *e)
{
	if (o->bytes + n > ITEM_ORDER_BYTES)
		return err_set(e, ERR_PROTOCOL, "too many itemize lines out of order");
	struct held *h = mem_alloc_raw(sizeof *h + n);
	h->n = n;
	memcpy(h->payload, p, n);
	ptrmap_put(&o->held, seq, h);
	o->bytes += n;
	return 0;
}

int item_order_put(struct item_order *o, const uint8_t *p, size_t n,
		   void (*print)(void *owner, const struct run_item *item), void *owner,
		   struct err *e)
{
	struct msg_item m;
	if (msg_item_decode(&m, p, n, e) < 0)
		return -1;
	if (m.seq <= o->last || ptrmap_get(&o->held, m.seq))
		return err_set(e, ERR_PROTOCOL, "the destination numbered an itemize line twice");
	if (m.seq != o->last + 1 || o->held.count) {
		if (hold(o, m.seq, p, n, e) < 0)
			return -1;
	} else {
		o->last++;
		return print_one(p, n, print, owner, e);
	}
	int r = 0;
	while (r == 0 && o->held.count) {
		if (o->held.count > ITEM_ORDER_LINES)
			o->last = first_held(o) - 1;
		struct held *h = ptrmap_remove(&o->held, o->last + 1);
		if (!h)
			break;
		o->last++;
		o->bytes -= h->n;
		r = print_one(h->payload, h->n, print, owner, e);
		free(h);
	}
	return r;
}
