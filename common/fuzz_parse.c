/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a parser accepts is in its range, and what is printed of it reads back as the same
 * value. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
	if (!condition)
		abort();
}

static void check_message(int rc, const struct err *e)
{
	if (rc == 0)
		return;
	require(rc == -1 && e->code == ERR_USAGE);
	for (const char *p = e->msg; *p; p++)
		require((unsigned char)*p >= 0x20);
}

static void fuzz_numbers(const char *s)
{
	struct err e = {0};
	uint64_t v = 0;
	uint16_t port = 0;
	unsigned percent = 0;
	int rc = parse_u64("x", s, 5, 5000, &v, &e);
	check_message(rc, &e);
	require(rc < 0 || (v >= 5 && v <= 5000));
	check_message(parse_size("x", s, &v, &e), &e);
	check_message(parse_rate("x", s, &v, &e), &e);
	rc = parse_port("x", s, false, &port, &e);
	check_message(rc, &e);
	require(rc < 0 || port > 0);
	rc = parse_percent("x", s, &percent, &e);
	check_message(rc, &e);
	require(percent <= 100);
}

static void fuzz_times(const char *s)
{
	struct err e = {0};
	int64_t ns = 0, ns_back = -1;
	struct timespec t = {0}, t_back = {0};
	char text[FORMAT_TIME_MAX];
	int rc = parse_duration("x", s, &ns, &e);
	check_message(rc, &e);
	require(ns >= 0);
	if (rc == 0) {
		require(parse_duration("x", format_duration(text, ns), &ns_back, &e) == 0);
		require(ns == ns_back);
	}
	rc = parse_time("x", s, &t, &e);
	check_message(rc, &e);
	if (rc == 0) {
		require(parse_time("x", format_time(text, t), &t_back, &e) == 0);
		require(t.tv_sec == t_back.tv_sec && t.tv_nsec == t_back.tv_nsec);
	}
}

/* The bytes as raw values: every value prints, and reads back where it is in range. */
static void fuzz_formats(const uint8_t *data, size_t size)
{
	int64_t v[2] = {0};
	char text[FORMAT_TIME_MAX];
	memcpy(v, data, size < sizeof v ? size : sizeof v);
	int64_t back = -1;
	format_duration(text, v[0]);
	require(v[0] < 0 || (parse_duration("x", text, &back, NULL) == 0 && back == v[0]));
	format_size(text, (uint64_t)v[0]);
	struct timespec t = {.tv_sec = v[0], .tv_nsec = (long)v[1]}, t_back;
	require(parse_time("x", format_time(text, t), &t_back, NULL) == 0);
}

/* Half of the inputs are made to look like what is parsed: chance alone hardly gets past a digit.
 */
static void to_alphabet(char *s, size_t n)
{
	static const char alphabet[] = "0123456789012345678901234.:-+TZhmsundKMGiB/% ";
	for (size_t i = 0; i < n; i++)
		s[i] = alphabet[(unsigned char)s[i] % (sizeof alphabet - 1)];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_FREE char *s = mem_dup(data, size);
	fuzz_numbers(s);
	fuzz_times(s);
	fuzz_formats(data, size);
	to_alphabet(s, size < 40 ? size : 40);
	s[size < 40 ? size : 40] = '\0';
	fuzz_numbers(s);
	fuzz_times(s);
	return 0;
}
