/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "parse.h"

#define N_ROWS(rows) (sizeof(rows) / sizeof((rows)[0]))

/* A refusal is a usage error of one line that names the option and leaves the target alone. */
static void check_refusal(const struct err *e, const char *why)
{
	assert_int_equal(e->code, ERR_USAGE);
	assert_memory_equal(e->msg, "--x: ", 5);
	assert_null(strchr(e->msg, '\n'));
	assert_non_null(strstr(e->msg, "; wanted: "));
	if (why && !strstr(e->msg, why))
		fail_msg("\"%s\" lacks \"%s\"", e->msg, why);
}

enum { BAD = 1 };

struct u64_row {
	const char *text;
	uint64_t value;
	int bad;
	const char *why;
};

static void numbers(void **state)
{
	(void)state;
	static const struct u64_row rows[] = {
		{"10", 10, 0, NULL},
		{"0010", 10, 0, NULL},
		{"1000", 1000, 0, NULL},
		{"", 0, BAD, "empty"},
		{"-1", 0, BAD, "negative"},
		{"+11", 0, BAD, "not a number"},
		{" 11", 0, BAD, "not a number"},
		{"x", 0, BAD, "not a number"},
		{"11 ", 0, BAD, "behind"},
		{"11K", 0, BAD, "behind"},
		{"0x1f", 0, BAD, "behind"},
		{"11.5", 0, BAD, "behind"},
		{"9", 0, BAD, "too small"},
		{"1001", 0, BAD, "too large"},
		{"18446744073709551616", 0, BAD, "too large"},
		{"99999999999999999999999", 0, BAD, "too large"},
	};
	for (size_t i = 0; i < N_ROWS(rows); i++) {
		struct err e = {0};
		uint64_t v = 77;
		int rc = parse_u64("--x", rows[i].text, 10, 1000, &v, &e);
		assert_int_equal(rc, rows[i].bad ? -1 : 0);
		assert_int_equal(v, rows[i].bad ? 77 : rows[i].value);
		if (rows[i].bad)
			check_refusal(&e, rows[i].why);
	}
	uint64_t v;
	assert_int_equal(parse_u64("--x", "18446744073709551615", 0, UINT64_MAX, &v, NULL), 0);
	assert_true(v == UINT64_MAX);
	assert_int_equal(parse_u64("--x", "18446744073709551616", 0, UINT64_MAX, &v, NULL), -1);
}

static void message_escapes_what_was_given(void **state)
{
	(void)state;
	struct err e = {0};
	uint64_t v;
	assert_int_equal(parse_u64("--x", "1\n\x1b[2J", 0, 9, &v, &e), -1);
	assert_string_equal(e.msg, "--x: \"1\\n\\033[2J\" has something behind the number; "
				   "wanted: a whole number from 0 to 9");
}

static void sizes(void **state)
{
	(void)state;
	static const struct u64_row rows[] = {
		{"0", 0, 0, NULL},
		{"4096", 4096, 0, NULL},
		{"512B", 512, 0, NULL},
		{"1K", 1 << 10, 0, NULL},
		{"1k", 1 << 10, 0, NULL},
		{"64KiB", 64 << 10, 0, NULL},
		{"2KB", 2 << 10, 0, NULL},
		{"10M", 10 << 20, 0, NULL},
		{"3GiB", UINT64_C(3) << 30, 0, NULL},
		{"1T", UINT64_C(1) << 40, 0, NULL},
		{"16777215T", UINT64_C(16777215) << 40, 0, NULL},
		{"16777216T", 0, BAD, "too large"},
		{"18446744073709551615", UINT64_MAX, 0, NULL},
		{"18446744073709551616", 0, BAD, "too large"},
		{"", 0, BAD, "empty"},
		{"K", 0, BAD, "not a number"},
		{"-1K", 0, BAD, "negative"},
		{"1 K", 0, BAD, "unit"},
		{"1KK", 0, BAD, "unit"},
		{"1Ki", 0, BAD, "unit"},
		{"1iB", 0, BAD, "unit"},
		{"1KiBx", 0, BAD, "unit"},
		{"1P", 0, BAD, "unit"},
		{"1.5G", 0, BAD, "unit"},
		{"1K/s", 0, BAD, "unit"},
		{"1b", 0, BAD, "unit"},
	};
	for (size_t i = 0; i < N_ROWS(rows); i++) {
		struct err e = {0};
		uint64_t v = 77;
		int rc = parse_size("--x", rows[i].text, &v, &e);
		assert_int_equal(rc, rows[i].bad ? -1 : 0);
		assert_true(v == (rows[i].bad ? 77 : rows[i].value));
		if (rows[i].bad)
			check_refusal(&e, rows[i].why);
	}
}

static void rates(void **state)
{
	(void)state;
	static const struct u64_row rows[] = {
		{"0", 0, 0, NULL},
		{"10M", 10 << 20, 0, NULL},
		{"1MiB/s", 1 << 20, 0, NULL},
		{"5/s", 5, 0, NULL},
		{"/s", 0, BAD, "not a number"},
		{"1M/", 0, BAD, "unit"},
		{"1M/h", 0, BAD, "unit"},
		{"1M/s ", 0, BAD, "unit"},
	};
	for (size_t i = 0; i < N_ROWS(rows); i++) {
		struct err e = {0};
		uint64_t v = 77;
		int rc = parse_rate("--x", rows[i].text, &v, &e);
		assert_int_equal(rc, rows[i].bad ? -1 : 0);
		assert_int_equal(v, rows[i].bad ? 77 : rows[i].value);
		if (rows[i].bad)
			check_refusal(&e, rows[i].why);
	}
}

#define S  PARSE_NS_PER_S
#define MS INT64_C(1000000)

struct duration_row {
	const char *text;
	int64_t ns;
	int bad;
	const char *why;
};

static void durations(void **state)
{
	(void)state;
	static const struct duration_row rows[] = {
		{"0", 0, 0, NULL},
		{"0s", 0, 0, NULL},
		{"90", 90 * S, 0, NULL},
		{"90s", 90 * S, 0, NULL},
		{"10m", 600 * S, 0, NULL},
		{"1h30m", 5400 * S, 0, NULL},
		{"500ms", 500 * MS, 0, NULL},
		{"2d", 172800 * S, 0, NULL},
		{"1d2h3m4s5ms6us7ns", 93784 * S + 5006007, 0, NULL},
		{"1.5h", 5400 * S, 0, NULL},
		{"2\xc2\xb5s", 2000, 0, NULL},
		{"2\xce\xbcs", 2000, 0, NULL},
		{"1.5", 1500 * MS, 0, NULL},
		{"5m20.764583925s", 320 * S + 764583925, 0, NULL},
		{"0.000000001s", 1, 0, NULL},
		{"1.0000000000000s", S, 0, NULL},
		{"2562047h47m16.854775807s", INT64_MAX, 0, NULL},
		{"2562047h47m16.854775808s", 0, BAD, "too large"},
		{"106752d", 0, BAD, "too large"},
		{"99999999999999999999s", 0, BAD, "too large"},
		{"", 0, BAD, "empty"},
		{"-1s", 0, BAD, "negative"},
		{"s", 0, BAD, "not a number"},
		{".5s", 0, BAD, "not a number"},
		{"1.s", 0, BAD, "no digits"},
		{"1 s", 0, BAD, "unit"},
		{"1w", 0, BAD, "unit"},
		{"1S", 0, BAD, "unit"},
		{"1h30", 0, BAD, "lacks the last unit"},
		{"1s1s", 0, BAD, "order"},
		{"1us1\xc2\xb5s", 0, BAD, "order"},
		{"1s1h", 0, BAD, "order"},
		{"1h ", 0, BAD, "not a number"},
		{"0.5ns", 0, BAD, "finer"},
		{"0.0000000001s", 0, BAD, "too many digits"},
	};
	for (size_t i = 0; i < N_ROWS(rows); i++) {
		struct err e = {0};
		int64_t v = 77;
		int rc = parse_duration("--x", rows[i].text, &v, &e);
		if (rc != (rows[i].bad ? -1 : 0))
			fail_msg("%s: %d", rows[i].text, rc);
		assert_int_equal(v, rows[i].bad ? 77 : rows[i].ns);
		if (rows[i].bad)
			check_refusal(&e, rows[i].why);
	}
}

/* The expectations are what Go's time.Duration.String() prints. */
static void durations_print_as_in_go(void **state)
{
	(void)state;
	static const struct duration_row rows[] = {
		{"0s", 0, 0, NULL},
		{"1ns", 1, 0, NULL},
		{"999ns", 999, 0, NULL},
		{"1\xc2\xb5s", 1000, 0, NULL},
		{"2\xc2\xb5s", 2000, 0, NULL},
		{"1.1\xc2\xb5s", 1100, 0, NULL},
		{"999.999\xc2\xb5s", 999999, 0, NULL},
		{"1ms", MS, 0, NULL},
		{"1.5ms", 1500000, 0, NULL},
		{"2.2ms", 2200000, 0, NULL},
		{"999.999999ms", 999999999, 0, NULL},
		{"1s", S, 0, NULL},
		{"3.3s", 3300 * MS, 0, NULL},
		{"1.000000001s", S + 1, 0, NULL},
		{"59.999999999s", 60 * S - 1, 0, NULL},
		{"1m0s", 60 * S, 0, NULL},
		{"4m5s", 245 * S, 0, NULL},
		{"4m5.001s", 245 * S + MS, 0, NULL},
		{"5m20.764583925s", 320 * S + 764583925, 0, NULL},
		{"59m59.999999999s", 3600 * S - 1, 0, NULL},
		{"1h0m0s", 3600 * S, 0, NULL},
		{"5h6m7.001s", 18367 * S + MS, 0, NULL},
		{"8m0.000000001s", 480 * S + 1, 0, NULL},
		{"100h0m0s", 360000 * S, 0, NULL},
		{"2562047h47m16.854775807s", INT64_MAX, 0, NULL},
		{"-2562047h47m16.854775808s", INT64_MIN, 0, NULL},
		{"-2562047h47m16.854775807s", -INT64_MAX, 0, NULL},
		{"-1.5ms", -1500000, 0, NULL},
		{"-1h0m0s", -3600 * S, 0, NULL},
	};
	for (size_t i = 0; i < N_ROWS(rows); i++) {
		char out[FORMAT_DURATION_MAX];
		assert_ptr_equal(format_duration(out, rows[i].ns), out);
		assert_string_equal(out, rows[i].text);
		int64_t back;
		if (rows[i].ns < 0)
			continue;
		assert_int_equal(parse_duration("--x", out, &back, NULL), 0);
		assert_int_equal(back, rows[i].ns);
	}
}

static void ports_and_percentages(void **state)
{
	(void)state;
	static const char *const bad_ports[] = {"", "-1", "65536", "22 ", "ssh", "0x16", "1e3"};
	static const char *const bad_percents[] = {"", "-1", "101", "5 %", "%", "5%%", "1.5"};
	uint16_t port = 7;
	unsigned percent = 7;
	for (size_t i = 0; i < N_ROWS(bad_ports); i++) {
		struct err e = {0};
		assert_int_equal(parse_port("--x", bad_ports[i], true, &port, &e), -1);
		check_refusal(&e, NULL);
		assert_int_equal(parse_percent("--x", bad_percents[i], &percent, &e), -1);
		check_refusal(&e, NULL);
	}
	assert_int_equal(port, 7);
	assert_int_equal(percent, 7);
	assert_int_equal(parse_port("--x", "0", false, &port, NULL), -1);
	assert_int_equal(parse_port("--x", "0", true, &port, NULL), 0);
	assert_int_equal(port, 0);
	assert_int_equal(parse_port("--x", "65535", false, &port, NULL), 0);
	assert_int_equal(port, 65535);
	assert_int_equal(parse_percent("--x", "100%", &percent, NULL), 0);
	assert_int_equal(percent, 100);
	assert_int_equal(parse_percent("--x", "0", &percent, NULL), 0);
	assert_int_equal(percent, 0);
}

struct time_row {
	const char *text;
	int64_t s;
	long ns;
	const char *utc; /* NULL: the same as text; "": refused */
};

static void times(void **state)
{
	(void)state;
	static const struct time_row rows[] = {
		{"1970-01-01T00:00:00Z", 0, 0, NULL},
		{"1969-12-31T23:59:59Z", -1, 0, NULL},
		{"2026-01-31T12:00:00Z", 1769860800, 0, NULL},
		{"2000-02-29T00:00:00Z", 951782400, 0, NULL},
		{"2100-02-28T23:59:59Z", 4107542399, 0, NULL},
		{"1900-03-01T00:00:00Z", -2203891200, 0, NULL},
		{"0001-01-01T00:00:00Z", -62135596800, 0, NULL},
		{"9999-12-31T23:59:59.999999999Z", 253402300799, 999999999, NULL},
		{"2026-01-31T12:00:00.5Z", 1769860800, 500000000, NULL},
		{"2026-01-31T12:00:00.000000001Z", 1769860800, 1, NULL},
		{"2026-01-31T12:00:00.250Z", 1769860800, 250000000, "2026-01-31T12:00:00.25Z"},
		{"2026-01-31T14:00:00+02:00", 1769860800, 0, "2026-01-31T12:00:00Z"},
		{"2026-01-31T06:15:00-05:45", 1769860800, 0, "2026-01-31T12:00:00Z"},
		{"", 0, 0, ""},
		{"now", 0, 0, ""},
		{"2026-01-31", 0, 0, ""},
		{"2026-01-31T", 0, 0, ""},
		{"2026-01-31 12:00:00Z", 0, 0, ""},
		{"2026-01-31T12:00Z", 0, 0, ""},
		{"2026-01-31T12:00:00", 0, 0, ""},
		{"2026-01-31T12:00:00Zx", 0, 0, ""},
		{"2026-01-31T12:00:00.Z", 0, 0, ""},
		{"2026-01-31T12:00:00.0000000001Z", 0, 0, ""},
		{"2026-01-31T12:00:00+0200", 0, 0, ""},
		{"2026-01-31T12:00:00+24:00", 0, 0, ""},
		{"2026-01-31T24:00:00Z", 0, 0, ""},
		{"2026-01-31T12:60:00Z", 0, 0, ""},
		{"2026-01-31T12:00:60Z", 0, 0, ""},
		{"2026-00-31T12:00:00Z", 0, 0, ""},
		{"2026-13-31T12:00:00Z", 0, 0, ""},
		{"2026-02-29T12:00:00Z", 0, 0, ""},
		{"1900-02-29T12:00:00Z", 0, 0, ""},
		{"2026-04-31T12:00:00Z", 0, 0, ""},
		{"2026-01-00T12:00:00Z", 0, 0, ""},
		{"0000-01-01T00:00:00Z", 0, 0, ""},
		{"0001-01-01T00:00:00+01:00", 0, 0, ""},
		{"9999-12-31T23:59:59-00:01", 0, 0, ""},
		{"-001-01-01T00:00:00Z", 0, 0, ""},
	};
	for (size_t i = 0; i < N_ROWS(rows); i++) {
		struct err e = {0};
		struct timespec t = {.tv_sec = 77, .tv_nsec = 7};
		bool bad = rows[i].utc && !*rows[i].utc;
		if (parse_time("--x", rows[i].text, &t, &e) != (bad ? -1 : 0))
			fail_msg("%s", rows[i].text);
		assert_int_equal(t.tv_sec, bad ? 77 : rows[i].s);
		assert_int_equal(t.tv_nsec, bad ? 7 : rows[i].ns);
		char out[FORMAT_TIME_MAX];
		if (bad)
			check_refusal(&e, NULL);
		else
			assert_string_equal(format_time(out, t),
					    rows[i].utc ? rows[i].utc : rows[i].text);
	}
}

/* The C library knows the calendar too. */
static void times_agree_with_gmtime(void **state)
{
	(void)state;
	for (int64_t s = -62135596800; s <= 253402300799; s += 86400 * 97 + 12345) {
		time_t t = (time_t)s;
		struct tm tm;
		char expected[FORMAT_TIME_MAX], out[FORMAT_TIME_MAX];
		gmtime_r(&t, &tm);
		snprintf(expected, sizeof expected, "%04d-%02d-%02dT%02d:%02d:%02dZ",
			 tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
			 tm.tm_sec);
		assert_string_equal(format_time(out, (struct timespec){.tv_sec = t}), expected);
		struct timespec back;
		assert_int_equal(parse_time("--x", out, &back, NULL), 0);
		assert_int_equal(back.tv_sec, s);
	}
}

static void times_out_of_range_are_clamped(void **state)
{
	(void)state;
	char out[FORMAT_TIME_MAX];
	assert_string_equal(format_time(out, (struct timespec){.tv_sec = INT64_MIN}),
			    "0001-01-01T00:00:00Z");
	assert_string_equal(format_time(out, (struct timespec){.tv_sec = INT64_MAX}),
			    "9999-12-31T23:59:59.999999999Z");
	assert_string_equal(format_time(out, (struct timespec){.tv_nsec = -5}),
			    "1970-01-01T00:00:00Z");
}

static void sizes_for_people(void **state)
{
	(void)state;
	static const struct {
		uint64_t bytes;
		const char *text;
	} rows[] = {
		{0, "0 B"},
		{1023, "1023 B"},
		{1024, "1.0 KiB"},
		{1535, "1.4 KiB"},
		{1536, "1.5 KiB"},
		{1048575, "1023.9 KiB"},
		{1048576, "1.0 MiB"},
		{UINT64_C(13207024435), "12.2 GiB"},
		{UINT64_C(1) << 40, "1.0 TiB"},
		{UINT64_C(1) << 50, "1.0 PiB"},
		{UINT64_MAX, "15.9 EiB"},
	};
	for (size_t i = 0; i < N_ROWS(rows); i++) {
		char out[FORMAT_SIZE_MAX];
		assert_string_equal(format_size(out, rows[i].bytes), rows[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers),
		cmocka_unit_test(message_escapes_what_was_given),
		cmocka_unit_test(sizes),
		cmocka_unit_test(rates),
		cmocka_unit_test(durations),
		cmocka_unit_test(durations_print_as_in_go),
		cmocka_unit_test(ports_and_percentages),
		cmocka_unit_test(times),
		cmocka_unit_test(times_agree_with_gmtime),
		cmocka_unit_test(times_out_of_range_are_clamped),
		cmocka_unit_test(sizes_for_people),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
