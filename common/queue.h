/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bounded first-in first-out queue of pointers between threads. The bound is twofold: a number of
 * items, and a sum of the weights (bytes) the producers name. It counts for how long its consumers
 * starved and its producers were blocked, so that a report can name the stage that limits.
 *
 * The queue never looks at the items: whoever pops an item owns it. Any number of threads may push
 * and pop at once. queue_release() needs that no thread uses the queue any more.
 */
#ifndef SCRIBE_QUEUE_H
#define SCRIBE_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum queue_result {
	QUEUE_OK = 0,
	QUEUE_AGAIN = 1,   /* full (queue_try_push) or nothing came in time (queue_pop) */
	QUEUE_CLOSED = -1, /* closed; for queue_pop: and drained */
};

struct queue_item {
	void *item;
	uint64_t weight;
};

struct queue {
	pthread_mutex_t lock;
	pthread_cond_t not_empty;
	pthread_cond_t not_full;
	/* Fixed by queue_init(). */
	size_t max_items;
	uint64_t max_bytes;
	struct queue_item *ring; /* max_items slots; content guarded by lock */
	/* All below: guarded by lock. */
	size_t head, count;
	uint64_t bytes;
	uint64_t starved_ns, blocked_ns;
	uint64_t items_total, bytes_total;
	bool closed;
};

struct queue_stats {
	uint64_t starved_ns;  /* sum over all consumers of the time spent waiting in queue_pop() */
	uint64_t blocked_ns;  /* sum over all producers of the time spent waiting in queue_push() */
	uint64_t items_total; /* ever pushed */
	uint64_t bytes_total; /* weight ever pushed */
	size_t items;         /* in the queue now */
	uint64_t bytes;       /* weight in the queue now */
};

/* Both maxima are >= 1. Allocates max_items slots at once. */
void queue_init(struct queue *q, size_t max_items, uint64_t max_bytes);

/* Frees the queue's memory. Items still inside are the caller's: pop them first. */
void queue_release(struct queue *q);

/*
 * Appends an item; waits while the queue is full. An item heavier than max_bytes is admitted when
 * the queue is empty, so that it cannot wait for ever. QUEUE_OK, or QUEUE_CLOSED: the item was not
 * taken and stays the caller's.
 */
enum queue_result queue_push(struct queue *q, void *item, uint64_t weight);

/* The same without waiting; QUEUE_AGAIN if the queue is full. */
enum queue_result queue_try_push(struct queue *q, void *item, uint64_t weight);

/*
 * Takes the oldest item, waiting for at most timeout_ms (0 = not at all, -1 = for ever).
 * QUEUE_OK with *item set; QUEUE_AGAIN after the timeout; QUEUE_CLOSED once the queue was closed
 * and everything pushed before has been popped. *item is set to NULL unless QUEUE_OK.
 */
enum queue_result queue_pop(struct queue *q, void **item, int timeout_ms);

/* Refuses further pushes and wakes everybody who waits. May be called more than once. */
void queue_close(struct queue *q);

/* A consistent snapshot of the counters, waits that still go on not included. */
void queue_stats(struct queue *q, struct queue_stats *out);

#endif
