// Keys, and the page for everybody: by keyboard, on a phone, in the dark.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { answered, launch, open, say, told } from "./browser.mjs";
import { home, start } from "./server.mjs";

const KEY = "key-of-the-tests";
const TEXT = "The name of the boat is Heron. The name of the cook is Ada.";
const PHONE = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };

let files, server, closed, browser;
before(async () => {
  files = home();
  const started = [start({ home: files }), start({ home: files, args: ["--api-key", KEY] }), launch()];
  [server, closed, browser] = await Promise.all(started);
});
after(async () => {
  await browser?.close();
  await Promise.all([server?.stop(), closed?.stop()]);
  files.remove();
});

test("a key is asked for, a wrong one is told, a right one stays with the tab only", async () => {
  const { page, close } = await open(browser, closed.address);
  const dialog = page.getByRole("dialog", { name: "API key" });
  await dialog.getByText("This server asks for a key.").waitFor();
  await dialog.getByLabel("Key").fill("wrong");
  await page.keyboard.press("Enter");
  await dialog.getByText("The API key is not known. Try another.").waitFor();
  assert.equal(await page.getByRole("dialog").count(), 1);
  await dialog.getByLabel("Key").fill(KEY);
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await say(page, `${TEXT}\nname of the cook?`);
  await answered(page, 0);
  await page.waitForFunction(() => document.querySelector("#meter-state").textContent !== "–");
  const stored = await page.evaluate(() => [Object.values(sessionStorage), Object.values(localStorage), document.cookie]);
  assert.deepEqual(stored, [[KEY], [], ""]);
  await page.reload();
  await page.locator(".message").nth(1).waitFor();
  assert.equal(await page.getByRole("dialog").count(), 0);
  await close();
});

test("without a key nothing is lost and nothing asks again by itself", async () => {
  const { page, close } = await open(browser, closed.address);
  await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
  await page.locator("#banner").filter({ hasText: "No API key" }).waitFor();
  await page.waitForTimeout(2500);
  assert.equal(await page.getByRole("dialog").count(), 0);
  await say(page, "Why?");
  await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
  await told(page, "Your question is back in the box.");
  assert.equal(await page.inputValue("#message"), "Why?");
  await close();
});

test("everything is done by keyboard alone", async () => {
  const { page, close } = await open(browser, server.address);
  await page.waitForFunction(() => document.activeElement?.id === "message");
  const focused = () =>
    page.evaluate(() => {
      const { activeElement: at } = document;
      const style = getComputedStyle(at);
      const box = at.closest(".box");
      const around = box && getComputedStyle(box);
      return {
        id: at.id,
        name: at.getAttribute("aria-label") ?? at.textContent.trim(),
        visible: style.outlineStyle !== "none" || around?.outlineStyle !== "none",
      };
    });
  /** Tab until something has the focus; every stop on the way must show it. */
  const tabTo = async (wanted, keys = "Tab") => {
    const seen = [];
    for (let i = 0; i < 60; i++) {
      await page.keyboard.press(keys);
      const at = await focused();
      assert.ok(at.visible, `the focus does not show on ${JSON.stringify(at)}`);
      assert.ok(at.name || at.id, "something without a name has the focus");
      seen.push(at.id || at.name);
      if (at.id === wanted || at.name === wanted) return seen;
    }
    throw new Error(`no way to ${wanted}: ${seen}`);
  };
  await page.keyboard.type(TEXT);
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("name of the boat?");
  await page.keyboard.press("Enter");
  await answered(page, 0);
  await page.keyboard.type("name of the cook?");
  await page.keyboard.press("Enter");
  await answered(page, 1);
  // From the top: what skips, sessions, this session, the conversation, the box.
  await page.evaluate(() => document.activeElement.blur());
  await page.locator("body").evaluate((body) => {
    body.tabIndex = -1;
    body.focus();
    body.removeAttribute("tabindex");
  });
  const order = await tabTo("message");
  const places = ["Skip to the message", "New chat", "Rename", "Delete", "Copy", "Fork after this answer", "attach", "message"];
  const ids = { "New chat": "new" };
  const at = places.map((place) => order.indexOf(ids[place] ?? place));
  assert.ok(at.every((n, i) => n >= 0 && (i === 0 || n > at[i - 1])), `${order}`);
  // Fork, by keyboard.
  await tabTo("Fork after this answer", "Shift+Tab");
  await tabTo("Fork after this answer", "Shift+Tab");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelectorAll(".message").length === 2);
  await page.waitForFunction(() => document.activeElement.id === "message");
  // Another session, by arrows.
  await page.locator(".session").first().focus();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.activeElement.id === "message");
  // Delete: the focus is in the dialog, and goes back where it was.
  await tabTo("Delete", "Shift+Tab");
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  assert.equal((await focused()).name, "Cancel");
  await page.keyboard.press("Escape");
  assert.equal((await focused()).name, "Delete");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.locator("#welcome").waitFor();
  await close();
});

/** Nothing is wider than the page. */
const overflow = (page) =>
  page.evaluate(() => {
    const wide = [...document.querySelectorAll("body *")].filter((element) => {
      const { right, left, width } = element.getBoundingClientRect();
      const inside = element.closest("pre, svg, .hidden-text, .skip, #drawer");
      return width > 0 && !inside && (right > innerWidth + 0.5 || left < -0.5);
    });
    const scrolls = document.documentElement.scrollWidth > innerWidth;
    return { scrolls, wide: wide.map((element) => element.outerHTML.slice(0, 80)) };
  });

test("on a phone nothing is cut off, and sessions are in a drawer", async () => {
  const { page, close } = await open(browser, server.address, PHONE);
  assert.deepEqual(await overflow(page), { scrolls: false, wide: [] });
  const long = "W".repeat(300);
  await say(page, `${TEXT} ${long}\nname of the boat?`);
  await answered(page, 0);
  assert.deepEqual(await overflow(page), { scrolls: false, wide: [] });
  const drawer = page.locator("#drawer");
  assert.ok(!(await drawer.isVisible()));
  const button = page.getByRole("button", { name: "Sessions", exact: true });
  assert.equal(await button.getAttribute("aria-expanded"), "false");
  await button.tap();
  await drawer.locator(".session").first().waitFor();
  assert.equal(await button.getAttribute("aria-expanded"), "true");
  await page.waitForFunction(() => {
    const { left, right } = document.querySelector("#drawer").getBoundingClientRect();
    return left === 0 && right > 250 && right < 340;
  });
  await page.keyboard.press("Escape");
  await drawer.waitFor({ state: "hidden" });
  // What is to be touched is large enough (WCAG 2.5.8).
  const small = await page.evaluate(() =>
    [...document.querySelectorAll("main button")]
      .map((button) => [button.getAttribute("aria-label"), button.getBoundingClientRect()])
      .filter(([, { width, height }]) => width > 0 && (width < 24 || height < 24))
      .map(([name]) => name),
  );
  assert.deepEqual(small, []);
  await close();
});

/** Texts whose contrast with what is behind them is below WCAG's AA. */
const faint = (page) =>
  page.evaluate(() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (color) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      return [r, g, b, a / 255];
    };
    const behind = (element) => {
      const layers = [];
      for (let at = element; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
      return layers.reduceRight((below, [r, g, b, a]) => [r, g, b].map((v, i) => a * v + (1 - a) * below[i]), [255, 255, 255]);
    };
    const light = (color) => {
      const [r, g, b] = color.map((v) => (v / 255 <= 0.04045 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const found = [];
    for (const element of document.querySelectorAll("body *")) {
      const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
      if (!own && element.id !== "message") continue;
      if (!element.checkVisibility() || element.closest(".hidden-text, #drop")) continue;
      const style = element.id === "message" ? getComputedStyle(element, "::placeholder") : getComputedStyle(element);
      const [a, b] = [light(rgba(style.color)), light(behind(element))].sort((x, y) => y - x);
      const contrast = (a + 0.05) / (b + 0.05);
      if (contrast < 4.5) found.push(`${contrast.toFixed(2)} ${element.outerHTML.slice(0, 90)}`);
    }
    return found;
  });

for (const colorScheme of ["light", "dark"]) {
  test(`everything can be read in the ${colorScheme}`, async () => {
    const { page, close } = await open(browser, server.address, { colorScheme });
    const dark = await page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g).every((v) => v < 60));
    assert.equal(dark, colorScheme === "dark");
    assert.deepEqual(await faint(page), []);
    await say(page, `${TEXT}\nname of the boat?`);
    await answered(page, 0);
    await page.setInputFiles("#file", { name: "a.bin", mimeType: "", buffer: Buffer.from([0]) });
    await page.getByText("a.bin is not text").waitFor();
    await page.getByRole("button", { name: "Export" }).click();
    await page.getByRole("button", { name: "Delete" }).click();
    await page.getByRole("dialog").waitFor();
    assert.deepEqual(await faint(page), []);
    await close();
  });
}

test("nothing moves for those who do not want it", async () => {
  const { page, close } = await open(browser, server.address, { reducedMotion: "reduce", ...PHONE });
  const moving = await page.evaluate(() =>
    [...document.querySelectorAll("*")].filter((element) => {
      const { transitionDuration, transitionProperty, animationName } = getComputedStyle(element);
      return animationName !== "none" || (transitionProperty !== "none" && !/^0s(, 0s)*$/.test(transitionDuration));
    }).length,
  );
  assert.equal(moving, 0);
  await close();
});
