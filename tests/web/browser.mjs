// Chromium without a window, and what all tests do with the page.

import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.env.FULGURITE_PLAYWRIGHT, "package.json"));
const { chromium } = require("playwright-core");

const SILENT = [
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** How long anything on the page may take, in milliseconds. */
export const PATIENCE = 20_000;

/** A browser; with a `microphone` that beeps each second if that is asked for. */
export function launch({ microphone = false } = {}) {
  const root = process.getuid?.() === 0;
  return chromium.launch({
    executablePath: process.env.FULGURITE_CHROMIUM,
    args: [...SILENT, ...(root ? ["--no-sandbox"] : []), ...(microphone ? ["--use-fake-device-for-media-stream"] : [])],
  });
}

/** A page at `address` that fails the test if its scripts fail or it asks others. */
export async function open(browser, address, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("console", (message) => {
    if (/Content Security Policy|Uncaught/.test(message.text())) wrong.push(message.text());
  });
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(address) && !url.startsWith("blob:")) wrong.push(`asked ${url}`);
  });
  await page.goto(address);
  return {
    page,
    /** Ends it; throws if something went wrong meanwhile. */
    async close() {
      await context.close();
      if (wrong.length > 0) throw new Error(wrong.join("\n"));
    },
  };
}

/** Writes `text` in the box and sends it by keyboard. */
export async function say(page, text) {
  await page.fill("#message", text);
  await page.press("#message", "Enter");
}

/** The text of answer `i` (from 0) once it is complete. */
export async function answered(page, i) {
  const shown = page.locator(".message.assistant").nth(i);
  await shown.locator(".facts").waitFor();
  return (await shown.locator(".text").innerText()).trim();
}

/** Waits for a note in the conversation: why an answer broke off. */
export const told = (page, words) => page.locator("#talk .note").filter({ hasText: words }).waitFor();

/** Adds a file to what is about to be asked. */
export async function attach(page, name, text) {
  await page.setInputFiles("#file", { name, mimeType: "text/plain", buffer: Buffer.from(text) });
  await page.locator("#files .chip").filter({ hasText: name }).waitFor();
}
