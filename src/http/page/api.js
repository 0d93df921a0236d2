// Requests to the server that this page came from.

/** An answer that says what is wrong. */
export class Refused extends Error {
  constructor(status, error) {
    super(error?.message ?? `The server answered ${status}.`);
    this.status = status;
    this.code = error?.code;
  }
}

/** Asks for something, and gives the JSON of the answer. */
export async function call(method, path, body, headers = {}) {
  const options = { method, headers: { accept: 'application/json', ...headers } };
  if (body !== undefined) {
    options.headers['content-type'] = 'application/json';
    options.body = JSON.stringify(body);
  }
  const response = await fetch(path, options);
  const text = await response.text();
  let answer = null;
  try {
    answer = text && JSON.parse(text);
  } catch {
    // A page of a proxy, say: the status tells enough.
  }
  if (!response.ok) throw new Refused(response.status, answer?.error);
  return answer;
}

/** Whether the same request may succeed later. */
export function mayPass(error) {
  return !(error instanceof Refused) || [429, 502, 503, 504].includes(error.status);
}

/** The same as `call`, again and again while the server is away; for requests that may be sent twice. */
export async function insist(method, path, body, headers, waits = () => {}) {
  for (let pause = 200; ; pause = Math.min(pause * 2, 3000)) {
    try {
      return await call(method, path, body, headers);
    } catch (error) {
      if (!mayPass(error)) throw error;
      waits(error);
      await sleep(pause);
    }
  }
}

export const sleep = (ms) => new Promise((wake) => setTimeout(wake, ms));

/** An `EventSource` that does not give up: where the browser would (after a 503, say), it is opened again behind the last event. */
export class Follower {
  #path;
  #source;
  #last = '';
  #pause = 200;
  #timer;
  #on;

  /** `on`: `event(data)`, `again()` where events may have been missed, `state(isOpen)`, `closed()` where the server ended it for good. */
  constructor(path, on) {
    this.#path = path;
    this.#on = on;
    this.#open();
  }

  #open() {
    const source = new EventSource(this.#last ? `${this.#path}?last_event_id=${encodeURIComponent(this.#last)}` : this.#path);
    this.#source = source;
    source.onopen = () => {
      this.#pause = 200;
      this.#on.state(true);
      // Also the first time: what was read meanwhile may be older than what is told from here on.
      if (!this.#last) this.#on.again();
    };
    source.onmessage = (event) => {
      if (event.lastEventId) this.#last = event.lastEventId;
      this.#on.event(JSON.parse(event.data));
    };
    source.onerror = () => {
      this.#on.state(false);
      if (source.readyState === EventSource.CLOSED) this.#later();
    };
  }

  #later() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(async () => {
      if (!(await this.#on.closed())) this.#open();
    }, this.#pause);
    this.#pause = Math.min(this.#pause * 2, 3000);
  }

  /** Opens it anew, from where it was: after a sleep the connection may be dead, and nobody has noticed. */
  renew() {
    this.close();
    this.#open();
  }

  close() {
    clearTimeout(this.#timer);
    this.#source.close();
  }
}
