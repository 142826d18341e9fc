/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "text.h"

struct row {
	const char *in;
	size_t n;
	const char *escaped;
	const char *cleaned;
};

#define ROW(in, escaped, cleaned)                                                                  \
	{                                                                                          \
		in, sizeof in - 1, escaped, cleaned                                                \
	}

static const struct row rows[] = {
	ROW("", "", ""),
	ROW("plain name.txt", "plain name.txt", "plain name.txt"),
	ROW("a\\b", "a\\\\b", "a\\b"),
	ROW("a\nb\tc", "a\\nb\\tc", "a\\nb\\tc"),
	ROW("\r\x1b[31m", "\\015\\033[31m", "\\015\\033[31m"),
	ROW("a\0b", "a\\000b", "a\\000b"),
	ROW("\x7f", "\\177", "\\177"),
	ROW("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
	    "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"),
	/* C1 controls, overlong forms, a surrogate, above U+10FFFF, a lone and a missing tail. */
	ROW("\xc2\x9b", "\\302\\233", "\\302\\233"),
	ROW("\xc2\xa0", "\xc2\xa0", "\xc2\xa0"),
	ROW("\xc0\xaf", "\\300\\257", "\\300\\257"),
	ROW("\xe0\x80\xaf", "\\340\\200\\257", "\\340\\200\\257"),
	ROW("\xf0\x8f\xbf\xbf", "\\360\\217\\277\\277", "\\360\\217\\277\\277"),
	ROW("\xed\xa0\x80", "\\355\\240\\200", "\\355\\240\\200"),
	ROW("\xf4\x90\x80\x80", "\\364\\220\\200\\200", "\\364\\220\\200\\200"),
	ROW("\x80", "\\200", "\\200"),
	ROW("\xff", "\\377", "\\377"),
	ROW("\xe2\x82", "\\342\\202", "\\342\\202"),
};

static void table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char out[TEXT_ESCAPED_MAX];
		assert_ptr_equal(text_escape(out, sizeof out, rows[i].in, rows[i].n), out);
		assert_string_equal(out, rows[i].escaped);
		assert_string_equal(text_clean(out, sizeof out, rows[i].in, rows[i].n),
				    rows[i].cleaned);
	}
}

static void cuts_with_dots(void **state)
{
	(void)state;
	char out[8];
	assert_string_equal(text_escape(out, 8, "1234567", 7), "1234567");
	assert_string_equal(text_escape(out, 8, "12345678", 8), "1234...");
	assert_string_equal(text_escape(out, 8, "123\n5678", 8), "123...");
	assert_string_equal(text_escape(out, 5, "\xff\xff", 2), "...");
	assert_string_equal(text_escape(out, 3, "abc", 3), "..");
	assert_string_equal(text_escape(out, 1, "abc", 3), "");
}

/* Whatever comes in and however small the room is: terminated, printable, within the room. */
static void any_byte_at_any_capacity(void **state)
{
	(void)state;
	for (unsigned a = 0; a < 256; a++) {
		for (unsigned b = 0; b < 256; b += 5) {
			const unsigned char in[4] = {(unsigned char)a, (unsigned char)b, 'x', 0x80};
			for (size_t cap = 1; cap <= 20; cap++) {
				char out[21];
				memset(out, 0x55, sizeof out);
				text_escape(out, cap, in, sizeof in);
				size_t len = strnlen(out, cap);
				assert_true(len < cap);
				assert_int_equal(out[cap], 0x55);
				for (size_t i = 0; i < len; i++)
					assert_true((unsigned char)out[i] >= 0x20 &&
						    out[i] != 0x7f);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table),
		cmocka_unit_test(cuts_with_dots),
		cmocka_unit_test(any_byte_at_any_capacity),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
