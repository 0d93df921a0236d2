// The keys of our objects against those of the SDK's types.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';

import { startServer } from './server.js';

/** Added by the SDK itself to what the server sends. */
const OF_THE_SDK = ['output_text'];
/** Ours, and said to be. */
const OURS = ['rejoinder'];
/** OpenAI's own server sends it, and its types leave it out. */
const OF_THE_API = ['store'];
/** The schema of Open Responses requires them. */
const OF_OPEN_RESPONSES = ['presence_penalty', 'frequency_penalty'];

let types;
let server;

before(async () => {
  types = await readFile(new URL('../node_modules/openai/resources/responses/responses.d.ts', import.meta.url), 'utf8');
  server = await startServer();
});

after(() => server.stop());

/** The keys of an interface at the top level of the declarations, with whether each is required. */
function keysOf(name) {
  const found = new RegExp(`^export interface ${name} (?:extends \\S+ )?\\{\\n([\\s\\S]*?)^\\}`, 'm').exec(types);
  assert.ok(found, `the SDK has an interface ${name}`);
  const keys = new Map();
  for (const [, key, optional] of found[1].matchAll(/^ {4}(\w+)(\?)?:/gm)) keys.set(key, !optional);
  assert.ok(keys.size > 1, `${name} has keys`);
  return keys;
}

function compare(object, name, { added = [], missing = [] } = {}) {
  const keys = keysOf(name);
  const required = [...keys].filter(([key, isRequired]) => isRequired && !missing.includes(key)).map(([key]) => key);
  assert.deepEqual(required.filter((key) => !(key in object)), [], `required keys of ${name} that are missing`);
  const known = [...keys.keys(), ...added];
  assert.deepEqual(Object.keys(object).filter((key) => !known.includes(key)), [], `keys that ${name} does not have`);
}

async function respond(body) {
  const response = await fetch(`${server.base}/v1/responses`, { method: 'POST', body: JSON.stringify({ model: 'truth', ...body }) });
  assert.equal(response.status, 200);
  return response;
}

const tools = [{ type: 'function', name: 'weather', parameters: { type: 'object', properties: {} } }];

describe("the SDK's types", () => {
  test('are those of our response object', async () => {
    for (const more of [{}, { background: true }, { store: false }, { metadata: { a: 'b' }, instructions: 'x', tools }]) {
      const response = await (await respond({ input: 'Say 3 words.', ...more })).json();
      compare(response, 'Response', { added: [...OURS, ...OF_THE_API, ...OF_OPEN_RESPONSES], missing: OF_THE_SDK });
    }
  });

  test('are those of our items, parts and usage', async () => {
    const response = await (await respond({ input: 'Say 3 words.' })).json();
    const [message] = response.output;
    compare(message, 'ResponseOutputMessage');
    compare(message.content[0], 'ResponseOutputText');
    compare(response.usage, 'ResponseUsage');
    assert.deepEqual(Object.keys(response.usage.input_tokens_details).sort(), ['cache_write_tokens', 'cached_tokens']);
    assert.deepEqual(Object.keys(response.usage.output_tokens_details), ['reasoning_tokens']);
    const called = await (await respond({ input: 'The weather in Rome?', tools })).json();
    compare(called.output.find((item) => item.type === 'reasoning'), 'ResponseReasoningItem');
    compare(called.output.find((item) => item.type === 'function_call'), 'ResponseFunctionToolCall');
  });

  test('are those of our events', async () => {
    const interfaces = new Map();
    const declaration = /^export interface (Response\w*Event) \{\n(?:(?!^\})[\s\S])*?^ {4}type: '([\w.]+)';/gm;
    for (const [, name, type] of types.matchAll(declaration)) interfaces.set(type, name);
    const spoken = { modalities: ['text', 'audio'], audio: { voice: 'alloy', format: 'wav' } };
    for (const body of [{ input: 'Say 3 words.' }, { input: 'Say 3 words.', ...spoken }, { input: 'The weather in Rome?', tools }]) {
      const text = await (await respond({ ...body, stream: true })).text();
      const events = [...text.matchAll(/^data: (\{.*)$/gm)].map(([, data]) => JSON.parse(data));
      assert.ok(events.length > 5);
      for (const event of events) {
        assert.ok(interfaces.has(event.type), `the SDK knows ${event.type}`);
        // The name of the function is there, too, as in earlier types of the SDK.
        const added = event.type === 'response.function_call_arguments.done' ? ['name'] : [];
        compare(event, interfaces.get(event.type), { added });
      }
    }
  });
});
