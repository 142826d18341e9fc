/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the destination. Threads:
 *   planner   (the caller's) takes control and meta messages, uses the tree, decides, makes directories
 *             and special files, fixes metadata of unchanged files, deletes, verifies, commits;
 *   writers   take data messages, fill temps and journals, verify what was written by reading it back;
 *   summers   hash and sign old files when the source asks;
 *   finisher  closes epochs: sync, rename, directory metadata, sync, acknowledge (mover rules 3).
 * Writers never wait for the planner's credit-bound sends, so data is always consumed.
 */
#ifndef SCRIBE_DEST_INT_H
#define SCRIBE_DEST_INT_H

#include "codec.h"
#include "dest.h"
#include "ptrmap.h"
#include "tree.h"

enum {
	WRITERS_MAX = 4,
	EPOCH_FILES = 8192,
	EPOCH_BYTES = 256 << 20,
	EPOCH_SECONDS = 5,
	SYNC_EACH_BELOW = 64, /* so few files are synced one by one */
	TEMP_NAME_MAX = 64,
	FRAME_LOCAL = CHANNELS, /* channel of frames that own threads put into a mailbox */
};

/* A directory of this run. It is finished when nothing below it is open any more. */
struct ddir {
	struct dir *d; /* a reference */
	struct ddir *parent;
	uint64_t handle;
	uint8_t *meta; /* wanted, encoded; owned; NULL: leave as it is */
	size_t meta_len;
	bool has_handle; /* known to the source under `handle` */
	/* Guarded by dest.lock. */
	unsigned pending; /* own listing, child directories and files that are open */
	bool touched;	  /* something in it changed: times must be set again */
	struct ddir *next;
};

enum file_way {
	WAY_NONE,    /* nothing opened yet */
	WAY_TEMP,    /* a new file beside the old one */
	WAY_CLONE,   /* the same, starting as a reflink of the old one */
	WAY_JOURNAL, /* redo records, applied to the old file after they are durable */
};

struct journal;

/* A file whose content is on its way, or a name that is to become a hard link. */
struct dfile {
	uint64_t fid;
	struct ddir *dd;
	char *name; /* owned */
	size_t name_len;
	uint8_t *meta; /* wanted, encoded; owned */
	size_t meta_len;
	uint8_t own_type;    /* what stands there now, 0 = nothing */
	bool link;	     /* no content: to be linked to the group's anchor */
	bool compare_only;   /* WANT_COMPARE: the file may prove equal */
	uint64_t seq;	     /* place of its itemize line, if that is only known later */
	uint64_t group;	     /* hard-link group, 0 = none */
	uint64_t basis_size; /* size of the old file if it serves as basis */
	uint64_t own_nlink;
	/* Guarded by lock. */
	pthread_mutex_t lock;
	enum file_way way;
	int fd, basis_fd; /* temp or clone; old file */
	uint64_t temp;	  /* number of the temp's name */
	struct journal *journal;
	uint64_t covered, matched;
	bool ended, broken;
	bool same; /* WANT_COMPARE: content is equal */
	bool has_temp;
	bool no_content; /* made here, counts as no transfer */
	struct h128 content;
	struct err why; /* why it is broken */
	struct msg_file_end end; /* meta copied to `meta` */
	/* Owned by whoever holds the list it is on. */
	struct dfile *next;
	struct h128 term; /* what it adds to the content sum */
	uint64_t bytes;
};

/* A name that the source does not have. */
struct deletion {
	struct deletion *next;
	struct ddir *dd; /* keeps nothing open; valid until the end of the run */
	struct dir *d;	 /* a reference */
	char *name;
	size_t name_len;
};

struct request;
struct task;

struct dest {
	const struct dest_config *c;
	struct run_options *o; /* borrowed from c */
	struct link *link;
	struct mailbox inbox, data, sums;
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
	uint64_t next_req, next_handle, next_fid, next_seq;
	uint64_t line_seq; /* place of the next itemize line, 0: at the end */
	unsigned lists_open;
	struct ddir *stream_at;	 /* current directory of the running stream */
	struct ddir *stream_top; /* where it began */
	struct ddir *streams, **streams_end; /* asked for, not yet begun */
	unsigned streams_open;
	struct item own;
	struct deletion *deletions, **deletions_end;
	struct msg_root source_root;
	struct idmap fixed; /* linked inodes whose attributes were set in this run */
		bool changed; /* anything was or would be changed */
	bool verifying;
	bool delete_limit; /* --max-delete was reached */
	bool root_right; /* the root's own attributes are the source's */
	bool left_any;	 /* something was left out of the digests */
	bool racy_seen;	 /* the source had entries too young to trust their times */
	bool had_links;	 /* hard links were here before the run */
	bool made_links; /* hard links were made or broken */
	struct tree_sum own_sum; /* before the run */
	uint64_t mismatches, mismatches_changed;
	struct buf frame;
	/* State directory; made by whoever needs it first, guarded by state_lock. */
	pthread_mutex_t state_lock;
	int state_fd;
	/* Guarded by lock. */
	pthread_mutex_t lock;
	pthread_cond_t files_moved; /* files were added, landed, or the session ended */
	struct ptrmap files;	    /* fid -> dfile */
	struct ptrmap groups;	    /* group -> (void *)enum group_state */
	unsigned wants_open;
	uint64_t files_open;
	struct dfile *ready, **ready_end; /* complete, waiting for an epoch */
	uint64_t ready_count, ready_bytes, ready_since;
	struct ddir *done, **done_end; /* directories with nothing open below */
	bool compare_done, stopping, root_done;
	struct h128 content; /* sum over landed files */
	struct err failure;
	uint64_t epoch, files_landed;
	uint64_t broken_files; /* content on disk was not what was written */
	_Atomic uint64_t temps;
	pthread_t writers[WRITERS_MAX], summer, finisher;
	unsigned writer_count;
	pthread_mutex_t events_lock;
};

enum group_state { GROUP_PENDING = 1, GROUP_ANCHORED = 2, GROUP_LOST = 3 };

/* dest.c */
void dest_fail(struct dest *D, const struct err *why);
void dest_issue(struct dest *D, enum issue_kind kind, enum err_code code, int error,
		const struct dir *d, struct bytes name, const char *text);
/* Counts an entry as failed: reported, left out of the digests of both sides. term: what its content would
 * have added. Any thread. */
void dest_entry_failed(struct dest *D, struct ddir *dd, struct bytes name, const struct err *why,
		       struct h128 term);
/* The fd of the state directory, made when first asked for; -1 with *e. */
int dest_state(struct dest *D, struct err *e);
void temp_name(const struct dest *D, uint64_t number, char out[TEMP_NAME_MAX]);
void dest_wake_planner(struct dest *D);
/* Leaves an entry out of the digests; source_knows: the source did so on its own. Any thread. */
void dest_left_out(struct dest *D, const struct ddir *dd, struct bytes name, struct h128 term,
		   bool source_knows);
/* Hands a file to the planner: a comparison of content is through. */
void dest_tell_planner(struct dest *D, enum message_type type, struct dfile *f);

/* planner.c */
int plan_begin(struct dest *D, struct err *e);
int plan_message(struct dest *D, struct link_frame *f, struct err *e);
/* True once nothing is left to compare or to land. */
bool plan_idle(struct dest *D);
/* Frees what a session that ended early left open; all threads are gone. */
void plan_release(struct dest *D);
struct ddir *ddir_new(struct dest *D, struct ddir *parent, struct dir *d, const struct meta *want);
void ddir_free(struct dest *D, struct ddir *dd);
/* One thing less open in dd; the last one hands it to the finisher. */
void ddir_done_one(struct dest *D, struct ddir *dd);

/* Plans the comparison of a directory that exists on both sides. */
void plan_dir(struct dest *D, struct ddir *dd, uint64_t children_there, uint64_t children_here);
/* Asks for everything below a directory that was just made. */
int plan_stream(struct dest *D, struct ddir *dd, struct err *e);
int plan_handle(struct dest *D, struct ddir *dd, struct err *e);

/* compare.c */
/* Itemizes what changes on the root directory itself. */
void compare_root(struct dest *D);
/* The inode of a group's anchor in the state directory is dirfd/name's. */
void anchor_name(uint64_t group, char out[TEMP_NAME_MAX]);
void group_set(struct dest *D, uint64_t group, enum group_state s);
int compare_entry(struct dest *D, struct ddir *dd, struct visit *v, const struct entry *en, bool absent,
		  struct err *e);
void item_line(struct dest *D, const char code[11], const struct dir *d, struct bytes name, char arrow,
	       struct bytes target);
/* Gives up the reserved place of a file's itemize line. Any thread. */
void item_void(struct dest *D, uint64_t seq);
int item_deleting(struct dest *D, struct dir *d, struct bytes name, uint8_t type);

/* writer.c */
void *writer_main(void *arg);
void file_over(struct dest *D, struct dfile *f);
/* The content hash of an open file as it is on disk; data is SEGMENT_RAW_MAX bytes of scratch. */
int content_of(int fd, uint64_t size, bool punch, uint8_t *data, struct h128 *out, struct err *e);
/* compare.c: what a comparison of content led to. */
int compare_over(struct dest *D, struct dfile *f, struct err *e);
struct dfile *dfile_new(struct dest *D, struct ddir *dd, const struct entry *en, uint64_t fid);
/* Makes an empty file complete; nothing comes from the source for it. */
int file_empty(struct dest *D, struct dfile *f);
void dfile_free(struct dest *D, struct dfile *f);
/* Gives up on a file: temp removed, entry failed. Takes it out of the table. */
void dfile_give_up(struct dest *D, struct dfile *f, const struct err *why);
/* Puts a complete file on the epoch's list. */
void dfile_ready(struct dest *D, struct dfile *f);

/* basis.c */
void *summer_main(void *arg);

/* epoch.c */
void *finisher_main(void *arg);

/* land.c */
int land_file(struct dest *D, struct dfile *f, struct err *e);
int land_temp(struct dest *D, struct ddir *dd, int dirfd, const char *temp, const char *name,
	      uint8_t own_type, bool new_is_dir, struct err *e);

/* remove.c */
/* Removes dirfd/name and everything below it that may go. 1: something had to stay. */
int remove_entry(struct dest *D, struct dir *d, struct bytes name, struct err *e);
/* True if nothing below d/name has to stay (excluded names, mounts). */
/* Removes a directory that was a temp of a dead run. */
void remove_temp_dir(struct dest *D, struct dir *d, struct bytes name);
/* Removes what a directory contains, whatever it is, but never across a mount. */
int remove_content(struct dest *D, struct dir *d, struct err *e);
bool removable(struct dest *D, struct dir *d, struct bytes name);
int run_deletions(struct dest *D, struct err *e);

/* verify.c */
int verify_entry(struct dest *D, struct ddir *dd, struct visit *v, const struct entry *en, struct err *e);
void verify_extra(struct dest *D, struct ddir *dd, struct bytes name, uint8_t list_flags);

/* relink.c */
/* Joins and parts names until the link structure is the source's. */
int relink_all(struct dest *D, const struct msg_source_final *m, struct err *e);

/* final.c */
int finish_run(struct dest *D, struct run_result *result, struct err *e);
void state_remove(struct dest *D);

#endif
