#!/usr/bin/env bash
# windows.sh: cross-builds the library and samples/chat for Windows by mingw-w64 in build-windows/, and lets the program
# answer under Wine, on this machine's Vulkan driver. jansson and sentencepiece are built of Debian's source packages,
# since Debian has none for mingw-w64. Exit code 3: packages cannot be fetched.
#
# Wine's winevulkan needs a display, which Xvfb is, and hands Vulkan on to this machine's loader.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

base=$RETNET_ROOT/build-windows
export RETNET_WINDOWS_PREFIX=$base/prefix
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
unreachable=3
generator=(-G Ninja -DCMAKE_TOOLCHAIN_FILE="$RETNET_ROOT/.ci/windows.cmake" -DCMAKE_BUILD_TYPE=Release)
for launcher in C CXX; do
    ! command -v ccache >/dev/null || generator+=("-DCMAKE_${launcher}_COMPILER_LAUNCHER=ccache")
done

give_up() {
    retnet_say "$*"
    exit $unreachable
}

install_tools() {
    local missing
    # shellcheck disable=SC2046
    missing=$(retnet_missing_apt gcc-mingw-w64-x86-64-posix g++-mingw-w64-x86-64-posix dpkg-dev wine wine64 xvfb xauth)
    [ -n "$missing" ] || return 0
    retnet_apt update || give_up "apt cannot fetch its lists"
    # shellcheck disable=SC2086
    retnet_apt install -y --no-install-recommends $missing || give_up "not to be had: $missing"
}

# apt with the deb-src twins of this machine's Debian sources, and lists of its own.
apt_source() {
    apt-get -qq -o Dir::Etc::SourceParts=/nonexistent -o Dir::Etc::SourceList="$base/sources.list" \
        -o Dir::State::Lists="$base/lists" -o APT::Sandbox::User=root "$@" >&2
}

# The packages are small; what Debian changes in them is about its own packaging.
fetch_sources() {
    [ ! -e "$base/source/.complete" ] || return 0
    rm -rf "$base/source" "$base/lists"
    mkdir -p "$base/source" "$base/lists/partial"
    # shellcheck disable=SC2016 # apt expands
    apt-get indextargets --format "deb-src [signed-by=$keyring] "'$(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' 'Label: Debian' | sort -u >"$base/sources.list"
    apt_source update || give_up "apt cannot fetch the lists of sources"
    (cd "$base/source" && apt_source source --download-only jansson sentencepiece) || give_up "no source packages"
    for package in jansson sentencepiece; do
        dpkg-source --skip-patches -x "$base"/source/"$package"_*.dsc "$base/source/$package" >&2
    done
    touch "$base/source/.complete"
}

build_dependencies() {
    local prefix=$RETNET_WINDOWS_PREFIX
    [ ! -e "$prefix/.complete" ] || return 0
    cmake -S "$base/source/jansson" -B "$base/jansson" "${generator[@]}" -DCMAKE_INSTALL_PREFIX="$prefix" \
        -DJANSSON_BUILD_DOCS=OFF -DJANSSON_EXAMPLES=OFF -DJANSSON_WITHOUT_TESTS=ON >&2
    cmake --build "$base/jansson" --target install >&2
    cmake -S "$base/source/sentencepiece" -B "$base/sentencepiece" "${generator[@]}" -DSPM_ENABLE_SHARED=OFF \
        -DSPM_ENABLE_TCMALLOC=OFF -DCMAKE_CXX_FLAGS=-w >&2
    cmake --build "$base/sentencepiece" --target sentencepiece-static >&2
    mkdir -p "$prefix/include" "$prefix/lib/pkgconfig"
    cp "$base/sentencepiece/src/libsentencepiece.a" "$prefix/lib/"
    cp "$base/source/sentencepiece/src/sentencepiece_processor.h" "$prefix/include/"
    printf '%s\n' 'prefix=${pcfiledir}/../..' 'Name: sentencepiece' 'Description: tokenizer' 'Version: 0' \
        'Libs: -L${prefix}/lib -lsentencepiece' 'Cflags: -I${prefix}/include' >"$prefix/lib/pkgconfig/sentencepiece.pc"
    # Headers only, which are the same for every system.
    cp -r /usr/include/vulkan /usr/include/vk_video "$prefix/include/"
    touch "$prefix/.complete"
}

build_retnet() {
    PKG_CONFIG_LIBDIR=$RETNET_WINDOWS_PREFIX/lib/pkgconfig cmake -S "$RETNET_ROOT" -B "$base/retnet" "${generator[@]}" \
        -DRETNET_WARNINGS_AS_ERRORS=ON -DRETNET_BUILD_TESTS=OFF >&2
    cmake --build "$base/retnet" --target retnet_shared retnet_static retnet_text chat hello >&2
    local foreign
    foreign=$(x86_64-w64-mingw32-objdump -p "$base/retnet/lib/libretnet.dll" |
        awk '/Ordinal\/Name Pointer/ { names = 1; next } names && !NF { exit } names && NF > 1 { print $NF }' | grep -v '^retnet_' || true)
    [ -z "$foreign" ] || { retnet_say "libretnet.dll exports" "$foreign"; return 1; }
}

run_chat() {
    local answer
    export WINEPREFIX=$base/wine WINEDEBUG=-all
    answer=$(timeout 240 xvfb-run -a wine "$base/retnet/samples/chat/chat.exe" -q --seed 1 -p "Hello, who are you?" \
        --model "$RETNET_ROOT/samples/chat/model" 2>"$base/wine.log") || {
        cat "$base/wine.log" >&2
        return 1
    }
    [ "$(printf '%s' "$answer" | wc -w)" -gt 2 ] || { retnet_say "no answer under Wine"; return 1; }
    retnet_say "chat.exe under Wine: $answer"
}

install_tools
fetch_sources
build_dependencies
build_retnet
run_chat
