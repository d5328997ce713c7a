// Asking the server: keys, errors, streams.

const KEY = "fulgurite-key";

/** What the server refused. */
export class ApiError extends Error {
  constructor(message, status, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** The server did not answer, or stopped in the middle. */
export class Lost extends Error {
  constructor() {
    super("the connection to the server was lost");
  }
}

/** What is done about keys and connections; set once by `app.js`. */
export const hooks = {
  /** Asks for a key, given what was wrong; a string, or null to give up. */
  wantKey: async () => null,
  /** Called each time the server does not answer. */
  lost: () => {},
};

let asking = null;

/** Asks for a key once, however many requests want one. */
function newKey(message) {
  asking ??= hooks.wantKey(message).finally(() => (asking = null));
  return asking;
}

/** The response to a request, if the server took it. Nobody is asked for a key if it is `quiet`. */
export async function send(path, { method = "GET", json, body, signal, quiet = false } = {}) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const headers = {};
    if (key) headers.authorization = `Bearer ${key}`;
    if (json !== undefined) headers["content-type"] = "application/json";
    const content = json === undefined ? body : JSON.stringify(json);
    let response;
    try {
      response = await fetch(path, { method, headers, body: content, signal, cache: "no-store" });
    } catch (error) {
      if (signal?.aborted) throw error;
      hooks.lost();
      throw new Lost();
    }
    if (response.ok) return response;
    const error = await refusal(response);
    if (response.status !== 401 || quiet) throw error;
    // Another request may have been given a key meanwhile.
    if (sessionStorage.getItem(KEY) !== key) continue;
    const given = await newKey(key ? error.message : "");
    if (given === null) throw error;
    sessionStorage.setItem(KEY, given);
  }
}

async function refusal(response) {
  const told = await response.json().catch(() => null);
  const message = told?.error?.message ?? `the server answered with status ${response.status}`;
  return new ApiError(message, response.status, told?.error?.code);
}

/** The JSON that the server answers with. */
export const ask = async (path, options) => (await send(path, options)).json();

const path = (name, rest = "") => `/v1/sessions/${encodeURIComponent(name)}${rest}`;

/** Conversations that last. */
export const sessions = {
  list: async () => (await ask("/v1/sessions")).data,
  show: (name) => ask(path(name)),
  messages: async (name) => (await ask(path(name, "/messages"))).data,
  label: (name, label) => ask(path(name), { method: "PATCH", json: { label } }),
  fork: (name, to, label) =>
    ask(path(name, "/fork"), { method: "POST", json: { name: to, label } }),
  rewind: (name, messages) =>
    ask(path(name, "/rewind"), { method: "POST", json: { messages } }),
  remove: (name) => ask(path(name), { method: "DELETE" }),
  file: async (name) => (await send(path(name, "/export"))).blob(),
  take: (name, file) => ask(path(name, "/import"), { method: "POST", body: file }),
};

/** The data of an event stream, one by one, up to its end. */
export async function* events(response, signal) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      if (signal.aborted) throw error;
      hooks.lost();
      throw new Lost();
    });
    if (done) {
      hooks.lost();
      throw new Lost();
    }
    held += value;
    const blocks = held.split("\n\n");
    held = blocks.pop();
    for (const block of blocks) {
      const line = block.split("\n").find((line) => line.startsWith("data: "));
      if (line === "data: [DONE]") return;
      if (!line) continue;
      const data = JSON.parse(line.slice(6));
      if (data.error) throw new ApiError(data.error.message, 500, data.error.code);
      yield data;
    }
  }
}
