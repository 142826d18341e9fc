/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the source. Threads:
 *   main      takes control messages, opens directories, hands work on; never waits for credit;
 *   lister    the only user of the tree: walks, answers listings, streams; waits for meta credit;
 *   workers   read files and send data; wait for data credit.
 * A worker that needs the destination's sums asks for them and waits in its own mailbox; nothing
 * waits for that worker, so no circle can form.
 */
#ifndef SCRIBE_SOURCE_INT_H
#define SCRIBE_SOURCE_INT_H

#include "bulk.h"
#include "codec.h"
#include "item_order.h"
#include "ptrmap.h"
#include "queue.h"
#include "source.h"
#include "tree.h"

enum { LISTING_BACKLOG_MAX = 1 << 20 };

enum {
	WORKERS_MAX = 4,
	STREAM_JOBS_MAX = 1024,
	JOBS_MAX = WANTS_IN_FLIGHT_MAX + 1024,
	READ_TRIES = 3
};

/* One file to be read. */
struct job {
	uint64_t fid;
	struct dir *dir; /* a reference */
	char *name;      /* owned */
	size_t name_len;
	uint8_t mode;  /* enum want_mode */
	uint64_t sent; /* bytes described to the destination so far */
	bool stream;   /* listed by us: its meta travels again only if it changed since */
	int64_t ctime;
	uint32_t ctime_ns;
	uint64_t basis_size;
	uint8_t *leaves; /* the basis's leaf hashes if the destination sent them at once; owned */
	size_t leaf_count;
};

/* A path that must not count in the final digest. */
struct left_path {
	struct left_path *next;
	struct dir *dir; /* a reference */
	char *name;
	size_t name_len;
};

struct source;

struct worker {
	struct source *s;
	pthread_t thread;
	struct mailbox sums;
	_Atomic uint64_t waiting_for; /* fid whose sums go to this mailbox */
	struct codec *codec;
	struct item item;
	uint8_t *data; /* SEGMENT_RAW_MAX bytes */
	struct buf frame, pack;
	unsigned pack_files; /* in pack; at most PACK_FILES_MAX, so that no file falls far behind
				others */
	uint8_t *packed;     /* compressed form */
};

struct source {
	const struct source_config *c;
	struct link *link;
	struct mailbox control, listing;
	struct queue jobs;
	struct dirs *dirs;
	struct tree tree;
	struct mask mask;
	struct hash_key key;
	struct worker workers[WORKERS_MAX];
	unsigned worker_count;
	pthread_t lister;
	struct bulk_door *door;
	struct bulk_dialler *dialler;
	int64_t clock; /* own clock when the run began */
	uint32_t clock_ns;
	bool verifying;    /* lister only: mark what changed since the run began */
	uint64_t next_fid; /* lister only */
	pthread_mutex_t lock;
	/* Guarded by lock. */
	struct ptrmap handles;  /* destination's handle -> struct dir with a reference */
	struct left_path *left; /* to be left out when the final digest is made */
	struct h128 content;    /* sum over the files sent whole */
	struct err failure;     /* first fatal error of any thread */
	unsigned stream_jobs;   /* of them, those a stream made: bounded, so that room is left for
				   requests */
	uint64_t jobs_open;     /* jobs queued or being read */
	bool stopping;
	pthread_cond_t jobs_done;
	/* Guarded by events_lock: callbacks come one at a time. */
	pthread_mutex_t events_lock;
	struct idmap reported; /* path ids already reported as problems */
	struct item_order order;
};

void *lister_main(void *arg);
/* Lists the names of hard-link groups whose bucket differs (links.c). */
int answer_links(struct source *s, const struct link_frame *f, struct err *e);
void *worker_main(void *arg);

/* Sends the whole of a file that has no usable basis, or takes it into the pack. */
int worker_send_file(struct worker *w, struct job *j, int fd, struct err *e);
/* Sends what differs from the destination's basis. */
int worker_send_patch(struct worker *w, struct job *j, int fd, struct err *e);
/* Ends a file whose ranges were sent: checks that it was one version, sends the end. */
int worker_finish(struct worker *w, struct job *j, int fd, struct h128 sum, struct err *e);
/* One range of the file as segments and holes; adds the leaf terms to *sum when that is not NULL.
 */
int worker_send_range(struct worker *w, struct job *j, int fd, uint64_t from, uint64_t to,
		      struct h128 *sum, struct err *e);
int worker_send_end(struct worker *w, struct job *j, enum file_status status, int error,
		    uint64_t size, struct h128 content, const struct meta *meta, struct err *e);
int worker_segment(struct worker *w, struct job *j, const uint8_t *p, size_t n, uint64_t offset,
		   struct err *e);
int worker_hole(struct worker *w, struct job *j, uint64_t offset, uint64_t length, struct err *e);
int worker_copy(struct worker *w, struct job *j, uint64_t dst, uint64_t src, uint64_t length,
		struct err *e);

void source_issue(struct source *s, enum issue_kind kind, enum err_code code, int error,
		  const struct dir *d, struct bytes name, const char *text);
void source_leave_out(struct source *s, struct dir *d, struct bytes name);
void source_fail(struct source *s, const struct err *why);
/* Queues a job (ownership taken); waits while too many are queued. */
/* True if source_push_job() would wait. */
bool source_jobs_full(struct source *s);
int source_push_job(struct source *s, struct job *j);
void job_free(struct source *s, struct job *j);
int64_t source_clock(void);
int source_close_dir(struct source *s, const struct link_frame *f, struct err *e);

#endif
