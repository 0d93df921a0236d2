// The real server as a child process: on a port and a data directory of its own, killed at the end of the test.

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { startUpstream } from '../upstream.js';

/** Starts an upstream and a server before it, until `stop()`. */
export async function startServer(env = {}) {
  const binary = process.env.REJOINDER_BIN;
  if (!binary) throw new Error('REJOINDER_BIN names the server to test');
  const upstream = await startUpstream();
  const directory = await mkdtemp(join(tmpdir(), 'rejoinder-'));
  const server = new Server(binary, directory, upstream, {
    HOST: '127.0.0.1',
    PORT: '0',
    LLM_BASE_URL: upstream.url,
    LLM_MODEL: 'truth',
    ...env,
  });
  await server.start();
  return server;
}

class Server {
  #binary;
  #directory;
  #env;
  #child;
  #output = [];

  constructor(binary, directory, upstream, env) {
    this.#binary = binary;
    this.#directory = directory;
    this.upstream = upstream;
    this.#env = env;
  }

  /** Starts it and waits for the line with its address. */
  async start() {
    const env = { PATH: process.env.PATH, DATA_DIR: join(this.#directory, 'data'), ...this.#env };
    this.#child = spawn(this.#binary, { cwd: this.#directory, env, stdio: ['ignore', 'pipe', 'pipe'] });
    createInterface(this.#child.stderr).on('line', (line) => this.#output.push(line));
    const lines = createInterface(this.#child.stdout);
    this.base = await new Promise((resolve, reject) => {
      lines.on('line', (line) => {
        this.#output.push(line);
        const found = /http:\/\/127\.0\.0\.1:(\d+)/.exec(line);
        if (found) resolve(found[0]);
      });
      lines.on('close', () => reject(new Error(`it did not start:\n${this.#output.join('\n')}`)));
    });
    // From now on it stays where its clients look for it.
    this.#env.PORT = new URL(this.base).port;
  }

  /** `kill -9`, and waits until it is gone. */
  async kill() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await gone;
  }

  async stop() {
    await this.kill();
    this.upstream.stop();
    await rm(this.#directory, { recursive: true, force: true });
  }
}
