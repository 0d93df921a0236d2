// What a person writes: text and images, new or in place of what was said before.

/** The longest side of an image that is sent, in pixels: models see no more. */
const LONGEST_SIDE = 2048;

/** Bytes of an image that is sent as it is. */
const SMALL = 1_000_000;

const KINDS = ['image/png', 'image/jpeg', 'image/webp', 'image/gif'];

export class Composer {
  #form;
  #text;
  #images;
  #shown = [];
  #on;

  /** `on`: `send(parts)`, `edit()` for the last message, `failed(error)`. */
  constructor(form, on) {
    [this.#form, this.#on] = [form, on];
    this.#text = form.querySelector('#text');
    this.#images = form.querySelector('#images');
    const file = form.querySelector('#file');
    form.querySelector('#attach').addEventListener('click', () => file.click());
    file.addEventListener('change', () => {
      this.#add([...file.files]);
      file.value = '';
    });
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#text.addEventListener('input', () => this.#fit());
    this.#text.addEventListener('keydown', (event) => this.#key(event));
    this.#text.addEventListener('paste', (event) => {
      const files = [...(event.clipboardData?.files ?? [])].filter((one) => KINDS.includes(one.type));
      if (files.length) event.preventDefault();
      this.#add(files);
    });
    document.addEventListener('dragover', (event) => event.preventDefault());
    document.addEventListener('drop', (event) => {
      event.preventDefault();
      this.#add([...(event.dataTransfer?.files ?? [])]);
    });
  }

  #key(event) {
    // A word that is being composed (Chinese, Japanese …) is ended with Enter, too.
    if (event.isComposing) return;
    const isTouch = matchMedia('(pointer: coarse)').matches;
    if (event.key === 'Enter' && !event.shiftKey && !isTouch) {
      event.preventDefault();
      this.#form.requestSubmit();
    } else if (event.key === 'ArrowUp' && !this.#text.value && !this.#shown.length) {
      event.preventDefault();
      this.#on.edit();
    }
  }

  #send() {
    const { parts } = this;
    if (parts.length) this.#on.send(parts);
  }

  /** What is written so far. */
  get parts() {
    const text = this.#text.value.trim();
    const parts = this.#shown.map((url) => ({ type: 'input_image', image_url: url }));
    if (text) parts.unshift({ type: 'input_text', text });
    return parts;
  }

  /** What is written, to be given back if it cannot be sent. */
  set(parts) {
    this.#text.value = parts.map((part) => part.text ?? part.transcript).filter(Boolean).join('\n');
    this.#shown = parts.filter((part) => part.image_url).map((part) => part.image_url);
    this.#show();
    this.#fit();
  }

  get isEmpty() {
    return !this.#text.value.trim() && !this.#shown.length;
  }

  focus() {
    this.#text.focus();
  }

  async #add(files) {
    for (const file of files) {
      try {
        if (!KINDS.includes(file.type)) throw new Error(`${file.name || 'This'} is no image that can be sent.`);
        this.#shown.push(await read(file));
      } catch (error) {
        this.#on.failed(error);
      }
    }
    this.#show();
  }

  #show() {
    this.#images.replaceChildren(
      ...this.#shown.map((url, place) => {
        const button = document.createElement('button');
        button.type = 'button';
        button.className = 'thumb';
        button.setAttribute('aria-label', `Remove image ${place + 1}`);
        const image = document.createElement('img');
        [image.src, image.alt] = [url, ''];
        button.append(image);
        button.addEventListener('click', () => {
          this.#shown.splice(place, 1);
          this.#show();
          this.focus();
        });
        return button;
      }),
    );
  }

  #fit() {
    this.#text.style.height = 'auto';
    this.#text.style.height = `${Math.min(this.#text.scrollHeight, innerHeight / 3)}px`;
  }
}

/** An image as a `data:` URL, no larger than a model looks at. */
async function read(file) {
  if (file.size > SMALL && file.type !== 'image/gif') {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [Math.round(bitmap.width * scale), Math.round(bitmap.height * scale)];
    canvas.getContext('2d').drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    return canvas.toDataURL('image/jpeg', 0.85);
  }
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error('The image cannot be read.'));
    reader.readAsDataURL(file);
  });
}
