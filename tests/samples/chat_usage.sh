#!/usr/bin/env bash
# Options, exit codes, and one clear line for everything that is wrong.
. "$(dirname "$0")/common.sh"

output=$("${chat[@]}" --help) || fail "--help exits with $?"
check_match "--help" "$output" "Usage: chat"
output=$("${chat[@]}" --version) || fail "--version exits with $?"
check_match "--version" "$output" "retnet"

# exit code, then arguments; stdout stays empty and stderr has one line
check_refused() {
    local expected=$1 code lines
    shift
    "${chat[@]}" "$@" >"$work/out" 2>"$work/err" </dev/null
    code=$?
    check_equal "exit code of $*" "$code" "$expected"
    check_equal "stdout of $*" "$(cat "$work/out")" ""
    lines=$(wc -l <"$work/err")
    [ "$lines" = 1 ] || fail "$* gives $lines lines: $(cat "$work/err")"
}
check_refused 2 --bogus
check_refused 2 -z
check_refused 2 word
check_refused 2 --model
check_refused 2 --temperature hot
check_refused 2 --temperature -1
check_refused 2 --temperature nan
check_refused 2 --temperature ""
check_refused 2 --top-p 1.5
check_refused 2 --min-p 1
check_refused 2 --top-k -3
check_refused 2 --seed 99999999999999999999
check_refused 2 --max-tokens 0
check_refused 2 --format f99
check_refused 2 --device 0
check_refused 2 --quiet=yes
check_refused 1 --device "no such device" -p x
check_refused 1 --model "$work/no/such/model" -p x
check_refused 1 --model "$work" -p x

# A model without its tokenizer, and one whose tokenizer is something else.
mkdir "$work/model"
for file in "$model"/*.json "$model"/*.safetensors; do ln -s "$PWD/$file" "$work/model/"; done
check_refused 1 --model "$work/model" -p x
echo "no tokenizer" >"$work/model/tokenizer.model"
check_refused 1 --model "$work/model" -p x
finish
