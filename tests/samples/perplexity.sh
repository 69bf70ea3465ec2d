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
