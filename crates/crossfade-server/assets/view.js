// One migration as a page: what the status says, in the order in which a tired operator asks.

import { h, put, rich, count, duration, moment, percent, plural, seconds } from './dom.js';
import { ladder, switches } from './ladder.js';
import { charts } from './charts.js';

const note = (kind, ...text) => h('p', { class: `note ${kind}` }, ...text);
const chip = (text, kind = '') => h('span', { class: `chip ${kind}` }, text);
const heading = (text, aside) => h('h2', {}, text, aside && h('small', {}, aside));

/** How it is with a migration, in one word. */
export const mood = (status) => {
  if (status.retired) return 'retired';
  if (status['waiting-for'].length || status.evidence['waived-since'] || status.evidence.suspects.length) return 'attention';
  if (status.step) return 'moving';
  if (status.operations.some((operation) => operation.comparisons.mismatched > 0)) return 'differs';
  return status.paused ? 'paused' : 'calm';
};

export const list = (all, id) => all.map((status) => h('li', {},
  h('a', { href: `#${encodeURIComponent(status.migration)}`, 'aria-current': status.migration === id ? 'page' : null },
    h('span', { class: `dot ${mood(status)}`, 'aria-hidden': 'true' }),
    h('span', {}, h('b', {}, status.migration), h('span', { class: 'soft' }, status.position)),
    h('span', { class: 'unseen' }, `, ${mood(status)}`))));

const authority = (status) => {
  const share = status.ladder['authority-target'];
  if (status.authority) return `The ${status.authority} answers every key.`;
  return `The target answers ${percent(share)} of keys, the source the rest.`;
};

const head = (status) => [
  h('h1', { id: 'position' }, status.migration, h('span', { class: 'soft' }, ` is at ${status.position}`)),
  h('p', {}, authority(status), ' ',
    status.instances === status.acknowledged
      ? `${plural(status.instances, 'instance')}, all on revision ${status.publication.revision.split('.')[1]}.`
      : h('strong', { class: 'warn' }, `${count(status.acknowledged)} of ${plural(status.instances, 'instance')} acknowledged revision ${status.publication.revision.split('.')[1]}.`)),
];

const attention = (status, may) => {
  const out = [];
  const step = status.step;
  if (status.retired) out.push(note('', 'This migration was retired. Take the library out of the application.'));
  if (step) {
    const waits = [...step['waiting-for'], ...step['waiting-also']];
    const held = step.phase === 'settled' ? '' : ' Writes of the moving keys wait.';
    out.push(note('moving', h('b', {}, `On the way to ${step.goal}`), ` (${step.phase}), asked for by ${step.by}.${held} `,
      waits.length > 0 && `Waits for ${waits.slice(0, 5).join(', ')}${waits.length > 5 ? ` and ${waits.length - 5} more` : ''}.`,
      step.abandoned && ` Given up: ${step.abandoned}.`,
      may.act && !step.abandoned && h('button', { type: 'button', 'data-do': 'abandon' }, 'give it up')));
  }
  if (status['last-step']?.abandoned) {
    out.push(note('bad', h('b', {}, `The last step, to ${status['last-step'].goal}, was given up: `), status['last-step'].abandoned));
  }
  if (status.evidence['waived-since']) {
    out.push(note('bad', h('b', {}, 'Promises are waived '), 'after a forced rollback or a restore of the control plane, until a verification passes: run ', h('code', {}, `crossfade verify ${status.migration}`)));
  }
  if (status['waiting-for'].length) {
    out.push(note('bad', h('b', {}, 'Nothing can move: '), `not heard of ${status['waiting-for'].slice(0, 5).join(', ')}. `,
      may.act && h('button', { type: 'button', 'data-do': 'evict' }, 'their processes are dead …')));
  }
  if (status.evidence.suspects.length) {
    out.push(note('warn', h('b', {}, 'Suspect: '), `${status.evidence.suspects.join(', ')} vanished with half-done writes, perhaps. A verification clears it.`));
  }
  if (status.paused) out.push(note('warn', h('b', {}, 'Paused. '), 'Steps are refused until it is resumed; applications go on.'));
  if (!status.protection.acknowledged) out.push(note('warn', status.protection.label));
  for (const drift of status.drift) {
    out.push(note('', h('b', {}, `${drift.what} differs from the file: `), `${drift.declared} there, ${drift['in-force']} in force.`));
  }
  if (status.auto) {
    out.push(note('', h('b', {}, `Guarded rollout until ${status.auto.until}: `), `${status.auto.note} `,
      may.act && !status.auto.ended && h('button', { type: 'button', 'data-do': 'end-auto' }, 'stop it')));
  }
  return out;
};

const verdict = (seen) => {
  if (!seen) return ['none yet', ''];
  if (seen.verdict === 'verified') return ['every row is equal', 'good'];
  const [[kind, n]] = Object.entries(seen.verdict);
  return kind === 'diverged' ? [`${plural(n, 'row')} differed`, 'bad'] : [`${plural(n, 'range')} not known`, 'warn'];
};

const backfill = (doc) => {
  if (doc.state === 'not-started') return ['not begun', ''];
  return doc.state === 'unfinished' ? ['under way or stopped', 'warn'] : ['complete', 'good'];
};

const gate = (status, may) => {
  const e = status.evidence;
  const rows = [
    ['backfill', ...backfill(e.backfill)],
    ['verification', ...verdict(e.verification)],
    ['marked rows', count(e.marks), e.marks ? 'warn' : 'good'],
    ['tables in doubt', e['suspect-tables'].length ? e['suspect-tables'].map(({ table, count: events }) => `${table || 'not named'} (${count(events)})`).join(', ') : 'none', e['suspect-tables'].length ? 'bad' : 'good'],
    ['every write checked', e['full-checks-since'] ? 'yes' : 'a sample', e['full-checks-since'] ? 'good' : ''],
    ['suspects', e.suspects.length ? count(e.suspects.length) : 'none', e.suspects.length ? 'bad' : 'good'],
  ];
  return [
    heading('The next gate', status.gate.go ? 'open' : 'shut'),
    status.gate.go
      ? note('good', h('b', {}, 'Open. '), 'Nothing that can be seen stands in the way.')
      : h('ul', { class: 'blockers' }, status.gate.blockers.map((blocker) => h('li', {}, rich(blocker.detail), ' ', h('a', { href: blocker.runbook }, `what to do: ${blocker.code}`)))),
    status.gate.cautions.map((caution) => note('warn', ...rich(caution))),
    h('dl', { class: 'facts' }, rows.map(([what, text, kind]) => h('div', {}, h('dt', {}, what), h('dd', { class: kind }, text)))),
    e['bypassing-writers'].map((writer) => note('warn', h('b', {}, `${writer} `), 'writes past the library. ',
      may.act && h('button', { type: 'button', 'data-do': 'writer-paused', 'data-writer': writer }, 'it is paused'))),
  ];
};

const figures = (status) => {
  const whole = status.windows.length > 1 ? status.windows.at(-2) : status.windows.at(-1);
  const sum = (of) => status.operations.reduce((total, operation) => total + of(operation), 0);
  const c = (name) => sum((operation) => operation.comparisons[name]);
  const tile = (id, what, value, kind = '') => h('div', { class: `tile ${kind}` }, h('dt', {}, what), h('dd', { id }, value));
  const mismatched = c('mismatched');
  return h('dl', { class: 'tiles' },
    tile('source-calls', 'source, calls timed in a minute', count(sum((o) => o.source.calls)), 'source'),
    tile('source-p99', 'source p99', duration(whole?.source['p99-us']), 'source'),
    tile('target-calls', 'target, calls timed in a minute', count(sum((o) => o.target.calls)), 'target'),
    tile('target-p99', 'target p99', duration(whole?.target['p99-us']), 'target'),
    tile('compared', 'reads compared in a minute', count(c('compared'))),
    tile('mismatched', 'of these, different', count(mismatched), mismatched ? 'bad' : 'good'));
};

const bar = (comparisons) => {
  const all = Math.max(1, comparisons.matched + comparisons.mismatched + comparisons.unknown);
  let left = 0;
  return h('svg', { class: 'bar', viewBox: '0 0 100 6', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    h('rect', { class: 'rail', width: 100, height: 6 }),
    ['mismatched', 'unknown', 'matched'].map((name) => {
      // What is there is seen, however little it is.
      const width = comparisons[name] ? Math.max(1, (100 * comparisons[name]) / all) : 0;
      const part = h('rect', { class: name, x: left, width, height: 6 });
      left += width;
      return width > 0 ? part : null;
    }));
};

const table = (name, heads, rows) => h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': name }, h('table', {},
  h('thead', {}, h('tr', {}, heads.map((text) => h('th', { scope: 'col', class: /^(p|calls|errors|compared|matched|mism|unknown|marks)/.test(text) ? 'n' : null }, text)))),
  h('tbody', {}, rows)));
const cell = (text, kind) => h('td', { class: kind }, text);

const looked = (operation) => operation.comparisons.compared + operation.comparisons.unknown > 0;

const compared = (status) => [
  heading('Reads of both sides', 'last minute'),
  !status.operations.some(looked)
    ? note('', 'No read was compared in the last minute: comparing begins at shadow.')
    : table('operations', ['operation', 'compared', 'matched', 'mismatched', 'unknown', ' '], status.operations.filter(looked).map((o) => h('tr', {}, cell(o.operation),
      cell(count(o.comparisons.compared), 'n'), cell(count(o.comparisons.matched), 'n'),
      cell(count(o.comparisons.mismatched), o.comparisons.mismatched ? 'n bad' : 'n'), cell(count(o.comparisons.unknown), o.comparisons.unknown ? 'n warn' : 'n'),
      h('td', { class: 'wide' }, bar(o.comparisons))))),
  status.operations.length > 0 && h('details', {}, h('summary', {}, 'calls, latencies and errors of each operation'),
    table('latencies', ['operation', 'side', 'calls timed', 'p50', 'p99', 'errors'], status.operations.flatMap((o) => ['source', 'target'].map((side) => h('tr', {},
      cell(o.operation), cell(side, `key ${side}`), cell(count(o[side].calls), 'n'), cell(duration(o[side]['p50-us']), 'n'), cell(duration(o[side]['p99-us']), 'n'),
      cell(count(o[side].errors), o[side].errors ? 'n bad' : 'n')))))),
  status.mismatches.length > 0 && [
    h('h3', {}, 'Reads that differed, newest first'),
    h('ul', { class: 'samples' }, status.mismatches.slice(-8).reverse().map((sample) => h('li', {},
      h('span', { class: 'soft' }, moment(sample['at-ms'])), h('b', {}, sample.operation), h('code', {}, sample['key-digest']),
      h('span', {}, sample.fields.map((field) => chip(field, 'bad'))),
      sample.values && h('span', { class: 'values' }, h('code', { class: 'source' }, sample.values[0]), h('code', { class: 'target' }, sample.values[1]))))),
  ],
];

const runs = (status) => status.runs.length > 0 && [
  heading('Runs'),
  status.runs.map((run) => {
    const { done = 0, total = 0, rate = 0, note: text = '' } = run.progress ?? {};
    const share = total > 0 ? Math.min(100, (100 * done) / total) : 0;
    const left = rate > 0 && total > done ? `, ${seconds((total - done) / rate)} left` : '';
    return h('div', { class: 'run' },
      h('p', {}, h('b', {}, run.kind), ` ${text}`, h('span', { class: 'soft' }, ` ${run.host ? `on ${run.host}, ` : ''}${run.instance}`)),
      h('progress', { max: 100, value: share, 'aria-label': `${run.kind} ${run.instance}` }),
      h('p', { class: 'soft' }, `${count(done)}${total ? ` of ${count(total)}` : ''} rows, ${count(rate)} rows/s${left}`, run.silent && h('b', { class: 'bad' }, ' silent')));
  }),
];

const MOST = 50;
const instances = (all) => {
  if (!all) return null;
  const rank = (one) => (one.silent ? 0 : one.current ? 2 : 1);
  const sorted = [...all.instances].sort((a, b) => rank(a) - rank(b) || a.instance.localeCompare(b.instance));
  const said = (one) => (one.current ? chip('acknowledged', 'good') : chip(one.acknowledged ? `still at ${one.acknowledged.split('.')[1]}` : 'nothing yet', 'warn'));
  const life = (one) => (one.silent ? chip(`silent for ${seconds(one['heard-ms-ago'] / 1e3)}`, 'bad') : chip(one.connected || one.kind !== 'application' ? 'heard of' : 'no stream', one.connected || one.kind !== 'application' ? '' : 'warn'));
  return [
    heading('Instances', `revision ${all.revision.split('.')[1]}`),
    sorted.length === 0
      ? note('', 'Nobody runs this migration yet: build it with plan::server in the application.')
      : table('instances', ['instance', 'kind', 'on', 'revision', 'life', 'marks'], sorted.slice(0, MOST).map((one) => h('tr', {},
        cell(one.instance), cell(one.kind), cell(one.host || '–'), h('td', {}, said(one)), h('td', {}, life(one)), cell(count(one.marks), one.marks ? 'n warn' : 'n')))),
    sorted.length > MOST && h('p', { class: 'soft' }, `and ${count(sorted.length - MOST)} more, in good order`),
  ];
};

const history = (entries) => entries && [
  heading('History', 'newest first'),
  h('ol', { class: 'history' }, entries.map((entry) => h('li', {},
    h('time', { datetime: new Date(entry['at-ms']).toISOString() }, moment(entry['at-ms'])), h('b', { title: entry.by }, entry.by), h('span', {}, entry.text)))),
];

/** Everything of one migration that moves. */
export const show = ({ status, all, id, may, cursor, instances: known, entries }) => {
  put('list', list(all, id));
  if (!status) return;
  put('head', head(status));
  put('attention', attention(status, may));
  put('ladder', ladder(status));
  put('switches', switches(status));
  put('gate', gate(status, may));
  put('figures', figures(status));
  put('charts', charts(status.windows, cursor));
  put('reads', compared(status));
  put('runs', runs(status));
  put('instances', instances(known));
  put('history', history(entries));
};
