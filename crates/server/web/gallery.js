// Small pictures of all clips.

import { byId, icon, make } from "./dom.js";
import { faults, file } from "./result.js";

/** Addresses of pictures by clip, or promises of them. */
const pictures = new Map();

const WORDS = { queued: "waits", failed: "failed" };

function picture(clip) {
  const place = make("span", { class: "shown" });
  if (clip.status !== "completed") {
    place.append(WORDS[clip.status] ?? `${clip.progress} %`);
    return place;
  }
  if (!pictures.has(clip.id)) pictures.set(clip.id, file(clip.id, "thumbnail"));
  Promise.resolve(pictures.get(clip.id)).then((address) => {
    if (address) place.replaceChildren(make("img", { src: address, alt: "" }));
  });
  return place;
}

/** What of a clip is to be seen; it is drawn anew if that changes. */
const key = (clip, isChosen) => [clip.id, clip.status, clip.status === "in_progress" && clip.progress, isChosen].join();

/** Shows all clips; `choose` is called with the name of one. */
export function showGallery(clips, chosen, choose) {
  const place = byId("gallery");
  byId("no-clips").hidden = clips.length > 0;
  const there = new Map([...place.children].map((entry) => [entry.dataset.key, entry]));
  const focused = document.activeElement?.closest?.("#gallery li")?.dataset.id;
  const entries = clips.map((clip) => {
    const isChosen = clip.id === chosen;
    const known = there.get(key(clip, isChosen));
    if (known) return known;
    const wrong = faults(clip);
    const button = make(
      "button",
      { type: "button", class: "clip", "aria-current": isChosen && "true", on: { click: () => choose(clip.id) } },
      picture(clip),
      make("span", { class: "says", title: clip.prompt }, clip.prompt),
      wrong && make("span", { class: "flagged", title: wrong }, icon("flag"), "flagged"),
    );
    const entry = make("li", {}, button);
    Object.assign(entry.dataset, { key: key(clip, isChosen), id: clip.id });
    return entry;
  });
  const isSame = entries.length === place.children.length && entries.every((entry, i) => entry === place.children[i]);
  if (isSame) return;
  place.replaceChildren(...entries);
  entries.find((entry) => entry.dataset.id === focused)?.querySelector("button").focus();
  for (const [id, address] of pictures) {
    if (clips.some((clip) => clip.id === id)) continue;
    pictures.delete(id);
    Promise.resolve(address).then((address) => address && URL.revokeObjectURL(address));
  }
}
