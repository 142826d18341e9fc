include(${CMAKE_CURRENT_LIST_DIR}/../lib/e2e.cmake)

scribe_e2e(golden ${CMAKE_CURRENT_LIST_DIR}/run_golden.py LABELS quick TIMEOUT 300)
