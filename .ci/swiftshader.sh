#!/usr/bin/env bash
# swiftshader.sh: gets SwiftShader, a strict software driver that shares nothing with Mesa's, out of Debian's package
# chromium-common into the ignored folder .swiftshader/. Says what it does on stderr and prints the path:
#
#   .swiftshader/run PROGRAM ARGS   a program of this machine on that driver
#
# Exit code 3: the package cannot be fetched. Fast when the folder is there.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

base=$RETNET_ROOT/.swiftshader
library=$base/libvk_swiftshader.so
unreachable=3

fetch() {
    local folder
    folder=$(mktemp -d)
    # shellcheck disable=SC2064 # this folder
    trap "rm -rf '$folder'" EXIT
    retnet_say "fetching chromium-common for the driver in it"
    if ! (cd "$folder" && { apt-get -qq download chromium-common || { retnet_apt update && apt-get -qq download chromium-common; }; }) >&2; then
        retnet_say "chromium-common cannot be fetched"
        exit $unreachable
    fi
    dpkg-deb --fsys-tarfile "$folder"/chromium-common_*.deb |
        tar -x -C "$folder" --wildcards '*/libvk_swiftshader.so' '*/vk_swiftshader_icd.json'
    mkdir -p "$base"
    mv "$(find "$folder" -name vk_swiftshader_icd.json)" "$base/packaged.json"
    mv "$(find "$folder" -name libvk_swiftshader.so)" "$library"
}

[ -e "$library" ] || fetch
sed -E 's|("library_path"[^"]*")[^"]*"|\1'"$library"'"|' "$base/packaged.json" >"$base/swiftshader.json"
cat >"$base/run" <<END
#!/bin/sh
unset VK_ICD_FILENAMES VK_ADD_DRIVER_FILES
export VK_DRIVER_FILES="$base/swiftshader.json" VK_LOADER_LAYERS_DISABLE='~implicit~'
exec "\$@"
END
chmod +x "$base/run"
printf 'run: %s\n' "$base/run"
