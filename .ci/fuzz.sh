#!/usr/bin/env bash
# fuzz.sh [SECONDS]: builds the fuzz targets and runs each for so long (20), one after the other. What is new in the
# inputs goes to build-fuzz/found; what fails stays in build-fuzz/failed, and the exit code says so.
set -euo pipefail
RETNET_PRESET=fuzz
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
seconds=${1:-20}
targets="config safetensors shards checkpoint state pipeline_cache text markers"
total=0 status=0

# shellcheck disable=SC2046,SC2086
retnet_build $(printf 'fuzz_%s ' $targets)
mkdir -p "$RETNET_BUILD_DIR/failed"
for target in $targets; do
    found=$RETNET_BUILD_DIR/found/$target log=$RETNET_BUILD_DIR/fuzz_$target.log
    mkdir -p "$found"
    # A small quarantine: inputs are many, and ASan would keep what each of them freed.
    if ! ASAN_OPTIONS=quarantine_size_mb=8 "$RETNET_BUILD_DIR/tests/fuzz/fuzz_$target" "$found" \
        "$RETNET_ROOT/tests/fuzz/corpus/$target" -max_total_time="$seconds" -max_len=4096 -timeout=10 \
        -malloc_limit_mb=16 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="$RETNET_BUILD_DIR/failed/$target-" >"$log" 2>&1; then
        status=1
        tail -n 40 "$log" >&2
    fi
    runs=$(awk '/number_of_executed_units/ { print $2 }' "$log")
    printf '%-15s %9d executions\n' "$target" "${runs:-0}"
    total=$((total + ${runs:-0}))
done
printf '%-15s %9d executions\n' all "$total"
exit $status
