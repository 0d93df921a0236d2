// What a person says: recorded as the browser can, and made what every speech recognition reads, 16 kHz WAV of one channel.

const RATE = 16_000;

/** Nobody speaks longer at once. */
const LONGEST_MS = 5 * 60_000;

/** Whether this browser records: over plain HTTP only on this machine. */
export const records = () => Boolean(navigator.mediaDevices?.getUserMedia && globalThis.MediaRecorder && globalThis.OfflineAudioContext);

export class Microphone {
  #recorder = null;
  #pieces = [];
  #timer;

  get isOn() {
    return this.#recorder !== null;
  }

  /** Begins to record; `ended` is called when it has to end. */
  async start(ended) {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, noiseSuppression: true } }).catch((error) => {
      throw new Error(error.name === 'NotAllowedError' ? 'The microphone may not be used.' : 'No microphone can be used.');
    });
    this.#pieces = [];
    this.#recorder = new MediaRecorder(stream);
    this.#recorder.addEventListener('dataavailable', ({ data }) => this.#pieces.push(data));
    this.#recorder.start();
    this.#timer = setTimeout(ended, LONGEST_MS);
  }

  /** Ends the recording. The part of a message that holds it. */
  async stop() {
    const recorder = this.#recorder;
    this.#recorder = null;
    clearTimeout(this.#timer);
    await new Promise((resolve) => {
      recorder.addEventListener('stop', resolve, { once: true });
      recorder.stop();
    });
    for (const track of recorder.stream.getTracks()) track.stop();
    const recorded = await new Blob(this.#pieces).arrayBuffer();
    this.#pieces = [];
    const decoded = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(recorded).catch(() => {
      throw new Error('Nothing was recorded.');
    });
    return { type: 'input_audio', input_audio: { data: base64(wav(mixed(decoded))), format: 'wav' } };
  }
}

/** All channels as one. */
function mixed(decoded) {
  const sum = new Float32Array(decoded.length);
  for (let channel = 0; channel < decoded.numberOfChannels; channel++) {
    decoded.getChannelData(channel).forEach((sample, place) => (sum[place] += sample / decoded.numberOfChannels));
  }
  return sum;
}

function wav(samples) {
  const bytes = new DataView(new ArrayBuffer(44 + samples.length * 2));
  const text = (place, word) => [...word].forEach((letter, index) => bytes.setUint8(place + index, letter.charCodeAt(0)));
  text(0, 'RIFF');
  bytes.setUint32(4, 36 + samples.length * 2, true);
  text(8, 'WAVEfmt ');
  [[16, 16], [24, RATE], [28, RATE * 2], [40, samples.length * 2]].forEach(([place, value]) => bytes.setUint32(place, value, true));
  // PCM, one channel, two bytes a sample.
  [[20, 1], [22, 1], [32, 2], [34, 16]].forEach(([place, value]) => bytes.setUint16(place, value, true));
  text(36, 'data');
  samples.forEach((sample, place) => bytes.setInt16(44 + place * 2, Math.max(-1, Math.min(1, sample)) * 0x7fff, true));
  return new Uint8Array(bytes.buffer);
}

function base64(bytes) {
  let text = '';
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}
