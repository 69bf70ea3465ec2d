# cmake --install: headers, both forms of the library, retnet_text if it was built, a CMake package and pkg-config files.
# Nothing that is installed tells where it was built or has to stay where it was put.
include(CMakePackageConfigHelpers)

set(targets retnet_shared retnet_static)
if(TARGET retnet_text)
  list(APPEND targets retnet_text)
endif()
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/retnet)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/retnet DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN *.h PATTERN text.h EXCLUDE)
if(TARGET retnet_text)
  install(FILES ${PROJECT_SOURCE_DIR}/include/retnet/text.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/retnet)
endif()
install(TARGETS ${targets} EXPORT retnet
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(EXPORT retnet NAMESPACE retnet:: FILE retnetTargets.cmake DESTINATION ${package})

configure_package_config_file(${CMAKE_CURRENT_SOURCE_DIR}/retnetConfig.cmake.in
                              ${CMAKE_CURRENT_BINARY_DIR}/retnetConfig.cmake INSTALL_DESTINATION ${package})
# While the version is 0.x, every minor version may change the interface.
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/retnetConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/retnetConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/retnetConfigVersion.cmake
        DESTINATION ${package})

# Paths in .pc files are relative to the file.
set(pkgconfig ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH to_prefix /prefix/${pkgconfig} /prefix)
string(REGEX REPLACE "/$" "" to_prefix ${to_prefix})
list(TRANSFORM CMAKE_DL_LIBS PREPEND -l OUTPUT_VARIABLE dl_libraries)
list(JOIN dl_libraries " " dl_libraries)
set(names retnet)
if(TARGET retnet_text)
  # A program in C needs the standard library of C++ with the static form.
  set(cxx_libraries ${CMAKE_CXX_IMPLICIT_LINK_LIBRARIES})
  if(NOT cxx_libraries)
    get_directory_property(cxx_libraries DIRECTORY text DEFINITION CMAKE_CXX_IMPLICIT_LINK_LIBRARIES)
  endif()
  list(REMOVE_ITEM cxx_libraries ${CMAKE_C_IMPLICIT_LINK_LIBRARIES})
  list(TRANSFORM cxx_libraries PREPEND -l)
  list(JOIN cxx_libraries " " cxx_libraries)
  get_target_property(text_type retnet_text TYPE)
  set(text_public)
  set(text_private "-lsentencepiece ${cxx_libraries}")
  if(text_type STREQUAL "STATIC_LIBRARY")
    set(text_public " ${text_private}")
    set(text_private)
  endif()
  list(APPEND names retnet_text)
endif()
foreach(name IN LISTS names)
  configure_file(${name}.pc.in ${CMAKE_CURRENT_BINARY_DIR}/${name}.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/${name}.pc DESTINATION ${pkgconfig})
endforeach()
