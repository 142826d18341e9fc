/* SPDX-License-Identifier: Apache-2.0 */
#include "mailbox.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

void mailbox_init(struct mailbox *m)
{
	*m = (struct mailbox){0};
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->arrived, &attr);
	pthread_condattr_destroy(&attr);
}

void mailbox_release(struct mailbox *m)
{
	while (m->first) {
		struct link_frame *f = m->first;
		m->first = f->next;
		free(f);
	}
	pthread_mutex_destroy(&m->lock);
	pthread_cond_destroy(&m->arrived);
}

void mailbox_put(struct mailbox *m, struct link_frame *f)
{
	f->next = NULL;
	pthread_mutex_lock(&m->lock);
	if (m->closed) {
		free(f);
	} else {
		if (m->last)
			m->last->next = f;
		else
			m->first = f;
		m->last = f;
		m->count++;
		pthread_cond_signal(&m->arrived);
	}
	pthread_mutex_unlock(&m->lock);
}

static struct timespec deadline(int timeout_ms)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += timeout_ms / 1000;
	t.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct link_frame *mailbox_take(struct mailbox *m, int timeout_ms)
{
	struct timespec until = deadline(timeout_ms < 0 ? 0 : timeout_ms);
	pthread_mutex_lock(&m->lock);
	if (!m->first && !m->closed && timeout_ms != 0) {
		uint64_t since = now_ns();
		int r = 0;
		while (!m->first && !m->closed && r != ETIMEDOUT)
			r = timeout_ms < 0 ? pthread_cond_wait(&m->arrived, &m->lock)
					   : pthread_cond_timedwait(&m->arrived, &m->lock, &until);
		m->starved_ns += now_ns() - since;
	}
	struct link_frame *f = m->first;
	if (f) {
		m->first = f->next;
		if (!m->first)
			m->last = NULL;
		m->count--;
		f->next = NULL;
	}
	pthread_mutex_unlock(&m->lock);
	return f;
}

void mailbox_close(struct mailbox *m)
{
	pthread_mutex_lock(&m->lock);
	m->closed = true;
	pthread_cond_broadcast(&m->arrived);
	pthread_mutex_unlock(&m->lock);
}

bool mailbox_closed(struct mailbox *m)
{
	pthread_mutex_lock(&m->lock);
	bool closed = m->closed;
	pthread_mutex_unlock(&m->lock);
	return closed;
}

size_t mailbox_count(struct mailbox *m)
{
	pthread_mutex_lock(&m->lock);
	size_t n = m->count;
	pthread_mutex_unlock(&m->lock);
	return n;
}
