// Questions to the person: a confirmation, or a line of text.

import { make } from "./dom.js";

/** Shows a form over the page; what `value` gives if it is accepted, else null. */
function over({ title, text, action, danger = false, fields = [] }, value) {
  return new Promise((resolve) => {
    const before = document.activeElement;
    const cancel = { type: "button", class: "quiet", on: { click: () => dialog.close() } };
    const form = make(
      "form",
      { method: "dialog" },
      make("h2", { id: "dialog-title" }, title),
      text && make("p", {}, text),
      ...fields,
      make(
        "div",
        { class: "choices" },
        make("button", cancel, "Cancel"),
        make("button", { value: "yes", class: danger ? "danger" : "strong" }, action),
      ),
    );
    const dialog = make("dialog", { "aria-labelledby": "dialog-title" }, form);
    dialog.addEventListener("close", () => {
      const accepted = dialog.returnValue === "yes";
      dialog.remove();
      if (before?.isConnected) before.focus();
      resolve(accepted ? value() : null);
    });
    document.body.append(dialog);
    dialog.showModal();
    // The harmless choice, unless there is something to fill in.
    (form.querySelector("input") ?? form.querySelector("button")).focus();
  });
}

/** Whether the person agrees. */
export const confirmed = async (words) => (await over(words, () => true)) ?? false;

/** A line of text, or null. */
export async function line({ label, value = "", type = "text", ...words }) {
  const input = make("input", { type, value, required: true, maxlength: 200, autocomplete: "off" });
  const given = await over({ ...words, fields: [make("label", {}, label, input)] }, () => input.value);
  return given?.trim() || null;
}
