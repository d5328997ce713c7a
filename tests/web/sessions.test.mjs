// Sessions: a tree that can be forked, rewound, named, deleted, and taken along.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { answered, launch, open, say } from "./browser.mjs";
import { home, start } from "./server.mjs";

const TEXT = "The name of the boat is Heron. The name of the cook is Ada. The harbour of the boat is Bergen.";

let files, server, browser;
before(async () => {
  files = home();
  [server, browser] = await Promise.all([start({ home: files }), launch()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
  files.remove();
});

const list = async () => (await (await fetch(`${server.address}/v1/sessions`)).json()).data;

/** A page with a session of `questions`. */
async function talked(...questions) {
  const opened = await open(browser, server.address);
  for (const [i, question] of questions.entries()) {
    await say(opened.page, i === 0 ? `${TEXT}\n\n${question}` : question);
    await answered(opened.page, i);
  }
  await opened.page.locator("#tools button").first().waitFor();
  return opened;
}

const messages = (page) => page.locator(".message").count();
const current = (page) => page.locator(".session[aria-current]").getAttribute("data-name");

test("a fork at a message is a child with what was said up to there", async () => {
  const { page, close } = await talked("name of the boat?", "name of the cook?");
  const parent = await current(page);
  const first = page.locator(".message.assistant").first();
  await first.hover();
  await first.getByRole("button", { name: "Fork after this answer" }).click();
  await page.waitForFunction((name) => !location.hash.endsWith(name), parent);
  await page.waitForFunction(() => document.querySelectorAll(".message").length === 2);
  const fork = await current(page);
  const [kept] = (await list()).filter(({ id }) => id === fork);
  assert.deepEqual([kept.parent, kept.messages], [parent, 2]);
  // It is below its parent, and both go on by themselves.
  const nested = page.locator(`li:has(> .session[data-name="${parent}"]) > ul .session[data-name="${fork}"]`);
  await nested.waitFor();
  await say(page, "harbour of the boat?");
  await page.locator(".facts").waitFor();
  const by = async (name) => (await list()).find(({ id }) => id === name).messages;
  assert.deepEqual([await by(parent), await by(fork)], [4, 4]);
  await page.locator(`.session[data-name="${parent}"]`).click();
  await page.getByText("name of the cook?").waitFor();
  assert.equal(await page.getByText("harbour of the boat?").count(), 0);
  await close();
});

test("a question is asked otherwise: the session is rewound, the question is back", async () => {
  const { page, close } = await talked("name of the boat?", "name of the cook?");
  const name = await current(page);
  const second = page.locator(".message.user").nth(1);
  await second.hover();
  await second.getByRole("button", { name: "Ask otherwise here" }).click();
  // Nothing happens without consent.
  await page.getByRole("dialog", { name: "Rewind?" }).getByRole("button", { name: "Cancel" }).click();
  assert.equal(await messages(page), 4);
  await second.getByRole("button", { name: "Ask otherwise here" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Rewind" }).click();
  await page.waitForFunction(() => document.querySelectorAll(".message").length === 2);
  assert.equal(await page.inputValue("#message"), "name of the cook?");
  assert.equal((await list()).find(({ id }) => id === name).messages, 2);
  await say(page, "harbour of the boat?");
  await page.locator(".facts").waitFor();
  assert.equal((await list()).find(({ id }) => id === name).messages, 4);
  await close();
});

test("sessions are renamed and deleted, with a question before", async () => {
  const { page, close } = await talked("name of the boat?");
  const name = await current(page);
  await page.getByRole("button", { name: "Rename" }).click();
  const dialog = page.getByRole("dialog", { name: "Rename" });
  await dialog.getByLabel("Name").fill("At sea <b>&</b>");
  await page.keyboard.press("Enter");
  await page.locator("h1").filter({ hasText: "At sea <b>&</b>" }).waitFor();
  assert.equal((await list()).find(({ id }) => id === name).label, "At sea <b>&</b>");
  await page.getByRole("button", { name: "Delete" }).click();
  await page.keyboard.press("Escape");
  assert.ok((await list()).some(({ id }) => id === name));
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.locator("#welcome").waitFor();
  assert.ok((await list()).every(({ id }) => id !== name));
  assert.equal(await page.locator(`[data-name="${name}"]`).count(), 0);
  await close();
});

test("a session is exported and imported, or it is said that it cannot be", async () => {
  const { page, close } = await talked("name of the boat?");
  const name = await current(page);
  const can = (await fetch(`${server.address}/v1/sessions/${name}/export`)).ok;
  const button = page.getByRole("button", { name: "Export" });
  if (can) {
    const [download] = await Promise.all([page.waitForEvent("download"), button.click()]);
    assert.equal(download.suggestedFilename(), `${name}.session`);
    await page.setInputFiles("#import-file", await download.path());
    await page.waitForFunction((name) => !location.hash.endsWith(name), name);
    await page.locator(".message").nth(1).waitFor();
    assert.equal(await messages(page), 2);
  } else {
    await button.click();
    await page.getByText("Sessions cannot be exported here.").waitFor();
  }
  await page.setInputFiles("#import-file", { name: "x.session", mimeType: "", buffer: Buffer.from("no session") });
  await page.locator("#banner").filter({ hasText: /imported here|not a session/ }).waitFor();
  await close();
});

test("a session goes on after the server was started again", async (t) => {
  const { page, close } = await talked("name of the boat?");
  const name = await current(page);
  await server.kill();
  await page.locator("#banner").filter({ hasText: "The server does not answer." }).waitFor();
  server = await start({ home: files, port: server.port });
  await page.locator("#banner").waitFor({ state: "hidden" });
  if ((await list()).every(({ id }) => id !== name)) {
    await close();
    return t.skip("sessions are kept in memory only");
  }
  await page.reload();
  await page.locator(".message").nth(1).waitFor();
  await say(page, "name of the cook?");
  await page.locator(".facts").waitFor();
  assert.equal((await list()).find(({ id }) => id === name).messages, 4);
  await close();
});
