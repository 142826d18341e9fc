/* SPDX-License-Identifier: Apache-2.0 */
#include "diff_command.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "treediff.h"

struct command {
	FILE *out;
	FILE *errors;
	bool quiet;
	bool verbose;
	struct treediff_options opt;
	const char **skip;
	size_t skips;
	char *words; /* a copy of --xattrs, cut at its commas */
	const char **xattrs;
};

static const char usage_text[] =
	" [options] DIR_A DIR_B\n"
	"Compares two directory trees exactly. One line per difference:\n"
	"  ATTR  path  A-value  B-value\n"
	"with ATTR one of missing extra type mode uid gid size content mtime rdev target\n"
	"xattr acl links holes. Exit status 0: equal, 1: they differ, 2: usage,\n"
	"3: something could not be compared.\n"
	"  --ignore ATTR[,ATTR...]  leave out attributes by the words above\n"
	"  --no-perms --no-owner --no-group --no-times --no-devices --no-xattrs --no-acls\n"
	"  --no-links --no-holes --no-content\n"
	"                           leave out mode, uid, gid, mtime, rdev, xattr, acl, ...\n"
	"  --xattrs LIST            what counts: namespaces or names, or all\n"
	"                           (default user,security.capability)\n"
	"  --granule NS             round times down to so many ns before comparing\n"
	"  --holes=exact            B may have no hole that A has not\n"
	"  --cross-mounts           descend into other file systems\n"
	"  --skip PATH              leave out this path, relative to both (repeatable)\n"
	"  --max N                  stop after N differences\n"
	"  -q                       print nothing, stop at the first difference\n"
	"  -v                       print totals on standard error\n";

enum option_key {
	KEY_IGNORE = 256,
	KEY_XATTRS,
	KEY_GRANULE,
	KEY_HOLES,
	KEY_CROSS,
	KEY_SKIP,
	KEY_MAX,
	KEY_HELP,
	KEY_NO, /* plus enum treediff_attr */
};

static const struct option options[] = {
	{"ignore", required_argument, NULL, KEY_IGNORE},
	{"xattrs", required_argument, NULL, KEY_XATTRS},
	{"granule", required_argument, NULL, KEY_GRANULE},
	{"holes", required_argument, NULL, KEY_HOLES},
	{"cross-mounts", no_argument, NULL, KEY_CROSS},
	{"skip", required_argument, NULL, KEY_SKIP},
	{"max", required_argument, NULL, KEY_MAX},
	{"help", no_argument, NULL, KEY_HELP},
	{"quiet", no_argument, NULL, 'q'},
	{"verbose", no_argument, NULL, 'v'},
	{"no-perms", no_argument, NULL, KEY_NO + TREEDIFF_MODE},
	{"no-owner", no_argument, NULL, KEY_NO + TREEDIFF_UID},
	{"no-group", no_argument, NULL, KEY_NO + TREEDIFF_GID},
	{"no-times", no_argument, NULL, KEY_NO + TREEDIFF_MTIME},
	{"no-devices", no_argument, NULL, KEY_NO + TREEDIFF_RDEV},
	{"no-xattrs", no_argument, NULL, KEY_NO + TREEDIFF_XATTR},
	{"no-acls", no_argument, NULL, KEY_NO + TREEDIFF_ACL},
	{"no-links", no_argument, NULL, KEY_NO + TREEDIFF_LINKS},
	{"no-holes", no_argument, NULL, KEY_NO + TREEDIFF_HOLES},
	{"no-content", no_argument, NULL, KEY_NO + TREEDIFF_CONTENT},
	{NULL, 0, NULL, 0},
};

static int bad(const struct command *c, const char *what, const char *value)
{
	fprintf(c->errors, "%s: %s\n", what, value);
	return -1;
}

static int parse_number(const struct command *c, const char *what, const char *text, uint64_t *out)
{
	char *end;
	errno = 0;
	unsigned long long v = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text < '0' || *text > '9')
		return bad(c, what, text);
	*out = v;
	return 0;
}

static int parse_ignore(struct command *c, const char *list)
{
	CLEANUP_FREE char *copy = mem_strdup(list);
	char *rest = copy;
	char *word;
	while ((word = strsep(&rest, ",")) != NULL) {
		int attr = treediff_attr_parse(word);
		if (attr < TREEDIFF_MODE)
			return bad(c, "--ignore: no attribute that can be left out", word);
		c->opt.ignore |= 1u << attr;
	}
	return 0;
}

static int parse_xattrs(struct command *c, const char *list)
{
	size_t n = 0;
	free(c->words);
	free(c->xattrs);
	c->words = mem_strdup(list);
	c->xattrs = mem_alloc(strlen(list) + 2, sizeof(*c->xattrs));
	char *rest = c->words;
	char *word;
	while ((word = strsep(&rest, ",")) != NULL)
		if (*word)
			c->xattrs[n++] = word;
	c->opt.xattrs = c->xattrs;
	return 0;
}

static int parse_option(struct command *c, int key, const char *value)
{
	switch (key) {
	case KEY_IGNORE:
		return parse_ignore(c, value);
	case KEY_XATTRS:
		return parse_xattrs(c, value);
	case KEY_GRANULE:
		return parse_number(c, "--granule: not a number of ns", value, &c->opt.granule_ns);
	case KEY_HOLES:
		if (strcmp(value, "exact") != 0)
			return bad(c, "--holes: only 'exact' is known", value);
		c->opt.exact_holes = true;
		return 0;
	case KEY_CROSS:
		c->opt.cross_mounts = true;
		return 0;
	case KEY_SKIP:
		c->skip[c->skips++] = value;
		return 0;
	case KEY_MAX:
		return parse_number(c, "--max: not a number", value, &c->opt.stop_after);
	case 'q':
		c->quiet = true;
		c->opt.stop_after = 1;
		return 0;
	case 'v':
		c->verbose = true;
		return 0;
	default:
		if (key < KEY_NO)
			return -1;
		c->opt.ignore |= 1u << (key - KEY_NO);
		return 0;
	}
}

static void on_difference(void *arg, const struct treediff_item *item)
{
	struct command *c = arg;
	if (!c->quiet)
		treediff_print(c->out, item);
}

static void on_failure(void *arg, const struct treediff_failure *failure)
{
	struct command *c = arg;
	treediff_print_failure(c->errors, failure);
}

static bool not_skipped(void *arg, const char *path, size_t path_len, bool is_dir)
{
	struct command *c = arg;
	(void)path_len;
	(void)is_dir;
	for (size_t i = 0; i < c->skips; i++)
		if (strcmp(c->skip[i], path) == 0)
			return false;
	return true;
}

static int run(struct command *c, const char *a, const char *b)
{
	struct treediff_result result;
	struct err e = {0};
	c->opt.report = on_difference;
	c->opt.failed = on_failure;
	c->opt.filter = c->skips ? not_skipped : NULL;
	c->opt.arg = c;
	if (treediff_run(a, b, &c->opt, &result, &e) < 0) {
		fprintf(c->errors, "error  %s\n", e.msg);
		return DIFF_EXIT_ERRORS;
	}
	if (c->verbose)
		fprintf(c->errors,
			"%llu entries, %llu bytes compared, %llu mount points left out, "
			"%llu differences, %llu errors\n",
			(unsigned long long)result.entries, (unsigned long long)result.bytes,
			(unsigned long long)result.mounts, (unsigned long long)result.differences,
			(unsigned long long)result.errors);
	if (fflush(c->out) != 0 || ferror(c->out)) {
		fprintf(c->errors, "error  cannot write the result\n");
		return DIFF_EXIT_ERRORS;
	}
	if (result.errors)
		return DIFF_EXIT_ERRORS;
	return result.differences ? DIFF_EXIT_DIFFERS : DIFF_EXIT_EQUAL;
}

int diff_command(int argc, char **argv, FILE *out, FILE *errors)
{
	struct command c = {.out = out, .errors = errors};
	int rc = DIFF_EXIT_USAGE;
	int key;
	c.skip = mem_alloc((size_t)argc + 1, sizeof(*c.skip));
	/* 0 makes getopt forget what an earlier command line left behind. */
	optind = 0;
	opterr = 0;
	while ((key = getopt_long(argc, argv, "qvh", options, NULL)) != -1) {
		if (key == KEY_HELP || key == 'h') {
			fprintf(out, "usage: %s%s", argv[0], usage_text);
			rc = DIFF_EXIT_EQUAL;
			goto done;
		}
		if (key == '?')
			fprintf(errors, "unknown option or missing value: %s\n", argv[optind - 1]);
		if (key == '?' || parse_option(&c, key, optarg) < 0)
			goto usage;
	}
	if (argc - optind == 2) {
		rc = run(&c, argv[optind], argv[optind + 1]);
		goto done;
	}
usage:
	fprintf(errors, "usage: %s%s", argv[0], usage_text);
done:
	free(c.skip);
	free(c.words);
	free(c.xattrs);
	return rc;
}
