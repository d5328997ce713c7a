// A model for clips that makes them when it is told to: for what the page does meanwhile.

import { readFile } from "node:fs/promises";

const FIXTURES = new URL("../../fixtures/clips/", import.meta.url);
const TIMELINE = `<svg xmlns="http://www.w3.org/2000/svg" width="900" height="120"><rect width="900" height="120"
  fill="#eee"/><text x="20" y="60">frames</text></svg>`;

/** The smallest PNG: one red point. */
export const PNG = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC",
  "base64",
);

export class Clips {
  /** Bodies of what was ordered. */
  asked = [];
  /** The latest first. */
  all = [];
  /** The error of the next order, with its status. */
  refusal = null;

  /** A clip under way, or with `more` another one. */
  add(prompt, more = {}) {
    const clip = {
      id: `video_${this.all.length}`,
      object: "video",
      model: "nano-video",
      status: "queued",
      progress: 0,
      seconds_left: null,
      preview: false,
      created_at: Math.floor(Date.now() / 1000),
      completed_at: null,
      prompt,
      size: "64x64",
      seconds: "1.5",
      error: null,
      settings: { seed: 7, num_frames: 9, num_inference_steps: 20, eta: 0.25, consistency: "report" },
      flagged_frames: [],
      repaired_frames: [],
      variants: [],
      ...more,
    };
    this.all.unshift(clip);
    return clip;
  }

  /** Completes a clip. */
  complete(clip, more = {}) {
    Object.assign(clip, {
      status: "completed",
      progress: 100,
      completed_at: Math.floor(Date.now() / 1000),
      variants: ["video", "gif", "thumbnail", "timeline", "report"],
      ...more,
    });
  }

  /** Answers a request if it is about clips; whether it is. */
  async answer(from, to) {
    const url = new URL(from.url, "http://x");
    const json = (value, status = 200) => {
      to.writeHead(status, { "content-type": "application/json" });
      to.end(JSON.stringify(value));
      return true;
    };
    if (url.pathname === "/v1/models") {
      return json({ object: "list", data: [{ id: "lookup", max_model_len: 9 }, { id: "nano-video" }] });
    }
    const [, id, rest] = /^\/v1\/videos(?:\/(\w+)(\/content)?)?$/.exec(url.pathname) ?? [null];
    if (id === undefined && url.pathname !== "/v1/videos") return false;
    if (id === undefined && from.method === "GET") return json({ object: "list", data: this.all, has_more: false });
    if (id === undefined) {
      let text = "";
      for await (const piece of from) text += piece;
      this.asked.push(JSON.parse(text));
      const refused = this.refusal;
      this.refusal = null;
      if (refused) return json({ error: refused }, refused.status);
      return json(this.add(this.asked.at(-1).prompt));
    }
    const clip = this.all.find((clip) => clip.id === id);
    if (!clip) return json({ error: { message: `there is no clip \`${id}\``, code: "not_found" } }, 404);
    if (from.method === "DELETE") {
      this.all = this.all.filter((other) => other !== clip);
      return json({ id, object: "video.deleted", deleted: true });
    }
    if (!rest) return json(clip);
    const kinds = {
      video: ["video/mp4", () => readFile(new URL("stripes.mp4", FIXTURES))],
      gif: ["image/gif", () => readFile(new URL("stripes.gif", FIXTURES))],
      preview: ["image/gif", () => readFile(new URL("stripes.gif", FIXTURES))],
      thumbnail: ["image/png", () => PNG],
      timeline: ["image/svg+xml", () => TIMELINE],
      report: ["application/json", () => "{}"],
    };
    const [kind, bytes] = kinds[url.searchParams.get("variant") ?? "video"];
    to.writeHead(200, { "content-type": kind });
    to.end(await bytes());
    return true;
  }
}
