//! TOML: settings, manifests.

use super::records::Records;
use crate::lookup::keys::{new_key, plain, quoted, section_name};
use crate::lookup::subject::Class;
use crate::lookup::vocabulary::{Case, Vocabulary};
use crate::lookup::writer::Writer;

pub(in crate::lookup) fn write(w: &mut Writer<'_>) {
    match w.rng.below(10) {
        0..3 => manifest(w),
        3 => records(w),
        _ => settings(w),
    }
}

fn comment(w: &mut Writer<'_>, indent: &str) {
    let text = w.rule("comment");
    w.line(&format!("{indent}# {text}"));
}

/// One `key = value`; arrays, strings in either quotes, comments behind.
fn entry(w: &mut Writer<'_>, section: &str, case: Case, used: &mut Vec<String>, indent: &str) {
    let (key, value) = new_key(w, case, used);
    let value = plain(value);
    let quote = if w.chance(0.12) { "'" } else { "\"" };
    let note = if w.chance(0.08) { format!("  # {}", w.rule("comment")) } else { String::new() };
    if w.chance(0.07) {
        let items: Vec<String> =
            (0..2 + w.rng.below(3)).map(|_| w.draw(Vocabulary::word)).collect();
        let list = format!("[\"{}\"]", items.join("\", \""));
        w.line(&format!("{indent}{key} = {list}"));
        w.fact(section, Class::Section, &key, &list);
        return;
    }
    w.line(&format!("{indent}{key} = {}{note}", quoted(&value, quote)));
    if section.is_empty() {
        w.key(&key, &value);
    } else {
        w.fact(section, Class::Section, &key, &value);
    }
}

fn settings(w: &mut Writer<'_>) {
    let case = *w.rng.pick(&[Case::Snake, Case::Snake, Case::Kebab, Case::Camel]);
    let comments = w.rng.unit() * 0.3;
    let indent = if w.chance(0.1) { "  " } else { "" };
    if w.chance(0.3) {
        comment(w, "");
    }
    let mut used = Vec::new();
    if w.chance(0.5) {
        for _ in 0..1 + w.rng.below(4) {
            if w.has_room() {
                entry(w, "", case, &mut used, "");
            }
        }
        w.line("");
    }
    while w.has_room() {
        let mut name = section_name(w, case);
        if w.chance(0.25) {
            name = format!("{name}.{}", section_name(w, case));
        }
        if w.chance(0.12) {
            // A list of tables, told apart by their names.
            let row = w.draw(|v, rng| v.name(rng, Case::Kebab));
            w.line(&format!("[[{name}]]\nname = \"{row}\""));
            name = row;
        } else {
            w.line(&format!("[{name}]"));
        }
        let mut used = vec!["name".to_owned()];
        for _ in 0..1 + w.rng.below(8) {
            if !w.has_room() {
                break;
            }
            if w.chance(comments) {
                comment(w, indent);
            }
            entry(w, &name, case, &mut used, indent);
        }
        if w.chance(0.9) {
            w.line("");
        }
    }
}

/// Arrays of tables, or inline tables.
fn records(w: &mut Writer<'_>) {
    let n = 1 + w.rng.below(5);
    let records = Records::draw(w, n, Case::Snake);
    let list = w.draw(Vocabulary::word);
    let inline = w.chance(0.3);
    let mut last = String::new();
    if inline {
        w.line(&format!("{list}s = ["));
    }
    while w.has_room() {
        let name = plain(records.name(w, &last));
        let mut parts = vec![format!("{} = \"{name}\"", records.id)];
        for column in &records.columns {
            let value = plain(column.value(w));
            parts.push(format!("{} = {}", column.name, quoted(&value, "\"")));
            w.fact(&name, records.class, &column.name, &value);
        }
        if inline {
            w.line(&format!("    {{ {} }},", parts.join(", ")));
        } else {
            w.line(&format!("[[{list}]]\n{}\n", parts.join("\n")));
        }
        last = name;
    }
    if inline {
        w.line("]");
    }
}

/// A `Cargo.toml` or `pyproject.toml`.
fn manifest(w: &mut Writer<'_>) {
    let (name, version) = (w.draw(Vocabulary::package), w.rule("semver"));
    let table = w.pick(&["package", "project", "tool.poetry", "workspace.package"]);
    w.line(&format!("[{table}]\nname = \"{name}\"\nversion = \"{version}\""));
    w.fact(table, Class::Section, "name", &name);
    w.fact(table, Class::Section, "version", &version);
    w.put(&name, Class::Package, "version", &version, "ask_pkg_version", "", false);
    for (key, rule) in [
        ("edition", ""),
        ("license", "license"),
        ("description", "purpose"),
        ("author", "person"),
        ("repository", "url"),
        ("rust-version", "version"),
        ("homepage", "url"),
        ("readme", "file"),
        ("requires-python", "version"),
        ("keywords", "list"),
        ("maintainer", "person"),
    ] {
        if w.chance(0.35) && w.has_room() {
            let value = match key {
                "edition" => w.pick(&["2015", "2018", "2021", "2024"]).to_owned(),
                _ => w.rule(rule),
            };
            w.line(&format!("{key} = \"{value}\""));
            w.fact(table, Class::Section, key, &value);
        }
    }
    let tables =
        ["dependencies", "dev-dependencies", "build-dependencies", "tool.poetry.dependencies"];
    let n = 1 + w.rng.below(3);
    for (i, table) in tables[..n].iter().enumerate() {
        w.line(&format!("\n[{table}]"));
        let part = w.text.len() + w.room() * 2 / 3;
        while w.has_room() && (w.text.len() < part || i + 1 == n) {
            dependency(w);
        }
    }
}

fn dependency(w: &mut Writer<'_>) {
    let name = w.draw(Vocabulary::package);
    let version = format!("{}{}", w.pick(&["", "", "", "^", "~", ">=", "="]), w.rule("semver"));
    let feature = w.draw(Vocabulary::word);
    let line = match w.rng.below(9) {
        0 | 1 => format!("{name} = {{ version = \"{version}\", features = [\"{feature}\"] }}"),
        2 => format!("{name} = {{ version = \"{version}\", default-features = false }}"),
        3 => {
            let path = format!("{}/{name}", w.pick(&["crates", "..", "libs", "../shared"]));
            w.line(&format!("{name} = {{ path = \"{path}\" }}"));
            w.fact(&name, Class::Package, "path", &path);
            return;
        }
        4 => {
            w.line(&format!("{name}.workspace = true"));
            return;
        }
        5 => {
            let (url, branch) = (w.rule("url"), w.rule("branch"));
            w.line(&format!("{name} = {{ git = \"{url}\", branch = \"{branch}\" }}"));
            w.fact(&name, Class::Package, "git", &url);
            w.fact(&name, Class::Package, "branch", &branch);
            return;
        }
        6 => format!("{name} = {{ version = \"{version}\", optional = true }}"),
        _ => format!("{name} = \"{version}\""),
    };
    w.line(&line);
    w.put(&name, Class::Package, "version", &version, "ask_pkg_version", "rev_pkg_version", false);
}
