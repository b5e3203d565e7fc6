#!/usr/bin/env bash
# A minute of torture: real processes and databases are killed, cut and moved, and every promise is checked; then less
# of it towards each of the other databases. Then two variants that break a rule, which have to be caught. The long
# form: `crossfade-torture --seconds 600`.
set -uo pipefail
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../.." || exit 1
passed=0
failed=0
count() { # what, expected exit code, actual
    if (($2 == $3)); then passed=$((passed + 1)); else
        failed=$((failed + 1))
        printf '%s: exit code %s instead of %s; its seed is in the result above\n' "$1" "$3" "$2"
    fi
}
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

# Chosen from the whole workspace and beside an example, as `./test` builds it: alone, or without what the examples ask
# for, it would ask its dependencies for other features, and build them all again.
build() {
    cargo build --quiet ${CI:+--locked} --workspace --exclude crossfade-bench --bin crossfade-torture --example service "$@"
}

# An earlier run may have left the broken one there. The command runs its backfills and repairs.
build --bin crossfade
target/debug/crossfade-torture --seconds 60 --json | tee "$work/told"
count "torture" 0 "${PIPESTATUS[0]}"
grep -q '"event":"missing"' "$work/told"
count "a part of the torture that was not there" 1 $?
for pair in mariadb redis dynamo; do
    target/debug/crossfade-torture --seconds 25 --json --pair "postgres-$pair"
    count "torture towards $pair" 0 $?
done

# The other library is compiled beside the plain one, and its dependencies are not compiled again.
RUSTC_WORKSPACE_WRAPPER=$PWD/tests/tools/rustc-broken build && cp target/debug/crossfade-torture "$work/broken"
count "build of the broken variants" 0 $?
for variant in no-hold insert-if-absent; do
    "$work/broken" --seconds 110 --json --quiet-every 15 --glance-every 5 --broken "$variant"
    count "$variant, which has to be caught" 4 $?
done
printf '%d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
