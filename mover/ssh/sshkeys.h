/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key files and what we accept in them: Ed25519, ECDSA, RSA of at least 3072 bits, and for users
 * hardware-backed keys. No DSA, no certificates, no passphrases, no prompts. Internal to this room.
 */
#ifndef SCRIBE_SSHKEYS_H
#define SCRIBE_SSHKEYS_H

#include <libssh/libssh.h>
#include <stdbool.h>
#include <stddef.h>

#include "buf.h"
#include "err.h"

enum {
	SSHKEYS_FILE_MAX = 64 << 10,
	SSHKEYS_LINE_MAX = 16 << 10,
	SSHKEYS_RSA_BITS_MIN = 3072,
	SSHKEYS_RSA_BITS_MAX = 16384, /* a larger one costs a verifier seconds */
};

/* Signature algorithms and methods that both sides offer. */
#define SSHKEYS_KEX "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256"
#define SSHKEYS_HMAC                                                                               \
	"hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha2-256,hmac-sha2-512"
#define SSHKEYS_HOST_ALGORITHMS                                                                    \
	"ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,"                 \
	"rsa-sha2-512,rsa-sha2-256"
#define SSHKEYS_USER_ALGORITHMS                                                                    \
	SSHKEYS_HOST_ALGORITHMS ",sk-ssh-ed25519@openssh.com,sk-ecdsa-sha2-nistp256@openssh.com"

enum sshkeys_access {
	SSHKEYS_SECRET,  /* nobody but the owner may read it */
	SSHKEYS_TRUSTED, /* nobody but the owner may write it */
	SSHKEYS_SHARED,  /* not everybody may write it */
};

/* Reads a whole regular file of at most max bytes after checking who else can get at it; what names
 * it in messages ("identity", ...). -1 with *e ERR_USAGE. */
int sshkeys_read_file(const char *path, const char *what, enum sshkeys_access access, size_t max,
		      struct buf *out, struct err *e);

/* Load a private key, or the first key of a .pub file. NULL with *e ERR_USAGE. Free with
 * ssh_key_free(). */
ssh_key sshkeys_load_private(const char *path, const char *what, struct err *e);
ssh_key sshkeys_load_public(const char *path, const char *what, struct err *e);

/*
 * Parses "TYPE BASE64 [COMMENT]" (NUL-terminated, changed in the process) into a usable public key.
 * *comment points into line. NULL with *why, a static phrase.
 */
ssh_key sshkeys_parse(char *line, const char **comment, const char **why);
/* True if name is a type of key that we accept, such as "ssh-ed25519". */
bool sshkeys_is_type(const char *name, size_t len);
/* NULL if the key may be used, else a static phrase why not. */
const char *sshkeys_refusal(ssh_key key);

/* "SHA256:..." as OpenSSH prints it. */
void sshkeys_fingerprint(ssh_key key, char *out, size_t cap);
/* The host key algorithms under which a server with this key answers. */
const char *sshkeys_host_algorithms(ssh_key key);

#define CLEANUP_SSH_KEY __attribute__((cleanup(sshkeys_cleanup)))
void sshkeys_cleanup(ssh_key *key);

#endif
