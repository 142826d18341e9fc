# How every room of the tree is built: warnings, hardening, sanitizers, tests beside modules.

include(CheckCCompilerFlag)

add_library(scribe_flags INTERFACE)
target_compile_definitions(scribe_flags INTERFACE _GNU_SOURCE _FILE_OFFSET_BITS=64
	SCRIBE_VERSION="${PROJECT_VERSION}")
target_compile_options(scribe_flags INTERFACE
	-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes
	-Wmissing-prototypes -Wold-style-definition -Wcast-qual -Wcast-align -Wformat=2 -Wundef -Wvla
	-Wwrite-strings -Wpointer-arith -Wimplicit-fallthrough -Wdouble-promotion -Werror
	-fno-common -fvisibility=hidden)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
	target_compile_options(scribe_flags INTERFACE -Wlogical-op -Wduplicated-cond -Wduplicated-branches
		-Wjump-misses-init)
endif()
target_link_libraries(scribe_flags INTERFACE Threads::Threads)

if(SCRIBE_SANITIZE STREQUAL "address")
	target_compile_options(scribe_flags INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=all
		-fno-omit-frame-pointer -g)
	target_link_options(scribe_flags INTERFACE -fsanitize=address,undefined)
elseif(SCRIBE_SANITIZE STREQUAL "thread")
	target_compile_options(scribe_flags INTERFACE -fsanitize=thread -fno-omit-frame-pointer -g)
	target_link_options(scribe_flags INTERFACE -fsanitize=thread)
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
	target_compile_options(scribe_flags INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
		-fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE)
	target_link_options(scribe_flags INTERFACE -pie -Wl,-z,relro,-z,now,-z,noexecstack)
endif()
if(SCRIBE_FUZZ)
	target_compile_options(scribe_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(SCRIBE_FAULTS)
	target_compile_definitions(scribe_flags INTERFACE SCRIBE_FAULTS=1)
endif()

# scribe_room(NAME DEPS other rooms LIBS external targets)
# Builds libscribe_NAME.a from the folder's *.c; test_*.c become cmocka programs (ctest "unit.X"),
# fuzz_*.c become fuzz targets that replay their corpus as a test ("fuzz.X"); main_*.c are left to the caller.
function(scribe_room NAME)
	cmake_parse_arguments(R "" "" "DEPS;LIBS" ${ARGN})
	file(GLOB all CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.c)
	set(sources ${all})
	list(FILTER sources EXCLUDE REGEX "/(test|fuzz|main)_[^/]*\\.c$")
	add_library(scribe_${NAME} STATIC ${sources})
	target_include_directories(scribe_${NAME} PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
	set(deps "")
	foreach(d ${R_DEPS})
		list(APPEND deps scribe_${d})
	endforeach()
	target_link_libraries(scribe_${NAME} PUBLIC ${deps} PRIVATE scribe_flags ${R_LIBS})
	file(GLOB tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/test_*.c)
	foreach(t ${tests})
		get_filename_component(base ${t} NAME_WE)
		string(REGEX REPLACE "^test_" "" short ${base})
		add_executable(${base} ${t})
		target_link_libraries(${base} PRIVATE scribe_${NAME} scribe_flags PkgConfig::CMOCKA ${R_LIBS})
		target_compile_options(${base} PRIVATE -Wno-missing-prototypes)
		add_test(NAME unit.${short} COMMAND ${base})
		# What starts threads itself is worth a run under the thread sanitizer: ctest -L tsan there.
		file(STRINGS ${t} threads REGEX "pthread_create")
		set(labels unit quick)
		if(threads)
			list(APPEND labels tsan)
		endif()
		set_tests_properties(unit.${short} PROPERTIES LABELS "${labels}" TIMEOUT 120
			SKIP_RETURN_CODE 77)
	endforeach()
	file(GLOB fuzzers CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/fuzz_*.c)
	foreach(f ${fuzzers})
		get_filename_component(base ${f} NAME_WE)
		string(REGEX REPLACE "^fuzz_" "" short ${base})
		if(SCRIBE_FUZZ)
			add_executable(${base} ${f})
			target_link_options(${base} PRIVATE -fsanitize=fuzzer)
			set(args -runs=20000 -max_total_time=30)
		else()
			add_executable(${base} ${f} ${CMAKE_SOURCE_DIR}/tests/fuzz/driver.c)
			set(args "")
		endif()
		target_compile_options(${base} PRIVATE -Wno-missing-prototypes)
		target_link_libraries(${base} PRIVATE scribe_${NAME} scribe_flags ${R_LIBS})
		add_test(NAME fuzz.${short} COMMAND ${base} ${args})
		set_tests_properties(fuzz.${short} PROPERTIES LABELS "fuzz;quick" TIMEOUT 300)
	endforeach()
endfunction()
