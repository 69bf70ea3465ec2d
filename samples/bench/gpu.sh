#!/usr/bin/env bash
# gpu.sh: one measured session on a machine with a GPU, which may have neither compiler nor ctest.
#
#   gpu.sh pack BUILD FOLDER    copies what such a machine needs out of a build folder into FOLDER
#   gpu.sh BUILD [PART]...      runs there, from the repository's top: BUILD is a build folder or what pack made
#
# Parts: tests, layers, prefill, decode, plain (without matrix units), position, long, profile; all if none is named.
# Results go to ${OUT:-.}: tests.log, bench.txt, bench.log and bench.json (an array, one element a call of bench). Every
# step has a time limit, a failure stops nothing, and a short summary ends the output. Exit code 1 if anything failed.
set -uo pipefail

pack() { # build folder
    local build=$1 folder=$2 program
    mkdir -p "$folder/tests" "$folder/samples/bench" "$folder/system"
    cp "$build/tests/list.txt" "$folder/tests/"
    while read -r program; do
        [ -n "$program" ] && install -D "$build/$program" "$folder/$program"
    done <"$build/tests/list.txt"
    cp "$build/samples/bench/bench" "$build/samples/bench/layer_bench" "$folder/samples/bench/"
    find "$folder" -type f -perm -u+x -exec strip {} + 2>/dev/null
    # What the C library's packages bring is there; the loader is opened at run time and no dependency that ldd sees.
    { find "$folder" -type f -perm -u+x -exec ldd {} + && ldconfig -p | grep -F libvulkan.so.1; } |
        awk '$2 == "=>" { print $3 } $(NF - 1) == "=>" { print $NF }' | sort -u |
        grep -vE '/(libc|libm|libdl|librt|libpthread|libgcc_s|libstdc\+\+|libresolv)\.so' |
        xargs -r cp -L -t "$folder/system"
    du -sh "$folder" >&2
}

if [ "${1:-}" = pack ] && [ $# = 3 ]; then
    pack "$2" "$3"
    exit
fi
if [ $# = 0 ] || [ ! -e "$1/tests/list.txt" ]; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi

build=$(cd "$1" && pwd)
shift
out=${OUT:-.}
parts=" $* "
[ $# -gt 0 ] || parts=" tests layers prefill decode plain position long profile "
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
[ ! -d "$build/system" ] || export LD_LIBRARY_PATH=$build/system${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
failures=()
passed=0 skipped=0 tests_failed=0
json_count=0

say() { printf '%s gpu.sh: %s\n' "$(date +%H:%M:%S)" "$*" >&2; }
wanted() { [[ $parts == *" $1 "* ]]; }

run_test() { # program
    local status=0 start=$SECONDS
    printf '==== %s\n' "$1" >>"$out/tests.log"
    timeout 120 "$build/$1" >>"$out/tests.log" 2>&1 || status=$?
    case $status in
    0) passed=$((passed + 1)) ;;
    77) skipped=$((skipped + 1)) ;;
    *)
        tests_failed=$((tests_failed + 1))
        failures+=("${1##*/} exited with $status")
        ;;
    esac
    printf '==== %s exited with %d after %d s\n' "$1" "$status" $((SECONDS - start)) >>"$out/tests.log"
}

# Without those that use no device; some of them start programs that are not here.
run_tests() {
    local program
    : >"$out/tests.log"
    while read -r program; do
        [ -z "$program" ] || { say "${program##*/}"; run_test "$program"; }
    done < <(grep -vE '^tests/(base|model|reference)/' "$build/tests/list.txt")
}

# One call of bench; its JSON becomes one element of bench.json.
bench() { # seconds, then bench's options
    local limit=$1 status=0 json=$out/bench-part.json
    shift
    say "bench $*"
    printf '\n#### bench %s\n' "$*" | tee -a "$out/bench.txt" >>"$out/bench.log"
    rm -f "$json"
    timeout "$limit" "$build/samples/bench/bench" "$@" --json "$json" >>"$out/bench.txt" 2>>"$out/bench.log" ||
        status=$?
    [ $status = 0 ] || failures+=("bench $* exited with $status")
    if [ -s "$json" ]; then
        [ $json_count = 0 ] && printf '[\n' >"$out/bench.json" || printf ',\n' >>"$out/bench.json"
        cat "$json" >>"$out/bench.json"
        json_count=$((json_count + 1))
    fi
    rm -f "$json"
}

run_bench() {
    local only_prompts="--decode 0 --repeat 5" only_decode="--prompt 0"
    rm -f "$out/bench.txt" "$out/bench.log" "$out/bench.json"
    if wanted layers; then
        say "layer_bench"
        timeout 90 "$build/samples/bench/layer_bench" 2>&1 | tee -a "$out/bench.txt" || failures+=("layer_bench failed")
    fi
    # shellcheck disable=SC2086 # several options each
    {
        wanted prefill && bench 90 --shape 1.3b --format f16,q4 --prompt 2048,8192 $only_prompts
        wanted prefill && bench 90 --shape 6.7b --format f16,q4 --prompt 2048 $only_prompts
        wanted decode && bench 90 --shape 1.3b --format f16,q4 --batch 1,64 $only_decode
        wanted decode && bench 90 --shape 6.7b --format f16,q4 --batch 1 $only_decode
        wanted plain && bench 90 --shape 1.3b --format f16,q4 --prompt 2048 $only_prompts --no-matrix --profile
        wanted plain && bench 90 --shape 1.3b --format f16,q4 --batch 12,64 $only_decode --no-matrix --profile
        wanted position && bench 60 --shape 1.3b --format f16 --position 100,1000000 $only_decode
        wanted long && bench 120 --shape 1.3b --format f16 --prompt 8192,131072 --decode 0 --repeat 3
        wanted profile && bench 90 --shape 1.3b --format f16,q4 --prompt 2048,8192 --batch 1,64 --repeat 1 --profile
        wanted profile && bench 90 --shape 6.7b --format f16,q4 --prompt 2048 --repeat 1 --profile
    }
    [ $json_count = 0 ] || printf ']\n' >>"$out/bench.json"
}

summary() {
    printf '\n'
    [ ! -s "$out/bench.txt" ] || grep -E '^(device|driver|model|prompt|decode)' "$out/bench.txt" | awk '!/^d(evice|river)/ || !seen[$0]++'
    ! wanted tests || printf 'tests: %d passed, %d failed, %d skipped\n' $passed $tests_failed $skipped
    [ ${#failures[@]} = 0 ] || printf 'FAILED: %s\n' "${failures[@]}"
}

mkdir -p "$out"
! wanted tests || run_tests
run_bench
summary
[ ${#failures[@]} = 0 ]
