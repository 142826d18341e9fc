/* SPDX-License-Identifier: Apache-2.0 */
#include "acl.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER = 4, ENTRY = 8, VERSION = 2 };
enum { TAG_OWNER = 0x01, TAG_USER = 0x02, TAG_GROUP = 0x08, TAG_MASK = 0x10 };

static uint16_t tag_of(const uint8_t *entry)
{
	return (uint16_t)(entry[0] | entry[1] << 8);
}

static uint32_t id_of(const uint8_t *entry)
{
	return (uint32_t)entry[4] | (uint32_t)entry[5] << 8 | (uint32_t)entry[6] << 16 |
	       (uint32_t)entry[7] << 24;
}

static int compare(const void *a, const void *b)
{
	uint16_t ta = tag_of(a);
	uint16_t tb = tag_of(b);
	if (ta != tb)
		return ta < tb ? -1 : 1;
	uint32_t ia = id_of(a);
	uint32_t ib = id_of(b);
	return (ia > ib) - (ia < ib);
}

int acl_canonical(uint8_t *value, size_t *n, bool is_default)
{
	if (*n < HEADER || (*n - HEADER) % ENTRY != 0)
		return -1;
	if (value[0] != VERSION || value[1] || value[2] || value[3])
		return -1;
	size_t count = (*n - HEADER) / ENTRY;
	bool extended = false;
	for (size_t i = 0; i < count; i++) {
		uint8_t *entry = value + HEADER + i * ENTRY;
		uint16_t tag = tag_of(entry);
		if (tag == TAG_USER || tag == TAG_GROUP)
			extended = true;
		else
			memset(entry + 4, 0xff, 4);
		if (tag == TAG_MASK)
			extended = true;
	}
	qsort(value + HEADER, count, ENTRY, compare);
	if (is_default ? count == 0 : !extended && count <= 3)
		*n = 0;
	return 0;
}

void acl_grant_owner(uint8_t *value, size_t n, uint8_t perms)
{
	for (size_t at = HEADER; at + ENTRY <= n; at += ENTRY)
		if (tag_of(value + at) == TAG_OWNER)
			value[at + 2] |= perms;
}
