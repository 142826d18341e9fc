/* SPDX-License-Identifier: Apache-2.0 */
/* An authorized_keys file in memory. Internal to this room. */
#ifndef SCRIBE_AUTHKEYS_H
#define SCRIBE_AUTHKEYS_H

#include <libssh/libssh.h>
#include <stddef.h>

#include "err.h"

enum { AUTHKEYS_COMMENT_MAX = 128 };

struct authkey {
	ssh_key key;
	char comment[AUTHKEYS_COMMENT_MAX]; /* escaped */
};

struct authkeys {
	struct authkey *list;
	size_t count;
};

typedef void authkeys_warn_fn(void *arg, const char *line);

/*
 * Loads a file. A line that cannot be used is told to warn (may be NULL) and left out: a broken
 * one, a weak key, and one whose options would narrow what the key may do in a way that this server
 * does not enforce (from=, expiry-time=, cert-authority, command= of another program, unknown
 * ones). Options that only take away what this server never grants (restrict, no-pty, ...) are
 * ignored. -1 with *e ERR_USAGE: not readable, too open, too large, or without a usable key; *out
 * untouched.
 */
int authkeys_load(const char *path, authkeys_warn_fn *warn, void *arg, struct authkeys *out,
		  struct err *e);
void authkeys_release(struct authkeys *keys);
/* The entry with the same public key, or NULL. */
const struct authkey *authkeys_find(const struct authkeys *keys, ssh_key key);

#endif
