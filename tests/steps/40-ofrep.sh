#!/usr/bin/env bash
# The flags of crossfade, evaluated by the OpenFeature clients that others wrote: two of npm, one of PyPI.
set -euo pipefail
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../.."

command -v node >/dev/null || { printf 'node is missing: apt-get install nodejs npm\n' >&2; exit 1; }
crossfade=target/debug/crossfade
[[ -x $crossfade ]] || { printf '%s is missing: cargo build -p crossfade-cli\n' "$crossfade" >&2; exit 1; }
work=$(mktemp -d)
server=''
trap '[[ -z $server ]] || kill "$server" 2>/dev/null || true; rm -rf -- "$work"' EXIT

source tests/tools/plane.sh
serve --first-token-file "$work/token"
token=$(cat "$work/token")
export CROSSFADE_SERVER=$url CROSSFADE_TOKEN=$token OFREP_URL=$url OFREP_TOKEN=$token
"$crossfade" ramp events dual-write 50 >/dev/null

node_dir=$work/node
mkdir -p "$node_dir"
(cd "$node_dir" && npm init -y >/dev/null && npm install --no-audit --no-fund --silent \
    @openfeature/ofrep-provider @openfeature/server-sdk @openfeature/ofrep-web-provider @openfeature/web-sdk >/dev/null)

cat >"$node_dir/server.mjs" <<'JS'
import { OpenFeature } from '@openfeature/server-sdk';
import { OFREPProvider } from '@openfeature/ofrep-provider';
import assert from 'node:assert/strict';
const headers = [['Authorization', `Bearer ${process.env.OFREP_TOKEN}`]];
await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl: process.env.OFREP_URL, headers }));
const client = OpenFeature.getClient();
let later = 0;
for (let n = 0; n < 100; n++) {
  const context = { targetingKey: `user-${n}` };
  const stage = await client.getStringDetails('events.stage', 'none', context);
  assert.equal(stage.errorCode, undefined, JSON.stringify(stage));
  assert.equal(stage.reason, 'SPLIT');
  const writes = await client.getBooleanValue('events.write-target', false, context);
  assert.equal(writes, stage.value === 'dual-write');
  assert.equal(await client.getStringValue('events.authority', 'none', context), 'source');
  later += writes ? 1 : 0;
}
assert.ok(later > 25 && later < 75, `${later} of 100 at 50 %`);
const missing = await client.getStringDetails('events.nothing', 'fallback', { targetingKey: 'x' });
assert.deepEqual([missing.value, missing.errorCode], ['fallback', 'FLAG_NOT_FOUND']);
const keyless = await client.getStringDetails('events.stage', 'fallback', {});
assert.deepEqual([keyless.value, keyless.errorCode], ['fallback', 'TARGETING_KEY_MISSING']);
await OpenFeature.close();
JS
cat >"$node_dir/web.mjs" <<'JS'
import { OpenFeature } from '@openfeature/web-sdk';
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';
import assert from 'node:assert/strict';
let bulk = 0, unchanged = 0;
const fetchImplementation = async (...args) => {
  const answer = await fetch(...args);
  bulk += 1;
  unchanged += answer.status === 304 ? 1 : 0;
  return answer;
};
await OpenFeature.setContext({ targetingKey: 'user-1' });
const headers = [['Authorization', `Bearer ${process.env.OFREP_TOKEN}`]];
await OpenFeature.setProviderAndWait(
  new OFREPWebProvider({ baseUrl: process.env.OFREP_URL, headers, fetchImplementation, pollInterval: 100 }));
const client = OpenFeature.getClient();
const stage = client.getStringDetails('events.stage', 'none');
assert.ok(['off', 'dual-write'].includes(stage.value), JSON.stringify(stage));
assert.equal(client.getBooleanValue('events.read-source', false), true);
for (let n = 0; n < 100 && unchanged === 0; n++) await new Promise((done) => setTimeout(done, 50));
assert.ok(unchanged > 0, `${bulk} polls and never a 304`);
await OpenFeature.close();
JS
(cd "$node_dir" && timeout 60 node server.mjs && printf 'npm @openfeature/ofrep-provider: ok\n')
(cd "$node_dir" && timeout 60 node web.mjs && printf 'npm @openfeature/ofrep-web-provider: ok\n')

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check openfeature-sdk openfeature-provider-ofrep
cat >"$work/client.py" <<'PY'
import os
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

token = os.environ["OFREP_TOKEN"]
api.set_provider(OFREPProvider(os.environ["OFREP_URL"], headers_factory=lambda: {"Authorization": f"Bearer {token}"}))
client = api.get_client()
for n in range(50):
    context = EvaluationContext(targeting_key=f"user-{n}")
    stage = client.get_string_details("events.stage", "none", context)
    assert stage.error_code is None, stage
    assert client.get_boolean_value("events.write-target", False, context) == (stage.value == "dual-write")
missing = client.get_string_details("events.nothing", "fallback", EvaluationContext(targeting_key="x"))
assert missing.value == "fallback" and missing.error_code is not None, missing
PY
timeout 60 "$work/venv/bin/python" "$work/client.py"
printf 'PyPI openfeature-provider-ofrep: ok\n'
printf '3 passed, 0 failed\n'
