// What the page makes of answers that the embedded model does not give: long ones, thoughts, Markdown,
// ends in the middle, refusals. The page and all else come from the real server.

import assert from "node:assert/strict";
import { after, before as first, beforeEach, test } from "node:test";
import { attach, launch, open, say, told } from "./browser.mjs";
import { before, delta } from "./scripted.mjs";
import { home, start } from "./server.mjs";

let files, server, browser, stand;
/** What answers the next chats. */
let script;
const asked = [];
first(async () => {
  files = home();
  [server, browser] = await Promise.all([start({ home: files }), launch()]);
  const answer = async (chat) => {
    asked.push(chat.body);
    await script(chat);
  };
  stand = await before(server.address, answer);
});
beforeEach(() => asked.splice(0));
after(async () => {
  stand?.stop();
  await browser?.close();
  await server?.stop();
  files.remove();
});

/** A promise and what fulfils it. */
function gate() {
  let go;
  const open = new Promise((resolve) => (go = resolve));
  return { open, go };
}

const text = (page) => page.locator(".message.assistant .text").last();

test("an answer is shown as it comes, thoughts folded away", async () => {
  const { page, close } = await open(browser, stand.address);
  const [second, last] = [gate(), gate()];
  script = async (chat) => {
    chat.send(delta({ role: "assistant", content: "" }), delta({ reasoning_content: "Hm, a boat." }));
    chat.send(delta({ content: "The boat" }));
    await second.open;
    chat.send(delta({ content: " is Heron." }));
    await last.open;
    chat.done();
  };
  await say(page, "What is the boat?");
  await text(page).getByText("The boat", { exact: true }).waitFor();
  const thoughts = page.locator(".thoughts");
  assert.ok(!(await thoughts.getByText("Hm, a boat.").isVisible()));
  await thoughts.locator("summary").click();
  assert.ok(await thoughts.getByText("Hm, a boat.").isVisible());
  assert.equal(await page.locator(".message.assistant").getAttribute("aria-busy"), "true");
  second.go();
  await text(page).getByText("The boat is Heron.").waitFor();
  assert.equal(await page.locator(".facts").count(), 0);
  last.go();
  await page.getByText("900 of 1,000 tokens known").waitFor();
  assert.equal(await page.locator("#announce").textContent(), "The boat is Heron.");
  const [body] = asked;
  assert.deepEqual(body.messages, [{ role: "user", content: "What is the boat?" }]);
  assert.match(body.session.name, /^chat-\d{8}-[0-9a-f]{10}$/);
  assert.equal(body.session.label, "What is the boat?");
  await close();
});

test("Markdown becomes elements, and nothing else does", async () => {
  const { page, close } = await open(browser, stand.address);
  const said = [
    "# Boats",
    "The **Heron** has `two < three` masts.",
    "- one",
    "- two",
    "  1. inner",
    "",
    "```js",
    "<script>alert(1)</script>",
    "",
    "```",
    "[here](javascript:alert(1)) <img src=x onerror=alert(1)>",
    "> quoted",
    "```",
    "open",
  ].join("\n");
  // In pieces that cut signs apart.
  script = (chat) => {
    for (let i = 0; i < said.length; i += 3) chat.send(delta({ content: said.slice(i, i + 3) }));
    chat.done();
  };
  let alerts = 0;
  page.on("dialog", (dialog) => {
    alerts += 1;
    dialog.dismiss();
  });
  await say(page, "Boats?");
  await page.locator(".facts").waitFor();
  assert.equal(
    await text(page).innerHTML(),
    '<p class="heading">Boats</p><p>The <strong>Heron</strong> has <code>two &lt; three</code> masts.</p>' +
      '<ul><li>one</li><li>two<ol start="1"><li>inner</li></ol></li></ul>' +
      '<pre tabindex="0" role="region" aria-label="Code in js"><code>&lt;script&gt;alert(1)&lt;/script&gt;\n</code></pre>' +
      "<p>here (javascript:alert(1)) &lt;img src=x onerror=alert(1)&gt;</p>" +
      "<blockquote>quoted</blockquote>" +
      '<pre tabindex="0" role="region" aria-label="Code"><code>open</code></pre>',
  );
  assert.equal(alerts, 0);
  await close();
});

test("a stopped answer stays, and is kept with the next message", async () => {
  const { page, close } = await open(browser, stand.address);
  let gone;
  script = (chat) => {
    gone = chat.gone;
    chat.send(delta({ content: "One, two" }));
  };
  await say(page, "Count");
  await text(page).getByText("One, two").waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await told(page, "Stopped. What was written so far is kept with your next message.");
  // The server hears of it.
  await gone;
  script = (chat) => {
    chat.send(delta({ content: "three" }));
    chat.done();
  };
  await say(page, "Go on");
  await page.locator(".facts").waitFor();
  assert.deepEqual(asked[1].messages, [
    { role: "user", content: "Count" },
    { role: "assistant", content: "One, two" },
    { role: "user", content: "Go on" },
  ]);
  assert.equal(asked[1].session.name, asked[0].session.name);
  await close();
});

test("a connection that breaks in the middle is told, and the question is back", async () => {
  const { page, close } = await open(browser, stand.address);
  script = (chat) => {
    chat.send(delta({ content: "One" }));
    chat.cut();
  };
  await attach(page, "notes.txt", "The boat is Heron.");
  await say(page, "Which boat?");
  await told(page, "The connection to the server was lost. Your question is back in the box.");
  assert.equal(await page.inputValue("#message"), "Which boat?");
  assert.match(await page.locator("#files .chip").innerText(), /^notes\.txt/);
  // The server is there, so the next try works.
  await page.locator("#banner").waitFor({ state: "hidden" });
  script = (chat) => {
    chat.send(delta({ content: "Heron" }));
    chat.done();
  };
  await page.press("#message", "Enter");
  await page.locator(".facts").waitFor();
  const [{ content }] = asked[1].messages;
  const data = Buffer.from("The boat is Heron.").toString("base64");
  assert.deepEqual(content[0], { type: "file", file: { filename: "notes.txt", file_data: data } });
  await close();
});

test("what the server refuses is one sentence, and what to do", async () => {
  const { page, close } = await open(browser, stand.address);
  const refusals = [
    [400, "context_length_exceeded", "the prompt has 9 tokens, expected fewer than 8", "The prompt has 9 tokens, expected fewer than 8. Use a shorter text."],
    [413, null, "the body is larger than 32 MiB", "The body is larger than 32 MiB. Use a smaller file, or start the server with a larger --max-body."],
    [429, null, "1024 requests wait already", "1024 requests wait already. Try again in a moment."],
  ];
  for (const [status, code, message, words] of refusals) {
    script = (chat) => chat.refuse(status, { message, code });
    await say(page, "Why?");
    await told(page, `${words} Your question is back in the box.`);
    assert.equal(await page.inputValue("#message"), "Why?");
  }
  script = (chat) => {
    chat.send({ error: { message: "the model failed", code: null } });
  };
  // What was asked in vain is gone once it is asked again.
  assert.equal(await page.locator(".message").count(), 2);
  await page.press("#message", "Enter");
  await told(page, "The model failed. Try again; the server's log says more. Your question");
  await close();
});

test("an answer that is being written is left only on purpose", async () => {
  const { page, close } = await open(browser, stand.address);
  let gone;
  script = (chat) => {
    gone = chat.gone;
    chat.send(delta({ content: "Well" }));
  };
  await say(page, "Why?");
  await text(page).getByText("Well").waitFor();
  const dialog = page.getByRole("dialog", { name: "Stop the answer?" });
  await page.getByRole("button", { name: "New chat" }).click();
  await dialog.getByRole("button", { name: "Cancel" }).click();
  assert.ok(await page.locator("#stop").isVisible());
  await page.getByRole("button", { name: "New chat" }).click();
  await dialog.getByRole("button", { name: "Stop it" }).click();
  await page.locator("#welcome").waitFor();
  await gone;
  await page.locator("#send").waitFor();
  assert.equal(await page.locator(".message").count(), 0);
  assert.equal(await page.inputValue("#message"), "");
  await close();
});

test("Shift+Enter begins a line, and nothing is sent while an answer is written", async () => {
  const { page, close } = await open(browser, stand.address);
  const over = gate();
  script = async (chat) => {
    chat.send(delta({ content: "Well" }));
    await over.open;
    chat.done();
  };
  await page.focus("#message");
  await page.keyboard.type("a");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("b");
  await page.keyboard.press("Enter");
  await text(page).getByText("Well").waitFor();
  await say(page, "c");
  assert.equal(await page.inputValue("#message"), "c");
  over.go();
  await page.locator(".facts").waitFor();
  assert.deepEqual(asked.map(({ messages }) => messages), [[{ role: "user", content: "a\nb" }]]);
  await close();
});
