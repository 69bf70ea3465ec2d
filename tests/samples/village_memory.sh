#!/usr/bin/env bash
# Forty exchanges after it was told, and after its state was saved and loaded in another process, a villager knows the
# player's name. The exchanges are short: the bundled model remembers what was within about 500 tokens.
# $1 of the game's command is the chat program, an independent witness of what should be answered.
work=$1 look=$2 chat=$3
shift 3
. "$(dirname "$0")/village.sh" "$work" "$look" "$@"

lines=("Hello! My name is Robin.")
small=("thanks" "Great!" "Are you OK?" "Great!" "Thank you!" "What's new?" "thanks" "Great!")
for i in $(seq 0 38); do lines+=("${small[i % ${#small[@]}]}"); done
check_equal "exchanges" ${#lines[@]} 40

{
    echo "visit Mara"
    printf 'say %s\n' "${lines[@]}"
    echo "key F5"
    echo "say What is my name?"
} | play --villagers 1 --save "$work/village.save" >"$work/whole"
check_equal "lines of the transcript" "$(wc -l <"$work/whole")" 82
last=$(tail -n 1 "$work/whole")
check_match "the answer after forty exchanges" "$last" Robin
[ -s "$work/village.save" ] || fail "F5 saved nothing"

# Another process, which heard nothing of all this.
loaded=$(play --villagers 1 --save "$work/village.save" <<<$'key F9\nvisit Mara\nsay What is my name?')
check_equal "the transcript after loading" "$loaded" "$(tail -n 2 "$work/whole")"

# The chat program, given the same lines, gives the same answers.
printf '%s\n' "${lines[@]}" "What is my name?" |
    "$chat" --quiet --temperature 0 --model "$model" --system "You are Mara, the blacksmith of Willowbrook." >"$work/chat"
check_equal "answers" "$(sed -n 's/^Mara: //p' "$work/whole")" "$(cat "$work/chat")"
finish
