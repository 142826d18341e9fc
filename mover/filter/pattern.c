/* SPDX-License-Identifier: Apache-2.0 */
#include "pattern.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

/*
 * An op is a literal byte (0 to 255), one of the two constants, or a kind in the upper bits with a
 * number in the lower ones.
 */
enum {
	OP_ANY = 0x100,       /* '?' */
	OP_DEEP_STAR = 0x200, /* "**" and longer runs */
	OP_SET = 0x4000,      /* a bracket expression: index into sets */
	OP_STAR = 0x8000,     /* '*': its number among the stars */
	OP_NUMBER = 0x3fff,
};

/* The byte range a..z and so on in ASCII only: both ends must agree, so no locale has a say. */
static bool between(unsigned c, unsigned low, unsigned high)
{
	return c >= low && c <= high;
}

static bool is_alnum(unsigned c)
{
	return between(c, '0', '9') || between(c, 'a', 'z') || between(c, 'A', 'Z');
}

static bool is_alpha(unsigned c)
{
	return between(c, 'a', 'z') || between(c, 'A', 'Z');
}

static bool is_blank(unsigned c)
{
	return c == ' ' || c == '\t';
}

static bool is_cntrl(unsigned c)
{
	return c < 0x20 || c == 0x7f;
}

static bool is_digit(unsigned c)
{
	return between(c, '0', '9');
}

static bool is_graph(unsigned c)
{
	return between(c, 0x21, 0x7e);
}

static bool is_lower(unsigned c)
{
	return between(c, 'a', 'z');
}

static bool is_print(unsigned c)
{
	return between(c, 0x20, 0x7e);
}

static bool is_punct(unsigned c)
{
	return is_graph(c) && !is_alnum(c);
}

static bool is_space(unsigned c)
{
	return c == ' ' || between(c, '\t', '\r');
}

static bool is_upper(unsigned c)
{
	return between(c, 'A', 'Z');
}

static bool is_xdigit(unsigned c)
{
	return is_digit(c) || between(c, 'a', 'f') || between(c, 'A', 'F');
}

static const struct {
	const char *name;
	bool (*has)(unsigned c);
} byte_classes[] = {
	{"alnum", is_alnum}, {"alpha", is_alpha}, {"blank", is_blank}, {"cntrl", is_cntrl},
	{"digit", is_digit}, {"graph", is_graph}, {"lower", is_lower}, {"print", is_print},
	{"punct", is_punct}, {"space", is_space}, {"upper", is_upper}, {"xdigit", is_xdigit},
};

static void set_add(uint8_t *set, unsigned c)
{
	set[c / 8] = (uint8_t)(set[c / 8] | 1u << c % 8);
}

static bool set_has(const uint8_t *set, unsigned c)
{
	return set[c / 8] >> c % 8 & 1;
}

/* Adds a [:name:] class; false when there is none of that name. */
static bool set_add_class(uint8_t *set, const uint8_t *name, size_t n)
{
	for (size_t i = 0; i < sizeof byte_classes / sizeof byte_classes[0]; i++) {
		const char *known = byte_classes[i].name;
		if (strlen(known) != n || memcmp(known, name, n) != 0)
			continue;
		for (unsigned c = 0; c < 256; c++)
			if (byte_classes[i].has(c))
				set_add(set, c);
		return true;
	}
	return false;
}

/* The pattern being read: the bytes at `at` and after are still to come. */
struct reader {
	const uint8_t *at;
	const uint8_t *end;
};

/* Takes the next byte, or the one behind it if it is a backslash; -1 at the end. */
static int take_escaped(struct reader *r)
{
	if (r->at < r->end && *r->at == '\\')
		r->at++;
	return r->at < r->end ? *r->at++ : -1;
}

/*
 * Takes one [:class:] that starts at r->at with its "[:". 1 when taken, 0 when it is no class but
 * an ordinary '[', -1 when the pattern is malformed.
 */
static int take_class(struct reader *r, uint8_t *set)
{
	const uint8_t *name = r->at + 2;
	const uint8_t *close = memchr(name, ']', (size_t)(r->end - name));
	if (!close)
		return -1;
	if (close == name || close[-1] != ':')
		return 0;
	r->at = close + 1;
	return set_add_class(set, name, (size_t)(close - 1 - name)) ? 1 : -1;
}

/* Takes one member of a bracket expression: byte, range or class. *low is the byte that a '-' to
 * come would start a range with, 0 for none. 0, or -1 when malformed. */
static int take_member(struct reader *r, uint8_t *set, unsigned *low)
{
	size_t left = (size_t)(r->end - r->at);
	if (*r->at == '-' && *low && left > 1 && r->at[1] != ']') {
		r->at++;
		int high = take_escaped(r);
		if (high < 0)
			return -1;
		for (unsigned c = *low; c <= (unsigned)high; c++)
			set_add(set, c);
		*low = 0;
		return 0;
	}
	if (*r->at == '[' && left > 1 && r->at[1] == ':') {
		int taken = take_class(r, set);
		if (taken) {
			*low = 0;
			return taken < 0 ? -1 : 0;
		}
	}
	int c = take_escaped(r);
	if (c < 0)
		return -1;
	set_add(set, (unsigned)c);
	*low = (unsigned)c;
	return 0;
}

/* Takes a bracket expression whose '[' is already taken. 0, or -1 when it is malformed. */
static int take_set(struct reader *r, uint8_t *set)
{
	bool negated = r->at < r->end && (*r->at == '!' || *r->at == '^');
	if (negated)
		r->at++;
	unsigned low = 0;
	/* A ']' in the first place is a member, not the end. */
	for (bool first = true; first || r->at == r->end || *r->at != ']'; first = false)
		if (r->at == r->end || take_member(r, set, &low) < 0)
			return -1;
	r->at++;
	for (size_t i = 0; i < 32 && negated; i++)
		set[i] = (uint8_t)~set[i];
	set['/' / 8] = (uint8_t)(set['/' / 8] & ~(1u << '/' % 8));
	return 0;
}

/* Takes a run of '*' of which one is already taken. */
static uint16_t take_star(struct reader *r, struct pattern *p)
{
	if (r->at == r->end || *r->at != '*')
		return (uint16_t)(OP_STAR | p->stars++);
	while (r->at < r->end && *r->at == '*')
		r->at++;
	return OP_DEEP_STAR;
}

static void compile_wild(struct pattern *p, struct reader r, size_t brackets)
{
	p->sets = mem_alloc(brackets, sizeof *p->sets);
	size_t sets = 0;
	while (r.at < r.end) {
		int op = *r.at++;
		if (op == '\\') {
			op = r.at < r.end ? *r.at++ : -1;
		} else if (op == '?') {
			op = OP_ANY;
		} else if (op == '*') {
			op = take_star(&r, p);
		} else if (op == '[') {
			op = take_set(&r, p->sets[sets]) < 0 ? -1 : (int)(OP_SET | sets++);
		}
		if (op < 0) {
			p->never = true;
			return;
		}
		p->ops[p->count++] = (uint16_t)op;
	}
}

static size_t count_byte(const char *text, size_t n, char c)
{
	size_t found = 0;
	for (size_t i = 0; i < n; i++)
		found += text[i] == c;
	return found;
}

/* The scope follows from the text alone, even where a bracket or backslash takes the special
 * meaning from a "**" or a slash: so rsync does it. */
static void choose_scope(struct pattern *p, const char *text, size_t n, bool wild)
{
	const char *deep = wild ? memmem(text, n, "**", 2) : NULL;
	size_t slashes = count_byte(text, n, '/');
	bool anchored = text[0] == '/';
	p->slash_before = deep == text;
	p->slash_after = deep && n >= 3 && memcmp(text + n - 3, "***", 3) == 0;
	p->components = slashes + 1;
	if (!slashes && !deep)
		p->scope = PATTERN_NAME;
	else if (anchored || p->slash_before)
		p->scope = PATTERN_PATH;
	else
		p->scope = deep ? PATTERN_SUFFIX : PATTERN_TAIL;
}

void pattern_init(struct pattern *p, const char *text, size_t n)
{
	*p = (struct pattern){0};
	if (n > 1 && text[n - 1] == '/') {
		p->dirs_only = true;
		n--;
	}
	size_t brackets = count_byte(text, n, '[');
	bool wild = brackets || memchr(text, '*', n) || memchr(text, '?', n);
	choose_scope(p, text, n, wild);
	const uint8_t *bytes = (const uint8_t *)text;
	struct reader r = {bytes + (text[0] == '/'), bytes + n};
	p->ops = mem_alloc(n, sizeof *p->ops);
	if (wild) {
		compile_wild(p, r, brackets);
		return;
	}
	/* Without a wildcard a backslash is a byte like any other. */
	while (r.at < r.end)
		p->ops[p->count++] = *r.at++;
}

void pattern_release(struct pattern *p)
{
	free(p->ops);
	free(p->sets);
	*p = (struct pattern){0};
}

/* What the ops run over: the path with the slashes around it that the pattern asks for. */
struct subject {
	const uint8_t *path;
	size_t n;
	size_t before; /* 1 with a slash before the path */
	size_t length; /* with both slashes */
	size_t flat;   /* no slash from here on */
};

static uint8_t subject_at(const struct subject *s, size_t i)
{
	i -= s->before;
	return i < s->n ? s->path[i] : '/';
}

static struct subject subject_of(const struct pattern *p, const char *path, size_t n, bool is_dir)
{
	struct subject s = {.path = (const uint8_t *)path, .n = n};
	const char *slash = memrchr(path, '/', n);
	size_t base = slash ? (size_t)(slash - path) + 1 : 0;
	if (p->scope == PATTERN_NAME) {
		s.path += base;
		s.n -= base;
		base = 0;
	}
	s.before = p->slash_before;
	s.length = s.n + s.before;
	s.flat = base + s.before;
	if (is_dir && p->slash_after)
		s.flat = ++s.length;
	return s;
}

enum outcome {
	UNDECIDED,
	MATCHED,
	MISSED,    /* from this start */
	EXHAUSTED, /* the text ended too early: so it will for every later start */
};

/*
 * One attempt to cover the subject from one start to its end.
 *
 * Only the last star passed needs to be taken back: when what follows it was once found, moving an
 * earlier star can but find it later. A '*' that reached a slash is spent, which leaves the last
 * "**" alone to be moved. The same '*' is then reached at ever later places; up to spent[] it is
 * known to fail, so that all its tries together pass over the text once.
 */
struct attempt {
	const struct pattern *p;
	const struct subject *s;
	size_t op;            /* next to match */
	size_t at;            /* place in the subject */
	size_t star, star_at; /* op behind the last '*', and the text given to it up to here */
	size_t deep, deep_at; /* the same for the last "**"; op 0 = none, for both */
	size_t *spent;
};

/* Passes over the star at a->op, not the pattern's last op; false if that can't succeed. */
static bool pass_star(struct attempt *a)
{
	unsigned op = a->p->ops[a->op++];
	if (op == OP_DEEP_STAR) {
		a->deep = a->op;
		a->deep_at = a->at;
		a->star = 0;
		return true;
	}
	if (a->deep && a->at < a->spent[op & OP_NUMBER]) {
		a->star = 0;
		return false;
	}
	a->star = a->op;
	a->star_at = a->at;
	return true;
}

/* Gives one more byte to the last star that may have it and goes on behind it. */
static enum outcome take_back(struct attempt *a)
{
	if (a->star && subject_at(a->s, a->star_at) == '/') {
		a->spent[a->p->ops[a->star - 1] & OP_NUMBER] = a->star_at + 1;
		a->star = 0;
		if (!a->deep)
			return MISSED;
	}
	if (a->star) {
		a->op = a->star;
		a->at = ++a->star_at;
	} else if (a->deep) {
		a->op = a->deep;
		a->at = ++a->deep_at;
	} else {
		return MISSED;
	}
	return a->at < a->s->length ? UNDECIDED : EXHAUSTED;
}

static bool op_takes(const struct pattern *p, unsigned op, uint8_t c)
{
	if (op < OP_ANY)
		return op == c;
	if (op == OP_ANY)
		return c != '/';
	return set_has(p->sets[op & OP_NUMBER], c);
}

static bool op_is_star(unsigned op)
{
	return op == OP_DEEP_STAR || op & OP_STAR;
}

/* Whether all is matched but for a star at the pattern's end, if there is one. */
static bool only_rest_left(const struct attempt *a)
{
	size_t left = a->p->count - a->op;
	return left == 0 || (left == 1 && op_is_star(a->p->ops[a->op]));
}

static bool rest_fits(const struct attempt *a)
{
	if (a->op == a->p->count)
		return a->at == a->s->length;
	return a->p->ops[a->op] == OP_DEEP_STAR || a->at >= a->s->flat;
}

static bool advance(struct attempt *a)
{
	unsigned op = a->p->ops[a->op];
	if (op_is_star(op))
		return pass_star(a);
	if (!op_takes(a->p, op, subject_at(a->s, a->at)))
		return false;
	a->op++;
	a->at++;
	return true;
}

static enum outcome attempt_run(struct attempt *a)
{
	for (;;) {
		bool last = only_rest_left(a);
		if (last && rest_fits(a))
			return MATCHED;
		if (!last && a->at == a->s->length)
			return EXHAUSTED;
		if (!last && advance(a))
			continue;
		enum outcome o = take_back(a);
		if (o != UNDECIDED)
			return o;
	}
}

/* Where the last n components of the subject begin; false if it has fewer. */
static bool tail_start(const struct subject *s, size_t n, size_t *start)
{
	size_t at = s->n;
	while (at > 0) {
		if (s->path[at - 1] == '/' && --n == 0)
			break;
		at--;
	}
	*start = at;
	return at > 0 || n == 1;
}

bool pattern_match(const struct pattern *p, const char *path, size_t n, bool is_dir)
{
	if (p->never || n == 0 || (p->dirs_only && !is_dir))
		return false;
	struct subject s = subject_of(p, path, n, is_dir);
	size_t start = 0;
	if (p->scope == PATTERN_TAIL && !tail_start(&s, p->components, &start))
		return false;
	size_t spent[PATTERN_STARS_MAX];
	memset(spent, 0, p->stars * sizeof spent[0]);
	for (;;) {
		struct attempt a = {.p = p, .s = &s, .at = start, .spent = spent};
		enum outcome o = attempt_run(&a);
		if (o != MISSED || p->scope != PATTERN_SUFFIX)
			return o == MATCHED;
		while (start < s.length && subject_at(&s, start) != '/')
			start++;
		if (start++ == s.length)
			return false;
	}
}
