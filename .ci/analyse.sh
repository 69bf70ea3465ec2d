#!/usr/bin/env bash
# analyse.sh: what can be said of the sources without running them: clang-format, clang-tidy (.clang-tidy) and cppcheck.
# Formatting is checked for the clang-format that Debian 12 has; another version may see it otherwise.
set -uo pipefail
RETNET_PRESET=fuzz # has clang's compile_commands.json
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$RETNET_ROOT" || exit
status=0

mapfile -t sources < <(git ls-files '*.c' '*.h' '*.cpp' '*.hpp')
clang-format --dry-run --Werror "${sources[@]}" || status=1

# The generated headers are needed; the library itself is not.
retnet_build retnet_shaders || exit 1
git ls-files 'lib/*.c' 'lib/*.cpp' |
    xargs -P "$(getconf _NPROCESSORS_ONLN)" -n 4 clang-tidy -p "$RETNET_BUILD_DIR" --quiet 2>/dev/null || status=1

# unusedStructMember and the like are matters of taste; these two see what is not there: a designated initialiser as
# uninitialised, and a vocabulary of no token.
cppcheck --enable=warning,performance,portability --std=c11 --quiet --error-exitcode=1 -j "$(getconf _NPROCESSORS_ONLN)" \
    -I include -I lib -I "$RETNET_BUILD_DIR/shaders" --suppress=preprocessorErrorDirective \
    --suppress=legacyUninitvar:lib/vulkan/buffer.c --suppress=invalidFunctionArg:lib/session/run.c lib || status=1
exit $status
