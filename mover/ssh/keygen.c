/* SPDX-License-Identifier: Apache-2.0 */
#include "keygen.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <libssh/libssh.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem.h"
#include "sshkeys.h"
#include "text.h"

enum { RSA_BITS = 3072, COMMENT_MAX = 256 };

int keygen_type_parse(const char *name, enum keygen_type *type, struct err *e)
{
	char shown[TEXT_ESCAPED_MAX];
	if (strcmp(name, "ed25519") == 0)
		*type = KEYGEN_ED25519;
	else if (strcmp(name, "rsa") == 0)
		*type = KEYGEN_RSA;
	else
		return err_set(e, ERR_USAGE, "unknown key type %s; there are ed25519 and rsa",
			       text_escape(shown, sizeof shown, name, strlen(name)));
	return 0;
}

/* The files being made. */
struct pair {
	const char *path;
	char *pub_path;
	int secret; /* -1 = not made by us */
	int pub;
};

/* O_EXCL with the final mode: the secret is never in a file that others could have opened. */
static int create(const char *path, mode_t mode, struct err *e)
{
	char shown[TEXT_ESCAPED_MAX];
	text_escape(shown, sizeof shown, path, strlen(path));
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0 && errno == EEXIST)
		return err_set(e, ERR_USAGE, "%s exists and is not overwritten", shown);
	if (fd < 0)
		return err_sys(e, ERR_FAILURE, "creating %s", shown);
	if (fchmod(fd, mode) < 0) {
		err_sys(e, ERR_FAILURE, "setting the mode of %s", shown);
		unlink(path);
		close(fd);
		return -1;
	}
	return fd;
}

static int write_all(int fd, const char *text, struct err *e)
{
	size_t n = strlen(text);
	while (n) {
		ssize_t put = write(fd, text, n);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return err_sys(e, ERR_FAILURE, "writing a key file");
		text += put;
		n -= (size_t)put;
	}
	return fsync(fd) < 0 ? err_sys(e, ERR_FAILURE, "syncing a key file") : 0;
}

static int write_secret(ssh_key key, int fd, struct err *e)
{
	char *pem = NULL;
	if (ssh_pki_export_privkey_base64(key, NULL, NULL, NULL, &pem) != SSH_OK || !pem)
		return err_set(e, ERR_FAILURE, "libssh cannot export the private key");
	int rc = write_all(fd, pem, e);
	explicit_bzero(pem, strlen(pem));
	ssh_string_free_char(pem);
	return rc;
}

static int write_public(ssh_key key, const char *comment, int fd, struct err *e)
{
	char *base64 = NULL;
	if (ssh_pki_export_pubkey_base64(key, &base64) != SSH_OK || !base64)
		return err_set(e, ERR_FAILURE, "libssh cannot export the public key");
	CLEANUP_FREE char *line =
		mem_printf("%s %s %s\n", ssh_key_type_to_char(ssh_key_type(key)), base64, comment);
	ssh_string_free_char(base64);
	return write_all(fd, line, e);
}

/* Without it a power cut could take the names away from durable files. */
static int sync_parent(const char *path, struct err *e)
{
	CLEANUP_FREE char *copy = mem_strdup(path);
	CLEANUP_FD int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return err_sys(e, ERR_FAILURE, "syncing the directory of the key files");
	return 0;
}

static ssh_key generate(enum keygen_type type, struct err *e)
{
	ssh_key key = NULL;
	int rc = type == KEYGEN_RSA ? ssh_pki_generate(SSH_KEYTYPE_RSA, RSA_BITS, &key)
				    : ssh_pki_generate(SSH_KEYTYPE_ED25519, 0, &key);
	if (rc == SSH_OK)
		return key;
	err_set(e, ERR_FAILURE, "libssh cannot generate a key");
	return NULL;
}

static int write_pair(struct pair *p, enum keygen_type type, const char *comment, char *fingerprint,
		      struct err *e)
{
	p->secret = create(p->path, 0600, e);
	if (p->secret < 0)
		return -1;
	p->pub = create(p->pub_path, 0644, e);
	if (p->pub < 0)
		return -1;
	CLEANUP_SSH_KEY ssh_key key = generate(type, e);
	if (!key || write_secret(key, p->secret, e) < 0 ||
	    write_public(key, comment, p->pub, e) < 0 || sync_parent(p->path, e) < 0)
		return -1;
	if (fingerprint)
		sshkeys_fingerprint(key, fingerprint, SSH_FINGERPRINT_MAX);
	return 0;
}

int keygen_write(const char *path, enum keygen_type type, const char *comment,
		 char fingerprint[SSH_FINGERPRINT_MAX], struct err *e)
{
	if (!comment)
		comment = "scribe-mover";
	if (strlen(comment) > COMMENT_MAX)
		return err_set(e, ERR_USAGE, "the key's comment is too long");
	for (const char *c = comment; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			return err_set(e, ERR_USAGE, "the key's comment is not printable ASCII");
	CLEANUP_FREE char *pub_path = mem_printf("%s.pub", path);
	struct pair p = {.path = path, .pub_path = pub_path, .secret = -1, .pub = -1};
	int rc = write_pair(&p, type, comment, fingerprint, e);
	if (rc < 0 && p.secret >= 0)
		unlink(path);
	if (rc < 0 && p.pub >= 0)
		unlink(pub_path);
	if (p.secret >= 0)
		close(p.secret);
	if (p.pub >= 0)
		close(p.pub);
	return rc;
}
