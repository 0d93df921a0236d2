// The openai SDK through the door of Chat Completions.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import OpenAI from 'openai';

import { truth } from '../upstream.js';
import { startServer } from './server.js';

const SLOW = 'Say 30 words slowly.';
const IMAGE = 'data:image/png;base64,iVBORw0KGgo=';
const model = 'truth';

let server;
let client;

before(async () => {
  server = await startServer();
  client = new OpenAI({ baseURL: `${server.base}/v1`, apiKey: 'unused', maxRetries: 0 });
});

after(() => server.stop());

const user = (content) => [{ role: 'user', content }];
const textOf = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');

describe('the openai SDK with chat completions', () => {
  test('creates a completion', async () => {
    const completion = await client.chat.completions.create({ model, messages: user('Say 9 words.') });
    assert.equal(completion.choices[0].message.content, truth('9 words'));
    assert.equal(completion.choices[0].finish_reason, 'stop');
    assert.equal(completion.usage.total_tokens, 14);
  });

  test('streams a completion with its usage', async () => {
    const asked = { model, messages: user('Say 20 words.'), stream: true, stream_options: { include_usage: true } };
    const chunks = await Array.fromAsync(await client.chat.completions.create(asked));
    assert.equal(textOf(chunks), truth('20 words'));
    assert.equal(chunks.at(-2).choices[0].finish_reason, 'stop');
    assert.deepEqual(chunks.at(-1).choices, []);
    assert.equal(chunks.at(-1).usage.total_tokens, 14);
  });

  test('streams a completion with its helper', async () => {
    const stream = client.chat.completions.stream({ model, messages: user('Say 20 words.') });
    let snapshot = '';
    stream.on('content', (_, all) => (snapshot = all));
    assert.equal(await stream.finalContent(), truth('20 words'));
    assert.equal(snapshot, truth('20 words'));
  });

  test('parses JSON', async () => {
    const schema = { type: 'object', properties: { name: { type: 'string' } }, required: ['name'], additionalProperties: false };
    const response_format = { type: 'json_schema', json_schema: { name: 'tree', strict: true, schema } };
    const messages = user('Say exactly {"name":"elm"} please.');
    const completion = await client.chat.completions.parse({ model, messages, response_format });
    assert.equal(completion.choices[0].message.content, '{"name":"elm"}');
    assert.deepEqual(server.upstream.requests.at(-1).response_format, response_format);
  });

  test('calls a tool in two turns', async () => {
    const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };
    const tools = [{ type: 'function', function: { name: 'weather', description: 'The weather in a city', parameters, strict: true } }];
    const messages = user('What is the weather in Paris?');
    const first = await client.chat.completions.stream({ model, messages, tools }).finalChatCompletion();
    const [{ message, finish_reason }] = first.choices;
    assert.equal(finish_reason, 'tool_calls');
    const [call] = message.tool_calls;
    assert.deepEqual([call.function.name, JSON.parse(call.function.arguments)], ['weather', { city: 'Paris' }]);
    messages.push(message, { role: 'tool', tool_call_id: call.id, content: 'sunny' });
    const second = await client.chat.completions.create({ model, messages, tools });
    assert.equal(second.choices[0].message.content, 'It is sunny in Paris.');
  });

  test('runs tools by itself', async () => {
    const weather = { parse: JSON.parse, function: ({ city }) => (city === 'Paris' ? 'sunny' : 'unknown'), name: 'weather', description: 'The weather' };
    const parameters = { type: 'object', properties: { city: { type: 'string' } } };
    const tools = [{ type: 'function', function: { ...weather, parameters } }];
    const runner = client.chat.completions.runTools({ model, messages: user('What is the weather in Paris?'), tools, stream: true });
    assert.equal(await runner.finalContent(), 'It is sunny in Paris.');
  });

  test('sends images and gets probabilities', async () => {
    const parts = [{ type: 'text', text: 'Say 2 words with logprobs.' }, { type: 'image_url', image_url: { url: IMAGE } }];
    const asked = { model, messages: user(parts), logprobs: true, top_logprobs: 1 };
    const tokens = (choice) => choice.logprobs.content.map(({ token }) => token);
    const completion = await client.chat.completions.create(asked);
    assert.deepEqual(tokens(completion.choices[0]), ['wörd001', ' wörd002']);
    assert.equal(server.upstream.requests.at(-1).messages[0].content[1].image_url.url, IMAGE);
    const streamed = await client.chat.completions.stream(asked).finalChatCompletion();
    assert.deepEqual(tokens(streamed.choices[0]), ['wörd001', ' wörd002']);
  });

  test('stores, retrieves and deletes a completion', async () => {
    const completion = await client.chat.completions.create({ model, messages: user('Say 4 words.'), store: true });
    assert.deepEqual(await client.chat.completions.retrieve(completion.id), completion);
    assert.equal((await client.chat.completions.delete(completion.id)).deleted, true);
    await assert.rejects(client.chat.completions.retrieve(completion.id), OpenAI.NotFoundError);
  });

  test('rejoins after a kill by the number in the last chunk', async () => {
    const seen = [];
    const stream = await client.chat.completions.create({ model, messages: user(SLOW), stream: true, store: true });
    await assert.rejects(async () => {
      for await (const chunk of stream) {
        seen.push(chunk);
        if (seen.length === 8) await server.kill();
      }
    }, 'a cut is not taken for an end');
    await server.start();
    const { id, sequence_number } = seen.at(-1);
    const query = { stream: true, starting_after: sequence_number };
    const rest = await Array.fromAsync(await client.get(`/chat/completions/${id}`, { query, stream: true }));
    assert.equal(textOf([...seen, ...rest]), truth(SLOW));
  });

  test('understands errors', async () => {
    const many = client.chat.completions.create({ model, messages: user('x'), n: 2 });
    await assert.rejects(many, (error) => error instanceof OpenAI.BadRequestError && error.param === 'n');
  });

  test('sees a failure in the middle as an error', async (t) => {
    const failing = await startServer({ LLM_CONTINUATION: 'off' });
    t.after(() => failing.stop());
    const client = new OpenAI({ baseURL: `${failing.base}/v1`, apiKey: 'unused', maxRetries: 0 });
    const asked = { model, messages: user('Say 9 words, then break off.') };
    const chunks = [];
    await assert.rejects(async () => {
      for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) chunks.push(chunk);
    }, OpenAI.APIError);
    assert.ok(truth('9 words').startsWith(textOf(chunks)) && textOf(chunks).length > 0);
    await assert.rejects(client.chat.completions.stream(asked).finalChatCompletion());
  });
});
