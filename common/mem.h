/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Allocation that cannot fail: all sizes are bounded by construction, so running out of memory
 * means the machine is out, and the process ends with one line on stderr and exit code 1. Each
 * session is a process of its own, so nothing else is taken down.
 */
#ifndef SCRIBE_MEM_H
#define SCRIBE_MEM_H

#include <stddef.h>

/* Zeroed memory for n objects of size bytes; multiplication is checked. Free with free(). */
void *mem_alloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull, warn_unused_result));
/* Not zeroed. */
void *mem_alloc_raw(size_t size) __attribute__((malloc, returns_nonnull, warn_unused_result));
void *mem_realloc(void *p, size_t n, size_t size)
	__attribute__((returns_nonnull, warn_unused_result));
/* Copy of n bytes with a NUL behind them. */
char *mem_dup(const void *p, size_t n) __attribute__((malloc, returns_nonnull, warn_unused_result));
char *mem_strdup(const char *s) __attribute__((malloc, returns_nonnull, warn_unused_result));
/* printf into fresh memory. */
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2), returns_nonnull));

/* For __attribute__((cleanup)): frees what the variable points to, closes the fd it holds. */
void mem_cleanup_free(void *pp);
void mem_cleanup_close(int *fd);

#define CLEANUP_FREE __attribute__((cleanup(mem_cleanup_free)))
#define CLEANUP_FD   __attribute__((cleanup(mem_cleanup_close)))

#endif
