/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one error idiom of the project.
 *
 * A function that can fail returns 0 (or a positive value) on success and a
 * negative value on failure, and takes `struct err *e` as its last argument.
 * On failure *e is set exactly once, by whoever saw the failure first; callers
 * may prefix context with err_wrap() on the way up. On success *e is untouched.
 *
 * A message is one line: what failed, on which object, why, and where it helps
 * what to do. It never ends with a full stop or newline. Bytes of foreign origin
 * (names, peer text) are escaped by the caller with text_escape() (text.h).
 *
 * struct err is a plain value of fixed size: no allocation, nothing to release.
 * Not shared between threads without the owner's lock.
 */
#ifndef SCRIBE_ERR_H
#define SCRIBE_ERR_H

/* Values are the process exit codes of scribe-mover; stable, see docs/errors.md. */
enum err_code {
	ERR_OK = 0,
	ERR_FAILURE = 1,
	ERR_USAGE = 2,
	ERR_PARTIAL = 3,
	ERR_CHANGED = 4,
	ERR_BRAKE = 5,
	ERR_CONNECT = 10,
	ERR_AUTH = 11,
	ERR_PROTOCOL = 12,
	ERR_TIMEOUT = 13,
	ERR_SPACE = 14,
	ERR_BUSY = 15,
	ERR_VERIFY = 16,
	ERR_MAX_DELETE = 25,
};

enum { ERR_MESSAGE_MAX = 480 };

struct err {
	enum err_code code;
	int sys; /* errno that caused it, 0 if none */
	char msg[ERR_MESSAGE_MAX];
};

/* Sets *e and returns -1, so that `return err_set(e, ...)` reads well. e may be NULL. */
int err_set(struct err *e, enum err_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The same with ": <strerror(errno)>" appended and e->sys = errno. ENOSPC and EDQUOT turn
 * ERR_FAILURE into ERR_SPACE. errno is preserved. */
int err_sys(struct err *e, enum err_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Prefixes the message with "<text>: "; keeps code and sys. Returns -1. */
int err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* CamelCase word for a code, for reports ("BrakeTripped", "NoSpace", ...). Static string. */
const char *err_reason(enum err_code code);

/* One sentence of advice for a code, for people. Static string, never NULL. */
const char *err_advice(enum err_code code);

/* True for classes that a later retry may cure by itself (connect, timeout, busy, space, changed).
 */
int err_is_transient(enum err_code code);

/* The code that wins when several befell one run: 12, 16, 14, 5, 15, 13, 11, 10, 1, 3, 25, 4, 0. */
enum err_code err_worse(enum err_code a, enum err_code b);

#endif
