# setup.sh: what samples/chat/run.sh, tests/run.sh and CI share. To be sourced by bash, not run.
#
#   retnet_setup [SET]        installs the packages that are missing. SET `game`: also what samples/village needs;
#                             `tests`: that, and what only the tests need; `ci`: and what only CI needs, where there
#                             is apt
#   retnet_build TARGETS...   configures if needed and builds the targets ("all" for everything)
#   RETNET_PRESET             CMake preset to use; default "release"
#
# Everything that it says goes to stderr; stdin is left to the caller. Paths are relative to this file.

RETNET_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
RETNET_PRESET=${RETNET_PRESET:-release}
# The presets' binaryDir, see CMakePresets.json.
if [ "$RETNET_PRESET" = release ]; then
    RETNET_BUILD_DIR=$RETNET_ROOT/build
else
    RETNET_BUILD_DIR=$RETNET_ROOT/build-$RETNET_PRESET
fi

# The one list of packages per system. g++ is for sentencepiece, the only C++ code there is.
retnet_packages_apt="gcc g++ cmake ninja-build pkg-config glslc libvulkan-dev libvulkan-volk-dev libvulkan1
    libjansson-dev libsentencepiece-dev libedit-dev"
retnet_packages_apt_game="libsdl2-dev libsdl2-ttf-dev libpng-dev fonts-dejavu-core"
retnet_packages_apt_tests="$retnet_packages_apt_game vulkan-validationlayers xvfb"
retnet_packages_dnf="gcc gcc-c++ cmake ninja-build pkgconf-pkg-config glslc vulkan-headers vulkan-loader-devel
    vulkan-volk-devel jansson-devel sentencepiece-devel libedit-devel"
retnet_packages_pacman="gcc cmake ninja pkgconf shaderc vulkan-headers vulkan-icd-loader volk jansson sentencepiece
    libedit"
retnet_packages_zypper="gcc gcc-c++ cmake ninja pkgconf shaderc vulkan-devel vulkan-volk-devel libjansson-devel
    sentencepiece-devel libedit-devel"
retnet_packages_brew="cmake ninja pkgconf shaderc vulkan-headers vulkan-loader vulkan-volk molten-vk jansson
    sentencepiece libedit"

# Analysis, fuzzing and the reference of the headers.
retnet_packages_ci="clang libclang-rt-dev clang-format clang-tidy cppcheck doxygen python3"

retnet_say() { printf 'retnet: %s\n' "$*" >&2; }

# Is there any Vulkan driver? A machine with its own needs no software driver from us.
retnet_have_driver() {
    local directory file
    [ -z "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] || return 0
    for directory in /etc /usr/share /usr/local/share /usr/local/etc /opt/homebrew/etc /opt/homebrew/share \
        "${XDG_DATA_HOME:-$HOME/.local/share}"; do
        for file in "$directory"/vulkan/icd.d/*.json; do
            [ -e "$file" ] && return 0
        done
    done
    return 1
}

# Prints those of the given Debian packages that are not installed. One dpkg-query for all.
retnet_missing_apt() {
    local installed package
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^installed //p')
    for package in "$@"; do
        grep -qx -F -- "$package" <<<"$installed" || printf '%s ' "$package"
    done
}

# Runs a command as root, on stderr and without our stdin.
retnet_as_root() {
    local as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    "${as_root[@]}" "$@" </dev/null >&2
}

# apt-get as root, unattended.
retnet_apt() {
    retnet_as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@"
}

retnet_setup_apt() {
    local packages="$retnet_packages_apt" missing
    retnet_have_driver || packages="$packages mesa-vulkan-drivers"
    case ${1:-} in
    game) packages="$packages $retnet_packages_apt_game" ;;
    tests) packages="$packages $retnet_packages_apt_tests" ;;
    ci) packages="$packages $retnet_packages_apt_tests $retnet_packages_ci" ;;
    esac
    # shellcheck disable=SC2086 # words are wanted
    missing=$(retnet_missing_apt $packages)
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
        retnet_say "not root, and there is no sudo; as root, run: apt-get install $missing"
        return 1
    fi
    retnet_say "installing through apt: $missing"
    # shellcheck disable=SC2086
    retnet_apt update && retnet_apt install -y --no-install-recommends $missing
}

# Without apt: is everything that the build needs in place?
retnet_have_tools() {
    local tool
    for tool in cc c++ cmake pkg-config glslc; do
        command -v "$tool" >/dev/null || return 1
    done
    pkg-config --exists vulkan jansson sentencepiece libedit || return 1
    printf '#define VK_NO_PROTOTYPES\n#include <volk.h>\n' | cc -E - >/dev/null 2>&1
}

retnet_setup() {
    local manager packages
    if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
        retnet_setup_apt "$@"
        return
    fi
    retnet_have_tools && return
    for manager in dnf pacman zypper brew; do
        command -v "$manager" >/dev/null || continue
        packages="retnet_packages_$manager"
        # shellcheck disable=SC2086
        retnet_say "something is missing; install these packages with $manager, then run this again:" ${!packages}
        return 1
    done
    # shellcheck disable=SC2086
    retnet_say "no package manager that is known here; needed are what Debian calls:" $retnet_packages_apt
    return 1
}

retnet_build() {
    if [ ! -e "$RETNET_BUILD_DIR/build.ninja" ] && [ ! -e "$RETNET_BUILD_DIR/Makefile" ]; then
        retnet_say "configuring in $RETNET_BUILD_DIR"
        (
            # The folder of an attempt that failed half-way keeps its generator.
            if command -v ninja >/dev/null && [ ! -e "$RETNET_BUILD_DIR/CMakeCache.txt" ]; then
                export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}
            fi
            cd "$RETNET_ROOT" && cmake --preset "$RETNET_PRESET" </dev/null >&2
        ) || return 1
    fi
    retnet_say "building $*"
    cmake --build "$RETNET_BUILD_DIR" --parallel "$(getconf _NPROCESSORS_ONLN)" --target "$@" </dev/null >&2
}

# How many tests ctest runs at a time. Software drivers have threads of their own, so no more than there is memory for.
retnet_test_jobs() {
    local processors
    processors=$(getconf _NPROCESSORS_ONLN)
    echo $((processors < 8 ? processors : 8))
}
