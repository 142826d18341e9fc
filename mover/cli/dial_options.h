/* SPDX-License-Identifier: Apache-2.0 */
/* The options of push and pull, the two commands that dial. */
#ifndef SCRIBE_DIAL_OPTIONS_H
#define SCRIBE_DIAL_OPTIONS_H

#include <time.h>

#include "filter.h"
#include "opt.h"
#include "run.h"

struct dial_options {
	/* Whom to reach. */
	uint16_t port;
	const char *identity, *known_host_key, *known_hosts, *ciphers, *rsh, *remote_command;
	int64_t timeout, wait_for, retry_for; /* ns */
	uint64_t connections;                 /* 0: auto */
	uint64_t bwlimit;                     /* bytes per second, 0: none */
	/* What to replicate and how. */
	struct filter filter;
	bool delete, dry_run, checksum, one_file_system, allow_empty, accept_new_source;
	bool numeric_ids, map_names, security_xattrs, trusted_xattrs;
	bool owner, group, perms, times, acls, xattrs, links, hard_links, devices, specials, sparse;
	uint64_t max_delete;
	unsigned max_shrink;
	int in_place; /* enum in_place */
	int64_t compress;
	const char *source_id;
	uint64_t sync_number;
	struct timespec data_as_of; /* tv_sec 0: not given */
	/* What to tell. */
	bool itemize, stats, json, quiet;
	unsigned verbose;
	int progress; /* enum progress_mode */
	const char *report;
};

void dial_options_init(struct dial_options *o);
void dial_options_release(struct dial_options *o);

/* The tables for struct dial_options; the remote command has no default in them. */
extern const struct opt dial_options_table[];
extern const struct opt_rule dial_options_rules[];

/* What the tables can't say: values and combinations that make no sense. -1 with *e ERR_USAGE. */
int dial_options_check(const struct dial_options *o, const struct opt_result *given, struct err *e);

/* Fills the options of the run, with a fresh run id. path: below the other side's root. The filter
 * moves from o to r. */
int dial_options_apply(struct dial_options *o, const char *path, struct run_options *r,
		       struct err *e);

#endif
