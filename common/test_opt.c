/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "opt.h"

enum { MAX_ARGS = 16 };

struct config {
	bool dry_run, acls, hidden;
	unsigned verbose, percent;
	const char *identity;
	uint64_t connections, buffer, rate;
	int64_t timeout;
	uint16_t port;
	struct timespec as_of;
	int in_place;
	struct opt_list tags;
	char rules[64]; /* what the callbacks saw, in order */
};

static int add_rule(const struct opt *o, void *target, const char *value, struct err *e)
{
	char *rules = target;
	size_t at = strlen(rules);
	if (value && strcmp(value, "bad") == 0)
		return err_set(e, ERR_USAGE, "no such pattern");
	snprintf(rules + at, 64 - at, "%c%s ", o->name[0] == 'i' ? '+' : '-', value ? value : "!");
	return 0;
}

static const char *const in_place_names[] = {"auto", "never", "always", NULL};

#define AT(member) .offset = offsetof(struct config, member)

static const struct opt push_options[] = {
	{"port", 'p', OPT_PORT, AT(port), .arg = "N", .def = "22", .group = "Connection",
	 .help = "its port"},
	{"identity", 'i', OPT_STRING, AT(identity), .arg = "FILE", .group = "Connection",
	 .help = "private key"},
	{"connections", 0, OPT_U64, AT(connections), .def = "1", .min = 1, .max = 16,
	 .group = "Connection",
	 .help = "number of connections that carry data, each with its own thread"},
	{"dry-run", 'n', OPT_FLAG, AT(dry_run), .help = "change nothing"},
	{"acls", 0, OPT_BOOL, AT(acls), .def = "on", .help = "replicate access control lists"},
	{"verbose", 'v', OPT_COUNT, AT(verbose), .help = "tell more"},
	{"buffer", 0, OPT_SIZE, AT(buffer), .def = "64K", .help = "size of a buffer"},
	{"bwlimit", 0, OPT_RATE, AT(rate), .help = "limit"},
	{"wait-for-destination", 0, OPT_DURATION, AT(timeout), .def = "1m30s",
	 .help = "how long to try while the destination refuses, resets or is not there at all, "
		 "before the run is given up"},
	{"max-shrink", 0, OPT_PERCENT, AT(percent), .def = "50%", .help = "brake"},
	{"data-as-of", 0, OPT_TIME, AT(as_of), .help = "time of the snapshot"},
	{"in-place", 0, OPT_ENUM, AT(in_place), .def = "never", .names = in_place_names,
	 .help = "write into existing files"},
	{"tag", 't', OPT_LIST, AT(tags), .arg = "WORD", .help = "a word for the report"},
	{"include", 0, OPT_CALL, AT(rules), .arg = "PATTERN", .group = "Filters", .call = add_rule,
	 .help = "take these"},
	{"exclude", 'x', OPT_CALL, AT(rules), .arg = "PATTERN", .group = "Filters",
	 .call = add_rule, .help = "leave these out"},
	{"exclude-all", 0, OPT_CALL, AT(rules), .flags = OPT_NO_ARG, .group = "Filters",
	 .call = add_rule, .help = "leave all out"},
	{"secret-switch", 0, OPT_FLAG, AT(hidden), .flags = OPT_HIDDEN, .help = "for tests"},
	{0},
};

static const struct opt_rule push_rules[] = {
	{"dry-run", OPT_EXCLUDES, "in-place"},
	{"bwlimit", OPT_NEEDS, "identity"},
	{"acls", OPT_EXCLUDES, "secret-switch"},
	{0},
};

static const char *const push_examples[] = {
	"scribe-mover push --identity key /srv/data backup@192.0.2.7:/data", NULL};

static const struct opt_command push = {
	.name = "push",
	.summary = "replicate a directory to another host",
	.operands = "SOURCE_DIR [USER@]HOST[:PATH]",
	.min_operands = 1,
	.max_operands = 2,
	.options = push_options,
	.rules = push_rules,
	.details =
		"Sends only what differs; a run that was cut short goes on where it ended when the "
		"same command is given again.\nThe destination is created if it is missing.",
	.examples = push_examples,
};

static const struct opt serve_options[] = {
	{"root", 0, OPT_STRING, AT(identity), .arg = "DIR", .help = "serve as a destination"},
	{"source", 0, OPT_STRING, AT(identity), .arg = "DIR", .help = "serve as a source"},
	{"host-key", 0, OPT_STRING, AT(identity), .arg = "FILE", .flags = OPT_REQUIRED,
	 .help = "key of this host"},
	{"port", 0, OPT_PORT, AT(port), .def = "22", .flags = OPT_ZERO_OK, .help = "port"},
	{"threads", 0, OPT_U64, AT(connections), .def = "as many as CPUs", .flags = OPT_DEF_TEXT,
	 .help = "threads"},
	{0},
};
static const struct opt_rule serve_rules[] = {{"root", OPT_ONE_OF, "source"},
					      {"root", OPT_EXCLUDES, "source"},
					      {0}};
static const struct opt_command serve = {
	.name = "serve",
	.summary = "wait for connections",
	.operands = "",
	.options = serve_options,
	.rules = serve_rules,
};

static const struct opt_command *const commands[] = {&push, &serve, NULL};

/* One parse of a command line written with blanks. */
struct line {
	struct config config;
	struct opt_result result;
	struct err e;
	char text[400];
	char *argv[MAX_ARGS + 1];
	int argc;
};

static int parse_line(struct line *l, const struct opt_command *c, const char *text)
{
	memset(l, 0, sizeof *l);
	snprintf(l->text, sizeof l->text, "%s %s", c->name, text);
	for (char *p = l->text; *p && l->argc < MAX_ARGS;) {
		l->argv[l->argc++] = p;
		p += strcspn(p, " ");
		if (*p)
			*p++ = '\0';
	}
	return opt_parse(c, l->argc, l->argv, &l->config, &l->result, &l->e);
}

static void accept_line(struct line *l, const struct opt_command *c, const char *text)
{
	if (parse_line(l, c, text) < 0)
		fail_msg("%s: %s", text, l->e.msg);
}

static void defaults_are_written(void **state)
{
	(void)state;
	struct line l;
	accept_line(&l, &push, "dir");
	assert_int_equal(l.config.port, 22);
	assert_int_equal(l.config.connections, 1);
	assert_true(l.config.acls);
	assert_int_equal(l.config.buffer, 65536);
	assert_int_equal(l.config.timeout, INT64_C(90000000000));
	assert_int_equal(l.config.percent, 50);
	assert_int_equal(l.config.in_place, 1);
	assert_null(l.config.identity);
	assert_false(opt_given(&l.result, "port"));
	assert_false(opt_given(&l.result, "acls"));
	assert_int_equal(l.result.n_operands, 1);
	assert_string_equal(l.result.operands[0], "dir");
	assert_null(l.result.operands[1]);
}

static void values_of_every_kind(void **state)
{
	(void)state;
	struct line l;
	accept_line(&l, &push,
		    "--port=2222 --identity key a --no-acls -vv --buffer 1M --bwlimit=10M "
		    "--wait-for-destination 5s --max-shrink 7 --data-as-of=2026-01-31T12:00:00Z b");
	assert_int_equal(l.config.port, 2222);
	assert_string_equal(l.config.identity, "key");
	assert_false(l.config.acls);
	assert_int_equal(l.config.verbose, 2);
	assert_int_equal(l.config.buffer, 1 << 20);
	assert_int_equal(l.config.rate, 10 << 20);
	assert_int_equal(l.config.timeout, INT64_C(5000000000));
	assert_int_equal(l.config.percent, 7);
	assert_int_equal(l.config.as_of.tv_sec, 1769860800);
	assert_int_equal(l.result.n_operands, 2);
	assert_string_equal(l.result.operands[0], "a");
	assert_string_equal(l.result.operands[1], "b");
	assert_true(opt_given(&l.result, "port"));
	assert_false(opt_given(&l.result, "acls"));
	accept_line(&l, &push, "d --in-place always");
	assert_int_equal(l.config.in_place, 2);
}

static void short_options(void **state)
{
	(void)state;
	struct line l;
	accept_line(&l, &push, "-nvp2222 dir -vi key");
	assert_true(l.config.dry_run);
	assert_int_equal(l.config.verbose, 2);
	assert_int_equal(l.config.port, 2222);
	assert_string_equal(l.config.identity, "key");
}

static void double_dash_ends_options(void **state)
{
	(void)state;
	struct line l;
	accept_line(&l, &push, "-n -- --port -x");
	assert_int_equal(l.result.n_operands, 2);
	assert_string_equal(l.result.operands[0], "--port");
	assert_string_equal(l.result.operands[1], "-x");
	accept_line(&l, &push, "-");
	assert_string_equal(l.result.operands[0], "-");
	/* As the value of an option it is a value. */
	accept_line(&l, &push, "--identity -- dir");
	assert_string_equal(l.config.identity, "--");
	assert_int_equal(l.result.n_operands, 1);
}

static void last_scalar_wins_and_lists_gather(void **state)
{
	(void)state;
	struct line l;
	accept_line(&l, &push, "--no-acls -p1 -ta dir --tag=b -p 2 --acls -t c");
	assert_int_equal(l.config.port, 2);
	assert_true(l.config.acls);
	assert_int_equal(l.config.tags.n, 3);
	assert_string_equal(l.config.tags.values[0], "a");
	assert_string_equal(l.config.tags.values[1], "b");
	assert_string_equal(l.config.tags.values[2], "c");
	opt_list_release(&l.config.tags);
	assert_int_equal(l.config.tags.n, 0);
}

static void callbacks_see_the_order_of_the_line(void **state)
{
	(void)state;
	struct line l;
	accept_line(&l, &push, "--include a -xb --exclude=c dir --include= --exclude-all");
	assert_string_equal(l.config.rules, "+a -b -c + -! ");
}

static void mistakes(void **state)
{
	(void)state;
	static const struct {
		const struct opt_command *command;
		const char *line, *message;
	} rows[] = {
		{&push, "dir --prot 1", "unknown option --prot; did you mean --port?"},
		{&push, "dir --dryrun", "unknown option --dryrun; did you mean --dry-run?"},
		{&push, "dir --wait 1s",
		 "unknown option --wait; did you mean --wait-for-destination?"},
		{&push, "dir --no-acl", "unknown option --no-acl; did you mean --no-acls?"},
		{&push, "dir --frobnicate", "unknown option --frobnicate; see push --help"},
		{&push, "dir --\x1b[2J", "unknown option --\\033[2J; see push --help"},
		{&push, "dir --secret-switc", "unknown option --secret-switc; see push --help"},
		{&push, "dir --no-dry-run", "unknown option --no-dry-run; did you mean --dry-run?"},
		{&push, "dir --", NULL},
		{&push, "dir --=x", "unknown option --; see push --help"},
		{&push, "dir -nq", "unknown option -q; see push --help"},
		{&push, "dir --port", "--port needs a value"},
		{&push, "dir -vp", "-p needs a value"},
		{&push, "dir --dry-run=yes", "--dry-run takes no value"},
		{&push, "dir --no-acls=1", "--no-acls takes no value"},
		{&push, "dir --exclude-all=1", "--exclude-all takes no value"},
		{&push, "dir -p 0", "-p: \"0\" is too small; wanted: a port from 1 to 65535"},
		{&push, "dir --connections=17",
		 "--connections: \"17\" is too large; wanted: a whole number from 1 to 16"},
		{&push, "dir --port=", "--port: empty value; wanted: a port from 1 to 65535"},
		{&push, "dir --in-place sometimes",
		 "--in-place: \"sometimes\" is unknown; wanted one of: auto, never, always"},
		{&push, "dir --exclude bad", "--exclude: no such pattern"},
		{&push, "dir -n --in-place auto", "--dry-run and --in-place exclude each other"},
		{&push, "dir --bwlimit 1M", "--bwlimit needs --identity too"},
		{&push, "dir --acls --secret-switch",
		 "--acls and --secret-switch exclude each other"},
		{&push, "dir --acls --no-acls --secret-switch", NULL},
		{&push, "",
		 "too few arguments; wanted: push [options] SOURCE_DIR [USER@]HOST[:PATH]"},
		{&push, "a b c\n",
		 "unexpected argument \"c\\n\"; wanted: push [options] SOURCE_DIR "
		 "[USER@]HOST[:PATH]"},
		{&serve, "--root r", "--host-key is missing; see serve --help"},
		{&serve, "--host-key k", "--root or --source is missing; see serve --help"},
		{&serve, "--host-key k --root r --source s",
		 "--root and --source exclude each other"},
		{&serve, "--host-key k --root r --port 0", NULL},
		{&serve, "--host-key k --root r x",
		 "unexpected argument \"x\"; wanted: serve [options]"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct line l;
		int rc = parse_line(&l, rows[i].command, rows[i].line);
		if (rc != (rows[i].message ? -1 : 0))
			fail_msg("%s: %d %s", rows[i].line, rc, l.e.msg);
		assert_string_equal(l.e.msg, rows[i].message ? rows[i].message : "");
		assert_int_equal(l.e.code, rows[i].message ? ERR_USAGE : ERR_OK);
	}
}

static void a_wrong_default_in_a_table_is_found(void **state)
{
	(void)state;
	static const struct opt options[] = {
		{"port", 0, OPT_PORT, AT(port), .def = "ssh", .help = "h"}, {0}};
	static const struct opt_command command = {
		.name = "c", .summary = "s", .operands = "", .options = options};
	struct line l;
	assert_int_equal(parse_line(&l, &command, ""), -1);
	assert_non_null(strstr(l.e.msg, "default of --port: \"ssh\" is not a number"));
}

static void help_is_asked_for(void **state)
{
	(void)state;
	static const char *const lines[] = {"--help", "-h", "-nh", "a b c d --help --unknown",
					    "--help=x"};
	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
		struct line l;
		accept_line(&l, &push, lines[i]);
		assert_true(l.result.help);
	}
	struct line l;
	accept_line(&l, &push, "dir -- --help");
	assert_false(l.result.help);
}

static void commands_are_found(void **state)
{
	(void)state;
	struct err e = {0};
	assert_ptr_equal(opt_find(commands, "push", &e), &push);
	assert_ptr_equal(opt_find(commands, "serve", &e), &serve);
	assert_null(opt_find(commands, "psuh", &e));
	assert_int_equal(e.code, ERR_USAGE);
	assert_string_equal(e.msg, "unknown command \"psuh\"; did you mean \"push\"?");
	assert_null(opt_find(commands, "zzz\n", &e));
	assert_string_equal(e.msg, "unknown command \"zzz\\n\"; see --help");
	assert_null(opt_find(commands, "", &e));
}

/* What one of the printers writes, to be freed. */
static char *printed(void (*print)(FILE *out))
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	assert_non_null(f);
	print(f);
	fclose(f);
	return text;
}

static void print_push_help(FILE *f)
{
	opt_help("scribe-mover", &push, f);
}

static void print_commands(FILE *f)
{
	opt_help_commands("scribe-mover", "Replicates directory trees.", commands, f);
}

static void print_man(FILE *f)
{
	opt_man("scribe-mover", &push, f);
}

static void print_bash(FILE *f)
{
	opt_bash("scribe-mover", commands, f);
}

static void assert_columns(const char *text)
{
	for (const char *p = text; *p; p++) {
		size_t n = strcspn(p, "\n");
		if (n > 80)
			fail_msg("%zu columns: %.*s", n, (int)n, p);
		assert_true(n == 0 || p[n - 1] != ' ');
		p += n;
	}
}

static void help_text(void **state)
{
	(void)state;
	char *text = printed(print_push_help);
	assert_columns(text);
	assert_memory_equal(text,
			    "Usage: scribe-mover push [options] SOURCE_DIR [USER@]HOST[:PATH]\n\n",
			    66);
	static const char *const lines[] = {
		"\nConnection:\n  -p, --port=N                its port (default: 22)\n",
		"\n                              its own thread (default: 1)\n",
		"\nOptions:\n  -n, --dry-run               change nothing\n",
		"\n      --[no-]acls             replicate access control lists (default: on)\n",
		"\n      --wait-for-destination=DURATION\n                              how ",
		"\n      --in-place=auto|never|always\n",
		"\n  -t, --tag=WORD              a word for the report (may be repeated)\n",
		"\nFilters:\n      --include=PATTERN       take these\n",
		"\n  -h, --help                  print this help\n",
		"\nThe destination is created if it is missing.\n",
		"\nExamples:\n  scribe-mover push --identity key ",
	};
	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
		if (!strstr(text, lines[i]))
			fail_msg("no \"%s\" in:\n%s", lines[i], text);
	assert_null(strstr(text, "secret"));
	free(text);
	text = printed(print_commands);
	assert_columns(text);
	assert_non_null(strstr(text, "\nCommands:\n  push   replicate a directory to another host\n"
				     "  serve  wait for connections\n"));
	free(text);
}

static void man_section(void **state)
{
	(void)state;
	char *text = printed(print_man);
	static const char *const parts[] = {
		".SS scribe\\-mover push [options] SOURCE_DIR [USER@]HOST[:PATH]\n",
		".TP\n\\fB\\-p\\fR, \\fB\\-\\-port\\fR=\\fIN\\fR\nits port (default: 22).\n",
		".TP\n\\fB\\-\\-\\fR[\\fBno\\-\\fR]\\fBacls\\fR\n",
		"\n.nf\nscribe\\-mover push \\-\\-identity key ",
		".PP\n\\fIFilters\\fR\n",
	};
	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
		if (!strstr(text, parts[i]))
			fail_msg("no \"%s\" in:\n%s", parts[i], text);
	assert_null(strstr(text, "secret"));
	/* Nothing but requests that are meant may start with a control character. */
	for (const char *p = text; *p; p = strchr(p, '\n') + 1)
		assert_true(*p != '\'' && (*p != '.' || strchr("STPnf", p[1])));
	free(text);
}

/* Asks bash itself: words separated by blanks, the last one is being typed. */
static void complete(const char *words, char *out, size_t cap)
{
	static const char ask[] =
		"set -e; . /dev/fd/3; IFS=' ' read -ra COMP_WORDS <<< \"$1\"; "
		"[[ $1 = *' ' ]] && COMP_WORDS+=(''); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); "
		"_scribe_mover; echo \"${COMPREPLY[*]-}\"";
	FILE *script = tmpfile();
	int fds[2];
	assert_non_null(script);
	print_bash(script);
	assert_int_equal(fflush(script), 0);
	rewind(script);
	assert_int_equal(pipe(fds), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(fds[1], 1);
		dup2(fileno(script), 3);
		execl("/bin/bash", "bash", "-c", ask, "bash", words, (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	FILE *answer = fdopen(fds[0], "r");
	assert_non_null(answer);
	size_t n = fread(out, 1, cap - 1, answer);
	out[n] = '\0';
	fclose(answer);
	fclose(script);
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void bash_completes(void **state)
{
	(void)state;
	static const char *const rows[][2] = {
		{"scribe-mover ", "push serve --help --version\n"},
		{"scribe-mover pu", "push\n"},
		{"scribe-mover push --no", "--no-acls\n"},
		{"scribe-mover push --in-place ", "auto never always\n"},
		{"scribe-mover push --in-place a", "auto always\n"},
		{"scribe-mover push --in-place =", "auto never always\n"},
		{"scribe-mover push --in-place = ne", "never\n"},
		{"scribe-mover push --identity ", "\n"},
		{"scribe-mover push --identity --p", "\n"},
		{"scribe-mover push ", "\n"},
		{"scribe-mover push --se", "\n"},
		{"scribe-mover serve --r", "--root\n"},
		{"scribe-mover nothing --r", "\n"},
	};
	if (access("/bin/bash", X_OK) != 0)
		skip();
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char out[400];
		complete(rows[i][0], out, sizeof out);
		if (strcmp(out, rows[i][1]) != 0)
			fail_msg("\"%s\" gives \"%s\"", rows[i][0], out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_written),
		cmocka_unit_test(values_of_every_kind),
		cmocka_unit_test(short_options),
		cmocka_unit_test(double_dash_ends_options),
		cmocka_unit_test(last_scalar_wins_and_lists_gather),
		cmocka_unit_test(callbacks_see_the_order_of_the_line),
		cmocka_unit_test(mistakes),
		cmocka_unit_test(a_wrong_default_in_a_table_is_found),
		cmocka_unit_test(help_is_asked_for),
		cmocka_unit_test(commands_are_found),
		cmocka_unit_test(help_text),
		cmocka_unit_test(man_section),
		cmocka_unit_test(bash_completes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
