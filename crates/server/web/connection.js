// When the server is gone: says so, and tries again until it is back.

import { byId, make } from "./dom.js";
import { count } from "./words.js";

const LONGEST_WAIT = 15;

/** What is done once the server is back; set by `app.js`. */
export const connection = { back: () => {}, isLost: false };

/** Shows a line above the conversation, with a button if there is something to do. */
export function banner(text, action, act) {
  const place = byId("banner");
  const click = () => {
    place.hidden = true;
    act?.();
  };
  const button = make("button", { type: "button", class: "quiet", on: { click } }, action);
  place.replaceChildren(make("span", {}, text), button);
  place.hidden = false;
}

/** Begins to try again, unless that goes on. */
export async function lost() {
  if (connection.isLost) return;
  connection.isLost = true;
  for (let wait = 1; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
    const words = `The server does not answer. Start it again if it was stopped; trying every ${count(wait)} s.`;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, wait * 1000);
      banner(words, "Try now", () => {
        clearTimeout(timer);
        resolve();
      });
    });
    const answer = await fetch("/health", { cache: "no-store" }).catch(() => null);
    if (answer?.ok) break;
  }
  connection.isLost = false;
  byId("banner").hidden = true;
  connection.back();
}
