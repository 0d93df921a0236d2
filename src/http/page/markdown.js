// A model's Markdown, as it comes: block by block, so that a long text costs no more for each new word than a short one, and
// sanitised, since a model says whatever it was told to say.

/* global marked, DOMPurify, hljs */

/** Characters of a block without an end; beyond, it is cut at a line. */
const LONG_BLOCK = 16_384;

/** Characters of a line or a block of code that are looked at; beyond, it is plain text. */
const LONG_LINE = 65_536;

/** Characters of code that are highlighted. */
const LONG_CODE = 32_768;

/** Milliseconds that rendering may take of a frame. */
const BUDGET = 8;

const TEXT = {
  ALLOWED_TAGS: [
    'a', 'blockquote', 'br', 'code', 'del', 'em', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'hr', 'input', 'li', 'ol', 'p', 'pre',
    'span', 'strong', 'table', 'tbody', 'td', 'th', 'thead', 'tr', 'ul',
  ],
  ALLOWED_ATTR: ['align', 'checked', 'class', 'disabled', 'href', 'start', 'title', 'type'],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

const CODE = { ALLOWED_TAGS: ['span'], ALLOWED_ATTR: ['class'], RETURN_DOM_FRAGMENT: true };

const escape = (text) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

/** What is set up when the libraries are there, which come after this page's first paint. */
let isReady = false;
function prepare() {
  if (isReady) return;
  marked.use({
    gfm: true,
    breaks: true,
    renderer: {
      // Tags are what the text is about. Images would tell others who reads this: they are links.
      html: ({ text }) => escape(text),
      image: ({ href, text }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
    },
  });
  DOMPurify.addHook('afterSanitizeAttributes', (node) => {
    if (node.tagName === 'A' && node.hasAttribute('href')) {
      node.setAttribute('target', '_blank');
      node.setAttribute('rel', 'noopener noreferrer nofollow');
    }
    if (node.tagName === 'INPUT') {
      node.setAttribute('type', 'checkbox');
      node.setAttribute('disabled', '');
      node.setAttribute('aria-label', node.hasAttribute('checked') ? 'done' : 'to do');
    }
  });
  isReady = true;
}

/** A text in an element of the page, that grows. */
export class Markdown {
  #element;
  #text = '';
  /** Up to here it is rendered for good. */
  #stable = 0;
  /** Up to here its lines were looked at. */
  #seen = 0;
  #fence = null;
  #inList = false;
  #wasBlank = false;
  /** The elements of the last block, which is not whole. */
  #tail = [];
  /** The text node of a block that only grows, and how much of the text it has. */
  #plain = null;
  #isOver = false;
  #frame = 0;

  constructor(element) {
    prepare();
    this.#element = element;
  }

  get text() {
    return this.#text;
  }

  append(text) {
    this.#text += text;
    this.#schedule();
  }

  /** Nothing more comes. */
  finish() {
    this.#isOver = true;
    this.#schedule();
  }

  #schedule() {
    // A page in the background has no frames.
    this.#frame ||= document.hidden ? setTimeout(() => this.#render(), 100) : requestAnimationFrame(() => this.#render());
  }

  #render() {
    this.#frame = 0;
    const until = performance.now() + BUDGET;
    for (let end = this.#nextEnd(); end > 0; end = this.#nextEnd()) {
      this.#settle(end);
      if (performance.now() > until) return this.#schedule();
    }
    if (this.#isOver) this.#settle(this.#text.length);
    else this.#showTail();
    this.#element.dispatchEvent(new Event('grown', { bubbles: true }));
  }

  /** Where the next block ends that is whole; 0: nowhere yet. */
  #nextEnd() {
    for (;;) {
      const start = this.#seen;
      const end = this.#text.indexOf('\n', start);
      if (end < 0) return 0;
      const line = this.#text.slice(start, Math.min(end, start + 1000));
      const isFirst = start === this.#stable;
      const fence = /^( *)(`{3,}|~{3,})(.*)$/.exec(line);
      if (this.#fence) {
        this.#seen = end + 1;
        const closes = fence && fence[2].startsWith(this.#fence.marks) && !fence[3].trim();
        if (closes) {
          const isOwn = this.#fence.isOwn;
          this.#fence = null;
          if (isOwn) return this.#seen;
        }
        continue;
      }
      if (fence && (fence[2][0] === '~' || !fence[3].includes('`'))) {
        const isOwn = !this.#inList && fence[1].length < 4;
        if (isOwn && !isFirst) return start;
        this.#fence = { marks: fence[2], isOwn };
        this.#seen = end + 1;
        continue;
      }
      if (!line.trim()) {
        this.#wasBlank = true;
        this.#seen = end + 1;
        continue;
      }
      const isItem = /^ {0,3}(?:[-*+]|\d{1,9}[.)])\s/.test(line);
      const goesOn = this.#inList && (isItem || /^ {2,}|^\t/.test(line));
      if (!isFirst && this.#wasBlank && !goesOn) return start;
      if (!isFirst && start - this.#stable > LONG_BLOCK) return start;
      if (isFirst) this.#inList = isItem;
      this.#wasBlank = false;
      this.#seen = end + 1;
    }
  }

  /** Renders the next block for good. */
  #settle(end) {
    const source = this.#text.slice(this.#stable, end);
    for (const node of this.#tail) node.remove();
    [this.#tail, this.#plain] = [[], null];
    [this.#stable, this.#seen, this.#fence, this.#inList, this.#wasBlank] = [end, end, null, false, false];
    this.#element.append(...block(source, true));
  }

  /** Shows what there is of a block that is not whole. */
  #showTail() {
    const source = this.#text.slice(this.#stable);
    if (this.#plain && this.#plain.node.isConnected) {
      this.#plain.node.appendData(source.slice(this.#plain.length));
      this.#plain.length = source.length;
      return;
    }
    for (const node of this.#tail) node.remove();
    const grows = (this.#fence?.isOwn && source.includes('\n')) || source.length > LONG_BLOCK;
    if (grows) {
      const start = this.#fence?.isOwn ? source.indexOf('\n') + 1 : 0;
      const node = document.createTextNode(source.slice(start));
      this.#plain = { node, length: source.length };
      this.#tail = [this.#fence?.isOwn ? code(node, this.#language(source)) : paragraph(node)];
    } else {
      this.#tail = source.trim() ? block(source, false) : [];
    }
    this.#element.append(...this.#tail);
  }

  #language(source) {
    return /^ *(?:`{3,}|~{3,}) *([\w+#.-]*)/.exec(source)?.[1] ?? '';
  }
}

/** The elements of a block of Markdown. */
function block(source, isWhole) {
  if (!source.trim()) return [];
  if (source.length > LONG_LINE) {
    const fenced = /^ *(`{3,}|~{3,}) *([\w+#.-]*)[^\n]*\n([^]*?)(?:\n *\1\s*)?$/.exec(source);
    return [fenced ? code(document.createTextNode(fenced[3]), fenced[2]) : paragraph(document.createTextNode(source))];
  }
  let fragment;
  try {
    fragment = DOMPurify.sanitize(marked.parse(source), TEXT);
  } catch {
    return [paragraph(document.createTextNode(source))];
  }
  for (const old of fragment.querySelectorAll('pre')) {
    const inner = old.querySelector('code');
    const language = /language-([\w+#.-]+)/.exec(inner?.className ?? '')?.[1] ?? '';
    const text = old.textContent.replace(/\n$/, '');
    old.replaceWith(code(document.createTextNode(text), language, isWhole));
  }
  for (const table of fragment.querySelectorAll('table')) {
    const frame = document.createElement('div');
    frame.className = 'table';
    frame.tabIndex = 0;
    frame.setAttribute('role', 'region');
    frame.setAttribute('aria-label', 'Table');
    table.replaceWith(frame);
    frame.append(table);
  }
  return [...fragment.childNodes];
}

function paragraph(node) {
  const element = document.createElement('p');
  element.className = 'plain';
  element.append(node);
  return element;
}

/** A block of code, with its language, and a button to copy it. */
function code(node, language, highlights = false) {
  const frame = document.createElement('div');
  frame.className = 'code';
  const head = document.createElement('div');
  head.className = 'code-head';
  const name = document.createElement('span');
  name.textContent = language || 'code';
  const copy = document.createElement('button');
  copy.type = 'button';
  copy.textContent = 'Copy';
  copy.dataset.do = 'copy-code';
  copy.setAttribute('aria-label', 'Copy this code');
  head.append(name, copy);
  const pre = document.createElement('pre');
  pre.tabIndex = 0;
  pre.setAttribute('role', 'region');
  pre.setAttribute('aria-label', language ? `Code in ${language}` : 'Code');
  const inner = document.createElement('code');
  inner.append(node);
  if (highlights && hljs.getLanguage(language) && node.length < LONG_CODE) {
    const html = hljs.highlight(node.data, { language, ignoreIllegals: true }).value;
    inner.replaceChildren(DOMPurify.sanitize(html, CODE));
  }
  pre.append(inner);
  frame.append(head, pre);
  return frame;
}
