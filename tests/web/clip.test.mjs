// The MP4s that clips are written as, played by a browser: `fixtures/clips/stripes.mp4` and, of AV1,
// `stripes-av1.mp4`, which a test of `media` compares with what is written now.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { test } from "node:test";
import { launch } from "./browser.mjs";

const file = (name) => new URL(`../../fixtures/clips/${name}`, import.meta.url);
/** As in `fixtures_are_what_is_written`: of 20 columns, each 2 pixels wide, moving by two a frame. */
const COLORS = [[230, 40, 40], [40, 200, 60], [50, 80, 230], [250, 250, 250]];
const FRAMES = 9;
const RATE = 6;

/** Whether these are the pixels of a row of frame `i`, each color within `near`. */
function isFrame(i, pixels, near) {
  return pixels.every((found, x) => {
    const place = Math.floor(x / 2) + 2 * i;
    // Browsers draw the colors of H.264 smoothly: the columns beside another color are left out.
    if (place % 5 === 0 || place % 5 === 4) return true;
    const want = COLORS[Math.floor(place / 5) % 4];
    return want.every((value, c) => Math.abs(value - found[c]) <= near);
  });
}

test("a browser plays an MP4 of I-PCM in its colors", () => plays("stripes.mp4", 4));

// Lossy, and the colors of a stripe are five pixels wide.
test("a browser plays an MP4 of AV1", () => plays("stripes-av1.mp4", 40));

async function plays(name, near) {
  const bytes = await readFile(file(name));
  const server = createServer((request, answer) => {
    const isFile = request.url === "/clip.mp4";
    answer.setHeader("content-type", isFile ? "video/mp4" : "text/html");
    answer.end(isFile ? bytes : "<!doctype html><video muted src='clip.mp4'></video>");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const browser = await launch();
  try {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    const facts = await page.evaluate(async () => {
      const video = document.querySelector("video");
      await new Promise((resolve, reject) => {
        if (video.readyState > 0) return resolve();
        video.onloadedmetadata = resolve;
        video.onerror = () => reject(new Error(video.error.message));
      });
      return { width: video.videoWidth, height: video.videoHeight, seconds: video.duration };
    });
    assert.deepEqual(facts, { width: 40, height: 24, seconds: FRAMES / RATE });

    const { shown, reached } = await page.evaluate(async () => {
      const video = document.querySelector("video");
      const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
      const pen = canvas.getContext("2d", { willReadFrequently: true });
      const shown = [];
      const look = (_, { mediaTime }) => {
        pen.drawImage(video, 0, 0);
        const row = pen.getImageData(0, 12, canvas.width, 1).data;
        const pixels = Array.from({ length: canvas.width }, (_, x) => [...row.slice(x * 4, x * 4 + 3)]);
        shown.push({ time: mediaTime, pixels });
        video.requestVideoFrameCallback(look);
      };
      video.requestVideoFrameCallback(look);
      const ended = new Promise((resolve) => (video.onended = resolve));
      // A machine that does other things leaves frames out.
      video.playbackRate = 0.5;
      await video.play();
      await ended;
      return { shown, reached: video.currentTime };
    });
    assert.equal(reached, FRAMES / RATE);
    const seen = new Set();
    for (const { time, pixels } of shown) {
      const frames = Array.from({ length: FRAMES }, (_, i) => i).filter((i) => isFrame(i, pixels, near));
      assert.ok(frames.length > 0, `at ${time} s the pixels are those of no frame: ${pixels.join(" ")}`);
      // What is drawn may be the next one already. Stripes come again after 10 frames.
      assert.ok(frames.some((i) => Math.abs(i - time * RATE) < 1.5), `at ${time} s frame ${frames} is shown`);
      frames.forEach((i) => seen.add(i));
    }
    assert.ok(seen.size >= FRAMES / 2, `only frames ${[...seen]} were seen`);
  } finally {
    await browser.close();
    server.close();
  }
}
