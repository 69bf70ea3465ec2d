#!/usr/bin/env bash
# Installs what is missing, builds, and runs the village with this script's arguments.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/../../.ci/setup.sh"
retnet_setup game
retnet_build village
exec "$RETNET_BUILD_DIR/samples/village/village" "$@"
