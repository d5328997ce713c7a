// What is added to a question: files of text, pictures and sounds, as the parts of a message that they become.

import { base64, toPng, toWav } from "./convert.js";
import { icon, make, tool } from "./dom.js";
import { bytes, several } from "./words.js";

/** What the model that answers can do beside reading; set by `app.js`. */
export const senses = { model: "", sees: false, hears: false };

/** Why a file is not taken, in a sentence. */
export class Refusal extends Error {}

/** What is known of the parts that this page made. Their bytes stay in memory until it is closed. */
const made = new WeakMap();

/** Media types that the server reads, and what OpenAI's interface calls those of sounds. */
const FORMATS = { "audio/wav": "wav", "audio/mpeg": "mp3", "audio/flac": "flac", "audio/ogg": "ogg" };

/** The media type by the first bytes, as the server tells it; null if it reads no such thing. */
function typeOf(data) {
  const signs = String.fromCharCode(...data.subarray(0, 36));
  const is = (sign, at = 0) => signs.startsWith(sign, at);
  if (is("\x89PNG")) return "image/png";
  if (is("\xff\xd8\xff")) return "image/jpeg";
  if (is("GIF8")) return "image/gif";
  if (is("RIFF") && is("WEBP", 8)) return "image/webp";
  if (is("RIFF") && is("WAVE", 8)) return "audio/wav";
  if (is("fLaC")) return "audio/flac";
  if (is("OggS") && is("\x01vorbis", 28)) return "audio/ogg";
  // A frame of MPEG audio, layer III.
  if (is("ID3") || (data[0] === 0xff && (data[1] & 0xe6) === 0xe2)) return "audio/mpeg";
  return null;
}

/** What the server reads, made of what only the browser does. */
async function converted(data, type) {
  if (/^image\//.test(type)) return toPng(new Blob([data], { type })).catch(() => null);
  if (/^(audio|video)\//.test(type)) return toWav(data).catch(() => null);
  return null;
}

function textPart(name, data) {
  if (data.includes(0)) throw new Refusal(`${name} is not text; choose a text file.`);
  return { type: "file", file: { filename: name, file_data: base64(data) } };
}

/**
 * The part that `file` becomes.
 *
 * Throws a `Refusal` if it cannot be read, or not by this model.
 */
export async function partOf(file) {
  const { name } = file;
  let data = await file.arrayBuffer().then((read) => new Uint8Array(read), () => null);
  if (data === null) throw new Refusal(`${name} cannot be read; choose a file, not a folder.`);
  if (data.length === 0) throw new Refusal(`${name} is empty; choose another file.`);
  let type = typeOf(data);
  // A picture may be text too, as those of SVG are.
  const other = type === null && data.includes(0) ? file.type : "";
  const kind = { image: "picture", audio: "sound", video: "sound" }[(type ?? other).split("/")[0]];
  if (kind === undefined) return textPart(name, data);
  if (!(kind === "picture" ? senses.sees : senses.hears)) {
    const lack = kind === "picture" ? "see" : "hear";
    throw new Refusal(`${name} is a ${kind}, and ${senses.model || "the model"} does not ${lack}; choose another file.`);
  }
  if (type === null) {
    data = await converted(data, other);
    const expected = kind === "picture" ? "PNG, JPEG, WebP or GIF" : "WAV, MP3, FLAC or Ogg Vorbis";
    if (data === null) throw new Refusal(`${name} cannot be decoded; choose a ${kind} in ${expected}.`);
    type = kind === "picture" ? "image/png" : "audio/wav";
  }
  const encoded = base64(data);
  const part =
    kind === "picture"
      ? { type: "image_url", image_url: { url: `data:${type};base64,${encoded}` } }
      : { type: "input_audio", input_audio: { data: encoded, format: FORMATS[type] } };
  const url = URL.createObjectURL(new Blob([data], { type }));
  made.set(part, { kind, name, size: data.length, url });
  return part;
}

/** Bytes of what is in base64, with or without `data:TYPE;base64,` in front. */
const size = (data) => Math.floor((data.slice(data.indexOf(",") + 1).replace(/=+$/, "").length * 3) / 4);

/** Kind, name, and size in bytes or tokens of a part that is not said; with its address if it is at hand. */
export function facts(part) {
  const { type, file, image_url: picture, input_audio: sound } = part;
  if (made.has(part)) return made.get(part);
  if (type === "file") return { kind: "file", name: file.filename ?? "file", size: size(file.file_data ?? "") };
  if (type === "image_url") {
    const url = picture.url ?? picture;
    return { kind: "picture", name: "a picture", size: size(url), url };
  }
  if (type === "input_audio") return { kind: "sound", name: "a sound", size: size(sound.data) };
  // As the server keeps it: what it was like to the model, not the picture.
  const kind = part.sense === "sight" ? "picture" : "sound";
  return { kind, name: `a ${kind}`, tokens: part.rows };
}

const SYMBOLS = { picture: "picture", sound: "sound" };

/** A part on the page, in an element of `tag`; `remove` leaves it out. */
export function chip(tag, part, remove) {
  const { kind, name, url, tokens, size } = facts(part);
  const words = `${name}, ${tokens === undefined ? bytes(size) : several(tokens, "token")}`;
  const button = remove && tool(`Leave out ${name}`, "close", remove);
  const label = make("span", { class: "words", title: name }, words);
  if (kind === "picture" && url) {
    const picture = make("img", { src: url, alt: `The picture ${name}` });
    return make(tag, { class: "chip picture" }, picture, label, button);
  }
  if (kind === "sound" && url) {
    const player = make("audio", { src: url, controls: true, preload: "metadata", "aria-label": `The sound ${name}` });
    return make(tag, { class: "chip sound" }, label, button, player);
  }
  return make(tag, { class: "chip" }, SYMBOLS[kind] && icon(SYMBOLS[kind]), label, button);
}
