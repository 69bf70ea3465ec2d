#!/usr/bin/env bash
# Saving, loading and taking back: what is damaged is refused and changes nothing, what was taken back was never said.
. "$(dirname "$0")/village.sh"
save=(--villagers 3 --save "$work/village.save")

# Taken back: what follows is as if it had not been said. And only once.
plain=$(play "${save[@]}" <<'END'
visit Mara
say Hello! My name is Robin.
key F5
say What is my name?
END
)
stranger=$(play "${save[@]}" --save "$work/other" <<<$'visit Mara\nsay What is my name?')
rewound=$(play "${save[@]}" --save "$work/other" <<'END'
visit Mara
say Hello! My name is Robin.
key F6
key F6
say What is my name?
END
)
check_match "the answer" "$(tail -n 1 <<<"$plain")" Robin
[[ "$stranger" != *Robin* ]] || fail "Mara knows whom she never met"
check_equal "the answer after F6" "$(tail -n 2 <<<"$rewound")" "$stranger"
check_equal "rewound" "$(grep -c '(rewound): Mara' <<<"$rewound")" 1

# Loaded: the same answer, and whoever was not spoken to knows nothing.
loaded=$(play "${save[@]}" <<<$'visit Mara\nsay I am Clara.\nkey F9\nvisit Mara\nsay What is my name?\nvisit Tobin\nsay What is my name?')
check_match "Mara's answer" "$(sed -n 4p <<<"$loaded")" Robin
check_equal "Mara's answer" "$(sed -n 4p <<<"$loaded")" "$(tail -n 1 <<<"$plain")"
[[ "$(sed -n 6p <<<"$loaded")" != *Robin* ]] || fail "Tobin knows what only Mara was told"

# Damage of every part: magic, world, a villager's state, the end.
refuse() { # what expected
    local nothing
    nothing=$(play --villagers 3 --save "$work/damaged" <<<'key F9')
    check_match "stderr with $1" "$(cat "$work/err")" "$2"
}
damage() { # offset
    cp "$work/village.save" "$work/damaged"
    printf '\377\377' | dd of="$work/damaged" bs=1 seek="$1" conv=notrunc status=none
}
size=$(stat -c %s "$work/village.save")
damage 3
refuse "a damaged magic" "is no village"
damage 40
refuse "a damaged world" "is damaged"
damage $((size / 2))
answers=$(play --villagers 3 --save "$work/damaged" <<<$'visit Mara\nsay Hello! My name is Robin.\nkey F9\nvisit Mara\nsay What is my name?')
check_match "stderr with a damaged second villager" "$(cat "$work/err")" "a villager cannot be loaded"
check_equal "the answer with a damaged second villager" "$(tail -n 1 <<<"$answers")" "$(tail -n 1 <<<"$plain")"
head -c $((size - 1000)) "$work/village.save" >"$work/damaged"
refuse "a cut file" "is cut off"
rm "$work/damaged"
refuse "no file" "No such file"
answers=$(play --villagers 2 --save "$work/village.save" <<<'key F9')
check_match "stderr with another number of villagers" "$(cat "$work/err")" "has 3 villagers, this village 2"
answers=$(play --villagers 1 --save "$work/no/such/folder" <<<'key F5')
check_match "stderr of an impossible save" "$(cat "$work/err")" "No such file"
finish
