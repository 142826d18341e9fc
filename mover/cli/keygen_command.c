/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "keygen.h"
#include "text.h"

struct keygen_options {
	int type; /* enum keygen_type */
	const char *comment;
	bool quiet;
};

static int run(const struct opt_command *self, int argc, char **argv, void *context)
{
	struct keygen_options o = {0};
	struct opt_result given;
	struct err e = {0};
	char fingerprint[SSH_FINGERPRINT_MAX];
	char shown[TEXT_ESCAPED_MAX];
	(void)context;
	int code = cli_parse(self, argc, argv, &o, &given);
	if (code != CLI_GO_ON)
		return code;
	const char *path = given.operands[0];
	if (keygen_write(path, (enum keygen_type)o.type, o.comment, fingerprint, &e) < 0)
		return cli_error(self->name, &e);
	if (!o.quiet)
		printf("%s %s\n", fingerprint,
		       text_escape(shown, sizeof shown, path, strlen(path)));
	return cli_finish(self->name, ERR_OK);
}

/* In the order of enum keygen_type. */
static const char *const types[] = {[KEYGEN_ED25519] = "ed25519", [KEYGEN_RSA] = "rsa", NULL};

static const struct opt options[] = {
	{.name = "type",
	 .short_name = 't',
	 .kind = OPT_ENUM,
	 .def = "ed25519",
	 .names = types,
	 .offset = offsetof(struct keygen_options, type),
	 .help = "kind of key; rsa has 3072 bits"},
	{.name = "comment",
	 .kind = OPT_STRING,
	 .offset = offsetof(struct keygen_options, comment),
	 .help = "printable ASCII, for whoever reads the public key"},
	{.name = "quiet",
	 .short_name = 'q',
	 .kind = OPT_FLAG,
	 .offset = offsetof(struct keygen_options, quiet),
	 .help = "print errors only"},
	{0},
};

static const char *const examples[] = {"scribe-mover keygen key", NULL};

const struct opt_command command_keygen = {
	.name = "keygen",
	.summary = "make an SSH key pair without a passphrase",
	.operands = "FILE",
	.min_operands = 1,
	.max_operands = 1,
	.options = options,
	.details =
		"Writes the private key to FILE (mode 0600) and the public one to FILE.pub, and "
		"prints the fingerprint. Existing files are never overwritten. For the host key of "
		"serve as well as for --identity.",
	.examples = examples,
	.run = run,
};
