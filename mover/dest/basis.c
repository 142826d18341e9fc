/* SPDX-License-Identifier: Apache-2.0 */
/* The summer thread: hashes, anchors and signatures of old files, asked for by the source. */
#include "dest_int.h"

void *summer_main(void *arg)
{
	struct dest *D = arg;
	struct link_frame *f;
	while ((f = mailbox_take(&D->sums, -1)))
		link_done(D->link, f);
	return NULL;
}
