#!/usr/bin/env bash
# No tracked file holds a path of somebody's machine, nothing generated is tracked, and the tree stays small.
set -euo pipefail
if ! git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    echo "skipped: not a git checkout" >&2
    exit 77
fi
failures=0
check_none() { # what found
    [ -z "$2" ] || { printf '%s:\n%s\n' "$1" "$2" >&2; failures=$((failures + 1)); }
}

# The brackets keep this file from finding itself.
check_none "paths of one machine" "$(git grep -nIE '(^|[^[:alnum:]_.])/(w[o]rk|r[o]ot|h[o]me|opt/t[r]ee)/' || true)"
check_none "generated files" "$(git ls-files '*.spv' '*.o' '*.so' '*.a' 'build/*' 'build-*/*')"
kib=$(git ls-files -z | xargs -0 du -k --apparent-size -- 2>/dev/null | awk '{ total += $1 } END { print total + 0 }')
[ "$kib" -lt 49152 ] || check_none "tracked files in all, of at most 49152 KiB" "$kib KiB"
exit $((failures > 0))
