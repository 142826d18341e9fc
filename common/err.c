/* SPDX-License-Identifier: Apache-2.0 */
#include "err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fill(struct err *e, enum err_code code, int sys, const char *fmt, va_list ap)
	__attribute__((format(printf, 4, 0)));

static void fill(struct err *e, enum err_code code, int sys, const char *fmt, va_list ap)
{
	e->code = code;
	e->sys = sys;
	int n = vsnprintf(e->msg, sizeof e->msg, fmt, ap);
	if (n < 0)
		e->msg[0] = '\0';
}

int err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
	if (!e)
		return -1;
	va_list ap;
	va_start(ap, fmt);
	fill(e, code, 0, fmt, ap);
	va_end(ap);
	return -1;
}

int err_sys(struct err *e, enum err_code code, const char *fmt, ...)
{
	int sys = errno;
	if (!e)
		return -1;
	if (code == ERR_FAILURE && (sys == ENOSPC || sys == EDQUOT))
		code = ERR_SPACE;
	va_list ap;
	va_start(ap, fmt);
	fill(e, code, sys, fmt, ap);
	va_end(ap);
	char why[96];
	const char *text = strerror_r(sys, why, sizeof why);
	size_t at = strlen(e->msg);
	snprintf(e->msg + at, sizeof e->msg - at, ": %s", text);
	errno = sys;
	return -1;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	if (!e)
		return -1;
	char head[ERR_MESSAGE_MAX];
	char tail[ERR_MESSAGE_MAX];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(head, sizeof head, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -1;
	memcpy(tail, e->msg, sizeof tail);
	int at = snprintf(e->msg, sizeof e->msg, "%s: ", head);
	if (at > 0 && (size_t)at < sizeof e->msg) {
		size_t room = sizeof e->msg - (size_t)at - 1;
		size_t len = strnlen(tail, sizeof tail - 1);
		if (len > room)
			len = room;
		memcpy(e->msg + at, tail, len);
		e->msg[(size_t)at + len] = '\0';
	}
	return -1;
}

struct code_row {
	enum err_code code;
	int transient;
	const char *reason;
	const char *advice;
};

/* Order is precedence: an earlier row wins over a later one (err_worse). */
static const struct code_row rows[] = {
	{ERR_PROTOCOL, 0, "ProtocolError", "run the same version of scribe-mover on both sides"},
	{ERR_VERIFY, 0, "VerificationFailed",
	 "the destination's storage did not keep what was written; check its disk, then push "
	 "again"},
	{ERR_SPACE, 1, "NoSpace", "free or add space or quota at the destination, then push again"},
	{ERR_BRAKE, 0, "BrakeTripped",
	 "check that the source is mounted and is the right one; override only if the loss is "
	 "meant"},
	{ERR_BUSY, 1, "DestinationBusy", "another run holds the destination; wait for it to end"},
	{ERR_TIMEOUT, 1, "Timeout", "check the network and the other side, then push again"},
	{ERR_AUTH, 0, "AuthenticationFailed",
	 "check the identity, the authorized keys and the pinned host key"},
	{ERR_CONNECT, 1, "CannotConnect",
	 "check address, port and that the destination is serving"},
	{ERR_FAILURE, 0, "Failed", "see the message; mend the cause and push again"},
	{ERR_USAGE, 0, "Usage", "see --help"},
	{ERR_PARTIAL, 0, "SomeFilesFailed", "see the named files; mend them and push again"},
	{ERR_MAX_DELETE, 0, "MaxDeleteReached", "raise --max-delete if the deletions are meant"},
	{ERR_CHANGED, 1, "SourceChanged", "push again, or replicate a snapshot of the source"},
	{ERR_OK, 0, "Completed", "nothing to do"},
};

static const struct code_row *find(enum err_code code)
{
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		if (rows[i].code == code)
			return &rows[i];
	return find(ERR_FAILURE);
}

const char *err_reason(enum err_code code)
{
	return find(code)->reason;
}

const char *err_advice(enum err_code code)
{
	return find(code)->advice;
}

int err_is_transient(enum err_code code)
{
	return find(code)->transient;
}

enum err_code err_worse(enum err_code a, enum err_code b)
{
	return find(a) <= find(b) ? a : b;
}
