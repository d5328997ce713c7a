// Asking about a text, with the embedded model.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { answered, attach, launch, open, say, told } from "./browser.mjs";
import { home, start } from "./server.mjs";

const lock = readFileSync(new URL("../../Cargo.lock", import.meta.url), "utf8");
/** The version of a package, by the file itself. */
const version = (name) => new RegExp(`name = "${name}"\\nversion = "(.*)"`).exec(lock)[1];

let files, server, browser;
before(async () => {
  files = home();
  [server, browser] = await Promise.all([start({ home: files }), launch()]);
});
after(async () => {
  await browser?.close();
  assert.equal(await server?.stop(), 0);
  files.remove();
});

const get = async (path) => (await fetch(server.address + path)).json();

test("a question about an uploaded text is answered, and the next one reads nothing again", async () => {
  const { page, close } = await open(browser, server.address);
  await attach(page, "Cargo.lock", lock);
  // What was shown while it was read.
  await page.evaluate(() => {
    globalThis.seen = [];
    new MutationObserver(() => {
      const bar = document.querySelector(".reading progress");
      if (bar) globalThis.seen.push([bar.value, document.querySelector(".reading-words").textContent]);
    }).observe(document.querySelector("#talk"), { subtree: true, childList: true, attributes: true });
  });
  await say(page, "which version of serde?");
  assert.equal(await page.locator(".message.user .chip").innerText(), `Cargo.lock, ${Math.round(lock.length / 1024)} KiB`);
  assert.equal(await answered(page, 0), version("serde"));
  const seen = await page.evaluate(() => globalThis.seen);
  const between = seen.filter(([value, words]) => value > 0 && value < 1 && /^[\d,]+ of [\d,]+ tokens read at .* left$/.test(words));
  assert.ok(between.length > 2, JSON.stringify(seen));
  assert.ok(seen.every(([value], i) => i === 0 || value >= seen[i - 1][0]), "it only grows");
  const facts = await page.locator(".facts").innerText();
  assert.match(facts, /^0 of [\d,]+ tokens known · [\d,]+ read at [\d,.k]+ tokens\/s · \d+ written/);
  assert.match(facts, /Not reused: nothing like it was read before\./);

  await say(page, "which version of tokio?");
  assert.equal(await answered(page, 1), version("tokio"));
  const again = await page.locator(".facts").nth(1).innerText();
  const [known, all] = /^([\d,]+) of ([\d,]+) tokens known/.exec(again).slice(1).map((n) => Number(n.replaceAll(",", "")));
  assert.ok(known > 0.99 * all, again);
  assert.match(again, /Not reused: (it (differs from what was read|goes on) after|[\d,]+ tokens were known)/);

  // It is a session, named after the first question; a reload opens it again.
  const [session] = (await get("/v1/sessions")).data;
  assert.equal(session.label, "Cargo.lock: which version of serde?");
  assert.equal(await page.locator("#tree .session").count(), 1);
  await page.reload();
  await page.locator(".message.assistant").nth(1).waitFor();
  await page.locator("h1").filter({ hasText: session.label }).waitFor();
  assert.equal((await page.locator(".message.assistant .content").first().innerText()).trim(), version("serde"));
  await say(page, "which version of hyper?");
  await page.locator(".facts").waitFor();
  assert.equal((await page.locator(".message.assistant .text").last().innerText()).trim(), version("hyper"));
  assert.equal((await get(`/v1/sessions/${session.id}`)).messages, 6);
  await close();
});

test("reading is stopped at once, and the question comes back", async () => {
  const { page, close } = await open(browser, server.address);
  await attach(page, "long.txt", `${lock}\n`.repeat(6));
  await say(page, "which version of serde?");
  await page.waitForFunction(() => document.querySelector(".reading progress")?.value > 0);
  await page.keyboard.press("Escape");
  await told(page, "Stopped before the answer began. Your question is back in the box.");
  assert.equal(await page.inputValue("#message"), "which version of serde?");
  assert.match(await page.locator("#files .chip").innerText(), /^long\.txt, /);
  assert.ok(await page.locator("#send").isVisible());
  // The server reads no further.
  const running = async () => /num_requests_running{.*} (\d+)/.exec(await (await fetch(`${server.address}/metrics`)).text())[1];
  for (let i = 0; i < 50 && (await running()) !== "0"; i++) await page.waitForTimeout(100);
  assert.equal(await running(), "0");
  // Nothing was kept.
  assert.ok((await get("/v1/sessions")).data.every(({ label }) => !label.startsWith("long.txt")));
  await close();
});

test("files that are not text are refused in a sentence", async () => {
  const { page, close } = await open(browser, server.address);
  await page.setInputFiles("#file", { name: "a.bin", mimeType: "", buffer: Buffer.from([1, 0, 2]) });
  await page.getByText("a.bin is not text; choose a text file.").waitFor();
  await page.setInputFiles("#file", { name: "b.txt", mimeType: "", buffer: Buffer.from("") });
  await page.getByText("b.txt is empty; choose another file.").waitFor();
  assert.equal(await page.locator("#files .chip:not(.refused)").count(), 0);
  await close();
});

test("files can be dropped anywhere", async () => {
  const { page, close } = await open(browser, server.address);
  const carried = await page.evaluateHandle(() => {
    const data = new DataTransfer();
    data.items.add(new File(["The tower is 12 metres high."], "tower.txt"));
    return data;
  });
  await page.dispatchEvent("#meter", "dragenter", { dataTransfer: carried });
  assert.ok(await page.locator("#drop").isVisible());
  await page.dispatchEvent("#meter", "drop", { dataTransfer: carried });
  await page.locator("#files .chip").filter({ hasText: "tower.txt, 28 B" }).waitFor();
  assert.ok(!(await page.locator("#drop").isVisible()));
  await page.getByRole("button", { name: "Leave out tower.txt" }).click();
  assert.equal(await page.locator("#files .chip").count(), 0);
  await close();
});

test("what the server does is shown, and only asked for while somebody looks", async () => {
  const { page, close } = await open(browser, server.address);
  let asked = 0;
  page.on("request", (request) => (asked += request.url().endsWith("/metrics")));
  await page.waitForFunction(() => /KiB|MiB/.test(document.querySelector("#meter-state").textContent));
  for (const [id, pattern] of [["kv", /^[\d.]+ (B|KiB|MiB)$/], ["snapshots", /^[1-9]\d*$/], ["running", /^0$/], ["waiting", /^0$/]]) {
    assert.match(await page.locator(`#meter-${id}`).innerText(), pattern, id);
  }
  await page.waitForFunction(() => /tok\/s$/.test(document.querySelector("#meter-read").textContent));
  await page.waitForRequest(/\/metrics$/);
  await page.waitForRequest(/\/metrics$/);
  await page.evaluate(() => Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true }));
  await page.waitForTimeout(300);
  const before = asked;
  await page.waitForTimeout(2500);
  assert.equal(asked, before);
  await page.evaluate(() => delete document.visibilityState);
  await page.waitForRequest(/\/metrics$/);
  await close();
});
