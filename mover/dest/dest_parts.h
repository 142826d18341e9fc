/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the destination offer each other; included by dest_int.h. */
#ifndef SCRIBE_DEST_PARTS_H
#define SCRIBE_DEST_PARTS_H

#include "dest_types.h"

struct dest;

enum group_state { GROUP_PENDING = 1, GROUP_ANCHORED = 2, GROUP_LOST = 3 };

/* dest.c */
void dest_fail(struct dest *D, const struct err *why);
void dest_issue(struct dest *D, enum issue_kind kind, enum err_code code, int error,
		const struct dir *d, struct bytes name, const char *text);
/* Counts an entry as failed: reported, left out of the digests of both sides. term: what its
 * content would have added. Any thread. */
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
/* Asks for a file, now or when its turn comes. The planner itself never waits: what would end its
 * waiting may be a message to it. */
int plan_want(struct dest *D, const struct msg_want *m, struct err *e);
/* Compares the whole tree once more, pruned by digests, and waits for what comes of it. */
int plan_again(struct dest *D, uint64_t children_there, struct err *e);
int plan_handle(struct dest *D, struct ddir *dd, struct err *e);

/* compare.c */
/* Itemizes what changes on the root directory itself. */
void compare_root(struct dest *D);
/* The inode of a group's anchor in the state directory is dirfd/name's. */
void anchor_name(uint64_t group, char out[TEMP_NAME_MAX]);
void group_set(struct dest *D, uint64_t group, enum group_state s);
int compare_entry(struct dest *D, struct ddir *dd, struct visit *v, const struct entry *en,
		  bool absent, struct err *e);
void item_line(struct dest *D, const char code[11], const struct dir *d, struct bytes name,
	       char arrow, struct bytes target);
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
/* Makes a file object. It is open (and writers can find it by its id) only once it is published. */
struct dfile *dfile_new(struct ddir *dd, const struct entry *en, uint64_t fid);
void dfile_publish(struct dest *D, struct dfile *f);
/* Both at once. apart: the file is brought on its own although it is in a hard-link group. */
struct dfile *dfile_start(struct dest *D, struct ddir *dd, const struct entry *en, uint64_t fid,
			  uint8_t own_type, bool apart);
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
/* True if nothing below d/name has to stay (excluded names, mounts) and --max-delete allows all of
 * it, which is then taken off. */
/* Removes a directory that was a temp of a dead run. */
void remove_temp_dir(struct dest *D, struct dir *d, struct bytes name);
/* Removes what a directory contains, whatever it is, but never across a mount. */
int remove_content(struct dest *D, struct dir *d, struct err *e);
bool removable(struct dest *D, struct dir *d, struct bytes name);
int run_deletions(struct dest *D, struct err *e);

/* verify.c */
int verify_entry(struct dest *D, struct ddir *dd, struct visit *v, const struct entry *en,
		 struct err *e);
void verify_extra(struct dest *D, struct ddir *dd, struct bytes name, uint8_t list_flags);

/* relink.c */
/* Joins and parts names until the link structure is the source's. */
int relink_all(struct dest *D, const struct msg_source_final *m, struct err *e);

/* final.c */
int finish_run(struct dest *D, struct run_result *result, struct err *e);
void state_remove(struct dest *D);

#endif
