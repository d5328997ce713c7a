// What the server does now: asked every second, while somebody can see it.

import { send } from "./api.js";
import { connection } from "./connection.js";
import { byId, draw, make } from "./dom.js";
import { bytes, count, rate } from "./words.js";

const EVERY_MS = 1000;
/** Seconds that the picture shows. */
const SHOWN = 60;

/** Sums of all series of each name. */
function parse(text) {
  const sums = {};
  for (const [, name, value] of text.matchAll(/^fulgurite_(\w+)(?:\{.*\})? (\S+)$/gm)) {
    sums[name] = (sums[name] ?? 0) + Number(value);
  }
  return sums;
}

/** Tokens of prompts that were read: all, less those that were written or guessed and read then. */
const readOf = (m) =>
  m.tokens_read_total -
  m.spec_decode_num_draft_tokens_total -
  (m.generation_tokens_total - m.spec_decode_num_accepted_tokens_total);

const values = {};

function fact(id, name, hint) {
  values[id] = make("dd", { id: `meter-${id}` }, "–");
  return make("div", { title: hint }, make("dt", {}, name), values[id]);
}

const lines = { read: draw("polyline", { class: "read" }), write: draw("polyline", { class: "write" }) };
const past = { read: [], write: [] };

/** Both lines on their own scale: reading is hundreds of times as fast as writing. */
function picture(now) {
  for (const [name, line] of Object.entries(lines)) {
    past[name] = [...past[name], now[name]].slice(-SHOWN);
    const most = Math.max(1, ...past[name]);
    const point = (value, i) => `${SHOWN - past[name].length + i},${(21 - (20 * value) / most).toFixed(2)}`;
    line.setAttribute("points", past[name].map(point).join(" "));
  }
}

let before = null;

async function look() {
  const response = await send("/metrics", { quiet: true });
  const metrics = parse(await response.text());
  const now = { time: performance.now(), read: readOf(metrics), write: metrics.generation_tokens_total };
  values.state.textContent = bytes(metrics.held_bytes - metrics.kv_bytes);
  values.kv.textContent = bytes(metrics.kv_bytes);
  values.snapshots.textContent = count(metrics.state_snapshots);
  values.running.textContent = count(metrics.num_requests_running);
  values.waiting.textContent = count(metrics.num_requests_waiting);
  // A server that was started again counts from 0.
  if (before && now.time - before.time < 5 * EVERY_MS && now.write >= before.write) {
    const per = (name) => Math.max(0, (1000 * (now[name] - before[name])) / (now.time - before.time));
    const rates = { read: per("read"), write: per("write") };
    values.read.textContent = `${rate(rates.read)} tok/s`;
    values.write.textContent = `${rate(rates.write)} tok/s`;
    picture(rates);
  }
  before = now;
}

async function round() {
  if (document.visibilityState === "visible" && !connection.isLost) await look().catch(() => {});
  setTimeout(round, EVERY_MS);
}

/** Shows what the server does from now on. */
export function begin() {
  const attributes = { viewBox: `0 0 ${SHOWN - 1} 22`, preserveAspectRatio: "none", "aria-hidden": "true" };
  byId("meter").append(
    make("h2", {}, "The server now"),
    draw("svg", attributes, lines.read, lines.write),
    make(
      "dl",
      {},
      fact("read", "Reading", "Tokens of prompts read in a second"),
      fact("write", "Writing", "Tokens of answers written in a second"),
      fact("running", "Running", "Requests that are answered now"),
      fact("waiting", "Waiting", "Requests that wait for their turn"),
      fact("state", "States", "Memory that does not grow with what is read"),
      fact("kv", "KV", "Keys and values: memory that grows with what is read"),
      fact("snapshots", "Snapshots", "Points that a conversation can go on from at once"),
    ),
  );
  round();
}
