// What is about to be asked: a text area, and files that are to be read before.

import { byId, announce, icon, make } from "./dom.js";
import { bytes } from "./words.js";

const message = byId("message");
/** Files: name, data in base64, and size. */
let files = [];

export const composer = {
  /** Called with text and files when something is to be asked; whether it was taken. */
  ask: () => false,
};

function redraw() {
  const chip = (file) => {
    const remove = () => {
      files = files.filter((other) => other !== file);
      redraw();
      message.focus();
    };
    const label = `Leave out ${file.name}`;
    const button = { type: "button", class: "quiet tool", "aria-label": label, title: label, on: { click: remove } };
    const words = make("span", {}, `${file.name}, ${bytes(file.size)}`);
    return make("li", { class: "chip" }, words, make("button", button, icon("close")));
  };
  byId("files").replaceChildren(...files.map(chip));
  byId("ask").classList.toggle("with-files", files.length > 0);
}

/** As high as its text, within limits that the style sets. */
function fit() {
  message.style.height = "auto";
  message.style.height = `${message.scrollHeight + 2}px`;
}

/** Puts text and files in place of what is there; unless `over`, only if there is nothing. Whether it did. */
export function fill(text, added, over = true) {
  if (!over && (message.value.trim() || files.length > 0)) return false;
  message.value = text;
  files = added;
  redraw();
  fit();
  return true;
}

/** A line about a file that cannot be taken. */
function refuse(words) {
  const note = make("li", { class: "chip refused", role: "alert" }, words);
  byId("files").append(note);
  byId("ask").classList.add("with-files");
}

/** In base64, in pieces that a call can take. */
function base64(data) {
  let binary = "";
  for (let i = 0; i < data.length; i += 0x8000) {
    binary += String.fromCharCode(...data.subarray(i, i + 0x8000));
  }
  return btoa(binary);
}

async function add(list) {
  const refused = [];
  for (const file of list) {
    const data = await file.arrayBuffer().then((read) => new Uint8Array(read), () => null);
    if (data === null) refused.push(`${file.name} cannot be read; choose a file, not a folder.`);
    else if (data.includes(0)) refused.push(`${file.name} is not text; choose a text file.`);
    else if (data.length === 0) refused.push(`${file.name} is empty; choose another file.`);
    else {
      files.push({ name: file.name, size: data.length, data: base64(data) });
      announce(`${file.name} added, ${bytes(data.length)}`);
    }
  }
  redraw();
  refused.forEach(refuse);
  message.focus();
}

function submit() {
  const text = message.value.trim();
  if (!text) {
    message.focus();
    if (files.length > 0) announce("Write a question about the file");
    return;
  }
  if (composer.ask(text, files)) fill("", []);
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
