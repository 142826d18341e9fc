/* SPDX-License-Identifier: Apache-2.0 */
#include "scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fault.h"
#include "mem.h"
#include "sys.h"

/* What getdents64(2) returns. */
struct dirent_kernel {
	uint64_t ino;
	int64_t offset;
	uint16_t length;
	uint8_t type;
	char name[];
};

static int open_again(struct scan *s, struct dirs *ds, struct dir *d, struct err *e)
{
	int held = dir_pin(ds, d, e);
	if (held < 0)
		return -1;
	s->fd = sys_openat(held, ".", O_RDONLY | O_DIRECTORY, 0);
	int sys = errno;
	dir_unpin(ds, d);
	if (s->fd < 0) {
		errno = sys;
		return err_sys(e, ERR_FAILURE, "cannot read directory");
	}
	s->buffer = mem_alloc_raw(SCAN_BUFFER);
	return 0;
}

int scan_init(struct scan *s, struct dirs *ds, struct dir *d, struct err *e)
{
	*s = (struct scan){.fd = -1};
	return open_again(s, ds, d, e);
}

void scan_release(struct scan *s)
{
	if (s->fd >= 0)
		close(s->fd);
	free(s->buffer);
	*s = (struct scan){.fd = -1};
}

void scan_suspend(struct scan *s)
{
	close(s->fd);
	free(s->buffer);
	s->fd = -1;
	s->buffer = NULL;
	s->at = s->end = 0;
}

int scan_resume(struct scan *s, struct dirs *ds, struct dir *d, struct err *e)
{
	if (open_again(s, ds, d, e) < 0)
		return -1;
	if (lseek(s->fd, s->offset, SEEK_SET) < 0)
		return err_sys(e, ERR_FAILURE, "cannot seek in directory");
	return 0;
}

int scan_next(struct scan *s, struct bytes *name, unsigned char *type, struct err *e)
{
	for (;;) {
		if (s->at == s->end) {
			long n = fault_at("getdents") == FAULT_ERRNO
					 ? -1
					 : syscall(SYS_getdents64, s->fd, s->buffer, SCAN_BUFFER);
			if (n < 0)
				return err_sys(e, ERR_FAILURE, "cannot read directory");
			if (n == 0)
				return 0;
			s->at = 0;
			s->end = (size_t)n;
		}
		const struct dirent_kernel *d = (const void *)(s->buffer + s->at);
		s->at += d->length;
		s->offset = d->offset;
		size_t n = strlen(d->name);
		if (d->name[0] == '.' && (n == 1 || (n == 2 && d->name[1] == '.')))
			continue;
		if (fault_at("readdir-entry") == FAULT_DROP)
			continue;
		*name = (struct bytes){.p = (const uint8_t *)d->name, .n = n};
		*type = d->type;
		return 1;
	}
}
