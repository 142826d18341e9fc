# One test per line of what the mover must show. Without a release build (SCRIBE_RELEASE_MOVER)
# those which weigh memory run small.
include(${CMAKE_CURRENT_LIST_DIR}/../lib/e2e.cmake)

set(here ${CMAKE_CURRENT_LIST_DIR})
scribe_e2e(badinput ${here}/badinput.py LABELS quick TIMEOUT 300)
scribe_e2e(faults ${here}/faults.py TIMEOUT 600)
scribe_e2e(filters ${here}/filters_e2e.py ARGS --cases 300 TIMEOUT 1800)
scribe_e2e(filters-quick ${here}/filters_e2e.py ARGS --cases 12 --first 1000 LABELS quick
	TIMEOUT 120)
scribe_e2e(masks ${here}/masks.py TIMEOUT 300)
scribe_e2e(matrix ${here}/push_pull_matrix.py TIMEOUT 900)
scribe_e2e(memory ${here}/memory.py ARGS "${SCRIBE_RELEASE_MOVER}" TIMEOUT 3600)
scribe_e2e(nochange ${here}/nochange.py ARGS --files 100000 TIMEOUT 1800)
scribe_e2e(shifts ${here}/shifts.py ARGS "${SCRIBE_RELEASE_MOVER}" TIMEOUT 1800)
