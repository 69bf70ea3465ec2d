#!/usr/bin/env bash
# Installs what is missing, builds everything, and runs the tests, several at a time; arguments go to ctest
# (tests/run.sh -R retention).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../.ci/setup.sh"
retnet_setup tests
retnet_build all
retnet_say "running ctest${*:+ $*} in $RETNET_BUILD_DIR"
exec ctest --test-dir "$RETNET_BUILD_DIR" --output-on-failure --parallel "$(retnet_test_jobs)" "$@"
