//! Keys and values of settings and records, and the spelling of scalars in data formats.

use super::grammar::Slots;
use super::language::LANGUAGE;
use super::vocabulary::Case;
use super::writer::Writer;

/// A key and a value that it may have, in the given spelling.
pub(super) fn key_value(w: &mut Writer<'_>, case: Case) -> (String, String) {
    let (known, rule) = *w.rng.pick(&LANGUAGE.keys);
    let mut words: Vec<String> = known.split('_').map(str::to_owned).collect();
    match w.rng.below(20) {
        0..9 => {}
        9 | 10 => words.insert(0, w.draw(|v, rng| v.word(rng))),
        11 => words.insert(
            0,
            w.pick(&["db", "app", "http", "smtp", "max", "min", "default", "user", "my"])
                .to_owned(),
        ),
        12 => {
            for word in &mut words {
                if let Some(other) = LANGUAGE.other_form(word) {
                    other.clone_into(word);
                }
            }
        }
        13 => words = vec![w.rule("rand")],
        _ => {
            let n = 1 + w.rng.below(2) + w.rng.below(2);
            words = w.draw(|v, rng| v.words(rng, n));
        }
    }
    words.dedup();
    let key = case.join(&words);
    let odd = w.chance(0.06) || words.last().is_none_or(|last| !known.ends_with(last.as_str()));
    let value = if odd { w.rule("any") } else { w.expand(rule, Slots::default()) };
    (key, value)
}

/// As [`key_value`], with a key that is none of `used`.
pub(super) fn new_key(w: &mut Writer<'_>, case: Case, used: &mut Vec<String>) -> (String, String) {
    loop {
        let (mut key, mut value) = key_value(w, case);
        if !used.is_empty() && w.chance(0.12) {
            let i = w.rng.below(used.len());
            key = w.vocabulary.near(&mut w.rng, &used[i]);
            value = value_of(w, &key);
        }
        if !used.contains(&key) && !key.is_empty() && !key.ends_with(['-', '_', '.']) {
            used.push(key.clone());
            return (key, value);
        }
    }
}

/// A value that `attribute` would have.
pub(super) fn value_of(w: &mut Writer<'_>, attribute: &str) -> String {
    match LANGUAGE.value_rule(attribute) {
        Some(rule) if !w.chance(0.04) => w.expand(rule, Slots::default()),
        _ => w.rule("any"),
    }
}

/// Whether data formats write `value` without quotes.
pub(super) fn is_bare(value: &str) -> bool {
    let number = value.len() < 16
        && value.starts_with(|c: char| c.is_ascii_digit() || c == '-')
        && (value == "0" || !value.starts_with('0') || value.starts_with("0."))
        && value.parse::<f64>().is_ok();
    number || ["true", "false", "null"].contains(&value)
}

/// The value as JSON and its kin want it; what would be escaped is replaced first.
pub(super) fn quoted(value: &str, quote: &str) -> String {
    if is_bare(value) { value.to_owned() } else { format!("{quote}{value}{quote}") }
}

/// The value without what JSON and its kin would escape.
pub(super) fn plain(value: String) -> String {
    if value.contains(['\\', '"', '\'']) {
        value.chars().filter(|c| !['\\', '"', '\''].contains(c)).collect()
    } else {
        value
    }
}

/// The name of a part of a settings file.
pub(super) fn section_name(w: &mut Writer<'_>, case: Case) -> String {
    if w.chance(0.4) { w.pick(&SECTIONS).to_owned() } else { w.draw(|v, rng| v.name(rng, case)) }
}

/// Names of the parts of settings files that are often met.
pub(super) const SECTIONS: [&str; 40] = [
    "server",
    "database",
    "cache",
    "logging",
    "auth",
    "queue",
    "storage",
    "search",
    "mail",
    "billing",
    "api",
    "web",
    "worker",
    "metrics",
    "gateway",
    "client",
    "network",
    "security",
    "profile",
    "build",
    "deploy",
    "limits",
    "backup",
    "scheduler",
    "proxy",
    "session",
    "display",
    "audio",
    "editor",
    "window",
    "user",
    "general",
    "main",
    "global",
    "default",
    "training",
    "model",
    "optimizer",
    "tracing",
    "frontend",
];
