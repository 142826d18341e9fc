/* SPDX-License-Identifier: Apache-2.0 */
/* Finding a directory below a root by a path from a person or a peer, without ever leaving the
 * root. */
#ifndef SCRIBE_RESOLVE_H
#define SCRIBE_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>

#include "err.h"

/*
 * Opens root/path one component at a time, following no symbolic link and refusing "..". Leading,
 * doubled and trailing slashes and "." mean nothing. make: creates the last component (0755) if
 * it is missing.
 * Returns an fd or -1 with *e (ERR_USAGE for a path that can never be, else ERR_FAILURE).
 */
int run_resolve(int root_fd, const char *path, size_t n, bool make, struct err *e);

#endif
