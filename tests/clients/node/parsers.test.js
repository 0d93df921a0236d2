// Somebody else's parsers of server-sent events, on what the server really writes.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { EventSource } from 'eventsource';
import { createParser } from 'eventsource-parser';

import { truth } from '../upstream.js';
import { startServer } from './server.js';

let server;

before(async () => {
  server = await startServer({ HEARTBEAT: '50ms' });
});

after(() => server.stop());

const post = (body) =>
  fetch(`${server.base}/v1/responses`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'truth', stream: true, ...body }),
  });

/** Feeds `bytes` to eventsource-parser in chunks of `size`. */
function parse(bytes, size) {
  const events = [];
  const parser = createParser({
    onEvent: (event) => events.push(event),
    onError: (error) => assert.fail(error),
  });
  const decoder = new TextDecoder('utf-8', { fatal: true });
  for (let start = 0; start < bytes.length; start += size) {
    parser.feed(decoder.decode(bytes.subarray(start, start + size), { stream: true }));
  }
  return events;
}

/** Follows with an EventSource until it is told to stop; returns what it was told. */
function follow(url, onMessage = () => {}) {
  return new Promise((resolve, reject) => {
    const source = new EventSource(url);
    const told = [];
    source.onmessage = (message) => {
      told.push({ id: message.lastEventId, event: JSON.parse(message.data) });
      onMessage(told);
    };
    source.onerror = (error) => {
      if (source.readyState !== EventSource.CLOSED) return;
      if (error.code === 204) resolve(told);
      else reject(new Error(`${error.code} ${error.message}`));
    };
  });
}

const textOf = (told) => told.filter(({ event }) => event.type === 'response.output_text.delta').map(({ event }) => event.delta).join('');

describe('eventsource-parser', () => {
  test('reads a stream in chunks of any size', async () => {
    const bytes = new Uint8Array(await (await post({ input: 'Say 25 words slowly.' })).arrayBuffer());
    const whole = parse(bytes, bytes.length);
    assert.equal(whole.at(-1).data, '[DONE]');
    const events = whole.slice(0, -1).map(({ event, id, data }) => ({ event, id, data: JSON.parse(data) }));
    for (const { event, id, data } of events) assert.deepEqual([event, id], [data.type, undefined]);
    assert.equal(textOf(events.map(({ data }) => ({ event: data }))), truth('25 words'));
    for (const size of [1, 2, 3, 7, 64, 1000]) assert.deepEqual(parse(bytes, size), whole, `in chunks of ${size}`);
  });

  test('sees comments while the upstream is silent, and nothing else', async () => {
    const comments = [];
    const events = [];
    const parser = createParser({
      onComment: (comment) => comments.push(comment),
      onEvent: (event) => events.push(event),
      onError: (error) => assert.fail(error),
    });
    parser.feed(await (await post({ input: 'Say 2 words after a pause.' })).text());
    assert.ok(comments.length >= 3, `${comments.length} comments in half a second`);
    assert.equal(events.at(-1).data, '[DONE]');
  });
});

describe('eventsource', () => {
  test('follows a reply over a kill and a restart by itself, and stops when it has it all', async () => {
    const stream = await post({ input: 'Say 40 words slowly.' });
    const id = stream.headers.get('x-response-id');
    await stream.body.cancel();
    let killed;
    const told = await follow(`${server.base}/v1/responses/${id}/events`, (told) => {
      if (told.length === 12) killed = server.kill().then(() => server.start());
    });
    await killed;
    assert.deepEqual(told.map(({ event }) => event.sequence_number), told.map((_, place) => place));
    assert.deepEqual(told.map(({ id }) => id), told.map((_, place) => String(place)));
    assert.equal(textOf(told), truth('40 words'));
  });

  test('follows a conversation over its turns', async () => {
    const made = await fetch(`${server.base}/v1/conversations`, { method: 'POST' });
    const { id } = await made.json();
    const source = new EventSource(`${server.base}/v1/conversations/${id}/events`);
    const told = [];
    const twoTurns = new Promise((resolve) => {
      source.onmessage = (message) => {
        told.push({ id: message.lastEventId, event: JSON.parse(message.data) });
        if (told.filter(({ event }) => event.type === 'response.completed').length === 2) resolve();
      };
    });
    await new Promise((resolve) => source.addEventListener('open', resolve));
    for (const input of ['Say 3 words.', 'Say 4 words.']) await (await post({ input, conversation: id })).text();
    await twoTurns;
    source.close();
    assert.equal(textOf(told), truth('3 words') + truth('4 words'));
    const ids = told.filter(({ event }) => 'sequence_number' in event).map(({ id }) => id);
    for (const id of ids) assert.match(id, /^\d+\.\d+$/);
    assert.equal(new Set(ids).size, ids.length);
  });
});
