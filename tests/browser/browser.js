// A real browser before a real server, for the tests of the page.

import assert from 'node:assert/strict';

import { chromium } from 'playwright-core';

/** Debian's, or another that is named. */
const PROGRAM = process.env.CHROMIUM ?? '/usr/bin/chromium';

/** The longest that a test waits for something on the page. */
const PATIENCE = 20_000;

/** Starts the browser. What it is given to do must not need a sandbox: it is our own page. */
export async function startBrowser() {
  const browser = await chromium.launch({
    executablePath: PROGRAM,
    args: [
      '--no-sandbox',
      '--disable-dev-shm-usage',
      '--autoplay-policy=no-user-gesture-required',
      // A microphone that beeps, and that everybody may use.
      '--use-fake-device-for-media-stream',
      '--use-fake-ui-for-media-stream',
    ],
  });
  return {
    /** A browser of somebody's, with a page in it. */
    async open(base, options = {}) {
      const { path = '/', ...more } = options;
      const context = await browser.newContext({ baseURL: base, viewport: { width: 1200, height: 800 }, ...more });
      context.setDefaultTimeout(PATIENCE);
      return tab(context, path);
    },
    stop: () => browser.close(),
  };
}

/** A tab, with what went wrong in it. */
export async function tab(context, path = '/') {
  const page = await context.newPage();
  page.faults = [];
  page.on('pageerror', (error) => page.faults.push(error.message));
  page.on('console', (message) => {
    // A server that is away shows here, too: that is none of the page's faults.
    if (message.type() === 'error' && !/Failed to load resource|ERR_|EventSource/.test(message.text())) page.faults.push(message.text());
  });
  page.on('dialog', (dialog) => dialog.accept(dialog.type() === 'prompt' ? 'A new title' : undefined));
  await page.goto(path);
  return page;
}

/** Writes something and sends it. */
export async function say(page, text) {
  await page.locator('#text').fill(text);
  await page.locator('#text').press('Enter');
}

/** The replies, as a person sees them. */
export const replies = (page) => page.locator('.message.assistant > .body');

/** Waits until the last reply is this text, whole. */
export async function replied(page, text) {
  await page.waitForFunction(
    (wanted) => {
      const last = [...document.querySelectorAll('.message.assistant > .body')].at(-1);
      return last?.innerText.trim() === wanted && document.getElementById('stop').hidden;
    },
    text,
    { timeout: PATIENCE },
  );
}

/** Waits until the last reply has this in it. */
export async function says(page, part, timeout = PATIENCE) {
  await page.waitForFunction(
    (wanted) => [...document.querySelectorAll('.message.assistant > .body')].at(-1)?.textContent.includes(wanted),
    part,
    { timeout },
  );
}

/** That nothing went wrong on the page. */
export function fine(page) {
  assert.deepEqual(page.faults, []);
}
