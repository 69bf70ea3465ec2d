#!/usr/bin/env bash
# install_test.sh BUILD SOURCE [CMAKE ARGUMENTS]: installs the build, moves what was installed, and builds and runs
# programs that use it by find_package and by pkg-config, and one that has the source as a subdirectory.
set -euo pipefail
build=$1 source=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
consumer=$source/tests/library/consumer
failures=0

fail() {
    printf '%s\n' "$*" >&2
    failures=$((failures + 1))
}

run() {
    "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "failed: $*"; return 1; }
}

run_programs() { # folder names...
    local folder=$1 name
    shift
    for name in "$@"; do
        LD_LIBRARY_PATH=$prefix/lib run "$folder/$name" || continue
        grep -q '^retnet 0\.' "$work/log" || fail "$name does not say its version"
    done
}

run cmake --install "$build" --prefix "$work/first" || exit 1
prefix="$work/moved here"
mv "$work/first" "$prefix"
# One place for the tests below, whatever this system calls it.
libraries=$(dirname "$(find "$prefix" -name retnet.pc)")/..
[ -e "$prefix/lib/libretnet.so" ] || [ -e "$prefix/lib/libretnet.dylib" ] || {
    for file in "$libraries"/libretnet*; do ln -s "$file" "$prefix/lib/"; done
}

for folder in "$source" "$build" "$work/first"; do
    leaks=$(grep -rlaF -- "$folder" "$prefix" || true)
    [ -z "$leaks" ] || fail "what is installed tells of $folder:"$'\n'"$leaks"
done
for header in "$source"/include/retnet/*.h; do
    [ -e "$prefix/include/retnet/${header##*/}" ] || [ "${header##*/}" = text.h ] || fail "${header##*/} is not installed"
done

text=()
[ ! -e "$libraries/pkgconfig/retnet_text.pc" ] || text=(retnet_text)
run cmake -S "$consumer" -B "$work/find" -DCMAKE_PREFIX_PATH="$prefix" -DTEXT="${text[*]-}" \
    -DFORMS="retnet;retnet_shared;retnet_static" "$@" &&
    run cmake --build "$work/find" &&
    run_programs "$work/find" {c,cpp}_{retnet,retnet_shared,retnet_static}

export PKG_CONFIG_PATH="$libraries/pkgconfig"
mkdir "$work/pkg"
define=()
[ -z "${text[*]-}" ] || define=(-DWITH_TEXT)
# pkg-config quotes spaces for a shell.
eval "flags=($(pkg-config --cflags --libs retnet "${text[@]}"))"
eval "static_flags=($(pkg-config --static --libs retnet | sed 's/-lretnet /-l:libretnet.a /'))"
warnings=(-Wall -Wextra -Wpedantic -Werror)
run cc "${warnings[@]}" "${define[@]}" "$consumer/main.c" "${flags[@]}" -o "$work/pkg/c" &&
    run c++ "${warnings[@]}" "${define[@]}" "$consumer/main.cpp" "${flags[@]}" -o "$work/pkg/cpp" &&
    run cc "${warnings[@]}" "$consumer/main.c" "${flags[0]}" "${static_flags[@]}" -o "$work/pkg/static" &&
    run_programs "$work/pkg" c cpp static
version=$(pkg-config --modversion retnet)
grep -q "^retnet $version:" "$work/log" || fail "pkg-config says version $version, the header another"

run cmake -S "$consumer" -B "$work/sub" -DRETNET_SOURCE="$source" -DFORMS=retnet "$@" &&
    run cmake --build "$work/sub" --parallel 2 &&
    run_programs "$work/sub" c_retnet cpp_retnet
exit $((failures > 0))
