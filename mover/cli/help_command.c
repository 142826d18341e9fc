/* SPDX-License-Identifier: Apache-2.0 */
/* help and version; and what a build makes of the tables: man page and completion. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "message.h"

struct help_options {
	bool man, bash;
};

static void print_man(void)
{
	for (const struct opt_command *const *c = cli_commands; *c; c++)
		opt_man(CLI_PROGRAM, *c, stdout);
}

static int run_help(const struct opt_command *self, int argc, char **argv, void *context)
{
	struct help_options o = {0};
	struct opt_result given;
	struct err e = {0};
	(void)context;
	int code = cli_parse(self, argc, argv, &o, &given);
	if (code != CLI_GO_ON)
		return code;
	if (o.man) {
		print_man();
	} else if (o.bash) {
		opt_bash(CLI_PROGRAM, cli_commands, stdout);
	} else if (given.n_operands) {
		const struct opt_command *c = opt_find(cli_commands, given.operands[0], &e);
		if (!c)
			return cli_error(self->name, &e);
		opt_help(CLI_PROGRAM, c, stdout);
	} else {
		opt_help_commands(CLI_PROGRAM, CLI_SUMMARY, cli_commands, stdout);
	}
	return cli_finish(self->name, ERR_OK);
}

static int run_version(const struct opt_command *self, int argc, char **argv, void *context)
{
	struct help_options o = {0};
	struct opt_result given;
	(void)context;
	int code = cli_parse(self, argc, argv, &o, &given);
	if (code != CLI_GO_ON)
		return code;
	printf("%s %s (protocol %d)\n", CLI_PROGRAM, SCRIBE_VERSION, PROTOCOL_VERSION);
	return cli_finish(self->name, ERR_OK);
}

static const struct opt options[] = {
	{.name = "man",
	 .kind = OPT_FLAG,
	 .flags = OPT_HIDDEN,
	 .offset = offsetof(struct help_options, man),
	 .help = "commands as a part of a man page"},
	{.name = "bash-completion",
	 .kind = OPT_FLAG,
	 .flags = OPT_HIDDEN,
	 .offset = offsetof(struct help_options, bash),
	 .help = "completion script for bash"},
	{0},
};

const struct opt_command command_help = {
	.name = "help",
	.summary = "explain the program or one of its commands",
	.operands = "[COMMAND]",
	.max_operands = 1,
	.options = options,
	.run = run_help,
};

const struct opt_command command_version = {
	.name = "version",
	.summary = "print the version",
	.operands = "",
	.run = run_version,
};
