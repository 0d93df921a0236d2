// A conversation: what was said, and what happens in it, here or in another tab.

import { Follower, Refused, call, insist, mayPass, sleep } from './api.js';

/** Items that are read at once. */
const PAGE = 50;

/** Where what was sent is noted until it is known to be accepted: a reload in between sends it again, under the same key. */
const PENDING = 'rejoinder.pending';

const ENDS = ['response.completed', 'response.incomplete', 'response.failed'];

export class Conversation {
  #messages;
  #on;
  #follower = null;
  /** Events that came before the items were read. */
  #waiting = null;
  #oldest = null;
  #hasMore = false;
  #generation = 0;
  id = null;
  /** The reply that is being generated. */
  running = null;

  /** `on`: `changed()`, `link(isOpen)`, `failed(text)`, `named(conversation)`, `gone()`, `ended(reply)`. */
  constructor(messages, on) {
    this.#messages = messages;
    this.#on = on;
  }

  get hasMore() {
    return this.#hasMore;
  }

  get #path() {
    return `/v1/conversations/${this.id}`;
  }

  /** Leaves it. */
  close() {
    this.#generation += 1;
    this.#follower?.close();
    [this.#follower, this.id, this.running, this.#oldest, this.#hasMore] = [null, null, null, null, false];
    this.#messages.clear();
    this.#on.link(true);
    this.#on.changed();
  }

  /** Opens the conversation of this id. */
  async open(id) {
    this.close();
    this.id = id;
    const generation = this.#generation;
    const isThis = () => generation === this.#generation;
    // First what happens, then what was: so nothing is missed between.
    this.#waiting = [];
    this.#follower = new Follower(`${this.#path}/events`, {
      event: (event) => isThis() && (this.#waiting ? this.#waiting.push(event) : this.#take(event)),
      again: () => isThis() && this.#catchUp(),
      state: (isOpen) => isThis() && this.#on.link(isOpen),
      closed: () => !isThis() || this.#isGone(),
    });
    const page = await insist('GET', `${this.#path}/items?limit=${PAGE}`, undefined, {}, () => this.#on.link(false));
    if (!isThis()) return;
    this.#show(page);
    this.#messages.toEnd();
    const waiting = this.#waiting;
    this.#waiting = null;
    for (const event of waiting) this.#take(event);
    this.#on.changed();
  }

  #show(page) {
    this.#messages.prepend([...page.data].reverse());
    [this.#oldest, this.#hasMore] = [page.last_id, page.has_more];
  }

  /** Reads what was before. */
  async earlier() {
    if (!this.#hasMore || !this.#oldest) return;
    const generation = this.#generation;
    const after = encodeURIComponent(this.#oldest);
    this.#hasMore = false;
    try {
      const page = await insist('GET', `${this.#path}/items?limit=${PAGE * 2}&after=${after}`);
      if (generation === this.#generation) this.#show(page);
    } catch (error) {
      // It can be asked for again, unless the last one that is known here was deleted.
      this.#hasMore = generation === this.#generation && error.status !== 400;
      throw error;
    } finally {
      this.#on.changed();
    }
  }

  /** Reads again what may have been missed. */
  async #catchUp() {
    const generation = this.#generation;
    const page = await insist('GET', `${this.#path}/items?limit=${PAGE}`);
    if (generation !== this.#generation) return;
    this.#messages.add([...page.data].reverse());
  }

  /** Whether the conversation is not there any more; whoever is not known any more has to sign in first. */
  async #isGone() {
    try {
      await call('GET', this.#path);
      return false;
    } catch (error) {
      if (error instanceof Refused && [401, 403].includes(error.status)) this.#on.failed(error);
      const isGone = error instanceof Refused && error.status === 404;
      if (isGone) this.#on.gone();
      return isGone;
    }
  }

  /** Opens the stream anew: the page was asleep. */
  renew() {
    this.#follower?.renew();
  }

  #take(event) {
    const { type } = event;
    if (ENDS.includes(type)) return this.#end(event);
    switch (type) {
      case 'conversation.items.added':
        this.#messages.add(event.items);
        break;
      case 'conversation.item.deleted':
        this.#messages.remove(event.item_id);
        break;
      case 'conversation.response.deleted':
        this.#messages.removeReply(event.response_id);
        break;
      case 'conversation.updated':
        this.#on.named(event.conversation);
        return;
      case 'conversation.deleted':
        this.#on.gone();
        return;
      case 'response.created':
        this.running = event.response.id;
        break;
      case 'response.output_item.added':
        this.#messages.add([event.item], false);
        break;
      case 'response.output_text.delta':
      case 'response.refusal.delta':
      case 'response.reasoning_text.delta':
      case 'response.reasoning_summary_text.delta':
        this.#messages.grow(event.item_id, 'text', event.delta);
        return;
      case 'response.function_call_arguments.delta':
        this.#messages.grow(event.item_id, 'arguments', event.delta);
        return;
      case 'response.output_item.done':
        this.#messages.done(event.item);
        return;
      default:
        return;
    }
    this.#on.changed();
  }

  #end(event) {
    const { response } = event;
    for (const item of response.output ?? []) this.#messages.done(item);
    // Told twice where it was stopped here.
    if (this.running !== response.id) return;
    this.running = null;
    if (event.type === 'response.failed') this.#on.failed(new Error(response.error?.message ?? 'The reply failed.'));
    this.#on.ended(response);
    this.#on.changed();
  }

  /** Says something; with `from` in the place of that item, which goes with all that came after it. */
  async send(content, options, from) {
    if (!this.id) {
      const made = await insist('POST', '/v1/conversations', {}, {}, () => this.#on.link(false));
      this.#on.made(made.id);
      await this.open(made.id);
    }
    const input = [{ type: 'message', role: 'user', content }];
    const body = { ...options, conversation: this.id, input, background: true };
    if (from) await this.stop();
    const key = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
    await this.#post({ body, key, instead: from ? this.#messages.from(from) : [] });
  }

  async #post(pending) {
    const { body, key, instead = [] } = pending;
    // Before anything is taken away: a reload in the middle loses nothing of it.
    note(pending);
    try {
      await this.#takeAway(instead);
      const reply = await insist('POST', '/v1/responses', body, { 'idempotency-key': key }, () => this.#on.link(false));
      this.#on.accepted(reply);
    } finally {
      note(null);
    }
  }

  /** Sends again what was not known to be accepted when the page went. */
  async resume() {
    let pending = null;
    try {
      pending = JSON.parse(sessionStorage.getItem(PENDING));
    } catch {
      // It was none of ours.
    }
    if (pending?.body?.conversation === this.id) await this.#post(pending);
  }

  /** Takes items away, the last first. */
  async #takeAway(items) {
    for (const item of items) {
      try {
        await insist('DELETE', `${this.#path}/items/${item}`);
      } catch (error) {
        // Another tab was faster.
        if (!(error instanceof Refused && error.status === 404)) throw error;
      }
      this.#messages.remove(item);
    }
  }

  /** Stops the reply that runs, and waits until it has ended. */
  async stop() {
    const reply = this.running;
    if (!reply) return;
    try {
      const stopped = await insist('POST', `/v1/responses/${reply}/cancel`);
      this.#end({ type: 'response.incomplete', response: stopped });
    } catch (error) {
      if (!mayPass(error) && error.status !== 404) throw error;
    }
    while (this.running === reply) await sleep(50);
  }
}

function note(pending) {
  try {
    if (pending) sessionStorage.setItem(PENDING, JSON.stringify(pending));
    else sessionStorage.removeItem(PENDING);
  } catch {
    // An image may be more than it takes: then a reload does not send it again.
  }
}
