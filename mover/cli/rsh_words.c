/* SPDX-License-Identifier: Apache-2.0 */
#include "rsh_words.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

static const char blanks[] = " \t\n";

/* Copies one word to out, which is long enough for it. Returns what follows, NULL with *why. */
static const char *take_word(const char *p, char *out, const char **why)
{
	char quote = '\0';
	for (; *p && (quote || !strchr(blanks, *p)); p++) {
		if (quote && *p == quote) {
			quote = '\0';
		} else if (!quote && (*p == '\'' || *p == '"')) {
			quote = *p;
		} else if (*p == '\\' && quote != '\'') {
			/* Between double quotes most letters keep the backslash before them. */
			if (!p[1]) {
				*why = "a backslash stands at the end";
				return NULL;
			}
			if (quote && !strchr("\"\\$`", p[1]))
				*out++ = *p;
			*out++ = *++p;
		} else {
			*out++ = *p;
		}
	}
	*out = '\0';
	*why = "a quote is not closed";
	return quote ? NULL : p;
}

int rsh_words(const char *text, char ***words, struct err *e)
{
	char **list = mem_alloc(RSH_WORDS_MAX + 1, sizeof *list);
	CLEANUP_FREE char *word = mem_alloc_raw(strlen(text) + 1);
	const char *why = "it is empty";
	int n = 0;
	const char *p = text + strspn(text, blanks);
	while (*p && n < RSH_WORDS_MAX) {
		p = take_word(p, word, &why);
		if (!p)
			break;
		list[n++] = mem_strdup(word);
		p += strspn(p, blanks);
	}
	if (p && !*p && n > 0) {
		*words = list;
		return n;
	}
	if (p && *p)
		why = "it has too many words";
	rsh_words_free(list);
	return err_set(e, ERR_USAGE, "%s; wanted a command line such as \"ssh -p 2222\"", why);
}

void rsh_words_free(char **words)
{
	for (char **w = words; w && *w; w++)
		free(*w);
	free(words);
}
