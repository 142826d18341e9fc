/* SPDX-License-Identifier: Apache-2.0 */
/* The objects of a run at the destination: directories, files on their way, deletions. */
#ifndef SCRIBE_DEST_TYPES_H
#define SCRIBE_DEST_TYPES_H

#include "codec.h"
#include "dest.h"
#include "ptrmap.h"
#include "tree.h"

enum {
	WRITERS_MAX = 4,
	EPOCH_FILES = 8192,
	EPOCH_BYTES = 256 << 20,
	EPOCH_SECONDS = 5,
	READY_MAX = 2 * EPOCH_FILES,            /* complete files that may wait for an epoch */
	STREAM_FILES_MAX = 16 * PACK_FILES_MAX, /* announced ones whose content is still to come */
	EPOCH_JOURNALS = 64,
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
	bool touched;     /* something in it changed: times must be set again */
	bool dead;        /* could not be made: what comes for it is dropped */
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
	bool link;           /* no content: to be linked to the group's anchor */
	bool can_clone;      /* the filesystem shares extents */
	bool compare_only;   /* WANT_COMPARE: the file may prove equal */
	uint64_t seq;        /* place of its itemize line, if that is only known later */
	uint64_t group;      /* hard-link group, 0 = none */
	uint64_t basis_size; /* size of the old file if it serves as basis */
	uint64_t own_nlink;
	/* Guarded by lock. */
	pthread_mutex_t lock;
	enum file_way way;
	int fd, basis_fd; /* temp or clone; old file */
	uint64_t temp;    /* number of the temp's name */
	struct journal *journal;
	uint64_t covered, matched;
	bool ended, broken;
	bool same; /* WANT_COMPARE: content is equal */
	bool has_temp;
	bool no_content; /* made here, counts as no transfer */
	struct h128 content;
	struct err why;          /* why it is broken */
	struct msg_file_end end; /* meta copied to `meta` */
	/* Guarded by dest.lock. */
	unsigned users; /* writers that hold it */
	bool claimed;   /* somebody concludes it; nobody may find it any more */
	/* Owned by whoever holds the list it is on. */
	struct dfile *next;
	struct h128 term; /* what it adds to the content sum */
	uint64_t bytes;
};

/* A request that waits for its turn: so many files may be asked for at once. */
struct held_want {
	struct held_want *next;
	size_t n;
	uint8_t payload[];
};

/* A name that the source does not have. */
struct deletion {
	struct deletion *next;
	struct dir *d; /* a reference */
	char *name;
	size_t name_len;
};

#endif
