// Pictures and sounds in a question: added, shown, recorded, sent.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { answered, launch, open, say } from "./browser.mjs";
import { before as standIn, delta } from "./scripted.mjs";
import { home, start } from "./server.mjs";
import { png, silence } from "./shown.mjs";

let files, server, browser, seeing;
/** What was asked last. */
let asked;
before(async () => {
  files = home();
  [server, browser] = await Promise.all([start({ home: files }), launch({ microphone: true })]);
  const script = (chat) => {
    asked = chat.body;
    chat.send(delta({ content: "red" }));
    chat.done();
  };
  seeing = await standIn(server.address, script, senses("text", "image", "audio"));
});
after(async () => {
  await browser?.close();
  seeing?.stop();
  await server?.stop();
  files.remove();
});

/** Says of all models what they take, and passes nothing else on. */
function senses(...modalities) {
  return async (from, to) => {
    if (from.url !== "/v1/models") return false;
    const list = await (await fetch(server.address + from.url)).json();
    for (const card of list.data) if (card.max_model_len) card.input_modalities = modalities;
    to.writeHead(200, { "content-type": "application/json" });
    to.end(JSON.stringify(list));
    return true;
  };
}

const red = () => ({ name: "red.png", mimeType: "image/png", buffer: png(120, 90, () => [220, 30, 30]) });
const beep = () => ({ name: "beep.wav", mimeType: "audio/wav", buffer: silence(0.5) });
const chips = (page) => page.locator("#files .chip");

/** Gives files to the page as if they were dropped, or pasted into the box. */
async function given(page, event, place, ...given) {
  const list = given.map(({ name, mimeType, buffer }) => ({ name, mimeType, data: [...buffer] }));
  const carried = await page.evaluateHandle((list) => {
    const data = new DataTransfer();
    for (const { name, mimeType, data: bytes } of list) {
      data.items.add(new File([new Uint8Array(bytes)], name, { type: mimeType }));
    }
    return data;
  }, list);
  if (event !== "paste") return page.dispatchEvent(place, event, { dataTransfer: carried });
  const paste = (element, data) =>
    element.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
  return page.locator(place).evaluate(paste, carried);
}

test("pictures and sounds are chosen, dropped and pasted, shown, and sent before the question", async () => {
  const { page, close } = await open(browser, seeing.address);
  await page.getByText("You can ask about a picture or a sound, too.").waitFor();
  await page.getByRole("button", { name: "Add a text file, a picture or a sound" }).waitFor();
  await page.setInputFiles("#file", [red(), beep()]);
  await given(page, "drop", "#meter", { ...red(), name: "dropped.png" });
  await given(page, "paste", "#message", { ...red(), name: "pasted.png" });
  await page.setInputFiles("#file", { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("Hello.") });
  await chips(page).nth(4).waitFor();
  const thumbnail = page.getByAltText("The picture dropped.png");
  await page.waitForFunction((image) => image.complete && image.naturalWidth === 120, await thumbnail.elementHandle());
  const player = page.getByLabel("The sound beep.wav");
  await page.waitForFunction((audio) => Math.abs(audio.duration - 0.5) < 0.01, await player.elementHandle());
  await page.getByRole("button", { name: "Leave out pasted.png" }).click();
  assert.equal(await chips(page).count(), 4);
  assert.ok(await page.evaluate(() => document.activeElement.id === "message"));
  await say(page, "what colour is it?");
  await page.locator(".message.assistant .facts").waitFor();
  const { content } = asked.messages[0];
  const types = content.map(({ type }) => type);
  assert.deepEqual(types, ["image_url", "input_audio", "image_url", "file", "text"]);
  assert.equal(content[0].image_url.url, `data:image/png;base64,${red().buffer.toString("base64")}`);
  assert.deepEqual(content[1].input_audio, { data: beep().buffer.toString("base64"), format: "wav" });
  assert.equal(content[4].text, "what colour is it?");
  assert.equal(await chips(page).count(), 0);
  // They stay with what was said, and its session is called after the first of them.
  const said = page.locator(".message.user");
  assert.equal(await said.locator("img").count(), 2);
  assert.equal(await said.locator("audio").count(), 1);
  assert.equal(await page.locator("h1").innerText(), "red.png: what colour is it?");
  await close();
});

test("the embedded model says what it sees, and goes on without the picture", async (t) => {
  const { data } = await (await fetch(`${server.address}/v1/models`)).json();
  if (!data[0].input_modalities.includes("image")) return t.skip("it was built without a tower");
  const { page, close } = await open(browser, server.address);
  const circle = png(126, 126, (x, y) => (Math.hypot(x - 63, y - 63) < 42 ? [220, 30, 30] : [255, 255, 255]));
  await page.setInputFiles("#file", { name: "circle.png", mimeType: "image/png", buffer: circle });
  await page.getByAltText("The picture circle.png").waitFor();
  await say(page, "what colour is the circle?");
  assert.equal(await answered(page, 0), "red");
  await page.reload();
  await page.locator(".message.user .chip").filter({ hasText: "a picture, 196 tokens" }).waitFor();
  await say(page, "what color is the circle?");
  await page.locator(".facts").waitFor();
  assert.equal((await page.locator(".message.assistant .text").last().innerText()).trim(), "red");
  await close();
});

test("what only the browser reads is made a picture that the server reads", async () => {
  const { page, close } = await open(browser, seeing.address);
  // BMP, 2 x 1: red and green, rows filled up to 4 bytes.
  const bmp = Buffer.alloc(54 + 8);
  bmp.write("BM");
  for (const [at, value] of [[2, 62], [10, 54], [14, 40], [18, 2], [22, 1]]) bmp.writeUInt32LE(value, at);
  bmp.writeUInt16LE(1, 26);
  bmp.writeUInt16LE(24, 28);
  bmp.set([0, 0, 255, 0, 255, 0], 54);
  await page.setInputFiles("#file", { name: "two.bmp", mimeType: "image/bmp", buffer: bmp });
  await page.getByAltText("The picture two.bmp").waitFor();
  await say(page, "what is it?");
  await page.locator(".message.assistant .facts").waitFor();
  assert.match(asked.messages[0].content[0].image_url.url, /^data:image\/png;base64,iVBOR/);
  await page.setInputFiles("#file", { name: "no.bmp", mimeType: "image/bmp", buffer: Buffer.from([0, 1, 2]) });
  await page.getByText("no.bmp cannot be decoded; choose a picture in PNG, JPEG, WebP or GIF.").waitFor();
  await close();
});

test("a recording is a WAV file of 16 kHz, or thrown away", async () => {
  const { page, close } = await open(browser, seeing.address, { permissions: ["microphone"] });
  await page.getByRole("button", { name: "Record a sound" }).click();
  await page.getByText("Recording 0:01").waitFor();
  await page.keyboard.press("Escape");
  await page.locator("#recording .chip").waitFor({ state: "detached" });
  assert.equal(await chips(page).count(), 0);
  await page.getByRole("button", { name: "Record a sound" }).click();
  await page.getByText("Recording 0:01").waitFor();
  await page.getByRole("button", { name: "Stop recording" }).click();
  await page.getByLabel("The sound recording 1.wav").waitFor();
  await page.getByRole("button", { name: "Record a sound" }).waitFor();
  await say(page, "how many beeps?");
  await page.locator(".message.assistant .facts").waitFor();
  const [{ input_audio: sound }] = asked.messages[0].content;
  assert.equal(sound.format, "wav");
  const wav = Buffer.from(sound.data, "base64");
  assert.deepEqual([wav.toString("latin1", 0, 4), wav.toString("latin1", 8, 16)], ["RIFF", "WAVEfmt "]);
  assert.deepEqual([wav.readUInt16LE(22), wav.readUInt32LE(24), wav.readUInt16LE(34)], [1, 16_000, 16]);
  assert.equal(wav.readUInt32LE(40), wav.length - 44);
  const samples = new Int16Array(wav.buffer.slice(wav.byteOffset + 44, wav.byteOffset + wav.length));
  assert.ok(samples.length >= 16_000 && samples.length < 160_000, `${samples.length} samples`);
  // Chromium's stand-in for a microphone beeps.
  assert.ok(Math.max(...samples) > 1000, "nothing was heard");
  await close();
});

test("without a microphone, or leave to use it, a sentence says so", async () => {
  const { page, close } = await open(browser, seeing.address);
  await page.evaluate(() => {
    navigator.mediaDevices.getUserMedia = async () => {
      throw new DOMException("no", "NotAllowedError");
    };
  });
  await page.getByRole("button", { name: "Record a sound" }).click();
  await page.getByText("The microphone may not be used; allow it in the browser.").waitFor();
  await page.getByRole("button", { name: "Record a sound" }).waitFor();
  await close();
});

test("a model that reads text only is shown no pictures", async () => {
  const blind = await standIn(server.address, () => {}, senses("text"));
  const { page, close } = await open(browser, blind.address);
  await page.getByRole("button", { name: "Add a text file", exact: true }).waitFor();
  assert.ok(!(await page.locator("#record").isVisible()));
  await page.setInputFiles("#file", [red(), beep()]);
  await page.getByText("red.png is a picture, and nano does not see; choose another file.").waitFor();
  await page.getByText("beep.wav is a sound, and nano does not hear; choose another file.").waitFor();
  assert.equal(await page.locator("#files .chip:not(.refused)").count(), 0);
  await close();
  blind.stop();
});

test("a session that is opened again says what was seen", async () => {
  const messages = [
    { role: "user", content: [
      { type: "seen", sense: "sight", digest: "1", rows: 196 },
      { type: "seen", sense: "hearing", digest: "2", rows: 50 },
      { type: "text", text: "what is it?" },
    ] },
    { role: "assistant", content: "red" },
  ];
  const session = { id: "seen", object: "session", tokens: 260, messages: 2, bytes: 1000, created: 1, updated: 1, label: "seen" };
  const answer = { "/v1/sessions": { data: [session] }, "/v1/sessions/seen/messages": { data: messages } };
  const kept = await standIn(server.address, () => {}, async (from, to) => {
    if (!answer[from.url]) return false;
    to.writeHead(200, { "content-type": "application/json" });
    to.end(JSON.stringify(answer[from.url]));
    return true;
  });
  const { page, close } = await open(browser, kept.address);
  await page.locator(".session").click();
  await page.locator(".message.user").waitFor();
  const told = await page.locator(".message.user .chip").allInnerTexts();
  assert.deepEqual(told, ["a picture, 196 tokens", "a sound, 50 tokens"]);
  await close();
  kept.stop();
});

for (const colorScheme of ["light", "dark"]) {
  test(`on a phone in the ${colorScheme} nothing is cut off`, async () => {
    const phone = { viewport: { width: 390, height: 800 }, hasTouch: true, isMobile: true, colorScheme };
    const { page, close } = await open(browser, seeing.address, phone);
    const long = `${"a-long-name-".repeat(12)}.png`;
    await page.setInputFiles("#file", [{ ...red(), name: long }, red(), beep()]);
    await chips(page).nth(2).waitFor();
    const fits = () => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth
      && [...document.querySelectorAll(".chip, .chip *")].every((element) => element.getBoundingClientRect().right <= innerWidth));
    assert.ok(await fits());
    if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/phone-${colorScheme}-1.png` });
    await say(page, "what is it?");
    await page.locator(".message.assistant .facts").waitFor();
    assert.ok(await fits());
    if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/phone-${colorScheme}-2.png` });
    await close();
  });
}
