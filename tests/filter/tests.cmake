# SPDX-License-Identifier: Apache-2.0
add_test(NAME e2e.filter-differential
	COMMAND python3 ${CMAKE_SOURCE_DIR}/tests/filter/differential.py $<TARGET_FILE:filterlist>)
set_tests_properties(e2e.filter-differential PROPERTIES LABELS "e2e;quick" TIMEOUT 120 PROCESSORS 2
	SKIP_RETURN_CODE 77)
