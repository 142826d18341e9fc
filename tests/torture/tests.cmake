# 3 x 70 rounds; --least 4 on each filesystem makes every mutation run at least 12 times in all.
include(${CMAKE_CURRENT_LIST_DIR}/../lib/e2e.cmake)

set(run ${CMAKE_CURRENT_LIST_DIR}/run.py)
scribe_e2e(torture-quick ${run} ARGS --quick LABELS quick TIMEOUT 120)
foreach(fs ext4 xfs btrfs)
	scribe_e2e(torture-${fs} ${run} ARGS --fs ${fs} --rounds 70 --least 4 TIMEOUT 3600)
endforeach()
scribe_e2e(torture-each ${run} ARGS --fs dir --each TIMEOUT 3600)
scribe_e2e(torture-pull ${run} ARGS --fs dir --rounds 20 --direction pull TIMEOUT 1800)

# The rig proves itself without the mover: both oracles see every mutation, and a plain copy
# satisfies them.
if(TARGET treediff)
	add_test(NAME rig.torture COMMAND ${Python3_EXECUTABLE} -B ${run} - --mover cp --fs dir --each
		--scale 0.3 --diff $<TARGET_FILE:treediff>)
	set_tests_properties(rig.torture PROPERTIES LABELS "e2e" TIMEOUT 900 SKIP_RETURN_CODE 77)
endif()
