/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "dest.h"
#include "mem.h"
#include "text.h"

struct recover_options {
	const char *root;
	bool quiet;
};

static int recover(const struct recover_options *o, struct err *e)
{
	char shown[TEXT_ESCAPED_MAX];
	struct recover_result r = {0};
	CLEANUP_FD int fd = cli_open_dir("--root", o->root, e);
	if (fd < 0)
		return -1;
	text_escape(shown, sizeof shown, o->root, strlen(o->root));
	if (dest_recover(fd, &r, e) < 0)
		return err_wrap(e, "--root %s", shown);
	if (!o->quiet)
		printf("%s: journals replayed %llu, dropped %llu; temporary files removed %llu\n",
		       shown, (unsigned long long)r.journals_replayed,
		       (unsigned long long)r.journals_dropped, (unsigned long long)r.temps_removed);
	return 0;
}

static int run(const struct opt_command *self, int argc, char **argv, void *context)
{
	struct recover_options o = {0};
	struct opt_result given;
	struct err e = {0};
	(void)context;
	int code = cli_parse(self, argc, argv, &o, &given);
	if (code != CLI_GO_ON)
		return code;
	if (recover(&o, &e) < 0)
		return cli_error(self->name, &e);
	return cli_finish(self->name, ERR_OK);
}

static const struct opt options[] = {
	{.name = "root",
	 .kind = OPT_STRING,
	 .arg = "DIR",
	 .flags = OPT_REQUIRED,
	 .offset = offsetof(struct recover_options, root),
	 .help = "the destination's root"},
	{.name = "quiet",
	 .short_name = 'q',
	 .kind = OPT_FLAG,
	 .offset = offsetof(struct recover_options, quiet),
	 .help = "print errors only"},
	{0},
};

const struct opt_command command_recover = {
	.name = "recover",
	.summary = "finish or undo what a crash left at a destination, without a peer",
	.operands = "",
	.options = options,
	.details =
		"Replays complete journals and removes temporary files and state of runs that "
		"died. "
		"A run that is at work is left alone (exit 15). A push does the same at its start; "
		"this is for a copy that is to be used before the next one.",
	.run = run,
};
