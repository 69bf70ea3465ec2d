#!/usr/bin/env bash
# perplexity: options and exit codes, documents, and a text whose likelihood is known.
. "$(dirname "$0")/common.sh"
perplexity=("${chat[@]}")

output=$("${perplexity[@]}" --help) || fail "--help exits with $?"
check_match "--help" "$output" "Usage: perplexity"
output=$("${perplexity[@]}" --version) || fail "--version exits with $?"
check_match "--version" "$output" "retnet"

# exit code, then arguments; stdout stays empty and stderr has one line
check_refused() {
    local expected=$1 code lines
    shift
    ASAN_OPTIONS=detect_leaks=0 "${perplexity[@]}" "$@" >"$work/out" 2>"$work/err" </dev/null
    code=$?
    check_equal "exit code of $*" "$code" "$expected"
    check_equal "stdout of $*" "$(cat "$work/out")" ""
    lines=$(wc -l <"$work/err")
    [ "$lines" = 1 ] || fail "$* gives $lines lines: $(cat "$work/err")"
}
printf 'Hello.\n' >"$work/text"
: >"$work/empty"
check_refused 2
check_refused 2 "$work/text"
check_refused 2 --model "$model"
check_refused 2 --model "$model" "$work/text" another
check_refused 2 --bogus --model "$model" "$work/text"
check_refused 2 --model "$model" --max-tokens 1 "$work/text"
check_refused 2 --model "$model" --format f99 "$work/text"
check_refused 2 --model "$model" --separator "" "$work/text"
check_refused 1 --model "$work" "$work/text"
check_refused 1 --model "$model" --device "no such device" "$work/text"
check_refused 1 --model "$model" "$work/absent"
check_refused 1 --model "$model" "$work"
check_refused 1 --model "$model" "$work/empty"

value() { # of a line of the output
    awk -v name="$1" 'index($0, name) == 1 { sub(name " *", ""); print $1 }' "$work/out"
}
score() { # prints the sum of -ln p and the number of tokens
    "${perplexity[@]}" --model "$model" "$@" >"$work/out" 2>"$work/err" || fail "$* exits with $?: $(cat "$work/err")"
    awk -v nll="$(value 'nll per token')" -v tokens="$(value tokens)" 'BEGIN { printf "%.2f %d\n", nll * tokens, tokens }'
}
first='<|user|>Hello!<|bot|>Hello, traveler! How can I help?'
second='Once upon a time, there was a little dragon.'
printf '%s' "$first" >"$work/first"
printf '%s' "$second" >"$work/second"
printf '%s\n\x1e\n%s' "$first" "$second" >"$work/both"
printf '%s\n* * *\n%s' "$first" "$second" >"$work/starred"
read -r nll1 tokens1 <<<"$(score "$work/first")"
read -r nll2 tokens2 <<<"$(score "$work/second")"
sum=$(awk -v a="$nll1" -v b="$nll2" -v n="$tokens1" -v m="$tokens2" 'BEGIN { printf "%.1f %d", a + b, n + m }')
[ "$tokens1" -gt 5 ] || fail "$tokens1 tokens in the first document"
for arguments in "$work/both" "--separator=* * * $work/starred"; do
    file=${arguments##* }
    options=()
    [ "$arguments" = "$file" ] || options=("${arguments% *}")
    read -r nll tokens <<<"$(score "${options[@]}" "$file")"
    check_equal "sum over two documents of $file" "$(printf '%.1f %d' "$nll" "$tokens")" "$sum"
    check_match "output" "$(cat "$work/out")" "of 2 documents"
done
read -r nll tokens <<<"$(score "$work/starred")"
check_match "output" "$(cat "$work/out")" "of 1 document"
read -r nll tokens <<<"$(score --max-tokens 5 "$work/both")"
check_equal "tokens of documents cut after five" "$tokens" 8

# The speed is stated, as a number, and the same result comes as JSON.
awk -v speed="$(value speed)" 'BEGIN { exit !(speed > 0) }' || fail "speed: $(cat "$work/out")"
json=$("${perplexity[@]}" --model "$model" --max-tokens 5 --json "$work/both" 2>"$work/err") || fail "--json exits with $?"
number='[0-9.]+'
[[ $json =~ ^\{\"nll_per_token\":\ $number,\ \"perplexity\":\ ($number),\ \"tokens\":\ 8,\ \"documents\":\ 2,\ \"tokens_per_second\":\ $number\}$ ]] ||
    fail "--json prints $json"
awk -v json="${BASH_REMATCH[1]}" -v line="$(value perplexity)" 'BEGIN { exit !(json / line - 1 < 1e-4 && json / line - 1 > -1e-4) }' ||
    fail "perplexity ${BASH_REMATCH[1]} as JSON, $(value perplexity) in a line"

# A document of several pieces, alone and beside another: as one of a length that is read at once.
for i in $(seq 50); do printf 'Once upon a time there was a dragon, number %d. ' "$i"; done >"$work/long"
printf '%s\n\036\n%s' "$(cat "$work/long")" "$first" >"$work/long_first"
read -r nll1 tokens1 <<<"$(score --max-tokens 560 "$work/long")"
read -r nll2 tokens2 <<<"$(score --max-tokens 560 "$work/long_first")"
check_equal "tokens of the long document" "$tokens1" 559
read -r nll3 tokens3 <<<"$(score "$work/first")"
check_equal "tokens beside a long document" "$tokens2" $((tokens1 + tokens3))
awk -v a="$nll1" -v b="$nll3" -v c="$nll2" 'BEGIN { d = a + b - c; exit !(d < 0.5 && d > -0.5) }' ||
    fail "nll $nll2 of two documents, $nll1 and $nll3 of each"

# On a terminal a bar shows how far it is, also within a document.
if script -qec true /dev/null </dev/null >/dev/null 2>&1; then
    SHELL=/bin/sh script -qefc "$(printf '%q ' "${perplexity[@]}" --model "$model" --max-tokens 560 "$work/long")" "$work/screen" \
        </dev/null >/dev/null || fail "on a terminal: exits with $?"
    screen=$(tr '\r' '\n' <"$work/screen")
    for part in "scoring [" "  0%" "tokens/s" "nats a token"; do check_match "screen" "$screen" "$part"; done
    grep -Eq 'scoring \[#+ +\] +[1-9][0-9]?%' <<<"$screen" || fail "the bar never stood between: $screen"
fi

# Two documents of the held-out text and their recorded likelihood.
known=../shared/model/willowbrook-30m
if [ -e "$known/heldout.txt" ]; then
    awk 'BEGIN { RS = "\n\036\n" } NR <= 2 { printf "%s%s", (NR > 1 ? "\n\036\n" : ""), $0 }' "$known/heldout.txt" >"$work/known"
    read -r nll tokens <<<"$(score --max-tokens 513 "$work/known")"
    check_equal "tokens of two held-out documents" "$tokens" 297
    awk -v nll="$nll" 'BEGIN { d = nll / 297 - 0.409936; exit !(d < 0.01 && d > -0.01) }' ||
        fail "nll of two held-out documents is $nll, expected about 121.75"
fi
finish
