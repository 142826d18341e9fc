/* SPDX-License-Identifier: Apache-2.0 */
#include "filter.h"

#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "err.h"
#include "mem.h"

enum { WIRE_VERSION = 1, WIRE_EXCLUDE = 1 };

struct filter_rule {
	enum filter_action action;
	char *text; /* as it was given, without action prefix */
	size_t length;
	struct pattern pattern;
};

void filter_init(struct filter *f)
{
	*f = (struct filter){0};
}

void filter_release(struct filter *f)
{
	for (size_t i = 0; i < f->count; i++) {
		free(f->rules[i].text);
		pattern_release(&f->rules[i].pattern);
	}
	free(f->rules);
	filter_init(f);
}

/* Appends a rule whose pattern holds no NUL. */
static int append(struct filter *f, enum filter_action action, const char *text, size_t n,
		  enum err_code code, struct err *e)
{
	if (n > FILTER_PATTERN_MAX)
		return err_set(e, code, "a pattern is longer than %d bytes", FILTER_PATTERN_MAX);
	if (f->count == FILTER_RULES_MAX)
		return err_set(e, code, "more than %d include and exclude rules", FILTER_RULES_MAX);
	if (n > FILTER_BYTES_MAX - f->bytes)
		return err_set(e, code, "include and exclude patterns exceed %d bytes in all",
			       FILTER_BYTES_MAX);
	if (f->count == f->room) {
		f->room = f->room ? f->room * 2 : 8;
		f->rules = mem_realloc(f->rules, f->room, sizeof *f->rules);
	}
	struct filter_rule *r = &f->rules[f->count++];
	r->action = action;
	r->text = mem_dup(text, n);
	r->length = n;
	pattern_init(&r->pattern, text, n);
	f->bytes += n;
	return 0;
}

/* Does what rsync does with one argument or line of the old form, which holds no NUL. */
static int add_line(struct filter *f, enum filter_action action, const char *line, size_t n,
		    struct err *e)
{
	if (n == 0)
		return 0;
	if (n == 1 && line[0] == '!') {
		filter_release(f);
		return 0;
	}
	if (n >= 2 && (line[0] == '-' || line[0] == '+') && line[1] == ' ') {
		action = line[0] == '-' ? FILTER_EXCLUDE : FILTER_INCLUDE;
		if (n == 2)
			return err_set(e, ERR_USAGE, "no pattern after '%c '", line[0]);
		line += 2;
		n -= 2;
	}
	return append(f, action, line, n, ERR_USAGE, e);
}

int filter_add(struct filter *f, enum filter_action action, const char *arg, struct err *e)
{
	return add_line(f, action, arg, strlen(arg), e);
}

int filter_add_file(struct filter *f, enum filter_action action, const void *text, size_t n,
		    struct err *e)
{
	if (n > FILTER_FILE_MAX)
		return err_set(e, ERR_USAGE, "a file of patterns is longer than %d bytes",
			       FILTER_FILE_MAX);
	if (n == 0)
		return 0;
	const char *at = text;
	const char *end = at + n;
	for (size_t number = 1; at < end; at++) {
		const char *line = at;
		while (at < end && *at != '\n' && *at != '\r')
			at++;
		size_t length = strnlen(line, (size_t)(at - line));
		bool comment = length && (*line == '#' || *line == ';');
		if (!comment && add_line(f, action, line, length, e) < 0)
			return err_wrap(e, "line %zu", number);
		/* CR LF is one line end to a person, an empty line more to the rules. */
		if (at < end && (*at == '\n' || at + 1 == end || at[1] != '\n'))
			number++;
	}
	return 0;
}

enum filter_action filter_match(const struct filter *f, const char *path, size_t n, bool is_dir)
{
	for (size_t i = 0; i < f->count; i++)
		if (pattern_match(&f->rules[i].pattern, path, n, is_dir))
			return f->rules[i].action;
	return FILTER_INCLUDE;
}

static int put_u16(struct buf *b, size_t v)
{
	uint8_t bytes[2] = {(uint8_t)v, (uint8_t)(v >> 8)};
	return buf_put(b, bytes, sizeof bytes);
}

int filter_encode(const struct filter *f, struct buf *out)
{
	if (buf_put_u8(out, WIRE_VERSION) < 0 || put_u16(out, f->count) < 0)
		return -1;
	for (size_t i = 0; i < f->count; i++) {
		const struct filter_rule *r = &f->rules[i];
		uint8_t flags = r->action == FILTER_EXCLUDE ? WIRE_EXCLUDE : 0;
		if (buf_put_u8(out, flags) < 0 || put_u16(out, r->length) < 0 ||
		    buf_put(out, r->text, r->length) < 0)
			return -1;
	}
	return 0;
}

/* The wire form being read. */
struct wire {
	const uint8_t *at;
	size_t left;
};

/* Takes n bytes; NULL if there are fewer. */
static const uint8_t *take(struct wire *w, size_t n)
{
	const uint8_t *p = w->at;
	if (n > w->left)
		return NULL;
	w->at += n;
	w->left -= n;
	return p;
}

static size_t get_u16(const uint8_t *p)
{
	return (size_t)(p[0] | p[1] << 8);
}

static int decode_rule(struct filter *f, struct wire *w, struct err *e)
{
	const uint8_t *head = take(w, 3);
	if (!head)
		return err_set(e, ERR_PROTOCOL, "cut short");
	if (head[0] & ~WIRE_EXCLUDE)
		return err_set(e, ERR_PROTOCOL, "unknown flags 0x%02x", head[0]);
	size_t n = get_u16(head + 1);
	const uint8_t *text = take(w, n);
	if (!text)
		return err_set(e, ERR_PROTOCOL, "cut short");
	if (n == 0 || memchr(text, '\0', n))
		return err_set(e, ERR_PROTOCOL, "a pattern that is empty or holds a NUL");
	enum filter_action action = head[0] & WIRE_EXCLUDE ? FILTER_EXCLUDE : FILTER_INCLUDE;
	return append(f, action, (const char *)text, n, ERR_PROTOCOL, e);
}

static int decode(struct filter *f, struct wire *w, struct err *e)
{
	const uint8_t *head = take(w, 3);
	if (!head)
		return err_set(e, ERR_PROTOCOL, "cut short");
	if (head[0] != WIRE_VERSION)
		return err_set(e, ERR_PROTOCOL, "unknown version %u", head[0]);
	for (size_t count = get_u16(head + 1); count; count--)
		if (decode_rule(f, w, e) < 0)
			return -1;
	if (w->left)
		return err_set(e, ERR_PROTOCOL, "%zu bytes too many", w->left);
	return 0;
}

int filter_decode(struct filter *f, const void *p, size_t n, struct err *e)
{
	filter_release(f);
	struct wire w = {p, n};
	if (decode(f, &w, e) == 0)
		return 0;
	filter_release(f);
	return err_wrap(e, "the peer's filter rules");
}
