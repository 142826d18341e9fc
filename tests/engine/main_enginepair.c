/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a source and a destination against each other over a socket pair, without SSH: the engine
 * alone, for tests, sanitizers and profiles. enginepair [-n dry] [-c checksum] [-d delete] [-i
 * itemize] [-J in place] [-N never] [-X all mounts] SOURCE DESTINATION
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dest.h"
#include "source.h"
#include "text.h"
#include "transport.h"

static void on_item(void *owner, const struct run_item *item)
{
	char path[TEXT_ESCAPED_MAX];
	(void)owner;
	printf("%s %s", item->code, text_escape(path, sizeof path, item->path.p, item->path.n));
	if (item->arrow)
		printf(" %c> %s", item->arrow,
		       text_escape(path, sizeof path, item->target.p, item->target.n));
	putchar('\n');
}

static void on_issue(void *owner, const struct run_issue *issue)
{
	char path[TEXT_ESCAPED_MAX];
	fprintf(stderr, "%s: %s: %s\n", (const char *)owner,
		text_escape(path, sizeof path, issue->path.p, issue->path.n), issue->text);
}

static void result_line(const char *who, const struct run_result *r, const struct run_stats *st)
{
	char a[33] = "";
	char b[33] = "";
	struct rusage u;
	h128_hex(a, r->hash_source);
	h128_hex(b, r->hash_destination);
	getrusage(RUSAGE_SELF, &u);
	fprintf(stderr,
		"%s: code %d %s | committed %d entries %llu transferred %llu deleted %llu failed "
		"%llu literal %llu matched %llu"
		" | wire %llu/%llu | %.8s %.8s | rss %ld KiB | delta %.3f s\n",
		who, r->err.code, r->err.msg, r->committed, (unsigned long long)r->files_total,
		(unsigned long long)r->files_transferred, (unsigned long long)r->files_deleted,
		(unsigned long long)r->files_failed, (unsigned long long)r->bytes_literal,
		(unsigned long long)r->bytes_matched, (unsigned long long)r->wire.socket_in,
		(unsigned long long)r->wire.socket_out, a, b, u.ru_maxrss,
		(double)st->ns_delta / 1e9);
}

int main(int argc, char **argv)
{
	struct run_options o;
	run_options_init(&o);
	struct err e = {0};
	int opt;
	while ((opt = getopt(argc, argv, "ncdiJNXE:I:")) != -1) {
		if (opt == 'n')
			o.flags |= OPT_DRY_RUN;
		else if (opt == 'c')
			o.flags |= OPT_CHECKSUM;
		else if (opt == 'd')
			o.flags |= OPT_DELETE;
		else if (opt == 'i')
			o.flags |= OPT_ITEMIZE;
		else if (opt == 'X')
			o.flags &= ~(uint64_t)OPT_ONE_FILE_SYSTEM;
		else if (opt == 'J')
			o.in_place = IN_PLACE_ALWAYS;
		else if (opt == 'N')
			o.in_place = IN_PLACE_NEVER;
		else if (opt == 'E' || opt == 'I')
			filter_add(&o.filter, opt == 'E' ? FILTER_EXCLUDE : FILTER_INCLUDE, optarg,
				   &e);
	}
	if (argc - optind != 2 || run_options_new_id(&o, &e) < 0)
		return 2;
	int pair[2];
	int src = open(argv[optind], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int dst = open(argv[optind + 1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (src < 0 || dst < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		return 2;
	fflush(stdout);
	pid_t child = fork();
	struct run_stats stats = {0};
	struct run_result r;
	int code;
	if (child == 0) {
		close(pair[0]);
		struct run_options served;
		run_options_init(&served);
		struct dest_config c = {.root_fd = dst,
					.options = &served,
					.stats = &stats,
					.events = {.issue = on_issue,
						   .owner = (char[]){"destination"}}};
		c.events.issue = NULL;
		dest_run(&c, transport_fds(pair[1], dup(pair[1]), "pair"), &r);
		result_line("destination", &r, &stats);
		run_options_release(&served);
		code = (int)r.err.code;
	} else {
		close(pair[1]);
		struct source_config c = {.root_fd = src,
					  .dialled = true,
					  .options = &o,
					  .stats = &stats,
					  .events = {.item = on_item,
						     .issue = on_issue,
						     .owner = (char[]){"source"}}};
		source_run(&c, transport_fds(pair[0], dup(pair[0]), "pair"), &r);
		result_line("source", &r, &stats);
		int status;
		waitpid(child, &status, 0);
		code = (int)r.err.code     ? (int)r.err.code
		       : WIFEXITED(status) ? WEXITSTATUS(status)
					   : 99;
	}
	run_options_release(&o);
	return code;
}
