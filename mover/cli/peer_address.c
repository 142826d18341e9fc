/* SPDX-License-Identifier: Apache-2.0 */
#include "peer_address.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "text.h"

enum { HOST_BYTES_MAX = 253, USER_BYTES_MAX = 128 };

static const char form[] = "wanted [USER@]HOST[:PATH], an IPv6 address in brackets";

static int refuse(const char *text, const char *why, struct err *e)
{
	char shown[TEXT_ESCAPED_MAX];
	text_escape(shown, sizeof shown, text, strlen(text));
	return err_set(e, ERR_USAGE, "peer \"%s\": %s; %s", shown, why, form);
}

/* Letters that have a meaning of their own to nobody on the way. */
static bool is_plain(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)p[i];
		if (c <= ' ' || c == 0x7f || strchr("\"'\\`$;&|<>()/", c))
			return false;
	}
	return n > 0 && p[0] != '-';
}

static bool is_ipv6(const char *p, size_t n)
{
	char address[INET6_ADDRSTRLEN];
	struct in6_addr out;
	const char *zone = memchr(p, '%', n);
	size_t len = zone ? (size_t)(zone - p) : n;
	if (len >= sizeof address || (zone && n - len < 2) || !is_plain(p, n))
		return false;
	memcpy(address, p, len);
	address[len] = '\0';
	return inet_pton(AF_INET6, address, &out) == 1;
}

static bool leaves_root(const char *path)
{
	for (const char *p = path; *p;) {
		size_t n = strcspn(p, "/");
		if (n == 2 && memcmp(p, "..", 2) == 0)
			return true;
		p += n;
		p += strspn(p, "/");
	}
	return false;
}

/* Where USER ends, behind its '@'; text itself if there is none. */
static const char *host_start(const char *text)
{
	const char *end = text + strcspn(text, ":[");
	for (const char *p = end; p > text; p--)
		if (p[-1] == '@')
			return p;
	return text;
}

static int split(const char *text, struct peer_address *a, struct err *e)
{
	const char *host = host_start(text);
	size_t user_len = host > text ? (size_t)(host - text) - 1 : 0;
	if (host > text && (user_len > USER_BYTES_MAX || !is_plain(text, user_len)))
		return refuse(text, "that is no user name", e);
	bool bracket = *host == '[';
	host += bracket;
	size_t n = strcspn(host, bracket ? "]" : ":");
	const char *rest = host + n + (bracket && host[n] ? 1 : 0);
	if (bracket && (!host[n] || !is_ipv6(host, n)))
		return refuse(text, "no IPv6 address between the brackets", e);
	if (!bracket && is_ipv6(host, strlen(host)))
		return refuse(text, "an IPv6 address without brackets", e);
	if (!bracket && (n > HOST_BYTES_MAX || !is_plain(host, n)))
		return refuse(text, n ? "that is no host name" : "the host is missing", e);
	if (*rest && *rest != ':')
		return refuse(text, "only a path may stand behind the brackets", e);
	if (*rest && leaves_root(rest + 1))
		return refuse(text, "a path may not contain \"..\"", e);
	if (host_start(text) > text)
		a->user = mem_dup(text, user_len);
	a->host = mem_dup(host, n);
	a->path = mem_strdup(*rest ? rest + 1 : "");
	return 0;
}

int peer_address_parse(const char *text, struct peer_address *a, struct err *e)
{
	*a = (struct peer_address){0};
	return split(text, a, e);
}

void peer_address_release(struct peer_address *a)
{
	free(a->user);
	free(a->host);
	free(a->path);
	*a = (struct peer_address){0};
}
