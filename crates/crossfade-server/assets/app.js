// Follows the status stream and carries an operator's wishes to the API. Every number and every word comes from the server.

import { h, put, rich, count, percent, plural } from './dom.js';
import { show } from './view.js';
import { next } from './ladder.js';
import { windowAt } from './charts.js';

const $ = (id) => document.getElementById(id);
const state = { id: '', all: [], status: null, may: { act: false }, cursor: null, instances: null, entries: null, proposed: '', chosen: false, tick: -1, looked: 0, stream: null, wish: null };

const ask = async (method, path, body) => {
  const headers = { 'x-crossfade': '1' };
  if (body !== undefined) headers['content-type'] = 'application/json';
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await answer.text();
  const value = text ? JSON.parse(text) : null;
  if (answer.status === 401) visitors();
  if (!answer.ok) throw Object.assign(new Error(value?.detail ?? answer.statusText), { problem: value });
  return value;
};
const path = (rest = '') => `/v1/migrations/${encodeURIComponent(state.id)}${rest}`;
const tell = (text, kind = '') => { $('connection').textContent = text; $('connection').className = kind; };

// ---------------------------------------------------------------------------------------------------- coming and going

const visitors = () => {
  state.stream?.close();
  state.stream = null;
  for (const id of ['page', 'logout', 'empty']) $(id).hidden = true;
  $('login').hidden = false;
  $('who').textContent = '';
  tell('');
  $('token').focus();
};

const enter = async () => {
  const { name, role } = await ask('GET', '/session');
  if (!role) return visitors();
  state.may = { act: ['operator', 'admin'].includes(role) };
  $('who').textContent = `${name}, ${role}`;
  $('login').hidden = true;
  $('logout').hidden = false;
  $('act').hidden = !state.may.act;
  follow();
};

const follow = () => {
  state.stream?.close();
  const stream = new EventSource('/v1/events');
  state.stream = stream;
  stream.addEventListener('status', (event) => {
    tell('live', 'good');
    state.all = JSON.parse(event.data).migrations;
    draw();
  });
  stream.addEventListener('error', () => {
    tell('connection lost, trying again; applications keep their last plan', 'bad');
    // A session that has ended is no lost connection: the browser does not try again by itself.
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => enter().catch(() => follow()), 2_000);
  });
};

// ------------------------------------------------------------------------------------------------------------- drawing

const draw = () => {
  const wanted = decodeURIComponent(location.hash.slice(1));
  const found = state.all.find((status) => status.migration === wanted) ?? state.all[0] ?? null;
  if (found?.migration !== state.id) Object.assign(state, { id: found?.migration ?? '', instances: null, entries: null, cursor: null, tick: -1, proposed: '', chosen: false });
  state.status = found;
  $('page').hidden = !found;
  $('empty').hidden = Boolean(found);
  document.title = found ? `${found.migration} at ${found.position} · crossfade` : 'crossfade';
  show(state);
  if (!found) return;
  $('pause').textContent = found.paused ? 'Resume' : 'Pause';
  $('retire').disabled = found.position !== 'complete' || found.retired;
  propose(found);
  look(found);
};

/** The next step, as long as nobody has chosen another. */
const propose = (status) => {
  if (state.proposed === status.publication.revision || state.chosen) return;
  state.proposed = status.publication.revision;
  const step = next(status);
  $('stage').value = step.stage;
  $('percent').value = step.percent;
};

/** What the status does not carry: looked at when something happened, and instances every few seconds. */
const look = async (status) => {
  const happened = state.tick !== status.tick;
  if (!happened && performance.now() - state.looked < 5_000) return;
  state.tick = status.tick;
  state.looked = performance.now();
  const id = state.id;
  const [instances, page] = await Promise.all([ask('GET', path('/instances')), happened ? ask('GET', path('/history?limit=15')) : null]).catch(() => [null, null]);
  if (id !== state.id) return;
  if (instances) state.instances = instances;
  if (page) state.entries = page.entries;
  show(state);
};

// -------------------------------------------------------------------------------------------------------------- asking

/** Asks before something is done. `act` gets what was typed. */
const before = ({ title, body, go, confirm, force, refused, act }) => {
  state.wish = { act, confirm, force };
  $('ask-title').textContent = title;
  put('ask-body', body);
  $('force').checked = false;
  $('ask-force').hidden = !force;
  $('confirm').value = '';
  $('ask-confirm').hidden = !confirm;
  $('refusal').textContent = '';
  $('go').textContent = go;
  $('go').disabled = Boolean(refused);
  $('ask').showModal();
};

const gate = (doc) => {
  if (doc.go) return doc.cautions.map((caution) => h('p', { class: 'note warn' }, rich(caution)));
  return [h('p', { class: 'note bad' }, h('b', {}, 'The gate refuses. '), `${plural(doc.blockers.length, 'thing')} in the way:`),
    h('ul', { class: 'blockers' }, doc.blockers.map((blocker) => h('li', {}, rich(blocker.detail), ' ', h('a', { href: blocker.runbook, target: '_blank', rel: 'noreferrer' }, `what to do: ${blocker.code}`))))];
};

const preview = (doc, rest) => {
  const held = doc['held-at-most-ms'];
  const body = [
    h('ul', { class: 'effects' }, doc.effects.map((text) => h('li', {}, text)),
      held && h('li', {}, `held for ${held / 1e3} s at the most; past it the step is given up, and nothing has changed`),
      h('li', {}, h('b', {}, 'way back: '), doc['way-back'])),
    doc['waiting-for'].length > 0 && h('p', { class: 'note warn' }, `It would wait for ${doc['waiting-for'].slice(0, 5).join(', ')}.`),
    gate(doc.gate),
    h('p', { class: 'soft' }, `${plural(doc.revisions.length, 'revision')}: ${doc.revisions.join(', ')}; ${percent(doc.moving)} of keys move`),
  ];
  before({ title: `${state.id}: to ${doc.goal}`, body, refused: !doc.gate.go, ...rest });
};

const act = (work) => async (...args) => {
  try { await work(...args); } catch (error) { tell(`refused: ${error.message}`, 'bad'); }
};
const revision = () => ({ 'if-revision': state.status.publication.revision });

const acts = {
  skip: () => { $('main').focus(); },
  leave: () => { $('ask').close(); },
  share: (button) => { $('percent').value = button.dataset.share; state.chosen = true; },
  'log-out': async () => { await ask('DELETE', '/session'); visitors(); },
  pause: () => ask('POST', path(state.status.paused ? '/resume' : '/pause')),
  abandon: () => before({ title: 'Give the step up', body: [h('p', {}, 'The old roles stay in force; a step that already published its last revision is rolled back instead.')], go: 'Give it up', act: () => ask('POST', path('/abandon')) }),
  'end-auto': () => ask('DELETE', path('/auto')),
  'writer-paused': (button) => before({
    title: `${button.dataset.writer} is paused`, go: 'It is paused',
    body: [h('p', {}, 'You state that it writes no more to either database. Nobody checks this.')],
    act: () => ask('POST', path('/writers'), { writer: button.dataset.writer, paused: true }),
  }),
  evict: () => {
    // Those whose names are shown, not those that are silent when the button is pressed.
    const instances = [...state.status['waiting-for']];
    before({
      title: 'State that silent instances are dead', go: 'They are dead', confirm: true,
      body: [h('p', {}, `You state that the processes of ${instances.join(', ')} are dead and reach neither database. If one still runs, it may write under an old plan. The migration is suspect until a verification passes.`)],
      act: ({ typed }) => { if (typed !== state.id) throw new Error('the name is another'); return ask('POST', path('/evict'), { instances, dead: true }); },
    });
  },
  retire: () => before({
    title: `Retire ${state.id}`, go: 'Retire it', confirm: true,
    body: [h('p', {}, 'The migration ends. Instances that register afterwards are refused.')],
    act: ({ typed }) => ask('POST', path('/retire'), { ...revision(), confirm: typed }),
  }),
  back: async () => {
    const wish = revision();
    const doc = await ask('GET', path('/rollback/preview'));
    preview(doc, {
      go: `Roll back to ${doc.goal}`, force: !doc.gate.go,
      act: ({ typed, force }) => ask('POST', path('/rollback'), force ? { ...wish, force: true, confirm: typed } : wish),
    });
  },
};

document.addEventListener('click', (event) => {
  const button = event.target.closest('[data-do]');
  if (!button) return;
  if (button.tagName === 'A') event.preventDefault();
  act(acts[button.dataset.do])(button);
});

$('ramp').addEventListener('submit', act(async (event) => {
  event.preventDefault();
  const wish = { stage: $('stage').value, percent: Number($('percent').value), ...revision() };
  const doc = await ask('POST', path('/ramp/preview'), wish);
  preview(doc, {
    go: `Ramp: ${percent(wish.percent)} to ${wish.stage}`, confirm: doc['needs-confirmation'],
    act: ({ typed }) => ask('POST', path('/ramp'), doc['needs-confirmation'] ? { ...wish, confirm: typed } : wish),
  });
}));

$('ramp').addEventListener('input', () => { state.chosen = true; });

$('auto').addEventListener('submit', act(async (event) => {
  event.preventDefault();
  const wish = { until: $('until').value, 'dwell-ms': Math.round(Number($('dwell').value) * 60_000) };
  before({
    title: `Guarded rollout until ${wish.until}`, go: 'Begin',
    body: [h('p', {}, `From share to share, ${count(wish['dwell-ms'] / 60_000)} min each, while the numbers hold. Pause or a rollback ends it.`)],
    act: () => ask('POST', path('/auto'), wish),
  });
}));

$('force').addEventListener('change', () => {
  $('ask-confirm').hidden = !$('force').checked;
  $('go').disabled = !$('force').checked;
});

$('answer').addEventListener('submit', async (event) => {
  event.preventDefault();
  $('go').disabled = true;
  try {
    await state.wish.act({ typed: $('confirm').value.trim(), force: $('force').checked });
    state.chosen = false;
    $('ask').close();
  } catch (error) {
    const blockers = error.problem?.blockers ?? [];
    $('refusal').textContent = `Refused: ${[error.message, ...blockers.map((blocker) => blocker.detail)].join('; ')}`;
    $('go').disabled = false;
  }
});

$('login').addEventListener('submit', async (event) => {
  event.preventDefault();
  $('login-error').textContent = '';
  try {
    await ask('POST', '/session', { token: $('token').value.trim() });
    $('token').value = '';
    await enter();
  } catch (error) { $('login-error').textContent = error.message; }
});

// ---------------------------------------------------------------------------------------------------- looking at charts

const look_back = (to) => { state.cursor = to; show(state); };
document.addEventListener('pointermove', (event) => {
  const chart = event.target.closest?.('[data-chart]');
  if (!chart) { if (state.cursor !== null && !document.activeElement?.closest('[data-chart]')) look_back(null); return; }
  const box = chart.getBoundingClientRect();
  look_back(windowAt(state.status.windows, (event.clientX - box.left) / box.width));
});
document.addEventListener('keydown', (event) => {
  if (!event.target.closest?.('[data-chart]')) return;
  const last = state.status.windows.length - 2;
  const at = state.cursor ?? last;
  if (event.key === 'ArrowLeft') look_back(Math.max(0, at - 1));
  else if (event.key === 'ArrowRight') look_back(at + 1 >= last ? null : at + 1);
  else if (event.key === 'Escape') look_back(null);
  else return;
  event.preventDefault();
});
document.addEventListener('focusout', (event) => { if (event.target.closest?.('[data-chart]')) look_back(null); });

addEventListener('hashchange', draw);

const begin = async () => {
  // A link that logs in once: its code leaves the address at once.
  const code = location.hash.match(/^#code=([0-9a-f]+)$/)?.[1];
  if (code) {
    history.replaceState(null, '', '/');
    await ask('POST', '/session', { code }).catch(() => { $('login-error').textContent = 'This link was used before, or is too old.'; });
  }
  await enter();
};
begin().catch((error) => tell(`the control plane does not answer: ${error.message}`, 'bad'));
