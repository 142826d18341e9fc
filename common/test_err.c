/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "err.h"

static const enum err_code all[] = {
	ERR_PROTOCOL, ERR_VERIFY,  ERR_SPACE, ERR_BRAKE,   ERR_BUSY,       ERR_TIMEOUT, ERR_AUTH,
	ERR_CONNECT,  ERR_FAILURE, ERR_USAGE, ERR_PARTIAL, ERR_MAX_DELETE, ERR_CHANGED, ERR_OK,
};
enum { N_ALL = sizeof all / sizeof all[0] };

static void sets_code_and_message(void **state)
{
	(void)state;
	struct err e = {.sys = 7};
	assert_int_equal(err_set(&e, ERR_BUSY, "%s is held by %d", "/data", 42), -1);
	assert_int_equal(e.code, ERR_BUSY);
	assert_int_equal(e.sys, 0);
	assert_string_equal(e.msg, "/data is held by 42");
}

static void accepts_no_object(void **state)
{
	(void)state;
	assert_int_equal(err_set(NULL, ERR_FAILURE, "x"), -1);
	assert_int_equal(err_sys(NULL, ERR_FAILURE, "x"), -1);
	assert_int_equal(err_wrap(NULL, "x"), -1);
}

static void appends_errno_and_keeps_it(void **state)
{
	(void)state;
	struct err e = {0};
	errno = ENOENT;
	assert_int_equal(err_sys(&e, ERR_FAILURE, "open %s", "/a"), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(e.sys, ENOENT);
	assert_int_equal(e.code, ERR_FAILURE);
	assert_string_equal(e.msg, "open /a: No such file or directory");
}

static void full_disk_has_its_own_code(void **state)
{
	(void)state;
	static const int causes[] = {ENOSPC, EDQUOT};
	for (size_t i = 0; i < 2; i++) {
		struct err e = {0};
		errno = causes[i];
		err_sys(&e, ERR_FAILURE, "write");
		assert_int_equal(e.code, ERR_SPACE);
		errno = causes[i];
		err_sys(&e, ERR_PROTOCOL, "write");
		assert_int_equal(e.code, ERR_PROTOCOL);
	}
}

static void wraps_from_the_outside_in(void **state)
{
	(void)state;
	struct err e = {0};
	err_set(&e, ERR_AUTH, "key refused");
	e.sys = EACCES;
	assert_int_equal(err_wrap(&e, "connect to %s", "host"), -1);
	assert_int_equal(err_wrap(&e, "push"), -1);
	assert_string_equal(e.msg, "push: connect to host: key refused");
	assert_int_equal(e.code, ERR_AUTH);
	assert_int_equal(e.sys, EACCES);
}

static void long_messages_are_cut_and_terminated(void **state)
{
	(void)state;
	char big[2 * ERR_MESSAGE_MAX];
	memset(big, 'x', sizeof big - 1);
	big[sizeof big - 1] = '\0';
	struct err e = {0};
	err_set(&e, ERR_FAILURE, "%s", big);
	assert_int_equal(strlen(e.msg), ERR_MESSAGE_MAX - 1);
	err_wrap(&e, "context");
	assert_int_equal(strlen(e.msg), ERR_MESSAGE_MAX - 1);
	assert_memory_equal(e.msg, "context: xxx", 12);
	err_wrap(&e, "%s", big);
	assert_int_equal(strlen(e.msg), ERR_MESSAGE_MAX - 1);
	errno = EIO;
	err_sys(&e, ERR_FAILURE, "%s", big);
	assert_int_equal(strlen(e.msg), ERR_MESSAGE_MAX - 1);
}

static void every_code_has_words(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ALL; i++) {
		const char *reason = err_reason(all[i]);
		assert_true(reason[0] >= 'A' && reason[0] <= 'Z');
		assert_null(strchr(reason, ' '));
		assert_true(strlen(err_advice(all[i])) > 0);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(reason, err_reason(all[j]));
	}
	assert_string_equal(err_reason((enum err_code)99), err_reason(ERR_FAILURE));
}

static void transient_means_a_retry_may_help(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ALL; i++) {
		int expected = all[i] == ERR_CONNECT || all[i] == ERR_TIMEOUT ||
			       all[i] == ERR_BUSY || all[i] == ERR_SPACE || all[i] == ERR_CHANGED;
		assert_int_equal(err_is_transient(all[i]), expected);
	}
}

static void worse_is_a_total_order(void **state)
{
	(void)state;
	static const enum err_code order[] = {
		ERR_PROTOCOL,   ERR_VERIFY,  ERR_SPACE,   ERR_BRAKE,   ERR_BUSY,
		ERR_TIMEOUT,    ERR_AUTH,    ERR_CONNECT, ERR_FAILURE, ERR_PARTIAL,
		ERR_MAX_DELETE, ERR_CHANGED, ERR_OK,
	};
	size_t n = sizeof order / sizeof order[0];
	for (size_t i = 0; i < n; i++) {
		for (size_t j = i; j < n; j++) {
			assert_int_equal(err_worse(order[i], order[j]), order[i]);
			assert_int_equal(err_worse(order[j], order[i]), order[i]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sets_code_and_message),
		cmocka_unit_test(accepts_no_object),
		cmocka_unit_test(appends_errno_and_keeps_it),
		cmocka_unit_test(full_disk_has_its_own_code),
		cmocka_unit_test(wraps_from_the_outside_in),
		cmocka_unit_test(long_messages_are_cut_and_terminated),
		cmocka_unit_test(every_code_has_words),
		cmocka_unit_test(transient_means_a_retry_may_help),
		cmocka_unit_test(worse_is_a_total_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
