#!/usr/bin/env bash
# A conversation on a terminal: Ctrl-C stops the answer and clears the line, colour and its absence, history.
. "$(dirname "$0")/common.sh"

if ! script -qec true /dev/null </dev/null >/dev/null 2>&1; then
    echo "skipped: script(1) cannot make a terminal here" >&2
    exit 77
fi

# Typing to a chat that is gone is a failed check, not the end of the test.
trap '' PIPE

# Starts the chat on a terminal; what is written to descriptor 3 is typed.
open_terminal() { # arguments of the chat
    local command
    printf -v command '%q ' "${chat[@]}" "${mara[@]}" "$@"
    screen=$work/screen
    rm -f "$screen" "$work/keys"
    mkfifo "$work/keys"
    SHELL=/bin/sh script -qefc "$command" "$screen" <"$work/keys" >/dev/null &
    terminal=$!
    exec 3>"$work/keys"
    seen=0
}

# Waits until the screen, after what was waited for before, holds the text; gives up after 30 s.
wait_for() {
    local tries=0 rest
    while [ $tries -lt 300 ]; do
        rest=$(tail -c +$((seen + 1)) "$screen" 2>/dev/null | tr -d '\0')
        if [[ "$rest" == *"$1"* ]]; then
            # The text was ASCII, but what came before it need not be.
            rest=${rest%%"$1"*}
            seen=$((seen + $(printf %s "$rest$1" | wc -c)))
            return 0
        fi
        kill -0 $terminal 2>/dev/null || break
        sleep 0.1
        tries=$((tries + 1))
    done
    fail "\"$1\" did not come; the screen ends: $(tail -c 500 "$screen" | cat -v)"
    kill $terminal 2>/dev/null
    finish
}

close_terminal() {
    exec 3>&-
    wait $terminal
    check_equal "exit code of the chat" $? 0
}

# So hot that one token in thousands ends the answer; only Ctrl-C does in time.
NO_COLOR=1 open_terminal --temperature 100 --top-p 1 --seed 2 --max-tokens 1000000
wait_for "> "
printf 'Tell me a story.\n' >&3
wait_for "story."
sleep 1
SECONDS=0
printf '\003' >&3
wait_for "> "
[ $SECONDS -le 5 ] || fail "Ctrl-C did not stop the answer"
printf 'nonsense' >&3
wait_for nonsense
printf '\003' >&3
wait_for "> "
for line in /stats "/temp 0" /reset; do
    printf '%s\n' "$line" >&3
    wait_for "> "
done
printf 'Hi, I am Robin.\n' >&3
wait_for Robin # what was typed
wait_for Robin # what was answered
wait_for "> "
printf '\004' >&3
close_terminal
grep -q "tokens/s" "$screen" || fail "no /stats"
if grep -q $'\033\\[[0-9;]*m' "$screen"; then fail "colour in spite of NO_COLOR"; fi

# The next run, in colour, finds what was typed.
open_terminal
wait_for $'>\033[0m '
printf '\020' >&3
wait_for Robin
printf '\003' >&3
wait_for $'>\033[0m '
printf '/quit\n' >&3
close_terminal
finish
