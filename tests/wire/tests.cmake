# What goes over the wire, read by a second implementation of proto/SPEC.md.
include(${CMAKE_CURRENT_LIST_DIR}/../lib/e2e.cmake)

scribe_e2e(wire ${CMAKE_CURRENT_LIST_DIR}/test_wire.py LABELS quick TIMEOUT 300)
