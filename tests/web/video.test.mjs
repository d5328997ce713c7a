// The page of clips, from the real server; the clips come from a stand-in that makes them when it is
// told to.

import assert from "node:assert/strict";
import { after, before as first, beforeEach, test } from "node:test";
import { launch, open } from "./browser.mjs";
import { Clips, PNG } from "./clips.mjs";
import { before } from "./scripted.mjs";
import { home, start } from "./server.mjs";

let files, server, browser, stand, clips, address;
first(async () => {
  files = home();
  [server, browser] = await Promise.all([start({ home: files }), launch()]);
  stand = await before(server.address, () => {}, (from, to) => clips.answer(from, to));
  address = stand.address;
});
beforeEach(() => (clips = new Clips()));
after(async () => {
  stand?.stop();
  await browser?.close();
  await server?.stop();
  files.remove();
});

/** The page of clips. */
async function page(options) {
  const opened = await open(browser, address, options);
  await opened.page.goto(`${address}/video`);
  return opened;
}

const result = (page) => page.locator("#result");

test("a clip is ordered, watched, played and kept", async () => {
  const { page: there, close } = await page();
  await there.getByText("None yet.").waitFor();
  await there.fill("#prompt", "a red circle moves left");
  await there.locator("#eta").fill("0.25");
  await there.fill("#seed", "7");
  await there.press("#prompt", "Enter");
  await result(there).getByText("It waits for others to be made.").waitFor();
  const [body] = clips.asked;
  assert.deepEqual(body, { prompt: "a red circle moves left", eta: 0.25, seed: 7, consistency: "report" });

  const [clip] = clips.all;
  Object.assign(clip, { status: "in_progress", progress: 40, seconds_left: 12.4, preview: true });
  await result(there).getByText("40 %, about 12 s left").waitFor();
  assert.equal(await there.locator("#result progress").getAttribute("value"), "40");
  // The page looks again and again, so the picture may be another one at any time.
  await there.waitForFunction(() => {
    const picture = document.querySelector("#result .preview");
    return picture.complete && picture.naturalWidth === 40;
  });

  clips.complete(clip, { flagged_frames: [2, 5] });
  await result(there).getByText("Something may be wrong in frames 2, 5.").waitFor();
  await there.locator("#announce").getByText("The clip “a red circle moves left” is there").waitFor({ state: "attached" });
  const played = await there.locator("#result video").evaluate(async (video) => {
    while (video.readyState < 2) await new Promise((resolve) => setTimeout(resolve, 20));
    const size = [video.videoWidth, video.videoHeight];
    const begun = video.currentTime;
    await video.play();
    while (video.currentTime <= begun) await new Promise((resolve) => setTimeout(resolve, 20));
    return { size, duration: video.duration };
  });
  assert.deepEqual(played, { size: [40, 24], duration: 1.5 });
  const timeline = there.locator(".timeline img");
  await timeline.waitFor();
  assert.equal(await timeline.evaluate((picture) => picture.naturalWidth), 900);
  assert.match(await timeline.getAttribute("alt"), /wrong in frames 2, 5/);
  for (const [name, ending] of [["MP4", "mp4"], ["GIF", "gif"], ["Report", "json"]]) {
    const saved = there.waitForEvent("download");
    await result(there).getByText(name, { exact: true }).click();
    assert.equal((await saved).suggestedFilename(), `video_0.${ending}`);
  }
  assert.equal(await there.locator("#gallery li").count(), 1);
  assert.equal(await there.locator("#gallery .flagged").count(), 1);

  // Its name is in the address: it is there after a reload.
  await there.reload();
  await result(there).getByText("Something may be wrong in frames 2, 5.").waitFor();
  await there.fill("#prompt", "other");
  await result(there).getByRole("button", { name: "Put this order back in the form" }).click();
  assert.equal(await there.inputValue("#prompt"), "a red circle moves left");
  assert.equal(await there.inputValue("#seed"), "7");
  assert.equal(await there.inputValue("#steps"), "20");
  await close();
});

test("pictures are chosen, dropped and pasted", async () => {
  const { page: there, close } = await page();
  const picture = { name: "a.png", mimeType: "image/png", buffer: PNG };
  await there.setInputFiles("input[data-field=subject_reference]", picture);
  await there.locator(".slot.full").waitFor();
  const give = (event, place) =>
    there.evaluate(
      ([event, place, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "b.png", { type: "image/png" }));
        const options = { bubbles: true, cancelable: true };
        const made =
          event === "paste"
            ? new ClipboardEvent(event, { ...options, clipboardData: data })
            : new DragEvent(event, { ...options, dataTransfer: data });
        document.querySelector(place).dispatchEvent(made);
      },
      [event, place, [...PNG]],
    );
  await give("drop", ".slot:nth-child(2)");
  await there.locator(".slot.full").nth(1).waitFor();
  await give("paste", "#prompt");
  await there.locator(".slot.full").nth(2).waitFor();
  await there.getByRole("button", { name: "Leave out the last frame" }).click();
  assert.equal(await there.locator(".slot.full").count(), 2);
  await there.setInputFiles("input[data-field=last_frame_image]", { ...picture, name: "a.txt", mimeType: "text/plain" });
  await there.getByText("a.txt is no picture, expected PNG, JPEG, WebP or GIF").waitFor();
  await there.fill("#prompt", "a ring");
  await there.click("#make");
  await result(there).getByText("It waits").waitFor();
  const data = `data:image/png;base64,${PNG.toString("base64")}`;
  assert.equal(clips.asked[0].input_reference, data);
  assert.equal(clips.asked[0].subject_reference, data);
  assert.equal(clips.asked[0].last_frame_image, undefined);
  await close();
});

test("a page that nobody sees asks nothing", async () => {
  clips.add("a red ring", { status: "in_progress", progress: 10 });
  const { page: there, close } = await page();
  await there.locator("#gallery").getByText("a red ring").waitFor();
  const show = (hidden) =>
    there.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
  await show(true);
  let asked = 0;
  there.on("request", () => asked++);
  await there.waitForTimeout(1500);
  assert.equal(asked, 0);
  const again = there.waitForRequest(/\/v1\/videos\?/);
  await show(false);
  await again;
  await close();
});

test("what is refused or fails is said, and others go on", async () => {
  const { page: there, close } = await page();
  clips.refusal = { status: 400, message: "`prompt` has the word `xylophone`, which the model does not know" };
  await there.fill("#prompt", "a xylophone");
  await there.press("#prompt", "Enter");
  await there.locator("#banner").getByText("Prompt has the word xylophone, which the model does not know.").waitFor();
  assert.equal(await there.inputValue("#prompt"), "a xylophone");
  clips.add("a star", { status: "failed", error: { code: "failed", message: "step 3: no numbers" } });
  const ring = clips.add("a ring", { status: "in_progress", progress: 10 });
  await there.locator("#gallery").getByText("a star").click();
  await result(there).getByText("There is no clip: step 3: no numbers.").waitFor();
  await there.locator("#gallery").getByText("a ring").click();
  await result(there).getByRole("button", { name: "Stop making this clip" }).click();
  await there.waitForFunction(() => document.querySelectorAll("#gallery li").length === 1);
  assert.ok(!clips.all.includes(ring));
  await close();
});

test("keys are enough, on a phone and in the dark", async () => {
  const clip = clips.add("a square spins");
  clips.complete(clip);
  const { page: there, close } = await page({ viewport: { width: 360, height: 740 }, colorScheme: "dark" });
  await there.locator("#gallery img").waitFor();
  const wide = await there.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 360, `the page is ${wide} wide`);
  // From the top to the clip of the gallery by the key of tabs alone.
  let reached = [];
  for (let i = 0; i < 40 && !reached.includes("clip"); i++) {
    await there.keyboard.press("Tab");
    reached.push(await there.evaluate(() => document.activeElement.id || document.activeElement.className));
  }
  for (const wanted of ["prompt", "eta", "steps", "seed", "consistency", "make", "clip"]) {
    assert.ok(reached.includes(wanted), `${wanted} is not among ${reached}`);
  }
  // Words can be read: the contrast of all text with what is under it.
  const dim = await there.evaluate(() => {
    const parse = (color) => color.match(/[\d.]+/g).map(Number);
    const light = ([red, green, blue]) => {
      const [r, g, b] = [red, green, blue].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const under = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const color = parse(getComputedStyle(at).backgroundColor);
        if (color[3] !== 0) return color;
      }
      return [255, 255, 255];
    };
    return [...document.querySelectorAll("body *")]
      .filter((element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
      .filter((element) => element.checkVisibility() && !element.closest(".hidden-text, .skip, option"))
      .map((element) => {
        const [a, b] = [light(parse(getComputedStyle(element).color)), light(under(element))].sort((x, y) => y - x);
        return [(a + 0.05) / (b + 0.05), element.textContent.slice(0, 40)];
      })
      .filter(([contrast]) => contrast < 4.5);
  });
  assert.deepEqual(dim, []);
  await close();
});
