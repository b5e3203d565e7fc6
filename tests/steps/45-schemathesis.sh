#!/usr/bin/env bash
# The HTTP API as its OpenAPI describes it, tried by schemathesis for a minute: requests that the document allows, and requests that it
# does not. No answer is an error of the server, and every answer is one that the document describes: status, content type and schema.
#
# Left out: the two streams of server-sent events, which have no end to wait for (tests/plane has them).
set -euo pipefail
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../.."

version=4.32.5
seconds=${CROSSFADE_SCHEMATHESIS_SECONDS:-60}
crossfade=${CROSSFADE_BINARY:-target/debug/crossfade}
[[ -x $crossfade ]] || { printf '%s is missing: cargo build -p crossfade-cli\n' "$crossfade" >&2; exit 1; }
venv=$PWD/target/schemathesis-$version
if [[ ! -x $venv/bin/schemathesis ]]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version"
fi
work=$(mktemp -d)
server=''
trap '[[ -z $server ]] || kill "$server" 2>/dev/null || true; rm -rf -- "$work"' EXIT

# A token that no request can revoke, of the role that may everything.
token=$(head -c 32 /dev/urandom | sha256sum | cut -d' ' -f1)
printf 'admin schemathesis %s\n' "$token" >"$work/tokens"
source tests/tools/plane.sh
serve --tokens "$work/tokens"
# Somebody to speak for: else every instance is unknown.
python3 - "$url/v1/migrations/events/instances" "$token" <<'PY'
import json, sys, urllib.request
for kind in ("application", "verify"):
    body = json.dumps({"instance": f"{kind}-1", "kind": kind}).encode()
    headers = {"authorization": f"Bearer {sys.argv[2]}", "content-type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(sys.argv[1], body, headers), timeout=20).read()
PY
# Names that lead somewhere, beside those that the fuzzer makes up by itself in its other phases.
cat >"$work/schemathesis.toml" <<'TOML'
[parameters]
"path.id" = "events"
"path.instance" = "application-1"
"path.key" = "events.stage"
TOML
status=0
# In the temporary folder: it leaves notes where it runs.
(cd "$work" && "$venv/bin/schemathesis" --config-file "$work/schemathesis.toml" run "$url/openapi.json" \
    --header "authorization: Bearer $token" \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
    --exclude-path /v1/events --exclude-path '/v1/migrations/{id}/instances/{instance}/plans' \
    --max-time "$seconds" --request-timeout 20 --warnings off \
    --report junit --report-junit-path "$work/junit.xml" >"$work/run.log" 2>&1) || status=$?
kill -0 "$server" || { printf 'the server ended\n'; status=1; }
grep -v '^$' "$work/run.log" | tail -n "$([[ $status == 0 ]] && echo 12 || echo 400)"
python3 - "$work/junit.xml" <<'PY'
import sys, xml.etree.ElementTree as tree
cases = list(tree.parse(sys.argv[1]).getroot().iter("testcase"))
failed = sum(1 for case in cases if case.find("failure") is not None or case.find("error") is not None)
print(f"{len(cases) - failed} passed, {failed} failed")
PY
exit "$status"
