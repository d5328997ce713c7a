// Making and finding elements. Texts become text nodes, never HTML.

export const byId = (id) => document.getElementById(id);

/** An element with attributes, listeners in `on`, and children; what is null or false is left out. */
export function make(tag, { on = {}, ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  for (const [event, listener] of Object.entries(on)) made.addEventListener(event, listener);
  made.append(...children.filter((child) => child != null && child !== false));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

/** An element of a picture. */
export function draw(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** One of the symbols of `index.html`. */
export const icon = (name) =>
  draw("svg", { class: "icon", "aria-hidden": "true" }, draw("use", { href: `#i-${name}` }));

/** A small button with a symbol; its name is read out and shown as a hint. */
export const tool = (name, symbol, click, words = false) =>
  make(
    "button",
    { type: "button", class: "quiet tool", "aria-label": name, title: name, on: { click } },
    icon(symbol),
    words && make("span", {}, words),
  );

/** Says `text` to those who do not see the page. */
export function announce(text) {
  byId("announce").textContent = text;
}
