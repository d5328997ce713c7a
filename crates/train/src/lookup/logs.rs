//! Log lines: of applications, of systems, of web servers, of jobs.

use super::Writer;
use super::vocabulary::{Case, Vocabulary};

/// What an actor may report once: an attribute, the message, ways to ask.
const EVENTS: [(&str, &str, &[&str]); 22] = [
    (
        "error code",
        "{s} failed with error code {v}",
        &[
            "which error code did {s} report?",
            "with which error code did {s} fail?",
            "error code of {s}",
        ],
    ),
    (
        "error",
        "{s}: error {v}",
        &["which error did {s} report?", "what error did {s} report?", "error of {s}?"],
    ),
    (
        "exit code",
        "{s} exited with code {v}",
        &["with which code did {s} exit?", "exit code of {s}?", "what was the exit code of {s}?"],
    ),
    (
        "port",
        "{s} listening on port {v}",
        &["which port does {s} listen on?", "on which port is {s} listening?"],
    ),
    (
        "address",
        "{s} connected from {v}",
        &["from where did {s} connect?", "from which address did {s} connect?", "address of {s}"],
    ),
    (
        "pid",
        "started {s} (pid {v})",
        &["what is the pid of {s}?", "pid of {s}", "which pid does {s} have?"],
    ),
    (
        "duration",
        "{s} finished in {v}",
        &["how long did {s} take?", "in what time did {s} finish?"],
    ),
    (
        "version",
        "{s} upgraded to version {v}",
        &["to which version was {s} upgraded?", "which version of {s}?"],
    ),
    ("memory", "{s} uses {v} of memory", &["how much memory does {s} use?", "memory of {s}"]),
    (
        "temperature",
        "temperature of {s} is {v}",
        &["what is the temperature of {s}?", "temperature of {s}"],
    ),
    ("user", "{s} opened by user {v}", &["who opened {s}?", "which user opened {s}?"]),
    ("file", "{s} wrote {v}", &["which file did {s} write?", "what did {s} write?"]),
    ("size", "{s} uploaded {v}", &["how much did {s} upload?"]),
    ("checksum", "checksum of {s} is {v}", &["checksum of {s}", "what is the checksum of {s}?"]),
    ("reason", "{s} stopped: {v}", &["why did {s} stop?", "why was {s} stopped?"]),
    ("state", "{s} changed state to {v}", &["to which state did {s} change?", "state of {s}?"]),
    ("request id", "{s} request id={v}", &["request id of {s}", "what is the request id of {s}?"]),
    (
        "owner",
        "{s} assigned to {v}",
        &["to whom is {s} assigned?", "who was {s} assigned to?", "who has {s}?"],
    ),
    (
        "retries",
        "{s} gave up after {v} retries",
        &["after how many retries did {s} give up?", "how many retries did {s} make?"],
    ),
    ("records", "{s} imported {v} records", &["how many records did {s} import?"]),
    ("latency", "{s} latency {v}", &["what was the latency of {s}?", "latency of {s}"]),
    (
        "status",
        "{s} returned status {v}",
        &["which status did {s} return?", "what status did {s} return?"],
    ),
];

pub(super) fn write(w: &mut Writer<'_>) {
    let style = w.rng.below(6);
    let mut clock = Clock::draw(w);
    let host = w.draw(Vocabulary::machine);
    while w.has_room() {
        clock.advance(w);
        let level = w.pick(&["INFO", "INFO", "INFO", "WARN", "ERROR", "DEBUG"]);
        if style == 5 {
            pairs(w, &clock, level);
            continue;
        }
        let time = if style == 3 { clock.syslog() } else { clock.time() };
        let message = event(w, &time);
        let component = w.draw(Vocabulary::word);
        let line = match style {
            0 => format!("{time} {level} {component}: {message}"),
            1 => format!("[{time}] {level:<5} {message}"),
            2 => format!("{time} [{component}] {message}"),
            3 => format!("{time} {host} {component}[{}]: {message}", 100 + w.rng.below(30_000)),
            _ => format!("{time} {message}"),
        };
        w.line(&line);
    }
}

/// A message; what it says becomes a fact.
fn event(w: &mut Writer<'_>, time: &str) -> String {
    let actor = match w.rng.below(4) {
        0 => format!(
            "{} {}",
            w.pick(&["job", "task", "worker", "backup", "user", "device"]),
            w.draw(Vocabulary::word)
        ),
        1 => w.draw(|v, rng| v.name(rng, Case::Snake)),
        _ => w.draw(Vocabulary::machine),
    };
    if w.chance(0.12) {
        // When it happened is asked, not what.
        let (attribute, verb, past) = *w.rng.pick(&[
            ("start", "started", "start"),
            ("end", "finished", "finish"),
            ("login", "logged in", "log in"),
            ("failure", "failed", "fail"),
            ("restart", "restarted", "restart"),
        ]);
        let asked =
            vec![format!("when did {actor} {past}?"), format!("at what time did {actor} {past}?")];
        w.fact_with(&actor, &format!("{attribute} time"), time, asked);
        return format!("{actor} {verb}");
    }
    if w.chance(0.15) {
        let (a, b) = (w.draw(Vocabulary::phrase), w.draw(Vocabulary::number));
        return format!("{a} {b}");
    }
    let (attribute, message, asked) = *w.rng.pick(&EVENTS);
    let value = match attribute {
        "error code" | "error" | "request id" => w.draw(Vocabulary::code),
        "exit code" | "retries" => (1 + w.rng.below(130)).to_string(),
        "status" => w
            .pick(&[
                "200", "201", "204", "301", "400", "403", "404", "409", "429", "500", "502", "503",
            ])
            .to_owned(),
        "pid" | "records" => w.draw(|_, rng| (1 + rng.below(40_000)).to_string()),
        "address" => w.draw(Vocabulary::ip),
        "temperature" => format!("{}.{} C", w.rng.below(90), w.rng.below(10)),
        "duration" | "latency" => w.draw(Vocabulary::duration),
        "state" | "user" => w.draw(Vocabulary::word),
        "reason" => w.draw(Vocabulary::phrase),
        _ => w.draw(|v, rng| v.value_of(rng, attribute)),
    };
    let text = message.replace("{s}", &actor).replace("{v}", &value);
    let asked = asked.iter().map(|asked| asked.replace("{s}", &actor)).collect();
    w.fact_with(&actor, attribute, &value, asked);
    text
}

/// A line of `key=value` pairs; the first names the actor.
fn pairs(w: &mut Writer<'_>, clock: &Clock, level: &str) {
    let actor = w.draw(Vocabulary::machine);
    let id = w.pick(&["service", "job", "host", "name"]);
    let mut line = format!("time={} level={} {id}={actor}", clock.time(), level.to_lowercase());
    for _ in 0..1 + w.rng.below(3) {
        let key = w.draw(|v, rng| v.attribute(rng, Case::Snake));
        let value = w.draw(|v, rng| v.value_of(rng, &key)).replace(' ', "-");
        if line.contains(&format!(" {key}=")) {
            continue;
        }
        line.push_str(&format!(" {key}={value}"));
        w.fact(&actor, &key, &value);
    }
    w.line(&line);
}

/// The time of the lines, which goes forward.
struct Clock {
    day: usize,
    second: usize,
    with_date: bool,
}

impl Clock {
    fn draw(w: &mut Writer<'_>) -> Self {
        Self { day: w.rng.below(28), second: w.rng.below(80_000), with_date: w.chance(0.6) }
    }

    fn advance(&mut self, w: &mut Writer<'_>) {
        self.second += 1 + w.rng.below(400);
        self.day += self.second / 86_400;
        self.second %= 86_400;
    }

    fn time(&self) -> String {
        let (h, m, s) = (self.second / 3600, self.second / 60 % 60, self.second % 60);
        if self.with_date {
            format!(
                "2025-{:02}-{:02} {h:02}:{m:02}:{s:02}",
                1 + self.day / 28 % 12,
                1 + self.day % 28
            )
        } else {
            format!("{h:02}:{m:02}:{s:02}")
        }
    }

    fn syslog(&self) -> String {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let (h, m, s) = (self.second / 3600, self.second / 60 % 60, self.second % 60);
        format!("{} {:2} {h:02}:{m:02}:{s:02}", MONTHS[self.day / 28 % 12], 1 + self.day % 28)
    }
}
