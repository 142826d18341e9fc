/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"
#include "dial_session.h"

static int run(const struct opt_command *self, int argc, char **argv, void *context)
{
	static const struct dial_role role = {.role = ROLE_DESTINATION,
					      .directory = "destination",
					      .directory_operand = 1,
					      .remote_command = CLI_PROGRAM " send"};
	(void)context;
	return dial_command(self, &role, argc, argv);
}

static const char *const examples[] = {
	"scribe-mover pull --identity key --known-host-key host.pub --delete mover@origin: /data",
	NULL,
};

const struct opt_command command_pull = {
	.name = "pull",
	.summary = "replicate a directory from another machine",
	.operands = "[USER@]HOST[:PATH] DEST_DIR",
	.min_operands = 2,
	.max_operands = 2,
	.options = dial_options_table,
	.rules = dial_options_rules,
	.details = "The same as push with the roles exchanged: DEST_DIR, which must exist, is made "
		   "equal to the directory PATH below the other side's root.",
	.examples = examples,
	.run = run,
};
