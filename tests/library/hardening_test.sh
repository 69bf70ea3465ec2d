#!/usr/bin/env bash
# hardening_test.sh READELF NM LIBRARY PROGRAM...: release builds are linked and compiled as lib/hardening.cmake says.
set -euo pipefail
readelf=$1 nm=$2 library=$3
shift 2
failures=0

need() { # what, in which file, pattern, text
    grep -qE -- "$3" <<<"$4" || { printf '%s: no %s\n' "$2" "$1" >&2; failures=$((failures + 1)); }
}

refuse() {
    ! grep -E -- "$3" <<<"$4" >&2 || { printf '%s: %s\n' "$2" "$1" >&2; failures=$((failures + 1)); }
}

for file in "$@"; do
    segments=$("$readelf" --wide --segments "$file")
    dynamic=$("$readelf" --wide --dynamic "$file")
    need "table that is read-only after start" "$file" '^ *GNU_RELRO ' "$segments"
    need "binding at start" "$file" 'BIND_NOW|\(FLAGS_1\).* NOW' "$dynamic"
    need "statement about the stack" "$file" '^ *GNU_STACK ' "$segments"
    refuse "memory that is writable and executable" "$file" '^ *(LOAD|GNU_STACK) .* RWE ' "$segments"
    refuse "relocations in code" "$file" 'TEXTREL' "$dynamic"
    [ "$file" = "$library" ] || need "position-independent program" "$file" '\(FLAGS_1\).* PIE' "$dynamic"
done
undefined=$("$nm" --dynamic --undefined-only "$library")
need "stack protector" "$library" '__stack_chk_fail' "$undefined"
need "checked copy" "$library" '_chk(@|$)' "$undefined"
# The library has no ear for the environment, so that a host alone decides what it does.
refuse "reads the environment" "$library" ' U (secure_)?getenv(@|$)' "$undefined"
# What could make memory executable at run time.
refuse "changes the protection of memory" "$library" ' U (mprotect|pkey_mprotect|memfd_create)(@|$)' "$undefined"
exit $((failures > 0))
