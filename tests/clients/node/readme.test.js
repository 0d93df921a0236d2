// README's loop that rejoins by itself, run as it stands there: against a server that is killed, and on a connection that
// is cut before the reply has so much as a name.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { readmeBlock, substitute } from '../readme.js';
import { truth } from '../upstream.js';
import { startServer } from './server.js';

const SLOW = 'Say 30 words slowly.';

let server;

beforeEach(async () => {
  server = await startServer();
});

afterEach(() => server.stop());

/** Runs README's loop until it ends; `onOutput` sees what it has printed so far. */
async function runLoop(t, base, prompt, onOutput = () => {}) {
  const code = substitute(await readmeBlock('Rejoin by yourself', 'js'), {
    'http://127.0.0.1:8080': base,
    "'eliza'": "'truth'",
    'I am sad about my mother.': prompt,
  });
  const directory = await mkdtemp(join(tmpdir(), 'rejoinder-readme-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  await symlink(fileURLToPath(new URL('../node_modules', import.meta.url)), join(directory, 'node_modules'));
  await writeFile(join(directory, 'loop.mjs'), code);
  const child = spawn(process.execPath, ['loop.mjs'], { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => child.kill('SIGKILL'));
  const said = { text: '', errors: '' };
  child.stdout.setEncoding('utf8').on('data', (piece) => onOutput((said.text += piece)));
  child.stderr.setEncoding('utf8').on('data', (piece) => (said.errors += piece));
  const status = await new Promise((resolve) => child.once('close', resolve));
  return { status, ...said };
}

/** Between a client and the server: cuts each connection of a client as `cut` says when the server answers on it. */
async function startCutter(t, cut) {
  const proxy = createServer((client) => {
    const { hostname, port } = new URL(server.base);
    const behind = connect(Number(port), hostname);
    const end = () => [client, behind].forEach((socket) => socket.destroy());
    client.pipe(behind);
    behind.on('data', (bytes) => (cut(bytes) ? end() : client.write(bytes)));
    for (const socket of [client, behind]) socket.on('error', end).on('close', end);
  });
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  t.after(() => proxy.close());
  return `http://127.0.0.1:${proxy.address().port}`;
}

describe("README's loop in Node", { timeout: 120_000 }, () => {
  test('says the whole reply once, though the server is killed in the middle of it', async (t) => {
    let restarted;
    const said = await runLoop(t, server.base, SLOW, (text) => {
      if (text.includes('wörd005')) restarted ??= server.kill().then(() => server.start());
    });
    await restarted;
    assert.deepEqual(said, { status: 0, text: truth(SLOW), errors: '' });
    assert.equal(server.upstream.requests.length, 2, 'the reply was gone on with in the middle');
  });

  test('joins its own reply when the connection is cut before the first event', async (t) => {
    let cuts = 0;
    const base = await startCutter(t, () => cuts++ === 0);
    assert.deepEqual(await runLoop(t, base, SLOW), { status: 0, text: truth(SLOW), errors: '' });
    assert.ok(cuts > 1, 'it came again');
    assert.equal(server.upstream.requests.length, 1, 'and nothing was paid for twice');
  });

  test('says every word once, however often the connection is cut', async (t) => {
    let pieces = 0;
    const base = await startCutter(t, () => ++pieces % 4 === 0);
    assert.deepEqual(await runLoop(t, base, SLOW), { status: 0, text: truth(SLOW), errors: '' });
    assert.ok(pieces > 8, `it was cut more than once, in ${pieces} pieces`);
    assert.equal(server.upstream.requests.length, 1);
  });

  test('ends with the error of a reply that failed', async (t) => {
    const failing = await startServer({ LLM_CONTINUATION: 'off' });
    t.after(() => failing.stop());
    const said = await runLoop(t, failing.base, 'Say 9 words, then break off.');
    assert.equal(said.status, 1);
    assert.ok(said.text && truth('9 words').startsWith(said.text), said.text);
    assert.match(said.errors, /APIError/);
  });

  test('ends with the error of a request that is refused', async (t) => {
    const said = await runLoop(t, `${server.base}/nowhere`, SLOW);
    assert.equal(said.status, 1);
    assert.match(said.errors, /NotFoundError/);
  });
});
