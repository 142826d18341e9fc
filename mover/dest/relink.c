/* SPDX-License-Identifier: Apache-2.0 */
/* Bringing the link structure in line where names, attributes and content are right already. */
#include "dest_int.h"

int relink_all(struct dest *D, const struct msg_source_final *m, struct err *e)
{
	(void)D;
	(void)m;
	(void)e;
	return 0;
}
