/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "authkeys.h"
#include "sshkeys.h"
#include "sshpairing.h"

struct context {
	struct rig rig;
	char key[512]; /* "ssh-ed25519 AAAA..." of the rig's user, without a comment */
	char path[128];
	char warnings[4096];
};

static void note(void *arg, const char *line)
{
	struct context *c = arg;
	size_t at = strlen(c->warnings);
	snprintf(c->warnings + at, sizeof c->warnings - at, "%s\n", line);
}

static int load(struct context *c, struct authkeys *keys, struct err *e)
{
	c->warnings[0] = '\0';
	return authkeys_load(c->path, note, c, keys, e);
}

/* Loads one line "<options><key> comment"; the number of keys in it, -1 if the file is refused. */
static int load_line(struct context *c, const char *options)
{
	char text[2048];
	struct authkeys keys = {0};
	struct err e;
	snprintf(text, sizeof text, "%s%s comment\n", options, c->key);
	rig_write(c->path, text);
	if (load(c, &keys, &e) < 0) {
		assert_int_equal(e.code, ERR_USAGE);
		return -1;
	}
	int n = (int)keys.count;
	assert_string_equal(keys.list[0].comment, "comment");
	authkeys_release(&keys);
	return n;
}

static void a_whole_file(void **state)
{
	struct context *c = *state;
	char text[8192];
	struct authkeys keys = {0};
	struct err e;
	snprintf(text, sizeof text,
		 "# a comment\r\n\n   \t\n%s first \001 one\r\n"
		 "ssh-ed25519 AAAAnonsense broken\n"
		 "ssh-dss AAAAB3NzaC1kc3MAAACB old\n"
		 "ssh-ed25519\n"
		 "ssh-ed25519-cert-v01@openssh.com AAAA cert\n"
		 "restrict,command=\"scribe-mover receive --root \\\"/a b\\\"\" \t%s second",
		 c->key, c->key);
	rig_write(c->path, text);
	assert_int_equal(load(c, &keys, &e), 0);
	assert_int_equal(keys.count, 2);
	assert_string_equal(keys.list[0].comment, "first \\001 one");
	assert_string_equal(keys.list[1].comment, "second");
	CLEANUP_SSH_KEY ssh_key user = sshkeys_load_public(c->rig.user_pub, "key", &e);
	CLEANUP_SSH_KEY ssh_key host = sshkeys_load_public(c->rig.host_pub, "key", &e);
	assert_ptr_equal(authkeys_find(&keys, user), &keys.list[0]);
	assert_null(authkeys_find(&keys, host));
	authkeys_release(&keys);
	assert_non_null(strstr(c->warnings, "line 5 is not used: its base64 part is damaged"));
	assert_non_null(strstr(c->warnings, "line 6 is not used"));
	assert_non_null(strstr(c->warnings, "line 7 is not used"));
	assert_non_null(strstr(c->warnings, "line 8 is not used"));
	assert_null(strstr(c->warnings, "line 4"));
	assert_null(strstr(c->warnings, "line 9"));
}

static void options_that_take_nothing_away(void **state)
{
	static const char *const fine[] = {
		"",
		"restrict ",
		"RESTRICT,No-Pty ",
		"no-port-forwarding,no-agent-forwarding,no-X11-forwarding\t",
		"environment=\"A=b,c d\",pty ",
		"command=\"scribe-mover receive --root /data\" ",
		"restrict,command=\"scribe-mover send\" ",
		"permitopen=\"host:1\",tunnel=\"0\" ",
	};
	for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++)
		if (load_line(*state, fine[i]) != 1)
			fail_msg("refused: %s", fine[i]);
}

static void options_that_narrow_a_key(void **state)
{
	static const char *const narrow[] = {
		"from=\"192.0.2.0/24\" ",
		"expiry-time=\"20200101\" ",
		"cert-authority ",
		"restrict,from=\"*\" ",
		"command=\"/bin/date\" ",
		"command=\"scribe-moverx receive\" ",
		"command=\"rsync --server\",restrict ",
		"verify-required ",
		"no-such-option ",
		"restricted ",
		"restrict,,no-pty ",
		"command=\"scribe-mover ",
		"principals=\"me\",cert-authority ",
	};
	for (size_t i = 0; i < sizeof narrow / sizeof narrow[0]; i++) {
		struct context *c = *state;
		if (load_line(c, narrow[i]) != -1)
			fail_msg("accepted: %s", narrow[i]);
		assert_non_null(strstr(c->warnings, "line 1 is not used"));
	}
}

static void limits(void **state)
{
	struct context *c = *state;
	struct authkeys keys = {0};
	struct err e;
	for (int count = SSH_AUTHKEYS_MAX; count <= SSH_AUTHKEYS_MAX + 1; count++) {
		FILE *f = fopen(c->path, "we");
		for (int i = 0; i < count; i++)
			fprintf(f, "%s\n", c->key);
		fprintf(f, "\n# end\n");
		fclose(f);
		int rc = load(c, &keys, &e);
		assert_int_equal(rc, count > SSH_AUTHKEYS_MAX ? -1 : 0);
		if (rc == 0)
			assert_int_equal(keys.count, SSH_AUTHKEYS_MAX);
		authkeys_release(&keys);
	}
	assert_int_equal(e.code, ERR_USAGE);

	FILE *f = fopen(c->path, "we");
	fprintf(f, "%s\n#%*s\n", c->key, SSH_AUTHKEYS_BYTES, "x");
	fclose(f);
	assert_int_equal(load(c, &keys, &e), -1);
	assert_non_null(strstr(e.msg, "larger than 1048576"));

	f = fopen(c->path, "we");
	fprintf(f, "%s\n%s %*s\n", c->key, c->key, SSHKEYS_LINE_MAX, "x");
	fclose(f);
	assert_int_equal(load(c, &keys, &e), 0);
	assert_int_equal(keys.count, 1);
	authkeys_release(&keys);
	assert_non_null(strstr(c->warnings, "too long"));
}

static void files_that_others_can_change(void **state)
{
	struct context *c = *state;
	struct authkeys keys = {0};
	struct err e;
	assert_int_equal(load_line(c, ""), 1);
	chmod(c->path, 0664);
	assert_int_equal(load(c, &keys, &e), -1);
	assert_non_null(strstr(e.msg, "chmod go-w"));
	chmod(c->path, 0646);
	assert_int_equal(load(c, &keys, &e), -1);
	chmod(c->path, 0644);
	assert_int_equal(load(c, &keys, &e), 0);
	authkeys_release(&keys);
	unlink(c->path);
	assert_int_equal(load(c, &keys, &e), -1);
	assert_int_equal(e.sys, ENOENT);
}

/* Weak RSA keys; bits are counted from the wire form. */
static void rsa_sizes(void **state)
{
	struct context *c = *state;
	static const struct {
		const char *bits;
		bool fine;
	} cases[] = {{"2048", false}, {"3071", false}, {"3072", true}, {"4096", true}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char path[160], pub[170], bits[8];
		struct err e;
		snprintf(bits, sizeof bits, "%s", cases[i].bits);
		snprintf(path, sizeof path, "%s/rsa%s", c->rig.dir, bits);
		snprintf(pub, sizeof pub, "%s.pub", path);
		const char *make[] = {"ssh-keygen", "-q", "-t", "rsa", "-b", bits,
				      "-N",         "",   "-f", path,  NULL};
		if (run(NULL, make) != 0)
			skip();
		CLEANUP_SSH_KEY ssh_key key = sshkeys_load_public(pub, "key", &e);
		if (cases[i].fine)
			assert_non_null(key);
		else
			assert_null(key);
	}
}

static void ecdsa_keys(void **state)
{
	struct context *c = *state;
	static const char *const bits[] = {"256", "384", "521"};
	for (size_t i = 0; i < 3; i++) {
		char path[160], pub[170], size[8];
		struct err e;
		snprintf(size, sizeof size, "%s", bits[i]);
		snprintf(path, sizeof path, "%s/ec%s", c->rig.dir, size);
		snprintf(pub, sizeof pub, "%s.pub", path);
		const char *make[] = {"ssh-keygen", "-q", "-t", "ecdsa", "-b", size,
				      "-N",         "",   "-f", path,    NULL};
		if (run(NULL, make) != 0)
			skip();
		CLEANUP_SSH_KEY ssh_key public_key = sshkeys_load_public(pub, "key", &e);
		CLEANUP_SSH_KEY ssh_key private_key = sshkeys_load_private(path, "key", &e);
		assert_non_null(public_key);
		assert_non_null(private_key);
		assert_non_null(strstr(sshkeys_host_algorithms(private_key), size));
	}
}

static int make_context(void **state)
{
	struct context *c = mem_alloc(1, sizeof *c);
	char text[512];
	rig_make(&c->rig);
	snprintf(c->path, sizeof c->path, "%s/keys", c->rig.dir);
	rig_read(c->rig.user_pub, text, sizeof text);
	*strrchr(text, ' ') = '\0';
	snprintf(c->key, sizeof c->key, "%s", text);
	*state = c;
	return 0;
}

static int remove_context(void **state)
{
	struct context *c = *state;
	rig_remove(&c->rig);
	free(c);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_file),
		cmocka_unit_test(options_that_take_nothing_away),
		cmocka_unit_test(options_that_narrow_a_key),
		cmocka_unit_test(limits),
		cmocka_unit_test(files_that_others_can_change),
		cmocka_unit_test(rsa_sizes),
		cmocka_unit_test(ecdsa_keys),
	};
	return cmocka_run_group_tests(tests, make_context, remove_context);
}
