// Renders what the status stream says, and nothing else: every number and every word comes from the server.
'use strict';
const $ = (id) => document.getElementById(id);
const chosen = { id: decodeURIComponent(location.hash.slice(1)), all: [], stream: null, pending: null };

const make = (name, text, attributes = {}) => {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
};
const ask = async (method, path, body) => {
  const headers = { 'x-crossfade': '1' };
  if (body !== undefined) headers['content-type'] = 'application/json';
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await answer.text();
  const value = text ? JSON.parse(text) : null;
  if (answer.status === 401) logIn();
  if (!answer.ok) throw Object.assign(new Error(value?.detail ?? answer.statusText), { problem: value });
  return value;
};
const path = (rest = '') => `/v1/migrations/${encodeURIComponent(chosen.id)}${rest}`;
const current = () => chosen.all.find((status) => status.migration === chosen.id);
const ms = (us) => (us === null || us === undefined ? '–' : `${(us / 1000).toFixed(1)} ms`);

const logIn = () => {
  chosen.stream?.close();
  chosen.stream = null;
  $('login').hidden = false;
  for (const id of ['actions', 'history', 'logout']) $(id).hidden = true;
  $('list').replaceChildren();
  $('migration').replaceChildren();
  $('token').focus();
};

const follow = () => {
  chosen.stream?.close();
  const stream = new EventSource('/v1/events');
  chosen.stream = stream;
  stream.addEventListener('open', () => { $('connection').textContent = 'live'; $('logout').hidden = false; $('login').hidden = true; });
  stream.addEventListener('status', (event) => { chosen.all = JSON.parse(event.data).migrations; render(); });
  stream.addEventListener('error', () => {
    $('connection').textContent = 'connection lost, trying again; applications keep their last plan';
    if (stream.readyState === EventSource.CLOSED) logIn();
  });
};

const table = (heads, rows) => {
  const scroll = make('div', undefined, { class: 'scroll' });
  const node = make('table');
  const head = node.appendChild(make('thead')).appendChild(make('tr'));
  for (const text of heads) head.append(make('th', text, { scope: 'col' }));
  const body = node.appendChild(make('tbody'));
  for (const row of rows) {
    const line = body.appendChild(make('tr'));
    for (const cell of row) line.append(make('td', cell));
  }
  scroll.append(node);
  return scroll;
};
const chart = (title, windows, of) => {
  const section = make('section');
  section.append(make('h2', title));
  const sides = ['source', 'target'];
  const most = Math.max(1, ...windows.flatMap((window) => sides.map((side) => of(window[side]) ?? 0)));
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 600 100');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', `${title}, up to ${most}`);
  for (const side of sides) {
    const line = document.createElementNS('http://www.w3.org/2000/svg', 'polyline');
    const points = windows.map((window, at) => `${(600 * at) / Math.max(1, windows.length - 1)},${98 - (95 * (of(window[side]) ?? 0)) / most}`);
    line.setAttribute('points', points.join(' '));
    line.setAttribute('class', side);
    svg.append(line);
  }
  const key = make('p');
  key.append(make('span', 'source ', { class: 'key-source' }), make('span', 'target', { class: 'key-target' }));
  section.append(svg, key);
  return section;
};

const render = () => {
  if (!current() && chosen.all.length) chosen.id = chosen.all[0].migration;
  $('list').replaceChildren(...chosen.all.map((status) => {
    const button = make('button', `${status.migration}: ${status.position}`, { type: 'button', 'aria-current': String(status.migration === chosen.id) });
    button.addEventListener('click', () => { chosen.id = status.migration; location.hash = chosen.id; render(); entries(); });
    return button;
  }));
  const status = current();
  const page = $('migration');
  $('actions').hidden = !status;
  $('history').hidden = !status;
  if (!status) { page.replaceChildren(make('p', 'no migration yet')); return; }
  $('pause').textContent = status.paused ? 'resume' : 'pause';
  const parts = [make('h2', `${status.migration} is at ${status.position}`, { id: 'position' })];
  const ladder = make('ol', undefined, { class: 'ladder' });
  for (const rung of status.ladder.stages) {
    const s = rung.switches;
    const item = make('li', undefined, rung.percent > 0 ? { class: 'here' } : {});
    item.append(make('div', `${rung.stage} ${rung.percent} %`));
    const on = ['write-source', 'read-source', 'write-target', 'read-target'].filter((name) => s[name]);
    item.append(make('div', on.join(', '), { class: 'soft' }), make('div', `authority: ${s.authority}`, { class: 'soft' }));
    ladder.append(item);
  }
  parts.push(ladder, make('p', `revision ${status.publication.revision}; ${status.acknowledged} of ${status.instances} instances acknowledged; ${status.protection.label}`));
  if (status.step) {
    const waits = [...status.step['waiting-for'], ...status.step['waiting-also']];
    parts.push(make('p', `step to ${status.step.goal} (${status.step.phase}), by ${status.step.by}${waits.length ? `, waits for ${waits.join(', ')}` : ''}`, { id: 'step' }));
  }
  if (status['last-step']?.abandoned) parts.push(make('p', `the last step was given up: ${status['last-step'].abandoned}`, { class: 'bad' }));
  for (const who of status['waiting-for']) parts.push(make('p', `blocks the next revision: ${who}`, { class: 'bad' }));
  parts.push(make('h2', 'gate'));
  if (status.gate.go) parts.push(make('p', 'open', { class: 'good' }));
  const list = make('ul');
  for (const blocker of status.gate.blockers) {
    const item = make('li', `${blocker.detail} `);
    item.append(make('a', blocker.code, { href: blocker.runbook }));
    list.append(item);
  }
  for (const caution of status.gate.cautions) list.append(make('li', caution));
  parts.push(list);
  parts.push(make('h2', 'operations, last minute'), table(
    ['operation', 'source calls', 'p50', 'p99', 'errors', 'target calls', 'p50', 'p99', 'errors', 'compared', 'matched', 'mismatched', 'unknown'],
    status.operations.map((o) => [o.operation, o.source.calls, ms(o.source['p50-us']), ms(o.source['p99-us']), o.source.errors, o.target.calls, ms(o.target['p50-us']), ms(o.target['p99-us']), o.target.errors, o.comparisons.compared, o.comparisons.matched, o.comparisons.mismatched, o.comparisons.unknown])));
  if (status.windows.length > 1) {
    parts.push(chart('p99 latency', status.windows, (side) => side['p99-us']), chart('errors', status.windows, (side) => side.errors));
  }
  if (status.mismatches.length) {
    parts.push(make('h2', 'reads that differed'), table(['operation', 'key digest', 'fields'], status.mismatches.slice(-10).map((m) => [m.operation, m['key-digest'], m.fields.join(', ')])));
  }
  if (status.runs.length) {
    parts.push(make('h2', 'runs'), table(['run', 'kind', 'done', 'of', 'rows/s'], status.runs.map((run) => [run.instance, run.kind, run.progress?.done ?? 0, run.progress?.total ?? '', run.progress?.rate ?? ''])));
  }
  page.replaceChildren(...parts);
};

const entries = async () => {
  if (!chosen.id) return;
  const page = await ask('GET', path('/history?limit=20'));
  $('entries').replaceChildren(...page.entries.map((entry) =>
    make('li', `${new Date(entry['at-ms']).toLocaleString()} ${entry.by}: ${entry.text}`, { value: entry.tick })));
};

const show = (preview, act) => {
  chosen.pending = act;
  $('preview-title').textContent = `to ${preview.goal} by ${preview.revisions.join(', ')}`;
  const effects = [...preview.effects];
  if (preview['held-at-most-ms']) effects.push(`held for ${preview['held-at-most-ms']} ms at the most, then given up`);
  $('effects').replaceChildren(...effects.map((text) => make('li', text)));
  $('blockers').replaceChildren(...preview.gate.blockers.map((blocker) => make('li', `blocked: ${blocker.detail}`, { class: 'bad' })));
  $('way-back').textContent = `way back: ${preview['way-back']}`;
  const named = preview['needs-confirmation'];
  for (const id of ['confirm', 'confirm-label']) $(id).hidden = !named;
  $('confirm').value = '';
  $('refusal').textContent = '';
  $('preview').showModal();
};

const acting = async (work) => {
  try { await work(); } catch (error) { $('connection').textContent = `refused: ${error.message}`; }
};

$('login').addEventListener('submit', async (event) => {
  event.preventDefault();
  $('login-error').textContent = '';
  try {
    await ask('POST', '/session', { token: $('token').value });
    $('token').value = '';
    follow();
    setTimeout(entries, 500);
  } catch (error) { $('login-error').textContent = error.message; }
});
$('logout').addEventListener('click', () => acting(async () => { await ask('DELETE', '/session'); logIn(); }));
$('ramp').addEventListener('submit', (event) => {
  event.preventDefault();
  acting(async () => {
    const wish = { stage: $('stage').value, percent: Number($('percent').value), 'if-revision': current().publication.revision };
    const preview = await ask('POST', path('/ramp/preview'), wish);
    show(preview, (confirm) => ask('POST', path('/ramp'), confirm ? { ...wish, confirm } : wish));
  });
});
$('back').addEventListener('click', () => acting(async () => {
  const wish = { 'if-revision': current().publication.revision };
  show(await ask('GET', path('/rollback/preview')), () => ask('POST', path('/rollback'), wish));
}));
$('pause').addEventListener('click', () => acting(() => ask('POST', path(current().paused ? '/resume' : '/pause'))));
$('go').addEventListener('click', async () => {
  try {
    await chosen.pending($('confirm').value);
    $('preview').close();
    await entries();
  } catch (error) { $('refusal').textContent = `refused: ${error.message}`; }
});
follow();
ask('GET', '/v1/history?limit=1').then(entries).catch(() => {});
