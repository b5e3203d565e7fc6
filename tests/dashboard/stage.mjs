// What the dashboard shows: a control plane and processes of the events service, started here and ended with this process.

import { spawn, execFile } from 'node:child_process';
import { readFileSync, writeFileSync, existsSync } from 'node:fs';
import { promisify } from 'node:util';

const run = promisify(execFile);
const children = [];
process.on('exit', () => children.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));

export const until = async (what, look, seconds = 30) => {
  const ends = performance.now() + seconds * 1000;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (performance.now() > ends) throw new Error(`not within ${seconds} s: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
};

export class Stage {
  constructor(root, folder) {
    Object.assign(this, { folder, crossfade: `${root}/target/debug/crossfade`, service: `${root}/target/debug/examples/service`, address: '127.0.0.1:0' });
    const migration = (id) => `[migration.${id}]\nsource = "sqlite://${folder}/${id}-source.db"\ntarget = "sqlite://${folder}/${id}-target.db"\n[migration.${id}.table.events]\ncohort = ["line"]\n`;
    writeFileSync(`${folder}/crossfade.toml`, migration('events') + migration('bookings'));
  }

  /** The control plane; a second time on the same port and file, as after a crash. */
  async serve() {
    const first = existsSync(`${this.folder}/token`) ? [] : ['--first-token-file', 'token'];
    this.plane = spawn(this.crossfade, ['--json', 'serve', '--listen', this.address, '--data', 'plane.db', '--heartbeat', '300', '--silent-after', '5000', ...first], { cwd: this.folder });
    children.push(this.plane);
    let said = '';
    this.plane.stdout.on('data', (text) => { said += text; });
    this.plane.stderr.on('data', (text) => process.stderr.write(text));
    const listening = await until('the control plane listens', () => said.includes('\n') && JSON.parse(said.split('\n')[0]));
    this.address = listening.address;
    this.url = listening.url;
    this.token = readFileSync(`${this.folder}/token`, 'utf8').trim();
  }

  crash() {
    const gone = new Promise((done) => this.plane.once('exit', done));
    this.plane.kill('SIGKILL');
    return gone;
  }

  /** A process of the service that makes traffic. */
  async member(migration, host, ...more) {
    const words = ['--server', this.url, '--token-file', 'token', '--migration', migration, '--host', host, '--per-second', '30',
      '--source', `${migration}-source.db`, '--target', `${migration}-target.db`, ...more];
    const child = spawn(this.service, words, { cwd: this.folder });
    children.push(child);
    let said = '';
    child.stdout.on('data', (text) => { said += text; });
    child.stderr.on('data', (text) => { said += text; });
    await until(`${host} serves: ${said}`, () => said.includes('serving'));
    return child;
  }

  /** A command from the shell. */
  async command(...words) {
    const environment = { ...process.env, CROSSFADE_SERVER: this.url, CROSSFADE_TOKEN: this.token };
    return (await run(this.crossfade, words, { cwd: this.folder, env: environment })).stdout;
  }

  /** One that goes on beside the story. */
  beside(...words) {
    const environment = { ...process.env, CROSSFADE_SERVER: this.url, CROSSFADE_TOKEN: this.token };
    const child = spawn(this.crossfade, words, { cwd: this.folder, env: environment, stdio: 'ignore' });
    children.push(child);
    return new Promise((done) => child.once('exit', done));
  }
}
