/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "queue.h"

static void *number(uintptr_t n)
{
	return (void *)n;
}

static void first_in_first_out(void **state)
{
	(void)state;
	struct queue q;
	void *item;
	queue_init(&q, 3, 100);
	/* More rounds than slots, so that the ring wraps. */
	for (uintptr_t round = 1; round <= 10; round++) {
		assert_int_equal(queue_push(&q, number(round), 1), QUEUE_OK);
		assert_int_equal(queue_push(&q, number(round + 100), 1), QUEUE_OK);
		assert_int_equal(queue_pop(&q, &item, -1), QUEUE_OK);
		assert_ptr_equal(item, number(round));
		assert_int_equal(queue_pop(&q, &item, 0), QUEUE_OK);
		assert_ptr_equal(item, number(round + 100));
	}
	assert_int_equal(queue_pop(&q, &item, 0), QUEUE_AGAIN);
	assert_null(item);
	queue_release(&q);
}

static void number_of_items_is_bounded(void **state)
{
	(void)state;
	struct queue q;
	void *item;
	queue_init(&q, 2, UINT64_MAX);
	assert_int_equal(queue_try_push(&q, number(1), 0), QUEUE_OK);
	assert_int_equal(queue_try_push(&q, number(2), 0), QUEUE_OK);
	assert_int_equal(queue_try_push(&q, number(3), 0), QUEUE_AGAIN);
	assert_int_equal(queue_pop(&q, &item, 0), QUEUE_OK);
	assert_int_equal(queue_try_push(&q, number(3), UINT64_MAX), QUEUE_OK);
	queue_release(&q);
}

static void weight_is_bounded(void **state)
{
	(void)state;
	struct queue q;
	void *item;
	queue_init(&q, 10, 100);
	assert_int_equal(queue_try_push(&q, number(1), 60), QUEUE_OK);
	assert_int_equal(queue_try_push(&q, number(2), 41), QUEUE_AGAIN);
	assert_int_equal(queue_try_push(&q, number(2), UINT64_MAX), QUEUE_AGAIN);
	assert_int_equal(queue_try_push(&q, number(2), 40), QUEUE_OK);
	assert_int_equal(queue_try_push(&q, number(3), 1), QUEUE_AGAIN);
	assert_int_equal(queue_pop(&q, &item, 0), QUEUE_OK);
	assert_int_equal(queue_try_push(&q, number(3), 60), QUEUE_OK);
	queue_release(&q);
}

static void oversized_item_passes_an_empty_queue(void **state)
{
	(void)state;
	struct queue q;
	void *item;
	queue_init(&q, 10, 100);
	assert_int_equal(queue_push(&q, number(1), 1000), QUEUE_OK);
	assert_int_equal(queue_try_push(&q, number(2), 1), QUEUE_AGAIN);
	assert_int_equal(queue_pop(&q, &item, 0), QUEUE_OK);
	assert_int_equal(queue_try_push(&q, number(2), 1), QUEUE_OK);
	assert_int_equal(queue_try_push(&q, number(3), 1000), QUEUE_AGAIN);
	queue_release(&q);
}

static void closing_drains_first(void **state)
{
	(void)state;
	struct queue q;
	void *item;
	queue_init(&q, 10, 100);
	queue_push(&q, number(1), 1);
	queue_push(&q, number(2), 1);
	queue_close(&q);
	queue_close(&q);
	assert_int_equal(queue_push(&q, number(3), 1), QUEUE_CLOSED);
	assert_int_equal(queue_try_push(&q, number(3), 1), QUEUE_CLOSED);
	assert_int_equal(queue_pop(&q, &item, -1), QUEUE_OK);
	assert_int_equal(queue_pop(&q, &item, 0), QUEUE_OK);
	assert_ptr_equal(item, number(2));
	assert_int_equal(queue_pop(&q, &item, -1), QUEUE_CLOSED);
	assert_null(item);
	queue_release(&q);
}

static void counts_what_went_through(void **state)
{
	(void)state;
	struct queue q;
	struct queue_stats s;
	void *item;
	queue_init(&q, 10, 100);
	queue_push(&q, number(1), 30);
	queue_push(&q, number(2), 20);
	queue_pop(&q, &item, 0);
	queue_stats(&q, &s);
	assert_int_equal(s.items_total, 2);
	assert_int_equal(s.bytes_total, 50);
	assert_int_equal(s.items, 1);
	assert_int_equal(s.bytes, 20);
	assert_int_equal(s.starved_ns, 0);
	assert_int_equal(s.blocked_ns, 0);
	queue_release(&q);
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A wait never ends early, and what it took lies between the timeout and the caller's own measure.
 */
static void timeout_counts_as_starved(void **state)
{
	(void)state;
	struct queue q;
	struct queue_stats s;
	void *item;
	queue_init(&q, 1, 1);
	uint64_t since = now_ns();
	assert_int_equal(queue_pop(&q, &item, 20), QUEUE_AGAIN);
	uint64_t took = now_ns() - since;
	queue_stats(&q, &s);
	assert_true(s.starved_ns >= 20000000u && s.starved_ns <= took);
	assert_int_equal(s.blocked_ns, 0);
	queue_release(&q);
}

struct waiter {
	struct queue *q;
	enum queue_result result;
};

static void *wait_in_push(void *arg)
{
	struct waiter *w = arg;
	w->result = queue_push(w->q, number(9), 1);
	return NULL;
}

static void *wait_in_pop(void *arg)
{
	struct waiter *w = arg;
	void *item;
	w->result = queue_pop(w->q, &item, -1);
	return NULL;
}

/* Whether the threads are waiting already when close comes does not matter to the result. */
static void close_wakes_everybody(void **state)
{
	(void)state;
	enum { N = 3 };
	struct queue full, empty;
	struct waiter w[2 * N];
	pthread_t threads[2 * N];
	queue_init(&full, 1, 1);
	queue_init(&empty, 1, 1);
	queue_push(&full, number(1), 1);
	for (int i = 0; i < 2 * N; i++) {
		w[i] = (struct waiter){.q = i < N ? &full : &empty, .result = QUEUE_OK};
		assert_int_equal(pthread_create(&threads[i], NULL,
						i < N ? wait_in_push : wait_in_pop, &w[i]),
				 0);
	}
	nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	queue_close(&full);
	queue_close(&empty);
	for (int i = 0; i < 2 * N; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(w[i].result, QUEUE_CLOSED);
	}
	queue_release(&full);
	queue_release(&empty);
}

static void full_queue_counts_as_blocked(void **state)
{
	(void)state;
	struct queue q;
	struct queue_stats s;
	struct waiter w = {.q = &q, .result = QUEUE_AGAIN};
	pthread_t thread;
	void *item;
	queue_init(&q, 1, 100);
	queue_push(&q, number(1), 1);
	assert_int_equal(pthread_create(&thread, NULL, wait_in_push, &w), 0);
	nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	assert_int_equal(queue_pop(&q, &item, -1), QUEUE_OK);
	assert_int_equal(queue_pop(&q, &item, -1), QUEUE_OK);
	assert_ptr_equal(item, number(9));
	pthread_join(thread, NULL);
	assert_int_equal(w.result, QUEUE_OK);
	queue_stats(&q, &s);
	assert_int_equal(s.items_total, 2);
	queue_release(&q);
}

enum { PRODUCERS = 4, CONSUMERS = 3, PER_PRODUCER = 5000 };

struct crowd {
	struct queue q;
	atomic_uint next_producer;
	atomic_ullong sum, popped, order_errors;
};

static void *produce(void *arg)
{
	struct crowd *c = arg;
	unsigned me = atomic_fetch_add(&c->next_producer, 1);
	for (unsigned i = 1; i <= PER_PRODUCER; i++) {
		void *item = number((uintptr_t)me << 32 | i);
		uint64_t weight = 1 + i % 7;
		if (i % 3 == 0 && queue_try_push(&c->q, item, weight) == QUEUE_OK)
			continue;
		if (queue_push(&c->q, item, weight) != QUEUE_OK)
			break;
	}
	return NULL;
}

/* Items of one producer reach one consumer in the order they were pushed. */
static void *consume(void *arg)
{
	struct crowd *c = arg;
	uintptr_t last[PRODUCERS] = {0};
	unsigned rounds = 0;
	for (;;) {
		void *item;
		enum queue_result r = queue_pop(&c->q, &item, ++rounds % 2 ? -1 : 1);
		if (r == QUEUE_CLOSED)
			return NULL;
		if (r == QUEUE_AGAIN)
			continue;
		uintptr_t v = (uintptr_t)item;
		uintptr_t i = v & 0xffffffffu;
		if (i <= last[v >> 32])
			atomic_fetch_add(&c->order_errors, 1);
		last[v >> 32] = i;
		atomic_fetch_add(&c->sum, i);
		atomic_fetch_add(&c->popped, 1);
	}
}

static void nothing_is_lost_or_doubled_in_a_crowd(void **state)
{
	(void)state;
	struct crowd c = {.sum = 0};
	pthread_t producers[PRODUCERS], consumers[CONSUMERS];
	queue_init(&c.q, 5, 16);
	for (int i = 0; i < CONSUMERS; i++)
		assert_int_equal(pthread_create(&consumers[i], NULL, consume, &c), 0);
	for (int i = 0; i < PRODUCERS; i++)
		assert_int_equal(pthread_create(&producers[i], NULL, produce, &c), 0);
	for (int i = 0; i < PRODUCERS; i++)
		pthread_join(producers[i], NULL);
	queue_close(&c.q);
	for (int i = 0; i < CONSUMERS; i++)
		pthread_join(consumers[i], NULL);
	struct queue_stats s;
	queue_stats(&c.q, &s);
	assert_int_equal(s.items_total, PRODUCERS * PER_PRODUCER);
	assert_int_equal(atomic_load(&c.popped), PRODUCERS * PER_PRODUCER);
	assert_int_equal(atomic_load(&c.sum),
			 (uint64_t)PRODUCERS * PER_PRODUCER * (PER_PRODUCER + 1) / 2);
	assert_int_equal(atomic_load(&c.order_errors), 0);
	assert_int_equal(s.items, 0);
	assert_int_equal(s.bytes, 0);
	queue_release(&c.q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_in_first_out),
		cmocka_unit_test(number_of_items_is_bounded),
		cmocka_unit_test(weight_is_bounded),
		cmocka_unit_test(oversized_item_passes_an_empty_queue),
		cmocka_unit_test(closing_drains_first),
		cmocka_unit_test(counts_what_went_through),
		cmocka_unit_test(timeout_counts_as_starved),
		cmocka_unit_test(close_wakes_everybody),
		cmocka_unit_test(full_queue_counts_as_blocked),
		cmocka_unit_test(nothing_is_lost_or_doubled_in_a_crowd),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
