// The ladder: six stages, one track that fades out and one that fades in, and where the keys are between them.

import { h, percent } from './dom.js';

const STAGES = ['off', 'dual-write', 'shadow', 'live', 'ramp-down', 'complete'];

/** Of a stage's four switches, how many lie on a side: the height of its track there. */
const weight = (switches, side) => (switches[`write-${side}`] ? 1 : 0) + (switches[`read-${side}`] ? 1 : 0);

const track = (rungs, side) => {
  const points = rungs.map((rung, at) => [50 + at * 100, 40 - 16 * weight(rung.switches, side)]);
  const all = [[0, points[0][1]], ...points, [600, points.at(-1)[1]]];
  let text = `M0 40L0 ${all[0][1]}`;
  for (let n = 1; n < all.length; n++) {
    const [[x0, y0], [x1, y1]] = [all[n - 1], all[n]];
    const middle = (x0 + x1) / 2;
    text += `C${middle} ${y0} ${middle} ${y1} ${x1} ${y1}`;
  }
  return `${text}L600 40Z`;
};

const fader = (ladder) => {
  // Where the middle of all keys is: at a stage, or on the way to the next.
  const place = ladder.stages.reduce((sum, rung, at) => sum + (rung.percent / 100) * (50 + at * 100), 0);
  return h('svg', { class: 'fader', viewBox: '0 0 600 44', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    h('path', { class: 'source', d: track(ladder.stages, 'source') }),
    h('path', { class: 'target', d: track(ladder.stages, 'target') }),
    h('line', { class: 'handle', x1: place.toFixed(1), x2: place.toFixed(1), y1: 0, y2: 44 }));
};

const side = (name, switches) => h('p', { class: `side ${name}` }, h('span', {}, name),
  ['write', 'read'].map((what) => {
    const on = switches[`${what}-${name}`];
    return h('span', { class: on ? 'on' : 'off' }, on ? what : '–', !on && h('span', { class: 'unseen' }, ` no ${what}`));
  }));

/** The six stages. */
export const ladder = (status) => {
  const rungs = status.ladder.stages;
  return [
    fader(status.ladder),
    h('ol', { class: 'rungs' }, h('li', { class: 'legend', 'aria-hidden': 'true' }, ['', 'source', 'target', 'answers'].map((text) => h('p', {}, text))), rungs.map((rung) => h('li', { class: rung.percent > 0 ? 'here' : null, 'aria-current': rung.percent > 0 ? 'step' : null },
      h('p', { class: 'name' }, rung.stage, h('b', {}, rung.percent > 0 ? percent(rung.percent) : '')),
      side('source', rung.switches), side('target', rung.switches),
      h('p', { class: `answers ${rung.switches.authority}` }, rung.switches.authority, h('span', { class: 'word' }, ' answers'))))),
  ];
};

/** The switches in shares of the keys. */
export const switches = (status) => {
  const l = status.ladder;
  const rows = [
    ['source', 'writes reach the source', l['write-source']],
    ['source', 'reads reach the source', l['read-source']],
    ['target', 'writes reach the target', l['write-target']],
    ['target', 'reads reach the target', l['read-target']],
    ['target', 'the target answers', l['authority-target']],
  ];
  return h('dl', { class: 'switches' }, rows.map(([name, what, share]) => h('div', {},
    h('dt', {}, what),
    h('dd', {}, h('svg', { class: 'bar', viewBox: '0 0 100 6', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
      h('rect', { class: 'rail', width: 100, height: 6 }), h('rect', { class: name, width: share, height: 6 })),
    h('b', {}, percent(share))))));
};

/** The stage that comes next, and a share to propose: the next larger one, and small where authority moves. */
export const next = (status) => {
  const here = status.ladder.stages.filter((rung) => rung.percent > 0);
  const last = STAGES.indexOf(here.at(-1).stage);
  if (here.length > 1) return { stage: STAGES[last], percent: [1, 5, 25, 50, 100].find((share) => share > here.at(-1).percent) ?? 100 };
  const stage = STAGES[Math.min(last + 1, STAGES.length - 1)];
  return { stage, percent: ['live', 'complete'].includes(stage) ? 1 : 10 };
};
