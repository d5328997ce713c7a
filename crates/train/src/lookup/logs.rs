//! Log lines: of applications, of systems, of web servers, of builds.

use super::grammar::{Rule, Slots, Template};
use super::keys::new_key;
use super::language::LANGUAGE;
use super::subject::Class;
use super::vocabulary::{Case, Vocabulary, capitalized};
use super::writer::Writer;
use std::sync::LazyLock;

/// What an actor may report.
#[derive(Debug)]
struct Event {
    attribute: &'static str,
    value: Rule,
    says: Vec<Template>,
}

static EVENTS: LazyLock<Vec<Event>> = LazyLock::new(|| {
    let mut events: Vec<Event> = Vec::new();
    for line in
        include_str!("language/events.txt").lines().filter(|l| !l.starts_with('#') && !l.is_empty())
    {
        let (mark, rest) = line.split_at(1);
        match (mark, events.last_mut()) {
            ("@", _) => {
                let (attribute, value) = rest.split_once(" : ").expect("`@ attribute : values`");
                let value = LANGUAGE.grammar.rule(value);
                events.push(Event { attribute: attribute.trim(), value, says: Vec::new() });
            }
            ("=", Some(event)) => event.says.push(LANGUAGE.grammar.template(rest)),
            ("?" | "<", Some(_)) => {}
            _ => panic!("unknown line `{line}`"),
        }
    }
    events
});

pub(super) fn write(w: &mut Writer<'_>) {
    match w.rng.below(10) {
        0 | 1 => access(w),
        2 => build(w),
        3 => fields(w, false),
        4 => fields(w, true),
        _ => lines(w),
    }
}

/// How lines begin and what stands around the message.
fn lines(w: &mut Writer<'_>) {
    let style = w.rng.below(9);
    let mut clock = Clock::draw(w);
    let host = w.draw(Vocabulary::machine);
    let components: Vec<String> = (0..5).map(|_| w.rule("component")).collect();
    let (noise, upper) = (w.rng.unit() * 0.7, w.chance(0.5));
    let capital = w.chance(0.3);
    while w.has_room() {
        clock.advance(w);
        let level = w.pick(&["INFO", "INFO", "INFO", "WARN", "ERROR", "DEBUG"]);
        let level = if upper { level.to_owned() } else { level.to_lowercase() };
        let time = match style {
            3 | 6 => clock.syslog(),
            _ => clock.time(),
        };
        let component = w.rng.pick(&components).clone();
        let pid = (100 + w.rng.below(30_000)).to_string();
        let with_level = !matches!(style, 2 | 3 | 4 | 6);
        let stamp = Stamp { time: &time, clock: &clock, level: with_level.then_some(&level) };
        let mut message = if w.chance(noise) { w.rule("logfill") } else { event(w, &stamp) };
        if capital && !message.contains('=') {
            message = capitalized(&message);
        }
        let line = match style {
            0 => format!("{time} {level} {component}: {message}"),
            1 => format!("[{time}] {level:<5} {message}"),
            2 => format!("{time} [{component}] {message}"),
            3 => format!("{time} {host} {component}[{pid}]: {message}"),
            5 => format!("{time} - {component} - {level} - {message}"),
            6 => format!("{time} {component}: {message}"),
            7 => format!("{level} [{time}] ({component}) {message}"),
            8 => format!("{time} [{pid}] {level} {component} - {message}"),
            _ => format!("{time} {message}"),
        };
        w.line(&line);
        if matches!(style, 3 | 8) && w.chance(0.3) {
            w.known(&component, "pid", &pid);
        }
        if w.chance(0.015) && w.has_room() {
            trace(w);
        }
    }
}

/// When a line was written, and with which level.
struct Stamp<'a> {
    time: &'a str,
    clock: &'a Clock,
    level: Option<&'a String>,
}

/// A message; what it says becomes a fact.
fn event(w: &mut Writer<'_>, stamp: &Stamp<'_>) -> String {
    let actor = w.rule("actor");
    match w.rng.below(10) {
        // When it happened is asked, not what.
        0 | 1 => {
            let did = w.rule("did");
            let message = format!("{actor} {did}");
            w.fact_only((&message, Class::Entry), "time", stamp.time, "ask_log_time");
            if let Some(level) = stamp.level {
                w.fact_only((&message, Class::Entry), "level", level, "ask_log_level");
            }
            if let Some(hour) = stamp.clock.hour() {
                w.fact_only((&message, Class::Entry), "hour", &hour, "ask_log_hour");
            }
            message
        }
        _ => {
            let event = w.rng.pick(&EVENTS);
            let value = w.expand(event.value, Slots::default());
            let template = w.rng.pick(&event.says);
            let mut message = String::new();
            let slots = Slots { bare: &actor, subject: &actor, value: &value, ..Slots::default() };
            LANGUAGE.grammar.fill(template, slots, w.vocabulary, &mut w.rng, &mut message);
            if w.chance(0.3) {
                let more = w.rule("logfill");
                message = format!("{message}{}{more}", w.pick(&["; ", ", ", " - ", " (", " | "]));
                if message.contains(" (")
                    && !message.ends_with(')')
                    && message.matches('(').count() > message.matches(')').count()
                {
                    message.push(')');
                }
            }
            // The name of the rule is made of the attribute, see `language.rs`.
            let asks = format!("event {}", event.attribute);
            let reverse = format!("actor of {}", event.attribute);
            let reverse = if LANGUAGE.grammar.has(&reverse) { reverse } else { String::new() };
            w.put(&actor, Class::Entry, event.attribute, &value, &asks, &reverse, true);
            message
        }
    }
}

/// Requests to a web server.
fn access(w: &mut Writer<'_>) {
    let mut clock = Clock::draw(w);
    let (agents, nginx) = (w.chance(0.5), w.chance(0.3));
    while w.has_room() {
        clock.advance(w);
        let (ip, method, path) = (
            w.rule("ip"),
            w.pick(&["GET", "GET", "POST", "PUT", "DELETE", "HEAD"]),
            w.rule("urlpath"),
        );
        let (status, size) = (w.rule("httpcode"), w.rule("count").replace(',', ""));
        let time = clock.apache();
        let request = format!("{method} {path}");
        let agent =
            if agents { format!(" \"-\" \"{}\"", w.rule("browser")) } else { String::new() };
        if nginx && w.chance(0.3) {
            let reason = w.rule("reason");
            let line = format!(
                "{} [error] {}#0: *{} {reason}, client: {ip}, request: \"{request} HTTP/1.1\"",
                clock.slashed(),
                100 + w.rng.below(900),
                w.rng.below(9000)
            );
            w.line(&line);
            w.fact(&request, Class::Entry, "error", &reason);
            w.fact_only((&request, Class::Entry), "client", &ip, "ask_http_ip");
            w.known(&request, "time", &time);
            continue;
        }
        let user = if w.chance(0.15) { w.draw(Vocabulary::word) } else { "-".to_owned() };
        w.line(&format!("{ip} - {user} [{time}] \"{request} HTTP/1.1\" {status} {size}{agent}"));
        let entry = Class::Entry;
        w.put(&request, entry, "status", &status, "ask_http_status", "rev_http_status", true);
        w.put(&request, entry, "client", &ip, "ask_http_ip", "rev_http_ip", true);
        w.fact_only((&request, Class::Entry), "response size", &size, "ask_http_size");
        w.fact_only((&request, Class::Entry), "time", &time, "ask_http_when");
    }
}

/// Steps of a build with times, tests, warnings.
fn build(w: &mut Writer<'_>) {
    while w.has_room() {
        match w.rng.below(8) {
            0 | 1 => {
                let (name, version) = (w.draw(Vocabulary::package), w.rule("semver"));
                let verb =
                    w.pick(&["Compiling", "Downloading", "Installing", "Checking", "Fetching"]);
                w.line(&format!("   {verb} {name} v{version}"));
                w.put(
                    &name,
                    Class::Package,
                    "version",
                    &format!("v{version}"),
                    "ask_pkg_version",
                    "rev_pkg_version",
                    false,
                );
            }
            2 | 3 => {
                let name = w.draw(|v, rng| v.name(rng, Case::Snake));
                let (time, state) =
                    (w.rule("ms"), w.pick(&["ok", "ok", "ok", "FAILED", "ignored"]));
                w.line(&format!("test {name} ... {state} ({time})"));
                w.fact(&name, Class::Entry, "result", state);
                w.fact(&name, Class::Entry, "duration", &time);
            }
            4 => {
                let (file, text) = (w.rule("file"), w.rule("comment"));
                let line = w.rule("small");
                let line = format!("warning: {text}\n  --> {file}:{line}:{}", w.rng.below(80));
                w.line(&line);
                w.fact(&file, Class::Entry, "warning", &text);
                w.fact(&file, Class::Entry, "line", &line);
            }
            5 => {
                let (step, time) = (w.rule("task"), w.rule("ms"));
                let line = format!(
                    "[{}/{}] {step} done in {time}",
                    1 + w.rng.below(9),
                    9 + w.rng.below(9)
                );
                w.line(&line);
                w.fact(&step, Class::Entry, "duration", &time);
            }
            6 => {
                let command = w.rule("command");
                w.line(&format!("$ {command}"));
            }
            _ => {
                let fill = w.rule("logfill");
                w.line(&fill);
            }
        }
    }
}

/// Lines of `key=value` pairs or of JSON; the first field names the actor.
fn fields(w: &mut Writer<'_>, json: bool) {
    let mut clock = Clock::draw(w);
    let id = w.pick(&["service", "job", "host", "name", "component", "task", "id"]);
    let stamp = w.pick(&["time", "ts", "timestamp", "@timestamp"]);
    while w.has_room() {
        clock.advance(w);
        let level = w.pick(&["info", "info", "warn", "error", "debug"]).to_owned();
        let actor = w.rule("actor").replace(' ', "-");
        let time = clock.time();
        let message = w.rule("logfill").replace('"', "");
        let mut pairs = vec![
            (stamp.to_owned(), time.clone()),
            ("level".to_owned(), level.clone()),
            (id.to_owned(), actor.clone()),
            ("msg".to_owned(), message.clone()),
        ];
        let mut used = vec!["level".to_owned(), "msg".to_owned(), id.to_owned(), stamp.to_owned()];
        for _ in 0..1 + w.rng.below(4) {
            let (key, value) = new_key(w, Case::Snake, &mut used);
            let value = super::keys::plain(value);
            w.fact(&actor, Class::Entry, &key, &value);
            pairs.push((key, value));
        }
        if w.chance(0.3) {
            pairs.remove(3);
        } else if w.chance(0.3) {
            w.fact(&actor, Class::Entry, "message", &message);
        } else {
            w.known(&actor, "message", &message);
        }
        w.fact(&actor, Class::Entry, "level", &level);
        w.fact(&actor, Class::Entry, "timestamp", &time);
        let parts = pairs.iter().map(|(key, value)| match (json, value.contains(' ')) {
            (true, _) => format!("\"{key}\":{}", super::keys::quoted(value, "\"")),
            (false, true) => format!("{key}=\"{value}\""),
            (false, false) => format!("{key}={value}"),
        });
        let parts: Vec<String> = parts.collect();
        w.line(&if json { format!("{{{}}}", parts.join(",")) } else { parts.join(" ") });
    }
}

/// A stack trace.
fn trace(w: &mut Writer<'_>) {
    w.line("Traceback (most recent call last):");
    for _ in 0..1 + w.rng.below(3) {
        let (file, line, name) =
            (w.rule("file"), w.rule("small"), w.draw(|v, rng| v.name(rng, Case::Snake)));
        w.line(&format!("  File \"{file}\", line {line}, in {name}"));
        w.fact(&name, Class::Entry, "line", &line);
        w.known(&name, "file", &file);
    }
    let error = w.rule("traceback");
    w.line(&error);
}

/// The time of the lines, which goes forward.
struct Clock {
    day: usize,
    second: usize,
    style: usize,
    year: usize,
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Clock {
    fn draw(w: &mut Writer<'_>) -> Self {
        Self {
            day: w.rng.below(330),
            second: w.rng.below(80_000),
            style: w.rng.below(7),
            year: 2015 + w.rng.below(14),
        }
    }

    fn advance(&mut self, w: &mut Writer<'_>) {
        self.second += 1 + w.rng.below(400);
        self.day += self.second / 86_400;
        self.second %= 86_400;
    }

    fn parts(&self) -> (usize, usize, String) {
        let (h, m, s) = (self.second / 3600, self.second / 60 % 60, self.second % 60);
        (self.day / 28 % 12, 1 + self.day % 28, format!("{h:02}:{m:02}:{s:02}"))
    }

    fn time(&self) -> String {
        let (month, day, time) = self.parts();
        let date = format!("{}-{:02}-{day:02}", self.year, month + 1);
        match self.style {
            0 | 1 => format!("{date} {time}"),
            2 => time,
            3 => format!("{date}T{time}Z"),
            4 => format!("{date} {time},{:03}", self.second * 7 % 1000),
            5 => format!("{time}.{:03}", self.second * 7 % 1000),
            _ => format!("{}/{:02}/{day:02} {time}", self.year, month + 1),
        }
    }

    /// The time of the day, where the stamp shows it by itself.
    fn hour(&self) -> Option<String> {
        matches!(self.style, 0 | 1 | 2 | 6).then(|| self.parts().2)
    }

    fn syslog(&self) -> String {
        let (month, day, time) = self.parts();
        format!("{} {day:2} {time}", MONTHS[month])
    }

    fn apache(&self) -> String {
        let (month, day, time) = self.parts();
        format!("{day:02}/{}/{}:{time} +0000", MONTHS[month], self.year)
    }

    fn slashed(&self) -> String {
        let (month, day, time) = self.parts();
        format!("{}/{:02}/{day:02} {time}", self.year, month + 1)
    }
}
