// The page: which session is open, and what can be done with it.

import { answer, question } from "./answer.js";
import { ApiError, Lost, ask as asking, hooks, sessions } from "./api.js";
import { facts, senses } from "./attach.js";
import * as composing from "./composer.js";
import { banner, connection, lost } from "./connection.js";
import { confirmed, line } from "./dialog.js";
import { announce, byId, tool } from "./dom.js";
import * as meter from "./meter.js";
import * as trees from "./sessions.js";
import * as talk from "./talk.js";
import { bytes, count, sentence, several } from "./words.js";

/** Longest label made of a question. */
const LABEL = 60;
/** Milliseconds within which a session is kept whose answer was stopped at its very end. */
const SETTLED = 300;

/** The session that is open; `unsent` messages follow those that the server keeps. */
const open = { name: null, label: null, messages: [], unsent: [] };
let list = [];
/** Stops what is being answered. */
let running = null;
/** Why an answer is stopped whose session is left. */
const LEFT = new DOMException("its session was left", "AbortError");
/** Counts the sessions that were chosen. */
let showing = 0;

/** Does something, and says what is wrong if that fails. */
async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ApiError) banner(sentence(error), "Close");
    else if (!(error instanceof Lost)) throw error;
    return null;
  }
}

function drawer(shown) {
  document.body.classList.toggle("drawer", shown);
  byId("open-drawer").setAttribute("aria-expanded", shown);
  document.querySelector("main").inert = shown;
  if (shown) byId("new").focus();
}

function head() {
  const kept = list.find((session) => session.id === open.name);
  byId("title").textContent = kept ? trees.called(kept) : (open.label ?? "New chat");
  document.title = `${byId("title").textContent} – Fulgurite`;
  const facts = kept && [several(kept.messages, "message"), several(kept.tokens, "token"), bytes(kept.bytes)];
  byId("subtitle").textContent = facts ? facts.join(" · ") : "";
  const tools = [
    tool("Rename", "rename", rename),
    tool("Fork", "fork", () => forkAt(open.messages.length)),
    tool("Export", "export", exported),
    tool("Delete", "delete", remove),
  ];
  byId("tools").replaceChildren(...(kept ? tools : []));
}

async function refresh() {
  const got = await attempt(sessions.list);
  if (got === null) return;
  list = got;
  trees.showTree(list, open.name, (name) => show(name));
  head();
}

/** Ends what is being answered, if the person agrees. */
async function leaves() {
  if (!running || running.signal.aborted) return true;
  const text = "It is not finished, and will not be kept.";
  if (!(await confirmed({ title: "Stop the answer?", text, action: "Stop it", danger: true }))) return false;
  running?.abort(LEFT);
  return true;
}

/** Opens a session, or with `null` an empty page; `message` is put back to be asked otherwise. */
async function show(name, message = null) {
  if (!(await leaves())) return;
  const turn = (showing += 1);
  const messages = name === null ? [] : await attempt(() => sessions.messages(name));
  // Another one may have been chosen meanwhile.
  if (turn !== showing) return;
  if (messages === null) return refresh();
  Object.assign(open, { name, label: null, messages, unsent: [] });
  history.replaceState(null, "", name === null ? location.pathname : `#${name}`);
  drawer(false);
  again(message);
  redraw();
  await refresh();
  const kept = list.find((session) => session.id === name);
  if (kept && kept.messages === 0 && kept.tokens > 0) {
    banner(`What was said in this session is not known, only its ${several(kept.tokens, "token")}; it can be gone on with.`, "Close");
  }
  // Where a finger types, the focus would bring up a keyboard over what was said.
  if (matchMedia("(hover: hover)").matches) byId("message").focus();
}

/** What can be done at each message that the server keeps. */
function toolsOf(message, i) {
  if (message.role === "assistant") {
    const last = i + 1 === open.messages.length;
    return [
      talk.copier(talk.parts(message).text),
      tool("Fork after this answer", "fork", () => forkAt(i + 1), "Fork"),
      ...(last ? [] : [tool("Rewind to this answer", "rewind", () => rewindTo(i + 1), "Rewind")]),
    ];
  }
  if (message.role !== "user") return [];
  return [
    tool("Ask otherwise in a fork", "fork", () => forkAt(i, message), "Fork"),
    tool("Ask otherwise here", "rewind", () => rewindTo(i, message), "Rewind"),
  ];
}

function redraw() {
  talk.clear();
  open.messages.forEach((message, i) => talk.show(message, toolsOf(message, i)));
  open.unsent.forEach((message) => talk.show(message));
  talk.toEnd();
}

/** Puts a question back to be asked otherwise. */
function again(message) {
  if (!message) return;
  const { text, others } = talk.parts(message);
  composing.fill(text, others);
}

/** Whether an answer is being written, which is said then. */
function isBusy() {
  if (running) banner("The answer is not finished; wait for it, or stop it.", "Close");
  return running !== null;
}

/** A child of this session with its first `messages`, opened. */
async function forkAt(messages, message) {
  if (isBusy()) return;
  const name = trees.newName();
  const label = `${byId("title").textContent} (fork)`.slice(0, 200);
  await attempt(async () => {
    await sessions.fork(open.name, name, label);
    if (messages < open.messages.length) await sessions.rewind(name, messages);
    await show(name, message);
    announce("Forked; this is the new session");
  });
}

async function rewindTo(messages, message) {
  if (isBusy()) return;
  const gone = open.messages.length - messages;
  const text = `The ${several(gone, "message")} from there on will be forgotten. A fork would keep them.`;
  if (!(await confirmed({ title: "Rewind?", text, action: "Rewind", danger: true }))) return;
  await attempt(async () => {
    await sessions.rewind(open.name, messages);
    await show(open.name, message);
    announce("Rewound");
  });
}

async function rename() {
  const value = byId("title").textContent;
  const label = await line({ title: "Rename", label: "Name", value, action: "Rename" });
  if (label === null) return;
  await attempt(() => sessions.label(open.name, label));
  await refresh();
}

async function remove() {
  const text = `“${byId("title").textContent}” cannot be brought back. Its forks stay.`;
  if (!(await confirmed({ title: "Delete this session?", text, action: "Delete", danger: true }))) return;
  running?.abort(LEFT);
  if (await attempt(() => sessions.remove(open.name))) await show(null);
  else await refresh();
}

async function exported() {
  const file = await attempt(() => sessions.file(open.name));
  if (!file) return;
  const address = URL.createObjectURL(file);
  const link = Object.assign(document.createElement("a"), { href: address, download: `${open.name}.session` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

async function imported(file) {
  const wanted = file.name.replace(/\.\w+$/, "").replace(/[^\w.-]/g, "-").replace(/^[^A-Za-z0-9]+/, "");
  const taken = list.some((session) => session.id === wanted);
  const name = wanted && !taken && wanted.length <= 128 ? wanted : trees.newName();
  if (await attempt(() => sessions.take(name, file))) await show(name);
}

function busy(is) {
  byId("send").hidden = is;
  byId("stop").hidden = !is;
}

/** Asks; whether the question was taken. */
function ask(text, parts) {
  if (running || connection.isLost) {
    announce(running ? "Wait for the answer, or stop it" : "The server does not answer");
    return false;
  }
  answered(text, parts);
  return true;
}

async function answered(text, parts) {
  const control = (running = new AbortController());
  busy(true);
  const message = question(text, parts);
  const name = (open.name ??= trees.newName());
  const session = { name };
  if (open.messages.length === 0 && !list.some((session) => session.id === name)) {
    const title = [parts[0] && facts(parts[0]).name, text.slice(text.lastIndexOf("\n") + 1)].filter(Boolean).join(": ");
    session.label = open.label = title.length > LABEL ? `${title.slice(0, LABEL - 1)}…` : title;
  }
  head();
  const fresh = [...open.unsent, message];
  talk.forgetUntaken();
  const shown = talk.show(message);
  const live = talk.live();
  talk.toEnd();
  let known = { content: "", reasoning: "" };
  const changed = (now) => live.changed((known = now));
  try {
    known = await answer(fresh, session, control.signal, changed);
    live.end(known);
    const said = { role: "assistant", content: known.content };
    if (known.reasoning) said.reasoning_content = known.reasoning;
    open.messages.push(...fresh, said);
    open.unsent = [];
    history.replaceState(null, "", `#${name}`);
  } catch (error) {
    const stopped = control.signal.aborted;
    if (!stopped && !(error instanceof ApiError) && !(error instanceof Lost)) throw error;
    if (control.signal.reason === LEFT) return;
    await broken(error, stopped, { known, live, fresh, shown, text, parts });
  } finally {
    if (running === control) running = null;
    busy(running !== null);
  }
  retool();
  await refresh();
}

/** Buttons of messages, now that there are more of them. */
function retool() {
  const all = byId("talk").children;
  open.messages.forEach((message, i) => all[i] && talk.setTools(all[i], toolsOf(message, i)));
}

/** What is left of an answer that broke off, and of its question. */
async function broken(error, stopped, { known, live, fresh, shown, text, parts }) {
  if (stopped) {
    // It may have been kept at the last moment.
    await new Promise((resolve) => setTimeout(resolve, SETTLED));
    const kept = await sessions.show(open.name).catch(() => null);
    if (kept?.messages > open.messages.length) return show(open.name);
  }
  if (stopped && known.content) {
    live.broken("Stopped. What was written so far is kept with your next message.", "stopped");
    open.unsent = [...fresh, { role: "assistant", content: known.content }];
    return;
  }
  const why = stopped ? "Stopped before the answer began." : sentence(error);
  const isBack = composing.fill(text, parts, false);
  live.broken(isBack ? `${why} Your question is back in the box.` : why, stopped ? "stopped" : "failed");
  for (const entry of [shown, live.shown]) entry.classList.add("untaken");
}

/** The server is back: what it keeps is what counts. */
async function back() {
  announce("The server answers again");
  if (open.name === null) return arrive();
  await refresh();
  // What was not sent yet is only here.
  if (!running && open.unsent.length === 0 && list.some((session) => session.id === open.name)) await show(open.name);
}

/** Says which model answers. */
async function model() {
  const { data } = await asking("/v1/models");
  // Models for clips do not say how much they read.
  const served = data.find((card) => card.max_model_len !== undefined);
  byId("to-clips").hidden = data.every((card) => card.max_model_len !== undefined);
  byId("model").textContent = served?.id ?? "";
  const reads = (what) => served?.input_modalities?.includes(what) ?? false;
  Object.assign(senses, { model: served?.id ?? "", sees: reads("image"), hears: reads("audio") });
  composing.offer();
  byId("model").title = served ? `Context of ${count(served.max_model_len)} tokens` : "";
}

/** Shows what the page's address names. */
async function arrive() {
  // Without a key, or without a server, there is nothing more to ask for.
  if ((await attempt(model)) === null) return;
  await show(location.hash.slice(1) || null);
}

async function wantKey(wrong) {
  const text = wrong ? `${sentence({ message: wrong })} Try another.` : "This server asks for a key.";
  return line({ title: "API key", text, label: "Key", type: "password", action: "Use this key" });
}

async function begin() {
  Object.assign(hooks, { wantKey, lost });
  connection.back = back;
  composing.composer.ask = ask;
  composing.begin();
  trees.begin();
  byId("new").addEventListener("click", () => show(null));
  byId("stop").addEventListener("click", () => running?.abort());
  byId("import").addEventListener("click", () => byId("import-file").click());
  byId("import-file").addEventListener("change", async ({ target }) => {
    const [file] = target.files;
    if (file) await imported(file);
    target.value = "";
  });
  byId("open-drawer").addEventListener("click", () => drawer(true));
  const close = () => {
    drawer(false);
    byId("open-drawer").focus();
  };
  byId("close-drawer").addEventListener("click", close);
  byId("shade").addEventListener("click", close);
  // As in the style: there is room for both.
  matchMedia("(min-width: 52.01rem)").addEventListener("change", () => drawer(false));
  addEventListener("keydown", ({ key }) => {
    if (key !== "Escape" || document.querySelector("dialog[open]")) return;
    if (document.body.classList.contains("drawer")) close();
    else running?.abort();
  });
  meter.begin();
  await arrive();
}

begin();
