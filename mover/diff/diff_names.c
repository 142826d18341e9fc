/* SPDX-License-Identifier: Apache-2.0 */
#include "diff_names.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mem.h"

void diff_names_init(struct diff_names *l)
{
	memset(l, 0, sizeof(*l));
}

void diff_names_release(struct diff_names *l)
{
	free(l->bytes);
	free(l->at);
	diff_names_init(l);
}

size_t diff_names_held(const struct diff_names *l)
{
	return l->cap + l->cap_n * sizeof(*l->at);
}

/* What the names weigh against the maximum. */
static size_t weight(const struct diff_names *l)
{
	return l->len + l->n * sizeof(*l->at);
}

static void add(struct diff_names *l, const char *name, size_t size)
{
	if (l->cap - l->len < size) {
		l->cap = l->cap + l->cap / 2 + size + 512;
		l->bytes = mem_realloc(l->bytes, l->cap, 1);
	}
	if (l->n == l->cap_n) {
		l->cap_n = l->cap_n + l->cap_n / 2 + 32;
		l->at = mem_realloc(l->at, l->cap_n, sizeof(*l->at));
	}
	memcpy(l->bytes + l->len, name, size);
	l->at[l->n++] = (uint32_t)l->len;
	l->len += size;
}

static int by_name(const void *x, const void *y, void *bytes)
{
	const char *b = bytes;
	const uint32_t *i = x;
	const uint32_t *j = y;
	return strcmp(b + *i, b + *j);
}

/* Sorts, and drops what readdir gave twice (it may when the directory changes). */
static void sort(struct diff_names *l)
{
	if (!l->n)
		return;
	qsort_r(l->at, l->n, sizeof(*l->at), by_name, l->bytes);
	size_t keep = 1;
	for (size_t i = 1; i < l->n; i++)
		if (strcmp(diff_names_get(l, i), diff_names_get(l, keep - 1)) != 0)
			l->at[keep++] = l->at[i];
	l->n = keep;
}

/* Keeps the smaller half of the names, at least one, in fresh memory without gaps. */
static void halve(struct diff_names *l, size_t max)
{
	sort(l);
	struct diff_names half;
	diff_names_init(&half);
	half.more = l->more;
	for (size_t i = 0; i < l->n; i++) {
		const char *name = diff_names_get(l, i);
		if (i && weight(&half) > max / 2) {
			half.more = true;
			break;
		}
		add(&half, name, strlen(name) + 1);
	}
	diff_names_release(l);
	*l = half;
}

/* Takes in one name; the list stays within max. last is the biggest name worth taking, or NULL. */
static void take(struct diff_names *l, const char *name, const char *after, size_t max, char **last)
{
	if (name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2])))
		return;
	if (after && strcmp(name, after) <= 0)
		return;
	if (*last && strcmp(name, *last) > 0)
		return;
	add(l, name, strlen(name) + 1);
	if (weight(l) <= max)
		return;
	halve(l, max);
	if (l->more) {
		free(*last);
		*last = mem_strdup(diff_names_get(l, l->n - 1));
	}
}

int diff_names_read(struct diff_names *l, int fd, const char *after, size_t max, void *scratch,
		    size_t cap)
{
	CLEANUP_FREE char *last = NULL;
	max = max < DIFF_NAMES_MIN ? DIFF_NAMES_MIN : max > DIFF_NAMES_MAX ? DIFF_NAMES_MAX : max;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return -1;
	ssize_t got;
	while ((got = getdents64(fd, scratch, cap)) > 0) {
		const char *p = scratch;
		const char *end = p + got;
		while (p < end) {
			unsigned short size;
			memcpy(&size, p + offsetof(struct dirent64, d_reclen), sizeof(size));
			if (!size) {
				errno = EIO;
				got = -1;
				break;
			}
			take(l, p + offsetof(struct dirent64, d_name), after, max, &last);
			p += size;
		}
		if (got < 0)
			break;
	}
	if (got < 0) {
		int saved = errno;
		diff_names_release(l);
		errno = saved;
		return -1;
	}
	sort(l);
	return 0;
}

void diff_names_limit(struct diff_names *l, const char *last)
{
	while (l->n && strcmp(diff_names_get(l, l->n - 1), last) > 0) {
		l->n--;
		l->more = true;
	}
}
