# scribe_e2e(NAME script [TIMEOUT seconds] [LABELS list] [ARGS words]): one ctest which gives a
# Python script the scribe-mover of this build as its first argument. Exit 77 is a skip with the
# reason on stdout.
include_guard(GLOBAL)

find_package(Python3 3.9 REQUIRED COMPONENTS Interpreter)
set(SCRIBE_RELEASE_MOVER "" CACHE FILEPATH
	"scribe-mover of a release build, for the tests which weigh memory or move hundreds of MiB")

function(scribe_e2e NAME SCRIPT)
	cmake_parse_arguments(E "" "TIMEOUT" "LABELS;ARGS" ${ARGN})
	if(NOT TARGET scribe-mover)
		return()
	endif()
	if(NOT E_TIMEOUT)
		set(E_TIMEOUT 600)
	endif()
	add_test(NAME e2e.${NAME} COMMAND ${Python3_EXECUTABLE} -B ${SCRIPT}
		$<TARGET_FILE:scribe-mover> ${E_ARGS})
	set_tests_properties(e2e.${NAME} PROPERTIES LABELS "e2e;${E_LABELS}" TIMEOUT ${E_TIMEOUT}
		SKIP_RETURN_CODE 77)
endfunction()
