/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command `diff [options] DIR_A DIR_B`, as scribe-mover and the stand-alone treediff run it.
 */
#ifndef SCRIBE_DIFF_COMMAND_H
#define SCRIBE_DIFF_COMMAND_H

#include <stdio.h>

enum diff_exit {
	DIFF_EXIT_EQUAL = 0,
	DIFF_EXIT_DIFFERS = 1,
	DIFF_EXIT_USAGE = 2,
	DIFF_EXIT_ERRORS = 3, /* something could not be compared, whatever else was found */
};

/*
 * Runs the command; argv[0] is the name for messages. Differences go to out, one per line (see
 * treediff_print), failures and messages to errors. Neither is closed. Uses getopt_long and so
 * its global state. Returns an enum diff_exit; output that cannot be written is DIFF_EXIT_ERRORS.
 */
int diff_command(int argc, char **argv, FILE *out, FILE *errors);

#endif
