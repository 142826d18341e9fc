/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Redo journals for changing a file in place: the new bytes go into a file of the state directory,
 * are made durable, then applied to the file itself; a crash in between is finished by recover.
 * Used where the filesystem cannot clone.
 *
 * The journal's file: header, then records, then a seal. Every part carries a hash over itself, so
 * a journal cut anywhere counts as never sealed and is dropped: the old file was not touched yet. A
 * sealed one is applied, again if need be; a record is only written over bytes that are the old or
 * the new ones.
 */
#ifndef SCRIBE_JOURNAL_H
#define SCRIBE_JOURNAL_H

#include "dest_int.h"

struct journal;

/* Whether this file is to be changed in place: allowed, worth it, and no name outside the group. */
bool journal_wanted(struct dest *D, const struct dfile *f);
/* Opens f's old file (f->basis_fd, for reading and writing) and a journal for it. */
int journal_open(struct dest *D, struct dfile *f, struct err *e);
/* NULL is fine. Closes; the journal's file stays. */
void journal_free(struct journal *j);
/* Records new bytes. 1: the journal has grown beyond what is worth it, and these bytes are not in
 * it. */
int journal_data(struct journal *j, const uint8_t *p, size_t n, uint64_t offset, struct err *e);
int journal_hole(struct journal *j, uint64_t offset, uint64_t n, struct err *e);
/* Writes what was recorded so far into another file that is a copy of the old one. */
int journal_into(struct journal *j, int fd, struct err *e);
/* Removes the journal's file and frees it. */
void journal_discard(struct dest *D, struct journal *j);
/* Completes the journal: size wanted at the end. It is durable after the next sync. */
int journal_seal(struct dest *D, struct dfile *f, const struct meta *m, struct err *e);
/* Makes one journal durable. */
int journal_sync(struct journal *j, struct err *e);
/* After it is durable: applies it to the file and verifies the content on disk. The caller syncs
 * again, then sets the attributes. */
int journal_apply(struct dest *D, struct dfile *f, struct err *e);

/* Replays or drops one journal found by recover. 1 replayed, 0 dropped (cut, stale, or its file
 * changed). */
int journal_replay(int root_fd, int state_fd, const char *name, struct err *e);

#endif
