/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints what a set of rules means for real trees, for comparison with rsync.
 *
 *	filterlist [-0] [RULE]... DIR                  entries of DIR that are kept
 *	filterlist [-0] [RULE]... --deleted SRC DST    entries of DST that a run with deletion
 *removes filterlist --batch                             many of these, from standard input
 *
 * RULE is --include P, --exclude P, --include-from F or --exclude-from F. Output is sorted by
 *bytes, directories with a '/' behind; lines are escaped, with -0 names are bare and end in NUL.
 *What is replaced by an entry of another type counts as removed.
 *
 * Batch input is cases of NUL-terminated strings: the number of arguments, then the arguments. Each
 * case prints "ok" or an error, its entries and an empty string, all NUL-terminated.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buf.h"
#include "err.h"
#include "filter.h"
#include "mem.h"
#include "text.h"

enum { PATH_BYTES_MAX = 1 << 16, NAMES_MAX = 1 << 20, INPUT_MAX = 64 << 20 };

struct lister {
	struct filter filter;
	struct buf path; /* of the entry being visited, relative to the root */
	char **names;    /* the answer */
	size_t count;
	struct err *e;
};

static void lister_release(struct lister *l)
{
	filter_release(&l->filter);
	buf_release(&l->path);
	for (size_t i = 0; i < l->count; i++)
		free(l->names[i]);
	free(l->names);
}

/* An entry as its directory's reader found it; l->path is its path. */
struct entry {
	int parent;
	const char *name;
	bool is_dir;
};

typedef int visit(struct lister *l, const struct entry *entry, void *arg);

static int emit(struct lister *l, bool is_dir)
{
	if (l->count == NAMES_MAX)
		return err_set(l->e, ERR_FAILURE, "more than %d names", NAMES_MAX);
	l->names = mem_realloc(l->names, l->count + 1, sizeof *l->names);
	l->names[l->count++] = mem_printf("%s%s", buf_str(&l->path), is_dir ? "/" : "");
	return 0;
}

static bool excluded(struct lister *l, bool is_dir)
{
	const char *path = buf_str(&l->path);
	return filter_match(&l->filter, path, l->path.len, is_dir) == FILTER_EXCLUDE;
}

static int visit_one(struct lister *l, int parent, const char *name, visit *fn, void *arg)
{
	size_t above = l->path.len;
	if ((above && buf_put_u8(&l->path, '/') < 0) || buf_puts(&l->path, name) < 0)
		return err_set(l->e, ERR_FAILURE, "a path is too long");
	struct stat st;
	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(l->e, ERR_FAILURE, "stat");
	struct entry entry = {parent, name, S_ISDIR(st.st_mode)};
	int r = fn(l, &entry, arg);
	l->path.len = above;
	return r;
}

/* Calls fn for every entry of the directory `name` in `parent`. */
static int each_entry(struct lister *l, int parent, const char *name, visit *fn, void *arg)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		if (fd >= 0)
			close(fd);
		return err_sys(l->e, ERR_FAILURE, "open directory");
	}
	int r = 0;
	for (struct dirent *d; r == 0 && (d = readdir(dir));)
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			r = visit_one(l, fd, d->d_name, fn, arg);
	closedir(dir);
	return r;
}

static int visit_kept(struct lister *l, const struct entry *entry, void *arg)
{
	if (excluded(l, entry->is_dir))
		return 0;
	if (emit(l, entry->is_dir) < 0)
		return -1;
	return entry->is_dir ? each_entry(l, entry->parent, entry->name, visit_kept, arg) : 0;
}

static int visit_extraneous(struct lister *l, const struct entry *entry, void *arg);

/* Purges an entry that is not asked for itself; *remains is set if it must stay. */
static int purge(struct lister *l, const struct entry *entry, bool *remains)
{
	bool stays = false;
	if (entry->is_dir &&
	    each_entry(l, entry->parent, entry->name, visit_extraneous, &stays) < 0)
		return -1;
	*remains |= stays;
	return stays ? 0 : emit(l, entry->is_dir);
}

/* arg is a bool, set if the entry must stay. */
static int visit_extraneous(struct lister *l, const struct entry *entry, void *arg)
{
	bool *remains = arg;
	if (excluded(l, entry->is_dir)) {
		*remains = true;
		return 0;
	}
	return purge(l, entry, remains);
}

/* Visits the destination's entries of a directory that both sides keep; arg is the source's fd. */
static int visit_pair(struct lister *l, const struct entry *entry, void *arg)
{
	int source = *(int *)arg;
	bool remains = false;
	struct stat st;
	if (fstatat(source, entry->name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			return err_sys(l->e, ERR_FAILURE, "stat");
		return visit_extraneous(l, entry, &remains);
	}
	bool is_dir = S_ISDIR(st.st_mode);
	if (excluded(l, is_dir))
		return visit_extraneous(l, entry, &remains);
	if (is_dir != entry->is_dir)
		return purge(l, entry, &remains);
	if (!is_dir)
		return 0;
	CLEANUP_FD int child = openat(source, entry->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (child < 0)
		return err_sys(l->e, ERR_FAILURE, "open directory");
	return each_entry(l, entry->parent, entry->name, visit_pair, &child);
}

static int list_deleted(struct lister *l, const char *source, const char *destination)
{
	CLEANUP_FD int fd = open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(l->e, ERR_FAILURE, "open %s", source);
	return each_entry(l, AT_FDCWD, destination, visit_pair, &fd);
}

/* Reads to the end of the file, at most b->max bytes. */
static int read_all(FILE *in, struct buf *b, struct err *e)
{
	char chunk[4096];
	size_t n;
	while ((n = fread(chunk, 1, sizeof chunk, in)) > 0)
		if (buf_put(b, chunk, n) < 0)
			return err_set(e, ERR_USAGE, "more than %zu bytes of input", b->max);
	return ferror(in) ? err_sys(e, ERR_FAILURE, "read") : 0;
}

static int add_from(struct lister *l, enum filter_action action, const char *name)
{
	FILE *in = fopen(name, "re");
	if (!in)
		return err_sys(l->e, ERR_USAGE, "open %s", name);
	CLEANUP_BUF struct buf text;
	buf_init(&text, FILTER_FILE_MAX);
	int r = read_all(in, &text, l->e);
	fclose(in);
	if (r < 0)
		return err_wrap(l->e, "%s", name);
	r = filter_add_file(&l->filter, action, text.data, text.len, l->e);
	return r < 0 ? err_wrap(l->e, "%s", name) : 0;
}

/* Takes the option argv[0] with its value argv[1]: 1 if it is a rule, 0 if not, -1 on error. */
static int take_rule(struct lister *l, char **argv)
{
	static const struct {
		const char *name;
		enum filter_action action;
		bool file;
	} options[] = {
		{"--include", FILTER_INCLUDE, false},
		{"--exclude", FILTER_EXCLUDE, false},
		{"--include-from", FILTER_INCLUDE, true},
		{"--exclude-from", FILTER_EXCLUDE, true},
	};
	for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
		if (strcmp(argv[0], options[i].name) != 0)
			continue;
		int r = options[i].file ? add_from(l, options[i].action, argv[1])
					: filter_add(&l->filter, options[i].action, argv[1], l->e);
		return r < 0 ? -1 : 1;
	}
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Fills the lister with the answer to one command line without -0. */
static int answer(struct lister *l, int argc, char **argv)
{
	int i = 0;
	int r = 1;
	for (; i + 1 < argc && (r = take_rule(l, argv + i)) > 0; i += 2)
		;
	if (r < 0)
		return -1;
	if (argc - i == 3 && strcmp(argv[i], "--deleted") == 0)
		r = list_deleted(l, argv[i + 1], argv[i + 2]);
	else if (argc - i == 1)
		r = each_entry(l, AT_FDCWD, argv[i], visit_kept, NULL);
	else
		return err_set(
			l->e, ERR_USAGE,
			"usage: filterlist [-0] [RULE]... DIR | --deleted SRC DST | --batch");
	if (l->count)
		qsort(l->names, l->count, sizeof *l->names, compare_names);
	return r;
}

static void print_name(const char *name, bool bare)
{
	size_t n = strlen(name);
	if (bare) {
		fwrite(name, 1, n + 1, stdout);
		return;
	}
	CLEANUP_FREE char *line = mem_alloc_raw(4 * n + 1);
	puts(text_escape(line, 4 * n + 1, name, n));
}

static int run_one(int argc, char **argv, bool batch, struct err *e)
{
	bool bare = batch || (argc > 0 && strcmp(argv[0], "-0") == 0);
	int skip = bare && !batch;
	struct lister l = {.e = e};
	filter_init(&l.filter);
	buf_init(&l.path, PATH_BYTES_MAX);
	int r = answer(&l, argc - skip, argv + skip);
	if (batch)
		print_name(r < 0 ? e->msg : "ok", true);
	for (size_t i = 0; r == 0 && i < l.count; i++)
		print_name(l.names[i], bare);
	if (batch)
		print_name("", true);
	lister_release(&l);
	return r;
}

/* Takes the next string of the input, NULL at its end. */
static char *take_string(char **at, const char *end)
{
	char *s = *at;
	if (s == end)
		return NULL;
	*at += strlen(s) + 1;
	return s;
}

static int run_batch(struct err *e)
{
	CLEANUP_BUF struct buf input;
	buf_init(&input, INPUT_MAX);
	if (read_all(stdin, &input, e) < 0)
		return -1;
	if (input.len && input.data[input.len - 1] != '\0')
		return err_set(e, ERR_USAGE, "the input does not end in NUL");
	char *at = (char *)input.data;
	const char *end = at ? at + input.len : NULL;
	for (char *number; (number = take_string(&at, end));) {
		size_t argc = strtoul(number, NULL, 10);
		if (argc > 2 * FILTER_RULES_MAX + 8)
			return err_set(e, ERR_USAGE, "too many arguments");
		CLEANUP_FREE char **argv = mem_alloc(argc + 1, sizeof *argv);
		for (size_t i = 0; i < argc; i++)
			if (!(argv[i] = take_string(&at, end)))
				return err_set(e, ERR_USAGE, "the input ends inside a case");
		struct err failure = {0};
		run_one((int)argc, argv, true, &failure);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct err e = {0};
	bool batch = argc == 2 && strcmp(argv[1], "--batch") == 0;
	int r = batch ? run_batch(&e) : run_one(argc - 1, argv + 1, false, &e);
	if (r < 0)
		fprintf(stderr, "filterlist: %s\n", e.msg);
	if (fflush(stdout) != 0)
		return ERR_FAILURE;
	return r < 0 ? (int)e.code : 0;
}
