# What release builds add so that a bug that is there all the same does less harm: checked copies, stack protectors, no
# writable tables, addresses that cannot be foretold. Not in builds for looking at the code.
include(CheckCSourceCompiles)
include(CheckPIESupported)
check_pie_supported(LANGUAGES C)

if(CMAKE_EXECUTABLE_FORMAT STREQUAL "ELF" AND CMAKE_C_COMPILER_ID MATCHES "GNU|Clang" AND NOT RETNET_SANITIZE
   AND NOT RETNET_FUZZ AND NOT RETNET_COVERAGE)
  set(CMAKE_REQUIRED_FLAGS "-O2 -Werror -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3")
  check_c_source_compiles("#include <string.h>\nint main(void) { return 0; }" RETNET_HAVE_FORTIFY_3)
  set(CMAKE_REQUIRED_FLAGS "-Werror -fstack-clash-protection")
  check_c_source_compiles("int main(void) { return 0; }" RETNET_HAVE_STACK_CLASH_PROTECTION)
  set(CMAKE_REQUIRED_FLAGS)
  set(level $<IF:$<BOOL:${RETNET_HAVE_FORTIFY_3}>,3,2>)
  target_compile_options(retnet_options INTERFACE
    -fstack-protector-strong $<$<BOOL:${RETNET_HAVE_STACK_CLASH_PROTECTION}>:-fstack-clash-protection>
    $<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=${level}>)
  target_link_options(retnet_options INTERFACE LINKER:-z,relro,-z,now,-z,noexecstack)
  set(RETNET_HARDENED $<NOT:$<CONFIG:Debug>>)
endif()
