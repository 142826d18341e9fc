/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both ends of a run share: its options, its counters, what it tells its owner while it goes
 * on, and the opening exchange that makes them agree (SPEC.md 5).
 */
#ifndef SCRIBE_RUN_H
#define SCRIBE_RUN_H

#include <stdatomic.h>

#include "attr.h"
#include "filter.h"
#include "link.h"
#include "mailbox.h"

enum { COMPRESS_AUTO = -128, COMPRESS_OFF = 0, RUN_ID_BYTES = 16 };

/* Options of a run, chosen by the side that dialled. */
struct run_options {
	uint8_t run_id[RUN_ID_BYTES];
	char *path; /* below the other side's root, "" or "/" for the root; owned */
	size_t path_len;
	uint64_t flags;      /* enum option_flags */
	uint64_t attrs;      /* enum attr_flags */
	uint64_t max_delete; /* UINT64_MAX: no limit */
	uint8_t max_shrink;  /* percent that may be lost */
	uint8_t in_place;    /* enum in_place */
	int64_t compress;    /* COMPRESS_AUTO, or a zstd level, 0 = off */
	char *source_id;     /* "" = none; owned */
	uint64_t sync_number;
	int64_t data_as_of;
	uint32_t data_as_of_ns;
	struct filter filter;
};

void run_options_init(struct run_options *o);
void run_options_release(struct run_options *o);
/* Draws a fresh run id. */
int run_options_new_id(struct run_options *o, struct err *e);

/* Counters of one side; written by any of its threads, read by its owner at any time. */
struct run_stats {
	_Atomic uint64_t entries_seen, files_total, bytes_total;
	_Atomic uint64_t files_transferred, files_deleted, files_failed, files_changed;
	_Atomic uint64_t bytes_literal, bytes_matched, bytes_written;
	_Atomic uint64_t ns_walk, ns_read, ns_hash, ns_compress, ns_delta, ns_write, ns_verify,
		ns_sync;
	_Atomic uint64_t starved_ns, blocked_ns;
	_Atomic uint64_t skipped_mounts;
};

struct run_item {
	const char *code; /* 11 characters, rsync's columns */
	struct bytes path;
	char arrow; /* 0, '-' for " -> target", '=' for " => target" */
	struct bytes target;
};

struct run_issue {
	enum issue_kind kind;
	enum err_code code; /* ERR_PARTIAL, ERR_CHANGED, ERR_VERIFY ... */
	int error;          /* errno or 0 */
	struct bytes path;
	const char *text;
};

/* What a run tells its owner; every member may be NULL. Called from any of the run's threads, one
 * at a time (the run holds a lock). */
struct run_events {
	void (*item)(void *owner, const struct run_item *item);
	void (*issue)(void *owner, const struct run_issue *issue);
	void (*stage)(void *owner, enum stage stage);
	bool (*stop)(void *owner); /* asked often: true ends the run at the next good point */
	void *owner;
};

/* How a run ended, on either side. */
struct run_result {
	struct err err; /* code ERR_OK: committed and everything right */
	bool committed;
	bool has_hashes;
	struct h128 hash_source, hash_destination;
	bool content_covered; /* rootHashCovers: content, else metadata+transferred */
	uint64_t files_total, files_transferred, files_deleted, files_failed, files_changed;
	uint64_t bytes_total, bytes_literal, bytes_matched, bytes_written;
	uint64_t dropped[DROPPED_KINDS];
	uint64_t skipped_mounts;
	struct link_counters wire;
};

/* The opening: what one side knows of the other afterwards. */
struct opening {
	enum role role; /* own */
	bool dialled;
	uint8_t nonce[HASH_NONCE_BYTES], peer_nonce[HASH_NONCE_BYTES];
	uint8_t peer_role; /* ROLE_BULK: peer is a bulk lane, token is set */
	uint64_t features;
	uint8_t bulk_token[32];
};

/* Sends HELLO and, when this side dialled, OPTIONS; then takes the peer's from the mailbox. On the
 * serving side fills *o from the peer's OPTIONS. timeout_ms for the whole exchange. */
int run_open(struct link *l, struct mailbox *in, struct opening *op, struct run_options *o,
	     int timeout_ms, struct err *e);

/* Takes the next frame, turning the peer's ABORT and a dead link into *e. NULL then. */
struct link_frame *run_take(struct link *l, struct mailbox *in, int timeout_ms, struct err *e);

int run_random(void *p, size_t n, struct err *e);
uint64_t run_now_ns(void);

#endif
