/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines for people (text) or machines (JSON), one write(2) per line:
 *
 *      2026-01-31T12:00:00.123Z info dest: epoch committed files=512 path="a b"
 *      {"time":"...","level":"info","component":"dest","message":"epoch committed","files":512,...}
 *
 * A `struct log *` is passed to whoever logs; NULL is a log that drops everything. Lines from
 * several threads never mix. Text is cleaned of control bytes and invalid UTF-8 on the way
 * (text.h), so nothing of foreign origin can break a line or steer a terminal. A line that cannot
 * be written is lost: logging never fails and never waits for anything but the write itself.
 */
#ifndef SCRIBE_LOG_H
#define SCRIBE_LOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* A message is cut at 1 KiB, a text value too; values that do not fit the line any more are left
 * out. */
enum { LOG_LINE_MAX = 4096, LOG_TEXT_MAX = 1024 };

struct log {
	pthread_mutex_t lock; /* held while a line is written */
	int fd;
	enum log_level level;
	enum log_format format;
};

/* One key=value of a line. Keys are literals of [a-zA-Z0-9_]. Made by the LOG_* macros below. */
struct log_kv {
	const char *key; /* NULL ends a list */
	enum { LOG_KV_TEXT, LOG_KV_BYTES, LOG_KV_U64, LOG_KV_I64, LOG_KV_BOOL } kind;
	const void *p;
	uint64_t u; /* value, or length of p */
};

/* NUL-terminated text of our own making, or text that was escaped before. NULL is written as "". */
#define LOG_STR(k, s) ((struct log_kv){.key = (k), .kind = LOG_KV_TEXT, .p = (s)})
/* n foreign bytes, such as a name: escaped with text_escape(). */
#define LOG_BYTES(k, s, n) ((struct log_kv){.key = (k), .kind = LOG_KV_BYTES, .p = (s), .u = (n)})
#define LOG_U64(k, v)      ((struct log_kv){.key = (k), .kind = LOG_KV_U64, .u = (v)})
#define LOG_I64(k, v)      ((struct log_kv){.key = (k), .kind = LOG_KV_I64, .u = (uint64_t)(v)})
#define LOG_BOOL(k, v)     ((struct log_kv){.key = (k), .kind = LOG_KV_BOOL, .u = (v)})
/* The list to hand to log_write(): LOG_KV(LOG_STR("path", path), LOG_U64("bytes", n)). */
#define LOG_KV(...) ((const struct log_kv[]){__VA_ARGS__, {0}})

/* fd is borrowed and must outlive the log. */
void log_init(struct log *l, int fd, enum log_level level, enum log_format format);
void log_release(struct log *l);

/* Whether a line of this level would be written; to skip costly preparation. */
bool log_enabled(const struct log *l, enum log_level level);

/* Writes one line. component: a short literal ("dest", "ssh"); kv: LOG_KV(...) or NULL. errno is
 * preserved. */
void log_write(struct log *l, enum log_level level, const char *component, const struct log_kv *kv,
	       const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Logs an error object: its message with code and reason as values. */
void log_err(struct log *l, enum log_level level, const char *component, const struct err *e);

/* Parses "error", "warn", "info" or "debug". 0, or -1 with ERR_USAGE. */
int log_parse_level(const char *what, const char *s, enum log_level *out, struct err *e);

/* Without values: log_info(l, "dest", "listening on %s", addr). */
#define log_error(l, component, ...) log_write(l, LOG_LEVEL_ERROR, component, NULL, __VA_ARGS__)
#define log_warn(l, component, ...)  log_write(l, LOG_LEVEL_WARN, component, NULL, __VA_ARGS__)
#define log_info(l, component, ...)  log_write(l, LOG_LEVEL_INFO, component, NULL, __VA_ARGS__)
#define log_debug(l, component, ...) log_write(l, LOG_LEVEL_DEBUG, component, NULL, __VA_ARGS__)

#endif
