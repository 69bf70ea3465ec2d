#!/usr/bin/env bash
# devices.sh: runs the tests of kernels and sessions as many kinds of device (pretend.h), one line a program and kind.
#
#     tests/devices.sh BUILD [PROGRAM...]       BUILD/tests/ holds the programs; without names all of them run
#
# RETNET_TEST_LAUNCHER is the command that programs are started with (.tree/run, .swiftshader/run), RETNET_TEST_KINDS
# the kinds, separated by spaces. What has run goes to stdout, what failed says why on stderr. Takes an hour on a software
# driver.
set -uo pipefail
build=$1
shift
kinds=${RETNET_TEST_KINDS:-all no-subgroup no-float16 no-matrix minimum-limits discrete gpu gpu,discrete \
    gpu,minimum-limits least-gpu}
programs=("$@")
[ $# -gt 0 ] || programs=($(cd "$build/tests" && ls layers/test_* session/test_*))
failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for kind in $kinds; do
    for program in "${programs[@]}"; do
        start=$SECONDS
        names=$kind
        [ "$kind" != all ] || names=
        # shellcheck disable=SC2086 # a launcher may have arguments
        RETNET_TEST_PRETEND=$names timeout 900 ${RETNET_TEST_LAUNCHER:-} "$build/tests/$program" >"$log" 2>&1
        status=$?
        case $status in
        0) said=passed ;;
        77) said=skipped ;;
        *) said="FAILED ($status)" && failed=1 && cat "$log" >&2 ;;
        esac
        printf '%-20s %-32s %4d s  %s\n' "$kind" "${program##*/test_}" $((SECONDS - start)) "$said"
    done
done
exit $failed
