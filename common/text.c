/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Length of the well-formed UTF-8 sequence at p (RFC 3629), 0 if there is none or it is a C1
 * control. */
static size_t utf8_len(const uint8_t *p, size_t n)
{
	size_t len = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
	if (len == 0 || len > n)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if (p[0] == 0xc2 && p[1] < 0xa0)
		return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return len;
}

/* Writes the escaped form of the first character of [p, p+n) to out; returns the bytes it consumed.
 */
static size_t escape_one(char out[8], const uint8_t *p, size_t n)
{
	if (p[0] == '\\' || p[0] == '\n' || p[0] == '\t') {
		snprintf(out, 8, "\\%c", p[0] == '\\' ? '\\' : p[0] == '\n' ? 'n' : 't');
		return 1;
	}
	if (p[0] >= 0x20 && p[0] < 0x7f) {
		out[0] = (char)p[0];
		out[1] = '\0';
		return 1;
	}
	size_t len = utf8_len(p, n);
	if (len) {
		memcpy(out, p, len);
		out[len] = '\0';
		return len;
	}
	snprintf(out, 8, "\\%03o", p[0]);
	return 1;
}

static char *convert(char *out, size_t cap, const void *src, size_t n, bool keep_backslash)
{
	const uint8_t *p = src;
	size_t at = 0;
	size_t cut = 0; /* last place between characters with room for the dots */
	for (size_t i = 0; i < n;) {
		char one[8];
		size_t used = escape_one(one, p + i, n - i);
		if (keep_backslash && p[i] == '\\')
			one[1] = '\0';
		size_t len = strlen(one);
		if (at + 4 <= cap)
			cut = at;
		if (at + len + 1 > cap) {
			at = cut;
			for (const char *dots = "..."; *dots && at + 1 < cap; dots++)
				out[at++] = *dots;
			break;
		}
		memcpy(out + at, one, len);
		at += len;
		i += used;
	}
	out[at] = '\0';
	return out;
}

char *text_escape(char *out, size_t cap, const void *p, size_t n)
{
	return convert(out, cap, p, n, false);
}

char *text_clean(char *out, size_t cap, const void *p, size_t n)
{
	return convert(out, cap, p, n, true);
}
