/* SPDX-License-Identifier: Apache-2.0 */
#include "journal.h"

#include <stdlib.h>

struct journal {
	int fd;
};

bool journal_wanted(const struct dest *D, const struct dfile *f)
{
	(void)D;
	(void)f;
	return false;
}

int journal_open(struct dest *D, struct dfile *f, struct err *e)
{
	(void)D;
	(void)f;
	return err_set(e, ERR_FAILURE, "in-place update is not available");
}

void journal_free(struct journal *j)
{
	free(j);
}

int journal_data(struct journal *j, const uint8_t *p, size_t n, uint64_t offset, struct err *e)
{
	(void)j;
	(void)p;
	(void)n;
	(void)offset;
	return err_set(e, ERR_FAILURE, "in-place update is not available");
}

int journal_hole(struct journal *j, uint64_t offset, uint64_t n, struct err *e)
{
	return journal_data(j, NULL, (size_t)n, offset, e);
}

int journal_into(struct journal *j, int fd, struct err *e)
{
	return journal_data(j, NULL, 0, (uint64_t)fd, e);
}

void journal_discard(struct dest *D, struct journal *j)
{
	(void)D;
	journal_free(j);
}

int journal_seal(struct dest *D, struct dfile *f, const struct meta *m, struct err *e)
{
	(void)m;
	return journal_open(D, f, e);
}

int journal_apply(struct dest *D, struct dfile *f, struct err *e)
{
	return journal_open(D, f, e);
}

int journal_sync(struct journal *j, struct err *e)
{
	return journal_data(j, NULL, 0, 0, e);
}

int journal_replay(int root_fd, int state_fd, const char *name, struct err *e)
{
	(void)root_fd;
	(void)state_fd;
	(void)name;
	(void)e;
	return 0;
}
