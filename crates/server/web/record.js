// The microphone: a button that begins and ends a recording, and how long it has gone on.

import { senses } from "./attach.js";
import { recorded } from "./convert.js";
import { announce, byId, icon, make, tool } from "./dom.js";

/** Seconds after which a recording ends by itself: what a request may hold by default. */
const LONGEST = 600;

const button = byId("record");

/** What is recorded now: `end` gives its samples and frees the microphone. */
let now = null;

/** Whether there is a microphone to ask for; browsers have it on this machine and by https only. */
const canRecord = () => Boolean(navigator.mediaDevices?.getUserMedia && globalThis.AudioWorkletNode);

/** Begins to record; `passed` is called with its seconds. */
async function begun(passed) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const context = new AudioContext();
  const pieces = [];
  const end = async () => {
    stream.getTracks().forEach((track) => track.stop());
    const rate = context.sampleRate;
    await context.close();
    const samples = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
    pieces.reduce((at, piece) => (samples.set(piece, at), at + piece.length), 0);
    return { samples, rate };
  };
  try {
    await context.audioWorklet.addModule("/tap.js");
    const tap = new AudioWorkletNode(context, "tap", { channelCount: 1, channelCountMode: "explicit" });
    let heard = 0;
    tap.port.onmessage = ({ data }) => {
      pieces.push(data);
      heard += data.length;
      passed(heard / context.sampleRate);
    };
    // It says nothing, but what leads nowhere is not run.
    context.createMediaStreamSource(stream).connect(tap).connect(context.destination);
    await context.resume();
  } catch (error) {
    await end();
    throw error;
  }
  return end;
}

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

function why(error) {
  if (error.name === "NotAllowedError") return "The microphone may not be used; allow it in the browser.";
  if (error.name === "NotFoundError") return "There is no microphone.";
  return `Nothing can be recorded: ${error.message}.`;
}

function pressed(is) {
  const name = is ? "Stop recording" : "Record a sound";
  button.setAttribute("aria-label", name);
  button.title = name;
  button.replaceChildren(icon(is ? "stop" : "microphone"));
  button.classList.toggle("recording", is);
}

/** Ends a recording; what it is, or null if there was nothing. */
async function ended(keep) {
  const { end, shown } = now;
  now = null;
  shown.remove();
  pressed(false);
  const { samples, rate } = await end();
  announce(keep ? "Recorded" : "The recording is thrown away");
  return keep && samples.length > 0 ? recorded(samples, rate) : null;
}

/** Shows the button if the model hears, and the browser can record. */
export function offer() {
  button.hidden = !senses.hears || !canRecord();
}

/** Ends what is recorded, if anything is, once it was taken; set by `begin`. */
export let settle = async () => {};

/** Waits for the button: `take` gets files, `refuse` a sentence. */
export function begin(take, refuse) {
  let count = 0;
  const finish = async (keep) => {
    const data = await ended(keep);
    byId("message").focus();
    if (data) await take(new File([data], `recording ${(count += 1)}.wav`, { type: "audio/wav" }));
  };
  settle = async () => {
    if (now) await finish(true);
  };
  button.addEventListener("click", async () => {
    if (now) return finish(true);
    const time = make("span", { role: "timer", "aria-live": "off" }, "Recording 0:00");
    const leave = tool("Throw the recording away", "close", () => finish(false));
    const shown = make("li", { class: "chip recording" }, make("span", { class: "dot", "aria-hidden": "true" }), time, leave);
    const passed = (seconds) => {
      time.textContent = `Recording ${clock(seconds)}`;
      if (seconds >= LONGEST && now) finish(true);
    };
    button.disabled = true;
    try {
      now = { end: await begun(passed), shown };
    } catch (error) {
      return refuse(why(error));
    } finally {
      button.disabled = false;
    }
    byId("recording").append(shown);
    pressed(true);
    announce("Recording");
  });
  // Before the page stops an answer by it.
  const escape = (event) => {
    if (event.key !== "Escape" || !now || document.querySelector("dialog[open]")) return;
    event.stopImmediatePropagation();
    finish(false);
  };
  addEventListener("keydown", escape, { capture: true });
}
