/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"
#include "dial_session.h"

static int run(const struct opt_command *self, int argc, char **argv, void *context)
{
	static const struct dial_role role = {.role = ROLE_SOURCE,
					      .directory = "source",
					      .directory_operand = 0,
					      .remote_command = CLI_PROGRAM " receive"};
	(void)context;
	return dial_command(self, &role, argc, argv);
}

static const char *const examples[] = {
	"scribe-mover push --identity key --known-host-key host.pub --delete /data mover@replica:",
	"scribe-mover push -i key --known-hosts hosts --dry-run --itemize /data replica:/daily",
	"scribe-mover push --rsh \"ssh -J bastion\" --delete /data replica",
	NULL,
};

const struct opt_command command_push = {
	.name = "push",
	.summary = "replicate a directory to another machine",
	.operands = "SOURCE_DIR [USER@]HOST[:PATH]",
	.min_operands = 2,
	.max_operands = 2,
	.options = dial_options_table,
	.rules = dial_options_rules,
	.details = "Makes the directory PATH below the other side's root equal to SOURCE_DIR: its "
		   "content, "
		   "and the attributes of the directory itself. Where PATH is left out it is the "
		   "root.\n"
		   "Owner, group, permissions, times, ACLs, extended attributes, hard links, "
		   "holes, devices "
		   "and special files are replicated unless switched off. Without --delete, what "
		   "only the "
		   "destination has stays. A directory lost+found at the top is neither sent nor "
		   "deleted.",
	.examples = examples,
	.run = run,
};
