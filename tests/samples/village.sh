# village.sh: what the tests of the game share. Sourced with a folder to write to as $1, the program that judges pictures
# as $2, and the game's command after them.
set -u
work=$1
look=$2
shift 2
village=("$@")

model=samples/chat/model
if [ ! -e "$model/config.json" ]; then
    echo "skipped: no model" >&2
    exit 77
fi
rm -rf "$work"
mkdir -p "$work"

fail() {
    local text="$*"
    printf 'failed: %s\n' "${text:0:1000}" >&2
    echo >>"$work/failures" # a file, since some of the test runs in subshells
}
check_equal() { # what actual expected
    [ "$2" = "$3" ] || fail "$1 is \"$2\", expected \"$3\""
}
check_match() { # what actual pattern
    [[ "$2" == *$3* ]] || fail "$1 is \"$2\", which has no \"$3\""
}
finish() {
    [ ! -e "$work/failures" ]
    exit
}

# Validation wherever there are layers for it.
validate=(--validate)
"${village[@]}" --offscreen --fast --frames 1 --villagers 0 --size 64x64 --validate >"$work/probe" 2>&1 || {
    if grep -q "not installed" "$work/probe"; then validate=()
    elif grep -Eq "no Vulkan|no font" "$work/probe"; then
        cat "$work/probe" >&2
        exit 77
    else fail "a first frame: $(cat "$work/probe")"; fi
}

# play [OPTION...] <SCRIPT: a script from stdin without a window system; the transcript is on stdout.
play() {
    cat >"$work/script"
    "${village[@]}" --offscreen --fast --size 160x100 --budget-us 50000 --temperature 0 --seed 1 --talkers 0 \
        "${validate[@]}" --script "$work/script" --transcript "$work/transcript" "$@" 2>"$work/err" ||
        fail "exit code $?: $(cat "$work/err")"
    cat "$work/transcript"
}

# A display of our own, as $DISPLAY, until the test ends.
start_display() {
    if ! command -v Xvfb >/dev/null; then
        echo "skipped: no Xvfb" >&2
        exit 77
    fi
    exec 3> >(head -n 1 >"$work/display")
    Xvfb -displayfd 3 -screen 0 800x600x24 -nolisten tcp >"$work/xvfb" 2>&1 &
    xvfb=$!
    trap 'kill $xvfb 2>/dev/null; wait $xvfb 2>/dev/null' EXIT
    for _ in $(seq 100); do
        [ -s "$work/display" ] && break
        sleep 0.1
    done
    exec 3>&-
    export DISPLAY=:$(cat "$work/display") SDL_VIDEODRIVER=x11
    if [ "$DISPLAY" = : ]; then
        echo "skipped: Xvfb does not start: $(tail -n 1 "$work/xvfb")" >&2
        exit 77
    fi
}
