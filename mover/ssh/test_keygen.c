/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sshpairing.h"

static mode_t mode_of(const char *path)
{
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	return st.st_mode & 07777;
}

static void make_and_verify(struct rig *r, enum keygen_type type, const char *name,
			    const char *word, const char *head)
{
	char path[128], pub[140], out[140];
	char text[4096], other[4096];
	char fingerprint[SSH_FINGERPRINT_MAX];
	struct err e;
	snprintf(path, sizeof path, "%s/%s", r->dir, name);
	snprintf(pub, sizeof pub, "%s.pub", path);
	snprintf(out, sizeof out, "%s.out", path);
	mode_t old = umask(0);
	assert_int_equal(keygen_write(path, type, "a comment", fingerprint, &e), 0);
	umask(old);
	assert_int_equal(mode_of(path), 0600);
	assert_int_equal(mode_of(pub), 0644);
	assert_int_equal(strncmp(rig_read(path, text, sizeof text), head, strlen(head)), 0);
	rig_read(pub, text, sizeof text);
	assert_int_equal(strncmp(text, word, strlen(word)), 0);
	assert_string_equal(strrchr(text, '\n'), "\n");
	assert_non_null(strstr(text, " a comment\n"));
	assert_int_equal(strncmp(fingerprint, "SHA256:", 7), 0);

	const char *derive[] = {"ssh-keygen", "-y", "-f", path, NULL};
	const char *print[] = {"ssh-keygen", "-l", "-f", pub, NULL};
	int rc = run(out, derive);
	if (rc == 127)
		skip();
	assert_int_equal(rc, 0);
	rig_read(out, other, sizeof other);
	/* Type and base64 agree; PKCS#8 keeps no comment. */
	size_t len = (size_t)(strchr(strchr(text, ' ') + 1, ' ') - text);
	assert_memory_equal(text, other, len);
	assert_int_equal(run(out, print), 0);
	assert_non_null(strstr(rig_read(out, other, sizeof other), fingerprint));
}

static void ed25519(void **state)
{
	make_and_verify(*state, KEYGEN_ED25519, "ed", "ssh-ed25519 AAAA",
			"-----BEGIN OPENSSH PRIVATE KEY-----\n");
}

static void rsa(void **state)
{
	make_and_verify(*state, KEYGEN_RSA, "rsa", "ssh-rsa AAAA", "-----BEGIN PRIVATE KEY-----\n");
}

static void nothing_is_overwritten(void **state)
{
	struct rig *r = *state;
	char path[128], pub[140], text[64];
	struct err e;
	struct stat st;
	snprintf(path, sizeof path, "%s/kept", r->dir);
	snprintf(pub, sizeof pub, "%s.pub", path);
	rig_write(path, "precious");
	assert_int_equal(keygen_write(path, KEYGEN_ED25519, NULL, NULL, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	assert_string_equal(rig_read(path, text, sizeof text), "precious");
	assert_int_equal(stat(pub, &st), -1);

	unlink(path);
	rig_write(pub, "precious");
	assert_int_equal(keygen_write(path, KEYGEN_ED25519, NULL, NULL, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	assert_string_equal(rig_read(pub, text, sizeof text), "precious");
	assert_int_equal(stat(path, &st), -1);

	/* Not through a link either, dangling or not. */
	unlink(pub);
	assert_int_equal(symlink("/nonexistent/secret", path), 0);
	assert_int_equal(keygen_write(path, KEYGEN_ED25519, NULL, NULL, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
}

static void bad_arguments(void **state)
{
	struct rig *r = *state;
	char path[128];
	struct err e;
	enum keygen_type type;
	snprintf(path, sizeof path, "%s/no/such/dir/key", r->dir);
	assert_int_equal(keygen_write(path, KEYGEN_ED25519, NULL, NULL, &e), -1);
	assert_int_equal(e.sys, ENOENT);
	snprintf(path, sizeof path, "%s/line", r->dir);
	assert_int_equal(keygen_write(path, KEYGEN_ED25519, "two\nlines", NULL, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	assert_int_equal(keygen_type_parse("rsa", &type, &e), 0);
	assert_int_equal(type, KEYGEN_RSA);
	assert_int_equal(keygen_type_parse("ed25519", &type, &e), 0);
	assert_int_equal(type, KEYGEN_ED25519);
	assert_int_equal(keygen_type_parse("dsa", &type, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
}

static int make_rig(void **state)
{
	struct rig *r = mem_alloc(1, sizeof *r);
	rig_make(r);
	*state = r;
	return 0;
}

static int remove_rig(void **state)
{
	rig_remove(*state);
	free(*state);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ed25519),
		cmocka_unit_test(rsa),
		cmocka_unit_test(nothing_is_overwritten),
		cmocka_unit_test(bad_arguments),
	};
	return cmocka_run_group_tests(tests, make_rig, remove_rig);
}
