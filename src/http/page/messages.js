// The messages of a conversation on the page: items as elements, which grow while a reply is generated.

import { Markdown } from './markdown.js';

const ROLES = { user: 'You', assistant: 'Reply', system: 'System', developer: 'System' };

/** The list of messages. */
export class Messages {
  #element;
  #log;
  #items = new Map();
  /** Whether the end is in sight, and is to stay so. */
  #follows = true;

  constructor(element, log) {
    this.#element = element;
    this.#log = log;
    log.addEventListener('scroll', () => {
      this.#follows = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
    });
    element.addEventListener('grown', () => this.#stay());
  }

  /** Takes all away. */
  clear() {
    this.#items.clear();
    this.#element.replaceChildren();
    this.#follows = true;
  }

  get isEmpty() {
    return this.#items.size === 0;
  }

  /** The ids of an item, and of all after it, the last first. */
  from(id) {
    const ids = [...this.#element.children].map((child) => child.dataset.item);
    return ids.slice(ids.indexOf(id)).reverse();
  }

  has(id) {
    return this.#items.has(id);
  }

  /** What a person wrote: its text, and its parts. */
  item(id) {
    return this.#items.get(id)?.item;
  }

  /** The last thing that a person wrote. */
  lastOwn() {
    return [...this.#element.querySelectorAll('.user')].at(-1)?.dataset.item;
  }

  /** Adds items at the end. */
  add(items, isWhole = true) {
    for (const item of items) {
      if (this.#items.has(item.id)) continue;
      const entry = new Entry(item, isWhole);
      this.#items.set(item.id, entry);
      this.#element.append(entry.element);
    }
    this.#stay();
  }

  /** Adds items before all others, oldest first, and keeps in sight what is. */
  prepend(items) {
    const before = this.#log.scrollHeight - this.#log.scrollTop;
    const entries = items.filter((item) => !this.#items.has(item.id)).map((item) => new Entry(item, true));
    this.#element.prepend(...entries.map((entry) => entry.element));
    for (const entry of entries) this.#items.set(entry.item.id, entry);
    this.#log.scrollTop = this.#log.scrollHeight - before;
  }

  /** A piece of an item that grows. What is whole already is only told again. */
  grow(id, kind, text) {
    const entry = this.#items.get(id);
    if (entry && !entry.isWhole) entry.grow(kind, text);
  }

  /** An item is whole. */
  done(item) {
    const entry = this.#items.get(item.id);
    if (entry && !entry.isWhole) entry.done(item);
  }

  remove(id) {
    this.#items.get(id)?.element.remove();
    this.#items.delete(id);
  }

  /** Takes away what a reply generated, and what it was asked. */
  removeReply(reply) {
    const own = reply.replace(/^resp_/, '');
    for (const id of [...this.#items.keys()]) if (id.includes(own)) this.remove(id);
  }

  /** Goes to the end. */
  toEnd() {
    this.#follows = true;
    this.#stay();
  }

  #stay() {
    if (this.#follows) this.#log.scrollTop = this.#log.scrollHeight;
  }
}

/** An item, and its element. */
class Entry {
  #body;
  #text;
  #summary;

  constructor(item, isWhole) {
    this.item = item;
    this.isWhole = false;
    const element = document.createElement('article');
    this.element = element;
    element.dataset.item = item.id;
    this.#make();
    if (isWhole) this.done(item);
    else element.classList.add('grows');
  }

  #make() {
    const { item, element } = this;
    if (item.type === 'message') {
      element.className = `message ${item.role}`;
      element.setAttribute('aria-label', ROLES[item.role] ?? item.role);
      this.#body = make('div', 'body');
      element.append(this.#body);
      if (item.role === 'assistant') this.#text = new Markdown(this.#body);
      return;
    }
    element.className = `aside ${item.type}`;
    const details = make('details');
    this.#summary = make('summary');
    this.#summary.textContent = this.#name();
    this.#body = make('div', 'body');
    details.append(this.#summary, this.#body);
    element.append(details);
    element.setAttribute('aria-label', this.#name());
    if (item.type === 'reasoning') {
      this.#text = new Markdown(this.#body);
    } else {
      const pre = make('pre');
      pre.tabIndex = 0;
      this.#body.append(pre);
    }
  }

  #name() {
    const { item } = this;
    if (item.type === 'reasoning') return this.isWhole ? 'Thoughts' : 'Thinking …';
    if (item.type === 'function_call') return `Calls ${item.name}`;
    return item.type === 'function_call_output' ? 'Result of the call' : item.type;
  }

  grow(kind, text) {
    if (kind === 'arguments') this.#body.firstChild.append(text);
    else this.#text?.append(text);
  }

  done(item) {
    this.item = item;
    this.isWhole = true;
    this.element.classList.remove('grows');
    if (item.type === 'message' && item.role !== 'assistant') this.#showParts(item.content);
    else if (this.#text) this.#finish(textOf(item));
    else this.#body.firstChild.textContent = item.arguments ?? (typeof item.output === 'string' ? item.output : JSON.stringify(item.output, null, 2));
    if (this.#summary) this.#summary.textContent = this.#name();
    if (item.type === 'message') this.#addActions();
  }

  /** What came in pieces is all there is, unless pieces are missing. */
  #finish(whole) {
    const known = this.#text.text;
    if (whole.startsWith(known)) {
      this.#text.append(whole.slice(known.length));
    } else {
      this.#body.replaceChildren();
      this.#text = new Markdown(this.#body);
      this.#text.append(whole);
    }
    this.#text.finish();
  }

  #showParts(parts) {
    this.#body.replaceChildren();
    for (const part of parts) {
      if (part.type === 'input_image') {
        const image = make('img');
        // Others' addresses are not asked: that would tell them who reads this.
        if (/^data:image\/(?:png|jpeg|webp|gif);/.test(part.image_url)) image.src = part.image_url;
        image.alt = 'An image that you sent';
        this.#body.append(image);
      } else {
        const text = make('p', 'plain');
        text.textContent = part.text ?? part.transcript ?? '';
        this.#body.append(text);
      }
    }
  }

  #addActions() {
    const actions = make('div', 'actions');
    const kinds = this.item.role === 'user' ? [['copy', 'Copy'], ['edit', 'Edit']] : [['copy', 'Copy'], ['again', 'Regenerate']];
    for (const [name, label] of kinds) {
      const button = make('button');
      button.type = 'button';
      button.textContent = label;
      button.dataset.do = name;
      button.dataset.of = this.item.id;
      actions.append(button);
    }
    this.element.append(actions);
  }
}

/** All text of an item. */
export function textOf(item) {
  const parts = item.type === 'reasoning' ? [...(item.content ?? []), ...(item.summary ?? [])] : (item.content ?? []);
  return parts.map((part) => part.text ?? part.transcript ?? part.refusal ?? '').join(item.type === 'reasoning' ? '\n\n' : '');
}

function make(tag, name = '') {
  const element = document.createElement(tag);
  if (name) element.className = name;
  return element;
}
