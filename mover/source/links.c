/* SPDX-License-Identifier: Apache-2.0 */
#include "source_int.h"

int answer_links(struct source *s, const struct link_frame *f, struct err *e)
{
	(void)s;
	(void)f;
	return err_set(e, ERR_PROTOCOL, "not yet");
}
