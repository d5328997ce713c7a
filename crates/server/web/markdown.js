// The little of Markdown that models write, as elements. Only text nodes are made of what they say,
// and links stay text: nothing a model writes can do anything.

import { make } from "./dom.js";

const INLINE = /(`+)(.+?)\1|\*\*(\S(?:.*?\S)?)\*\*|\[([^\]]+)\]\(([^)\s]+)\)/;

/** Code, bold text and links in a line. */
function inline(text) {
  const nodes = [];
  for (let found; (found = INLINE.exec(text)); ) {
    const [whole, , code, bold, name, to] = found;
    if (found.index > 0) nodes.push(text.slice(0, found.index));
    if (code !== undefined) nodes.push(make("code", {}, code.trim() || code));
    else if (bold !== undefined) nodes.push(make("strong", {}, ...inline(bold)));
    else nodes.push(`${name} (${to})`);
    text = text.slice(found.index + whole.length);
  }
  if (text) nodes.push(text);
  return nodes;
}

const FENCE = /^\s{0,3}(```+|~~~+)\s*([^`]*)$/;
const HEADING = /^#{1,6}\s+(.*)$/;
const ITEM = /^(\s*)(?:[-*+]|(\d{1,9})[.)])\s+(.*)$/;
const QUOTE = /^>\s?(.*)$/;

/** `text` as blocks. */
export function markdown(text) {
  const lines = text.split("\n");
  const blocks = document.createDocumentFragment();
  for (let i = 0; i < lines.length; ) {
    const fence = FENCE.exec(lines[i]);
    if (fence) {
      const end = lines.findIndex((line, j) => j > i && line.trim() === fence[1]);
      const last = end < 0 ? lines.length : end;
      const code = lines.slice(i + 1, last).join("\n");
      const language = fence[2].trim();
      const label = language ? `Code in ${language}` : "Code";
      // It can be scrolled by keyboard.
      const attributes = { tabindex: "0", role: "region", "aria-label": label };
      blocks.append(make("pre", attributes, make("code", {}, code)));
      i = last + 1;
    } else if (ITEM.test(lines[i])) {
      const end = lines.findIndex((line, j) => j > i && !ITEM.test(line) && !/^\s+\S/.test(line));
      const last = end < 0 ? lines.length : end;
      blocks.append(list(lines.slice(i, last)));
      i = last;
    } else if (lines[i].trim() === "") {
      i += 1;
    } else {
      const heading = HEADING.exec(lines[i]);
      if (heading) {
        blocks.append(make("p", { class: "heading" }, ...inline(heading[1])));
        i += 1;
        continue;
      }
      const quoted = QUOTE.test(lines[i]);
      const begins = (line) =>
        line.trim() === "" || FENCE.test(line) || HEADING.test(line) || ITEM.test(line) ||
        QUOTE.test(line) !== quoted;
      const end = lines.findIndex((line, j) => j > i && begins(line));
      const last = end < 0 ? lines.length : end;
      const said = lines.slice(i, last).map((line) => QUOTE.exec(line)?.[1] ?? line);
      const words = said.flatMap((line, j) => (j ? [make("br"), ...inline(line)] : inline(line)));
      blocks.append(make(quoted ? "blockquote" : "p", {}, ...words));
      i = last;
    }
  }
  return blocks;
}

/** Items and what is indented below them. */
function list(lines) {
  const [, indent, number] = ITEM.exec(lines[0]);
  const made = make(number === undefined ? "ul" : "ol", { start: number });
  let item = null;
  let below = [];
  const close = () => {
    if (item && below.length > 0) item.append(list(below));
    below = [];
  };
  for (const line of lines) {
    const found = ITEM.exec(line);
    if (found && found[1].length <= indent.length) {
      close();
      item = make("li", {}, ...inline(found[3]));
      made.append(item);
    } else if (found) below.push(line);
    else if (below.length === 0) item.append(" ", ...inline(line.trim()));
    else below.push(line);
  }
  close();
  return made;
}
