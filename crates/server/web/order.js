// What is ordered: the prompt, pictures, and how it is made.

import { byId, icon, make } from "./dom.js";

/** The fields of pictures, and what they are called. */
const SLOTS = [
  ["input_reference", "First frame"],
  ["last_frame_image", "Last frame"],
  ["subject_reference", "Subject"],
];
const KINDS = ["image/png", "image/jpeg", "image/webp", "image/gif"];
const MOST_BYTES = 20 << 20;

/** Pictures by field, as `data:` addresses. */
const pictures = {};
const slots = {};
let refuse = () => {};

function draw(field) {
  const [, name] = SLOTS.find(([known]) => known === field);
  const { place, input } = slots[field];
  const picture = pictures[field];
  const choose = {
    type: "button",
    class: "choose",
    "aria-label": picture ? `${name}: choose another picture` : `${name}: choose a picture`,
    on: { click: () => input.click() },
  };
  const shown = picture ? make("img", { src: picture, alt: "" }) : icon("picture");
  const remove = {
    type: "button",
    class: "quiet tool remove",
    "aria-label": `Leave out the ${name.toLowerCase()}`,
    title: "Leave out",
    on: {
      click: () => {
        put(field, null);
        place.querySelector(".choose").focus();
      },
    },
  };
  place.classList.toggle("full", Boolean(picture));
  place.replaceChildren(
    make("button", choose, shown),
    picture ? make("button", remove, icon("close")) : "",
    make("span", { class: "name", "aria-hidden": "true" }, name),
    input,
  );
}

function put(field, picture) {
  if (picture) pictures[field] = picture;
  else delete pictures[field];
  draw(field);
}

/** Takes a file for a field, if it is a picture. */
function take(field, file) {
  if (!file) return;
  if (!KINDS.includes(file.type)) return refuse(`${file.name} is no picture, expected PNG, JPEG, WebP or GIF`);
  if (file.size > MOST_BYTES) return refuse(`${file.name} has more than 20 MiB`);
  const reader = new FileReader();
  reader.onload = () => put(field, reader.result);
  reader.onerror = () => refuse(`${file.name} cannot be read`);
  reader.readAsDataURL(file);
}

/** The field that the page is about: the one with the focus, or the first that is free. */
function wanted() {
  const focused = SLOTS.find(([field]) => slots[field].place.contains(document.activeElement));
  const free = SLOTS.find(([field]) => !pictures[field]);
  return (focused ?? free ?? SLOTS[0])[0];
}

const number = (id) => (byId(id).value === "" ? undefined : Number(byId(id).value));

/** The order as it is sent. */
function body() {
  const consistency = byId("consistency").value;
  return {
    prompt: byId("prompt").value.trim(),
    eta: Number(byId("eta").value),
    num_inference_steps: number("steps"),
    seed: number("seed"),
    consistency,
    candidates: consistency === "select" ? 4 : undefined,
    ...pictures,
  };
}

function showEta() {
  byId("eta-value").textContent = byId("eta").value;
}

/** Puts the order of a clip in the form; its pictures are no longer here. */
export function fill({ prompt, settings }) {
  byId("prompt").value = prompt;
  byId("eta").value = settings.eta ?? 0;
  byId("steps").value = settings.num_inference_steps ?? "";
  byId("seed").value = settings.seed;
  byId("consistency").value = settings.consistency ?? "report";
  showEta();
}

/** Calls `order` with what is to be made, and `told` with what is wrong with a file. */
export function begin(order, told) {
  refuse = told;
  for (const [field, name] of SLOTS) {
    const place = make("div", { class: "slot", role: "group", "aria-label": name });
    const input = make("input", {
      type: "file",
      accept: KINDS.join(","),
      hidden: true,
      "data-field": field,
      on: {
        change: ({ target }) => {
          take(field, target.files[0]);
          target.value = "";
        },
      },
    });
    slots[field] = { place, input };
    place.addEventListener("dragover", (event) => {
      event.preventDefault();
      place.classList.add("over");
    });
    place.addEventListener("dragleave", () => place.classList.remove("over"));
    place.addEventListener("drop", (event) => {
      event.preventDefault();
      event.stopPropagation();
      place.classList.remove("over");
      take(field, event.dataTransfer.files[0]);
    });
    byId("slots").append(place);
    draw(field);
  }
  // Elsewhere on the page it is for the field that is free.
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    take(wanted(), event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    const [file] = event.clipboardData.files;
    if (!file) return;
    event.preventDefault();
    take(wanted(), file);
  });
  const form = byId("order");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    order(body());
  });
  byId("prompt").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  byId("eta").addEventListener("input", showEta);
}
