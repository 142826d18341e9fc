/* SPDX-License-Identifier: Apache-2.0 */
#include "parse.h"

#include <stdio.h>
#include <string.h>

#include "text.h"

/* Accepted forms, as the messages name them. */
#define WANT_SIZE     "bytes, with K, M, G or T for powers of 1024"
#define WANT_DURATION "a duration such as 90s, 10m, 1h30m or 500ms"
#define WANT_TIME     "an RFC 3339 time such as 2026-01-31T12:00:00Z"

/* 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z in seconds since 1970. */
#define TIME_MIN INT64_C(-62135596800)
#define TIME_MAX INT64_C(253402300799)

static int refuse(const char *what, const char *s, const char *why, const char *want, struct err *e)
{
	char text[64];
	if (!*s)
		return err_set(e, ERR_USAGE, "%s: empty value; wanted: %s", what, want);
	text_escape(text, sizeof text, s, strlen(s));
	return err_set(e, ERR_USAGE, "%s: \"%s\" %s; wanted: %s", what, text, why, want);
}

/* Reads the digits at *s and moves *s behind them. NULL, or why it failed. */
static const char *take_digits(const char **s, uint64_t *out)
{
	const char *p = *s;
	uint64_t v = 0;
	if (*p == '-')
		return "is negative";
	if (*p < '0' || *p > '9')
		return "is not a number";
	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(v, 10u, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return "is too large";
	*s = p;
	*out = v;
	return NULL;
}

static int u64_in(const char *what, const char *s, uint64_t min, uint64_t max, const char *want,
		  uint64_t *out, struct err *e)
{
	const char *p = s;
	uint64_t v = 0;
	const char *why = take_digits(&p, &v);
	if (!why && *p)
		why = "has something behind the number";
	if (!why && v < min)
		why = "is too small";
	if (!why && v > max)
		why = "is too large";
	if (why)
		return refuse(what, s, why, want, e);
	*out = v;
	return 0;
}

int parse_u64(const char *what, const char *s, uint64_t min, uint64_t max, uint64_t *out,
	      struct err *e)
{
	char want[80];
	if (max == UINT64_MAX)
		snprintf(want, sizeof want, "a whole number of at least %llu",
			 (unsigned long long)min);
	else
		snprintf(want, sizeof want, "a whole number from %llu to %llu",
			 (unsigned long long)min, (unsigned long long)max);
	return u64_in(what, s, min, max, want, out, e);
}

/* Moves *s behind a unit: K M G T with nothing, B or iB behind it, or B alone. Returns the shift.
 */
static unsigned take_unit(const char **s)
{
	static const char units[] = "KMGT";
	const char *p = *s;
	unsigned shift = 0;
	char up = (char)(*p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p);
	const char *at = up ? strchr(units, up) : NULL;
	if (at) {
		shift = 10u * (unsigned)(at - units + 1);
		p++;
		if (p[0] == 'i' && p[1] == 'B')
			p++;
	}
	if (*p == 'B')
		p++;
	*s = p;
	return shift;
}

static int size_with(const char *what, const char *s, const char *suffix, const char *want,
		     uint64_t *out, struct err *e)
{
	const char *p = s;
	uint64_t v = 0;
	const char *why = take_digits(&p, &v);
	if (!why) {
		unsigned shift = take_unit(&p);
		if (*p && strcmp(p, suffix) == 0)
			p = "";
		if (*p)
			why = "has an unknown unit";
		else if (v > UINT64_MAX >> shift)
			why = "is too large";
		else
			v <<= shift;
	}
	if (why)
		return refuse(what, s, why, want, e);
	*out = v;
	return 0;
}

int parse_size(const char *what, const char *s, uint64_t *bytes, struct err *e)
{
	return size_with(what, s, "", WANT_SIZE, bytes, e);
}

int parse_rate(const char *what, const char *s, uint64_t *bytes_per_s, struct err *e)
{
	return size_with(what, s, "/s", WANT_SIZE " per second; 0 for no limit", bytes_per_s, e);
}

struct unit {
	const char *name;
	uint64_t ns;
};

/* In the order of matching: "ms" before "m". Two code points that look like a micro sign are in
 * use. */
static const struct unit units[] = {
	{"ns", 1},
	{"us", 1000},
	{"\xc2\xb5s", 1000},
	{"\xce\xbcs", 1000},
	{"ms", 1000000},
	{"s", UINT64_C(1000000000)},
	{"m", UINT64_C(60000000000)},
	{"h", UINT64_C(3600000000000)},
	{"d", UINT64_C(86400000000000)},
};

static const struct unit *take_duration_unit(const char **s)
{
	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
		size_t n = strlen(units[i].name);
		if (strncmp(*s, units[i].name, n) == 0) {
			*s += n;
			return &units[i];
		}
	}
	return NULL;
}

/* Reads a decimal fraction (".25") as num/den and moves *s behind it; 0/1 if there is none. At most
 * nine digits count, zeros behind them are skipped. NULL, or why it failed. */
static const char *take_fraction(const char **s, uint64_t *num, uint64_t *den)
{
	*num = 0;
	*den = 1;
	if (**s != '.')
		return NULL;
	(*s)++;
	if (**s < '0' || **s > '9')
		return "has no digits behind the point";
	for (; **s >= '0' && **s <= '9'; (*s)++) {
		if (*den == UINT64_C(1000000000)) {
			if (**s != '0')
				return "has too many digits behind the point";
			continue;
		}
		*num = *num * 10 + (uint64_t)(**s - '0');
		*den *= 10;
	}
	return NULL;
}

__extension__ typedef unsigned __int128 u128;

/* Adds n + num/den units to *total; in 128 bits, because num * unit may reach 2^77. */
static const char *add_span(uint64_t n, uint64_t num, uint64_t den, uint64_t unit, uint64_t *total)
{
	u128 part = (u128)num * unit;
	if (part % den)
		return "is finer than a nanosecond";
	u128 sum = (u128)n * unit + part / den + *total;
	if (sum > INT64_MAX)
		return "is too large";
	*total = (uint64_t)sum;
	return NULL;
}

static const char *read_duration(const char *s, uint64_t *total)
{
	uint64_t last = UINT64_MAX;
	bool first = true;
	do {
		uint64_t n, num, den;
		const char *why = take_digits(&s, &n);
		if (!why)
			why = take_fraction(&s, &num, &den);
		if (why)
			return why;
		const struct unit *u = take_duration_unit(&s);
		uint64_t ns = u ? u->ns : UINT64_C(1000000000);
		if (!u && *s)
			return "has an unknown unit";
		if (!u && !first)
			return "lacks the last unit";
		if (ns >= last)
			return "has its units out of order";
		why = add_span(n, num, den, ns, total);
		if (why)
			return why;
		last = ns;
		first = false;
	} while (*s);
	return NULL;
}

int parse_duration(const char *what, const char *s, int64_t *ns, struct err *e)
{
	uint64_t total = 0;
	const char *why = read_duration(s, &total);
	if (why)
		return refuse(what, s, why, WANT_DURATION, e);
	*ns = (int64_t)total;
	return 0;
}

int parse_port(const char *what, const char *s, bool zero_ok, uint16_t *port, struct err *e)
{
	uint64_t v = 0;
	const char *want = zero_ok ? "a port from 1 to 65535, or 0 for any free one"
				   : "a port from 1 to 65535";
	if (u64_in(what, s, zero_ok ? 0 : 1, 65535, want, &v, e) < 0)
		return -1;
	*port = (uint16_t)v;
	return 0;
}

int parse_percent(const char *what, const char *s, unsigned *percent, struct err *e)
{
	const char *p = s;
	uint64_t v = 0;
	const char *why = take_digits(&p, &v);
	if (!why && strcmp(p, "%") == 0)
		p++;
	if (!why && *p)
		why = "has something behind the number";
	if (!why && v > 100)
		why = "is too large";
	if (why)
		return refuse(what, s, why, "a percentage from 0 to 100", e);
	*percent = (unsigned)v;
	return 0;
}

/* n digits at p as a number, -1 if there are fewer. */
static int fixed_digits(const char *p, int n)
{
	int v = 0;
	for (int i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return -1;
		v = v * 10 + (p[i] - '0');
	}
	return v;
}

static bool is_leap(int64_t year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int days_in(int64_t year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	return days[month - 1] + (month == 2 && is_leap(year));
}

/* Days from 1970-01-01 to the first day of a year >= 1 of the Gregorian calendar. */
static int64_t days_before_year(int64_t year)
{
	int64_t y = year - 1;
	return y * 365 + y / 4 - y / 100 + y / 400 - 719162;
}

/* "2026-01-31" and 'T'. NULL with *days since 1970, or why it failed. */
static const char *take_date(const char **s, int64_t *days)
{
	const char *p = *s;
	int year = fixed_digits(p, 4);
	if (year < 0 || p[4] != '-')
		return "is not a time";
	int month = fixed_digits(p + 5, 2);
	if (month < 0 || p[7] != '-')
		return "is not a time";
	int day = fixed_digits(p + 8, 2);
	if (day < 0 || p[10] != 'T')
		return "is not a time";
	if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_in(year, month))
		return "names no day of the calendar";
	*days = days_before_year(year) + day - 1;
	for (int m = 1; m < month; m++)
		*days += days_in(year, m);
	*s = p + 11;
	return NULL;
}

/* "hh:mm" as seconds at *s, -1 if it is none. */
static int64_t take_hh_mm(const char **s)
{
	int hour = fixed_digits(*s, 2);
	if (hour < 0 || hour > 23 || (*s)[2] != ':')
		return -1;
	int minute = fixed_digits(*s + 3, 2);
	if (minute < 0 || minute > 59)
		return -1;
	*s += 5;
	return hour * 3600 + minute * 60;
}

static const char *read_time(const char *s, struct timespec *t)
{
	int64_t days;
	uint64_t num, den;
	const char *why = take_date(&s, &days);
	if (why)
		return why;
	int64_t in_day = take_hh_mm(&s);
	if (in_day < 0 || *s != ':')
		return "has no valid time of day";
	int second = fixed_digits(s + 1, 2);
	if (second < 0 || second > 59)
		return "has no valid time of day";
	s += 3;
	why = take_fraction(&s, &num, &den);
	if (why)
		return why;
	int64_t offset = 0;
	if (*s == '+' || *s == '-') {
		int sign = *s++ == '-' ? -1 : 1;
		offset = take_hh_mm(&s);
		if (offset < 0)
			return "has no valid offset";
		offset *= sign;
	} else if (*s++ != 'Z') {
		return "lacks Z or an offset";
	}
	if (*s)
		return "has something behind the time";
	int64_t seconds = days * 86400 + in_day + second - offset;
	if (seconds < TIME_MIN || seconds > TIME_MAX)
		return "is outside the years 0001 to 9999";
	t->tv_sec = (time_t)seconds;
	t->tv_nsec = (long)(num * (UINT64_C(1000000000) / den));
	return NULL;
}

int parse_time(const char *what, const char *s, struct timespec *t, struct err *e)
{
	struct timespec v = {0};
	const char *why = read_time(s, &v);
	if (why)
		return refuse(what, s, why, WANT_TIME, e);
	*t = v;
	return 0;
}

/* Fills a buffer from its end. */
struct tail {
	char *at;
	char *start;
};

static void tail_char(struct tail *t, char c)
{
	if (t->at > t->start)
		*--t->at = c;
}

static void tail_text(struct tail *t, const char *s)
{
	for (size_t n = strlen(s); n > 0; n--)
		tail_char(t, s[n - 1]);
}

static void tail_u64(struct tail *t, uint64_t v)
{
	do {
		tail_char(t, (char)('0' + v % 10));
		v /= 10;
	} while (v);
}

/* Takes the last `digits` digits off v and puts them down as a fraction without trailing zeros. */
static uint64_t tail_fraction(struct tail *t, uint64_t v, int digits)
{
	bool any = false;
	for (int i = 0; i < digits; i++) {
		unsigned digit = (unsigned)(v % 10);
		any = any || digit;
		if (any)
			tail_char(t, (char)('0' + digit));
		v /= 10;
	}
	if (any)
		tail_char(t, '.');
	return v;
}

static void tail_below_second(struct tail *t, uint64_t ns)
{
	if (ns == 0) {
		tail_text(t, "0s");
	} else if (ns < 1000) {
		tail_text(t, "ns");
		tail_u64(t, ns);
	} else if (ns < 1000000) {
		tail_text(t, "\xc2\xb5s");
		tail_u64(t, tail_fraction(t, ns, 3));
	} else {
		tail_text(t, "ms");
		tail_u64(t, tail_fraction(t, ns, 6));
	}
}

static void tail_seconds(struct tail *t, uint64_t ns)
{
	tail_char(t, 's');
	uint64_t v = tail_fraction(t, ns, 9);
	tail_u64(t, v % 60);
	v /= 60;
	if (v == 0)
		return;
	tail_char(t, 'm');
	tail_u64(t, v % 60);
	v /= 60;
	if (v == 0)
		return;
	tail_char(t, 'h');
	tail_u64(t, v);
}

char *format_duration(char out[FORMAT_DURATION_MAX], int64_t ns)
{
	char text[FORMAT_DURATION_MAX];
	struct tail t = {.at = text + sizeof text, .start = text};
	uint64_t v = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
	tail_char(&t, '\0');
	if (v < (uint64_t)PARSE_NS_PER_S)
		tail_below_second(&t, v);
	else
		tail_seconds(&t, v);
	if (ns < 0)
		tail_char(&t, '-');
	memcpy(out, t.at, (size_t)(text + sizeof text - t.at));
	return out;
}

/* The year that day number (since 1970) falls into; *days becomes the day within it, from 0. */
static int64_t year_of(int64_t *days)
{
	int64_t year = 1970 + *days / 366;
	if (*days < 0)
		year = 1969 + *days / 365;
	while (days_before_year(year) > *days)
		year--;
	while (days_before_year(year + 1) <= *days)
		year++;
	*days -= days_before_year(year);
	return year;
}

char *format_time(char out[FORMAT_TIME_MAX], struct timespec t)
{
	int64_t s = t.tv_sec;
	uint64_t ns = t.tv_nsec > 0 ? (uint64_t)t.tv_nsec % (uint64_t)PARSE_NS_PER_S : 0;
	if (s < TIME_MIN || s > TIME_MAX) {
		ns = s < TIME_MIN ? 0 : (uint64_t)PARSE_NS_PER_S - 1;
		s = s < TIME_MIN ? TIME_MIN : TIME_MAX;
	}
	int64_t in_day = ((s % 86400) + 86400) % 86400;
	int64_t days = (s - in_day) / 86400;
	int64_t year = year_of(&days);
	int month = 1;
	for (; days >= days_in(year, month); month++)
		days -= days_in(year, month);

	char fraction[16];
	struct tail f = {.at = fraction + sizeof fraction, .start = fraction};
	tail_char(&f, '\0');
	tail_fraction(&f, ns, 9);
	snprintf(out, FORMAT_TIME_MAX, "%04d-%02d-%02dT%02d:%02d:%02d%sZ", (int)year, month,
		 (int)days + 1, (int)(in_day / 3600), (int)(in_day / 60 % 60), (int)(in_day % 60),
		 f.at);
	return out;
}

char *format_size(char out[FORMAT_SIZE_MAX], uint64_t bytes)
{
	static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	unsigned unit = 0;
	while (unit < 6 && bytes >> (10 * unit) >= 1024)
		unit++;
	if (unit == 0) {
		snprintf(out, FORMAT_SIZE_MAX, "%u B", (unsigned)bytes);
		return out;
	}
	uint64_t whole = bytes >> (10 * unit);
	uint64_t rest = (bytes >> (10 * (unit - 1))) & 1023;
	snprintf(out, FORMAT_SIZE_MAX, "%u.%u %s", (unsigned)whole, (unsigned)(rest * 10 / 1024),
		 names[unit]);
	return out;
}
