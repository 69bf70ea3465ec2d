#!/usr/bin/env bash
# In a window under Xvfb: pictures by day and by night, with and without the panel; resizing; closing at any moment.
. "$(dirname "$0")/village.sh"
start_display
window() { # script-text option...
    printf '%s\n' "$1" >"$work/script"
    shift
    "${village[@]}" --size 480x300 --villagers 4 --pause 0.2 --budget-us 20000 --temperature 0 --seed 1 "${validate[@]}" \
        --script "$work/script" "$@" 2>"$work/err" || fail "exit code $?: $(cat "$work/err")"
}

window "time 12:00
wait 12
screenshot $work/day.png
time 23:30
wait 2
screenshot $work/night.png
time 12:00
key F1
wait 3
screenshot $work/panel.png
key F1
visit Mara
say Hello! My name is Robin.
wait 30
screenshot $work/bubble.png
resize 400 260
wait 4
resize 560 340
wait 4" --screenshot "$work/resized.png" --transcript "$work/transcript"
check_match "the transcript" "$(cat "$work/transcript")" "Robin"
"$look" "$work/day.png" 480 300 || fail "the picture by day"
"$look" "$work/night.png" 480 300 darker "$work/day.png" || fail "the picture by night"
"$look" "$work/panel.png" 480 300 unlike "$work/day.png" || fail "the panel"
"$look" "$work/bubble.png" 480 300 unlike "$work/day.png" || fail "the bubble"
"$look" "$work/resized.png" 560 340 || fail "the resized picture"

# The slider and a gamepad: 8 ms at the slider's end, one step less by a shoulder button, and Y closes the panel.
window "time 12:00
key F1
wait 2
slider 1
pad leftshoulder
wait 2
screenshot $work/slider.png
pad y
wait 2
screenshot $work/closed.png" --stats "$work/stats"
check_match "the budget" "$(cat "$work/stats")" '"budget_us": 7500'
"$look" "$work/closed.png" 480 300 unlike "$work/slider.png" || fail "the panel, closed by the gamepad"

# Closing: before anything, while prompts are read, amid small talk, an answer, a resize.
window close
window $'wait 2\nclose'
window $'wait 9\nresize 300 200\nclose'
window $'visit Mara\ntype Hello! Tell me a story.\nkey Enter\nwait 3\nclose'
finish
