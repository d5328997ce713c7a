// The page of clips: they are ordered, watched while they are made, shown and kept.

import { ApiError, Lost, ask, hooks } from "./api.js";
import { banner, connection, lost } from "./connection.js";
import { line } from "./dialog.js";
import { announce, byId } from "./dom.js";
import { showGallery } from "./gallery.js";
import * as order from "./order.js";
import { showResult } from "./result.js";
import { sentence } from "./words.js";

/** Milliseconds between two looks at clips that are being made, and the others. */
const WATCH = 400;
const LOOK = 5000;
/** Clips of the gallery. */
const SHOWN = 60;

let clips = [];
/** The name of the clip that is shown. */
let chosen = null;
let timer = null;

/** Does something, and says what is wrong if that fails. */
async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ApiError) banner(said(error), "Close");
    else if (!(error instanceof Lost)) throw error;
    return null;
  }
}

/** What to do about a page that is not there is not what to do about a clip. */
const said = (error) => sentence({ message: error.message, status: error.status === 404 ? 0 : error.status });

const isOpen = ({ status }) => status === "queued" || status === "in_progress";

/** Asks what there is, shows it, and asks again later unless nobody sees the page. */
async function refresh() {
  clearTimeout(timer);
  const list = await attempt(() => ask(`/v1/videos?limit=${SHOWN}`));
  if (list) {
    const before = new Map(clips.map((clip) => [clip.id, clip.status]));
    clips = list.data;
    for (const clip of clips) {
      if (before.has(clip.id) && before.get(clip.id) !== clip.status && !isOpen(clip)) {
        announce(clip.status === "completed" ? `The clip “${clip.prompt}” is there` : `There is no clip: ${clip.error.message}`);
      }
    }
    redraw();
  }
  clearTimeout(timer);
  if (!connection.isLost && !document.hidden) timer = setTimeout(refresh, clips.some(isOpen) ? WATCH : LOOK);
}

function redraw() {
  const clip = clips.find(({ id }) => id === chosen) ?? null;
  showResult(clip, { remove, again });
  showGallery(clips, chosen, look);
}

function choose(id) {
  chosen = id;
  history.replaceState(null, "", id === null ? location.pathname : `#${id}`);
  redraw();
}

/** Shows a clip of the gallery, which is below what it is shown in if the page is narrow. */
function look(id) {
  choose(id);
  if (matchMedia("(max-width: 52rem)").matches) byId("result").scrollIntoView();
}

async function remove(id) {
  if (await attempt(() => ask(`/v1/videos/${id}`, { method: "DELETE" }))) {
    clips = clips.filter((clip) => clip.id !== id);
    choose(clips[0]?.id ?? null);
    announce("The clip is gone");
  }
  await refresh();
}

/** Puts the order of a clip back in the form. */
function again(clip) {
  order.fill(clip);
  byId("prompt").focus();
}

async function make(body) {
  const clip = await attempt(() => ask("/v1/videos", { method: "POST", json: body }));
  if (!clip) return;
  clips = [clip, ...clips];
  choose(clip.id);
  announce("The clip is being made");
  await refresh();
}

async function arrive() {
  const models = await attempt(() => ask("/v1/models"));
  if (models === null) return;
  // Models for text say how much they read.
  const model = models.data.find((card) => card.max_model_len === undefined);
  byId("model").textContent = model?.id ?? "";
  chosen = location.hash.slice(1) || null;
  await refresh();
  if (chosen === null && clips.length > 0) choose(clips[0].id);
}

async function wantKey(wrong) {
  const text = wrong ? `${sentence({ message: wrong })} Try another.` : "This server asks for a key.";
  return line({ title: "API key", text, label: "Key", type: "password", action: "Use this key" });
}

Object.assign(hooks, { wantKey, lost });
connection.back = () => {
  announce("The server answers again");
  refresh();
};
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else if (!connection.isLost) refresh();
});
order.begin(make, (words) => banner(words, "Close"));
arrive();
