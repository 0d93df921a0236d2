// The AI SDK: two turns, and calls of tools, with and without a memory on the server.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { createOpenAI } from '@ai-sdk/openai';
import { generateText, jsonSchema, stepCountIs, streamText, tool } from 'ai';

import { truth } from '../upstream.js';
import { startServer } from './server.js';

let server;
let model;

before(async () => {
  server = await startServer();
  model = createOpenAI({ baseURL: `${server.base}/v1`, apiKey: 'unused' }).responses('truth');
});

after(() => server.stop());

const city = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };
const weather = tool({
  description: 'The weather in a city',
  inputSchema: jsonSchema(city),
  execute: async ({ city }) => `sunny (${city})`,
});

/** Options that let errors through. */
const strict = { maxRetries: 0, onError: ({ error }) => { throw error; } };

describe('the AI SDK', () => {
  test('streams two turns, referring to the items of the first', async () => {
    const messages = [{ role: 'user', content: 'Say 5 words.' }];
    const first = streamText({ model, messages, ...strict });
    let text = '';
    for await (const piece of first.textStream) text += piece;
    assert.equal(text, truth('5 words'));
    messages.push(...(await first.response).messages, { role: 'user', content: 'Say 7 words.' });
    const second = streamText({ model, messages, ...strict });
    assert.equal(await second.text, truth('7 words'));
    const asked = server.upstream.requests.at(-1).messages.map((message) => message.content);
    assert.deepEqual(asked, ['Say 5 words.', truth('5 words'), 'Say 7 words.']);
  });

  test('generates two turns by previousResponseId', async () => {
    const first = await generateText({ model, prompt: 'Say 5 words.', maxRetries: 0 });
    const previousResponseId = first.providerMetadata.openai.responseId;
    const second = await generateText({
      model,
      prompt: 'Say 7 words.',
      maxRetries: 0,
      providerOptions: { openai: { previousResponseId } },
    });
    assert.equal(second.text, truth('7 words'));
    assert.equal(server.upstream.requests.at(-1).messages.length, 3);
    assert.deepEqual([second.usage.inputTokens, second.usage.outputTokens], [9, 5]);
  });

  for (const store of [true, false]) {
    test(`calls a tool and answers with what it says, store: ${store}`, async () => {
      const result = streamText({
        model,
        prompt: 'What is the weather in Rome?',
        tools: { weather },
        stopWhen: stepCountIs(3),
        providerOptions: { openai: { store, include: ['reasoning.encrypted_content'] } },
        ...strict,
      });
      assert.equal(await result.text, 'It is sunny (Rome) in Rome.');
      const steps = await result.steps;
      assert.equal(steps.length, 2);
      assert.deepEqual(steps[0].toolCalls.map((call) => call.input), [{ city: 'Rome' }]);
    });
  }

  test('shows the thoughts that it asks for as a summary', async () => {
    const result = streamText({
      model,
      prompt: 'What is the weather in Oslo?',
      tools: { weather },
      providerOptions: { openai: { reasoningSummary: 'auto', forceReasoning: true } },
      ...strict,
    });
    await result.consumeStream();
    assert.equal(await result.reasoningText, 'Let me look it up.');
  });
});
