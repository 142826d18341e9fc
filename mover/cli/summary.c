/* SPDX-License-Identifier: Apache-2.0 */
#include "summary.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "parse.h"

static void put_grouped(struct buf *out, const char *digits)
{
	size_t n = strspn(digits, "0123456789");
	for (size_t i = 0; i < n; i++) {
		if (i > 0 && (n - i) % 3 == 0)
			buf_put_u8(out, ',');
		buf_put_u8(out, (uint8_t)digits[i]);
	}
	buf_puts(out, digits + n);
}

void summary_number(struct buf *out, uint64_t n)
{
	char digits[32];
	snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
	put_grouped(out, digits);
}

void summary_decimal(struct buf *out, double v)
{
	char digits[64];
	if (!(v >= 0 && v < 1e30))
		v = 0;
	snprintf(digits, sizeof digits, "%.2f", v);
	put_grouped(out, digits);
}

void summary_lines(struct buf *out, uint64_t sent, uint64_t received, uint64_t total_size,
		   int64_t duration_ns)
{
	double wire = (double)sent + (double)received;
	double seconds = (double)duration_ns / (double)PARSE_NS_PER_S;
	buf_puts(out, "sent ");
	summary_number(out, sent);
	buf_puts(out, " bytes  received ");
	summary_number(out, received);
	buf_puts(out, " bytes  ");
	summary_decimal(out, seconds > 0 ? wire / seconds : 0);
	buf_puts(out, " bytes/sec\ntotal size is ");
	summary_number(out, total_size);
	buf_puts(out, "  speedup is ");
	summary_decimal(out, wire > 0 ? (double)total_size / wire : 0);
	buf_printf(out, "\nrsync completed in %llds\n", (long long)(duration_ns / PARSE_NS_PER_S));
}

/* "\#" and three digits, which a reader would take for an escape. */
static bool looks_escaped(const uint8_t *p, size_t n)
{
	return n > 4 && p[0] == '\\' && p[1] == '#' && isdigit(p[2]) && isdigit(p[3]) &&
	       isdigit(p[4]);
}

void itemize_escape(struct buf *out, const void *bytes, size_t n)
{
	const uint8_t *p = bytes;
	for (size_t i = 0; i < n; i++) {
		bool printable = p[i] == '\t' || (p[i] >= ' ' && p[i] < 0x7f);
		if (printable && !looks_escaped(p + i, n - i))
			buf_put_u8(out, p[i]);
		else
			buf_printf(out, "\\#%03o", p[i]);
	}
}

void itemize_line(struct buf *out, const struct run_item *item)
{
	buf_printf(out, "%-11.11s ", item->code);
	itemize_escape(out, item->path.p, item->path.n);
	bool dir = item->code[0] && item->code[1] == 'd' && item->code[0] != '*';
	if (dir && item->path.n == 0)
		buf_puts(out, "./");
	else if (dir && item->path.p[item->path.n - 1] != '/')
		buf_puts(out, "/");
	if (item->arrow) {
		buf_puts(out, item->arrow == '=' ? " => " : " -> ");
		itemize_escape(out, item->target.p, item->target.n);
	}
	buf_puts(out, "\n");
}
