add_executable(enginepair ${CMAKE_SOURCE_DIR}/tests/engine/main_enginepair.c)
target_link_libraries(enginepair PRIVATE scribe_source scribe_dest scribe_flags)
add_test(NAME e2e.regress COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_SOURCE_DIR}/tests/engine/regress.py
	$<TARGET_FILE:enginepair> $<TARGET_FILE:treediff>)
set_tests_properties(e2e.regress PROPERTIES LABELS "e2e" TIMEOUT 900 SKIP_RETURN_CODE 77)
