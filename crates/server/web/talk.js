// The conversation on the page.

import { readingRate, writingRate } from "./answer.js";
import { chip } from "./attach.js";
import { byId, announce, make, tool } from "./dom.js";
import { markdown } from "./markdown.js";
import { count, miss, rate, seconds } from "./words.js";

/** Longer texts of a question are folded. */
const LONG_TEXT = 1200;
/** Pixels from its end within which a conversation goes on scrolling by itself. */
const NEAR_END = 80;

const place = byId("scroll");
const talk = byId("talk");

/** What is to be scrolled stays at its end, unless somebody looks at something else. */
function keepingEnd(change) {
  const atEnd = place.scrollHeight - place.scrollTop - place.clientHeight < NEAR_END;
  change();
  if (atEnd) place.scrollTop = place.scrollHeight;
}

/** The text of a message, and its other parts. */
export function parts({ content }) {
  if (typeof content === "string" || content == null) return { text: content ?? "", others: [] };
  const others = content.filter(({ type }) => ["file", "image_url", "input_audio", "seen"].includes(type));
  return { text: content.flatMap((part) => part.text ?? part.refusal ?? []).join("\n"), others };
}

function asked(message) {
  const { text, others } = parts(message);
  const chips = others.length > 0 ? [make("ul", { class: "chips" }, ...others.map((part) => chip("li", part)))] : [];
  const end = text.lastIndexOf("\n");
  if (text.length < LONG_TEXT || end < 0) return [...chips, make("p", { class: "said" }, text)];
  const before = text.slice(0, end).trimEnd();
  const summary = make("summary", {}, `Text of ${count(before.length)} characters`);
  const folded = make("details", {}, summary, make("p", { class: "said" }, before));
  return [...chips, folded, make("p", { class: "said" }, text.slice(end + 1))];
}

function thoughts(text) {
  return make("details", { class: "thoughts" }, make("summary", {}, "Reasoning"), make("p", { class: "said" }, text));
}

const NAMES = { user: "You", assistant: "Answer", system: "Rules", developer: "Rules", tool: "Result" };

function entry(role, ...content) {
  const kind = NAMES[role] ? role : "tool";
  const head = make("div", { class: "head" }, make("h3", {}, NAMES[kind]));
  return make("li", { class: `message ${kind}` }, head, make("div", { class: "content" }, ...content));
}

/** A message that was said; `tools` are buttons. */
export function show(message, tools = []) {
  byId("welcome").hidden = true;
  const { text } = parts(message);
  const content =
    message.role === "assistant"
      ? [
          message.reasoning_content && thoughts(message.reasoning_content),
          markdown(text),
          ...(message.tool_calls ?? []).map(({ function: call }) =>
            make("pre", { tabindex: "0" }, `${call.name}(${call.arguments})`),
          ),
        ]
      : asked(message);
  const shown = entry(message.role, ...content);
  setTools(shown, tools);
  keepingEnd(() => talk.append(shown));
  return shown;
}

/** Other buttons for a message. */
export function setTools(shown, tools) {
  shown.querySelector(".tools")?.remove();
  if (tools.length > 0) shown.firstChild.append(make("div", { class: "tools" }, ...tools));
}

/** Copies what a message says. */
export const copier = (text) =>
  tool("Copy", "copy", async () => {
    await navigator.clipboard?.writeText(text);
    announce("Copied");
  });

/** Forgets all that is shown. */
export function clear() {
  talk.replaceChildren();
  byId("welcome").hidden = false;
}

/** Takes away what was asked in vain. */
export function forgetUntaken() {
  talk.querySelectorAll(".untaken").forEach((entry) => entry.remove());
}

/** Shows the newest. */
export function toEnd() {
  place.scrollTop = place.scrollHeight;
}

/** What was known of the prompt, and how fast the rest went. */
function summary(known) {
  const { usage, progress } = known;
  const cached = usage.prompt_tokens_details.cached_tokens;
  const read = usage.prompt_tokens - cached;
  const reading = progress && readingRate(known);
  const writing = writingRate(known);
  const at = (speed) => (speed > 0 ? ` at ${rate(speed)} tokens/s` : "");
  const facts = [
    `${count(cached)} of ${count(usage.prompt_tokens)} tokens known`,
    `${count(read)} read${at(reading)}`,
    `${count(usage.completion_tokens)} written${at(writing)}`,
  ];
  return make(
    "div",
    { class: "facts" },
    make("p", {}, facts.join(" · ")),
    progress && make("p", { class: "miss" }, `Not reused: ${miss(progress.miss)}.`),
    known.finish === "length" && make("p", {}, "It ended at the longest that answers may be; ask to go on."),
  );
}

/** An answer while it is written. */
export function live() {
  const bar = make("progress", { "aria-label": "Reading", max: 1, value: 0 });
  const told = make("p", { class: "muted reading-words" }, "Waiting for its turn");
  const reading = make("div", { class: "reading" }, bar, told);
  const reasoning = make("p", { class: "said" });
  const folded = make("details", { class: "thoughts", hidden: true }, make("summary", {}, "Reasoning"), reasoning);
  const text = make("div", { class: "text" });
  const shown = entry("assistant", reading, folded, text);
  shown.setAttribute("aria-busy", "true");
  keepingEnd(() => talk.append(shown));

  let quarter = 0;
  let spoken = 0;
  let frame = 0;

  function draw(known) {
    frame = 0;
    const { progress, content } = known;
    keepingEnd(() => {
      reading.hidden = known.first !== undefined;
      if (progress && !reading.hidden) readingIs(known);
      folded.hidden = known.reasoning === "";
      reasoning.textContent = known.reasoning;
      text.replaceChildren(markdown(content));
    });
    // Line by line, so that nothing is read out twice.
    const end = content.lastIndexOf("\n");
    if (end > spoken) {
      announce(content.slice(spoken, end));
      spoken = end + 1;
    }
  }

  function readingIs(known) {
    const { read, total, cached } = known.progress;
    bar.value = total > 0 ? read / total : 1;
    const speed = readingRate(known);
    const left = speed > 0 && read < total ? `, about ${seconds((total - read) / speed)} left` : "";
    const fast = speed > 0 ? ` at ${rate(speed)} tokens/s` : "";
    const before = cached > 0 ? `, ${count(cached)} of them known before` : "";
    told.textContent = `${count(read)} of ${count(total)} tokens read${fast}${before}${left}`;
    const now = Math.floor((4 * read) / total);
    if (now > quarter && now < 4) announce(`${25 * now} percent read`);
    quarter = now;
  }

  return {
    shown,
    changed(known) {
      frame ||= requestAnimationFrame(() => draw(known));
    },
    /** The end, with what is to be said of it. */
    end(known) {
      cancelAnimationFrame(frame);
      draw(known);
      shown.removeAttribute("aria-busy");
      reading.remove();
      announce(known.content.slice(spoken) || "The answer is empty");
      if (known.content === "" && !known.reasoning) text.append(make("p", { class: "muted" }, "The answer is empty."));
      if (known.usage) keepingEnd(() => shown.lastChild.append(summary(known)));
    },
    /** It broke off; `words` say why. */
    broken(words, kind) {
      cancelAnimationFrame(frame);
      shown.removeAttribute("aria-busy");
      reading.remove();
      shown.classList.add(kind);
      announce(words);
      keepingEnd(() => shown.lastChild.append(make("p", { class: "note" }, words)));
    },
  };
}
