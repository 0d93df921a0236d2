// The openai SDK's own client of `/v1/responses` as a WebSocket: replies one after the other, in lanes, and again after a
// kill, when it comes back by itself.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import OpenAI from 'openai';
import { ResponsesWS } from 'openai/resources/responses/ws';

import { truth } from '../upstream.js';
import { startServer } from './server.js';

let server;
let client;

before(async () => {
  server = await startServer();
  client = new OpenAI({ baseURL: `${server.base}/v1`, apiKey: 'unused' });
});

after(() => server.stop());

/** The events of a connection, one after the other. */
async function* messages(socket) {
  for await (const event of socket.stream()) {
    if (event.type === 'message') yield event.message;
    if (event.type === 'error' && event.error.error) yield event.error.error;
  }
}

const isLast = ({ type }) => ['response.completed', 'response.incomplete', 'response.failed', 'error'].includes(type);

async function reply(events) {
  let text = '';
  for (;;) {
    const { value: event, done } = await events.next();
    assert.ok(!done, 'the connection ended');
    if (event.type === 'response.output_text.delta') text += event.delta;
    if (isLast(event)) return { text, last: event };
  }
}

describe('the openai SDK over a WebSocket', () => {
  test('has replies that follow each other, without storing them', async () => {
    const socket = new ResponsesWS(client);
    const events = messages(socket);
    socket.send({ type: 'response.create', model: 'truth', input: 'Say 9 words.', store: false });
    const first = await reply(events);
    assert.equal(first.text, truth('9 words'));
    const previous_response_id = first.last.response.id;
    socket.send({ type: 'response.create', model: 'truth', input: 'Say 4 words.', store: false, previous_response_id });
    assert.equal((await reply(events)).text, truth('4 words'));
    const asked = server.upstream.requests.at(-1).messages.map((message) => message.content);
    assert.deepEqual(asked, ['Say 9 words.', truth('9 words'), 'Say 4 words.']);
    socket.close();
    const again = new ResponsesWS(client);
    const other = messages(again);
    again.send({ type: 'response.create', model: 'truth', input: 'Say 3 words.', store: false, previous_response_id });
    const { last } = await reply(other);
    assert.deepEqual([last.status, last.error.code], [400, 'previous_response_not_found']);
    again.close();
  });

  test('has lanes', async () => {
    const socket = new ResponsesWS(client);
    socket.send({ type: 'response.create', model: 'truth', input: 'Say 30 words slowly.', stream_id: 'slow' });
    socket.send({ type: 'response.create', model: 'truth', input: 'Say 5 words.', stream_id: 'quick' });
    const texts = { slow: '', quick: '' };
    const ends = [];
    for await (const event of messages(socket)) {
      if (event.type === 'response.output_text.delta') texts[event.stream_id] += event.delta;
      if (isLast(event) && ends.push(event.stream_id) === 2) break;
    }
    assert.deepEqual([texts.slow, texts.quick, ends], [truth('30 words'), truth('5 words'), ['quick', 'slow']]);
    socket.close();
  });

  test('goes on by HTTP with what a kill broke off', async () => {
    const socket = new ResponsesWS(client);
    socket.send({ type: 'response.create', model: 'truth', input: 'Say 40 words slowly.' });
    let [id, after, text] = [undefined, 0, ''];
    for await (const event of messages(socket)) {
      id ??= event.response?.id;
      after = event.sequence_number;
      text += event.delta ?? '';
      if (text.split(' ').length === 6) await server.kill();
    }
    await server.start();
    for await (const event of await client.responses.retrieve(id, { stream: true, starting_after: after })) {
      if (event.type === 'response.output_text.delta') text += event.delta;
    }
    assert.equal(text, truth('40 words'));
  });
});
