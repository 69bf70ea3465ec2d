#!/usr/bin/env bash
# The picture of the README: its script makes one like it here, smaller and of fewer people, and what the README shows is
# of the size that the script's command says.
. "$(dirname "$0")/village.sh"
play --villagers 3 --size 480x300 --talkers 3 --pause 0.2 --screenshot "$work/picture.png" \
    <samples/village/picture.txt >"$work/said"
check_match "what was said" "$(cat "$work/said")" "Robin"
"$look" "$work/picture.png" 480 300 || fail "the picture of the script"
"$look" samples/village/village.png 1120 700 || fail "the picture of the README"
finish
