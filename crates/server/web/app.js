// A plain page: one conversation, streamed.
"use strict";

const messages = [];
const element = (id) => document.getElementById(id);
let running = null;

function show(role, text) {
  const block = document.createElement("article");
  block.className = role;
  block.textContent = text;
  element("talk").append(block);
  return block;
}

function headers() {
  const key = element("key").value;
  const json = { "content-type": "application/json" };
  return key ? { ...json, authorization: `Bearer ${key}` } : json;
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    held += value;
    const blocks = held.split("\n\n");
    held = blocks.pop();
    for (const block of blocks) {
      const line = block.split("\n").find((line) => line.startsWith("data: "));
      if (line && line !== "data: [DONE]") yield JSON.parse(line.slice(6));
    }
  }
}

async function answer(text) {
  messages.push({ role: "user", content: text });
  const block = show("assistant", "");
  running = new AbortController();
  element("stop").disabled = false;
  try {
    const response = await fetch("/v1/chat/completions", {
      method: "POST",
      headers: headers(),
      signal: running.signal,
      body: JSON.stringify({ messages, stream: true, stream_options: { include_usage: true } }),
    });
    if (!response.ok) throw new Error((await response.json()).error.message);
    let content = "";
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message);
      content += event.choices[0]?.delta.content ?? "";
      block.textContent = content;
      if (event.usage) {
        const { prompt_tokens, completion_tokens, prompt_tokens_details } = event.usage;
        element("state").textContent =
          `${prompt_tokens} tokens read, ${prompt_tokens_details.cached_tokens} of them known, ` +
          `${completion_tokens} written`;
      }
    }
    messages.push({ role: "assistant", content });
  } catch (error) {
    messages.pop();
    block.className = "error";
    block.textContent = error.name === "AbortError" ? "stopped" : error.message;
  } finally {
    running = null;
    element("stop").disabled = true;
  }
}

element("stop").addEventListener("click", () => running?.abort());

element("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (running) return;
  const question = element("message").value.trim();
  if (!question) return;
  const file = element("file").files[0];
  const text = file ? `${await file.text()}\n\n${question}` : question;
  element("file").value = "";
  element("message").value = "";
  show("user", file ? `${file.name}\n${question}` : question);
  await answer(text);
});
