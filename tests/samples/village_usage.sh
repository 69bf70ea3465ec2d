#!/usr/bin/env bash
# What the game says about its options, scripts and surroundings.
. "$(dirname "$0")/village.sh"

check_match "--help" "$("${village[@]}" --help)" "Usage: village"
check_match "--version" "$("${village[@]}" --version)" "village (retnet)"
refuse() { # expected option...
    local expected=$1 code
    shift
    "${village[@]}" "$@" >"$work/out" 2>"$work/err"
    code=$?
    check_equal "exit code of $*" $code 2
    check_match "stderr of $*" "$(cat "$work/err")" "$expected"
    check_equal "lines about $*" "$(wc -l <"$work/err")" 1
}
refuse "bad option --bogus" --bogus
refuse "a value is missing after --script" --script
refuse '"many" is no value for --villagers' --villagers many
refuse '"1x1" is no value for --size' --size 1x1
refuse '"-1" is no value for --pause' --pause -1
refuse "unexpected argument here" here
refuse "--fast needs --offscreen" --fast
refuse "--offscreen needs --frames" --offscreen

fails() { # expected option...
    local expected=$1
    shift
    "${village[@]}" --offscreen --fast --frames 1 --size 64x64 --villagers 1 "$@" >"$work/out" 2>"$work/err"
    check_equal "exit code of $*" $? 1
    check_match "stderr of $*" "$(cat "$work/err")" "$expected"
}
printf 'wait 1\n\n# nothing\nfly away\n' >"$work/bad"
fails "bad:4: no command \"fly\"" --script "$work/bad"
printf 'wait long\n' >"$work/bad"
fails "bad:1: \"wait\" does not take \"long\"" --script "$work/bad"
printf 'visit Nobody\n' >"$work/bad"
fails "bad:1: visit Nobody: cannot be done" --script "$work/bad"
printf 'wait 5\n' >"$work/bad"
fails "the script did not come to its end" --script "$work/bad"
fails "$work/none" --script "$work/none"
fails "$work/none" --font "$work/none"
fails "$work/none" --model "$work/none"
fails "is called nonesuch" --device nonesuch

# No window system: one line that says what can be done, and no crash.
env -u DISPLAY -u WAYLAND_DISPLAY SDL_VIDEODRIVER=x11 "${village[@]}" --frames 1 >"$work/out" 2>"$work/err"
check_equal "exit code without a display" $? 1
check_match "stderr without a display" "$(cat "$work/err")" "no window can be opened here"
check_match "stderr without a display" "$(cat "$work/err")" "--offscreen"
finish
