// Talking on the page: turns, reloads, crashes, other tabs, stopping, editing, images.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { startServer } from '../clients/node/server.js';
import { truth } from '../clients/upstream.js';
import { fine, replied, replies, say, says, startBrowser, tab } from './browser.js';

/** A red square. */
const SQUARE = 'iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAIAAAACUFjqAAAAEklEQVR4nGP8z4APMOGVHbHSAEEsARN0D3GAAAAAAElFTkSuQmCC';

let server;
let browser;

before(async () => {
  server = await startServer();
  browser = await startBrowser();
});

after(async () => {
  await browser.stop();
  await server.stop();
});

/** The texts of what the model server was sent last. */
const asked = () =>
  server.upstream.requests.at(-1).messages.map(({ content }) => (typeof content === 'string' ? content : content.map((part) => part.text).join('')));

describe('the page', () => {
  test('holds a conversation, and lists it by its first words', async () => {
    const page = await browser.open(server.base);
    await say(page, 'Say 5 words.');
    await replied(page, truth('5 words'));
    await say(page, 'Say 7 words.');
    await replied(page, truth('7 words'));
    assert.deepEqual(asked(), ['Say 5 words.', truth('5 words'), 'Say 7 words.']);
    await page.locator('#list a', { hasText: 'Say 5 words.' }).waitFor();
    assert.equal(await page.title(), 'Say 5 words. · rejoinder');
    assert.match(page.url(), /#conv_[0-9a-v]{26}$/);
    await page.locator('#rename').click();
    await page.locator('#list a', { hasText: 'A new title' }).waitFor();
    await page.locator('#remove').click();
    await page.locator('#list a', { hasText: 'A new title' }).waitFor({ state: 'detached' });
    assert.equal(await replies(page).count(), 0);
    fine(page);
  });

  test('goes on after a reload in the middle of a reply', async () => {
    const page = await browser.open(server.base);
    await say(page, 'Say 80 words slowly.');
    await says(page, 'wörd012');
    await page.reload();
    await replied(page, truth('80 words'));
    assert.equal(await page.locator('.message.user').count(), 1);
    fine(page);
  });

  test('goes on after the server was killed in the middle of a reply', async () => {
    const page = await browser.open(server.base);
    await say(page, 'Say 90 words slowly.');
    await says(page, 'wörd015');
    await server.kill();
    await page.locator('#link', { hasText: 'Reconnecting' }).waitFor();
    await server.start();
    await replied(page, truth('90 words'));
    assert.equal(await page.locator('#link').textContent(), '');
    fine(page);
  });

  test('sends what was written while the server was away', async () => {
    const page = await browser.open(server.base);
    await say(page, 'Say 3 words.');
    await replied(page, truth('3 words'));
    await server.kill();
    await say(page, 'Say 4 words.');
    await page.locator('#link', { hasText: 'Reconnecting' }).waitFor();
    await page.reload().catch(() => {});
    // The browser's own page comes a moment after the failure; it would interrupt what is opened before.
    await page.waitForURL(/^chrome-error:/);
    await server.start();
    await page.goto(server.base);
    await page.locator('#list a', { hasText: 'Say 3 words.' }).first().click();
    await replied(page, truth('4 words'));
    assert.equal(await page.locator('.message.user', { hasText: 'Say 4 words.' }).count(), 1);
  });

  test('shows in another tab what happens, as it happens', async () => {
    const page = await browser.open(server.base);
    await say(page, 'Say 2 words.');
    await replied(page, truth('2 words'));
    const other = await tab(page.context(), page.url());
    await replied(other, truth('2 words'));
    await say(page, 'Say 60 words slowly.');
    await says(other, 'wörd010');
    assert.ok(await other.locator('#stop').isVisible(), 'it is still being generated');
    await other.locator('#stop').click();
    await page.locator('#send').waitFor();
    const text = await replies(page).last().innerText();
    assert.ok(truth('60 words').startsWith(text.trim()) && text.length < truth('60 words').length, text);
    await say(other, 'Say 6 words.');
    await replied(page, truth('6 words'));
    fine(page);
    fine(other);
  });

  test('is stopped before a first word and in the middle, and talks on', async () => {
    const page = await browser.open(server.base);
    await say(page, 'Say 70 words slowly after a pause.');
    await page.locator('#stop').click();
    await page.locator('#send').waitFor();
    await say(page, 'Say 70 words slowly.');
    await says(page, 'wörd008');
    await page.keyboard.press('Escape');
    await page.locator('#send').waitFor();
    await page.reload();
    await says(page, 'wörd008');
    await say(page, 'Say 5 words.');
    await replied(page, truth('5 words'));
    fine(page);
  });

  test('takes back what was said after a message that is edited', async () => {
    const page = await browser.open(server.base);
    await say(page, 'Say 2 words.');
    await replied(page, truth('2 words'));
    await say(page, 'Say 3 words.');
    await replied(page, truth('3 words'));
    const first = page.locator('.message.user').first();
    await first.hover();
    await first.getByRole('button', { name: 'Edit' }).click();
    assert.equal(await page.locator('#text').inputValue(), 'Say 2 words.');
    await say(page, 'Say 8 words.');
    await replied(page, truth('8 words'));
    assert.deepEqual(asked(), ['Say 8 words.']);
    assert.equal(await page.locator('.message').count(), 2);
    await page.locator('#list a[aria-current]', { hasText: 'Say 8 words.' }).waitFor();
    const regenerate = () => page.locator('.message.assistant').getByRole('button', { name: 'Regenerate' }).click();
    const first8 = await page.locator('.message.assistant').getAttribute('data-item');
    await regenerate();
    await page.locator(`.message[data-item="${first8}"]`).waitFor({ state: 'detached' });
    await replied(page, truth('8 words'));
    assert.equal(await page.locator('.message').count(), 2);
    // A reload in the middle: the reply is gone, its question not yet, and the new one is not asked.
    let holds = true;
    const held = new Promise((resolve) => {
      let count = 0;
      page.route('**/items/*', (route) => (++count === 2 && holds ? resolve() : route.continue()));
    });
    await regenerate();
    await held;
    holds = false;
    await page.reload();
    await replied(page, truth('8 words'));
    assert.equal(await page.locator('.message').count(), 2);
    fine(page);
  });

  test('sends an image, and shows it', async () => {
    const page = await browser.open(server.base);
    await page.locator('#file').setInputFiles({ name: 'square.png', mimeType: 'image/png', buffer: Buffer.from(SQUARE, 'base64') });
    await page.getByRole('button', { name: 'Remove image 1' }).waitFor();
    await say(page, 'Say 4 words about this.');
    await replied(page, truth('4 words'));
    const sent = server.upstream.requests.at(-1).messages[0].content.find((part) => part.type === 'image_url');
    assert.equal(sent.image_url.url, `data:image/png;base64,${SQUARE}`);
    await page.reload();
    const width = () => page.locator('.message.user img').evaluate((image) => image.naturalWidth);
    await page.waitForFunction(() => document.querySelector('.message.user img')?.complete);
    assert.equal(await width(), 10);
    fine(page);
  });

  test('shows what was said in a chat of useChat, and goes on with it', async () => {
    const messages = [{ id: 'm', role: 'user', parts: [{ type: 'text', text: 'Say 5 words, in a chat.' }] }];
    const turn = { id: 'elsewhere', messages, trigger: 'submit-message' };
    const headers = { 'content-type': 'application/json' };
    await (await fetch(`${server.base}/api/chat`, { method: 'POST', headers, body: JSON.stringify(turn) })).text();
    const page = await browser.open(server.base);
    await page.locator('#list a', { hasText: 'Say 5 words, in a chat.' }).first().click();
    await says(page, truth('5 words'));
    await say(page, 'Say 3 words.');
    await replied(page, truth('3 words'));
    assert.deepEqual(asked(), ['Say 5 words, in a chat.', truth('5 words'), 'Say 3 words.']);
    fine(page);
  });

  test('says what went wrong', async () => {
    const page = await browser.open(server.base);
    await say(page, 'Say 9 words, break off.');
    await page.locator('#notice', { hasText: 'model server' }).waitFor();
    assert.ok(await page.locator('#send').isVisible());
    fine(page);
  });
});
