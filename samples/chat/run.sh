#!/usr/bin/env bash
# Installs what is missing, builds, and runs the chat with this script's arguments and stdin.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/../../.ci/setup.sh"
retnet_setup
retnet_build chat
exec "$RETNET_BUILD_DIR/samples/chat/chat" "$@"
