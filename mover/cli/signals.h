/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIGINT, SIGTERM and SIGHUP as a flag and as a descriptor that can be polled. The program's only
 * mutable global state, since a handler can reach nothing else.
 */
#ifndef SCRIBE_SIGNALS_H
#define SCRIBE_SIGNALS_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"

enum signals_mode {
	SIGNALS_ONCE,    /* a second signal ends the process at once, with 128 + its number */
	SIGNALS_COUNT,   /* the process looks at signals_count() itself */
	SIGNALS_SESSION, /* like SIGNALS_COUNT, and SIGINT is ignored: the parent passes it on */
};

/* Installs the handlers and forgets signals that came before. After fork() the child calls it
 * again, or shares the parent's descriptor. */
int signals_install(enum signals_mode mode, struct err *e);
/* The first signal that came, 0 if none. Any thread. */
int signals_got(void);
int signals_count(void);
/* Readable from the first signal on; it stays so. -1 before signals_install(). */
int signals_fd(void);
/* Sleeps; true as soon as a signal came. */
bool signals_sleep(int64_t ns);

#endif
