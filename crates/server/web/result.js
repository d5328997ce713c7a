// One clip: how far it is, or the clip itself with its frames and their faults.

import { send } from "./api.js";
import { byId, icon, make, tool } from "./dom.js";
import { ago, seconds, several } from "./words.js";

/** The clip that is shown, its state, and addresses of its files in this page. */
let shown = { id: null, status: null };
let addresses = [];

const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** A file of a clip as an address in this page; null if there is none. */
export async function file(id, variant) {
  const response = await send(`/v1/videos/${id}/content?variant=${variant}`).catch(() => null);
  return response && URL.createObjectURL(await response.blob());
}

/** Shows a clip, or with `null` nothing. */
export function showResult(clip, actions) {
  const place = byId("result");
  const isSame = clip?.id === shown.id && clip?.status === shown.status;
  if (isSame && clip?.status !== "in_progress") return;
  if (!isSame) {
    addresses.forEach((address) => URL.revokeObjectURL(address));
    addresses = [];
    const preview = place.querySelector(".preview")?.src;
    if (preview) URL.revokeObjectURL(preview);
    shown = { id: clip?.id ?? null, status: clip?.status ?? null };
    place.replaceChildren();
    place.setAttribute("aria-busy", clip !== null && clip.status !== "completed" && clip.status !== "failed");
  }
  if (clip === null) {
    place.replaceChildren(make("p", { id: "nothing", class: "muted" }, "The clip will be here."));
  } else if (clip.status === "completed") {
    completed(place, clip, actions);
  } else if (clip.status === "failed") {
    place.append(title(clip), make("p", { class: "why" }, `There is no clip: ${clip.error.message}.`), tools(clip, actions));
  } else {
    underWay(place, clip, actions);
  }
}

const title = (clip) => make("h2", {}, clip.prompt);

function tools(clip, actions, ...more) {
  return make(
    "div",
    { class: "tools" },
    ...more,
    tool("Put this order back in the form", "again", () => actions.again(clip), "Again"),
    tool("Delete this clip", "delete", () => actions.remove(clip.id), "Delete"),
  );
}

/** How far it is, in the elements that are there already. */
function underWay(place, clip, actions) {
  if (!place.querySelector("progress")) {
    place.replaceChildren(
      title(clip),
      make("progress", { max: 100, "aria-label": "How far the clip is" }),
      make("p", { class: "far muted" }),
      make("img", { class: "preview", alt: "What the clip looks like now", hidden: true }),
      make("div", { class: "tools" }, tool("Stop making this clip", "close", () => actions.remove(clip.id), "Stop")),
    );
  }
  const bar = place.querySelector("progress");
  const words = place.querySelector(".far");
  if (clip.status === "queued") {
    bar.removeAttribute("value");
    words.textContent = "It waits for others to be made.";
    return;
  }
  bar.value = clip.progress;
  const left = clip.seconds_left === null ? "" : `, about ${seconds(clip.seconds_left)} left`;
  words.textContent = `${clip.progress} %${left}`;
  if (clip.preview) preview(place, clip.id);
}

let isLooking = false;

async function preview(place, id) {
  if (isLooking) return;
  isLooking = true;
  const address = await file(id, "preview");
  isLooking = false;
  if (!address) return;
  const picture = place.querySelector(".preview");
  if (!picture || shown.id !== id) return URL.revokeObjectURL(address);
  // The former picture's address lives until the new one is there: it may be read just now.
  const former = picture.src;
  picture.src = address;
  picture.hidden = false;
  await picture.decode().catch(() => {});
  if (former) URL.revokeObjectURL(former);
}

/** The words for frames in which something is wrong. */
export function faults({ flagged_frames: flagged, repaired_frames: repaired }) {
  const list = (frames) => `${frames.length === 1 ? "frame" : "frames"} ${frames.join(", ")}`;
  const parts = [];
  if (flagged.length > 0) parts.push(`Something may be wrong in ${list(flagged)}`);
  if (repaired.length > 0) parts.push(`${list(repaired)} changed to mend it`);
  return parts.join("; ");
}

async function completed(place, clip, actions) {
  const { settings } = clip;
  const facts = [
    clip.size.replace("x", " × "),
    several(settings.num_frames, "frame"),
    `${clip.seconds} s`,
    `seed ${settings.seed}`,
    settings.num_inference_steps && several(settings.num_inference_steps, "step"),
    settings.eta !== null && `eta ${settings.eta}`,
    ago(clip.completed_at),
  ];
  const screen = make("video", {
    controls: true,
    loop: true,
    muted: true,
    playsinline: true,
    autoplay: !still(),
    "aria-label": `Clip: ${clip.prompt}`,
  });
  const downloads = make("span", { class: "tools" });
  const wrong = faults(clip);
  place.append(
    title(clip),
    screen,
    make("p", { class: "muted" }, facts.filter(Boolean).join(" · ")),
    wrong ? make("p", { class: "flagged" }, icon("flag"), `${wrong}.`) : "",
    tools(clip, actions, downloads),
  );
  const isHere = () => shown.id === clip.id;
  const fetched = async (variant) => {
    const address = clip.variants.includes(variant) ? await file(clip.id, variant) : null;
    if (address) addresses.push(address);
    return isHere() ? address : null;
  };
  const [video, gif, timeline, report] = await Promise.all(["video", "gif", "timeline", "report"].map(fetched));
  if (!isHere()) return;
  if (video) screen.src = video;
  for (const [address, name, ending] of [
    [video, "MP4", "mp4"],
    [gif, "GIF", "gif"],
    [report, "Report", "json"],
  ]) {
    if (!address) continue;
    const link = { class: "quiet tool", href: address, download: `${clip.id}.${ending}`, title: `Save the ${name}` };
    downloads.append(make("a", link, icon("export"), name));
  }
  if (timeline) {
    const alt = `The frames in a row with their scores. ${wrong || "Nothing is flagged"}.`;
    // It may be wider than the page: keys move it too.
    const box = { class: "timeline", tabindex: 0, role: "group", "aria-label": "Frames and their scores" };
    place.append(make("div", box, make("img", { src: timeline, alt })));
  }
}
