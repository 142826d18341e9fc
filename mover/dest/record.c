/* SPDX-License-Identifier: Apache-2.0 */
/* The record of the last committed run: an xattr of the root, or a file where xattrs are missing.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "dest.h"
#include "sys.h"

enum { RECORD_MAX = 512, RECORD_VERSION = 1 };

static const char *const names[] = {ATTR_RESERVED_TRUSTED "record", ATTR_RESERVED_USER "record"};

static int decode(struct dest_record *r, const uint8_t *p, size_t n)
{
	struct cursor c = cursor_of(p, n);
	if (get_u8(&c) != RECORD_VERSION)
		return -1;
	struct bytes id = get_bytes(&c, SOURCE_ID_MAX);
	memset(r->source_id, 0, sizeof r->source_id);
	if (id.n)
		memcpy(r->source_id, id.p, id.n);
	r->incarnation = get_u64(&c);
	r->sync_number = get_var(&c, UINT64_MAX);
	struct bytes run = get_raw(&c, RUN_ID_BYTES);
	if (run.n)
		memcpy(r->run_id, run.p, run.n);
	r->data_as_of = get_svar(&c);
	r->data_as_of_ns = (uint32_t)get_var(&c, 999999999);
	r->source_clock = get_svar(&c);
	r->root_hash = get_h128(&c);
	r->present = !c.bad;
	return c.bad ? -1 : 0;
}

int dest_record_read(int root_fd, struct dest_record *r, struct err *e)
{
	uint8_t raw[RECORD_MAX];
	*r = (struct dest_record){0};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		ssize_t n = sys_getxattr(root_fd, NULL, names[i], raw, sizeof raw);
		if (n >= 0)
			return decode(r, raw, (size_t)n) < 0
				       ? err_set(e, ERR_FAILURE,
						 "the record of the last run (%s) is damaged; "
						 "remove it with setfattr -x",
						 names[i])
				       : 0;
		if (errno != ENODATA && errno != EOPNOTSUPP && errno != EPERM)
			return err_sys(e, ERR_FAILURE, "cannot read the record of the last run");
	}
	return 0;
}

int dest_record_write(int root_fd, const struct dest_record *r, struct err *e)
{
	uint8_t raw[RECORD_MAX];
	struct buf b = {.data = raw, .cap = sizeof raw, .max = sizeof raw};
	buf_put_u8(&b, RECORD_VERSION);
	put_bytes(&b, r->source_id, strlen(r->source_id));
	put_u64(&b, r->incarnation);
	put_var(&b, r->sync_number);
	buf_put(&b, r->run_id, RUN_ID_BYTES);
	put_svar(&b, r->data_as_of);
	put_var(&b, r->data_as_of_ns);
	put_svar(&b, r->source_clock);
	put_h128(&b, r->root_hash);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (sys_setxattr(root_fd, NULL, names[i], raw, b.len) == 0)
			return 0;
		if (errno != EOPNOTSUPP && errno != EPERM)
			break;
	}
	/* Without a record the next run compares by size and mtime as ever; only what was rewritten
	 * within one tick of the clock could be missed, so this is not worth failing a good run. */
	return err_sys(e, ERR_FAILURE, "cannot keep the record of this run at the destination");
}
