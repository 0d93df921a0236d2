// The AI SDK's `useChat` with its default transport, in React as a page has it: two turns, tools, thoughts, images, stop,
// regenerate, and going on after a reload and after `kill -9`.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';

import { useChat } from '@ai-sdk/react';
import { DefaultChatTransport, lastAssistantMessageIsCompleteWithToolCalls } from 'ai';
import { createElement } from 'react';
import { create } from 'react-test-renderer';

import { readmeBlock, substitute } from '../readme.js';
import { truth } from '../upstream.js';
import { startServer } from './server.js';

let server;

before(async () => {
  server = await startServer();
});

after(() => server.stop());

/** A page with a chat: what the hook gave last, and a way to wait for it. */
class Page {
  constructor(id, options = {}) {
    const transport = new DefaultChatTransport({ api: `${server.base}/api/chat`, body: options.body });
    const hook = options.hook ?? (() => useChat({ id, transport, ...options }));
    const Chat = () => {
      this.chat = hook();
      return null;
    };
    this.root = create(createElement(Chat));
  }

  /** Does something, and waits until the hook says what is wanted: what it did may go on. */
  async until(what, wanted, action) {
    const end = Date.now() + 20_000;
    while (!this.chat) await wait(1);
    action?.().catch(() => {});
    while (!wanted(this.chat)) {
      assert.ok(Date.now() < end, `waited in vain for ${what}: ${JSON.stringify(this.chat.messages)} ${this.chat.error}`);
      await wait(5);
    }
  }

  /** Waits for the end of an answer. */
  async answered(action) {
    while (!this.chat) await wait(1);
    const count = this.chat.messages.length;
    return this.until('an answer', ({ status, messages }) => status === 'ready' && messages.length > count, action);
  }

  get last() {
    return this.chat.messages.at(-1);
  }

  /** The tab is closed: nobody reads on. */
  close() {
    this.root.unmount();
    return this.chat.stop();
  }
}

const text = (message) => message.parts.filter((part) => part.type === 'text').map((part) => part.text).join('');
const words = (count) => ({ messages }) => text(messages.at(-1) ?? { parts: [] }).split(' ').length >= count && messages.at(-1).role === 'assistant';
const heard = () => server.upstream.requests.at(-1).messages;

const tools = [{
  type: 'function',
  name: 'weather',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
}];

describe('useChat', () => {
  test('does as README has it', async () => {
    const code = substitute(await readmeBlock('useChat', 'jsx'), {
      'http://127.0.0.1:8080': server.base,
      "'eliza'": "'truth'",
    });
    const made = new Function('useChat', 'DefaultChatTransport', 'chatId', `${code}; return { messages, sendMessage, stopForGood };`);
    const page = new Page('readme', { hook: () => made(useChat, DefaultChatTransport, 'readme') });
    await page.until('three words', words(3), () => page.chat.sendMessage({ text: 'Say 90 words slowly.' }));
    await page.chat.stopForGood();
    const stopped = await (await fetch(`${server.base}/v1/responses/${page.last.id}`)).json();
    assert.equal(stopped.status, 'cancelled');
    assert.equal(heard()[0].content, 'Be brief.');
    page.root.unmount();
  });

  test('has two turns, and the second knows the first', async () => {
    const page = new Page('two-turns', { body: { instructions: 'Be brief.' } });
    await page.answered(() => page.chat.sendMessage({ text: 'Say 5 words.' }));
    assert.equal(text(page.last), truth('5 words'));
    assert.match(page.last.id, /^resp_/);
    await page.answered(() => page.chat.sendMessage({ text: 'Say 7 words.' }));
    assert.equal(text(page.last), truth('7 words'));
    assert.equal(page.chat.messages.length, 4);
    assert.deepEqual(heard().map((message) => message.content), ['Be brief.', 'Say 5 words.', truth('5 words'), 'Say 7 words.']);
    await page.close();
  });

  test('carries out a tool, thinks aloud, and goes on in the same message', async () => {
    const page = new Page('tools', {
      body: { tools },
      sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls,
      onToolCall: ({ toolCall }) => {
        page.chat.addToolOutput({ tool: toolCall.toolName, toolCallId: toolCall.toolCallId, output: `sunny (${toolCall.input.city})` });
      },
    });
    await page.until('the weather', ({ status, messages }) => status === 'ready' && text(messages.at(-1) ?? { parts: [] }) !== '',
      () => page.chat.sendMessage({ text: 'What is the weather in Rome?' }));
    assert.equal(page.chat.messages.length, 2);
    const kinds = page.last.parts.map((part) => part.type);
    assert.deepEqual(kinds, ['step-start', 'reasoning', 'tool-weather', 'step-start', 'text']);
    assert.equal(page.last.parts[1].text, 'Let me look it up.');
    assert.deepEqual(page.last.parts[2].input, { city: 'Rome' });
    assert.equal(text(page.last), 'It is sunny (Rome) in Rome.');
    await page.answered(() => page.chat.sendMessage({ text: 'Say 4 words.' }));
    assert.deepEqual(heard().map((message) => message.role), ['user', 'assistant', 'tool', 'assistant', 'user']);
    await page.close();
  });

  test('sends an image', async () => {
    const page = new Page('image');
    const url = 'data:image/png;base64,iVBORw0KGgo=';
    const files = [{ type: 'file', mediaType: 'image/png', url }];
    await page.answered(() => page.chat.sendMessage({ text: 'Say 3 words.', files }));
    assert.equal(text(page.last), truth('3 words'));
    const part = heard()[0].content.find((part) => part.type === 'image_url');
    assert.equal(part.image_url.url, url);
    await page.close();
  });

  test('regenerates an answer, and edits a question', async () => {
    const page = new Page('regenerate');
    await page.answered(() => page.chat.sendMessage({ text: 'Say 5 words.' }));
    const first = page.last.id;
    await page.until('another answer', ({ status, messages }) => status === 'ready' && messages.length === 2 && messages[1].id !== first,
      () => page.chat.regenerate());
    assert.deepEqual(heard().map((message) => message.content), ['Say 5 words.']);
    const question = page.chat.messages[0].id;
    await page.until('an answer to the edited question', ({ status, messages }) => status === 'ready' && text(messages.at(-1)) === truth('6 words'),
      () => page.chat.sendMessage({ text: 'Say 6 words.', messageId: question }));
    assert.deepEqual(heard().map((message) => message.content), ['Say 6 words.']);
    await page.close();
  });

  test('stops by a request of its own, and keeps what was said', async () => {
    const page = new Page('stop');
    await page.until('some words', words(3), () => page.chat.sendMessage({ text: 'Say 200 words slowly.' }));
    const stopped = await fetch(`${server.base}/api/chat/stop/stop`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' });
    assert.deepEqual(await stopped.json(), { success: true });
    await page.until('the end', ({ status }) => status === 'ready');
    const said = text(page.last);
    assert.ok(truth('200 words').startsWith(said) && said.length > 10, said);
    await page.answered(() => page.chat.sendMessage({ text: 'Say 4 words.' }));
    assert.equal(heard()[1].content, said);
    await page.close();
  });

  test('goes on after a reload, with resume', async () => {
    const page = new Page('reload');
    await page.until('some words', words(4), () => page.chat.sendMessage({ text: 'Say 60 words slowly.' }));
    const [question] = page.chat.messages;
    await page.close();
    const reloaded = new Page('reload', { messages: [question], resume: true });
    await reloaded.until('all words', ({ status, messages }) => status === 'ready' && messages.length === 2);
    assert.equal(text(reloaded.last), truth('60 words'));
    assert.equal(server.upstream.requests.filter((request) => JSON.stringify(request).includes('60 words')).length, 1);
    await reloaded.close();
    const idle = new Page('reload', { messages: reloaded.chat.messages, resume: true });
    await idle.until('nothing to resume', ({ status }) => status === 'ready');
    assert.equal(idle.chat.messages.length, 2);
    await idle.close();
  });

  test('goes on after kill -9, in the message that it has', async () => {
    const page = new Page('kill');
    await page.until('some words', words(5), () => page.chat.sendMessage({ text: 'Say 50 words slowly.' }));
    await server.kill();
    await page.until('the cut', ({ status }) => status === 'error');
    const { id } = page.last;
    await server.start();
    await page.until('all words', ({ status, messages }) => status === 'ready' && text(messages.at(-1)) === truth('50 words'),
      () => page.chat.resumeStream());
    assert.equal(page.last.id, id);
    assert.equal(page.chat.messages.length, 2);
    await page.close();
  });

  test('is told in words why it is refused', async () => {
    const page = new Page('refused', { body: { model: 'nobody' } });
    await page.until('an error', ({ status }) => status === 'error', () => page.chat.sendMessage({ text: 'Hello' }));
    assert.match(page.chat.error.message, /The requested model 'nobody' does not exist/);
    await page.close();
  });
});
