#!/usr/bin/env bash
# Each crate by itself, as its users build it: in a build of the whole workspace the features that one crate asks for are
# on for all, which hides what another forgot. The stores also with each of their features alone.
set -uo pipefail
passed=0
failed=0
check() {
    if cargo check --quiet ${CI:+--locked} --lib "$@"; then
        passed=$((passed + 1))
    else
        printf 'cargo check --lib %s FAILED\n' "$*"
        failed=$((failed + 1))
    fi
}
for manifest in crates/*/Cargo.toml; do
    crate=$(basename "$(dirname "$manifest")")
    [[ -f crates/$crate/src/lib.rs ]] || continue # the command is built alone by `cargo run -- demo`
    check -p "$crate"
    features=$(sed -n '/^\[features\]/,/^\[/s/^\([a-z0-9-]*\) *=.*/\1/p' "$manifest" | grep -vx default)
    for feature in $features; do check -p "$crate" --no-default-features --features "$feature"; done
done
printf '%d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
