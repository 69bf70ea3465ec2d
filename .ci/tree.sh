#!/usr/bin/env bash
# tree.sh: makes a Debian testing tree in the ignored folder .tree/ for what Debian 12 is too old for: a glslc that
# knows cooperative matrices, a software driver that has them, newer validation layers. Says what it does on stderr
# and prints the paths:
#
#   .tree/glslc ARGS         that glslc (cmake -DRETNET_GLSLC=.tree/glslc, as an absolute path)
#   .tree/run PROGRAM ARGS   a program of this machine on the tree's loader, libraries, driver and layers
#   RETNET_TREE              a tree made earlier, to use instead of making one
#
# Exit code 3: the tree cannot be made because packages cannot be fetched. Fast when the tree is there.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

base=$RETNET_ROOT/.tree
tree=${RETNET_TREE:-$base/testing}
packages="glslc glslang-tools spirv-tools mesa-vulkan-drivers vulkan-tools vulkan-validationlayers libvulkan-dev"
unreachable=3

# The mirror that this machine's apt uses for Debian itself; nothing if there is none, and debootstrap uses its own.
find_mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | awk 'NR == 1'
}

give_up() {
    retnet_say "$*"
    exit $unreachable
}

in_tree() {
    retnet_as_root env DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$tree" "$@"
}

# The tree's apt goes the way out that this machine's apt goes.
copy_apt_settings() {
    local settings
    settings=$(apt-config dump | grep -E '^Acquire::(https?::|Check-|Retries|ForceIPv)' || true)
    # shellcheck disable=SC2016 # the inner shell expands
    retnet_as_root sh -c 'printf "%s\n" "$1" >"$2"' sh "$settings" "$tree/etc/apt/apt.conf.d/99host"
}

make_tree() {
    local mirror http_proxy=${http_proxy:-}
    retnet_apt update || give_up "apt cannot fetch its lists"
    mirror=$(find_mirror)
    if [ -n "$(retnet_missing_apt debootstrap)" ]; then
        retnet_apt install -y --no-install-recommends debootstrap || give_up "debootstrap cannot be installed"
    fi
    eval "$(apt-config shell http_proxy Acquire::http::Proxy)"
    export http_proxy
    if [ -n "$mirror" ] && ! wget -q --tries=3 --timeout=20 -O /dev/null "${mirror%/}/dists/testing/InRelease"; then
        give_up "$mirror has no testing suite, or cannot be reached"
    fi
    retnet_say "making a Debian testing tree in $tree"
    # A try that was interrupted may have left its /proc mounted.
    retnet_as_root rm -rf --one-file-system "$tree"
    mkdir -p "$base"
    # shellcheck disable=SC2086 # no mirror, no argument
    retnet_as_root debootstrap --variant=minbase --include=ca-certificates testing "$tree" $mirror
    copy_apt_settings
    retnet_say "installing in it: $packages"
    in_tree apt-get -qq update
    # shellcheck disable=SC2086
    in_tree apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends $packages
    retnet_as_root touch "$tree/.complete"
}

# A copy of a driver's or layer's description with the library's path made absolute.
write_json() { # from to library-folder
    sed -E 's|("library_path"[^"]*")(lib[^"]*")|\1'"$3"'/\2|' "$1" >"$2"
}

write_wrappers() {
    local libraries loader host
    libraries=$(dirname "$(find "$tree/usr/lib" -name libvulkan_lvp.so -print -quit)")
    loader=$(find "$libraries" -maxdepth 1 -name 'ld-linux*.so.*' -print -quit)
    # Libraries that the tree lacks (jansson, sentencepiece) are this machine's: the tree's are the newer ones.
    host=/usr/lib/${libraries##*/}
    mkdir -p "$base/layers"
    write_json "$tree/usr/share/vulkan/icd.d/lvp_icd.json" "$base/lvp_icd.json" "$libraries"
    write_json "$tree/usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json" \
        "$base/layers/VkLayer_khronos_validation.json" "$libraries"
    cat >"$base/glslc" <<END
#!/bin/sh
exec "$loader" --library-path "$libraries" "$tree/usr/bin/glslc" "\$@"
END
    cat >"$base/run" <<END
#!/bin/sh
# run PROGRAM ARGUMENTS. What the program starts runs on this machine's own libraries and would not find this driver.
program=\$(command -v "\$1") || { echo "run: no program \$1" >&2; exit 127; }
shift
unset VK_ICD_FILENAMES VK_ADD_LAYER_PATH VK_ADD_DRIVER_FILES
export VK_DRIVER_FILES="$base/lvp_icd.json" VK_LAYER_PATH="$base/layers" VK_LOADER_LAYERS_DISABLE='~implicit~'
exec "$loader" --library-path "$libraries:$host" "\$program" "\$@"
END
    chmod +x "$base/glslc" "$base/run"
}

[ -n "${RETNET_TREE:-}" ] || [ -e "$tree/.complete" ] || make_tree
write_wrappers
printf '%s\n' "tree: $tree" "glslc: $base/glslc" "run: $base/run"
