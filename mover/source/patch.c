/* SPDX-License-Identifier: Apache-2.0 */
#include "source_int.h"

int worker_send_patch(struct worker *w, struct job *j, int fd, struct err *e)
{
	return worker_send_file(w, j, fd, e);
}
