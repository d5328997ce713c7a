// What is about to be asked: a text area, and files, pictures and sounds that come before it.

import { Refusal, chip, facts, partOf, senses } from "./attach.js";
import { byId, announce, make } from "./dom.js";
import * as recording from "./record.js";
import { bytes } from "./words.js";

const message = byId("message");
/** Parts of the message, in the order in which they were added. */
let parts = [];

export const composer = {
  /** Called with text and parts when something is to be asked; whether it was taken. */
  ask: () => false,
};

function redraw() {
  const item = (part) =>
    chip("li", part, () => {
      parts = parts.filter((other) => other !== part);
      redraw();
      message.focus();
    });
  byId("files").replaceChildren(...parts.map(item));
}

/** As high as its text, within limits that the style sets. */
function fit() {
  message.style.height = "auto";
  message.style.height = `${message.scrollHeight + 2}px`;
}

/** Puts text and parts in place of what is there; unless `over`, only if there is nothing. Whether it did. */
export function fill(text, added, over = true) {
  if (!over && (message.value.trim() || parts.length > 0)) return false;
  message.value = text;
  parts = [...added];
  redraw();
  fit();
  return true;
}

/** A line about a file that cannot be taken. */
function refuse(words) {
  const note = make("li", { class: "chip refused", role: "alert" }, words);
  byId("files").append(note);
}

async function add(list) {
  const refused = [];
  for (const file of list) {
    try {
      const part = await partOf(file);
      parts.push(part);
      announce(`${facts(part).name} added, ${bytes(facts(part).size)}`);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      refused.push(error.message);
    }
  }
  redraw();
  refused.forEach(refuse);
  message.focus();
}

async function submit() {
  await recording.settle();
  const text = message.value.trim();
  if (!text) {
    message.focus();
    if (parts.length > 0) announce(`Write a question about the ${facts(parts[0]).kind}`);
    return;
  }
  if (composer.ask(text, parts)) fill("", []);
}

/** Says what may be added, now that the model is known. */
export function offer() {
  const also = [senses.sees && "a picture", senses.hears && "a sound"].filter(Boolean);
  const label = `Add ${["a text file", ...also].join(", ").replace(/, (?=[^,]*$)/, " or ")}`;
  byId("attach").setAttribute("aria-label", label);
  byId("attach").title = label;
  byId("more-senses").textContent = also.length > 0 ? `You can ask about ${also.join(" or ")}, too.` : "";
  recording.offer();
}

/** Waits for what the person does. */
export function begin() {
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  message.addEventListener("input", fit);
  message.addEventListener("keydown", (event) => {
    // A key that ends the choice of a word in an input method is not meant for the page.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  });
  recording.begin((file) => add([file]), (words) => {
    redraw();
    refuse(words);
  });
  const input = byId("file");
  byId("attach").addEventListener("click", () => input.click());
  input.addEventListener("change", async () => {
    await add([...input.files]);
    input.value = "";
  });
  message.addEventListener("paste", (event) => {
    const pasted = [...event.clipboardData.files];
    if (pasted.length === 0) return;
    event.preventDefault();
    add(pasted);
  });
  let inside = 0;
  const over = (change) => (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    inside = change(inside);
    document.body.classList.toggle("dropping", inside > 0);
  };
  addEventListener("dragenter", over((n) => n + 1));
  addEventListener("dragover", over((n) => n));
  addEventListener("dragleave", over((n) => n - 1));
  addEventListener("drop", over(() => 0));
  addEventListener("drop", (event) => {
    const dropped = [...(event.dataTransfer?.files ?? [])];
    if (dropped.length > 0) add(dropped);
  });
}
