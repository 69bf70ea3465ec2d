#!/usr/bin/env bash
# The host draws the same last picture whether or not the library works beside it, in both ways tokens come of that, and
# the validation layers have nothing to say about it. Called with a folder to write to, then the program.
set -u
work=$1
shift
host=("$@")
rm -rf "$work"
mkdir -p "$work"
fail() {
    printf 'failed: %s\n' "$*" >&2
    exit 1
}

"${host[@]}" --help | grep -q "Usage: host" || fail "--help"
for arguments in --bogus word "--rate fast" "--phases dance" "--frames 1" "--budget-us 0"; do
    # shellcheck disable=SC2086 # options are words
    "${host[@]}" $arguments >"$work/out" 2>"$work/err"
    [ $? = 2 ] || fail "$arguments is not refused"
    [ -s "$work/err" ] || fail "$arguments is refused without a word"
done

cat >"$work/vk_layer_settings.txt" <<'SETTINGS'
khronos_validation.enables = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT
khronos_validation.debug_action = VK_DBG_LAYER_ACTION_LOG_MSG
khronos_validation.report_flags = error,warn
khronos_validation.log_filename = stdout
SETTINGS
VK_LAYER_SETTINGS_PATH="$work/vk_layer_settings.txt" VK_INSTANCE_LAYERS=VK_LAYER_KHRONOS_validation \
    "${host[@]}" --frames 12 --rate 0 --load 1 --prompt 3 --budget-us 100000 --json --picture "$work/picture.ppm" \
    >"$work/out" 2>"$work/err"
code=$?
if grep -q "no Vulkan device\|vkCreateInstance failed\|has no queue" "$work/err"; then exit 77; fi
[ $code = 0 ] || fail "exit code $code: $(cat "$work/err")"
# Newer layers remark that the setting's name is an old one, which is the one that the older layers know.
! grep -hE "Validation [A-Za-z ]+: \[" "$work/out" "$work/err" | grep -qv "VALIDATION-SETTINGS" || fail "$(head -c 2000 "$work/out")"
for phase in none step record; do
    grep -q "\"phase\": \"$phase\"" "$work/out" || fail "no phase $phase"
done
[ "$(grep -c '"tokens_made_per_second": 0.0' "$work/out")" = 1 ] || fail "no tokens: $(cat "$work/out")"
[ "$(head -c 15 "$work/picture.ppm" | tr '\n' ' ')" = "P6 1280 720 255" ] || fail "the picture is no PPM"
