/* SPDX-License-Identifier: Apache-2.0 */
/* What a dead run left below a replica's root, and getting rid of it. The caller holds the root's
 * lock. */
#ifndef SCRIBE_STATE_H
#define SCRIBE_STATE_H

#include "dest.h"

/* Replays complete journals of TREE_STATE_DIR and removes the directory; does nothing where there
 * is none. Temps beside the files are removed by state_remove_temps(). */
int state_recover(int root_fd, struct recover_result *result, struct err *e);
/* Removes temps of dead runs everywhere below root_fd; directory times stay. */
int state_remove_temps(int root_fd, struct recover_result *result, struct err *e);

#endif
