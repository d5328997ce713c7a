//! Settings and data: TOML, INI, JSON, YAML.

use super::Writer;
use super::vocabulary::{Case, Vocabulary};

/// Names of the parts of settings files that are often met.
const SECTIONS: [&str; 24] = [
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
];

fn section_name(w: &mut Writer<'_>, case: Case) -> String {
    if w.chance(0.4) { w.pick(&SECTIONS).to_owned() } else { w.draw(|v, rng| v.name(rng, case)) }
}

/// A key and its value; keys of one section differ.
fn entry(w: &mut Writer<'_>, case: Case, used: &mut Vec<String>) -> (String, String) {
    loop {
        let near = !used.is_empty() && w.chance(0.15);
        let key = if near {
            let i = w.rng.below(used.len());
            w.vocabulary.near(&mut w.rng, &used[i])
        } else {
            w.draw(|v, rng| v.attribute(rng, case))
        };
        if !used.contains(&key) {
            used.push(key.clone());
            let value = w.draw(|v, rng| v.value_of(rng, &key));
            return (key, value);
        }
    }
}

/// `value` as TOML, JSON and YAML want it: numbers and flags bare, the rest in `quote`.
fn quoted(value: &str, quote: &str) -> String {
    let bare = value.parse::<f64>().is_ok() || ["true", "false", "null"].contains(&value);
    if bare { value.to_owned() } else { format!("{quote}{}{quote}", value.replace('\\', "/")) }
}

/// Values that are written escaped are not asked for.
fn plain(value: &str) -> String {
    value.replace('\\', "/")
}

fn comment(w: &mut Writer<'_>, mark: &str) {
    let text = match w.rng.below(3) {
        0 => w.draw(Vocabulary::phrase),
        1 => format!("see {}", w.draw(Vocabulary::url)),
        _ => format!(
            "{} of the {}",
            w.draw(|v, rng| v.attribute(rng, Case::Spaced)),
            w.draw(Vocabulary::word)
        ),
    };
    w.line(&format!("{mark} {text}"));
}

pub(super) fn toml(w: &mut Writer<'_>) {
    if w.chance(0.35) {
        return manifest(w);
    }
    let case = *w.rng.pick(&[Case::Snake, Case::Snake, Case::Kebab, Case::Camel]);
    let mut used = Vec::new();
    if w.chance(0.5) {
        for _ in 0..1 + w.rng.below(4) {
            let (key, value) = entry(w, case, &mut used);
            w.line(&format!("{key} = {}", quoted(&value, "\"")));
            w.fact("", &key, &plain(&value));
        }
        w.line("");
    }
    while w.has_room() {
        let mut name = section_name(w, case);
        let nested = w.chance(0.25);
        if nested {
            name = format!("{name}.{}", section_name(w, case));
        }
        let list = w.chance(0.12);
        if list {
            // A list of tables, told apart by their names.
            let row = w.draw(|v, rng| v.name(rng, Case::Kebab));
            w.line(&format!("[[{name}]]\nname = \"{row}\""));
            name = row;
        } else {
            w.line(&format!("[{name}]"));
        }
        used.clear();
        let n = 1 + w.rng.below(7);
        for _ in 0..n {
            if w.chance(0.07) {
                comment(w, "#");
            }
            let (key, value) = entry(w, case, &mut used);
            if w.chance(0.08) {
                let (a, b) = w.draw(|v, rng| (v.word(rng), v.word(rng)));
                w.line(&format!("{key} = [\"{a}\", \"{b}\"]"));
                continue;
            }
            let note = if w.chance(0.06) {
                format!(" # {}", w.draw(Vocabulary::phrase))
            } else {
                String::new()
            };
            w.line(&format!("{key} = {}{note}", quoted(&value, "\"")));
            w.fact(&name, &key, &plain(&value));
        }
        w.line("");
    }
}

/// A `Cargo.toml` or `pyproject.toml`.
fn manifest(w: &mut Writer<'_>) {
    let (name, version) = w.draw(|v, rng| (v.package(rng), v.version(rng)));
    let table = w.pick(&["package", "project", "tool.poetry"]);
    w.line(&format!("[{table}]\nname = \"{name}\"\nversion = \"{version}\""));
    w.fact(table, "name", &name);
    w.fact(table, "version", &version);
    w.fact(&name, "version", &version);
    for key in ["edition", "license", "description", "author", "repository", "rust-version"] {
        if w.chance(0.5) {
            let value = match key {
                "edition" => w.pick(&["2015", "2018", "2021", "2024"]).to_owned(),
                "license" => {
                    w.pick(&["MIT", "Apache-2.0", "MIT OR Apache-2.0", "GPL-3.0"]).to_owned()
                }
                "description" => w.draw(Vocabulary::phrase),
                "author" => w.draw(Vocabulary::person),
                "repository" => w.draw(Vocabulary::url),
                _ => format!("1.{}", 60 + w.rng.below(40)),
            };
            w.line(&format!("{key} = \"{value}\""));
            w.fact(table, key, &value);
        }
    }
    for table in ["dependencies", "dev-dependencies"] {
        w.line(&format!("\n[{table}]"));
        let half = w.text.len() + w.end.saturating_sub(w.text.len()) * 2 / 3;
        while w.has_room() && (w.text.len() < half || table == "dev-dependencies") {
            let (name, version) = w.draw(|v, rng| (v.package(rng), v.version(rng)));
            let feature = w.draw(Vocabulary::word);
            let line = match w.rng.below(8) {
                0 | 1 => {
                    format!("{name} = {{ version = \"{version}\", features = [\"{feature}\"] }}")
                }
                2 => format!("{name} = {{ version = \"{version}\", default-features = false }}"),
                3 => {
                    w.line(&format!("{name} = {{ path = \"crates/{name}\" }}"));
                    w.fact(&name, "path", &format!("crates/{name}"));
                    continue;
                }
                4 => {
                    w.line(&format!("{name}.workspace = true"));
                    continue;
                }
                _ => format!("{name} = \"{version}\""),
            };
            w.line(&line);
            w.fact(&name, "version", &version);
        }
    }
}

pub(super) fn ini(w: &mut Writer<'_>) {
    if w.chance(0.35) {
        return env(w);
    }
    let case = *w.rng.pick(&[Case::Snake, Case::Kebab, Case::Camel, Case::Dotted, Case::Pascal]);
    let separator = w.pick(&[" = ", "=", ": ", " =", " "]);
    let mark = w.pick(&[";", "#"]);
    let mut used = Vec::new();
    while w.has_room() {
        let name = section_name(w, case);
        w.line(&format!("[{name}]"));
        used.clear();
        for _ in 0..1 + w.rng.below(8) {
            if w.chance(0.08) {
                comment(w, mark);
            }
            let (key, value) = entry(w, case, &mut used);
            w.line(&format!("{key}{separator}{value}"));
            w.fact(&name, &key, &value);
        }
        if w.chance(0.8) {
            w.line("");
        }
    }
}

/// Variables of an environment, properties: keys that say all.
fn env(w: &mut Writer<'_>) {
    let case = *w.rng.pick(&[Case::Screaming, Case::Screaming, Case::Screaming, Case::Dotted]);
    let export = if case == Case::Screaming && w.chance(0.15) { "export " } else { "" };
    let quote = w.pick(&["", "", "", "\"", "'"]);
    let prefix = if w.chance(0.4) { Some(w.draw(Vocabulary::word)) } else { None };
    let mut used = Vec::new();
    while w.has_room() {
        if w.chance(0.06) {
            comment(w, "#");
        }
        let (mut key, value) = entry(w, case, &mut used);
        if let Some(prefix) = &prefix {
            let joint = if case == Case::Dotted { "." } else { "_" };
            key = format!("{}{joint}{key}", case.join(&[prefix]));
        }
        w.line(&format!("{export}{key}={quote}{value}{quote}"));
        w.fact("", &key, &value);
    }
}

pub(super) fn json(w: &mut Writer<'_>) {
    let case = *w.rng.pick(&[Case::Snake, Case::Camel, Case::Camel, Case::Kebab]);
    if w.chance(0.3) {
        return json_list(w, case);
    }
    let pad = w.pick(&["  ", "    ", "\t"]);
    w.line("{");
    let mut used = Vec::new();
    let flat = w.chance(0.25);
    while w.has_room() {
        if flat || w.chance(0.2) {
            let (key, value) = entry(w, case, &mut used);
            w.line(&format!("{pad}\"{key}\": {},", quoted(&value, "\"")));
            w.fact("", &key, &plain(&value));
            continue;
        }
        let name = section_name(w, case);
        if w.chance(0.15) {
            // As in package.json: names and versions.
            let name = w.pick(&["dependencies", "devDependencies", "engines", "peerDependencies"]);
            w.line(&format!("{pad}\"{name}\": {{"));
            for _ in 0..2 + w.rng.below(5) {
                let (package, version) = w.draw(|v, rng| (v.package(rng), v.version(rng)));
                let version = format!("{}{version}", w.pick(&["^", "~", "", ">="]));
                w.line(&format!("{pad}{pad}\"{package}\": \"{version}\","));
                w.fact(&package, "version", &version);
            }
            w.close(&format!("{pad}}},"));
            continue;
        }
        w.line(&format!("{pad}\"{name}\": {{"));
        let mut inner = Vec::new();
        for _ in 0..1 + w.rng.below(6) {
            let (key, value) = entry(w, case, &mut inner);
            if w.chance(0.12) {
                w.line(&format!("{pad}{pad}\"{key}\": {{"));
                let mut deep = Vec::new();
                for _ in 0..1 + w.rng.below(3) {
                    let (leaf, value) = entry(w, case, &mut deep);
                    w.line(&format!("{pad}{pad}{pad}\"{leaf}\": {},", quoted(&value, "\"")));
                    w.fact(&format!("{name}.{key}"), &leaf, &plain(&value));
                }
                w.close(&format!("{pad}{pad}}},"));
                continue;
            }
            w.line(&format!("{pad}{pad}\"{key}\": {},", quoted(&value, "\"")));
            w.fact(&name, &key, &plain(&value));
        }
        w.close(&format!("{pad}}},"));
    }
    w.close("}");
}

/// Attributes that all rows of a list have.
fn columns(w: &mut Writer<'_>, case: Case, n: usize) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    while columns.len() < n {
        let column = w.draw(|v, rng| v.attribute(rng, case));
        if column != "name" && !columns.contains(&column) {
            columns.push(column);
        }
    }
    columns
}

fn json_list(w: &mut Writer<'_>, case: Case) {
    let n = 1 + w.rng.below(4);
    let columns = columns(w, case, n);
    let one_line = w.chance(0.5);
    let id = w.pick(&["name", "name", "id", "key", "title"]);
    w.line("[");
    while w.has_room() {
        let name = row_name(w);
        let mut row = vec![format!("\"{id}\": \"{name}\"")];
        for column in &columns {
            let value = w.draw(|v, rng| v.value_of(rng, column));
            row.push(format!("\"{column}\": {}", quoted(&value, "\"")));
            w.fact(&name, column, &plain(&value));
        }
        if one_line {
            w.line(&format!("  {{{}}},", row.join(", ")));
        } else {
            w.line(&format!("  {{\n    {}\n  }},", row.join(",\n    ")));
        }
    }
    w.close("]");
}

/// What rows of lists and tables are called.
pub(super) fn row_name(w: &mut Writer<'_>) -> String {
    match w.rng.below(6) {
        0 => w.draw(Vocabulary::person),
        1 => w.draw(Vocabulary::place),
        2 => w.draw(Vocabulary::machine),
        3 => w.draw(|v, rng| v.name(rng, Case::Spaced)),
        _ => w.draw(|v, rng| v.name(rng, Case::Kebab)),
    }
}

pub(super) fn yaml(w: &mut Writer<'_>) {
    let case = *w.rng.pick(&[Case::Snake, Case::Kebab, Case::Camel]);
    match w.rng.below(4) {
        0 => return yaml_list(w, case),
        1 => return services(w),
        _ => {}
    }
    let mut used = Vec::new();
    while w.has_room() {
        if w.chance(0.25) {
            let (key, value) = entry(w, case, &mut used);
            w.line(&format!("{key}: {value}"));
            w.fact("", &key, &value);
            continue;
        }
        let name = section_name(w, case);
        w.line(&format!("{name}:"));
        let mut inner = Vec::new();
        for _ in 0..1 + w.rng.below(6) {
            if w.chance(0.06) {
                comment(w, "  #");
            }
            let (key, value) = entry(w, case, &mut inner);
            if w.chance(0.15) {
                w.line(&format!("  {key}:"));
                let mut deep = Vec::new();
                for _ in 0..1 + w.rng.below(3) {
                    let (leaf, value) = entry(w, case, &mut deep);
                    w.line(&format!("    {leaf}: {value}"));
                    w.fact(&format!("{name}.{key}"), &leaf, &value);
                }
                continue;
            }
            let quote = if w.chance(0.2) { "\"" } else { "" };
            w.line(&format!("  {key}: {quote}{value}{quote}"));
            w.fact(&name, &key, &value);
        }
    }
}

fn yaml_list(w: &mut Writer<'_>, case: Case) {
    let n = 1 + w.rng.below(4);
    let columns = columns(w, case, n);
    let list = w.draw(Vocabulary::word);
    w.line(&format!("{list}s:"));
    while w.has_room() {
        let name = row_name(w);
        w.line(&format!("  - name: {name}"));
        for column in &columns {
            let value = w.draw(|v, rng| v.value_of(rng, column));
            w.line(&format!("    {column}: {value}"));
            w.fact(&name, column, &value);
        }
    }
}

/// Services with images and ports, as compose files have them; jobs of a pipeline.
fn services(w: &mut Writer<'_>) {
    let top = w.pick(&["services", "jobs", "containers", "apps"]);
    w.line(&format!("{top}:"));
    while w.has_room() {
        let name = if w.chance(0.3) {
            w.pick(&SECTIONS).to_owned()
        } else {
            w.draw(|v, rng| v.name(rng, Case::Kebab))
        };
        w.line(&format!("  {name}:"));
        if w.chance(0.8) {
            let image = w.draw(|v, rng| format!("{}:{}", v.package(rng), v.version(rng)));
            w.line(&format!("    image: {image}"));
            w.fact(&name, "image", &image);
        }
        if w.chance(0.4) {
            let inner = 1000 + w.rng.below(9000);
            let outer = 1000 + w.rng.below(9000);
            w.line(&format!("    ports:\n      - \"{outer}:{inner}\""));
        }
        for (key, p) in [
            ("restart", 0.4),
            ("runs-on", 0.3),
            ("container_name", 0.3),
            ("memory", 0.3),
            ("command", 0.3),
            ("timeout-minutes", 0.3),
        ] {
            if w.chance(p) {
                let value = match key {
                    "restart" => {
                        w.pick(&["always", "no", "on-failure", "unless-stopped"]).to_owned()
                    }
                    "runs-on" => w
                        .pick(&["ubuntu-22.04", "ubuntu-latest", "macos-14", "windows-2022"])
                        .to_owned(),
                    "timeout-minutes" => (5 + w.rng.below(90)).to_string(),
                    "memory" => w.draw(Vocabulary::size),
                    "command" => w.draw(|v, rng| format!("{} --{}", v.package(rng), v.word(rng))),
                    _ => w.draw(Vocabulary::machine),
                };
                w.line(&format!("    {key}: {value}"));
                w.fact(&name, key, &value);
            }
        }
        if w.chance(0.6) {
            w.line("    environment:");
            for _ in 0..1 + w.rng.below(4) {
                let key = w.draw(|v, rng| v.attribute(rng, Case::Screaming));
                let value = w.draw(|v, rng| v.value_of(rng, &key));
                w.line(&format!("      {key}: {value}"));
                w.fact(&name, &key, &value);
            }
        }
        if w.chance(0.3) {
            w.line("");
        }
    }
}
