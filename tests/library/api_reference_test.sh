#!/usr/bin/env bash
# api_reference_test.sh DOXYGEN FOLDER: the reference can be made of the headers, and every public function, type, constant
# and macro has a comment. A field may go without one where its name says all.
set -euo pipefail
doxygen=$1 folder=$2
mkdir -p "$folder"
warnings=$( (cat docs/Doxyfile; printf 'OUTPUT_DIRECTORY = %s\n' "$folder") | "$doxygen" - 2>&1 | grep -v '(variable) of struct' || true)
if [ -n "$warnings" ]; then
    printf '%s\n' "$warnings" >&2
    exit 1
fi
# A filter that gives nothing would pass above.
grep -q 'slots with a state each' "$folder/html/retnet_8h.html"
