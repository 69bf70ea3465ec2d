#!/usr/bin/env bash
# symbols_test.sh NM SHARED [STATIC]: the libraries define retnet_* and nothing else for others to see.
set -euo pipefail
nm=$1 shared=$2 static=${3:-}
failures=0

check() { # what, then nm's arguments
    local what=$1 symbols foreign
    shift
    symbols=$("$nm" --defined-only --format=posix "$@" | awk 'NF > 1 { print $1 }')
    foreign=$(grep -v '^retnet_' <<<"$symbols" || true)
    if [ -n "$foreign" ]; then
        printf '%s defines for others:\n%s\n' "$what" "$foreign" >&2
        failures=$((failures + 1))
    fi
    # An empty table would pass above.
    if ! grep -qx retnet_context_create <<<"$symbols"; then
        printf '%s does not define retnet_context_create\n' "$what" >&2
        failures=$((failures + 1))
    fi
}

check "${shared##*/}" --dynamic "$shared"
[ -z "$static" ] || check "${static##*/}" --extern-only "$static"
exit $((failures > 0))
