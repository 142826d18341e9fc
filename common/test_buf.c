/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "buf.h"

static void starts_empty(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b;
	buf_init(&b, 100);
	assert_int_equal(b.len, 0);
	assert_null(b.data);
	assert_string_equal(buf_str(&b), "");
}

static void appends_in_order(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b;
	buf_init(&b, 1000);
	assert_int_equal(buf_put(&b, "ab", 2), 0);
	assert_int_equal(buf_put(&b, NULL, 0), 0);
	assert_int_equal(buf_put_u8(&b, 'c'), 0);
	assert_int_equal(buf_puts(&b, "de"), 0);
	assert_int_equal(buf_printf(&b, "-%d-%s", 7, "x"), 0);
	assert_int_equal(b.len, 9);
	assert_string_equal(buf_str(&b), "abcde-7-x");
	assert_int_equal(b.len, 9);
}

static void refuses_more_than_max_and_keeps_content(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b;
	buf_init(&b, 5);
	assert_int_equal(buf_puts(&b, "abc"), 0);
	assert_int_equal(buf_puts(&b, "def"), -1);
	assert_true(b.overflow);
	assert_int_equal(b.len, 3);
	assert_memory_equal(b.data, "abc", 3);
	/* Smaller pieces still fit; that one was lost stays known. */
	assert_int_equal(buf_puts(&b, "de"), 0);
	assert_true(b.overflow);
	assert_int_equal(buf_printf(&b, "%d", 1), -1);
	assert_int_equal(buf_put_u8(&b, 'x'), -1);
	assert_int_equal(buf_reserve(&b, SIZE_MAX), -1);
	assert_int_equal(b.len, 5);
	buf_clear(&b);
	assert_false(b.overflow);
	assert_int_equal(b.len, 0);
	assert_int_equal(buf_puts(&b, "vwxyz"), 0);
}

static void text_of_an_overflowed_buffer_is_empty(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b;
	buf_init(&b, 3);
	buf_puts(&b, "abc");
	assert_string_equal(buf_str(&b), "");
	buf_clear(&b);
	buf_puts(&b, "ab");
	assert_string_equal(buf_str(&b), "ab");
	buf_puts(&b, "xyz");
	assert_string_equal(buf_str(&b), "");
}

static void grows_up_to_an_odd_maximum(void **state)
{
	(void)state;
	enum { MAX = 1003 };
	CLEANUP_BUF struct buf b;
	buf_init(&b, MAX);
	for (size_t i = 0; i < MAX; i++) {
		assert_int_equal(buf_put_u8(&b, (uint8_t)i), 0);
		assert_true(b.len <= b.cap && b.cap <= b.max);
	}
	assert_int_equal(buf_put_u8(&b, 0), -1);
	for (size_t i = 0; i < MAX; i++)
		assert_int_equal(b.data[i], (uint8_t)i);
}

static void consumes_from_the_front(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b;
	buf_init(&b, 16);
	buf_puts(&b, "abcdef");
	buf_consume(&b, 0);
	assert_string_equal(buf_str(&b), "abcdef");
	buf_consume(&b, 4);
	assert_string_equal(buf_str(&b), "ef");
	buf_consume(&b, 2);
	assert_int_equal(b.len, 0);
}

static void a_released_buffer_takes_nothing(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 16);
	buf_puts(&b, "abc");
	buf_release(&b);
	assert_null(b.data);
	assert_int_equal(buf_puts(&b, "a"), -1);
	buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(starts_empty),
		cmocka_unit_test(appends_in_order),
		cmocka_unit_test(refuses_more_than_max_and_keeps_content),
		cmocka_unit_test(text_of_an_overflowed_buffer_is_empty),
		cmocka_unit_test(grows_up_to_an_odd_maximum),
		cmocka_unit_test(consumes_from_the_front),
		cmocka_unit_test(a_released_buffer_takes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
