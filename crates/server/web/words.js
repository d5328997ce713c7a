// Numbers, and what the server says, in words for people.

const whole = new Intl.NumberFormat("en");

export const count = (n) => whole.format(Math.round(n));

/** `1 message`, `2 messages`. */
export const several = (n, what) => `${count(n)} ${what}${n === 1 ? "" : "s"}`;

/** Bytes with a unit of 1024. */
export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024;
    unit += 1;
  }
  return `${unit > 0 && n < 10 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}

/** A rate, short. */
export function rate(n) {
  if (n >= 10_000) return `${count(n / 1000)}k`;
  return n > 0 && n < 10 ? n.toFixed(1) : count(n);
}

/** Seconds, short. */
export function seconds(n) {
  if (n < 60) return `${Math.max(1, Math.round(n))} s`;
  if (n < 3600) return `${Math.round(n / 60)} min`;
  return `${(n / 3600).toFixed(1)} h`;
}

/** How long ago `then` was, in seconds since 1970. */
export function ago(then) {
  const age = Date.now() / 1000 - then;
  if (age < 60) return "just now";
  if (age < 86_400) return `${seconds(age)} ago`;
  return new Date(then * 1000).toLocaleDateString();
}

/** Why not more of a prompt was known, as `x-fulgurite-cache` says it. */
export function miss(reason) {
  const [, word, at, known] = /^(\w+)(?: at (\d+))?(?:, known to (\d+))?/.exec(reason) ?? [];
  const to = at && count(at);
  switch (word) {
    case "none":
      return "all of it was known";
    case "cold":
      return "nothing like it was read before";
    case "end":
      return `it goes on after the ${to} tokens known`;
    case "diverged":
      return `it differs from what was read after ${to} tokens`;
    case "no_snapshot":
      return `${count(known)} tokens were known, the nearest snapshot was at ${to}`;
    case "evicted":
      return `${count(known)} tokens had been known, and gave way to others`;
    case "off":
      return "nothing is kept here";
    default:
      return reason;
  }
}

/** What to do about an error with this status and code. */
function advice(status, code) {
  if (["context_length_exceeded", "memory_exceeded"].includes(code)) return "Use a shorter text.";
  switch (status) {
    case 404:
      return "Choose another session, or begin a new chat.";
    case 409:
      return "Choose another name.";
    case 413:
      return "Use a smaller file, or start the server with a larger --max-body.";
    case 408:
    case 429:
    case 503:
      return "Try again in a moment.";
    case 500:
      return "Try again; the server's log says more.";
    default:
      return "";
  }
}

/** One sentence for people, and what to do next. */
export function sentence(error) {
  const said = error.message.replace(/[.\s]+$/, "").replaceAll("`", "");
  const begun = said.charAt(0).toUpperCase() + said.slice(1);
  return [`${begun}.`, advice(error.status, error.code)].filter(Boolean).join(" ");
}
