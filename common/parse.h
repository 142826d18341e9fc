/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strict readers of numbers, sizes, rates, durations, ports and times, and the writers that match.
 *
 * Every reader takes `what`, the name the user knows the value by ("--port", "spec.rsync.port"),
 * and the whole text: nothing may precede or follow the value, not even a blank. Empty text,
 * negative numbers and overflow are refused. 0 with *out set, or -1 with ERR_USAGE, *out untouched
 * and a message of one line: what, the offending text (escaped), why, and what is accepted.
 *
 * Pure functions without locale or state; thread-safe.
 */
#ifndef SCRIBE_PARSE_H
#define SCRIBE_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "err.h"

enum {
	FORMAT_DURATION_MAX = 32,
	FORMAT_TIME_MAX = 48,
	FORMAT_SIZE_MAX = 16,
};

#define PARSE_NS_PER_S INT64_C(1000000000)

/* Decimal digits only, min <= value <= max. */
int parse_u64(const char *what, const char *s, uint64_t min, uint64_t max, uint64_t *out,
	      struct err *e);

/* Bytes: "4096", "64K", "10MiB", "2GB", "1T", "512B". Units are powers of 1024, in either case. */
int parse_size(const char *what, const char *s, uint64_t *bytes, struct err *e);

/* Bytes per second: a size, with or without "/s". 0 means unlimited. */
int parse_rate(const char *what, const char *s, uint64_t *bytes_per_s, struct err *e);

/*
 * Nanoseconds: "90s", "10m", "1h30m", "500ms", "2d", "1.5s"; units ns us (µs) ms s m h d, largest
 * first, each at most once; fractions to the nanosecond. A bare number is seconds. Reads back what
 * format_duration() writes for values >= 0.
 */
int parse_duration(const char *what, const char *s, int64_t *ns, struct err *e);

/* 1..65535; 0 too where zero_ok (any free port). */
int parse_port(const char *what, const char *s, bool zero_ok, uint16_t *port, struct err *e);

/* 0..100, with or without "%". */
int parse_percent(const char *what, const char *s, unsigned *percent, struct err *e);

/* RFC 3339: "2026-01-31T12:00:00Z", "...:00.5+02:00"; years 0001-9999, fractions to the nanosecond.
 */
int parse_time(const char *what, const char *s, struct timespec *t, struct err *e);

/* As Go's time.Duration.String() prints it: "0s", "1.5ms", "2µs", "5m20.764583925s", "-1h0m0s". */
char *format_duration(char out[FORMAT_DURATION_MAX], int64_t ns);

/* RFC 3339 in UTC, with as many digits of a second as it needs: "2026-01-31T12:00:00Z". A time
 * outside the years 0001-9999 is written as the nearest one inside. */
char *format_time(char out[FORMAT_TIME_MAX], struct timespec t);

/* For people: "0 B", "1023 B", "1.0 KiB", "12.3 GiB"; units of 1024, one decimal, rounded down. */
char *format_size(char out[FORMAT_SIZE_MAX], uint64_t bytes);

#endif
