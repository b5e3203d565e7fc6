#!/usr/bin/env bash
# The API of a real server against its own OpenAPI document, by PyPI's schemathesis: no 5xx, and no answer that the
# document does not describe. The server is its own, in a temporary folder, so destructive commands are fine.
set -euo pipefail
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../.."

crossfade=${CARGO_TARGET_DIR:-target}/debug/crossfade
[[ -x $crossfade ]] || { printf '%s is missing: cargo build -p crossfade-cli\n' "$crossfade" >&2; exit 1; }
tools=${CARGO_TARGET_DIR:-target}/schemathesis/venv
if [[ ! -x $tools/bin/schemathesis ]]; then
    rm -rf -- "$tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check 'schemathesis>=4,<5' || {
        rm -rf -- "$tools"
        printf 'schemathesis cannot be installed from PyPI\n' >&2
        exit 1
    }
fi
work=$(mktemp -d)
server=''
trap '[[ -z $server ]] || kill "$server" 2>/dev/null || true; rm -rf -- "$work"' EXIT

cat >"$work/crossfade.toml" <<'TOML'
[migration.events]
source = "sqlite://source.db"
target = "sqlite://target.db"
[migration.events.table.events]
cohort = ["user_id"]
TOML
"$crossfade" --json --config "$work/crossfade.toml" serve --listen 127.0.0.1:0 --data "$work/plane.db" \
    --first-token-file "$work/token" >"$work/serve.log" 2>&1 &
server=$!
for _ in $(seq 100); do
    grep -q '"listening"' "$work/serve.log" && break
    kill -0 "$server" || { cat "$work/serve.log"; exit 1; }
    sleep 0.1
done
url=$(sed -n 's/.*"url":"\([^"]*\)".*/\1/p' "$work/serve.log" | head -1)
seed=${SCHEMATHESIS_SEED:-20260713}
printf 'schemathesis, seed %s (SCHEMATHESIS_SEED=… for another)\n' "$seed"
# Event streams have no end, so they are left to the tests of the server.
cd "$work"
timeout 240 "$OLDPWD/$tools/bin/schemathesis" run "$url/openapi.json" \
    --header "Authorization: Bearer $(cat "$work/token")" --seed "$seed" --workers 2 \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
    --phases examples,coverage,fuzzing --max-examples "${SCHEMATHESIS_EXAMPLES:-10}" --request-timeout 10 \
    --exclude-path /v1/events --exclude-path '/v1/migrations/{id}/instances/{instance}/plans' --no-color
kill -0 "$server" || { printf 'the server ended\n'; cat "$work/serve.log"; exit 1; }
grep -i panicked "$work/serve.log" && exit 1
printf '1 passed, 0 failed\n'
