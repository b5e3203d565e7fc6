// Small charts of the last minutes: two lines, or bars, on one scale that begins at zero.

import { h, count, duration, moment } from './dom.js';

const SPAN = 600_000;
const [WIDTH, HEIGHT] = [600, 120];

/** The next round number above: 1, 2, 5 times a power of ten. */
const round = (value) => {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map((step) => step * power).find((top) => top >= value);
};

/** A path through the points; a window without a value is a gap, a point alone is a short dash. */
const path = (points) => {
  let pen = 'M';
  let text = '';
  points.forEach((point, at) => {
    if (!point) { pen = 'M'; return; }
    const [x, y] = point.map((value) => value.toFixed(1));
    text += `${pen}${x} ${y}`;
    if (pen === 'M' && !points[at + 1]) text += 'h2';
    pen = 'L';
  });
  return text;
};

const chart = ({ id, title, note, windows, cursor, unit, series, bars }) => {
  const now = windows.at(-1)['at-ms'] + 5_000;
  const from = Math.max(now - SPAN, Math.min(windows[0]['at-ms'], now - 60_000));
  const x = (at) => ((at - from) / (now - from)) * WIDTH;
  const seen = windows.filter((window) => window['at-ms'] >= from);
  const top = round(Math.max(1, ...seen.flatMap((window) => series.map(({ of }) => of(window) ?? 0))));
  const y = (value) => HEIGHT - (value / top) * HEIGHT;
  const at = cursor === null ? seen.length - 1 : Math.min(Math.max(cursor, 0), seen.length - 1);
  const shown = seen[at];
  const drawn = series.map(({ name, of }) => {
    if (!bars) {
      const points = seen.map((window) => { const value = of(window); return value === null || value === undefined ? null : [x(window['at-ms']), y(value)]; });
      return h('path', { class: `line ${name}`, d: path(points) });
    }
    return seen.map((window, n) => {
      const value = of(window) ?? 0;
      const left = x(window['at-ms']);
      const width = Math.max(1.5, ((seen[n + 1] ? x(seen[n + 1]['at-ms']) : WIDTH) - left) / series.length - 0.8);
      const shift = series.findIndex((one) => one.name === name) * (width + 0.4);
      return value > 0 ? h('rect', { class: name, x: (left + shift).toFixed(1), y: y(value).toFixed(1), width: width.toFixed(1), height: (HEIGHT - y(value)).toFixed(1) }) : null;
    });
  });
  const minutes = Math.round((now - from) / 60_000);
  return h('figure', { class: 'chart', id },
    h('figcaption', {}, h('strong', {}, title), note && h('span', { class: 'soft' }, ` ${note}`)),
    h('p', { class: 'readout' }, series.map(({ name, of, label }) => h('span', { class: `key ${name}` }, `${label ?? name} `, h('b', {}, unit(of(shown))))),
      h('span', { class: 'soft' }, cursor === null ? 'now' : moment(shown['at-ms']))),
    h('div', { class: 'plot' },
      h('div', { class: 'scale', 'aria-hidden': 'true' }, h('span', {}, unit(top)), h('span', {}, unit(top / 2)), h('span', {}, '0')),
      h('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', tabindex: '0', 'data-chart': id,
        'aria-label': `${title}, last ${minutes} minutes; ${series.map(({ name, of, label }) => `${label ?? name} ${unit(of(shown))}`).join(', ')}. Arrow keys look back.` },
      [0, HEIGHT / 2, HEIGHT].map((line) => h('line', { class: 'grid', x1: 0, x2: WIDTH, y1: line, y2: line })),
      drawn,
      cursor !== null && h('line', { class: 'cursor', x1: x(shown['at-ms']).toFixed(1), x2: x(shown['at-ms']).toFixed(1), y1: 0, y2: HEIGHT }))),
    h('p', { class: 'axis soft', 'aria-hidden': 'true' }, h('span', {}, `${minutes} min ago`), h('span', {}, 'now')));
};

/** The newest window is still being filled: it would look like a fall. */
const ended = (windows) => windows.slice(0, -1);

/** What a reader of the charts sees: both sides' latencies and errors, and what comparisons came to. */
export const charts = (filling, cursor) => {
  const windows = ended(filling);
  if (windows.length < 2) return [h('p', { class: 'soft' }, 'Charts begin when the first numbers have come in: give it some seconds.')];
  const sides = (of) => ['source', 'target'].map((side) => ({ name: side, of: (window) => of(window[side]) }));
  const all = { windows, cursor };
  return [
    chart({ ...all, id: 'p50', title: 'p50 latency', note: 'half of the calls are faster', unit: duration, series: sides((side) => side['p50-us']) }),
    chart({ ...all, id: 'p99', title: 'p99 latency', note: '99 of 100 are faster', unit: duration, series: sides((side) => side['p99-us']) }),
    chart({ ...all, id: 'errors', title: 'Errors', note: 'in 5 s', unit: count, bars: true, series: sides((side) => side.errors) }),
    chart({ ...all, id: 'differing', title: 'Compared reads', note: 'in 5 s', unit: count, bars: true, series: [
      { name: 'mismatched', of: (window) => window.comparisons.mismatched },
      { name: 'unknown', of: (window) => window.comparisons.unknown },
      { name: 'matched', of: (window) => window.comparisons.matched },
    ] }),
  ];
};

/** Which window a place on a chart belongs to. */
export const windowAt = (all, share) => {
  const windows = ended(all);
  const now = windows.at(-1)['at-ms'] + 5_000;
  const from = Math.max(now - SPAN, Math.min(windows[0]['at-ms'], now - 60_000));
  const seen = windows.filter((window) => window['at-ms'] >= from);
  const at = from + share * (now - from);
  return seen.reduce((best, window, n) => (Math.abs(window['at-ms'] - at) < Math.abs(seen[best]['at-ms'] - at) ? n : best), 0);
};
