/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Redo journals for changing a file in place: the new bytes go into a file of the state directory,
 * are made durable, then applied to the file itself; a crash in between is finished by recover. A
 * record is applied only to the bytes it was made for. Used where the filesystem cannot clone
 * (rules 3, "In place").
 */
#ifndef SCRIBE_JOURNAL_H
#define SCRIBE_JOURNAL_H

#include "dest_int.h"

struct journal;

/* Whether this file is to be changed in place: allowed, worth it, and no name outside the group. */
bool journal_wanted(const struct dest *D, const struct dfile *f);
/* Opens f's old file (basis_fd) and a journal for it. */
int journal_open(struct dest *D, struct dfile *f, struct err *e);
void journal_free(struct journal *j);
/* Records new bytes. 1: the journal has grown beyond what is worth it (the bytes are not in it). */
int journal_data(struct journal *j, const uint8_t *p, size_t n, uint64_t offset, struct err *e);
int journal_hole(struct journal *j, uint64_t offset, uint64_t n, struct err *e);
/* Writes what was recorded so far into another file. */
int journal_into(struct journal *j, int fd, struct err *e);
/* Removes the journal's file and frees it. */
void journal_discard(struct dest *D, struct journal *j);
/* Completes the journal: size and attributes wanted at the end. It is durable after the next sync.
 */
int journal_seal(struct dest *D, struct dfile *f, const struct meta *m, struct err *e);
/* Makes one journal durable. */
int journal_sync(struct journal *j, struct err *e);
/* After it is durable: applies it to the file. The caller syncs again, then sets attributes. */
int journal_apply(struct dest *D, struct dfile *f, struct err *e);

/* Replays or drops one journal found by recover. 1 replayed, 0 dropped (torn or stale). */
int journal_replay(int root_fd, int state_fd, const char *name, struct err *e);

#endif
