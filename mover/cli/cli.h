/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program scribe-mover: its table of commands and what all of them share. A command's run()
 * returns the exit code (enum err_code, or 128 + signal).
 *
 * Streams: data and results on stdout, everything else on stderr; an error that ends a command is
 * exactly one line on stderr: "scribe-mover: COMMAND: what, on which object, why; what to do".
 */
#ifndef SCRIBE_CLI_H
#define SCRIBE_CLI_H

#include "err.h"
#include "opt.h"

#define CLI_PROGRAM "scribe-mover"
#define CLI_SUMMARY                                                                                \
	"Replicates directory trees over SSH: sends only what changed, and what it acknowledges "  \
	"is equal and durable."

extern const struct opt_command command_push;
extern const struct opt_command command_pull;
extern const struct opt_command command_serve;
extern const struct opt_command command_receive;
extern const struct opt_command command_send;
extern const struct opt_command command_recover;
extern const struct opt_command command_keygen;
extern const struct opt_command command_diff;
extern const struct opt_command command_help;
extern const struct opt_command command_version;

/* All of them, ended by NULL, in the order of the help. */
extern const struct opt_command *const cli_commands[];

int cli_main(int argc, char **argv);

/*
 * Parses a command line. CLI_GO_ON, or the exit code after the help or the error was printed.
 */
enum { CLI_GO_ON = -1 };
int cli_parse(const struct opt_command *c, int argc, char **argv, void *target,
	      struct opt_result *r);

/* Prints the one line of an error and returns its exit code. command may be NULL. */
int cli_error(const char *command, const struct err *e);
/* The line without its newline, cleaned of control bytes; returns out. */
enum { CLI_LINE_MAX = 1024 };
char *cli_error_line(char out[CLI_LINE_MAX], const char *command, const struct err *e);

/* Ends a command that prints to stdout: flushes it, and turns success into a failure if that does
 * not work. Returns the exit code. */
int cli_finish(const char *command, int code);

/*
 * Opens a directory that the user named; what says how it is used ("source", "--root"). Returns an
 * fd, or -1 with *e ERR_USAGE: missing, no directory, not readable.
 */
int cli_open_dir(const char *what, const char *path, struct err *e);

#endif
