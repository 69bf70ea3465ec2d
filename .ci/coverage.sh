#!/usr/bin/env bash
# coverage.sh [CTEST ARGUMENTS]: runs the tests over a build with gcov and prints what part of the lines of lib/ they
# reach, by file, least first. Fails below RETNET_COVERAGE percent (90).
set -euo pipefail
RETNET_PRESET=coverage
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
least=${RETNET_COVERAGE:-90}
unset CCACHE_BASEDIR # with it names of sources would be relative to folders of the build
retnet_build all
find "$RETNET_BUILD_DIR" -name '*.gcda' -delete
ctest --test-dir "$RETNET_BUILD_DIR" --parallel "$(retnet_test_jobs)" --output-on-failure --label-exclude slow "$@" >&2

cd "$RETNET_BUILD_DIR"
# gcov's JSON of every object of the library. A file may be in several: a line counts if any of them ran it.
find lib -name '*.gcda' -print0 | sort -z | xargs -0 gcov --json-format --stdout 2>/dev/null | python3 -c '
import json, os, sys
root, least = sys.argv[1], float(sys.argv[2])
lines = {}
for text in sys.stdin:
    report = json.loads(text)
    for file in report["files"]:
        path = os.path.relpath(os.path.join(root, file["file"]), root) # CMakeLists.txt makes names relative to it
        if not path.startswith("lib" + os.sep): continue
        counts = lines.setdefault(path, {})
        for line in file["lines"]:
            counts[line["line_number"]] = counts.get(line["line_number"], 0) + line["count"]
rows = []
for path, counts in lines.items():
    missed = sorted(number for number, count in counts.items() if not count)
    rows.append((100 * (1 - len(missed) / len(counts)), path, len(counts), missed))
for percent, path, count, missed in sorted(rows):
    print(f"{percent:5.1f} %  {path:36} {count:5d} lines  not: {missed}" if missed else f"{percent:5.1f} %  {path:36} {count:5d} lines")
count = sum(row[2] for row in rows)
missed = sum(len(row[3]) for row in rows)
percent = 100 * (1 - missed / count) if count else 0
print(f"{percent:5.1f} %  of {count} lines of lib/")
sys.exit(percent < least)
' "$RETNET_ROOT" "$least"
