// A model server for the client tests that is not polite: it writes three bytes at a time, thinks aloud, makes its tool
// calls in fragments, and says its last words again when it is asked to go on. What it says is known: see `truth`.
//
//     Say N words …            N words, numbered; with "slowly", one every 30 ms
//     … the weather in X …     a call of the function for the weather, when there is one and it has not been called yet
//     … after a pause …        half a second of silence first
//     Say exactly X please     X
//     … with logprobs …        the probability of each token beside it, when it is asked for
//     … break off …            three words, and the connection is gone; each time
//
// Run by itself, it prints its address.

import { createServer } from 'node:http';
import { setTimeout as wait } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

/** What is said to a prompt. */
export function truth(prompt) {
  const count = Number(/(\d+) words?/.exec(prompt)?.[1] ?? 6);
  return Array.from({ length: count }, (_, place) => `wörd${String(place + 1).padStart(3, '0')}`).join(' ');
}

/** Starts it; `requests` are the bodies that it was sent. */
export async function startUpstream() {
  const requests = [];
  const server = createServer((request, response) => answer(request, response, requests).catch(() => response.destroy()));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/v1`,
    requests,
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}

async function answer(request, response, requests) {
  response.socket.setNoDelay(true);
  if (request.url === '/v1/models') {
    const data = [{ id: 'truth', object: 'model', created: 1, owned_by: 'us' }];
    return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ object: 'list', data }));
  }
  const body = JSON.parse(Buffer.concat(await Array.fromAsync(request)).toString());
  requests.push(body);
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  for await (const delta of say(body)) {
    if (delta === 'break') return response.destroy();
    const { finish = null, logprobs, ...rest } = delta;
    const chunk = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: body.model };
    await write(response, { ...chunk, choices: [{ index: 0, delta: rest, finish_reason: finish, ...(logprobs && { logprobs }) }] });
  }
  const usage = { prompt_tokens: 9, completion_tokens: 5, total_tokens: 14 };
  await write(response, { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: body.model, choices: [], usage });
  await write(response, '[DONE]');
  response.end();
}

/** The deltas of an answer. */
async function* say(body) {
  const text = (message) => (typeof message.content === 'string' ? message.content : message.content.map((part) => part.text ?? '').join(''));
  const turns = body.messages.filter((message) => message.role !== 'system');
  const last = turns.at(-1);
  const prompt = text(turns.findLast((message) => message.role === 'user'));
  const exactly = /Say exactly ([^]+) please/.exec(prompt)?.[1];
  const city = /weather in (\w+)/.exec(prompt)?.[1];
  if (last.role === 'tool') {
    yield* speak(`It is ${text(last)} in ${city}.`.split(/(?= )/), 0);
  } else if (city && body.tools?.some((tool) => tool.function.name.includes('weather'))) {
    const { name } = body.tools.find((tool) => tool.function.name.includes('weather')).function;
    yield { reasoning_content: 'Let me look it up.' };
    yield { tool_calls: [{ index: 0, id: 'call_1', type: 'function', function: { name, arguments: '' } }] };
    for (const letter of JSON.stringify({ city })) {
      yield { tool_calls: [{ index: 0, id: null, function: { name: null, arguments: letter } }] };
    }
    yield { finish: 'tool_calls' };
    return;
  } else if (exactly) {
    yield* speak([exactly], 0);
  } else {
    const said = last.role === 'assistant' ? text(last) : '';
    // Asked to go on, it says its last two words again first.
    const again = said.split(' ').slice(0, -2).join(' ').length;
    const rest = truth(prompt).slice(again).trimStart();
    const tokens = rest.split(/(?= )/);
    if (prompt.includes('break off')) {
      yield* speak(tokens.slice(0, 3), 0);
      yield 'break';
      return;
    }
    if (prompt.includes('after a pause')) await wait(500);
    const probable = body.logprobs && prompt.includes('with logprobs');
    yield* speak(tokens, prompt.includes('slowly') ? 30 : 0, probable);
  }
  yield { finish: 'stop' };
}

async function* speak(tokens, pace, probable) {
  for (const content of tokens) {
    if (pace) await wait(pace);
    const token = { token: content, logprob: -0.25, bytes: null };
    yield probable ? { content, logprobs: { content: [{ ...token, top_logprobs: [token] }] } } : { content };
  }
}

/** Writes one event in pieces of three bytes. */
async function write(response, data) {
  const bytes = Buffer.from(`data: ${typeof data === 'string' ? data : JSON.stringify(data)}\r\n\r\n`);
  for (let start = 0; start < bytes.length; start += 3) {
    if (response.destroyed) throw new Error('the client has gone');
    response.write(bytes.subarray(start, start + 3));
  }
  await new Promise((resolve) => setImmediate(resolve));
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  console.log((await startUpstream()).url);
}
