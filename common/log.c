/* SPDX-License-Identifier: Apache-2.0 */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "text.h"

static const char *const level_names[] = {"error", "warn", "info", "debug"};

/* A line being built; `full` once something did not fit. Room for the end ("}\n") is kept free. */
struct line {
	char text[LOG_LINE_MAX];
	size_t len;
	bool full;
};

enum { LINE_END = 2 };

static void put(struct line *l, const char *p, size_t n)
{
	if (l->full || n > sizeof l->text - LINE_END - l->len) {
		l->full = true;
		return;
	}
	memcpy(l->text + l->len, p, n);
	l->len += n;
}

static void puts_to(struct line *l, const char *s)
{
	put(l, s, strlen(s));
}

/* Clean text between double quotes, quotes escaped; for JSON backslashes too. */
static void put_quoted(struct line *l, const char *s, bool json)
{
	puts_to(l, "\"");
	for (; *s; s++) {
		if (*s == '"' || (*s == '\\' && json))
			puts_to(l, "\\");
		put(l, s, 1);
	}
	puts_to(l, "\"");
}

static void put_text(struct line *l, const char *s, bool json)
{
	if (json || !*s || strpbrk(s, " \"="))
		put_quoted(l, s, json);
	else
		puts_to(l, s);
}

static void put_value(struct line *l, const struct log_kv *kv, bool json)
{
	char text[LOG_TEXT_MAX];
	const char *p = kv->p ? kv->p : "";
	switch (kv->kind) {
	case LOG_KV_TEXT:
		put_text(l, text_clean(text, sizeof text, p, strlen(p)), json);
		return;
	case LOG_KV_BYTES:
		put_text(l, text_escape(text, sizeof text, p, kv->p ? (size_t)kv->u : 0), json);
		return;
	case LOG_KV_U64:
		snprintf(text, sizeof text, "%llu", (unsigned long long)kv->u);
		break;
	case LOG_KV_I64:
		snprintf(text, sizeof text, "%lld", (long long)kv->u);
		break;
	case LOG_KV_BOOL:
		snprintf(text, sizeof text, "%s", kv->u ? "true" : "false");
		break;
	}
	puts_to(l, text);
}

static void put_values(struct line *l, const struct log_kv *kv, bool json)
{
	for (; kv && kv->key; kv++) {
		size_t before = l->len;
		puts_to(l, json ? "," : " ");
		if (json)
			put_quoted(l, kv->key, true);
		else
			puts_to(l, kv->key);
		puts_to(l, json ? ":" : "=");
		put_value(l, kv, json);
		if (l->full) {
			l->len = before;
			return;
		}
	}
}

/* Seconds and milliseconds in UTC, always with three digits, so that lines align. */
static void put_time(struct line *l)
{
	struct timespec now;
	struct tm tm;
	char text[48];
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
	put(l, text, n);
	snprintf(text, sizeof text, ".%03dZ", (int)(now.tv_nsec / 1000000));
	puts_to(l, text);
}

static void put_head(struct line *l, enum log_level level, const char *component,
		     const char *message, bool json)
{
	if (!json) {
		put_time(l);
		puts_to(l, " ");
		puts_to(l, level_names[level]);
		puts_to(l, " ");
		puts_to(l, component);
		puts_to(l, ": ");
		puts_to(l, message);
		return;
	}
	puts_to(l, "{\"time\":\"");
	put_time(l);
	puts_to(l, "\",\"level\":\"");
	puts_to(l, level_names[level]);
	puts_to(l, "\",\"component\":");
	put_quoted(l, component, true);
	puts_to(l, ",\"message\":");
	put_quoted(l, message, true);
}

/* Needs log->lock. */
static void write_line(struct log *log, enum log_level level, const char *component,
		       const char *message, const struct log_kv *kv)
{
	struct line line = {.len = 0};
	bool json = log->format == LOG_FORMAT_JSON;
	put_head(&line, level, component, message, json);
	put_values(&line, kv, json);
	if (json)
		line.text[line.len++] = '}';
	line.text[line.len++] = '\n';
	ssize_t n;
	do
		n = write(log->fd, line.text, line.len);
	while (n < 0 && errno == EINTR);
}

void log_init(struct log *l, int fd, enum log_level level, enum log_format format)
{
	*l = (struct log){.fd = fd, .level = level, .format = format};
	pthread_mutex_init(&l->lock, NULL);
}

void log_release(struct log *l)
{
	pthread_mutex_destroy(&l->lock);
}

bool log_enabled(const struct log *l, enum log_level level)
{
	return l && level <= l->level;
}

void log_write(struct log *l, enum log_level level, const char *component, const struct log_kv *kv,
	       const char *fmt, ...)
{
	if (!log_enabled(l, level))
		return;
	int saved = errno;
	char raw[LOG_TEXT_MAX];
	char message[LOG_TEXT_MAX + 256];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(raw, sizeof raw, fmt, ap);
	va_end(ap);
	if (n < 0)
		raw[0] = '\0';
	text_clean(message, sizeof message, raw, strlen(raw));
	pthread_mutex_lock(&l->lock);
	write_line(l, level, component, message, kv);
	pthread_mutex_unlock(&l->lock);
	errno = saved;
}

void log_err(struct log *l, enum log_level level, const char *component, const struct err *e)
{
	log_write(l, level, component,
		  LOG_KV(LOG_U64("code", (uint64_t)e->code),
			 LOG_STR("reason", err_reason(e->code))),
		  "%s", e->msg);
}

int log_parse_level(const char *what, const char *s, enum log_level *out, struct err *e)
{
	for (size_t i = 0; i < sizeof level_names / sizeof level_names[0]; i++) {
		if (strcmp(s, level_names[i]) == 0) {
			*out = (enum log_level)i;
			return 0;
		}
	}
	char text[64];
	text_escape(text, sizeof text, s, strlen(s));
	return err_set(e, ERR_USAGE, "%s: \"%s\" is no level; wanted: error, warn, info or debug",
		       what, text);
}
