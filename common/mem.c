/* SPDX-License-Identifier: Apache-2.0 */
#include "mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void out_of_memory(void) __attribute__((noreturn));

static void out_of_memory(void)
{
	static const char line[] = "scribe: out of memory\n";
	ssize_t ignored = write(STDERR_FILENO, line, sizeof line - 1);
	(void)ignored;
	_exit(1);
}

static size_t product(size_t n, size_t size)
{
	size_t total;
	if (__builtin_mul_overflow(n, size, &total))
		out_of_memory();
	return total ? total : 1;
}

void *mem_alloc(size_t n, size_t size)
{
	void *p = calloc(1, product(n, size));
	if (!p)
		out_of_memory();
	return p;
}

void *mem_alloc_raw(size_t size)
{
	void *p = malloc(size ? size : 1);
	if (!p)
		out_of_memory();
	return p;
}

void *mem_realloc(void *p, size_t n, size_t size)
{
	void *q = realloc(p, product(n, size));
	if (!q)
		out_of_memory();
	return q;
}

char *mem_dup(const void *p, size_t n)
{
	char *q = mem_alloc_raw(n + 1);
	if (n)
		memcpy(q, p, n);
	q[n] = '\0';
	return q;
}

char *mem_strdup(const char *s)
{
	return mem_dup(s, strlen(s));
}

char *mem_printf(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	char *text = NULL;
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		out_of_memory();
	return text;
}

void mem_cleanup_free(void *pp)
{
	void **p = pp;
	free(*p);
	*p = NULL;
}

void mem_cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}
