/* SPDX-License-Identifier: Apache-2.0 */
#include "fault.h"

#ifdef SCRIBE_FAULTS
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RULES_MAX = 16 };

struct rule {
	char call[24];
	enum fault what;
	int error;
	unsigned long at; /* 0 = always */
	atomic_ulong seen;
};

/* The only mutable state of the process, and only in test builds: written once under `once`. */
static struct rule rules[RULES_MAX];
static int rule_count;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void parse_rule(const char *text, size_t n)
{
	static const struct {
		const char *name;
		int error;
	} errors[] = {{"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT},
		      {"EROFS", EROFS},   {"EACCES", EACCES}, {"EMFILE", EMFILE},
		      {"ENOMEM", ENOMEM}, {"ENOENT", ENOENT}};
	char copy[64];
	char call[24];
	char mode[16];
	unsigned long at = 0;
	if (rule_count == RULES_MAX || n >= sizeof copy)
		return;
	memcpy(copy, text, n);
	copy[n] = '\0';
	if (sscanf(copy, "%23[^:]:%15[^:]:%lu", call, mode, &at) != 3)
		return;
	struct rule *r = &rules[rule_count++];
	memcpy(r->call, call, sizeof r->call);
	r->at = at;
	r->what = strcmp(mode, "drop") == 0   ? FAULT_DROP
		  : strcmp(mode, "flip") == 0 ? FAULT_FLIP
					      : FAULT_ERRNO;
	r->error = EIO;
	for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
		if (strcmp(mode, errors[i].name) == 0)
			r->error = errors[i].error;
}

static void load(void)
{
	const char *text = getenv("SCRIBE_FAULT");
	while (text && *text) {
		size_t n = strcspn(text, ",");
		parse_rule(text, n);
		text += n + (text[n] == ',');
	}
}

enum fault fault_at(const char *call)
{
	pthread_once(&once, load);
	for (int i = 0; i < rule_count; i++) {
		struct rule *r = &rules[i];
		if (strcmp(r->call, call) != 0)
			continue;
		unsigned long seen = atomic_fetch_add(&r->seen, 1) + 1;
		if (r->at && r->at != seen)
			continue;
		if (r->what == FAULT_ERRNO)
			errno = r->error;
		return r->what;
	}
	return FAULT_NONE;
}
#else
typedef int fault_has_no_code;
#endif
