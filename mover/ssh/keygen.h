/* SPDX-License-Identifier: Apache-2.0 */
/* Making SSH key pairs. */
#ifndef SCRIBE_KEYGEN_H
#define SCRIBE_KEYGEN_H

#include "err.h"
#include "sshclient.h"

enum keygen_type { KEYGEN_ED25519, KEYGEN_RSA /* 3072 bits */ };

/* "ed25519" or "rsa" to a type. 0, or -1 with *e ERR_USAGE. */
int keygen_type_parse(const char *name, enum keygen_type *type, struct err *e);

/*
 * Makes a key pair: PATH (mode 0600 from its first moment) and PATH.pub ("ssh-ed25519 AAAA...
 * comment"). Ed25519 keys are in OpenSSH's format; RSA keys are PKCS#8 PEM, which OpenSSH reads as
 * well. comment NULL = "scribe-mover"; printable ASCII. fingerprint, if not NULL, receives
 * "SHA256:...".
 *
 * Nothing is ever overwritten: if either file exists, -1 with ERR_USAGE and both are as before.
 * Other errors remove what was made. 0 on success, both files are durable.
 */
int keygen_write(const char *path, enum keygen_type type, const char *comment,
		 char fingerprint[SSH_FINGERPRINT_MAX], struct err *e);

#endif
