/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the destination. Threads:
 *   planner   (the caller's) takes control and meta messages, uses the tree, decides, makes
 * directories and special files, fixes metadata of unchanged files, deletes, verifies, commits;
 *   writers   take data messages, fill temps and journals, verify what was written by reading it
 * back; summers   hash and sign old files when the source asks; finisher  closes epochs: sync,
 * rename, directory metadata, sync, acknowledge (mover rules 3). Writers never wait for the
 * planner's credit-bound sends, so data is always consumed.
 */
#ifndef SCRIBE_DEST_INT_H
#define SCRIBE_DEST_INT_H

#include "bulk.h"
#include "dest_types.h"
#include "item_order.h"

struct request;
struct task;

struct dest {
	const struct dest_config *c;
	struct run_options *o; /* borrowed from c */
	struct link *link;
	struct mailbox inbox, data, sums;
	struct bulk_door *door;
	struct bulk_dialler *dialler;
	struct dirs *dirs;
	struct tree tree;
	struct mask mask;
	struct hash_key key;
	int root_fd; /* of the replica: the root, or PATH below it */
	int locks[64];
	int lock_count;
	struct dest_record record;
	struct msg_begin begin;
	char run_hex[2 * RUN_ID_BYTES + 1];
	char arrow; /* first itemize character of a transfer: '<' or '>' */
	bool empty;
	/* Planner only. */
	struct ddir *root;
	struct task *tasks;
	struct ptrmap requests;
	struct held_want *held, **held_end;
	uint64_t next_req, next_handle, next_fid, next_seq;
	uint64_t line_seq; /* place of the next itemize line, 0: at the end */
	unsigned lists_open;
	struct ddir *stream_at;              /* current directory of the running stream */
	struct ddir *stream_top;             /* where it began */
	struct ddir *streams, **streams_end; /* asked for, not yet begun */
	unsigned streams_open;
	uint64_t last_stream_fid;
	struct item own;
	struct deletion *deletions, **deletions_end;
	struct msg_root source_root;
	struct ptrmap fixed; /* linked inodes whose attributes were set in this run */
	bool changed;        /* anything was or would be changed */
	bool verifying;
	bool delete_limit;       /* --max-delete was reached */
	bool root_right;         /* the root's own attributes are the source's */
	bool parted;             /* hard links were parted: their attributes need another look */
	bool silent;             /* a second look: nothing is itemized */
	bool left_any;           /* something was left out of the digests */
	bool racy_seen;          /* the source had entries too young to trust their times */
	bool had_links;          /* hard links were here before the run */
	bool made_links;         /* hard links were made or broken */
	struct tree_sum own_sum; /* before the run */
	uint64_t mismatches, mismatches_changed;
	struct buf frame;
	/* State directory; made by whoever needs it first, guarded by state_lock. */
	pthread_mutex_t state_lock;
	int state_fd;
	/* Guarded by lock. */
	pthread_mutex_t lock;
	pthread_cond_t files_moved; /* files were added, landed, or the session ended */
	struct ptrmap files;        /* fid -> dfile */
	struct ptrmap groups;       /* group -> (void *)enum group_state */
	unsigned wants_open;
	bool wants_starved; /* the planner holds requests back and must be woken */
	uint64_t files_open;
	uint64_t stream_files; /* of them, announced by a stream */
	uint64_t ready_links; /* of ready: links, which may wait for a file that is still to come */
	struct dfile *ready, **ready_end; /* complete, waiting for an epoch */
	uint64_t ready_count, ready_bytes, ready_since;
	struct ddir *done, **done_end; /* directories with nothing open below */
	bool compare_done, stopping, root_done;
	struct h128 content; /* sum over landed files */
	struct err failure;
	uint64_t epoch, files_landed;
	unsigned journals_open; /* each keeps two files open until its epoch */
	bool keep_state;        /* a journal was applied in part: recover must find it */
	uint64_t broken_files;  /* content on disk was not what was written */
	_Atomic uint64_t temps;
	_Atomic uint64_t deletes_left; /* of --max-delete; UINT64_MAX: no limit */
	pthread_t writers[WRITERS_MAX], summer, finisher;
	unsigned writer_count;
	pthread_mutex_t events_lock;
	struct item_order order; /* of the lines for our own owner; guarded by events_lock */
};

#include "dest_parts.h"

#endif
