#!/usr/bin/env bash
# devices.sh: runs the tests of kernels, sessions and Vulkan, and a short soak, as many kinds of device (pretend.h).
#
#     devices.sh BUILD [PROGRAM...]       BUILD/tests/ holds the programs; without names all of them run
#     devices.sh pack BUILD ARCHIVE       copies them, stripped, into a .tar.xz, for a machine without compiler or ctest;
#                                         there, unpack it and name its folder as BUILD
#
# Tells of each program and kind on stdout, then how many passed, failed and were skipped as each kind; of a failure also
# what the program said, on stderr. A kind of which a program can see no difference from one before it, going by what
# test_vulkan_device prints, counts as that one and is not run again: without 16-bit floats where there are no matrix
# units, without timeline semaphores for single layers, which have none. Long programs get arguments that make them
# shorter (lengths, below). The environment sets
#
#     RETNET_TEST_LAUNCHER   what programs are started with (.tree/run, .swiftshader/run)
#     RETNET_TEST_KINDS      the kinds, separated by spaces. Beside pretend.h's there are own-4, own-8, own-16, own-32 and
#                            own-64: Mesa's llvmpipe makes its subgroups that large, and compiles for them. Mesa 26's
#                            crashes with more than 8, and compiles a GPU's products on matrix units for many minutes
#                            each: there gpu,no-matrix and so on
#     RETNET_TEST_JOBS       how many programs at a time (1)
#     RETNET_TEST_SECONDS    end after so many seconds; what was not done by then is counted as such
#
# Goes through the programs in their order, each as every kind.
set -uo pipefail

pack() { # build, archive
    local folder
    folder=$(mktemp -d)
    (cd "$1" && cp --parents tests/{layers,session,soak,vulkan}/test_* "$folder") &&
        rm -f "$folder"/tests/vulkan/test_*_shared && # would need the library at its place here
        find "$folder" -name 'test_*' -exec strip {} + &&
        tar -C "$folder" -cf - tests | xz -9e >"$2"
    local status=$?
    rm -rf "$folder"
    return $status
}

if [ "${1:-}" = pack ] && [ $# = 3 ]; then
    pack "$2" "$3"
    exit
fi
if [ $# = 0 ] || [ ! -d "$1/tests" ]; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi

build=$1
shift
# Those that look at no device or choose what to pretend themselves.
unaffected=" layers/test_layers_shaders session/test_session_layout vulkan/test_vulkan_compile vulkan/test_vulkan_device
    vulkan/test_vulkan_labels vulkan/test_vulkan_memory vulkan/test_vulkan_prepare vulkan/test_vulkan_recommend
    vulkan/test_vulkan_renderer "
# On software drivers, only a GPU's kernels can miss shuffles, products of bytes and large subgroups.
kinds=${RETNET_TEST_KINDS:-all no-matrix no-timeline minimum-limits discrete subgroup-4 gpu gpu,no-subgroup gpu,no-float16 \
    gpu,no-int8 gpu,discrete gpu,minimum-limits gpu,subgroup-4 gpu,subgroup-8 least-gpu}
declare -A lengths=([session/test_session_slots]=100 [session/test_session_long]=1000 [session/test_session_willowbrook]=brief)
programs=("$@")
[ $# -gt 0 ] || mapfile -t programs < <(cd "$build/tests" && ls {layers,session,soak,vulkan}/test_*)
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# Sets what a program is to know of its kind. Each size has kernels of its own, which Mesa's cache would take for one.
set_kind() {
    local part parts pretended=
    IFS=, read -ra parts <<<"$1"
    for part in "${parts[@]}"; do
        case $part in
        all) ;;
        own-*)
            export LP_NATIVE_VECTOR_WIDTH=$((${part#own-} * 32))
            export MESA_SHADER_CACHE_DIR=${MESA_SHADER_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}}/retnet-$part
            ;;
        *) pretended=$pretended${pretended:+,}$part ;;
        esac
    done
    [ -z "$pretended" ] || export RETNET_TEST_PRETEND=$pretended
}

# What a program can see of its kind: no session is made of a layer's test, and no session with matrix units but in
# session_matrix and session_window. Own subgroups are compiled otherwise than those that are only believed in.
visible() { # kind, program
    local own lines='.'
    case $2 in
    layers/*) lines='^kernels\|^matrices' ;;
    session/test_session_matrix | session/test_session_window) ;;
    session/* | soak/*) lines='^kernels\|^sessions' ;;
    esac
    own=$(grep -o 'own-[0-9]*' <<<"$1")
    printf '%s %s\n' "$own" "$(grep "$lines" "$logs/device_$1")"
}

describe_kind() { # kind
    set_kind "$1"
    # shellcheck disable=SC2086 # a launcher may have arguments
    ${RETNET_TEST_LAUNCHER:-} "$build/tests/vulkan/test_vulkan_device" print >"$logs/device_$1" || exit 1
}

run_one() { # kind, program
    local kind=$1 program=$2 start=$SECONDS limit=900 status said log=$logs/${1}_${2##*/}
    local left=$((${RETNET_TEST_SECONDS:-1000000} - SECONDS))
    if [ $left -le 0 ]; then
        printf '%s left %s\n' "$kind" "$program" >>"$logs/results"
        return
    fi
    [ $left -ge $limit ] || limit=$left
    set_kind "$kind"
    # shellcheck disable=SC2086 # a launcher may have arguments
    timeout $limit ${RETNET_TEST_LAUNCHER:-} "$build/tests/$program" ${lengths[$program]:-} >"$log" 2>&1
    status=$?
    case $status in
    0) said=passed ;;
    77) said=skipped ;;
    124) [ $limit -lt 900 ] && said=left || said=failed ;;
    *) said=failed ;;
    esac
    printf '%s %s %s\n' "$kind" "$said" "$program" >>"$logs/results"
    times >"$log.times"
    printf '%-20s %-32s %4d s, %6.1f s of CPUs  %s\n' "$kind" "${program##*/test_}" $((SECONDS - start)) \
        "$(awk -F '[ms ]' 'NR == 2 { print 60 * $1 + $2 + 60 * $4 + $5 }' "$log.times")" "$said"
    [ $said != failed ] || { printf '%s as %s exited with %d:\n' "$program" "$kind" $status && tail -n 40 "$log"; } >&2
}

touch "$logs/results"
for kind in $kinds; do (describe_kind "$kind") || { printf 'there is no device %s\n' "$kind" >&2 && exit 1; }; done
for program in "${programs[@]}"; do
    declare -A seen=()
    for kind in $kinds; do
        [ "$kind" = all ] || [[ ! $unaffected =~ [[:space:]]$program[[:space:]] ]] || continue
        sight=$(visible "$kind" "$program")
        if [ -n "${seen[$sight]:-}" ]; then
            printf '%s same %s %s\n' "$kind" "$program" "${seen[$sight]}" >>"$logs/results"
            continue
        fi
        seen[$sight]=$kind
        while [ "$(jobs -rp | wc -l)" -ge "${RETNET_TEST_JOBS:-1}" ]; do wait -n; done
        run_one "$kind" "$program" &
    done
done
wait
printf '\n'
for kind in $kinds; do
    awk -v kind="$kind" '{ said[$1, $3] = $2 }
        $1 == kind && $2 == "same" { other[$3] = $4 }
        $1 == kind && $2 != "same" { n[$2]++ }
        END { for (program in other) { n[said[other[program], program]]++; as[other[program]]++ }
              printf "as %-20s %3d passed, %d failed, %d skipped", kind, n["passed"], n["failed"], n["skipped"]
              if (n["left"]) printf ", %d not run", n["left"]
              for (i in as) printf "; %d of them as %s", as[i], i
              printf "\n" }' "$logs/results"
done
! grep -q ' failed ' "$logs/results"
