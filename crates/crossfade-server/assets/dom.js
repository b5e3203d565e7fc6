// Nodes from plain values, and a way to make what is on the page look like another tree.

const DRAWN = new Set(['svg', 'g', 'path', 'rect', 'line', 'circle', 'polygon', 'polyline', 'title']);

/** A node: name, attributes (none, null and false are left out), children. */
export const h = (name, attributes = {}, ...children) => {
  const node = DRAWN.has(name) ? document.createElementNS('http://www.w3.org/2000/svg', name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) node.setAttribute(key, value === true ? '' : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return node;
};

const kept = (node, name) => node.nodeName === 'DETAILS' && name === 'open';

/** Changes `old` into `fresh`. Nodes that stay are kept: focus, selection and scroll survive an update. */
const become = (old, fresh) => {
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !kept(old, name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const before = [...old.childNodes];
  const after = [...fresh.childNodes];
  after.forEach((wanted, at) => {
    const there = before[at];
    if (!there) old.append(wanted);
    else if (there.nodeName !== wanted.nodeName || there.id !== wanted.id) there.replaceWith(wanted);
    else if (wanted.nodeType !== Node.TEXT_NODE) become(there, wanted);
    else if (there.data !== wanted.data) there.data = wanted.data;
  });
  before.slice(after.length).forEach((node) => node.remove());
};

/** Puts these children into the element of this id, changing no more than differs. */
export const put = (id, ...children) => {
  const old = document.getElementById(id);
  const fresh = old.cloneNode(false);
  fresh.append(...children.flat(Infinity).filter(Boolean));
  fresh.hidden = !fresh.hasChildNodes();
  become(old, fresh);
};

/** Text in which `this` is shown as code. */
export const rich = (text) => text.split('`').map((part, at) => (at % 2 ? h('code', {}, part) : part));

export const number = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
export const count = (value) => number.format(value ?? 0);
export const percent = (value) => `${new Intl.NumberFormat('en', { maximumFractionDigits: 3 }).format(value)} %`;
export const duration = (us) => {
  if (us === null || us === undefined) return '–';
  if (us < 1_000) return `${Math.round(us)} µs`;
  return us < 10_000 ? `${(us / 1e3).toFixed(1)} ms` : us < 1e6 ? `${Math.round(us / 1e3)} ms` : `${(us / 1e6).toFixed(1)} s`;
};
export const seconds = (s) => (s < 90 ? `${Math.round(s)} s` : s < 5_400 ? `${Math.round(s / 60)} min` : `${(s / 3_600).toFixed(1)} h`);
export const moment = (ms) => {
  const at = new Date(ms);
  const time = at.toLocaleTimeString('en-GB');
  return at.toDateString() === new Date().toDateString() ? time : `${at.toISOString().slice(0, 10)} ${time}`;
};
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
