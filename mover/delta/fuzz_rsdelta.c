/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hostile block signatures, and deltas made with them. Byte 0 odd: the rest is a signature as it
 * comes, for a window as long as bytes 1-2 say, and if that is refused the records of one. Even: an
 * honest signature of the rest is made, bytes of it are overwritten as byte 3 says, and a delta of
 * the rest turned by some bytes is made with it. Every command must stay inside window and range;
 * with an untouched signature the commands must rebuild the range.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mem.h"
#include "rsdelta.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct out {
	const uint8_t *window;
	size_t window_len;
	uint8_t *bytes;
	size_t len, cap;
};

static int take(void *arg, const struct rsdelta_cmd *c, struct err *e)
{
	struct out *o = arg;
	(void)e;
	if (c->src != o->len || !c->len || c->len > o->cap - o->len)
		abort();
	if (c->kind == RSDELTA_COPY && rsdelta_check_copy(c->from, c->len, o->window_len, NULL) < 0)
		abort();
	const uint8_t *from = c->kind == RSDELTA_COPY ? o->window + c->from : c->bytes;
	memcpy(o->bytes + o->len, from, c->len);
	o->len += c->len;
	return 0;
}

static void delta(struct rsdelta_sig *s, const uint8_t *window, const uint8_t *src, size_t n,
		  int honest)
{
	CLEANUP_FD int fd = memfd_create("src", MFD_CLOEXEC);
	if (fd < 0 || pwrite(fd, src, n, 0) != (ssize_t)n)
		return;
	struct out o = {.window = window,
			.window_len = rsdelta_sig_window(s),
			.bytes = mem_alloc_raw(n),
			.cap = n};
	struct rsdelta_sink sink = {.emit = take, .arg = &o};
	struct rsdelta_stats st;
	struct err e = {0};
	int r = rsdelta_delta(s, fd, 0, n, &sink, &st, &e);
	if (r < 0 && e.code != ERR_PROTOCOL)
		abort();
	if (r == 0 && st.covered != n)
		abort();
	if (honest && (r != 0 || memcmp(o.bytes, src, n) != 0))
		abort();
	free(o.bytes);
}

static void with_signature_of(const uint8_t *p, size_t n, const uint8_t *head)
{
	CLEANUP_FD int fd = memfd_create("basis", MFD_CLOEXEC);
	if (fd < 0 || pwrite(fd, p, n, 0) != (ssize_t)n)
		return;
	CLEANUP_BUF struct buf sig;
	buf_init(&sig, RSDELTA_SIG_MAX);
	if (rsdelta_signature(fd, 0, n, RSDELTA_BLOCK_MIN, &sig, NULL) < 0)
		abort();
	int honest = head[3] == 0;
	if (!honest)
		sig.data[(size_t)(head[1] << 8 | head[2]) % sig.len] ^= head[3];
	struct rsdelta_sig *s = NULL;
	if (rsdelta_load(sig.data, sig.len, n, &s, NULL) < 0) {
		if (honest)
			abort();
		return;
	}
	size_t turn = (size_t)head[1] % n;
	CLEANUP_FREE uint8_t *src = mem_alloc_raw(2 * n);
	memcpy(src, p + turn, n - turn);
	memcpy(src + n - turn, p, n);
	delta(s, p, src, 2 * n - turn, honest);
	rsdelta_sig_free(s);
}

static struct rsdelta_sig *from_records(const uint8_t *p, size_t count)
{
	static const uint8_t head[] = {0x72, 0x73, 0x01, 0x47, 0, 0, 2, 0, 0, 0, 0, RSDELTA_STRONG};
	size_t n = sizeof head + count * RSDELTA_SIG_RECORD;
	CLEANUP_FREE uint8_t *sig = mem_alloc_raw(n);
	memcpy(sig, head, sizeof head);
	memcpy(sig + sizeof head, p, n - sizeof head);
	struct rsdelta_sig *s = NULL;
	if (count && rsdelta_load(sig, n, count * RSDELTA_BLOCK_MIN, &s, NULL) < 0)
		abort();
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 5)
		return 0;
	const uint8_t *head = data;
	data += 4;
	size -= 4;
	if (head[0] & 1) {
		uint64_t window_len = (uint64_t)head[1] << 8 | head[2];
		struct rsdelta_sig *s = NULL;
		if (rsdelta_load(data, size, window_len, &s, NULL) < 0)
			s = from_records(data, size / RSDELTA_SIG_RECORD);
		if (!s)
			return 0;
		CLEANUP_FREE uint8_t *window = mem_alloc(rsdelta_sig_window(s), 1);
		delta(s, window, data, size, 0);
		rsdelta_sig_free(s);
	} else {
		with_signature_of(data, size, head);
	}
	return 0;
}
