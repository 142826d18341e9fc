/* SPDX-License-Identifier: Apache-2.0 */
/* diff: the comparer's own command, behind this program's rules for command lines. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "diff_command.h"
#include "mem.h"
#include "treediff.h"

/* The comparer reads the command line itself; this only checks it. */
struct checked {
	bool flag;
	unsigned count;
	const char *text;
	uint64_t number;
	int word;
};

static int take_attributes(const struct opt *o, void *target, const char *value, struct err *e)
{
	(void)o;
	(void)target;
	CLEANUP_FREE char *copy = mem_strdup(value);
	char *rest = copy;
	char *word;
	while ((word = strsep(&rest, ",")) != NULL)
		if (treediff_attr_parse(word) < TREEDIFF_MODE)
			return err_set(
				e, ERR_USAGE,
				"wanted names of attributes with commas between them; mode uid "
				"gid size content mtime rdev target xattr acl links holes");
	return 0;
}

static int check_directories(char **names, struct err *e)
{
	for (int i = 0; i < 2; i++) {
		CLEANUP_FD int fd = cli_open_dir("directory", names[i], e);
		if (fd < 0)
			return -1;
	}
	return 0;
}

static int run(const struct opt_command *self, int argc, char **argv, void *context)
{
	char name[] = CLI_PROGRAM " diff";
	struct checked target = {0};
	struct opt_result given;
	struct err e = {0};
	(void)context;
	CLEANUP_FREE char **copy = mem_alloc((size_t)argc + 1, sizeof *copy);
	memcpy(copy, argv, (size_t)argc * sizeof *copy);
	int code = cli_parse(self, argc, copy, &target, &given);
	if (code != CLI_GO_ON)
		return code;
	if (check_directories(given.operands, &e) < 0)
		return cli_error(self->name, &e);
	argv[0] = name;
	code = diff_command(argc, argv, stdout, stderr);
	fflush(stdout);
	return code;
}

static const char *const holes[] = {"exact", NULL};

#define AT(member) .offset = offsetof(struct checked, member)
#define LEAVE_OUT(NAME, HELP)                                                                      \
	{                                                                                          \
		.name = "no-" NAME, .kind = OPT_FLAG, AT(flag), .help = "do not compare " HELP     \
	}

static const struct opt options[] = {
	{.name = "ignore",
	 .kind = OPT_CALL,
	 .arg = "ATTR[,ATTR...]",
	 .call = take_attributes,
	 AT(text),
	 .help = "leave out attributes by the names that stand in the output"},
	LEAVE_OUT("perms", "permissions"),
	LEAVE_OUT("owner", "owning users"),
	LEAVE_OUT("group", "owning groups"),
	LEAVE_OUT("times", "modification times"),
	LEAVE_OUT("devices", "device numbers"),
	LEAVE_OUT("xattrs", "extended attributes"),
	LEAVE_OUT("acls", "ACLs"),
	LEAVE_OUT("links", "hard links"),
	LEAVE_OUT("holes", "holes"),
	LEAVE_OUT("content", "content"),
	{.name = "xattrs",
	 .kind = OPT_STRING,
	 .arg = "LIST",
	 AT(text),
	 .def = "user,security.capability",
	 .flags = OPT_DEF_TEXT,
	 .help = "which extended attributes count: namespaces or names, or all"},
	{.name = "granule",
	 .kind = OPT_U64,
	 .arg = "NS",
	 AT(number),
	 .help = "round times down to so many nanoseconds before comparing"},
	{.name = "holes",
	 .kind = OPT_ENUM,
	 .names = holes,
	 AT(word),
	 .help = "DIR_B may have no hole that DIR_A has not"},
	{.name = "cross-mounts",
	 .kind = OPT_FLAG,
	 AT(flag),
	 .help = "descend into other file systems"},
	{.name = "skip",
	 .kind = OPT_STRING,
	 .arg = "PATH",
	 AT(text),
	 .help = "leave out this path, relative to both (may be repeated)"},
	{.name = "max", .kind = OPT_U64, AT(number), .help = "stop after so many differences"},
	{.name = "verbose",
	 .short_name = 'v',
	 .kind = OPT_FLAG,
	 AT(flag),
	 .help = "print totals on stderr"},
	{.name = "quiet",
	 .short_name = 'q',
	 .kind = OPT_FLAG,
	 AT(flag),
	 .help = "print nothing, stop at the first difference"},
	{0},
};

const struct opt_command command_diff = {
	.name = "diff",
	.summary = "compare two local directory trees exactly",
	.operands = "DIR_A DIR_B",
	.min_operands = 2,
	.max_operands = 2,
	.options = options,
	.details = "Compares content, types, all attributes, hard links and holes. Prints one line "
		   "per "
		   "difference, \"ATTR  path  A-value  B-value\". Exit status 0: equal, 1: they "
		   "differ, "
		   "2: usage, 3: something could not be compared.",
	.run = run,
};
