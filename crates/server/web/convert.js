// Files that the server reads, made of what a browser has: pictures of other kinds, sounds, what was recorded.

/** Samples in a second of sounds that are made here, which is what models hear. */
const RATE = 16_000;

/** In base64, in pieces that a call can take. */
export function base64(data) {
  let binary = "";
  for (let i = 0; i < data.length; i += 0x8000) {
    binary += String.fromCharCode(...data.subarray(i, i + 0x8000));
  }
  return btoa(binary);
}

/** The bytes of a PNG that shows `blob`; throws if the browser cannot show it. */
export async function toPng(blob) {
  const shown = await createImageBitmap(blob);
  const canvas = new OffscreenCanvas(shown.width, shown.height);
  canvas.getContext("2d").drawImage(shown, 0, 0);
  const png = await canvas.convertToBlob({ type: "image/png" });
  return new Uint8Array(await png.arrayBuffer());
}

/** The mean of all channels. */
function mono(buffer) {
  const samples = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    buffer.getChannelData(channel).forEach((sample, i) => (samples[i] += sample / buffer.numberOfChannels));
  }
  return samples;
}

/** The bytes of a WAV file of what `data` sounds like; throws if the browser cannot play it. */
export async function toWav(data) {
  // Decoding goes to the rate of its context.
  const decoder = new OfflineAudioContext(1, 1, RATE);
  return wav(mono(await decoder.decodeAudioData(data.slice().buffer)));
}

/** The bytes of a WAV file of `samples`, of which there are `rate` in a second. */
export async function recorded(samples, rate) {
  if (rate === RATE) return wav(samples);
  const context = new OfflineAudioContext(1, Math.max(1, Math.ceil((samples.length * RATE) / rate)), RATE);
  const buffer = context.createBuffer(1, Math.max(1, samples.length), rate);
  buffer.copyToChannel(samples, 0);
  const source = new AudioBufferSourceNode(context, { buffer });
  source.connect(context.destination);
  source.start();
  return wav((await context.startRendering()).getChannelData(0));
}

/** Mono, 16 bits. */
function wav(samples) {
  const bytes = new Uint8Array(44 + 2 * samples.length);
  const view = new DataView(bytes.buffer);
  const text = (at, word) => [...word].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, bytes.length - 8, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, RATE, true);
  view.setUint32(28, 2 * RATE, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, i) => {
    view.setInt16(44 + 2 * i, Math.round(32767 * Math.min(1, Math.max(-1, sample))), true);
  });
  return bytes;
}
