/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Include and exclude rules with the meaning rsync gives to --include, --exclude and
 * --exclude-from. No I/O; source and destination both hold the same rules and evaluate them here.
 *
 * A filter is an ordered list of rules. The first rule whose pattern matches an entry decides; an
 * entry that none matches is included. Patterns:
 *   - `*` any bytes but '/', `**` any bytes, `?` one byte but '/', `[...]` one byte but '/'
 * (ranges,
 *     `!` or `^` negates, [:alpha:] and the like in ASCII whatever the locale). `\` quotes the next
 *     byte if the pattern has any of `*?[`; else it is a byte as any other. A malformed bracket
 *     expression and a `\` at the end match nothing.
 *   - With a '/' in front the pattern must cover the whole path; else, if it holds a '/' or `**`,
 *     whole components at the end of the path; else the last component.
 *   - With a '/' at the end it matches directories only. `dir/` + `***` matches dir and all in it.
 *
 * Walks. Each entry is asked for by its path and its own type (a symbolic link is no directory),
 * after its parents: a directory that is excluded hides all below it, which is then not asked for.
 * The root itself is never asked for.
 *
 * Destination. Below a directory that both sides keep, an entry of the destination whose name the
 * source keeps there (of whatever type) is compared and updated; its own name is not asked for.
 * Every other entry is asked for with the type it has at the destination. Excluded ones are
 * protected, with all below them: not digested, compared or deleted. The others are extraneous,
 * and with deletion on they are purged:
 *   - a non-directory is deleted;
 *   - in a directory the protected entries stay and the others are purged; then the directory is
 *     deleted if nothing remains in it, else it stays ("protected", no failure);
 *   - a directory in the way of a non-directory of the source is purged so, too. If it must stay,
 *     the source's entry can't land and is a failure.
 *
 * A filter may be matched by several threads at once while none changes it.
 */
#ifndef SCRIBE_FILTER_H
#define SCRIBE_FILTER_H

#include <stdbool.h>
#include <stddef.h>

#include "pattern.h"

struct buf;
struct err;

enum {
	FILTER_RULES_MAX = 4096,
	FILTER_PATTERN_MAX = PATTERN_MAX,
	FILTER_BYTES_MAX = 256 << 10, /* of all patterns together */
	FILTER_FILE_MAX = 1 << 20,    /* bytes of one file of rules */
	FILTER_WIRE_MAX = 3 + FILTER_RULES_MAX * 3 + FILTER_BYTES_MAX,
};

enum filter_action { FILTER_INCLUDE, FILTER_EXCLUDE };

struct filter_rule;

struct filter {
	struct filter_rule *rules; /* owned */
	size_t count;
	size_t room;
	size_t bytes;
};

/* Makes a filter without rules, which includes everything; allocates nothing. Even the most hostile
 * rules make it take less than 10 MiB. */
void filter_init(struct filter *f);
/* Frees the rules; the filter is then as after filter_init(). */
void filter_release(struct filter *f);

/*
 * Appends the rule that rsync makes of `--include=arg` or `--exclude=arg`: `- PATTERN` and
 * `+ PATTERN` override the action, `!` alone drops all rules so far, "" does nothing.
 * 0, or -1 with ERR_USAGE and the filter unchanged: a prefix without pattern, or a maximum exceeded
 * (where rsync would warn and go on without the rule, so that more is copied or deleted than
 * meant).
 */
int filter_add(struct filter *f, enum filter_action action, const char *arg, struct err *e);

/*
 * The same for each line of the content of a file (--include-from, --exclude-from). Lines end with
 * LF or CR and are read up to their first NUL; empty ones and those that begin with `;` or `#` are
 * skipped; blanks belong to the pattern. 0, or -1 with ERR_USAGE naming the line; the rules of the
 * lines before it stay.
 */
int filter_add_file(struct filter *f, enum filter_action action, const void *text, size_t n,
		    struct err *e);

/*
 * What the rules say of one entry, provided that its parent directories are included: its path of
 * n bytes relative to the root, without '/' at either end. Takes at most in the order of
 * n * (f->bytes + f->count) steps, however hostile the patterns, and 20 KiB of stack.
 */
enum filter_action filter_match(const struct filter *f, const char *path, size_t n, bool is_dir);

/*
 * Appends the rules in their wire form: u8 version (1), u16 count, then per rule u8 flags (bit 0:
 * exclude; others 0), u16 length, pattern; little endian. Equal rules have equal bytes.
 * At most FILTER_WIRE_MAX bytes. 0, or -1 if they do not fit into out.
 */
int filter_encode(const struct filter *f, struct buf *out);

/*
 * Replaces the rules of f by those in exactly n bytes of wire form, which may be hostile.
 * 0, or -1 with ERR_PROTOCOL and a filter without rules, which a caller must not go on with.
 */
int filter_decode(struct filter *f, const void *p, size_t n, struct err *e);

#endif
