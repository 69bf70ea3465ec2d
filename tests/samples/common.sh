# common.sh: what the chat tests share. Sourced with a folder to write to as $1 and the chat's command after it.
set -u
work=$1
shift
chat=("$@")
failures=0

# The bundled model, or the one beside the checkout; without either the test is skipped.
model=samples/chat/model
[ -e "$model/config.json" ] || model=../shared/model/willowbrook-30m
if [ ! -e "$model/config.json" ]; then
    echo "skipped: no model" >&2
    exit 77
fi
mara=(--model "$model" --system "You are Mara, the blacksmith of Willowbrook." --temperature 0)

# No user's settings; a run finds its files again in $work.
unset NO_COLOR
export TERM=xterm XDG_STATE_HOME=$work/state HOME=$work
rm -rf "$work"
mkdir -p "$work"

fail() {
    local text="$*"
    printf 'failed: %s\n' "${text:0:1000}" >&2
    failures=$((failures + 1))
}
check_equal() { # what actual expected
    [ "$2" = "$3" ] || fail "$1 is \"$2\", expected \"$3\""
}
check_match() { # what actual pattern
    [[ "$2" == *$3* ]] || fail "$1 is \"$2\", which has no \"$3\""
}
finish() {
    exit $((failures > 0))
}
