/* SPDX-License-Identifier: Apache-2.0 */
#include "report.h"

#include <errno.h>
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mem.h"
#include "parse.h"
#include "text.h"

enum { MESSAGE_MIN = 160, TEXT_MIN = 64 };

struct report {
	/* at[0] is the document, at[depth] what is open now. Only at[0] is owned. */
	struct json_object *at[REPORT_DEPTH_MAX + 1];
	int depth;
};

/* json-c answers an exhausted memory with NULL. */
static struct json_object *must(struct json_object *o)
{
	if (!o)
		abort();
	return o;
}

struct report *report_new(void)
{
	struct report *r = mem_alloc(1, sizeof *r);
	r->at[0] = must(json_object_new_object());
	return r;
}

void report_free(struct report *r)
{
	if (!r)
		return;
	json_object_put(r->at[0]);
	free(r);
}

/* Takes value over; NULL is JSON's null. */
static void add(struct report *r, const char *key, struct json_object *value)
{
	struct json_object *in = r->at[r->depth];
	int rc = json_object_is_type(in, json_type_array) ? json_object_array_add(in, value)
							  : json_object_object_add(in, key, value);
	if (rc < 0)
		abort();
}

void report_str(struct report *r, const char *key, const char *text)
{
	if (!text) {
		add(r, key, NULL);
		return;
	}
	char clean[REPORT_TEXT_MAX];
	text_clean(clean, sizeof clean, text, strlen(text));
	add(r, key, must(json_object_new_string(clean)));
}

void report_bytes(struct report *r, const char *key, const void *p, size_t n)
{
	char text[REPORT_TEXT_MAX];
	text_escape(text, sizeof text, p, n);
	add(r, key, must(json_object_new_string(text)));
}

void report_u64(struct report *r, const char *key, uint64_t v)
{
	add(r, key, must(json_object_new_uint64(v)));
}

void report_i64(struct report *r, const char *key, int64_t v)
{
	add(r, key, must(json_object_new_int64(v)));
}

void report_double(struct report *r, const char *key, double v)
{
	if (!isfinite(v)) {
		add(r, key, NULL);
		return;
	}
	char text[400];
	snprintf(text, sizeof text, "%.3f", v);
	add(r, key, must(json_object_new_double_s(v, text)));
}

void report_bool(struct report *r, const char *key, bool v)
{
	add(r, key, must(json_object_new_boolean(v)));
}

void report_null(struct report *r, const char *key)
{
	add(r, key, NULL);
}

void report_time(struct report *r, const char *key, struct timespec t)
{
	char text[FORMAT_TIME_MAX];
	report_str(r, key, format_time(text, t));
}

void report_duration(struct report *r, const char *key, int64_t ns)
{
	char text[FORMAT_DURATION_MAX];
	report_str(r, key, format_duration(text, ns));
}

static void descend(struct report *r, const char *key, struct json_object *o)
{
	if (r->depth == REPORT_DEPTH_MAX)
		abort();
	add(r, key, o);
	r->at[++r->depth] = o;
}

void report_open(struct report *r, const char *key)
{
	descend(r, key, must(json_object_new_object()));
}

void report_open_list(struct report *r, const char *key)
{
	descend(r, key, must(json_object_new_array()));
}

void report_close(struct report *r)
{
	if (r->depth == 0)
		abort();
	r->depth--;
}

static const char *print(struct json_object *doc, size_t *len)
{
	const int flags = JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE;
	const char *text = json_object_to_json_string_length(doc, flags, len);
	if (!text)
		abort();
	return text;
}

static bool fits(struct json_object *doc, size_t max)
{
	size_t len;
	print(doc, &len);
	return len <= max;
}

/* A copy of a text cut to at most n >= 4 bytes, ending in "...". */
static struct json_object *cut(struct json_object *text, size_t n)
{
	const char *s = json_object_get_string(text);
	size_t keep = n - 3;
	while (keep > 0 && ((unsigned char)s[keep] & 0xc0) == 0x80)
		keep--;
	CLEANUP_FREE char *copy = mem_printf("%.*s...", (int)keep, s);
	return must(json_object_new_string(copy));
}

static void cut_message(struct json_object *doc, size_t max)
{
	struct json_object *message;
	size_t len;
	print(doc, &len);
	if (len <= max || !json_object_object_get_ex(doc, "message", &message) ||
	    !json_object_is_type(message, json_type_string))
		return;
	size_t have = (size_t)json_object_get_string_len(message);
	size_t over = len - max;
	if (have <= MESSAGE_MIN)
		return;
	size_t want = have > over + MESSAGE_MIN ? have - over : MESSAGE_MIN;
	if (json_object_object_add(doc, "message", cut(message, want)) < 0)
		abort();
}

static void cut_texts(struct json_object *o);

/* What stands in the place of a member: itself, cut if it is a long text. NULL: leave it. */
static struct json_object *shortened(struct json_object *o)
{
	if (!json_object_is_type(o, json_type_string)) {
		cut_texts(o);
		return NULL;
	}
	if (json_object_get_string_len(o) <= TEXT_MIN)
		return NULL;
	return cut(o, TEXT_MIN);
}

static void cut_texts(struct json_object *o)
{
	if (json_object_is_type(o, json_type_object)) {
		/* json-c allows the value of the current key to be replaced in this loop. */
		struct json_object_iter at;
		json_object_object_foreachC(o, at)
		{
			struct json_object *with = shortened(at.val);
			if (with && json_object_object_add(o, at.key, with) < 0)
				abort();
		}
	} else if (json_object_is_type(o, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(o); i++) {
			struct json_object *with = shortened(json_object_array_get_idx(o, i));
			if (with && json_object_array_put_idx(o, i, with) < 0)
				abort();
		}
	}
}

/* A copy that fits, or as near as it gets. */
static struct json_object *shrink(struct json_object *doc, size_t max, const char *const *optional)
{
	struct json_object *copy = NULL;
	if (json_object_deep_copy(doc, &copy, NULL) < 0)
		abort();
	if (json_object_object_add(copy, "truncated", must(json_object_new_boolean(1))) < 0)
		abort();
	cut_message(copy, max);
	for (; optional && *optional && !fits(copy, max); optional++)
		json_object_object_del(copy, *optional);
	if (!fits(copy, max))
		cut_texts(copy);
	return copy;
}

int report_render(struct report *r, size_t max, const char *const *optional, struct buf *out,
		  struct err *e)
{
	struct json_object *doc = json_object_get(r->at[0]);
	if (!fits(doc, max)) {
		json_object_put(doc);
		doc = shrink(r->at[0], max, optional);
	}
	size_t len;
	const char *text = print(doc, &len);
	int rc = len <= max ? buf_put(out, text, len) : -1;
	json_object_put(doc);
	if (rc < 0)
		return err_set(e, ERR_FAILURE, "a report of %zu bytes exceeds the limit of %zu",
			       len, max);
	return 0;
}

int report_write_line(struct report *r, const char *const *optional, int fd, struct err *e)
{
	CLEANUP_BUF struct buf out;
	buf_init(&out, REPORT_MAX);
	if (report_render(r, REPORT_MAX - 1, optional, &out, e) < 0)
		return -1;
	buf_put_u8(&out, '\n');
	for (size_t at = 0; at < out.len;) {
		ssize_t n = write(fd, out.data + at, out.len - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, ERR_FAILURE, "write the report");
		at += (size_t)n;
	}
	return 0;
}
