add_executable(enginepair ${CMAKE_SOURCE_DIR}/tests/engine/main_enginepair.c)
target_link_libraries(enginepair PRIVATE scribe_source scribe_dest scribe_flags)
