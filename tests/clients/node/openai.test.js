// The openai SDK: streams, rejoins, cancels, converses, calls tools.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import OpenAI from 'openai';

import { truth } from '../upstream.js';
import { startServer } from './server.js';

const SLOW = 'Say 30 words slowly.';
const SPOKEN = { modalities: ['text', 'audio'], audio: { voice: 'alloy', format: 'wav' } };
const model = 'truth';

let server;
let client;

before(async () => {
  server = await startServer();
  // No retries: what needs one is a fault here.
  client = new OpenAI({ baseURL: `${server.base}/v1`, apiKey: 'unused', maxRetries: 0 });
});

after(() => server.stop());

/** The text of events. */
const textOf = (events) => events.filter((event) => event.type === 'response.output_text.delta').map((event) => event.delta).join('');

/** Reads a stream as far as `enough` holds; the connection is dropped there. */
async function readUntil(stream, enough) {
  const events = [];
  for await (const event of stream) {
    events.push(event);
    if (enough(event, events)) break;
  }
  return events;
}

const afterWords = (count) => (_, events) => events.filter((event) => event.type === 'response.output_text.delta').length === count;

describe('the openai SDK', () => {
  test('creates a reply', async () => {
    const response = await client.responses.create({ model, input: 'Say 9 words.' });
    assert.equal(response.output_text, truth('9 words'));
    assert.equal(response.status, 'completed');
    assert.deepEqual(await client.responses.retrieve(response.id), response);
  });

  test('streams a reply', async () => {
    const stream = await client.responses.create({ model, input: 'Say 20 words.', stream: true });
    const events = await Array.fromAsync(stream);
    assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, place) => place));
    assert.equal(textOf(events), truth('20 words'));
    const last = events.at(-1);
    assert.equal(last.type, 'response.completed');
    assert.equal(last.response.output[0].content[0].text, truth('20 words'));
  });

  test('streams a reply with its helper', async () => {
    const stream = client.responses.stream({ model, input: 'Say 20 words.' });
    let snapshot = '';
    stream.on('response.output_text.delta', (event) => (snapshot = event.snapshot));
    const response = await stream.finalResponse();
    assert.equal(response.output_text, truth('20 words'));
    assert.equal(snapshot, truth('20 words'));
  });

  test('takes a reply that is also spoken, with its helper and from its own address', async () => {
    const stream = client.responses.stream({ model, input: 'Say 20 words.', ...SPOKEN });
    const heard = [];
    stream.on('response.audio.delta', (event) => heard.push(Buffer.from(event.delta, 'base64')));
    let transcript = '';
    stream.on('response.audio.transcript.delta', (event) => (transcript += event.delta));
    const response = await stream.finalResponse();
    assert.equal(response.output_text, truth('20 words'));
    assert.equal(transcript, truth('20 words'));
    const audio = await fetch(`${server.base}/v1/responses/${response.id}/audio`);
    assert.equal(audio.headers.get('content-type'), 'audio/wav');
    const bytes = Buffer.from(await audio.arrayBuffer());
    assert.ok(bytes.equals(Buffer.concat(heard)) && bytes.length > 24_000, 'the same audio, and more than half a second');
    const again = await Array.fromAsync(await client.responses.retrieve(response.id, { stream: true, starting_after: 0 }));
    assert.equal(textOf(again), truth('20 words'));
  });

  test('has a text spoken', async () => {
    const speech = await client.audio.speech.create({ model: 'tts-1', voice: 'alloy', input: 'Good morning.', response_format: 'wav' });
    const bytes = Buffer.from(await speech.arrayBuffer());
    assert.equal(bytes.subarray(0, 4).toString(), 'RIFF');
    assert.ok(bytes.length > 20_000);
  });

  test('rejoins a running reply with starting_after', async () => {
    const stream = await client.responses.create({ model, input: SLOW, stream: true });
    const seen = await readUntil(stream, afterWords(5));
    const starting_after = seen.at(-1).sequence_number;
    const { id } = seen[0].response;
    const rest = await Array.fromAsync(await client.responses.retrieve(id, { stream: true, starting_after }));
    assert.equal(rest[0].sequence_number, starting_after + 1);
    assert.equal(textOf([...seen, ...rest]), truth(SLOW));
    assert.equal(rest.at(-1).type, 'response.completed');
  });

  test('rejoins a running reply with its helper', async () => {
    const stream = await client.responses.create({ model, input: SLOW, stream: true });
    const seen = await readUntil(stream, afterWords(5));
    const starting_after = seen.at(-1).sequence_number;
    const rejoined = client.responses.stream({ response_id: seen[0].response.id, starting_after });
    const rest = await Array.fromAsync(rejoined);
    assert.equal(rest[0].sequence_number, starting_after + 1, 'it tells only what is new');
    assert.equal((await rejoined.finalResponse()).output_text, truth(SLOW));
  });

  test('sees a kill as an error and rejoins after the restart', async () => {
    const stream = await client.responses.create({ model, input: SLOW, stream: true });
    const seen = [];
    await assert.rejects(async () => {
      for await (const event of stream) {
        seen.push(event);
        if (seen.length === 10) await server.kill();
      }
    }, 'a cut is not taken for an end');
    await server.start();
    const query = { stream: true, starting_after: seen.at(-1).sequence_number };
    const rest = await Array.fromAsync(await client.responses.retrieve(seen[0].response.id, query));
    assert.equal(textOf([...seen, ...rest]), truth(SLOW));
  });

  test('cancels a reply', async () => {
    const stream = await client.responses.create({ model, input: 'Say 200 words slowly.', stream: true, background: true });
    const { id } = (await readUntil(stream, afterWords(3)))[0].response;
    const cancelled = await client.responses.cancel(id);
    assert.equal(cancelled.status, 'cancelled');
    assert.ok(truth('200 words').startsWith(cancelled.output[0].content[0].text));
    assert.equal((await client.responses.retrieve(id)).status, 'cancelled');
  });

  test('polls a background reply', async () => {
    let response = await client.responses.create({ model, input: SLOW, background: true });
    assert.match(response.status, /^(queued|in_progress)$/);
    while (response.status === 'queued' || response.status === 'in_progress') {
      response = await client.responses.retrieve(response.id);
    }
    assert.equal(response.output_text, truth(SLOW));
  });

  test('converses by previous_response_id', async () => {
    const first = await client.responses.create({ model, input: 'Say 3 words.' });
    const second = await client.responses.create({ model, input: 'Say 4 words.', previous_response_id: first.id });
    assert.equal(second.previous_response_id, first.id);
    const asked = server.upstream.requests.at(-1).messages.map((message) => message.content);
    assert.deepEqual(asked, ['Say 3 words.', truth('3 words'), 'Say 4 words.']);
    const items = await Array.fromAsync(client.responses.inputItems.list(second.id, { order: 'asc' }));
    assert.equal(items.at(-1).content[0].text, 'Say 4 words.');
  });

  test('converses in a conversation', async () => {
    const conversation = await client.conversations.create({ metadata: { topic: 'trees' } });
    for (const input of ['Say 3 words.', 'Say 4 words.']) {
      const stream = await client.responses.create({ model, input, conversation: conversation.id, stream: true });
      await Array.fromAsync(stream);
    }
    const listed = client.conversations.items.list(conversation.id, { order: 'asc', limit: 3 });
    const texts = (await Array.fromAsync(listed)).map((item) => item.content[0].text);
    assert.deepEqual(texts, ['Say 3 words.', truth('3 words'), 'Say 4 words.', truth('4 words')]);
    const changed = await client.conversations.update(conversation.id, { metadata: { topic: 'shrubs' } });
    assert.equal(changed.metadata.topic, 'shrubs');
    assert.equal((await client.conversations.delete(conversation.id)).deleted, true);
    await assert.rejects(client.conversations.retrieve(conversation.id), OpenAI.NotFoundError);
  });

  test('calls a tool in two turns', async () => {
    const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };
    const tools = [{ type: 'function', name: 'weather', description: 'The weather in a city', parameters, strict: true }];
    const input = 'What is the weather in Paris?';
    for (const how of ['previous_response_id', 'input']) {
      const stream = client.responses.stream({ model, input, tools });
      const first = await stream.finalResponse();
      const call = first.output.find((item) => item.type === 'function_call');
      assert.deepEqual([call.name, JSON.parse(call.arguments)], ['weather', { city: 'Paris' }]);
      const output = { type: 'function_call_output', call_id: call.call_id, output: 'sunny' };
      const turn =
        how === 'input'
          ? { input: [{ role: 'user', content: input }, ...first.output, output] }
          : { input: [output], previous_response_id: first.id };
      const second = await client.responses.create({ model, tools, ...turn });
      assert.equal(second.output_text, 'It is sunny in Paris.', how);
    }
  });

  test('joins its own request under an idempotency key', async () => {
    const options = { headers: { 'Idempotency-Key': 'node-1' } };
    const [one, two] = await Promise.all([1, 2].map(() => client.responses.create({ model, input: SLOW }, options)));
    assert.equal(one.id, two.id);
  });

  test('deletes a reply', async () => {
    const { id } = await client.responses.create({ model, input: 'Say 2 words.' });
    await client.responses.delete(id);
    await assert.rejects(client.responses.retrieve(id), OpenAI.NotFoundError);
  });

  test('understands errors', async () => {
    const missing = client.responses.create({ model, input: 'x', previous_response_id: 'resp_nothing' });
    await assert.rejects(missing, (error) => {
      assert.ok(error instanceof OpenAI.BadRequestError);
      assert.deepEqual([error.code, error.param], ['previous_response_not_found', 'previous_response_id']);
      return true;
    });
    const hot = client.responses.create({ model, input: 'x', temperature: 9 });
    await assert.rejects(hot, (error) => error instanceof OpenAI.BadRequestError && error.param === 'temperature');
  });

  test('lists the models', async () => {
    const models = await Array.fromAsync(client.models.list());
    assert.ok(models.some((found) => found.id === 'truth'));
    assert.equal((await client.models.retrieve('truth')).id, 'truth');
  });
});

describe('the openai SDK with an upstream that cannot go on', () => {
  test('sees a failure in the middle as an error', async (t) => {
    const failing = await startServer({ LLM_CONTINUATION: 'off' });
    t.after(() => failing.stop());
    const client = new OpenAI({ baseURL: `${failing.base}/v1`, apiKey: 'unused', maxRetries: 0 });
    const events = [];
    await assert.rejects(async () => {
      for await (const event of await client.responses.create({ model, input: 'Say 9 words, then break off.', stream: true })) {
        events.push(event);
      }
    }, OpenAI.APIError);
    assert.ok(truth('9 words').startsWith(textOf(events)) && textOf(events).length > 0);
    const stored = await client.responses.retrieve(events[0].response.id);
    assert.equal(stored.status, 'failed');
    await assert.rejects(client.responses.stream({ model, input: 'Say 9 words, then break off.' }).finalResponse());
  });
});
