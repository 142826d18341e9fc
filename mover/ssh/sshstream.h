/* SPDX-License-Identifier: Apache-2.0 */
/* For this room's tests: streams of which each byte is checked. */
#ifndef SCRIBE_SSHSTREAM_H
#define SCRIBE_SSHSTREAM_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "sshrig.h"
#include "transport.h"

enum { PATTERN_LEN = 1048573, DRIVE_CHUNK = 256 << 10, DRIVE_STALL_MS = 60000 };

/* The byte stream that tests send: a random block, repeated; its length is coprime to every buffer.
 */
__attribute__((unused)) static uint8_t *pattern_make(unsigned seed)
{
	uint8_t *p = mem_alloc_raw(2 * (size_t)PATTERN_LEN);
	uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
	for (size_t i = 0; i < PATTERN_LEN; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = p[i + PATTERN_LEN] = (uint8_t)(x >> 24);
	}
	return p;
}

struct drive {
	struct transport *t;
	uint64_t send; /* bytes to send and to expect */
	uint64_t expect;
	unsigned seed_out;
	unsigned seed_in;
	unsigned polls; /* times it had to wait */
};

__attribute__((unused)) static ssize_t drive_read(struct drive *d, const uint8_t *pattern,
						  uint8_t *buf, uint64_t *got)
{
	struct err e;
	bool eof;
	ssize_t n = d->t->ops->read(d->t, buf, DRIVE_CHUNK, &eof, &e);
	if (n < 0)
		die("read after %llu bytes: %s", (unsigned long long)*got, e.msg);
	if (n > 0 && memcmp(buf, pattern + *got % PATTERN_LEN, (size_t)n) != 0)
		die("wrong bytes after %llu", (unsigned long long)*got);
	*got += (uint64_t)n;
	return n;
}

__attribute__((unused)) static ssize_t drive_write(struct drive *d, const uint8_t *pattern,
						   uint64_t *sent)
{
	struct err e;
	uint64_t left = d->send - *sent;
	size_t n = left < DRIVE_CHUNK ? (size_t)left : DRIVE_CHUNK;
	ssize_t put = d->t->ops->write(d->t, pattern + *sent % PATTERN_LEN, n, &e);
	if (put < 0)
		die("write after %llu bytes: %s", (unsigned long long)*sent, e.msg);
	*sent += (uint64_t)put;
	return put;
}

/* Waits until the transport has something to do. */
__attribute__((unused)) static void drive_wait(struct transport *t, bool want_write)
{
	struct pollfd fds[TRANSPORT_POLLFDS];
	int n = t->ops->pollfds(t, fds, want_write);
	int rc = n ? poll(fds, (nfds_t)n, DRIVE_STALL_MS) : 0;
	if (rc == 0)
		die("stalled (%s)", t->peer);
}

/* Sends and receives what d says, in one thread, each byte checked. Dies on any failure. */
__attribute__((unused)) static void drive(struct drive *d)
{
	uint8_t *out = pattern_make(d->seed_out);
	uint8_t *in = pattern_make(d->seed_in);
	uint8_t *buf = mem_alloc_raw(DRIVE_CHUNK);
	uint64_t sent = 0;
	uint64_t got = 0;
	while (sent < d->send || got < d->expect) {
		bool moved = got < d->expect && drive_read(d, in, buf, &got) > 0;
		if (sent < d->send)
			moved = drive_write(d, out, &sent) > 0 || moved;
		if (moved)
			continue;
		d->polls++;
		drive_wait(d->t, sent < d->send);
	}
	free(out);
	free(in);
	free(buf);
}

/* Reads until the end of the stream; returns the bytes dropped. */
__attribute__((unused)) static uint64_t drive_to_end(struct transport *t)
{
	uint8_t *buf = mem_alloc_raw(DRIVE_CHUNK);
	uint64_t total = 0;
	for (;;) {
		struct err e;
		bool eof;
		ssize_t n = t->ops->read(t, buf, DRIVE_CHUNK, &eof, &e);
		if (n < 0 && eof)
			break;
		if (n < 0)
			die("read: %s", e.msg);
		total += (uint64_t)n;
		if (n == 0)
			drive_wait(t, false);
	}
	free(buf);
	return total;
}

#endif
