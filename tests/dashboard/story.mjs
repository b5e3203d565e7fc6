// An operator's day at the dashboard, in Chromium. Each check says what it saw; the last line sums up.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { Stage, until } from './stage.mjs';
import { lowContrast } from './contrast.mjs';

const [root, folder] = process.argv.slice(2);
const pictures = process.env.CROSSFADE_SCREENSHOTS ? `${root}/docs/guide/images` : null;
if (pictures) mkdirSync(pictures, { recursive: true });

const stage = new Stage(root, folder);
await stage.serve();
await stage.member('events', 'events-1', '--part', '0/2', '--load');
await stage.member('events', 'events-2', '--part', '1/2');
await stage.member('bookings', 'bookings-1', '--wrong-one-in', '25', '--load');
for (const id of ['events', 'bookings']) {
  await stage.command('ramp', id, 'dual-write');
  await stage.command('backfill', id);
}
await stage.command('ramp', 'bookings', 'shadow');

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox'] });

/** Everything that a page may not do, as it happens. */
const complaints = [];
const open = async (options = {}) => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, colorScheme: 'light', ...options });
  await context.addInitScript(() => document.addEventListener('securitypolicyviolation', (event) => console.error(`content security policy: ${event.violatedDirective} ${event.blockedURI}`)));
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  page.expected = [];
  page.on('console', (message) => {
    const text = `${message.text()} ${message.location().url}`;
    if (['error', 'warning'].includes(message.type()) && !page.expected.some((known) => text.includes(known))) complaints.push(text);
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  await page.goto(stage.url);
  return page;
};
const enter = async (page, token = stage.token) => {
  await page.fill('#token', token);
  await page.keyboard.press('Enter');
  await page.waitForSelector('#page:not([hidden])');
};
const go = async (page, id) => {
  await page.click(`#list a[href="#${id}"]`);
  await page.waitForSelector(`#position:has-text("${id}")`);
};
const says = (page, selector, text) => page.waitForFunction(([where, what]) => document.querySelector(where)?.textContent.includes(what), [selector, text]);
const text = (page, selector) => page.textContent(selector);
const propose = async (page, towards, percent) => {
  await page.selectOption('#stage', towards);
  await page.fill('#percent', String(percent));
  await page.click('#ramp button[type=submit]');
  await page.waitForSelector('#ask[open]');
  return text(page, '#ask');
};
const picture = (page, name) => (pictures ? page.screenshot({ path: `${pictures}/${name}.png` }) : null);

let passed = 0;
const failures = [];
const check = async (name, look) => {
  try {
    await look();
    passed += 1;
    console.log(`ok      ${name}`);
  } catch (error) {
    failures.push(name);
    console.log(`FAILED  ${name}\n        ${error.stack}`);
  }
};

let page = await open();

await check('a wrong token is refused, the right one logs in, by keyboard alone', async () => {
  page.expected = ['/session'];
  await page.waitForSelector('#login:not([hidden])');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'token');
  await page.keyboard.type('cf_000000000000_wrong');
  await page.keyboard.press('Enter');
  await says(page, '#login-error', 'not known');
  assert.ok(await page.isHidden('#page'));
  await enter(page);
  page.expected = [];
  await says(page, '#who', 'admin');
  await says(page, '#connection', 'live');
  assert.equal(await page.inputValue('#token'), '', 'the token does not stay on the page');
});

await check('the ladder shows where the keys are', async () => {
  await go(page, 'events');
  const rungs = await page.$$eval('.rungs .name', (all) => all.map((rung) => rung.textContent));
  assert.deepEqual(rungs, ['off', 'dual-write100 %', 'shadow', 'live', 'ramp-down', 'complete']);
  const here = await page.innerText('.rungs [aria-current=step]');
  assert.match(here, /write\s+read/);
  assert.match(await text(page, '#head'), /The source answers every key\. 2 instances, all on revision \d+\./);
  assert.match(await text(page, '#switches'), /writes reach the target100 %reads reach the target0 %/);
});

await check('a ramp is previewed, and taken by every instance', async () => {
  const preview = await propose(page, 'shadow', 12.5);
  assert.match(preview, /12\.5 % of keys will read the target/);
  assert.match(preview, /way back: yes, free/);
  await page.click('#go');
  await page.waitForSelector('#ask:not([open])', { state: 'attached' });
  await says(page, '#position', '12.5 % of keys at shadow');
  await says(page, '#head', '2 instances, all on');
  await says(page, '#switches', 'reads reach the target12.5 %');
  await says(page, '#history', 'first-admin');
});

await check('numbers move while nobody touches the page', async () => {
  const born = await page.evaluate(() => { window.same = true; return document.getElementById('compared').textContent; });
  const second = await until('compared reads move', async () => { const now = await text(page, '#compared'); return now !== born && now; });
  await until('and go on moving', async () => (await text(page, '#compared')) !== second);
  assert.ok(await page.evaluate(() => window.same), 'without a reload');
  assert.match(await text(page, '#source-p99'), /µs|ms/);
  await page.waitForSelector('#charts #p99 path.line.source[d^=M]', { state: 'attached' });
  assert.equal(await text(page, '#mismatched'), '0');
});

await check('reads that differ are shown with the fields that differ, and without values', async () => {
  await go(page, 'bookings');
  await page.waitForFunction(() => Number(document.getElementById('mismatched')?.textContent) > 0);
  await says(page, '.samples', 'distance');
  assert.match(await text(page, '.samples'), /events_of[0-9a-f]{16}/);
  assert.equal(await page.$('.samples .values'), null);
});

await check('a gate that refuses names what is in the way, and where to read on', async () => {
  const refused = await propose(page, 'live', 1);
  assert.match(refused, /The gate refuses/);
  assert.match(refused, /nobody has compared every row/);
  assert.ok(await page.isDisabled('#go'));
  await picture(page, 'gate');
  const link = await page.getAttribute('#ask .blockers a', 'href');
  const runbook = await page.request.get(stage.url + link);
  assert.ok(runbook.ok() && (await runbook.text()).includes('What to do'), link);
  await page.keyboard.press('Escape');
  await page.waitForSelector('#ask:not([open])', { state: 'attached' });
  assert.match(await text(page, '#position'), /is at shadow$/);
});

await check('an edge cannot be skipped: the rule is said', async () => {
  page.expected = ['/ramp/preview'];
  await page.selectOption('#stage', 'complete');
  await page.click('#ramp button[type=submit]');
  await says(page, '#connection', 'refused');
  assert.ok(await page.isHidden('#ask'));
});

await check('a rollback is previewed and taken', async () => {
  page.expected = [];
  await page.click('#back');
  await page.waitForSelector('#ask[open]');
  assert.match(await text(page, '#ask'), /100 % of keys will no longer read the target/);
  assert.ok(await page.isHidden('#ask-force'), 'nothing to force: the gate is open');
  await page.click('#go');
  await says(page, '#position', 'is at dual-write');
});

await check('a run shows its progress, and a step waits for nobody in vain', async () => {
  await go(page, 'events');
  const ended = stage.beside('backfill', 'events', '--restart', '--rows-per-second', '800', '--chunk-rows', '40');
  await page.waitForSelector('#runs progress');
  const done = () => page.$eval('#runs progress', (bar) => bar.value).catch(() => 100);
  const first = await until('progress', async () => (await done()) > 0 && (await done()));
  await until('more progress', async () => (await done()) > first);
  assert.match(await text(page, '#runs'), /of 6,000 rows/);
  await says(page, '#instances', 'backfill');
  assert.equal(await ended, 0);
  await page.waitForSelector('#runs', { state: 'hidden' });
});

await check('authority moves through an open gate, writes of some keys held for a moment', async () => {
  await stage.command('ramp', 'events', 'shadow');
  await stage.command('verify', 'events');
  await says(page, '#gate', 'Open.');
  await says(page, '#gate', 'every row is equal');
  const preview = await propose(page, 'live', 2.5);
  assert.match(preview, /the target becomes the authority for 2\.5 % of keys/);
  assert.match(preview, /writes of 2\.5 % of keys are held/);
  assert.match(preview, /held for 6 s at the most/);
  assert.match(preview, /way back: yes, while the source is kept converged/);
  await picture(page, 'cut-over');
  await page.click('#go');
  await says(page, '#position', '2.5 % of keys at live');
  await says(page, '#head', 'The target answers 2.5 % of keys, the source the rest.');
  await says(page, '#head', '2 instances, all on');
});

await check('paused, steps are refused; resumed, they are not', async () => {
  await page.click('#pause');
  await says(page, '#attention', 'Paused.');
  await page.click('#back');
  await page.waitForSelector('#ask[open]');
  page.expected = ['/rollback'];
  await page.click('#go');
  await says(page, '#refusal', 'resume');
  page.expected = [];
  await page.click('[data-do=leave]');
  await page.click('#pause');
  await page.waitForFunction(() => !document.getElementById('attention').textContent.includes('Paused'));
});

await check('the keyboard reaches everything, and an update takes the focus from nobody', async () => {
  await page.evaluate(() => { document.activeElement.blur(); window.getSelection().removeAllRanges(); });
  await page.click('body', { position: { x: 2, y: 400 } });
  const reached = [];
  for (let n = 0; n < 40; n++) {
    await page.keyboard.press('Tab');
    const at = await page.evaluate(() => {
      const element = document.activeElement;
      if (element === document.body) return null;
      const style = getComputedStyle(element);
      return { name: element.id || element.getAttribute('class') || element.dataset.share || element.dataset.chart || element.textContent.trim(), outline: `${style.outlineStyle} ${style.outlineWidth}` };
    });
    if (at) reached.push(at);
  }
  const names = reached.map((one) => one.name);
  for (const wanted of ['skip', 'logout', 'stage', 'percent', '25', 'back', 'pause', 'p99']) assert.ok(names.includes(wanted), `${wanted} in ${names}`);
  assert.deepEqual(reached.filter((one) => !/^(solid|auto) /.test(one.outline)), [], 'a focus that is not seen');
  const submit = page.locator('#ramp button[type=submit]');
  assert.deepEqual([await page.inputValue('#stage'), await page.inputValue('#percent')], ['live', '5'], 'the next step is proposed');
  await submit.focus();
  await page.keyboard.press('Enter');
  await page.waitForSelector('#ask[open]');
  assert.ok(await page.evaluate(() => document.activeElement.closest('#ask') !== null), 'the focus is in the dialogue');
  await page.keyboard.press('Escape');
  assert.ok(await submit.evaluate((button) => document.activeElement === button), 'and returns');
  await go(page, 'bookings');
  const link = page.locator('#gate .blockers a').first();
  await link.focus();
  const before = await text(page, '#source-calls');
  await until('an update', async () => (await text(page, '#source-calls')) !== before);
  assert.ok(await link.evaluate((node) => document.activeElement === node), 'the link is still focused');
  const chart = page.locator('#p99 svg');
  await chart.focus();
  await page.keyboard.press('ArrowLeft');
  await page.waitForFunction(() => /\d\d:\d\d:\d\d/.test(document.querySelector('#p99 .readout').textContent));
  await page.keyboard.press('Escape');
  await says(page, '#p99 .readout', 'now');
});

for (const colorScheme of ['light', 'dark']) {
  await check(`every text has the contrast of WCAG AA, ${colorScheme}`, async () => {
    const other = await open({ colorScheme });
    const judge = async (where) => {
      const { seen, found } = await other.evaluate(lowContrast);
      assert.ok(seen > 5, `${seen} texts ${where}`);
      assert.deepEqual(found, [], where);
    };
    await other.waitForSelector('#login:not([hidden])');
    await judge('at the log-in');
    await enter(other);
    for (const id of ['bookings', 'events']) {
      await go(other, id);
      await says(other, '#history', 'first-admin');
      await other.$$eval('details', (all) => all.forEach((one) => { one.open = true; }));
      await judge(id);
    }
    await go(other, 'bookings');
    await propose(other, 'shadow', 50);
    await judge('in a preview');
    await other.keyboard.press('Escape');
    await other.$$eval('details', (all) => all.forEach((one) => { one.open = false; }));
    await go(other, 'events');
    if (pictures) {
      await other.waitForTimeout(colorScheme === 'light' ? 75_000 : 1_000);
      await picture(other, `dashboard-${colorScheme}`);
      await other.evaluate(() => document.getElementById('figures').scrollIntoView());
      if (colorScheme === 'light') await picture(other, 'charts');
    }
    await other.context().close();
  });
}

await check('a phone scrolls in one direction only', async () => {
  const phone = await open({ viewport: { width: 360, height: 760 }, hasTouch: true, isMobile: true });
  const sideways = () => phone.evaluate(() => document.scrollingElement.scrollWidth - document.documentElement.clientWidth);
  assert.equal(await sideways(), 0, 'at the log-in');
  await enter(phone);
  for (const id of ['events', 'bookings']) {
    await go(phone, id);
    await says(phone, '#history', 'first-admin');
    await phone.$$eval('details', (all) => all.forEach((one) => { one.open = true; }));
    assert.equal(await sideways(), 0, id);
  }
  const small = await phone.$$eval('button', (all) => all.filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < 40).map((one) => one.textContent));
  assert.deepEqual(small, [], 'what is tapped is large enough');
  await phone.$$eval('details', (all) => all.forEach((one) => { one.open = false; }));
  await phone.evaluate(() => scrollTo(0, 0));
  await picture(phone, 'phone');
  await propose(phone, 'shadow', 50);
  const box = await phone.locator('#ask').boundingBox();
  assert.ok(box.x >= 0 && box.x + box.width <= 360, JSON.stringify(box));
  await phone.context().close();
});

await check('a viewer sees everything and can do nothing', async () => {
  const issued = JSON.parse((await stage.command('--json', 'token', 'issue', 'night-watch', 'viewer')).trim().split('\n').at(-1));
  const viewer = await open();
  await enter(viewer, issued.token);
  await says(viewer, '#who', 'night-watch, viewer');
  await viewer.waitForSelector('.rungs');
  assert.ok(await viewer.isHidden('#act'));
  const doable = await viewer.$$eval('[data-do]', (all) => all.filter((one) => one.checkVisibility()).map((one) => one.dataset.do));
  assert.deepEqual(doable.filter((name) => name !== 'skip'), ['log-out']);
  await viewer.click('#logout');
  await viewer.waitForSelector('#login:not([hidden])');
  await viewer.context().close();
});

await check('a control plane that is gone is said, and asks for a log-in when it is back', async () => {
  page.expected = ['/v1/', '/session', 'net::ERR'];
  await stage.crash();
  await says(page, '#connection', 'applications keep their last plan');
  await stage.serve();
  await page.waitForSelector('#login:not([hidden])', { timeout: 30_000 });
  await enter(page);
  await go(page, 'events');
  assert.match(await text(page, '#position'), /2\.5 % of keys at live/);
  await says(page, '#head', '2 instances, all on');
});

await check('nothing was complained about: no error on the console, no violation of the policy', async () => {
  assert.deepEqual(complaints, []);
});

await browser.close();
console.log(`${passed} passed, ${failures.length} failed`);
process.exit(failures.length > 0 ? 1 : 0);
