// Webhooks, by the openai SDK: it makes endpoints, and reads and verifies what is posted to them.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';

import OpenAI from 'openai';

import { startServer } from './server.js';

const types = ['response.completed', 'response.failed', 'response.incomplete', 'response.cancelled'];

let server;
let client;
let hook;
const posted = [];

before(async () => {
  server = await startServer({ WEBHOOK_ALLOW_PRIVATE: 'on' });
  client = new OpenAI({ baseURL: `${server.base}/v1`, apiKey: 'unused', maxRetries: 0 });
  hook = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    posted.push({ body, headers: request.headers });
    hook.emit('posted');
    response.writeHead(204).end();
  });
  hook.listen(0, '127.0.0.1');
  await once(hook, 'listening');
});

after(async () => {
  hook.closeAllConnections();
  hook.close();
  await server.stop();
});

const next = async () => {
  while (posted.length === 0) await once(hook, 'posted');
  return posted.shift();
};

test('it unwraps what is posted', async () => {
  const url = `http://127.0.0.1:${hook.address().port}/hook`;
  const endpoint = await client.webhooks.create({ name: 'mine', url, event_types: types });
  const response = await client.responses.create({ model: 'truth', input: 'Say 3 words.' });
  const { body, headers } = await next();
  const event = await client.webhooks.unwrap(body, headers, endpoint.signing_secret);
  assert.deepEqual([event.type, event.data.id], ['response.completed', response.id]);
  await assert.rejects(client.webhooks.unwrap(`${body} `, headers, endpoint.signing_secret), OpenAI.InvalidWebhookSignatureError);

  const rotated = await client.webhooks.rotateSecret(endpoint.id, { keep_old_secret_active_for_24_hours: true });
  const tested = await client.webhooks.test(endpoint.id, { event_type: 'response.failed' });
  assert.equal(tested.status_code, 204);
  const both = await next();
  for (const secret of [endpoint.signing_secret, rotated.signing_secret]) {
    assert.equal((await client.webhooks.unwrap(both.body, both.headers, secret)).type, 'response.failed');
  }
  assert.deepEqual((await client.webhooks.eventTypes.list()).data, types);
  assert.equal((await client.webhooks.delete(endpoint.id)).deleted, true);
  await assert.rejects(client.webhooks.retrieve(endpoint.id), OpenAI.NotFoundError);
});
