/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shifted matches between two versions of one file, by librsync. The only door to librsync.
 *
 * The destination makes a signature of a window of its old file (the basis); the source loads it
 * and gets a range of its new file described as COPY and LITERAL commands. The commands travel in
 * the mover's own frames, so nobody parses librsync's delta format from a peer, and the destination
 * applies them by itself (rsdelta_check_copy() first).
 *
 * librsync verifies nothing: its block sums are public functions cut to 12 bytes. Whoever applies
 * commands must check the result against a seeded hash of the source's bytes.
 *
 * Thread rules: no shared state. A struct rsdelta_sig is read-only after loading and may serve
 * several rsdelta_delta() calls in different threads at once.
 */
#ifndef SCRIBE_RSDELTA_H
#define SCRIBE_RSDELTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"

enum {
	RSDELTA_WINDOW_MAX =
		66 << 20, /* bytes of basis behind one signature: 64 MiB and 1 MiB each way */
	RSDELTA_RANGE_MAX = 256 << 20, /* bytes of source in one rsdelta_delta() */
	RSDELTA_BLOCK_MIN = 512,
	RSDELTA_BLOCK_MAX = 16 << 10,
	RSDELTA_BLOCKS_MAX = 64 << 10, /* blocks in one signature */
	RSDELTA_STRONG = 12,           /* bytes of strong sum per block */
	RSDELTA_SIG_HEADER = 12,
	RSDELTA_SIG_RECORD = 4 + RSDELTA_STRONG,
	RSDELTA_SIG_MAX = RSDELTA_SIG_HEADER + RSDELTA_BLOCKS_MAX * RSDELTA_SIG_RECORD,
	RSDELTA_LITERAL_MAX = 256 << 10, /* bytes in one LITERAL command */
	RSDELTA_STOPPED = 1,             /* rsdelta_delta(): the stop callback ended it */
};

/* The block length the mover uses for a window of this many bytes. */
size_t rsdelta_block_len(uint64_t window_len);
/* Exact length of the signature of such a window; 0 if it is beyond the limits above. */
size_t rsdelta_sig_len(uint64_t window_len, size_t block_len);

/*
 * Appends the signature of bytes [off, off+len) of fd to out (whose max must allow
 * rsdelta_sig_len() more). len is 1..RSDELTA_WINDOW_MAX. Reads with pread.
 * ERR_CHANGED when the file ends inside the window, ERR_USAGE beyond limits, else ERR_FAILURE.
 * On failure out is left as it was.
 */
int rsdelta_signature(int fd, uint64_t off, uint64_t len, size_t block_len, struct buf *out,
		      struct err *e);

struct rsdelta_sig;

/*
 * Checks and loads a signature that a peer says it made of a window of window_len bytes. Copies
 * what it needs. ERR_PROTOCOL for anything rsdelta_signature() could not have made. Signatures
 * full of colliding weak sums (a crafted file) are accepted, and weakened where they collide.
 */
int rsdelta_load(const void *p, size_t n, uint64_t window_len, struct rsdelta_sig **out,
		 struct err *e);
void rsdelta_sig_free(struct rsdelta_sig *s); /* NULL is fine */
uint64_t rsdelta_sig_window(const struct rsdelta_sig *s);

enum rsdelta_kind { RSDELTA_COPY, RSDELTA_LITERAL };

struct rsdelta_cmd {
	enum rsdelta_kind kind;
	uint64_t src;         /* where in the source file these bytes stand */
	uint64_t from;        /* COPY: where in the basis *window* they are found */
	uint64_t len;         /* > 0; LITERAL: <= RSDELTA_LITERAL_MAX; COPY: inside the window */
	const uint8_t *bytes; /* LITERAL: the bytes, valid during the callback; COPY: NULL */
};

struct rsdelta_stats {
	uint64_t consumed; /* bytes of source given to the search */
	uint64_t covered;  /* bytes of source emitted as commands, always a prefix of the range */
	uint64_t copied;
	uint64_t literal;
	uint64_t copies; /* commands */
	uint64_t literals;
	uint64_t ns; /* CPU time of the calling thread, callbacks included */
};

struct rsdelta_sink {
	/* Takes the next command; commands come in source order without gaps. Negative with *e set
	 * ends the search with that error. */
	int (*emit)(void *arg, const struct rsdelta_cmd *c, struct err *e);
	/* Asked before each piece of <= 256 KiB of input; true ends the search. May be NULL. */
	bool (*stop)(void *arg, const struct rsdelta_stats *so_far);
	void *arg;
};

/*
 * Describes bytes [off, off+len) of fd (len <= RSDELTA_RANGE_MAX; 0 is an empty description).
 * *st is filled in every case. Returns 0 when everything is described; RSDELTA_STOPPED when stop()
 * said so: then [off, off + st->covered) is described and the caller sends the rest as literals;
 * -1 on failure (ERR_CHANGED when the file ends inside the range, ERR_PROTOCOL when the signature
 * proves to be a lie); commands emitted before a failure are to be forgotten. Takes about 700 KiB
 * of memory for the time of the call.
 */
int rsdelta_delta(const struct rsdelta_sig *s, int fd, uint64_t off, uint64_t len,
		  const struct rsdelta_sink *sink, struct rsdelta_stats *st, struct err *e);

/*
 * The usual stop rule: true when the search is a waste (8 MiB searched and under 5 % found) or
 * a trap (more than 250 ms + 60 ns per byte of CPU; honest data takes 2-10 ns per byte).
 */
bool rsdelta_hopeless(const struct rsdelta_stats *so_far);

/* Is a COPY from the peer inside the window? 0, or -1 with ERR_PROTOCOL. */
int rsdelta_check_copy(uint64_t from, uint64_t len, uint64_t window_len, struct err *e);

#endif
