/* SPDX-License-Identifier: Apache-2.0 */
#include "queue.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "mem.h"

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void queue_init(struct queue *q, size_t max_items, uint64_t max_bytes)
{
	*q = (struct queue){.max_items = max_items, .max_bytes = max_bytes};
	q->ring = mem_alloc(max_items, sizeof *q->ring);
	pthread_mutex_init(&q->lock, NULL);
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&q->not_empty, &attr);
	pthread_cond_init(&q->not_full, &attr);
	pthread_condattr_destroy(&attr);
}

void queue_release(struct queue *q)
{
	pthread_cond_destroy(&q->not_full);
	pthread_cond_destroy(&q->not_empty);
	pthread_mutex_destroy(&q->lock);
	free(q->ring);
	q->ring = NULL;
}

/* Needs q->lock. */
static bool has_room(const struct queue *q, uint64_t weight)
{
	if (q->count == 0)
		return true;
	if (q->count == q->max_items || q->bytes >= q->max_bytes)
		return false;
	return weight <= q->max_bytes - q->bytes;
}

/* Needs q->lock and room. */
static void append(struct queue *q, void *item, uint64_t weight)
{
	q->ring[(q->head + q->count) % q->max_items] = (struct queue_item){item, weight};
	q->count++;
	q->bytes += weight;
	q->items_total++;
	q->bytes_total += weight;
	pthread_cond_signal(&q->not_empty);
}

enum queue_result queue_push(struct queue *q, void *item, uint64_t weight)
{
	enum queue_result r = QUEUE_CLOSED;
	pthread_mutex_lock(&q->lock);
	if (!q->closed && !has_room(q, weight)) {
		uint64_t since = now_ns();
		while (!q->closed && !has_room(q, weight))
			pthread_cond_wait(&q->not_full, &q->lock);
		q->blocked_ns += now_ns() - since;
	}
	if (!q->closed) {
		append(q, item, weight);
		r = QUEUE_OK;
	}
	pthread_mutex_unlock(&q->lock);
	return r;
}

enum queue_result queue_try_push(struct queue *q, void *item, uint64_t weight)
{
	enum queue_result r = QUEUE_OK;
	pthread_mutex_lock(&q->lock);
	if (q->closed)
		r = QUEUE_CLOSED;
	else if (!has_room(q, weight))
		r = QUEUE_AGAIN;
	else
		append(q, item, weight);
	pthread_mutex_unlock(&q->lock);
	return r;
}

/* Needs q->lock. Waits until there is an item, the queue is closed or the time is over. */
static void wait_for_item(struct queue *q, int timeout_ms)
{
	uint64_t since = now_ns();
	if (timeout_ms < 0) {
		while (q->count == 0 && !q->closed)
			pthread_cond_wait(&q->not_empty, &q->lock);
	} else {
		uint64_t until = since + (uint64_t)timeout_ms * 1000000u;
		struct timespec t = {.tv_sec = (time_t)(until / 1000000000u),
				     .tv_nsec = (long)(until % 1000000000u)};
		while (q->count == 0 && !q->closed)
			if (pthread_cond_timedwait(&q->not_empty, &q->lock, &t) == ETIMEDOUT)
				break;
	}
	q->starved_ns += now_ns() - since;
}

enum queue_result queue_pop(struct queue *q, void **item, int timeout_ms)
{
	enum queue_result r = QUEUE_OK;
	*item = NULL;
	pthread_mutex_lock(&q->lock);
	if (q->count == 0 && !q->closed && timeout_ms != 0)
		wait_for_item(q, timeout_ms);
	if (q->count > 0) {
		struct queue_item *slot = &q->ring[q->head];
		*item = slot->item;
		q->bytes -= slot->weight;
		q->head = (q->head + 1) % q->max_items;
		q->count--;
		/* Producers wait for different amounts of room: the one that is woken may not fit
		 * while another would, so all of them look. */
		pthread_cond_broadcast(&q->not_full);
	} else {
		r = q->closed ? QUEUE_CLOSED : QUEUE_AGAIN;
	}
	pthread_mutex_unlock(&q->lock);
	return r;
}

void queue_close(struct queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->closed = true;
	pthread_cond_broadcast(&q->not_empty);
	pthread_cond_broadcast(&q->not_full);
	pthread_mutex_unlock(&q->lock);
}

void queue_stats(struct queue *q, struct queue_stats *out)
{
	pthread_mutex_lock(&q->lock);
	*out = (struct queue_stats){
		.starved_ns = q->starved_ns,
		.blocked_ns = q->blocked_ns,
		.items_total = q->items_total,
		.bytes_total = q->bytes_total,
		.items = q->count,
		.bytes = q->bytes,
	};
	pthread_mutex_unlock(&q->lock);
}
