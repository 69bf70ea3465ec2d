#!/usr/bin/env bash
# spirv_size_test.sh FOLDER: all SPIR-V that the library embeds stays under 2 MB.
set -euo pipefail
limit=2000000
shopt -s nullglob
modules=("$1"/*.spv)
if [ ${#modules[@]} = 0 ]; then
    echo "no SPIR-V in $1" >&2
    exit 1
fi
total=$(cat "${modules[@]}" | wc -c)
echo "${#modules[@]} modules, $total bytes"
if [ "$total" -ge "$limit" ]; then
    echo "expected less than $limit bytes; the largest:" >&2
    ls -lS "${modules[@]}" | head -n 5 >&2
    exit 1
fi
