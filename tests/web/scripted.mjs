// A stand-in before the real server: passes everything on but chats, which it answers as it is told.
// It makes what the embedded model does not: long answers, thoughts, ends in the middle.

import { createServer, request } from "node:http";

/** A piece of a stream, as `/v1/chat/completions` writes it. */
export const delta = (fields) => ({ choices: [{ index: 0, delta: fields, finish_reason: null }] });

/** The end of a stream. */
export const end = [
  { choices: [{ index: 0, delta: {}, finish_reason: "stop" }] },
  {
    choices: [],
    usage: {
      prompt_tokens: 1000,
      completion_tokens: 20,
      prompt_tokens_details: { cached_tokens: 900 },
    },
  },
];

/**
 * Starts one before `address`. `script(chat)` is called for each chat: `chat.body` is the request,
 * `chat.send(…pieces)` writes, `chat.done()` ends the stream as it should be, `chat.cut()` breaks the
 * connection, `chat.refuse(status, error)` answers with an error, and `chat.gone` is a promise of the
 * client's leaving. `other(from, to)` may answer other requests; whether it does.
 */
export async function before(address, script, other = async () => false) {
  const target = new URL(address);
  const server = createServer(async (from, to) => {
    if (from.url === "/v1/chat/completions") return scripted(from, to, script);
    if (await other(from, to)) return;
    const options = {
      host: target.hostname,
      port: target.port,
      path: from.url,
      method: from.method,
      headers: { ...from.headers, host: target.host },
    };
    const passed = request(options, (answer) => {
      to.writeHead(answer.statusCode, answer.headers);
      answer.pipe(to);
    });
    passed.on("error", () => to.destroy());
    from.pipe(passed);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    address: `http://127.0.0.1:${server.address().port}`,
    stop() {
      server.close();
      server.closeAllConnections();
    },
  };
}

async function scripted(from, to, script) {
  let text = "";
  for await (const piece of from) text += piece;
  const begin = () => {
    if (!to.headersSent) to.writeHead(200, { "content-type": "text/event-stream" });
  };
  await script({
    body: JSON.parse(text),
    gone: new Promise((resolve) => to.on("close", resolve)),
    send(...pieces) {
      begin();
      for (const piece of pieces) to.write(`data: ${JSON.stringify(piece)}\n\n`);
    },
    done() {
      this.send(...end);
      to.end("data: [DONE]\n\n");
    },
    cut() {
      begin();
      to.write(": ping\n\n", () => to.destroy());
    },
    refuse(status, error) {
      to.writeHead(status, { "content-type": "application/json" });
      to.end(JSON.stringify({ error }));
    },
  });
}
