/* SPDX-License-Identifier: Apache-2.0 */
/* What is printed from the tables of opt.h: help, man page, completion. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "opt.h"

enum { COLUMNS = 80, HELP_COLUMN = 30, TEXT_MAX = 4096 };

static const char *group_of(const struct opt *o)
{
	return o->group ? o->group : "Options";
}

static bool shown(const struct opt *o)
{
	return !(o->flags & OPT_HIDDEN);
}

/* Walks the options of one group, or all of them (group NULL); o NULL starts. */
static const struct opt *next_shown(const struct opt_command *c, const char *group,
				    const struct opt *o)
{
	for (o = o ? o + 1 : c->options; o && o->name; o++)
		if (shown(o) && (!group || strcmp(group_of(o), group) == 0))
			return o;
	return NULL;
}

/* Whether o is the first shown option of its group: there its heading goes. */
static bool opens_group(const struct opt_command *c, const struct opt *o)
{
	return next_shown(c, group_of(o), NULL) == o;
}

static void put_enum(struct buf *b, const struct opt *o, const char *between)
{
	for (int i = 0; o->names[i]; i++)
		buf_printf(b, "%s%s", i ? between : "", o->names[i]);
}

/* Appends the name of the option's argument, nothing if it takes none. */
static void put_arg(struct buf *b, const struct opt *o)
{
	static const char *const by_kind[] = {
		[OPT_STRING] = "TEXT",       [OPT_U64] = "N",
		[OPT_SIZE] = "SIZE",         [OPT_RATE] = "RATE",
		[OPT_DURATION] = "DURATION", [OPT_PORT] = "N",
		[OPT_PERCENT] = "PERCENT",   [OPT_TIME] = "TIME",
		[OPT_LIST] = "TEXT",         [OPT_CALL] = "VALUE",
	};
	if (o->kind == OPT_FLAG || o->kind == OPT_BOOL || o->kind == OPT_COUNT ||
	    (o->flags & OPT_NO_ARG))
		return;
	if (o->arg)
		buf_puts(b, o->arg);
	else if (o->kind == OPT_ENUM)
		put_enum(b, o, "|");
	else
		buf_puts(b, by_kind[o->kind]);
}

static void put_about(struct buf *b, const struct opt *o)
{
	buf_puts(b, o->help);
	if (o->flags & OPT_REQUIRED)
		buf_puts(b, " (required)");
	else if (o->def)
		buf_printf(b, " (default: %s)", o->def);
	if (o->kind == OPT_LIST)
		buf_puts(b, " (may be repeated)");
}

/* Prints words from column `at` on, breaking before COLUMNS and indenting what follows. */
static void wrap(FILE *out, const char *text, int indent, int at)
{
	bool first = true;
	while (*text) {
		int n = (int)strcspn(text, " ");
		if (!first && at + 1 + n > COLUMNS) {
			fprintf(out, "\n%*s", indent, "");
			at = indent;
			first = true;
		}
		at += fprintf(out, "%s%.*s", first ? "" : " ", n, text);
		first = false;
		text += n;
		text += strspn(text, " ");
	}
	fputc('\n', out);
}

static void wrap_paragraphs(FILE *out, const char *text)
{
	CLEANUP_BUF struct buf b;
	buf_init(&b, TEXT_MAX);
	while (*text) {
		size_t n = strcspn(text, "\n");
		buf_clear(&b);
		buf_put(&b, text, n);
		fputc('\n', out);
		wrap(out, buf_str(&b), 0, 0);
		text += n;
		text += strspn(text, "\n");
	}
}

static void help_option(const struct opt *o, FILE *out)
{
	CLEANUP_BUF struct buf b;
	buf_init(&b, TEXT_MAX);
	if (o->short_name)
		buf_printf(&b, "  -%c, ", o->short_name);
	else
		buf_puts(&b, "      ");
	buf_printf(&b, "--%s%s", o->kind == OPT_BOOL ? "[no-]" : "", o->name);
	size_t name_end = b.len;
	buf_puts(&b, "=");
	put_arg(&b, o);
	if (b.len == name_end + 1)
		b.len = name_end;
	int at = (int)b.len;
	fputs(buf_str(&b), out);
	if (at + 2 > HELP_COLUMN)
		fprintf(out, "\n%*s", HELP_COLUMN, "");
	else
		fprintf(out, "%*s", HELP_COLUMN - at, "");
	buf_clear(&b);
	put_about(&b, o);
	wrap(out, buf_str(&b), HELP_COLUMN, HELP_COLUMN);
}

/* "  --help" stands behind the last group of every command. */
static void help_groups(const struct opt_command *c, FILE *out)
{
	for (const struct opt *o = next_shown(c, NULL, NULL); o; o = next_shown(c, NULL, o)) {
		if (!opens_group(c, o))
			continue;
		fprintf(out, "\n%s:\n", group_of(o));
		for (const struct opt *m = o; m; m = next_shown(c, group_of(o), m))
			help_option(m, out);
	}
	static const struct opt help = {
		.name = "help", .short_name = 'h', .kind = OPT_FLAG, .help = "print this help"};
	fputc('\n', out);
	help_option(&help, out);
}

void opt_help(const char *program, const struct opt_command *c, FILE *out)
{
	CLEANUP_BUF struct buf b;
	buf_init(&b, TEXT_MAX);
	buf_printf(&b, "%s %s [options] %s", program, c->name, c->operands);
	fputs("Usage: ", out);
	wrap(out, buf_str(&b), 11, 7);
	buf_clear(&b);
	buf_printf(&b, "%c%s.", toupper((unsigned char)c->summary[0]), c->summary + 1);
	fputc('\n', out);
	wrap(out, buf_str(&b), 0, 0);
	if (c->details)
		wrap_paragraphs(out, c->details);
	help_groups(c, out);
	if (!c->examples)
		return;
	fputs("\nExamples:\n", out);
	for (const char *const *e = c->examples; *e; e++) {
		fputs("  ", out);
		wrap(out, *e, 6, 2);
	}
}

void opt_help_commands(const char *program, const char *summary,
		       const struct opt_command *const *table, FILE *out)
{
	int width = 0;
	for (const struct opt_command *const *c = table; *c; c++)
		if ((int)strlen((*c)->name) > width)
			width = (int)strlen((*c)->name);
	fprintf(out, "Usage: %s COMMAND [options] ...\n\n", program);
	wrap(out, summary, 0, 0);
	fputs("\nCommands:\n", out);
	for (const struct opt_command *const *c = table; *c; c++) {
		fprintf(out, "  %-*s  ", width, (*c)->name);
		wrap(out, (*c)->summary, width + 4, width + 4);
	}
	fprintf(out, "\n%s COMMAND --help tells more about a command.\n", program);
}

/* Text in which roff sees neither a request nor an escape, and in which "-" stays a minus sign. */
static void roff(FILE *out, const char *text)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", out);
	for (; *text; text++) {
		if (*text == '\\')
			fputs("\\e", out);
		else if (*text == '-')
			fputs("\\-", out);
		else if (*text == '\n')
			fputs("\n.PP\n", out);
		else
			fputc(*text, out);
	}
}

static void man_option(const struct opt *o, FILE *out)
{
	CLEANUP_BUF struct buf b;
	buf_init(&b, TEXT_MAX);
	fputs(".TP\n", out);
	if (o->short_name)
		fprintf(out, "\\fB\\-%c\\fR, ", o->short_name);
	fputs("\\fB\\-\\-", out);
	if (o->kind == OPT_BOOL)
		fputs("\\fR[\\fBno\\-\\fR]\\fB", out);
	roff(out, o->name);
	fputs("\\fR", out);
	put_arg(&b, o);
	if (b.len) {
		fputs("=\\fI", out);
		roff(out, buf_str(&b));
		fputs("\\fR", out);
	}
	fputc('\n', out);
	buf_clear(&b);
	put_about(&b, o);
	roff(out, buf_str(&b));
	fputs(".\n", out);
}

void opt_man(const char *program, const struct opt_command *c, FILE *out)
{
	fputs(".SS ", out);
	roff(out, program);
	fputc(' ', out);
	roff(out, c->name);
	if (next_shown(c, NULL, NULL))
		fputs(" [options]", out);
	fputc(' ', out);
	roff(out, c->operands);
	fputc('\n', out);
	fputc(toupper((unsigned char)c->summary[0]), out);
	roff(out, c->summary + 1);
	fputs(".\n", out);
	if (c->details) {
		fputs(".PP\n", out);
		roff(out, c->details);
		fputc('\n', out);
	}
	for (const struct opt *o = next_shown(c, NULL, NULL); o; o = next_shown(c, NULL, o)) {
		if (!opens_group(c, o))
			continue;
		fputs(".PP\n\\fI", out);
		roff(out, group_of(o));
		fputs("\\fR\n", out);
		for (const struct opt *m = o; m; m = next_shown(c, group_of(o), m))
			man_option(m, out);
	}
	if (!c->examples)
		return;
	fputs(".PP\n\\fIExamples\\fR\n.PP\n.nf\n", out);
	for (const char *const *e = c->examples; *e; e++) {
		roff(out, *e);
		fputc('\n', out);
	}
	fputs(".fi\n", out);
}

static void bash_values(const struct opt_command *c, FILE *out)
{
	CLEANUP_BUF struct buf b;
	buf_init(&b, TEXT_MAX);
	for (const struct opt *o = next_shown(c, NULL, NULL); o; o = next_shown(c, NULL, o)) {
		buf_clear(&b);
		put_arg(&b, o);
		if (!b.len)
			continue;
		fprintf(out, "\t\t--%s", o->name);
		if (o->short_name)
			fprintf(out, "|-%c", o->short_name);
		buf_clear(&b);
		if (o->kind == OPT_ENUM)
			put_enum(&b, o, " ");
		fprintf(out, ") words='%s' value=1 ;;\n", b.len ? buf_str(&b) : "");
	}
}

static void bash_command(const struct opt_command *c, FILE *out)
{
	fprintf(out, "\t%s)\n\t\toptions='--help", c->name);
	for (const struct opt *o = next_shown(c, NULL, NULL); o; o = next_shown(c, NULL, o)) {
		fprintf(out, " --%s", o->name);
		if (o->kind == OPT_BOOL)
			fprintf(out, " --no-%s", o->name);
	}
	fputs("'\n\t\tcase $prev in\n", out);
	bash_values(c, out);
	fputs("\t\t*) ;;\n\t\tesac ;;\n", out);
}

void opt_bash(const char *program, const struct opt_command *const *table, FILE *out)
{
	CLEANUP_BUF struct buf b;
	buf_init(&b, TEXT_MAX);
	for (const char *p = program; *p; p++)
		buf_put_u8(&b, isalnum((unsigned char)*p) ? (uint8_t)*p : '_');
	const char *function = buf_str(&b);
	fprintf(out, "# shellcheck shell=bash\n# Completion of %s for bash.\n_%s()\n{\n", program,
		function);
	/* bash makes "=" a word of its own. */
	fputs("\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
	      "\tlocal options='' words='' value=''\n"
	      "\tCOMPREPLY=()\n"
	      "\tif [ \"$cur\" = = ]; then\n\t\tcur=\n"
	      "\telif [ \"$prev\" = = ]; then\n\t\tprev=${COMP_WORDS[COMP_CWORD-2]}\n\tfi\n"
	      "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n\t\tmapfile -t COMPREPLY < <(compgen -W '",
	      out);
	for (const struct opt_command *const *c = table; *c; c++)
		fprintf(out, "%s ", (*c)->name);
	fputs("--help --version' -- \"$cur\")\n\t\treturn\n\tfi\n\tcase ${COMP_WORDS[1]} in\n",
	      out);
	for (const struct opt_command *const *c = table; *c; c++)
		bash_command(*c, out);
	fputs("\t*) return ;;\n\tesac\n"
	      "\tif [ -z \"$value\" ] && [ \"${cur:0:1}\" = - ]; then\n\t\twords=$options\n\tfi\n"
	      "\tif [ -n \"$words\" ]; then\n"
	      "\t\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n\tfi\n}\n",
	      out);
	fprintf(out, "complete -o default -F _%s %s\n", function, program);
}
