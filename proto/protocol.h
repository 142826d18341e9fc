/* SPDX-License-Identifier: Apache-2.0 */
/* The named maxima, flags and codes of the protocol (SPEC.md 3). Every length that a peer states is
 * held against one of them. */
#ifndef SCRIBE_PROTOCOL_H
#define SCRIBE_PROTOCOL_H

#include "entry.h"

enum {
	PROTOCOL_VERSION = 1,
	FRAME_HEADER_BYTES = 8,
	FRAME_BODY_MAX = 1 << 20,
	FRAME_PAYLOAD_MAX = FRAME_BODY_MAX + 4096,
	PATH_BYTES_MAX = 65536,
	ABORT_TEXT_MAX = 480,
	SOURCE_ID_MAX = 253,
	FILTER_WIRE_BYTES_MAX = 300000,
	PREFIX_BYTES_MAX = 65536,
	CONFIRM_BYTES_MAX = 262144,
	WANT_LEAVES_MAX = 64,
	SUMS_COUNT_MAX = 16384,
	LEAF_BYTES = 65536,
	PAGE_BYTES = 4096,
	WINDOW_LEAVES = 1024,
	PACK_RAW_MAX = 1 << 20,
	PACK_FILE_MAX = 128 << 10, /* larger files travel as segments */
	PACK_FILES_MAX = 1024,
	SEGMENT_RAW_MAX = 256 << 10,
	SIGNATURE_WINDOW_MAX = 66 << 20,
	LINK_BUCKETS = 4096,
	LISTS_IN_FLIGHT_MAX = 16,
	WANTS_IN_FLIGHT_MAX = 4096,
	TRIE_LIST_MAX = 512, /* a prefix with at most so many entries is listed, not split */
	TRIE_DEPTH_MAX = 6,
	TRIE_FANOUT = 256,
	NODE_BYTES = 24, /* h128 sum, u64 count */
	LINGER_SECONDS = 30,
	HEARTBEAT_SECONDS = 10,
	DEAD_SECONDS = 120,
};
#define CREDIT_MAX (1ull << 32)
#define HANDLE_MAX (UINT64_MAX)
/* File ids with this bit are given out by the source, for files of a stream; others by the
 * destination. */
#define FID_STREAM 1u
/* In a stream: instead of an entry's flags, the end of the current directory; one byte of enum
 * list_flags follows. */
#define STREAM_LEAVE 0xffu

enum channel { CH_CONTROL, CH_META, CH_DATA, CHANNELS };

/* Bytes that a side may have sent and not yet seen credited, per channel with credits. */
enum { WINDOW_META = 1 << 20, WINDOW_DATA = 16 << 20, CONTROL_BACKLOG_MAX = 8 << 20 };

enum role { ROLE_SOURCE = 1, ROLE_DESTINATION = 2, ROLE_BULK = 3 };

enum option_flags {
	OPT_DELETE = 1 << 0,
	OPT_DRY_RUN = 1 << 1,
	OPT_ITEMIZE = 1 << 2,
	OPT_CHECKSUM = 1 << 3,
	OPT_ONE_FILE_SYSTEM = 1 << 4,
	OPT_ALLOW_EMPTY = 1 << 5,
	OPT_ACCEPT_NEW_SOURCE = 1 << 6,
	OPT_FLAGS_ALL = (1 << 7) - 1,
};

/* Attributes and kinds: what the options ask for, and in BEGIN_OK what the destination can hold. */
enum attr_flags {
	ATTR_OWNER = 1 << 0,
	ATTR_GROUP = 1 << 1,
	ATTR_PERMS = 1 << 2,
	ATTR_TIMES = 1 << 3,
	ATTR_ACLS = 1 << 4,
	ATTR_XATTRS = 1 << 5,     /* user.* */
	ATTR_CAPABILITY = 1 << 6, /* security.capability */
	ATTR_SYMLINKS = 1 << 7,
	ATTR_HARD_LINKS = 1 << 8,
	ATTR_DEVICES = 1 << 9,
	ATTR_SPECIALS = 1 << 10, /* FIFOs and sockets */
	ATTR_SPARSE = 1 << 11,
	ATTR_SECURITY = 1 << 12, /* security.* of labels, only when asked for */
	ATTR_TRUSTED = 1 << 13,  /* trusted.*, only when asked for */
	ATTR_SHUT =
		1 << 14, /* the destination can look into what its mode shuts the owner out of */
	ATTR_ALL = (1 << 15) - 1,
	ATTR_DEFAULT = ((1 << 12) - 1) | ATTR_SHUT,
};

enum destination_state { DESTINATION_EMPTY = 1, DESTINATION_HAS_RECORD = 2 };
enum in_place { IN_PLACE_AUTO, IN_PLACE_NEVER, IN_PLACE_ALWAYS };
enum list_kind { LIST_ENTRIES, LIST_NODES };
enum entries_kind { ENTRIES_REPLY, ENTRIES_STREAM };
enum list_flags {
	LISTED_INCOMPLETE = 1, /* something could not be read: nothing may be deleted here */
	LISTED_GONE = 2,
	LISTED_CHANGED = 4, /* the directory itself changed since the run began */
};
enum want_mode { WANT_FULL, WANT_PATCH, WANT_COMPARE };
enum sum_level { SUMS_PAGES, SUMS_LEAVES, SUMS_WINDOWS, SUMS_ANCHORS, SUMS_SIGNATURE };
enum codec_id { CODEC_RAW, CODEC_ZSTD };
enum range_kind { RANGE_COPY, RANGE_HOLE };
enum file_status {
	FILE_OK,
	FILE_SAME,    /* WANT_COMPARE: content equal */
	FILE_CHANGED, /* changed while it was read; what came is no version of it */
	FILE_GONE,
	FILE_FAILED,  /* error = errno of the source */
	FILE_DIFFERS, /* WANT_COMPARE in a dry run: content differs */
};
enum issue_kind { ISSUE_FAILED, ISSUE_PROTECTED, ISSUE_SKIPPED_MOUNT, ISSUE_NOTE, ISSUE_DELETED };
enum stage {
	STAGE_WALK,
	STAGE_COMPARE,
	STAGE_DATA,
	STAGE_SYNC,
	STAGE_DELETE,
	STAGE_VERIFY,
	STAGE_COMMIT
};

#endif
