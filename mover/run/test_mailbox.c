/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "mailbox.h"
#include "mem.h"

enum { PRODUCERS = 3, CONSUMERS = 3, EACH = 20000 };

static struct link_frame *frame(uint32_t producer, uint32_t number)
{
	struct link_frame *f = mem_alloc(1, sizeof *f + 8);
	f->length = 8;
	memcpy(f->payload, &producer, 4);
	memcpy(f->payload + 4, &number, 4);
	return f;
}

static uint32_t number_of(const struct link_frame *f)
{
	uint32_t n;
	memcpy(&n, f->payload + 4, 4);
	return n;
}

static uint32_t producer_of(const struct link_frame *f)
{
	uint32_t n;
	memcpy(&n, f->payload, 4);
	return n;
}

static void frames_come_out_in_order(void **state)
{
	(void)state;
	struct mailbox m;
	mailbox_init(&m);
	assert_null(mailbox_take(&m, 0));
	for (uint32_t i = 0; i < 5; i++)
		mailbox_put(&m, frame(0, i));
	assert_int_equal(mailbox_count(&m), 5);
	for (uint32_t i = 0; i < 5; i++) {
		struct link_frame *f = mailbox_take(&m, -1);
		assert_int_equal(number_of(f), i);
		assert_null(f->next);
		free(f);
	}
	assert_int_equal(mailbox_count(&m), 0);
	assert_null(mailbox_take(&m, 0));
	assert_null(mailbox_take(&m, 20));
	assert_true(m.starved_ns > 0);
	mailbox_release(&m);
}

static void a_closed_box_gives_what_it_has(void **state)
{
	(void)state;
	struct mailbox m;
	mailbox_init(&m);
	mailbox_put(&m, frame(0, 1));
	mailbox_put(&m, frame(0, 2));
	assert_false(mailbox_closed(&m));
	mailbox_close(&m);
	mailbox_close(&m);
	assert_true(mailbox_closed(&m));
	mailbox_put(&m, frame(0, 3)); /* freed at once */
	assert_int_equal(mailbox_count(&m), 2);
	struct link_frame *f = mailbox_take(&m, -1);
	assert_int_equal(number_of(f), 1);
	free(f);
	f = mailbox_take(&m, 1000);
	assert_int_equal(number_of(f), 2);
	free(f);
	assert_null(mailbox_take(&m, -1));
	assert_null(mailbox_take(&m, 1000000));
	mailbox_release(&m);
}

static void what_is_left_is_freed(void **state)
{
	(void)state;
	struct mailbox m;
	mailbox_init(&m);
	for (uint32_t i = 0; i < 10; i++)
		mailbox_put(&m, frame(0, i));
	free(mailbox_take(&m, 0));
	mailbox_release(&m); /* the leak checker sees the others */
}

struct worker {
	struct mailbox *m;
	uint32_t index;
	pthread_t thread;
	uint32_t got;
	uint32_t last[PRODUCERS]; /* number of the last frame of each, plus one */
	bool out_of_order;
};

static void *produce(void *arg)
{
	struct worker *w = arg;
	for (uint32_t i = 0; i < EACH; i++)
		mailbox_put(w->m, frame(w->index, i));
	return NULL;
}

static void *consume(void *arg)
{
	struct worker *w = arg;
	struct link_frame *f;
	while ((f = mailbox_take(w->m, -1)) != NULL) {
		uint32_t *last = &w->last[producer_of(f)];
		w->out_of_order |= number_of(f) < *last;
		*last = number_of(f) + 1;
		w->got++;
		free(f);
	}
	return NULL;
}

static void threads_lose_nothing(void **state)
{
	(void)state;
	struct mailbox m;
	mailbox_init(&m);
	struct worker in[PRODUCERS] = {0};
	struct worker out[CONSUMERS] = {0};
	for (int i = 0; i < CONSUMERS; i++) {
		out[i].m = &m;
		assert_int_equal(pthread_create(&out[i].thread, NULL, consume, &out[i]), 0);
	}
	for (int i = 0; i < PRODUCERS; i++) {
		in[i].m = &m;
		in[i].index = (uint32_t)i;
		assert_int_equal(pthread_create(&in[i].thread, NULL, produce, &in[i]), 0);
	}
	for (int i = 0; i < PRODUCERS; i++)
		pthread_join(in[i].thread, NULL);
	mailbox_close(&m); /* also wakes those who wait for ever */
	uint32_t total = 0;
	for (int i = 0; i < CONSUMERS; i++) {
		pthread_join(out[i].thread, NULL);
		assert_false(out[i].out_of_order);
		total += out[i].got;
	}
	assert_int_equal(total, PRODUCERS * EACH);
	assert_int_equal(mailbox_count(&m), 0);
	mailbox_release(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_come_out_in_order),
		cmocka_unit_test(a_closed_box_gives_what_it_has),
		cmocka_unit_test(what_is_left_is_freed),
		cmocka_unit_test(threads_lose_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
