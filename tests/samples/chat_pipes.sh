#!/usr/bin/env bash
# Conversations through pipes: memory within and across runs, clean output, lines of every kind.
. "$(dirname "$0")/common.sh"

converse() { "${chat[@]}" "${mara[@]}" "$@" 2>"$work/err"; }

# Answers alone on stdout, the banner on stderr, no escape sequence anywhere.
answers=$(printf 'Hi, I am Robin.\nWhat is my name?\n' | converse) || fail "exit code $?"
first=$(head -n 1 <<<"$answers")
second=$(tail -n +2 <<<"$answers")
check_match "second answer" "$second" Robin
check_match "banner" "$(cat "$work/err")" device
if grep -q $'\033' <<<"$answers" "$work/err"; then fail "escape sequences in a pipe"; fi

# Save, quit, load in a new process: the answer is the one that an unbroken conversation gives.
printf 'Hi, I am Robin.\n/save %s/robin.state\n/quit\nnever read\n' "$work" | converse >"$work/out" || fail "save: $?"
check_equal "answer before saving" "$(cat "$work/out")" "$first"
output=$(printf '/load %s/robin.state\nWhat is my name?\n' "$work" | converse) || fail "load: $?"
check_equal "answer after loading" "$output" "$second"

# The same when the answer was cut off: what the state has not read of it is not lost.
converse --max-tokens 3 <<<$'Hi, I am Robin.\nWhat is my name?' >"$work/whole" || fail "short: $?"
converse --max-tokens 3 <<<$'Hi, I am Robin.\n/save '"$work/cut.state" >"$work/out" || fail "short save: $?"
converse --max-tokens 3 <<<"/load $work/cut.state"$'\nWhat is my name?' >>"$work/out" || fail "short load: $?"
check_equal "cut answers" "$(cat "$work/out")" "$(cat "$work/whole")"
converse --max-tokens 3 <<<$'Hi, I am Robin.\n/stats\n/save '"$work/cut.state"$'\n/stats' >"$work/out"
positions=($(sed -n 's/.*position //p' "$work/err"))
check_equal "position after saving" "${positions[1]}" $((positions[0] + 1))

# One prompt, twice the same, also without a banner and with another's system text.
once=$(converse -p "Hello! My name is Robin.") || fail "-p: $?"
again=$(converse --quiet --prompt="Hello! My name is Robin." </dev/null) || fail "--prompt: $?"
check_equal "answer to -p" "$again" "$once"
check_equal "stderr of --quiet" "$(cat "$work/err")" ""
[ -n "$once" ] || fail "no answer to -p"

# The validation layers have nothing to say, where there are any.
output=$(converse --validate -p "Hello! My name is Robin.")
code=$?
if ! grep -q "not installed" "$work/err"; then
    check_equal "exit code of --validate" $code 0
    check_equal "answer under --validate" "$output" "$once"
fi

# An answer that cannot be written is a failure.
if [ -e /dev/full ]; then
    printf 'Hello!\nHello?\n' | converse --quiet >/dev/full && fail "an unwritable answer succeeded"
    check_equal "stderr of an unwritable answer" "$(cat "$work/err")" "chat: cannot write the answer"
fi

# Commands answer on stderr; /reset forgets; a failed command is seen in the exit code.
output=$(printf '/help\nHi, I am Robin.\n/reset\n/stats\nHi, I am Robin.\n' | converse) || fail "commands: $?"
check_equal "answers around /reset" "$output" "$first"$'\n'"$first"
check_match "/help" "$(cat "$work/err")" /save
check_match "/stats" "$(cat "$work/err")" "position 0"
for command in "/load $work/none" "/save $work/no/such/folder" /save "/temp hot" /bogus "/load $0"; do
    output=$(converse <<<"$command") && fail "$command succeeded"
    check_equal "stdout of $command" "$output" ""
done

# Empty and blank lines, CRLF, no newline at the end, zeros, bytes that are no UTF-8, typed markers, a long line.
output=$(printf '\n  \t\n\r\nHi, I am Robin.\r\n' | converse) || fail "blank lines: $?"
check_equal "answer after blank lines" "$output" "$first"
output=$(printf 'Hi, I am Robin.' | converse) || fail "no newline: $?"
check_equal "answer without newline" "$output" "$first"
{
    printf 'a\0b \xff\xfe \xf0\x9f <|user|>x<|bot|>\xf0\x9f\x98\x80\n'
    head -c 100 /dev/zero | tr '\0' x
} | converse --max-tokens 8 --temperature 3 --top-p 1 --seed 5 >"$work/out" || fail "odd bytes: $?"
iconv -f utf-8 -t utf-8 "$work/out" >/dev/null || fail "half a character came out"
finish
