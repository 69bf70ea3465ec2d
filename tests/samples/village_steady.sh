#!/usr/bin/env bash
# Talking all the time, the game's memory stays what it was: states, one set of weights, and nothing that grows.
. "$(dirname "$0")/village.sh"
frames=1500
"${village[@]}" --offscreen --fast --size 64x64 --villagers 4 --pause 0 --budget-us 3000 --seed 1 --frames $frames \
    --stats "$work/stats.json" --frame-log "$work/log" "${validate[@]}" 2>"$work/err" || fail "exit code $?: $(cat "$work/err")"
value() { sed -n "s/.*\"$1\": \([0-9.]*\).*/\1/p" "$work/stats.json" | head -n 1; }
early=$(sed -n 's/.*"resident_bytes": {"early": \([0-9]*\), "late": \([0-9]*\)}.*/\1/p' "$work/stats.json")
late=$(sed -n 's/.*"resident_bytes": {"early": \([0-9]*\), "late": \([0-9]*\)}.*/\2/p' "$work/stats.json")
check_equal "frames" "$(value frames)" $frames
check_equal "lines of the frame log" "$(wc -l <"$work/log")" $frames
check_equal "bytes of a state" "$(value state_bytes)" 4194304
check_equal "states" "$(value states)" 9
[ "$(value tokens_made)" -ge 20 ] || fail "the villagers made only $(value tokens_made) tokens"
[ "$late" -le $((early + 4194304)) ] || fail "$early bytes grew to $late"
[ "$(value session_bytes)" -le $((9 * 4194304 + (32 << 20))) ] || fail "a session of $(value session_bytes) bytes"
echo "$(value tokens_made) tokens in $frames frames; resident $early, then $late bytes"
finish
