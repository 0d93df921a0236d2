// The list of conversations.

import { call, insist } from './api.js';

/** Conversations that are read at once. */
const PAGE = 50;

/** Tells the other tabs of this browser that the list has changed. */
const tabs = 'BroadcastChannel' in window ? new BroadcastChannel('rejoinder') : null;

export class Side {
  #list;
  #more;
  #known = new Map();
  #after = null;
  #current = null;
  #reading = null;

  constructor(list, more) {
    [this.#list, this.#more] = [list, more];
    more.addEventListener('click', () => this.#read(this.#after));
    tabs?.addEventListener('message', () => this.refresh());
    // Arrows go from one to the next.
    list.addEventListener('keydown', (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step) return;
      const links = [...list.querySelectorAll('a')];
      const next = links[links.indexOf(document.activeElement) + step];
      next?.focus();
      event.preventDefault();
    });
  }

  /** Reads the newest again. */
  async refresh() {
    // One question at a time, and one more where something changed meanwhile.
    if (this.#reading) return (this.#reading.again = true);
    this.#reading = { again: false };
    try {
      await this.#read(null);
    } finally {
      const { again } = this.#reading;
      this.#reading = null;
      if (again) this.refresh();
    }
  }

  async #read(after) {
    const page = await insist('GET', `/v1/conversations?limit=${PAGE}${after ? `&after=${encodeURIComponent(after)}` : ''}`);
    if (!after) this.#known.clear();
    for (const conversation of page.data) this.#known.set(conversation.id, conversation);
    this.#after = page.last_id;
    this.#more.hidden = !page.has_more;
    this.#show();
  }

  /** Notes which one is open. */
  select(id) {
    this.#current = id;
    this.#show();
  }

  title(id) {
    return this.#known.get(id)?.title;
  }

  /** Gives a conversation another title. */
  async rename(id, title) {
    const { metadata } = await call('GET', `/v1/conversations/${id}`);
    await call('POST', `/v1/conversations/${id}`, { metadata: { ...metadata, title } });
    this.changed();
  }

  async remove(id) {
    await call('DELETE', `/v1/conversations/${id}`);
    this.changed();
  }

  /** Something changed here: also the other tabs want to know. */
  changed() {
    tabs?.postMessage('changed');
    return this.refresh();
  }

  #show() {
    const focused = document.activeElement?.closest?.('#list a')?.dataset.id;
    this.#list.replaceChildren(
      ...[...this.#known.values()].map(({ id, title, active_at }) => {
        const item = document.createElement('li');
        const link = document.createElement('a');
        link.href = `#${id}`;
        link.dataset.id = id;
        link.textContent = title || 'Untitled';
        link.title = `${title || 'Untitled'} · ${new Date(active_at * 1000).toLocaleString()}`;
        if (id === this.#current) link.setAttribute('aria-current', 'page');
        item.append(link);
        return item;
      }),
    );
    if (focused) this.#list.querySelector(`a[data-id="${CSS.escape(focused)}"]`)?.focus();
  }
}
