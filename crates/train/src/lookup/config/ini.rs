//! INI, `.env`, properties.

use super::{comment, remember};
use crate::lookup::keys::{new_key, section_name};
use crate::lookup::vocabulary::{Case, Vocabulary};
use crate::lookup::writer::Writer;

pub(in crate::lookup) fn write(w: &mut Writer<'_>) {
    if w.chance(0.4) { env(w) } else { sections(w) }
}

fn sections(w: &mut Writer<'_>) {
    let case = *w.rng.pick(&[
        Case::Snake,
        Case::Snake,
        Case::Kebab,
        Case::Camel,
        Case::Dotted,
        Case::Pascal,
    ]);
    let separator = w.pick(&[" = ", " = ", "=", "=", ": ", " =", "\t= ", "= "]);
    let mark = w.pick(&[";", "#"]);
    let (comments, off) = (w.rng.unit() * 0.35, w.rng.unit() * 0.15);
    let quotes = w.chance(0.1);
    let mut top = Vec::new();
    if w.chance(0.2) {
        for _ in 0..1 + w.rng.below(4) {
            let (key, value) = new_key(w, case, &mut top);
            w.line(&format!("{key}{separator}{value}"));
            remember(w, "", &key, &value);
        }
    }
    while w.has_room() {
        let mut name = section_name(w, case);
        if w.chance(0.1) {
            name = format!("{name}:{}", w.draw(Vocabulary::word));
        }
        w.line(&format!("[{name}]"));
        let mut used = Vec::new();
        for _ in 0..1 + w.rng.below(9) {
            if !w.has_room() {
                break;
            }
            if w.chance(comments) {
                comment(w, mark);
            }
            let (key, value) = new_key(w, case, &mut used);
            // What is commented out is not set.
            if w.chance(off) {
                w.line(&format!("{mark}{key}{separator}{value}"));
                w.known(&name, &key, &value);
                continue;
            }
            let quote = if quotes { "\"" } else { "" };
            w.line(&format!("{key}{separator}{quote}{value}{quote}"));
            remember(w, &name, &key, &value);
        }
        if w.chance(0.8) {
            w.line("");
        }
    }
}

/// Variables of an environment, properties: keys that say all.
fn env(w: &mut Writer<'_>) {
    let case = *w.rng.pick(&[
        Case::Screaming,
        Case::Screaming,
        Case::Screaming,
        Case::Dotted,
        Case::Snake,
    ]);
    let export = if case == Case::Screaming && w.chance(0.15) { "export " } else { "" };
    let quote = w.pick(&["", "", "", "\"", "'"]);
    let sign = if case == Case::Dotted { w.pick(&["=", " = ", ": "]) } else { "=" };
    let prefix = if w.chance(0.4) { Some(w.draw(Vocabulary::word)) } else { None };
    let comments = w.rng.unit() * 0.3;
    let mut used = Vec::new();
    while w.has_room() {
        if w.chance(comments) {
            comment(w, "#");
        }
        if w.chance(0.08) {
            w.line("");
        }
        let (mut key, value) = new_key(w, case, &mut used);
        if let Some(prefix) = &prefix
            && w.chance(0.8)
        {
            let joint = if case == Case::Dotted { "." } else { "_" };
            key = format!("{}{joint}{key}", case.join(&[prefix]));
        }
        let value = value.replace(['"', '\''], "");
        w.line(&format!("{export}{key}{sign}{quote}{value}{quote}"));
        w.key(&key, &value);
    }
}
