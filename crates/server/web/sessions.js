// Sessions as a tree: forks below what they were forked from.

import { byId, make } from "./dom.js";
import { ago, bytes, several } from "./words.js";

/** A name that no other session has. */
export function newName() {
  const day = new Date().toISOString().slice(0, 10).replaceAll("-", "");
  const random = [...crypto.getRandomValues(new Uint8Array(5))];
  return `chat-${day}-${random.map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** What people call a session. */
export const called = ({ id, label }) => label || id;

/** Roots with their `children`, the newest first. Those whose parent is gone are roots. */
export function tree(list) {
  const byName = new Map(list.map((session) => [session.id, { ...session, children: [] }]));
  const above = (session) => (session.parent === session.id ? undefined : byName.get(session.parent));
  // Names can be given again, so that parents may go round in a circle: the oldest is its root.
  const turns = (session) => {
    const seen = new Set();
    for (let one = session; one; one = above(one)) {
      if (seen.has(one.id)) return one === session;
      seen.add(one.id);
    }
    return false;
  };
  const roots = [];
  for (const session of byName.values()) {
    const parent = turns(session) ? undefined : above(session);
    (parent?.children ?? roots).push(session);
  }
  const latest = (session) => Math.max(session.updated, ...session.children.map(latest));
  const order = (sessions) => {
    sessions.sort((a, b) => latest(b) - latest(a) || a.id.localeCompare(b.id));
    sessions.forEach((session) => order(session.children));
    return sessions;
  };
  return order(roots);
}

/** Shows all of `list`; `open` is called with the name of the one that is chosen. */
export function showTree(list, current, open) {
  const item = (session) => {
    const { id, messages, bytes: size, updated, children } = session;
    const said = messages > 0 ? several(messages, "message") : several(session.tokens, "token");
    const button = make(
      "button",
      {
        type: "button",
        class: "session",
        "data-name": id,
        title: `${called(session)}\n${said}, ${bytes(size)}`,
        "aria-current": id === current ? "true" : null,
        on: { click: () => open(id) },
      },
      make("span", { class: "label" }, called(session)),
      make("span", { class: "muted" }, `${said} · ${ago(updated)}`),
    );
    return make("li", {}, button, children.length > 0 && make("ul", {}, ...children.map(item)));
  };
  const place = byId("tree");
  const focused = place.contains(document.activeElement) && document.activeElement.dataset.name;
  place.replaceChildren(...tree(list).map(item));
  byId("no-sessions").hidden = list.length > 0;
  if (focused) place.querySelector(`[data-name="${CSS.escape(focused)}"]`)?.focus();
}

/** Arrow keys go from one to the next. */
export function begin() {
  byId("tree").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const all = [...byId("tree").querySelectorAll(".session")];
    const at = all.indexOf(document.activeElement);
    if (!step || at < 0) return;
    event.preventDefault();
    all[Math.min(Math.max(at + step, 0), all.length - 1)].focus();
  });
}
