/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command lines from tables. A program has a table of commands, a command a table of options. The
 * same table is parsed, printed as --help, as a section of the man page and as bash completion, so
 * the four cannot disagree.
 *
 * Accepted: --name=VALUE, --name VALUE, --flag, --no-flag (OPT_BOOL), -xVALUE, -x VALUE, -abc for
 * flags, "--" ends the options. Options and operands may be mixed; names are never abbreviated; of
 * a repeated scalar the last one counts. --help and -h are known to every command.
 *
 * Tables are constant and shared by all threads; nothing is allocated except by OPT_LIST.
 */
#ifndef SCRIBE_OPT_H
#define SCRIBE_OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "err.h"

enum { OPT_MAX = 128 }; /* options per command */

/* Kind of an option, and the type of its target. */
enum opt_kind {
	OPT_FLAG = 1, /* bool: set to true */
	OPT_BOOL,     /* bool: --name true, --no-name false; default text "on" or "off" */
	OPT_COUNT,    /* unsigned: one more each time (-vv) */
	OPT_STRING,   /* const char *: points into argv */
	OPT_U64,      /* uint64_t in min..max (max 0: no upper limit) */
	OPT_SIZE,     /* uint64_t: bytes */
	OPT_RATE,     /* uint64_t: bytes per second, 0 = unlimited */
	OPT_DURATION, /* int64_t: nanoseconds */
	OPT_PORT,     /* uint16_t; 0 only with OPT_ZERO_OK */
	OPT_PERCENT,  /* unsigned: 0..100 */
	OPT_TIME,     /* struct timespec */
	OPT_ENUM,     /* int: index into names */
	OPT_LIST,     /* struct opt_list: every value, in order */
	OPT_CALL,     /* the callback decides; called in the order of the command line */
};

enum opt_flags {
	OPT_REQUIRED = 1, /* the command fails without it */
	OPT_ZERO_OK = 2,
	OPT_HIDDEN = 4,   /* parsed, but in no help */
	OPT_DEF_TEXT = 8, /* the default text is for people only, not parsed into the target */
	OPT_NO_ARG = 16,  /* OPT_CALL without an argument: value is NULL */
};

struct opt;
/* Called for each occurrence; target is what opt_parse() was given, plus the option's offset.
 * Returns 0, or -1 with *e set: then opt_parse() fails with it, prefixed with the option's name. */
typedef int opt_call(const struct opt *o, void *target, const char *value, struct err *e);

struct opt {
	const char *name; /* without dashes; NULL ends a table */
	char short_name;  /* 'v' for -v; 0: none */
	enum opt_kind kind;
	unsigned flags;           /* enum opt_flags */
	size_t offset;            /* of the target: offsetof(struct config, member) */
	const char *arg;          /* name of the argument in help ("DURATION"); NULL: by kind */
	const char *def;          /* default: shown, and parsed into the target beforehand */
	const char *group;        /* heading in help; NULL: "Options" */
	const char *help;         /* one sentence, no full stop */
	uint64_t min, max;        /* OPT_U64 */
	const char *const *names; /* OPT_ENUM: accepted words, NULL-terminated */
	opt_call *call;           /* OPT_CALL */
};

/* Values point into argv; the array is on the heap. */
struct opt_list {
	const char **values;
	size_t n;
};
void opt_list_release(struct opt_list *l);

/* Rules between options of one command; an option set back by --no-name counts as not given. */
struct opt_rule {
	const char *a; /* NULL ends a table */
	enum { OPT_EXCLUDES, OPT_NEEDS, OPT_ONE_OF } rule;
	const char *b; /* a excludes b; a needs b; one of a and b must be given */
};

struct opt_command {
	const char *name;     /* "push" */
	const char *summary;  /* one line, not empty, no capital, no full stop */
	const char *operands; /* "SOURCE_DIR [USER@]HOST[:PATH]"; "" if none */
	int min_operands, max_operands;
	const struct opt *options;    /* ended by {0}; may be NULL */
	const struct opt_rule *rules; /* ended by {0}; may be NULL */
	const char *details; /* paragraphs separated by "\n", wrapped in help; may be NULL */
	const char *const *examples; /* command lines, NULL-terminated; may be NULL */
	/* Runs the command: argv[0] is the command's name. Returns the exit code. context is the
	 * program's own. */
	int (*run)(const struct opt_command *self, int argc, char **argv, void *context);
};

struct opt_result {
	char **operands; /* the last argument is followed by NULL */
	int n_operands;
	bool help; /* --help was asked for: nothing else was checked */
	const struct opt_command *command;
	uint64_t seen[OPT_MAX / 64];
};

/*
 * Writes the defaults, then parses argv[1..argc-1] into target. Operands are moved to the front of
 * argv (r->operands). 0, or -1 with ERR_USAGE (or the callback's own code); what was parsed before
 * the mistake has been stored then, lists included.
 */
int opt_parse(const struct opt_command *c, int argc, char **argv, void *target,
	      struct opt_result *r, struct err *e);

/* Whether the option was given on the command line (and not set back by --no-name). */
bool opt_given(const struct opt_result *r, const char *name);

/* Finds a command by name in a NULL-terminated table. NULL with ERR_USAGE: unknown, with the
 * nearest name as a suggestion. */
const struct opt_command *opt_find(const struct opt_command *const *table, const char *name,
				   struct err *e);

/* Help of one command; of the program (a list of its commands). At most 80 columns. */
void opt_help(const char *program, const struct opt_command *c, FILE *out);
void opt_help_commands(const char *program, const char *summary,
		       const struct opt_command *const *table, FILE *out);

/* Part of a man page in roff: synopsis, options and examples of one command, as a subsection. */
void opt_man(const char *program, const struct opt_command *c, FILE *out);

/* A bash completion script for the program. */
void opt_bash(const char *program, const struct opt_command *const *table, FILE *out);

#endif
