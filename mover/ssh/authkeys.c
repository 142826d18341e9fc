/* SPDX-License-Identifier: Apache-2.0 */
#include "authkeys.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "mem.h"
#include "sshkeys.h"
#include "sshserver.h"
#include "text.h"

struct loader {
	const char *path;
	authkeys_warn_fn *warn;
	void *arg;
	unsigned line;
};

static void warn(const struct loader *l, const char *why)
{
	if (!l->warn)
		return;
	char shown[TEXT_ESCAPED_MAX];
	text_escape(shown, sizeof shown, l->path, strlen(l->path));
	CLEANUP_FREE char *text = mem_printf("%s line %u is not used: %s", shown, l->line, why);
	l->warn(l->arg, text);
}

/* Length of the options field: up to the first blank outside of double quotes. */
static size_t options_len(const char *s)
{
	bool quoted = false;
	size_t i = 0;
	for (; s[i] && (quoted || (s[i] != ' ' && s[i] != '\t')); i++) {
		if (s[i] == '\\' && s[i + 1] == '"')
			i++;
		else if (s[i] == '"')
			quoted = !quoted;
	}
	return i;
}

/* Length of the option at s, up to a comma outside of double quotes. */
static size_t option_len(const char *s, size_t n)
{
	bool quoted = false;
	size_t i = 0;
	for (; i < n && (quoted || s[i] != ','); i++) {
		if (s[i] == '\\' && i + 1 < n && s[i + 1] == '"')
			i++;
		else if (s[i] == '"')
			quoted = !quoted;
	}
	return i;
}

/* Options that take nothing away from what this server grants: it has none of these things. */
static const char *const harmless[] = {
	"restrict",
	"no-agent-forwarding",
	"no-port-forwarding",
	"no-pty",
	"no-user-rc",
	"no-X11-forwarding",
	"agent-forwarding",
	"port-forwarding",
	"pty",
	"user-rc",
	"X11-forwarding",
	"environment=",
	"permitlisten=",
	"permitopen=",
	"tunnel=",
	"no-touch-required",
};

static bool has_name(const char *opt, size_t n, const char *name)
{
	size_t len = strlen(name);
	if (name[len - 1] == '=')
		return n >= len && strncasecmp(opt, name, len) == 0;
	return n == len && strncasecmp(opt, name, len) == 0;
}

/* NULL if the key may be used in spite of this option. */
static const char *refuse_option(const char *opt, size_t n)
{
	static const char command[] = "command=\"scribe-mover";
	for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++)
		if (has_name(opt, n, harmless[i]))
			return NULL;
	if (has_name(opt, n, "command=")) {
		size_t len = sizeof command - 1;
		bool ours = n > len && strncasecmp(opt, command, len) == 0 &&
			    (opt[len] == ' ' || opt[len] == '"');
		return ours ? NULL : "its command= is for another program";
	}
	if (has_name(opt, n, "from="))
		return "from= is not supported here";
	if (has_name(opt, n, "expiry-time="))
		return "expiry-time= is not supported here";
	if (has_name(opt, n, "cert-authority") || has_name(opt, n, "principals="))
		return "certificates are not supported here";
	return "it has an option that is not known";
}

static const char *refuse_options(const char *opts, size_t n)
{
	while (n) {
		size_t len = option_len(opts, n);
		const char *why = refuse_option(opts, len);
		if (why)
			return why;
		if (len < n)
			len++;
		opts += len;
		n -= len;
	}
	return NULL;
}

/* One line, NUL-terminated. Adds a key or warns. */
static void take_line(const struct loader *l, char *line, struct authkeys *keys)
{
	line += strspn(line, " \t");
	line[strcspn(line, "\r")] = '\0';
	if (!*line || *line == '#')
		return;
	if (!sshkeys_is_type(line, strcspn(line, " \t"))) {
		size_t n = options_len(line);
		const char *refusal = line[n] ? refuse_options(line, n) : "it holds no key";
		/* A key type that we don't know looks like an option that we don't know. */
		if (refusal) {
			warn(l, refusal);
			return;
		}
		line += n;
		line += strspn(line, " \t");
	}
	const char *comment;
	const char *why;
	ssh_key key = sshkeys_parse(line, &comment, &why);
	if (!key) {
		warn(l, why);
		return;
	}
	struct authkey *k = &keys->list[keys->count++];
	k->key = key;
	text_escape(k->comment, sizeof k->comment, comment, strlen(comment));
}

static int take_text(struct loader *l, char *text, struct authkeys *keys, struct err *e)
{
	for (char *next = text; next;) {
		char *line = next;
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		l->line++;
		if (strlen(line) > SSHKEYS_LINE_MAX)
			warn(l, "it is too long");
		else
			take_line(l, line, keys);
		if (keys->count > SSH_AUTHKEYS_MAX)
			return err_set(e, ERR_USAGE,
				       "the authorized keys file has more than %d keys",
				       SSH_AUTHKEYS_MAX);
	}
	return 0;
}

int authkeys_load(const char *path, authkeys_warn_fn *warn_fn, void *arg, struct authkeys *out,
		  struct err *e)
{
	CLEANUP_BUF struct buf text = {0};
	if (sshkeys_read_file(path, "authorized keys file", SSHKEYS_TRUSTED, SSH_AUTHKEYS_BYTES,
			      &text, e) < 0)
		return -1;
	struct loader l = {.path = path, .warn = warn_fn, .arg = arg};
	__attribute__((cleanup(authkeys_release))) struct authkeys keys = {
		.list = mem_alloc(SSH_AUTHKEYS_MAX + 1, sizeof *keys.list)};
	CLEANUP_FREE char *copy = mem_strdup(buf_str(&text));
	if (take_text(&l, copy, &keys, e) < 0)
		return -1;
	if (!keys.count) {
		char shown[TEXT_ESCAPED_MAX];
		return err_set(e, ERR_USAGE, "authorized keys file %s has no usable key",
			       text_escape(shown, sizeof shown, path, strlen(path)));
	}
	*out = keys;
	keys = (struct authkeys){0};
	return 0;
}

void authkeys_release(struct authkeys *keys)
{
	for (size_t i = 0; i < keys->count; i++)
		ssh_key_free(keys->list[i].key);
	free(keys->list);
	*keys = (struct authkeys){0};
}

const struct authkey *authkeys_find(const struct authkeys *keys, ssh_key key)
{
	for (size_t i = 0; i < keys->count; i++)
		if (ssh_key_cmp(keys->list[i].key, key, SSH_KEY_CMP_PUBLIC) == 0)
			return &keys->list[i];
	return NULL;
}
