// One answer: from the request to its last word.

import { events, send } from "./api.js";

/** A message of the user: files, pictures and sounds before what is asked. */
export function question(text, parts) {
  if (parts.length === 0) return { role: "user", content: text };
  return { role: "user", content: [...parts, { type: "text", text }] };
}

/**
 * Asks, and calls `changed` with what is known so far: `content`, `reasoning`, `progress`, `usage`,
 * `finish`, and when things happened, in milliseconds.
 */
export async function answer(messages, session, signal, changed) {
  const known = { content: "", reasoning: "", asked: performance.now() };
  const response = await send("/v1/chat/completions", {
    method: "POST",
    signal,
    json: {
      messages,
      session,
      stream: true,
      stream_options: { include_usage: true, include_progress: true },
    },
  });
  for await (const { choices, progress, usage } of events(response, signal)) {
    if (progress) {
      known.begun ??= performance.now();
      known.progress = progress;
    }
    if (usage) known.usage = usage;
    const { delta, finish_reason: finish } = choices[0] ?? {};
    if (delta?.content || delta?.reasoning_content) {
      known.first ??= performance.now();
      known.last = performance.now();
      known.content += delta.content ?? "";
      known.reasoning += delta.reasoning_content ?? "";
    }
    if (finish) known.finish = finish;
    changed(known);
  }
  return known;
}

/** Tokens of the prompt read in a second so far, 0 if that cannot be said. */
export function readingRate({ begun, first, progress }, now = performance.now()) {
  const time = ((first ?? now) - begun) / 1000;
  return time > 0.05 ? (progress.read - progress.cached) / time : 0;
}

/** Tokens written in a second, 0 if that cannot be said. */
export function writingRate({ first, last, usage }) {
  const time = (last - first) / 1000;
  return time > 0.01 ? (usage.completion_tokens - 1) / time : 0;
}
