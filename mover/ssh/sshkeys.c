/* SPDX-License-Identifier: Apache-2.0 */
#include "sshkeys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem.h"
#include "text.h"

void sshkeys_cleanup(ssh_key *key)
{
	ssh_key_free(*key);
	*key = NULL;
}

/*
 * A file of ours must be closed to everybody else. One that belongs to another user was made
 * readable to our group on purpose, as the kubelet does with secrets: then only the world is kept
 * out.
 */
static int check_access(const char *path, const char *what, enum sshkeys_access access,
			const struct stat *st, struct err *e)
{
	mode_t bad = access == SSHKEYS_TRUSTED ? 022 : 002;
	if (access == SSHKEYS_SECRET)
		bad = st->st_uid == geteuid() ? 077 : 027;
	if (access == SSHKEYS_SECRET && (st->st_mode & bad))
		return err_set(e, ERR_USAGE,
			       "%s %s is open to other users (mode %04o); run: chmod 600 %s", what,
			       path, st->st_mode & 07777u, path);
	if (st->st_mode & bad)
		return err_set(
			e, ERR_USAGE,
			"%s %s can be changed by other users (mode %04o); run: chmod go-w %s", what,
			path, st->st_mode & 07777u, path);
	return 0;
}

int sshkeys_read_file(const char *path, const char *what, enum sshkeys_access access, size_t max,
		      struct buf *out, struct err *e)
{
	char shown[TEXT_ESCAPED_MAX];
	text_escape(shown, sizeof shown, path, strlen(path));
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, ERR_USAGE, "%s %s", what, shown);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_USAGE, "%s %s is not a regular file", what, shown);
	if (check_access(shown, what, access, &st, e) < 0)
		return -1;
	buf_init(out, max + 1);
	for (;;) {
		size_t room = out->max - out->len;
		if (!room)
			return err_set(e, ERR_USAGE, "%s %s is larger than %zu bytes", what, shown,
				       max);
		(void)buf_reserve(out, room < 4096 ? room : 4096);
		ssize_t n = read(fd, out->data + out->len, out->cap - out->len);
		if (n < 0 && errno != EINTR)
			return err_sys(e, ERR_USAGE, "reading %s %s", what, shown);
		if (n == 0)
			return 0;
		if (n > 0)
			out->len += (size_t)n;
	}
}

static void wipe(struct buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->cap);
	buf_release(b);
}

/* Given to libssh so that it never asks a terminal for a passphrase. */
static int no_passphrase(const char *prompt, char *buf, size_t len, int echo, int verify, void *arg)
{
	(void)prompt;
	(void)echo;
	(void)verify;
	(void)arg;
	if (len)
		buf[0] = '\0';
	return -1;
}

ssh_key sshkeys_load_private(const char *path, const char *what, struct err *e)
{
	__attribute__((cleanup(wipe))) struct buf text = {0};
	char shown[TEXT_ESCAPED_MAX];
	text_escape(shown, sizeof shown, path, strlen(path));
	if (sshkeys_read_file(path, what, SSHKEYS_SECRET, SSHKEYS_FILE_MAX, &text, e) < 0)
		return NULL;
	CLEANUP_SSH_KEY ssh_key key = NULL;
	if (ssh_pki_import_privkey_base64(buf_str(&text), NULL, no_passphrase, NULL, &key) !=
	    SSH_OK) {
		err_set(e, ERR_USAGE, "%s %s is not a private key without a passphrase", what,
			shown);
		return NULL;
	}
	const char *why = sshkeys_refusal(key);
	if (why) {
		err_set(e, ERR_USAGE, "%s %s: %s", what, shown, why);
		return NULL;
	}
	ssh_key result = key;
	key = NULL;
	return result;
}

/* The first line that is neither empty nor a comment. Changes text. */
static char *first_line(char *text)
{
	char *next = text;
	while (next) {
		char *line = next;
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		line += strspn(line, " \t\r");
		if (*line && *line != '#')
			return line;
	}
	return NULL;
}

ssh_key sshkeys_load_public(const char *path, const char *what, struct err *e)
{
	CLEANUP_BUF struct buf text = {0};
	if (sshkeys_read_file(path, what, SSHKEYS_SHARED, SSHKEYS_FILE_MAX, &text, e) < 0)
		return NULL;
	CLEANUP_FREE char *copy = mem_strdup(buf_str(&text));
	char *line = first_line(copy);
	const char *comment;
	const char *why = "it is empty";
	ssh_key key = line ? sshkeys_parse(line, &comment, &why) : NULL;
	if (!key) {
		char shown[TEXT_ESCAPED_MAX];
		err_set(e, ERR_USAGE, "%s %s is not an OpenSSH public key: %s", what,
			text_escape(shown, sizeof shown, path, strlen(path)), why);
	}
	return key;
}

static const char *const types[] = {
	"ssh-ed25519",
	"ecdsa-sha2-nistp256",
	"ecdsa-sha2-nistp384",
	"ecdsa-sha2-nistp521",
	"ssh-rsa",
	"sk-ssh-ed25519@openssh.com",
	"sk-ecdsa-sha2-nistp256@openssh.com",
};

bool sshkeys_is_type(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
		if (strlen(types[i]) == len && memcmp(types[i], name, len) == 0)
			return true;
	return false;
}

/* Cuts the next blank-separated word off *p; NULL at the end. */
static char *word(char **p)
{
	char *start = *p + strspn(*p, " \t");
	if (!*start)
		return NULL;
	char *end = start + strcspn(start, " \t");
	*p = end + (*end ? 1 : 0);
	*end = '\0';
	return start;
}

ssh_key sshkeys_parse(char *line, const char **comment, const char **why)
{
	char *rest = line;
	rest[strcspn(rest, "\r\n")] = '\0';
	const char *type = word(&rest);
	const char *base64 = word(&rest);
	*comment = rest + strspn(rest, " \t");
	*why = "it does not begin with a key type that is accepted";
	if (!type || !sshkeys_is_type(type, strlen(type)))
		return NULL;
	CLEANUP_SSH_KEY ssh_key key = NULL;
	enum ssh_keytypes_e kind = ssh_key_type_from_name(type);
	*why = "its base64 part is damaged";
	if (!base64 || ssh_pki_import_pubkey_base64(base64, kind, &key) != SSH_OK)
		return NULL;
	*why = "its type and its content differ";
	if (ssh_key_type(key) != kind)
		return NULL;
	*why = sshkeys_refusal(key);
	if (*why)
		return NULL;
	ssh_key result = key;
	key = NULL;
	return result;
}

static int base64_digit(char c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;
	return at ? (int)(at - digits) : -1;
}

/* Decodes up to cap bytes of base64; returns their number. */
static size_t base64_decode(const char *text, uint8_t *out, size_t cap)
{
	uint32_t bits = 0;
	int have = 0;
	size_t n = 0;
	for (; n < cap && base64_digit(*text) >= 0; text++) {
		bits = (bits << 6 | (uint32_t)base64_digit(*text)) & 0xffffff;
		have += 6;
		if (have >= 8) {
			have -= 8;
			out[n++] = (uint8_t)(bits >> have);
		}
	}
	return n;
}

/* Reads the length-prefixed field at *at of blob; NULL if it does not fit. */
static const uint8_t *field(const uint8_t *blob, size_t n, size_t *at, size_t *len)
{
	if (n - *at < 4)
		return NULL;
	const uint8_t *p = blob + *at;
	*len = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
	if (*len > n - *at - 4)
		return NULL;
	*at += 4 + *len;
	return p + 4;
}

/* Bits of an RSA key's modulus, 0 if they cannot be told: the wire form is "ssh-rsa", e, n. */
static unsigned rsa_bits(ssh_key key)
{
	enum { BLOB_MAX = 8192 };
	char *text = NULL;
	if (ssh_pki_export_pubkey_base64(key, &text) != SSH_OK)
		return 0;
	CLEANUP_FREE uint8_t *blob = mem_alloc(1, BLOB_MAX);
	size_t n = base64_decode(text, blob, BLOB_MAX);
	ssh_string_free_char(text);
	size_t at = 0;
	size_t len = 0;
	const uint8_t *p = field(blob, n, &at, &len);
	p = p ? field(blob, n, &at, &len) : NULL;
	p = p ? field(blob, n, &at, &len) : NULL;
	while (p && len && *p == 0) {
		p++;
		len--;
	}
	if (!p || !len)
		return 0;
	return (unsigned)(len * 8) - (unsigned)(__builtin_clz(*p) - 24);
}

const char *sshkeys_refusal(ssh_key key)
{
	switch (ssh_key_type(key)) {
	case SSH_KEYTYPE_ED25519:
	case SSH_KEYTYPE_ECDSA_P256:
	case SSH_KEYTYPE_ECDSA_P384:
	case SSH_KEYTYPE_ECDSA_P521:
	case SSH_KEYTYPE_SK_ED25519:
	case SSH_KEYTYPE_SK_ECDSA:
		return NULL;
	case SSH_KEYTYPE_RSA: {
		unsigned bits = rsa_bits(key);
		if (bits > SSHKEYS_RSA_BITS_MAX)
			return "RSA keys of more than 16384 bits are refused";
		return bits < SSHKEYS_RSA_BITS_MIN ? "RSA keys below 3072 bits are refused" : NULL;
	}
	default:
		return "this type of key is not accepted";
	}
}

void sshkeys_fingerprint(ssh_key key, char *out, size_t cap)
{
	unsigned char *hash = NULL;
	size_t len = 0;
	char *text = NULL;
	if (ssh_get_publickey_hash(key, SSH_PUBLICKEY_HASH_SHA256, &hash, &len) == 0)
		text = ssh_get_fingerprint_hash(SSH_PUBLICKEY_HASH_SHA256, hash, len);
	snprintf(out, cap, "%s", text ? text : "SHA256:?");
	ssh_string_free_char(text);
	ssh_clean_pubkey_hash(&hash);
}

const char *sshkeys_host_algorithms(ssh_key key)
{
	switch (ssh_key_type(key)) {
	case SSH_KEYTYPE_ED25519:
		return "ssh-ed25519";
	case SSH_KEYTYPE_ECDSA_P256:
		return "ecdsa-sha2-nistp256";
	case SSH_KEYTYPE_ECDSA_P384:
		return "ecdsa-sha2-nistp384";
	case SSH_KEYTYPE_ECDSA_P521:
		return "ecdsa-sha2-nistp521";
	case SSH_KEYTYPE_RSA:
		return "rsa-sha2-512,rsa-sha2-256";
	default:
		return SSHKEYS_HOST_ALGORITHMS;
	}
}
