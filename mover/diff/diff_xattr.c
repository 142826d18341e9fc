/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "diff_acl.h"
#include "diff_job.h"
#include "mem.h"
#include "text.h"

#define ACL_ACCESS  "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

static bool starts_with(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* Does one item of the option list stand for this attribute? */
static bool matches(const char *item, const char *name)
{
	if (strcmp(item, "all") == 0)
		return true;
	size_t len = strlen(item);
	const char *dot = strchr(item, '.');
	if (!dot)
		return strncmp(name, item, len) == 0 && name[len] == '.';
	return dot[1] ? strcmp(item, name) == 0 : starts_with(name, item);
}

static bool counts(const struct diff_job *job, const char *name)
{
	static const char *const usual[] = {"user.", "security.capability", NULL};
	const char *const *items = job->opt->xattrs ? job->opt->xattrs : usual;
	if (strcmp(name, ACL_ACCESS) == 0 || strcmp(name, ACL_DEFAULT) == 0)
		return false;
	if (job->path.len == 0 &&
	    (starts_with(name, "user.scribe-mover.") || starts_with(name, "trusted.scribe-mover.")))
		return false;
	for (; *items; items++)
		if (matches(*items, name))
			return true;
	return false;
}

static int by_text(const void *x, const void *y)
{
	const char *const *a = x;
	const char *const *b = y;
	return strcmp(*a, *b);
}

/* The names that count, sorted, NULL-terminated, pointing into job->list[side]. */
struct names {
	const char **v;
	size_t n;
};

static void names_release(struct names *l)
{
	free(l->v);
}

static int list_names(struct diff_job *job, int side, const char *path, struct names *out)
{
	char *list = job->list[side];
	ssize_t got = llistxattr(path, list, DIFF_LIST);
	if (got < 0) {
		if (errno == ENOTSUP)
			return 0;
		diff_failed_sys(job, side, "cannot list extended attributes");
		return -1;
	}
	size_t len = (size_t)got;
	size_t all = 0;
	for (size_t i = 0; i < len; i += strlen(list + i) + 1)
		all++;
	if (!all)
		return 0;
	out->v = mem_alloc(all, sizeof(*out->v));
	for (size_t i = 0; i < len; i += strlen(list + i) + 1)
		if (counts(job, list + i))
			out->v[out->n++] = list + i;
	qsort(out->v, out->n, sizeof(*out->v), by_text);
	return 0;
}

/* Reads a value into job->data[side]; its length, or -1 with errno. */
static ssize_t get_value(struct diff_job *job, int side, const char *path, const char *name)
{
	return lgetxattr(path, name, job->data[side], DIFF_VALUE);
}

/* "name=value", or "-" for an attribute that is not there (len -1). */
static void value_text(const struct diff_job *job, int side, const char *name, ssize_t len,
		       char out[DIFF_TEXT])
{
	if (len < 0) {
		snprintf(out, DIFF_TEXT, "-");
		return;
	}
	int at = snprintf(out, DIFF_TEXT, "%zd bytes, ", len);
	if (len <= 64)
		at = 0;
	text_escape(out + at, (size_t)(DIFF_TEXT / 2 - at), name, strlen(name));
	size_t used = strlen(out);
	out[used++] = '=';
	text_escape(out + used, DIFF_TEXT - used, job->data[side], (size_t)len);
}

/* Compares one attribute; there[side] tells where it was listed. */
static void compare_value(struct diff_job *job, const char path[2][PATH_MAX], const char *name,
			  const bool there[2])
{
	ssize_t len[2] = {-1, -1};
	char text[2][DIFF_TEXT];
	for (int side = 0; side < 2; side++) {
		if (!there[side])
			continue;
		len[side] = get_value(job, side, path[side], name);
		if (len[side] < 0) {
			diff_failed_sys(job, side, "cannot read an extended attribute");
			return;
		}
	}
	if (len[0] == len[1] && memcmp(job->data[0], job->data[1], (size_t)len[0]) == 0)
		return;
	for (int side = 0; side < 2; side++)
		value_text(job, side, name, len[side], text[side]);
	diff_report(job, TREEDIFF_XATTR, text[0], text[1]);
}

static int both_paths(struct diff_job *job, const struct diff_object o[2], char path[2][PATH_MAX])
{
	for (int side = 0; side < 2; side++) {
		if (diff_proc_path(path[side], &o[side]) < 0) {
			diff_failed_sys(job, side, "cannot read extended attributes");
			return -1;
		}
	}
	return 0;
}

void diff_xattrs(struct diff_job *job, const struct diff_object o[2])
{
	char path[2][PATH_MAX];
	__attribute__((cleanup(names_release))) struct names a = {0};
	__attribute__((cleanup(names_release))) struct names b = {0};
	if (!diff_wants(job, TREEDIFF_XATTR) || both_paths(job, o, path) < 0)
		return;
	if (list_names(job, 0, path[0], &a) < 0 || list_names(job, 1, path[1], &b) < 0)
		return;
	size_t i = 0;
	size_t j = 0;
	while (i < a.n || j < b.n) {
		int order = i == a.n ? 1 : j == b.n ? -1 : strcmp(a.v[i], b.v[j]);
		bool there[2] = {order <= 0, order >= 0};
		const char *name = there[0] ? a.v[i] : b.v[j];
		compare_value(job, (const char(*)[PATH_MAX])path, name, there);
		i += there[0];
		j += there[1];
	}
}

static int read_acl(struct diff_job *job, int side, const char *path, bool is_default,
		    struct diff_acl *acl)
{
	ssize_t n = get_value(job, side, path, is_default ? ACL_DEFAULT : ACL_ACCESS);
	if (n < 0 && (errno == ENODATA || errno == ENOTSUP))
		return 0;
	if (n < 0) {
		diff_failed_sys(job, side, "cannot read the ACL");
		return -1;
	}
	if (n == 0 || diff_acl_parse(acl, job->data[side], (size_t)n, is_default) == 0)
		return 0;
	diff_failed(job, side, "malformed ACL");
	return -1;
}

static void compare_acl(struct diff_job *job, const char path[2][PATH_MAX], bool is_default)
{
	__attribute__((cleanup(diff_acl_release))) struct diff_acl a = {0};
	__attribute__((cleanup(diff_acl_release))) struct diff_acl b = {0};
	if (read_acl(job, 0, path[0], is_default, &a) < 0 ||
	    read_acl(job, 1, path[1], is_default, &b) < 0 || diff_acl_equal(&a, &b))
		return;
	char text[2][DIFF_TEXT];
	diff_acl_text(text[0], DIFF_TEXT, &a, is_default);
	diff_acl_text(text[1], DIFF_TEXT, &b, is_default);
	diff_report(job, TREEDIFF_ACL, text[0], text[1]);
}

void diff_acls(struct diff_job *job, const struct diff_object o[2])
{
	char path[2][PATH_MAX];
	if (!diff_wants(job, TREEDIFF_ACL) || both_paths(job, o, path) < 0)
		return;
	compare_acl(job, (const char(*)[PATH_MAX])path, false);
	if (S_ISDIR(o[0].st.stx_mode))
		compare_acl(job, (const char(*)[PATH_MAX])path, true);
}
