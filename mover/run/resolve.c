/* SPDX-License-Identifier: Apache-2.0 */
#include "resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem.h"
#include "text.h"

static int step(int at, const char *name, bool make, struct err *e)
{
	int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(at, name, flags);
	if (fd < 0 && errno == ENOENT && make && mkdirat(at, name, 0755) == 0)
		fd = openat(at, name, flags);
	if (fd < 0) {
		char text[TEXT_ESCAPED_MAX];
		text_escape(text, sizeof text, name, strlen(name));
		if (errno == ENOTDIR || errno == ELOOP)
			return err_set(e, ERR_FAILURE,
				       "%s is not a directory (symbolic links are not followed)",
				       text);
		return err_sys(e, ERR_FAILURE, "cannot open directory %s", text);
	}
	return fd;
}

int run_resolve(int root_fd, const char *path, size_t n, bool make, struct err *e)
{
	int at = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (at < 0)
		return err_sys(e, ERR_FAILURE, "cannot open the root directory");
	const char *end = path + n;
	while (path < end) {
		const char *slash = memchr(path, '/', (size_t)(end - path));
		size_t len = slash ? (size_t)(slash - path) : (size_t)(end - path);
		CLEANUP_FREE char *name = mem_dup(path, len);
		path += len + 1;
		if (len == 0 || strcmp(name, ".") == 0)
			continue;
		if (strcmp(name, "..") == 0 || len > 255) {
			close(at);
			return err_set(e, ERR_USAGE,
				       "path has a component that is not allowed ('..' or over 255 "
				       "bytes)");
		}
		/* Only the last one is made: a path with several missing is more likely a slip. */
		const char *rest = path;
		while (rest < end && *rest == '/')
			rest++;
		bool last = rest >= end;
		int next = step(at, name, make && last, e);
		close(at);
		if (next < 0)
			return -1;
		at = next;
	}
	return at;
}
