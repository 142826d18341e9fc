/* SPDX-License-Identifier: Apache-2.0 */
#include "dial_options.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "mem.h"
#include "output.h"
#include "parse.h"
#include "rsh_words.h"
#include "text.h"

enum { CONNECTIONS_MAX = 16, LEVEL_MIN = -7, LEVEL_MAX = 12 };

/* Rules, in the order of the command line */

static int take_include(const struct opt *o, void *target, const char *value, struct err *e)
{
	(void)o;
	return filter_add(target, FILTER_INCLUDE, value, e);
}

static int take_exclude(const struct opt *o, void *target, const char *value, struct err *e)
{
	(void)o;
	return filter_add(target, FILTER_EXCLUDE, value, e);
}

static int read_rules(const char *path, struct buf *out, struct err *e)
{
	char shown[TEXT_ESCAPED_MAX];
	text_escape(shown, sizeof shown, path, strlen(path));
	CLEANUP_FD int fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO)
						   : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return err_sys(e, ERR_USAGE, "%s", shown);
	for (;;) {
		uint8_t chunk[8192];
		ssize_t n = read(fd, chunk, sizeof chunk);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, ERR_USAGE, "%s", shown);
		if (n == 0)
			return 0;
		if (buf_put(out, chunk, (size_t)n) < 0)
			return err_set(e, ERR_USAGE, "%s: larger than %d bytes", shown,
				       FILTER_FILE_MAX);
	}
}

static int take_rules(struct filter *f, enum filter_action action, const char *path, struct err *e)
{
	CLEANUP_BUF struct buf text;
	buf_init(&text, FILTER_FILE_MAX);
	if (read_rules(path, &text, e) < 0)
		return -1;
	return filter_add_file(f, action, buf_str(&text), text.len, e);
}

static int take_include_from(const struct opt *o, void *target, const char *value, struct err *e)
{
	(void)o;
	return take_rules(target, FILTER_INCLUDE, value, e);
}

static int take_exclude_from(const struct opt *o, void *target, const char *value, struct err *e)
{
	(void)o;
	return take_rules(target, FILTER_EXCLUDE, value, e);
}

/* Values that are a word or a number */

static int take_connections(const struct opt *o, void *target, const char *value, struct err *e)
{
	char shown[64];
	(void)o;
	if (strcmp(value, "auto") == 0)
		*(uint64_t *)target = 0;
	else if (parse_u64("", value, 1, CONNECTIONS_MAX, target, NULL) < 0)
		return err_set(e, ERR_USAGE,
			       "\"%s\" is no number of connections; wanted 1 to %d or auto",
			       text_escape(shown, sizeof shown, value, strlen(value)),
			       CONNECTIONS_MAX);
	return 0;
}

static int take_compress(const struct opt *o, void *target, const char *value, struct err *e)
{
	int64_t *level = target;
	char shown[64];
	uint64_t n;
	bool minus = *value == '-';
	(void)o;
	if (strcmp(value, "auto") == 0)
		*level = COMPRESS_AUTO;
	else if (strcmp(value, "off") == 0)
		*level = COMPRESS_OFF;
	else if (parse_u64("", value + minus, 0, minus ? -LEVEL_MIN : LEVEL_MAX, &n, NULL) == 0)
		*level = minus ? -(int64_t)n : (int64_t)n;
	else
		return err_set(e, ERR_USAGE, "\"%s\" is no level; wanted auto, off or %d to %d",
			       text_escape(shown, sizeof shown, value, strlen(value)), LEVEL_MIN,
			       LEVEL_MAX);
	return 0;
}

static const char *const in_place_words[] = {"auto", "never", "always", NULL};
static const char *const progress_words[] = {"auto", "always", "never", NULL};

#define AT(member) .offset = offsetof(struct dial_options, member)
#define SWITCH(NAME, MEMBER, HELP)                                                                 \
	{                                                                                          \
		.name = NAME, .kind = OPT_BOOL, AT(MEMBER), .def = "on", .group = "Attributes",    \
		.help = HELP                                                                       \
	}

#define CONNECTION .group = "Connection"
#define SELECTION  .group = "What is replicated"
#define SAFETY     .group = "Deletion and safety"
#define TRANSFER   .group = "Transfer"
#define TELLING    .group = "Output"

const struct opt dial_options_table[] = {
	{.name = "port",
	 .short_name = 'p',
	 .kind = OPT_PORT,
	 AT(port),
	 .def = "22",
	 CONNECTION,
	 .help = "port of the SSH server"},
	{.name = "identity",
	 .short_name = 'i',
	 .kind = OPT_STRING,
	 .arg = "FILE",
	 AT(identity),
	 CONNECTION,
	 .help = "private key to log in with; only its owner may read it"},
	{.name = "known-host-key",
	 .kind = OPT_STRING,
	 .arg = "FILE",
	 AT(known_host_key),
	 CONNECTION,
	 .help = "public key of the server, which must be this one"},
	{.name = "known-hosts",
	 .kind = OPT_STRING,
	 .arg = "FILE",
	 AT(known_hosts),
	 CONNECTION,
	 .help = "known_hosts file that has the server's key, in place of --known-host-key"},
	{.name = "remote-command",
	 .kind = OPT_STRING,
	 .arg = "CMD",
	 AT(remote_command),
	 CONNECTION,
	 .help = "what to run there (default: " CLI_PROGRAM " receive for push, " CLI_PROGRAM
		 " send for pull)"},
	{.name = "rsh",
	 .short_name = 'e',
	 .kind = OPT_STRING,
	 .arg = "CMD",
	 AT(rsh),
	 CONNECTION,
	 .help = "program that connects instead of our own SSH, such as \"ssh -J bastion\""},
	{.name = "cipher",
	 .kind = OPT_STRING,
	 .arg = "LIST",
	 AT(ciphers),
	 CONNECTION,
	 .def = "aes128-gcm@openssh.com,aes256-gcm@openssh.com",
	 .flags = OPT_DEF_TEXT,
	 .help = "SSH ciphers to offer, with commas between them"},
	{.name = "timeout",
	 .kind = OPT_DURATION,
	 AT(timeout),
	 .def = "30s",
	 CONNECTION,
	 .help = "time for one connection to be made, from the name lookup to the remote command"},
	{.name = "wait-for-destination",
	 .kind = OPT_DURATION,
	 AT(wait_for),
	 .def = "0s",
	 CONNECTION,
	 .help = "time to wait for a peer that can't be reached yet or is busy"},
	{.name = "retry-for",
	 .kind = OPT_DURATION,
	 AT(retry_for),
	 .def = "10m",
	 CONNECTION,
	 .help = "time to dial again after a connection was lost; the run goes on where it was"},
	{.name = "connections",
	 .kind = OPT_CALL,
	 .arg = "N|auto",
	 AT(connections),
	 .def = "auto",
	 .call = take_connections,
	 CONNECTION,
	 .help = "SSH connections to use at most"},

	{.name = "exclude",
	 .kind = OPT_CALL,
	 .arg = "PATTERN",
	 AT(filter),
	 .call = take_exclude,
	 SELECTION,
	 .help = "leave out what matches, with rsync's patterns; the first match counts"},
	{.name = "include",
	 .kind = OPT_CALL,
	 .arg = "PATTERN",
	 AT(filter),
	 .call = take_include,
	 SELECTION,
	 .help = "do not leave out what matches"},
	{.name = "exclude-from",
	 .kind = OPT_CALL,
	 .arg = "FILE",
	 AT(filter),
	 .call = take_exclude_from,
	 SELECTION,
	 .help = "patterns to leave out, one per line"},
	{.name = "include-from",
	 .kind = OPT_CALL,
	 .arg = "FILE",
	 AT(filter),
	 .call = take_include_from,
	 SELECTION,
	 .help = "patterns not to leave out, one per line"},
	{.name = "one-file-system",
	 .short_name = 'x',
	 .kind = OPT_BOOL,
	 AT(one_file_system),
	 .def = "on",
	 SELECTION,
	 .help = "do not cross mount points"},
	{.name = "checksum",
	 .short_name = 'c',
	 .kind = OPT_FLAG,
	 AT(checksum),
	 SELECTION,
	 .help = "compare content even where size and time agree"},
	{.name = "dry-run",
	 .short_name = 'n',
	 .kind = OPT_FLAG,
	 AT(dry_run),
	 SELECTION,
	 .help = "change nothing; with --itemize, show what would be done"},

	{.name = "delete",
	 .kind = OPT_FLAG,
	 AT(delete),
	 SAFETY,
	 .help = "delete at the destination what the source does not have"},
	{.name = "max-delete",
	 .kind = OPT_U64,
	 AT(max_delete),
	 SAFETY,
	 .help = "delete at most so many entries; keep the others and exit with 25"},
	{.name = "max-shrink",
	 .kind = OPT_PERCENT,
	 AT(max_shrink),
	 .def = "50",
	 SAFETY,
	 .help = "refuse a source that lost more of its entries or bytes than this"},
	{.name = "allow-empty-source",
	 .kind = OPT_FLAG,
	 AT(allow_empty),
	 SAFETY,
	 .help = "do not refuse a source without any files"},
	{.name = "source-id",
	 .kind = OPT_STRING,
	 .arg = "ID",
	 AT(source_id),
	 SAFETY,
	 .help = "name of the source, remembered at the destination; another one is refused"},
	{.name = "accept-new-source",
	 .kind = OPT_FLAG,
	 AT(accept_new_source),
	 SAFETY,
	 .help = "let the source named by --source-id take the place of another one"},
	{.name = "sync-number",
	 .kind = OPT_U64,
	 AT(sync_number),
	 SAFETY,
	 .help = "number of this sync, kept in the record at the destination"},
	{.name = "data-as-of",
	 .kind = OPT_TIME,
	 AT(data_as_of),
	 SAFETY,
	 .help = "time of the point-in-time copy that is sent, for the record and the report"},

	SWITCH("owner", owner, "replicate the owning user"),
	SWITCH("group", group, "replicate the owning group"),
	SWITCH("perms", perms, "replicate permissions"),
	SWITCH("times", times, "replicate modification times"),
	SWITCH("acls", acls, "replicate POSIX ACLs"),
	SWITCH("xattrs", xattrs, "replicate user.* attributes and file capabilities"),
	{.name = "security-xattrs",
	 .kind = OPT_FLAG,
	 AT(security_xattrs),
	 .group = "Attributes",
	 .help = "replicate security labels (security.*) too"},
	{.name = "trusted-xattrs",
	 .kind = OPT_FLAG,
	 AT(trusted_xattrs),
	 .group = "Attributes",
	 .help = "replicate trusted.* attributes too"},
	SWITCH("links", links, "replicate symbolic links"),
	SWITCH("hard-links", hard_links, "replicate hard links as such"),
	SWITCH("devices", devices, "replicate device nodes"),
	SWITCH("specials", specials, "replicate FIFOs and sockets"),
	SWITCH("sparse", sparse, "replicate holes"),
	{.name = "numeric-ids",
	 .kind = OPT_FLAG,
	 AT(numeric_ids),
	 .group = "Attributes",
	 .help = "replicate users and groups as numbers (the default)"},
	{.name = "map-names",
	 .kind = OPT_FLAG,
	 AT(map_names),
	 .group = "Attributes",
	 .flags = OPT_HIDDEN,
	 .help = "replicate users and groups by name"},

	{.name = "compress",
	 .short_name = 'z',
	 .kind = OPT_CALL,
	 .arg = "auto|off|LEVEL",
	 AT(compress),
	 .def = "auto",
	 .call = take_compress,
	 TRANSFER,
	 .help = "zstd level, -7 to 12; auto follows what limits the speed"},
	{.name = "bwlimit",
	 .kind = OPT_RATE,
	 AT(bwlimit),
	 TRANSFER,
	 .help = "send at most so many bytes per second"},
	{.name = "in-place",
	 .kind = OPT_ENUM,
	 AT(in_place),
	 .def = "auto",
	 .names = in_place_words,
	 TRANSFER,
	 .help = "change large files in place, with a journal, instead of replacing them"},

	{.name = "itemize",
	 .kind = OPT_FLAG,
	 AT(itemize),
	 TELLING,
	 .help = "one line for each change, as rsync's --itemize-changes writes it"},
	{.name = "progress",
	 .kind = OPT_ENUM,
	 AT(progress),
	 .def = "auto",
	 .names = progress_words,
	 TELLING,
	 .help = "progress on stderr: a line on a terminal, else one each 30 seconds"},
	{.name = "stats", .kind = OPT_FLAG, AT(stats), TELLING, .help = "figures at the end"},
	{.name = "json",
	 .kind = OPT_FLAG,
	 AT(json),
	 TELLING,
	 .help = "JSON Lines on stdout; the last line is the report"},
	{.name = "report",
	 .kind = OPT_STRING,
	 .arg = "FILE",
	 AT(report),
	 TELLING,
	 .help = "write the report (one JSON document) to this file"},
	{.name = "verbose",
	 .short_name = 'v',
	 .kind = OPT_COUNT,
	 AT(verbose),
	 TELLING,
	 .help = "tell more"},
	{.name = "quiet",
	 .short_name = 'q',
	 .kind = OPT_FLAG,
	 AT(quiet),
	 TELLING,
	 .help = "print errors only"},
	{0},
};

const struct opt_rule dial_options_rules[] = {
	{"known-host-key", OPT_EXCLUDES, "known-hosts"},
	{"rsh", OPT_EXCLUDES, "known-host-key"},
	{"rsh", OPT_EXCLUDES, "known-hosts"},
	{"rsh", OPT_EXCLUDES, "identity"},
	{"rsh", OPT_EXCLUDES, "port"},
	{"rsh", OPT_EXCLUDES, "cipher"},
	{"max-delete", OPT_NEEDS, "delete"},
	{"accept-new-source", OPT_NEEDS, "source-id"},
	{"sync-number", OPT_NEEDS, "source-id"},
	{"map-names", OPT_EXCLUDES, "numeric-ids"},
	{"quiet", OPT_EXCLUDES, "verbose"},
	{"quiet", OPT_EXCLUDES, "stats"},
	{"quiet", OPT_EXCLUDES, "json"},
	{0},
};

void dial_options_init(struct dial_options *o)
{
	*o = (struct dial_options){.max_delete = UINT64_MAX, .source_id = ""};
	filter_init(&o->filter);
}

void dial_options_release(struct dial_options *o)
{
	filter_release(&o->filter);
}

static int check_peer_options(const struct dial_options *o, const struct opt_result *given,
			      struct err *e)
{
	if (o->rsh) {
		char **words;
		if (rsh_words(o->rsh, &words, e) < 0)
			return err_wrap(e, "--rsh");
		rsh_words_free(words);
	} else if (!o->identity) {
		return err_set(e, ERR_USAGE,
			       "--identity is missing; name the private key to log in with");
	} else if (!o->known_host_key && !o->known_hosts) {
		return err_set(e, ERR_USAGE,
			       "--known-host-key is missing; name the public key of the server");
	}
	if (o->remote_command && !*o->remote_command)
		return err_set(e, ERR_USAGE, "--remote-command: is empty; wanted a command line");
	if (o->timeout <= 0)
		return err_set(e, ERR_USAGE, "--timeout: no time at all; wanted such as 30s");
	if (opt_given(given, "map-names"))
		return err_set(e, ERR_USAGE,
			       "--map-names: version %d of the protocol replicates ids as numbers; "
			       "leave it out",
			       PROTOCOL_VERSION);
	return 0;
}

int dial_options_check(const struct dial_options *o, const struct opt_result *given, struct err *e)
{
	size_t n = strlen(o->source_id);
	if (check_peer_options(o, given, e) < 0)
		return -1;
	if (opt_given(given, "source-id") && (n == 0 || n > SOURCE_ID_MAX))
		return err_set(e, ERR_USAGE, "--source-id: wanted 1 to %d bytes", SOURCE_ID_MAX);
	for (size_t i = 0; i < n; i++)
		if (o->source_id[i] <= ' ' || o->source_id[i] > '~')
			return err_set(e, ERR_USAGE,
				       "--source-id: wanted printable ASCII without blanks");
	if (opt_given(given, "data-as-of") && o->data_as_of.tv_sec <= 0)
		return err_set(e, ERR_USAGE, "--data-as-of: before 1970; wanted a later time");
	if (o->report && run_report_check(o->report, e) < 0)
		return -1;
	return 0;
}

static uint64_t flags_of(const struct dial_options *o)
{
	uint64_t f = 0;
	f |= o->delete ? OPT_DELETE : 0;
	f |= o->dry_run ? OPT_DRY_RUN : 0;
	f |= o->itemize ? OPT_ITEMIZE : 0;
	f |= o->checksum ? OPT_CHECKSUM : 0;
	f |= o->one_file_system ? OPT_ONE_FILE_SYSTEM : 0;
	f |= o->allow_empty ? OPT_ALLOW_EMPTY : 0;
	f |= o->accept_new_source ? OPT_ACCEPT_NEW_SOURCE : 0;
	return f;
}

static uint64_t attrs_of(const struct dial_options *o)
{
	uint64_t a = 0;
	a |= ATTR_SHUT | (o->owner ? ATTR_OWNER : 0);
	a |= o->group ? ATTR_GROUP : 0;
	a |= o->perms ? ATTR_PERMS : 0;
	a |= o->times ? ATTR_TIMES : 0;
	a |= o->acls ? ATTR_ACLS : 0;
	a |= o->xattrs ? ATTR_XATTRS | ATTR_CAPABILITY : 0;
	a |= o->security_xattrs ? ATTR_SECURITY : 0;
	a |= o->trusted_xattrs ? ATTR_TRUSTED : 0;
	a |= o->links ? ATTR_SYMLINKS : 0;
	a |= o->hard_links ? ATTR_HARD_LINKS : 0;
	a |= o->devices ? ATTR_DEVICES : 0;
	a |= o->specials ? ATTR_SPECIALS : 0;
	a |= o->sparse ? ATTR_SPARSE : 0;
	return a;
}

int dial_options_apply(struct dial_options *o, const char *path, struct run_options *r,
		       struct err *e)
{
	run_options_init(r);
	free(r->path);
	r->path = mem_strdup(path);
	r->path_len = strlen(path);
	free(r->source_id);
	r->source_id = mem_strdup(o->source_id);
	r->flags = flags_of(o);
	r->attrs = attrs_of(o);
	r->max_delete = o->max_delete;
	r->max_shrink = (uint8_t)o->max_shrink;
	r->in_place = (uint8_t)o->in_place;
	r->compress = o->compress;
	r->sync_number = o->sync_number;
	r->data_as_of = o->data_as_of.tv_sec;
	r->data_as_of_ns = (uint32_t)o->data_as_of.tv_nsec;
	filter_release(&r->filter);
	r->filter = o->filter;
	filter_init(&o->filter);
	if (r->path_len > PATH_BYTES_MAX)
		return err_set(e, ERR_USAGE, "the path behind the host is too long");
	return run_options_new_id(r, e);
}
