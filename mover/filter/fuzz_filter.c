/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hostile rules against hostile paths. Input: a mode byte, a path length byte, the path, then in
 * mode 0 (mod 3) a wire form, in modes 1 and 2 the text of a file of rules. Mode 2 spoils one byte
 * of the wire form made of it: place and value are the first bytes of the path.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "err.h"
#include "filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool truth)
{
	if (!truth)
		abort();
}

/* Decodes, and holds that only the one wire form of the rules is accepted. */
static void check_wire(const uint8_t *wire, size_t n, const char *path, size_t length)
{
	struct err e = {0};
	struct filter f;
	filter_init(&f);
	if (filter_decode(&f, wire, n, &e) < 0) {
		require(e.code == ERR_PROTOCOL && f.count == 0);
		return;
	}
	CLEANUP_BUF struct buf again;
	buf_init(&again, FILTER_WIRE_MAX);
	require(filter_encode(&f, &again) == 0);
	require(again.len == n && memcmp(again.data, wire, n) == 0);
	filter_match(&f, path, length, false);
	filter_match(&f, path, length, true);
	filter_release(&f);
}

static void check_text(const uint8_t *text, size_t n, const char *path, size_t length, bool spoil)
{
	struct err e = {0};
	struct filter f;
	struct filter copy;
	filter_init(&f);
	filter_init(&copy);
	if (filter_add_file(&f, FILTER_EXCLUDE, text, n, &e) < 0)
		require(e.code == ERR_USAGE);
	CLEANUP_BUF struct buf wire;
	buf_init(&wire, FILTER_WIRE_MAX);
	require(filter_encode(&f, &wire) == 0);
	require(filter_decode(&copy, wire.data, wire.len, &e) == 0);
	for (int is_dir = 0; is_dir < 2; is_dir++)
		require(filter_match(&f, path, length, is_dir) ==
			filter_match(&copy, path, length, is_dir));
	filter_release(&f);
	filter_release(&copy);
	if (spoil && length >= 3) {
		size_t at = (size_t)((uint8_t)path[0] | (uint8_t)path[1] << 8) % wire.len;
		wire.data[at] = (uint8_t)path[2];
		check_wire(wire.data, wire.len, path, length);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	size_t length = data[1] < size - 2 ? data[1] : size - 2;
	const char *path = (const char *)data + 2;
	const uint8_t *rest = data + 2 + length;
	size_t n = size - 2 - length;
	if (data[0] % 3 == 0)
		check_wire(rest, n, path, length);
	else
		check_text(rest, n, path, length, data[0] % 3 == 2);
	return 0;
}
