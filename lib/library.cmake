# What a host links, both forms made of the same objects:
#
#   retnet_shared            libretnet.so with a versioned soname
#   retnet_static            libretnet.a; with GNU tools it holds a single object in which all that is not exported is
#                            local, so that our names cannot clash with the host's
#   retnet, retnet::retnet   the one that BUILD_SHARED_LIBS asks for

# A static library of TARGET_OBJECTS, joined to one object whose hidden symbols are local.
function(retnet_add_joined_library name)
  set(joined ${CMAKE_CURRENT_BINARY_DIR}/${name}.o)
  separate_arguments(flags UNIX_COMMAND "${CMAKE_C_FLAGS}")
  add_custom_command(
    OUTPUT ${joined}
    COMMAND ${CMAKE_C_COMPILER} ${flags} -r -nostdlib -o ${joined} ${ARGN}
    COMMAND ${CMAKE_OBJCOPY} --localize-hidden ${joined}
    DEPENDS ${ARGN}
    COMMENT "Joining ${name}"
    COMMAND_EXPAND_LISTS
    VERBATIM)
  set_source_files_properties(${joined} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
  add_library(${name} STATIC ${joined})
  set_target_properties(${name} PROPERTIES LINKER_LANGUAGE C)
endfunction()

# Mach-O and PE have no such objcopy, and objects for link-time optimisation cannot be joined.
set(join OFF)
if(CMAKE_OBJCOPY AND CMAKE_EXECUTABLE_FORMAT STREQUAL "ELF" AND NOT CMAKE_INTERPROCEDURAL_OPTIMIZATION)
  execute_process(COMMAND ${CMAKE_OBJCOPY} --version OUTPUT_VARIABLE objcopy_version ERROR_QUIET)
  if(objcopy_version MATCHES "GNU")
    set(join ON)
  endif()
endif()
set(RETNET_JOIN_OBJECTS ${join} CACHE INTERNAL "libretnet.a is one object without foreign symbols")

set(objects $<TARGET_OBJECTS:retnet_objects>)
if(RETNET_JOIN_OBJECTS)
  retnet_add_joined_library(retnet_static ${objects})
else()
  add_library(retnet_static STATIC ${objects})
endif()
add_library(retnet_shared SHARED ${objects})
if(WIN32)
  target_compile_definitions(retnet_objects PRIVATE RETNET_SHARED RETNET_BUILD) # what a DLL exports
endif()
# While the version is 0.x, every minor version may change the interface.
set_target_properties(retnet_shared PROPERTIES VERSION ${PROJECT_VERSION}
                                               SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})

# Makefiles know no other order between a target and the objects of another.
add_dependencies(retnet_static retnet_objects)
foreach(library retnet_static retnet_shared)
  set_target_properties(${library} PROPERTIES OUTPUT_NAME retnet)
  target_include_directories(${library} INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                                  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(${library} PRIVATE $<BUILD_INTERFACE:retnet_options> PkgConfig::JANSSON Threads::Threads
                                           ${CMAKE_DL_LIBS} m)
  add_library(retnet::${library} ALIAS ${library})
endforeach()

if(BUILD_SHARED_LIBS)
  set(default_library retnet_shared)
else()
  set(default_library retnet_static)
endif()
add_library(retnet ALIAS ${default_library})
add_library(retnet::retnet ALIAS ${default_library})
set(RETNET_DEFAULT_LIBRARY ${default_library} CACHE INTERNAL "What retnet::retnet is")
