// The real binary, on a free port of this machine, with a home of its own.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const START_MS = 60_000;

/** What a server keeps across its starts; removed by `remove`. */
export function home() {
  const path = mkdtempSync(join(tmpdir(), "fulgurite-web-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Starts a server and waits until it answers. */
export async function start({ home, port = 0, args = [] }) {
  const all = ["serve", "--port", String(port), "--memory", "1", "--grace", "1", ...args];
  const child = spawn(process.env.FULGURITE_BINARY, all, {
    env: { ...process.env, FULGURITE_HOME: home.path },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  const exited = new Promise((resolve) => child.on("exit", resolve));
  const address = await new Promise((resolve, reject) => {
    const failed = () => reject(new Error(`the server does not start: ${said}`));
    const timer = setTimeout(failed, START_MS);
    exited.then(failed);
    child.stderr.on("data", (piece) => {
      said += piece;
      // The whole line: a piece may end within the port.
      const found = /(http:\/\/[\w.:]+)\n/.exec(said);
      if (!found) return;
      clearTimeout(timer);
      resolve(found[1]);
    });
  });
  const last = Date.now() + START_MS;
  for (;;) {
    if (child.exitCode !== null || Date.now() > last) throw new Error(`the server does not get ready: ${said}`);
    const ready = await fetch(`${address}/ready`).catch(() => null);
    if (ready?.ok) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return {
    address,
    port: Number(new URL(address).port),
    /** Ends it; the code it ends with. */
    async stop() {
      child.kill("SIGTERM");
      return exited;
    },
    /** Ends it as a power cut would. */
    async kill() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}
