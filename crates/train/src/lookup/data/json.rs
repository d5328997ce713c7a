//! JSON: nested objects, lists of records, lines, `package.json`.

use super::records::Records;
use crate::lookup::keys::{new_key, plain, quoted, section_name};
use crate::lookup::subject::Class;
use crate::lookup::vocabulary::{Case, Vocabulary};
use crate::lookup::writer::Writer;

pub(in crate::lookup) fn write(w: &mut Writer<'_>) {
    let case = *w.rng.pick(&[Case::Snake, Case::Camel, Case::Camel, Case::Kebab]);
    match w.rng.below(10) {
        0..3 => list(w, case),
        3 => lines(w, case),
        4 => map(w, case),
        5 => package(w),
        _ => objects(w, case),
    }
}

/// Remembers a leaf of a nested object.
fn leaf(w: &mut Writer<'_>, path: &str, key: &str, value: &str) {
    if path.is_empty() {
        w.key(key, value);
    } else {
        w.fact(path, Class::Section, key, value);
    }
}

/// Objects in objects, up to three deep.
fn objects(w: &mut Writer<'_>, case: Case) {
    let pad = w.pick(&["  ", "    ", "\t", "  "]);
    let deep = w.rng.unit() * 0.35;
    w.line("{");
    let mut used = Vec::new();
    let flat = w.chance(0.25);
    while w.has_room() {
        if flat || w.chance(0.25) {
            entry(w, "", case, pad, &mut used);
        } else {
            let name = section_name(w, case);
            if used.contains(&name) {
                continue;
            }
            used.push(name.clone());
            object(w, &name, &name, case, (pad, pad), deep);
        }
    }
    w.close("}");
}

fn object(
    w: &mut Writer<'_>,
    name: &str,
    path: &str,
    case: Case,
    (pad, indent): (&str, &str),
    deep: f32,
) {
    w.line(&format!("{indent}\"{name}\": {{"));
    let inner = format!("{indent}{pad}");
    let mut used = Vec::new();
    for _ in 0..1 + w.rng.below(6) {
        if !w.has_room() && !used.is_empty() {
            break;
        }
        if inner.len() < 4 * pad.len() && w.chance(deep) {
            let name = section_name(w, case);
            if !used.contains(&name) {
                used.push(name.clone());
                object(w, &name, &format!("{path}.{name}"), case, (pad, &inner), deep);
            }
        } else {
            entry(w, path, case, &inner, &mut used);
        }
    }
    w.close(&format!("{indent}}},"));
}

fn entry(w: &mut Writer<'_>, path: &str, case: Case, indent: &str, used: &mut Vec<String>) {
    let (key, value) = new_key(w, case, used);
    let value = plain(value);
    if w.chance(0.08) {
        let n = 1 + w.rng.below(4);
        let items: Vec<String> = (0..n).map(|_| quoted(&plain(w.rule("any")), "\"")).collect();
        let list = format!("[{}]", items.join(", "));
        w.line(&format!("{indent}\"{key}\": {list},"));
        w.known(path, &key, &list);
        return;
    }
    w.line(&format!("{indent}\"{key}\": {},", quoted(&value, "\"")));
    leaf(w, path, &key, &value);
}

fn list(w: &mut Writer<'_>, case: Case) {
    let n = 1 + w.rng.below(6);
    let records = Records::draw(w, n, case);
    let style = w.rng.below(3);
    let wrapped = w.chance(0.4);
    let top = w.draw(Vocabulary::word);
    w.line(&if wrapped { format!("{{\n  \"{top}\": [") } else { "[".to_owned() });
    let mut last = String::new();
    while w.has_room() {
        let (name, row) = record(w, &records, &last, ": ");
        match style {
            0 => w.line(&format!("  {{{}}},", row.join(", "))),
            1 => w.line(&format!("  {{\n    {}\n  }},", row.join(",\n    "))),
            _ => w.line(&format!("    {{ {} }},", row.join(", "))),
        }
        last = name;
    }
    w.close(if wrapped { "  ]\n}" } else { "]" });
}

/// The members of a record; what they say is remembered.
fn record(w: &mut Writer<'_>, records: &Records, last: &str, colon: &str) -> (String, Vec<String>) {
    let name = plain(records.name(w, last));
    let mut row = vec![format!("\"{}\"{colon}\"{name}\"", records.id)];
    for column in &records.columns {
        if w.chance(0.06) {
            continue;
        }
        let value = plain(column.value(w));
        row.push(format!("\"{}\"{colon}{}", column.name, quoted(&value, "\"")));
        w.fact(&name, records.class, &column.name, &value);
    }
    if w.chance(0.1) {
        row.rotate_left(1);
    }
    (name, row)
}

fn lines(w: &mut Writer<'_>, case: Case) {
    let n = 1 + w.rng.below(6);
    let records = Records::draw(w, n, case);
    let (colon, comma) = if w.chance(0.5) { (":", ",") } else { (": ", ", ") };
    let mut last = String::new();
    while w.has_room() {
        let (name, row) = record(w, &records, &last, colon);
        w.line(&format!("{{{}}}", row.join(comma)));
        last = name;
    }
}

/// An object of records, whose keys name them.
fn map(w: &mut Writer<'_>, case: Case) {
    let n = 1 + w.rng.below(4);
    let records = Records::draw(w, n, case);
    w.line("{");
    let mut last = String::new();
    while w.has_room() {
        let name = plain(records.name(w, &last));
        if w.index.is_subject(&name) {
            continue;
        }
        w.line(&format!("  \"{name}\": {{"));
        for column in &records.columns {
            let value = plain(column.value(w));
            w.line(&format!("    \"{}\": {},", column.name, quoted(&value, "\"")));
            w.fact(&name, records.class, &column.name, &value);
        }
        w.close("  },");
        last = name;
    }
    w.close("}");
}

/// As in `package.json`.
fn package(w: &mut Writer<'_>) {
    let (name, version) = (w.draw(Vocabulary::package), w.rule("semver"));
    w.line(&format!("{{\n  \"name\": \"{name}\",\n  \"version\": \"{version}\","));
    w.fact_asked((&name, Class::Package), "version", &version, "ask_pkg_version");
    w.key("name", &name);
    for (key, rule) in [
        ("description", "purpose"),
        ("license", "license"),
        ("author", "person"),
        ("main", "file"),
        ("homepage", "url"),
        ("type", "mode"),
    ] {
        if w.chance(0.5) && w.has_room() {
            let value = w.rule(rule);
            w.line(&format!("  \"{key}\": \"{value}\","));
            w.key(key, &value);
        }
    }
    if w.chance(0.7) && w.has_room() {
        w.line("  \"scripts\": {");
        let mut used = Vec::new();
        for _ in 0..1 + w.rng.below(6) {
            let script = match w.rng.below(3) {
                0 => w.draw(Vocabulary::word),
                1 => format!("{}:{}", w.pick(&["build", "test", "lint"]), w.draw(Vocabulary::word)),
                _ => w
                    .pick(&["build", "test", "lint", "start", "dev", "format", "prepare"])
                    .to_owned(),
            };
            if used.contains(&script) {
                continue;
            }
            let command = w.rule("command");
            w.line(&format!("    \"{script}\": \"{command}\","));
            w.fact(&script, Class::Entry, "command", &command);
            w.known(&script, "script", &command);
            used.push(script);
        }
        w.close("  },");
    }
    for group in ["dependencies", "devDependencies", "peerDependencies", "engines"] {
        if !w.has_room() {
            break;
        }
        w.line(&format!("  \"{group}\": {{"));
        let half = w.text.len() + w.room() / 2;
        while w.text.len() < half {
            let mut name = w.draw(Vocabulary::package);
            if w.chance(0.2) {
                name = format!("@{}/{name}", w.draw(Vocabulary::word));
            }
            let version = format!("{}{}", w.pick(&["^", "^", "~", "", ">="]), w.rule("semver"));
            w.line(&format!("    \"{name}\": \"{version}\","));
            w.put(
                &name,
                Class::Package,
                "version",
                &version,
                "ask_pkg_version",
                "rev_pkg_version",
                false,
            );
        }
        w.close("  },");
    }
    w.close("}");
}
