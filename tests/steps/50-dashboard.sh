#!/usr/bin/env bash
# The dashboard in a real Chromium: a real control plane, three real processes of the events service, real runs.
# CROSSFADE_SCREENSHOTS=1 takes the pictures of the guide anew (docs/guide/images).
set -euo pipefail
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../.."

for tool in node npm chromium; do
    command -v "$tool" >/dev/null || { printf '%s is missing: apt-get install nodejs npm chromium\n' "$tool" >&2; exit 1; }
done
for built in target/debug/crossfade target/debug/examples/service; do
    [[ -x $built ]] || { printf '%s is missing: cargo build --workspace --bins --examples\n' "$built" >&2; exit 1; }
done
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
cp tests/dashboard/*.mjs "$work"
(cd "$work" && npm init -y >/dev/null && npm install --no-audit --no-fund --silent playwright-core@1 >/dev/null)
CHROMIUM=$(command -v chromium) timeout 300 node "$work/story.mjs" "$PWD" "$work"
