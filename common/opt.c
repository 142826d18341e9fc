/* SPDX-License-Identifier: Apache-2.0 */
#include "opt.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mem.h"
#include "parse.h"
#include "text.h"

enum { NAME_MAX_LEN = 48 };

/* One command line being parsed. */
struct parser {
	const struct opt_command *command;
	char *target;
	struct opt_result *result;
	char **argv;
	int argc;
	int at; /* index of the argument that is looked at */
};

/* The value of an option as it stands on the command line. */
struct given {
	const struct opt *o;
	const char *shown; /* "--port" or "-p", for messages */
	const char *value; /* NULL: none in the same argument */
	bool negated;
};

static bool takes_value(const struct opt *o)
{
	if (o->kind == OPT_CALL)
		return !(o->flags & OPT_NO_ARG);
	return o->kind != OPT_FLAG && o->kind != OPT_BOOL && o->kind != OPT_COUNT;
}

static const struct opt *next_opt(const struct opt_command *c, const struct opt *o)
{
	o = o ? o + 1 : c->options;
	return o && o->name ? o : NULL;
}

static const struct opt *find_long(const struct opt_command *c, const char *name, size_t n)
{
	for (const struct opt *o = next_opt(c, NULL); o; o = next_opt(c, o))
		if (strlen(o->name) == n && memcmp(o->name, name, n) == 0)
			return o;
	return NULL;
}

static const struct opt *find_short(const struct opt_command *c, char name)
{
	for (const struct opt *o = next_opt(c, NULL); o; o = next_opt(c, o))
		if (o->short_name == name)
			return o;
	return NULL;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;
	return m < c ? m : c;
}

/* Number of letters to insert, remove, replace or swap with their neighbour to turn a into b. */
static unsigned edit_distance(const char *a, size_t n, const char *b)
{
	unsigned row[3][NAME_MAX_LEN + 1];
	size_t m = strlen(b);
	if (n > NAME_MAX_LEN || m > NAME_MAX_LEN)
		return NAME_MAX_LEN;
	for (unsigned j = 0; j <= m; j++)
		row[0][j] = j;
	for (unsigned i = 1; i <= n; i++) {
		unsigned *now = row[i % 3];
		const unsigned *last = row[(i + 2) % 3];
		const unsigned *before = row[(i + 1) % 3];
		now[0] = i;
		for (size_t j = 1; j <= m; j++) {
			unsigned other = a[i - 1] != b[j - 1];
			now[j] = min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + other);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				now[j] = min3(now[j], before[j - 2] + 1, now[j]);
		}
	}
	return row[n % 3][m];
}

/* Keeps in *best the candidate nearest to a name, if it is near enough to be meant. */
static void suggest(const char *name, size_t n, const char *candidate, const char **best,
		    unsigned *distance)
{
	unsigned d = edit_distance(name, n, candidate);
	/* An abbreviation is far by letters but surely meant. */
	if (n >= 3 && strncmp(name, candidate, n) == 0)
		d = 1;
	if (d < *distance && d <= (n < 6 ? 1 : n / 3)) {
		*best = candidate;
		*distance = d;
	}
}

static int unknown_long(const struct opt_command *c, const char *name, size_t n, struct err *e)
{
	char text[64];
	const char *best = NULL;
	const char *dashes = "--";
	unsigned distance = NAME_MAX_LEN;
	bool no = n > 3 && strncmp(name, "no-", 3) == 0;
	text_escape(text, sizeof text, name, n);
	for (const struct opt *o = next_opt(c, NULL); o; o = next_opt(c, o)) {
		const char *before = best;
		if (o->flags & OPT_HIDDEN)
			continue;
		suggest(name, n, o->name, &best, &distance);
		if (best != before)
			dashes = "--";
		before = best;
		if (no && o->kind == OPT_BOOL)
			suggest(name + 3, n - 3, o->name, &best, &distance);
		if (best != before)
			dashes = "--no-";
	}
	if (best)
		return err_set(e, ERR_USAGE, "unknown option --%s; did you mean %s%s?", text,
			       dashes, best);
	return err_set(e, ERR_USAGE, "unknown option --%s; see %s --help", text, c->name);
}

static void mark(struct opt_result *r, const struct opt *o, bool on)
{
	size_t i = (size_t)(o - r->command->options);
	if (i >= OPT_MAX)
		abort();
	if (on)
		r->seen[i / 64] |= UINT64_C(1) << (i % 64);
	else
		r->seen[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

static bool marked(const struct opt_result *r, const struct opt *o)
{
	size_t i = (size_t)(o - r->command->options);
	return (r->seen[i / 64] >> (i % 64)) & 1;
}

static int set_enum(const struct opt *o, const char *shown, const char *value, int *out,
		    struct err *e)
{
	char text[64];
	char words[200] = "";
	size_t at = 0;
	for (int i = 0; o->names[i]; i++) {
		if (strcmp(o->names[i], value) == 0) {
			*out = i;
			return 0;
		}
		int n = snprintf(words + at, sizeof words - at, "%s%s", i ? ", " : "", o->names[i]);
		if (n > 0 && (size_t)n < sizeof words - at)
			at += (size_t)n;
	}
	text_escape(text, sizeof text, value, strlen(value));
	return err_set(e, ERR_USAGE, "%s: \"%s\" is unknown; wanted one of: %s", shown, text,
		       words);
}

static void append_value(struct opt_list *l, const char *value)
{
	l->values = mem_realloc(l->values, l->n + 1, sizeof *l->values);
	l->values[l->n++] = value;
}

void opt_list_release(struct opt_list *l)
{
	free(l->values);
	*l = (struct opt_list){0};
}

static int set_bool(const char *shown, const char *value, bool *out, struct err *e)
{
	bool on = strcmp(value, "on") == 0;
	if (!on && strcmp(value, "off") != 0)
		return err_set(e, ERR_USAGE, "%s: wanted on or off", shown);
	*out = on;
	return 0;
}

static int call_back(const struct opt *o, const char *shown, const char *value, void *target,
		     struct err *e)
{
	if (o->call(o, target, value, e) == 0)
		return 0;
	return err_wrap(e, "%s", shown);
}

/* Stores the text of a value; for OPT_BOOL "on" or "off". */
static int store(const struct opt *o, const char *shown, const char *value, char *target,
		 struct err *e)
{
	void *out = target + o->offset;
	switch (o->kind) {
	case OPT_FLAG:
	case OPT_BOOL:
		return set_bool(shown, value, out, e);
	case OPT_COUNT:
		++*(unsigned *)out;
		return 0;
	case OPT_STRING:
		*(const char **)out = value;
		return 0;
	case OPT_U64:
		return parse_u64(shown, value, o->min, o->max ? o->max : UINT64_MAX, out, e);
	case OPT_SIZE:
		return parse_size(shown, value, out, e);
	case OPT_RATE:
		return parse_rate(shown, value, out, e);
	case OPT_DURATION:
		return parse_duration(shown, value, out, e);
	case OPT_PORT:
		return parse_port(shown, value, o->flags & OPT_ZERO_OK, out, e);
	case OPT_PERCENT:
		return parse_percent(shown, value, out, e);
	case OPT_TIME:
		return parse_time(shown, value, out, e);
	case OPT_ENUM:
		return set_enum(o, shown, value, out, e);
	case OPT_LIST:
		append_value(out, value);
		return 0;
	case OPT_CALL:
		return call_back(o, shown, value, out, e);
	}
	abort();
}

/* Defaults go the way of every other value, so a table with a wrong one fails its first test. */
static int store_defaults(const struct opt_command *c, char *target, struct err *e)
{
	for (const struct opt *o = next_opt(c, NULL); o; o = next_opt(c, o)) {
		char shown[NAME_MAX_LEN + 16];
		if (!o->def || (o->flags & OPT_DEF_TEXT) || o->kind == OPT_COUNT)
			continue;
		snprintf(shown, sizeof shown, "default of --%s", o->name);
		if (store(o, shown, o->def, target, e) < 0)
			return -1;
	}
	return 0;
}

/* Stores an option that was found, with its value from the next argument if it has none yet. */
static int accept(struct parser *p, struct given *g, struct err *e)
{
	const char *value = g->value;
	if (takes_value(g->o) && !value) {
		if (p->at + 1 >= p->argc)
			return err_set(e, ERR_USAGE, "%s needs a value", g->shown);
		value = p->argv[++p->at];
	}
	if (!takes_value(g->o) && g->value)
		return err_set(e, ERR_USAGE, "%s takes no value", g->shown);
	if (g->o->kind == OPT_FLAG || g->o->kind == OPT_BOOL)
		value = g->negated ? "off" : "on";
	mark(p->result, g->o, !g->negated);
	return store(g->o, g->shown, value, p->target, e);
}

static int parse_long(struct parser *p, const char *arg, struct err *e)
{
	const char *name = arg + 2;
	const char *equals = strchr(name, '=');
	size_t n = equals ? (size_t)(equals - name) : strlen(name);
	char shown[NAME_MAX_LEN + 8];
	struct given g = {.value = equals ? equals + 1 : NULL, .shown = shown};
	g.o = find_long(p->command, name, n);
	if (!g.o && n > 3 && strncmp(name, "no-", 3) == 0) {
		g.o = find_long(p->command, name + 3, n - 3);
		g.negated = true;
		if (g.o && g.o->kind != OPT_BOOL)
			g.o = NULL;
	}
	if (!g.o && n == 4 && memcmp(name, "help", 4) == 0) {
		p->result->help = true;
		return 0;
	}
	if (!g.o)
		return unknown_long(p->command, name, n, e);
	snprintf(shown, sizeof shown, "--%s%s", g.negated ? "no-" : "", g.o->name);
	return accept(p, &g, e);
}

/* "-abc": flags, and behind the first option that takes a value, that value. */
static int parse_short(struct parser *p, const char *arg, struct err *e)
{
	for (const char *at = arg + 1; *at && !p->result->help; at++) {
		char shown[3] = {'-', *at, '\0'};
		struct given g = {.o = find_short(p->command, *at), .shown = shown};
		if (!g.o && *at == 'h') {
			p->result->help = true;
			return 0;
		}
		if (!g.o) {
			char text[16];
			text_escape(text, sizeof text, at, 1);
			return err_set(e, ERR_USAGE, "unknown option -%s; see %s --help", text,
				       p->command->name);
		}
		bool value = takes_value(g.o);
		if (value && at[1])
			g.value = at + 1;
		if (accept(p, &g, e) < 0)
			return -1;
		if (value)
			break;
	}
	return 0;
}

static int check_rules(const struct opt_command *c, const struct opt_result *r, struct err *e)
{
	for (const struct opt *o = next_opt(c, NULL); o; o = next_opt(c, o))
		if ((o->flags & OPT_REQUIRED) && !marked(r, o))
			return err_set(e, ERR_USAGE, "--%s is missing; see %s --help", o->name,
				       c->name);
	for (const struct opt_rule *rule = c->rules; rule && rule->a; rule++) {
		bool a = opt_given(r, rule->a);
		bool b = opt_given(r, rule->b);
		if (rule->rule == OPT_EXCLUDES && a && b)
			return err_set(e, ERR_USAGE, "--%s and --%s exclude each other", rule->a,
				       rule->b);
		if (rule->rule == OPT_NEEDS && a && !b)
			return err_set(e, ERR_USAGE, "--%s needs --%s too", rule->a, rule->b);
		if (rule->rule == OPT_ONE_OF && !a && !b)
			return err_set(e, ERR_USAGE, "--%s or --%s is missing; see %s --help",
				       rule->a, rule->b, c->name);
	}
	return 0;
}

static int check_operands(const struct opt_command *c, const struct opt_result *r, struct err *e)
{
	if (r->n_operands < c->min_operands)
		return err_set(e, ERR_USAGE, "too few arguments; wanted: %s [options] %s", c->name,
			       c->operands);
	if (r->n_operands <= c->max_operands)
		return 0;
	char text[64];
	const char *extra = r->operands[c->max_operands];
	text_escape(text, sizeof text, extra, strlen(extra));
	return err_set(e, ERR_USAGE, "unexpected argument \"%s\"; wanted: %s [options]%s%s", text,
		       c->name, *c->operands ? " " : "", c->operands);
}

/* Goes through the arguments; operands gather at the front of argv, which is never ahead of `at`.
 */
static int parse_arguments(struct parser *p, struct err *e)
{
	bool only_operands = false;
	for (p->at = 1; p->at < p->argc && !p->result->help; p->at++) {
		char *arg = p->argv[p->at];
		int rc = 0;
		if (only_operands || arg[0] != '-' || !arg[1])
			p->argv[p->result->n_operands++] = arg;
		else if (strcmp(arg, "--") == 0)
			only_operands = true;
		else if (arg[1] == '-')
			rc = parse_long(p, arg, e);
		else
			rc = parse_short(p, arg, e);
		if (rc < 0)
			return -1;
	}
	return 0;
}

int opt_parse(const struct opt_command *c, int argc, char **argv, void *target,
	      struct opt_result *r, struct err *e)
{
	*r = (struct opt_result){.operands = argv, .command = c};
	struct parser p = {c, target, r, argv, argc, 0};
	if (store_defaults(c, target, e) < 0 || parse_arguments(&p, e) < 0)
		return -1;
	if (argc > 0)
		argv[r->n_operands] = NULL;
	if (r->help)
		return 0;
	if (check_rules(c, r, e) < 0)
		return -1;
	return check_operands(c, r, e);
}

bool opt_given(const struct opt_result *r, const char *name)
{
	const struct opt *o = find_long(r->command, name, strlen(name));
	if (!o)
		abort();
	return marked(r, o);
}

const struct opt_command *opt_find(const struct opt_command *const *table, const char *name,
				   struct err *e)
{
	char text[64];
	const char *best = NULL;
	unsigned distance = NAME_MAX_LEN;
	text_escape(text, sizeof text, name, strlen(name));
	for (; *table; table++) {
		if (strcmp((*table)->name, name) == 0)
			return *table;
		suggest(name, strlen(name), (*table)->name, &best, &distance);
	}
	if (best)
		err_set(e, ERR_USAGE, "unknown command \"%s\"; did you mean \"%s\"?", text, best);
	else
		err_set(e, ERR_USAGE, "unknown command \"%s\"; see --help", text);
	return NULL;
}
