/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a directory entry by entry with a fixed buffer, so that a directory of millions costs no
 * memory. A scan may be suspended (its fd closed) and goes on where it was. One thread at a time.
 */
#ifndef SCRIBE_SCAN_H
#define SCRIBE_SCAN_H

#include "dirs.h"

enum { SCAN_BUFFER = 32768 };

struct scan {
	int fd;
	int64_t offset; /* cookie of the last entry returned */
	size_t at, end; /* within buffer */
	uint8_t *buffer;
};

/* Starts at the first entry. 0 or -1. */
int scan_init(struct scan *s, struct dirs *ds, struct dir *d, struct err *e);
void scan_release(struct scan *s);
/* 1 with *name (valid until the next call) and *type (DT_*), 0 at the end, -1 on a read error.
 * "." and ".." are left out. */
int scan_next(struct scan *s, struct bytes *name, unsigned char *type, struct err *e);
/* Frees fd and buffer; the next scan_resume() goes on behind the last entry. */
void scan_suspend(struct scan *s);
int scan_resume(struct scan *s, struct dirs *ds, struct dir *d, struct err *e);

#endif
