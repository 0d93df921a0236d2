// Puts the page together: the list, the conversation that is open, what is written, and who is signed in.

import { Refused, call, insist } from './api.js';
import { Composer } from './composer.js';
import { Conversation } from './conversation.js';
import { Messages, textOf } from './messages.js';
import { Microphone, records } from './microphone.js';
import { Side } from './side.js';

const $ = (id) => document.getElementById(id);

/** After so long out of sight a connection may be dead, and nobody has noticed. */
const ASLEEP_MS = 30_000;

/** Messages from before are read when so little is left above. */
const NEAR_PX = 400;

/** What is edited: the item that it takes the place of. */
let edited = null;
let hidden = 0;
let player = null;

const side = new Side($('list'), $('more'));
const messages = new Messages($('messages'), $('log'));
const conversation = new Conversation(messages, {
  changed: show,
  link: (isOpen) => ($('link').textContent = isOpen ? '' : 'Reconnecting …'),
  failed: (error) => fail(error),
  named: () => side.refresh().then(show),
  made: (id) => history.replaceState(null, '', `#${id}`),
  accepted: (reply) => speak(reply),
  ended: (response) => {
    const words = { completed: 'The reply is complete.', cancelled: 'The reply was stopped.', failed: 'The reply failed.' };
    $('status').textContent = words[response.status] ?? 'The reply ended early.';
    side.refresh().then(show);
  },
  gone: () => {
    fail(new Error('This conversation is not there any more.'));
    leave();
    side.refresh();
  },
});
const microphone = new Microphone();
const composer = new Composer($('composer'), { send, edit: () => edit(messages.lastOwn()), failed: fail });

function show() {
  const { id, running } = conversation;
  const title = (id && side.title(id)) || (id ? 'Untitled' : 'New conversation');
  $('title').textContent = title;
  document.title = `${title} · rejoinder`;
  $('rename').hidden = $('remove').hidden = !id;
  $('stop').hidden = !running;
  $('send').hidden = Boolean(running);
  $('earlier').hidden = !conversation.hasMore;
  $('welcome').hidden = Boolean(id) || !messages.isEmpty;
  $('editing').hidden = !edited;
  $('log').setAttribute('aria-busy', String(Boolean(running)));
}

/** Says what did not work, or takes it back. */
function fail(error) {
  if (error instanceof Refused && error.status === 401) return askWho();
  $('notice').hidden = !error;
  $('notice').textContent = error?.message ?? '';
}

async function tried(work) {
  try {
    fail(null);
    return await work();
  } catch (error) {
    fail(error);
    return undefined;
  }
}

async function send(parts) {
  if (conversation.running) return;
  const from = edited;
  edited = null;
  composer.set([]);
  messages.toEnd();
  const speaks = $('voice').getAttribute('aria-pressed') === 'true';
  const options = { model: $('model').value || undefined };
  if (speaks) Object.assign(options, { modalities: ['text', 'audio'], audio: { format: 'wav' } });
  const sent = await tried(async () => {
    await conversation.send(parts, options, from);
    side.select(conversation.id);
    await side.changed();
    return true;
  });
  // What was not sent is not lost.
  if (!sent && composer.isEmpty) composer.set(parts);
  show();
}

/** Begins to record what is asked; the second time, sends it. */
async function record() {
  const isOn = microphone.isOn;
  if (!isOn && conversation.running) return;
  $('microphone').setAttribute('aria-pressed', String(!isOn));
  if (isOn) {
    await send([...composer.parts, await microphone.stop()]);
    return;
  }
  try {
    player?.pause();
    await microphone.start(() => tried(record));
  } catch (error) {
    $('microphone').setAttribute('aria-pressed', 'false');
    throw error;
  }
}

function edit(id) {
  const item = id && messages.item(id);
  if (!item) return;
  edited = id;
  composer.set(item.content);
  composer.focus();
  show();
}

/** Asks again what a reply answered. */
function again(id) {
  const place = [...$('messages').children];
  const at = place.findIndex((element) => element.dataset.item === id);
  const asked = place.slice(0, at).findLast((element) => element.classList.contains('user'));
  if (!asked || conversation.running) return;
  const { content } = messages.item(asked.dataset.item);
  edited = asked.dataset.item;
  send(content);
}

/** Has a reply be heard that is to be spoken. */
function speak(reply) {
  if (!reply.modalities?.includes('audio') && $('voice').getAttribute('aria-pressed') !== 'true') return;
  player?.pause();
  player = new Audio(`/v1/responses/${reply.id}/audio`);
  player.play().catch(() => {
    // It has no voice after all, or the browser wants to be asked first.
  });
}

/** Puts a text into the clipboard. Over plain HTTP only a selection can be copied. */
async function copy(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
  } else {
    const area = document.body.appendChild(document.createElement('textarea'));
    area.value = text;
    area.select();
    document.execCommand('copy');
    area.remove();
  }
  $('status').textContent = 'Copied.';
}

async function go() {
  const id = /^#(conv_\w+)$/.exec(location.hash)?.[1] ?? '';
  if (id === (conversation.id ?? '')) return;
  if (!id) return leave();
  edited = null;
  side.select(id);
  await tried(async () => {
    await conversation.open(id);
    await conversation.resume();
  });
  if (!conversation.id) return;
  show();
  composer.focus();
}

function leave() {
  edited = null;
  history.replaceState(null, '', location.pathname);
  conversation.close();
  side.select(null);
  composer.focus();
}

function drawer(isOpen) {
  document.body.classList.toggle('drawn', isOpen);
  $('menu').setAttribute('aria-expanded', String(isOpen));
  if (isOpen) $('new').focus();
}

function theme(next) {
  const all = ['system', 'light', 'dark'];
  let name = all.includes(localStorage.theme) ? localStorage.theme : 'system';
  if (next) name = all[(all.indexOf(name) + 1) % all.length];
  localStorage.theme = name;
  document.documentElement.dataset.theme = name;
  $('theme').textContent = `Theme: ${name}`;
}

function askWho() {
  if (!$('door').open) $('door').showModal();
}

async function signIn(event) {
  event.preventDefault();
  try {
    await call('POST', '/v1/session', undefined, { authorization: `Bearer ${$('key').value.trim()}` });
    $('key').value = '';
    $('door').close();
    await start();
  } catch (error) {
    $('refused').hidden = false;
    $('refused').textContent = error instanceof Refused && error.status === 401 ? 'This key is not known here.' : error.message;
  }
}

async function start() {
  try {
    const session = await insist('GET', '/v1/session', undefined, {}, () => ($('link').textContent = 'Waiting for the server …'));
    $('link').textContent = '';
    $('leave').hidden = !session.tenant;
    const [models] = await Promise.all([insist('GET', '/v1/models'), side.refresh()]);
    $('model').replaceChildren(...models.data.map(({ id }) => new Option(id, id)));
    const wanted = localStorage.model;
    if (models.data.some(({ id }) => id === wanted)) $('model').value = wanted;
  } catch (error) {
    return fail(error);
  }
  await go();
  show();
}

$('messages').addEventListener('click', (event) => {
  const button = event.target.closest('button[data-do]');
  if (!button) return;
  const { do: what, of } = button.dataset;
  if (what === 'copy-code') tried(() => copy(button.closest('.code').querySelector('code').textContent));
  if (what === 'copy') tried(() => copy(textOf(messages.item(of))));
  if (what === 'edit') edit(of);
  if (what === 'again') again(of);
});
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  composer.focus();
});
$('stop').addEventListener('click', () => tried(() => conversation.stop()));
$('earlier').addEventListener('click', () => tried(() => conversation.earlier()));
$('undo').addEventListener('click', () => {
  edited = null;
  composer.set([]);
  show();
});
$('new').addEventListener('click', () => {
  drawer(false);
  leave();
});
$('menu').addEventListener('click', () => drawer(!document.body.classList.contains('drawn')));
$('veil').addEventListener('click', () => drawer(false));
$('list').addEventListener('click', () => drawer(false));
$('rename').addEventListener('click', () => {
  const title = prompt('Title', $('title').textContent)?.trim();
  if (title) tried(() => side.rename(conversation.id, title).then(show));
});
$('remove').addEventListener('click', () => {
  const { id } = conversation;
  if (confirm('Delete this conversation?')) tried(() => side.remove(id).then(leave));
});
$('theme').addEventListener('click', () => theme(true));
$('voice').addEventListener('click', () => {
  const isOn = $('voice').getAttribute('aria-pressed') !== 'true';
  $('voice').setAttribute('aria-pressed', String(isOn));
  if (!isOn) player?.pause();
});
$('microphone').addEventListener('click', () => tried(record));
$('model').addEventListener('change', () => (localStorage.model = $('model').value));
$('sign-in').addEventListener('submit', signIn);
$('leave').addEventListener('click', async () => {
  await tried(() => call('DELETE', '/v1/session'));
  location.reload();
});
$('log').addEventListener('scroll', () => {
  if ($('log').scrollTop < NEAR_PX && conversation.hasMore) tried(() => conversation.earlier());
});
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && document.body.classList.contains('drawn')) drawer(false);
  else if (event.key === 'Escape' && conversation.running) tried(() => conversation.stop());
  else if (event.key.toLowerCase() === 'o' && event.ctrlKey && event.shiftKey) {
    event.preventDefault();
    leave();
  }
});
document.addEventListener('visibilitychange', () => {
  if (document.hidden) hidden = Date.now();
  else if (conversation.id) {
    if (Date.now() - hidden > ASLEEP_MS) conversation.renew();
    side.refresh();
  }
});
addEventListener('online', () => conversation.id && conversation.renew());
addEventListener('hashchange', go);

$('microphone').hidden = document.body.dataset.hearing !== 'on' || !records();
$('voice').hidden = document.body.dataset.voice !== 'on';
theme(false);
show();
start();
