/* SPDX-License-Identifier: Apache-2.0 */
/* The decision behind the fault hooks of sys.h. Any thread. */
#ifndef SCRIBE_FAULT_H
#define SCRIBE_FAULT_H

enum fault { FAULT_NONE, FAULT_DROP, FAULT_FLIP, FAULT_ERRNO /* errno is set */ };

#ifdef SCRIBE_FAULTS
/* Counts one call of that name and says what is to happen to it. */
enum fault fault_at(const char *call);
#else
static inline enum fault fault_at(const char *call)
{
	(void)call;
	return FAULT_NONE;
}
#endif

#endif
