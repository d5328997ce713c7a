//! YAML: nested maps, lists of maps, compose files, manifests of clusters, pipelines.

use super::records::Records;
use crate::lookup::keys::{SECTIONS, new_key, plain, section_name};
use crate::lookup::subject::Class;
use crate::lookup::vocabulary::{Case, Vocabulary};
use crate::lookup::writer::Writer;

pub(in crate::lookup) fn write(w: &mut Writer<'_>) {
    let case = *w.rng.pick(&[Case::Snake, Case::Kebab, Case::Camel]);
    if w.chance(0.1) {
        w.line("---");
    }
    match w.rng.below(10) {
        0..2 => list(w, case),
        2 => services(w),
        3 => cluster(w),
        4 => pipeline(w),
        5 => map(w, case),
        _ => settings(w, case),
    }
}

/// The value in the quotes that YAML asks for, or that people like.
fn scalar(w: &mut Writer<'_>, value: &str) -> String {
    let special = value.contains(": ")
        || value.contains(" #")
        || value.starts_with(['*', '&', '!', '%', '@', '#', '-', '[', '{', '?', '|', '>', '`']);
    if special || w.chance(0.15) {
        let quote = w.pick(&["\"", "\"", "'"]);
        format!("{quote}{value}{quote}")
    } else {
        value.to_owned()
    }
}

fn comment(w: &mut Writer<'_>, indent: &str) {
    let text = w.rule("comment");
    w.line(&format!("{indent}# {text}"));
}

fn settings(w: &mut Writer<'_>, case: Case) {
    let pad = w.pick(&["  ", "  ", "    "]);
    let (comments, deep) = (w.rng.unit() * 0.2, w.rng.unit() * 0.35);
    let mut used = Vec::new();
    while w.has_room() {
        if w.chance(comments) {
            comment(w, "");
        }
        if w.chance(0.25) {
            entry(w, "", case, "", &mut used);
            continue;
        }
        let name = section_name(w, case);
        if !used.contains(&name) {
            used.push(name.clone());
            block(w, &name, &name, case, (pad, ""), (comments, deep));
        }
        if w.chance(0.15) {
            w.line("");
        }
    }
}

fn block(
    w: &mut Writer<'_>,
    name: &str,
    path: &str,
    case: Case,
    (pad, indent): (&str, &str),
    rates: (f32, f32),
) {
    w.line(&format!("{indent}{name}:"));
    let inner = format!("{indent}{pad}");
    let mut used = Vec::new();
    for _ in 0..1 + w.rng.below(6) {
        if !w.has_room() && !used.is_empty() {
            break;
        }
        if w.chance(rates.0) {
            comment(w, &inner);
        }
        if inner.len() < 4 * pad.len() && w.chance(rates.1) {
            let name = section_name(w, case);
            if !used.contains(&name) {
                used.push(name.clone());
                block(w, &name, &format!("{path}.{name}"), case, (pad, &inner), rates);
            }
        } else {
            entry(w, path, case, &inner, &mut used);
        }
    }
}

fn entry(w: &mut Writer<'_>, path: &str, case: Case, indent: &str, used: &mut Vec<String>) {
    let (key, value) = new_key(w, case, used);
    let value = plain(value);
    match w.rng.below(20) {
        0 => {
            w.line(&format!("{indent}{key}:"));
            for _ in 0..1 + w.rng.below(4) {
                let item = plain(w.rule("any"));
                let item = scalar(w, &item);
                w.line(&format!("{indent}  - {item}"));
            }
            w.known(path, &key, "");
        }
        1 => {
            let list = format!("[{}]", w.draw(|v, rng| v.words(rng, 3)).join(", "));
            w.line(&format!("{indent}{key}: {list}"));
            w.known(path, &key, &list);
        }
        2 => {
            let text = w.rule("filler");
            w.line(&format!("{indent}{key}: |\n{indent}  {text}"));
            w.known(path, &key, &text);
        }
        _ => {
            let written = scalar(w, &value);
            let note =
                if w.chance(0.05) { format!("  # {}", w.rule("comment")) } else { String::new() };
            w.line(&format!("{indent}{key}: {written}{note}"));
            if path.is_empty() {
                w.key(&key, &value);
            } else {
                w.fact(path, Class::Section, &key, &value);
            }
        }
    }
}

fn list(w: &mut Writer<'_>, case: Case) {
    let n = 1 + w.rng.below(5);
    let records = Records::draw(w, n, case);
    let top = w.draw(Vocabulary::word);
    let indent = w.pick(&["  ", "", "    "]);
    w.line(&format!("{top}s:"));
    let mut last = String::new();
    while w.has_room() {
        let name = plain(records.name(w, &last));
        let written = scalar(w, &name);
        w.line(&format!("{indent}- {}: {written}", records.id));
        for column in &records.columns {
            if w.chance(0.06) {
                continue;
            }
            let value = plain(column.value(w));
            let written = scalar(w, &value);
            w.line(&format!("{indent}  {}: {written}", column.name));
            w.fact(&name, records.class, &column.name, &value);
        }
        if w.chance(0.1) {
            w.line("");
        }
        last = name;
    }
}

/// Records whose keys name them.
fn map(w: &mut Writer<'_>, case: Case) {
    let n = 1 + w.rng.below(4);
    let records = Records::draw(w, n, case);
    let indent = if w.chance(0.5) {
        let top = w.draw(Vocabulary::word);
        w.line(&format!("{top}s:"));
        "  "
    } else {
        ""
    };
    let mut last = String::new();
    while w.has_room() {
        let name = plain(records.name(w, &last));
        if w.index.is_subject(&name) {
            continue;
        }
        w.line(&format!("{indent}{name}:"));
        for column in &records.columns {
            let value = plain(column.value(w));
            let written = scalar(w, &value);
            w.line(&format!("{indent}  {}: {written}", column.name));
            w.fact(&name, records.class, &column.name, &value);
        }
        last = name;
    }
}

/// `key: value` of a named thing, where the rule draws the value.
fn field(
    w: &mut Writer<'_>,
    subject: &str,
    class: Class,
    indent: &str,
    (key, rule): (&str, &str),
    asked: &str,
) {
    let value = plain(w.rule(rule));
    let written = scalar(w, &value);
    w.line(&format!("{indent}{key}: {written}"));
    w.fact(subject, class, if asked.is_empty() { key } else { asked }, &value);
}

fn service_name(w: &mut Writer<'_>) -> String {
    if w.chance(0.3) { w.pick(&SECTIONS).to_owned() } else { w.rule("name_service") }
}

/// Services with images and ports, as compose files have them.
fn services(w: &mut Writer<'_>) {
    if w.chance(0.4) {
        let version = format!("3.{}", w.rng.below(10));
        w.line(&format!("version: \"{version}\"\n"));
    }
    let top = w.pick(&["services", "services", "containers", "apps"]);
    w.line(&format!("{top}:"));
    while w.has_room() {
        let name = service_name(w);
        if w.index.is_subject(&name) {
            continue;
        }
        w.line(&format!("  {name}:"));
        if w.chance(0.8) {
            field(w, &name, Class::Service, "    ", ("image", "image"), "");
        }
        if w.chance(0.4) {
            let ports = format!("{}:{}", w.rule("port"), w.rule("port"));
            w.line(&format!("    ports:\n      - \"{ports}\""));
            w.fact(&name, Class::Service, "ports", &ports);
        }
        for (key, rule) in [
            ("restart", "restart"),
            ("container_name", "machine2"),
            ("mem_limit", "size"),
            ("command", "command"),
            ("user", "word"),
            ("hostname", "machine2"),
            ("working_dir", "path"),
            ("stop_grace_period", "duration"),
            ("network_mode", "mode"),
        ] {
            if w.chance(0.25) && w.has_room() {
                field(w, &name, Class::Service, "    ", (key, rule), "");
            }
        }
        if w.chance(0.3) {
            let volume = format!("{}:{}", w.rule("path"), w.rule("path"));
            w.line(&format!("    volumes:\n      - {volume}"));
            w.fact(&name, Class::Service, "volume", &volume);
        }
        if w.chance(0.3) {
            let other = service_name(w);
            w.line(&format!("    depends_on:\n      - {other}"));
            w.fact_only((&name, Class::Service), "dependency", &other, "ask_dep_on");
        }
        if w.chance(0.6) {
            let listed = w.chance(0.3);
            w.line("    environment:");
            let mut used = Vec::new();
            for _ in 0..1 + w.rng.below(4) {
                let (key, value) = new_key(w, Case::Screaming, &mut used);
                let value = plain(value);
                if listed {
                    w.line(&format!("      - {key}={value}"));
                } else {
                    let written = scalar(w, &value);
                    w.line(&format!("      {key}: {written}"));
                }
                w.fact(&name, Class::Section, &key, &value);
            }
        }
        if w.chance(0.3) {
            w.line("");
        }
    }
}

/// Manifests of a cluster, one after another.
fn cluster(w: &mut Writer<'_>) {
    while w.has_room() {
        let name = w.draw(|v, rng| v.name(rng, Case::Kebab));
        let kind = w.pick(&[
            "Deployment",
            "StatefulSet",
            "Service",
            "ConfigMap",
            "Ingress",
            "CronJob",
            "Secret",
        ]);
        let version = w.pick(&["v1", "apps/v1", "batch/v1", "networking.k8s.io/v1"]);
        w.line(&format!("apiVersion: {version}\nkind: {kind}\nmetadata:\n  name: {name}"));
        w.fact(&name, Class::Service, "kind", kind);
        w.fact(&name, Class::Service, "apiVersion", version);
        if w.chance(0.7) {
            field(w, &name, Class::Service, "  ", ("namespace", "word"), "");
        }
        if w.chance(0.4) {
            w.line("  labels:");
            field(w, &name, Class::Service, "    ", ("team", "team"), "");
        }
        match kind {
            "ConfigMap" | "Secret" => {
                w.line("data:");
                let case = *w.rng.pick(&[Case::Screaming, Case::Kebab, Case::Dotted]);
                let mut used = Vec::new();
                for _ in 0..1 + w.rng.below(6) {
                    entry(w, &name, case, "  ", &mut used);
                }
            }
            "Service" => {
                w.line("spec:\n  ports:\n    - protocol: TCP");
                field(w, &name, Class::Service, "      ", ("port", "port"), "");
                field(w, &name, Class::Service, "      ", ("targetPort", "port"), "");
            }
            "Ingress" => {
                w.line("spec:\n  rules:");
                field(w, &name, Class::Service, "    - ", ("host", "domain"), "");
            }
            "CronJob" => {
                w.line("spec:");
                field(w, &name, Class::Service, "  ", ("schedule", "cron"), "");
                field(w, &name, Class::Service, "  ", ("concurrencyPolicy", "mode"), "");
            }
            _ => {
                w.line("spec:");
                field(w, &name, Class::Service, "  ", ("replicas", "small"), "");
                w.line("  template:\n    spec:\n      containers:\n        - name: main");
                field(w, &name, Class::Service, "          ", ("image", "image"), "");
                if w.chance(0.5) {
                    w.line("          ports:");
                    field(
                        w,
                        &name,
                        Class::Service,
                        "            - ",
                        ("containerPort", "port"),
                        "port",
                    );
                }
                if w.chance(0.5) {
                    w.line("          resources:\n            limits:");
                    field(
                        w,
                        &name,
                        Class::Service,
                        "              ",
                        ("memory", "size"),
                        "memory limit",
                    );
                    field(
                        w,
                        &name,
                        Class::Service,
                        "              ",
                        ("cpu", "small"),
                        "cpu limit",
                    );
                }
            }
        }
        w.line("---");
    }
}

/// Jobs and steps of a build.
fn pipeline(w: &mut Writer<'_>) {
    let title = w.rule("heading");
    let branch = w.rule("branch");
    w.line(&format!("name: {title}\non:\n  push:\n    branches: [{branch}]\n\njobs:"));
    w.fact_only(("workflow", Class::Section), "name", &title, "ask_workflow");
    w.known("", "branches", &branch);
    while w.has_room() {
        let job = w.draw(|v, rng| v.name(rng, Case::Kebab));
        if w.index.is_subject(&job) {
            continue;
        }
        w.line(&format!("  {job}:"));
        for (key, rule) in [
            ("runs-on", "platform"),
            ("timeout-minutes", "small"),
            ("needs", "word"),
            ("environment", "word"),
            ("if", "bool"),
        ] {
            if w.chance(if key == "runs-on" { 0.9 } else { 0.3 }) {
                field(w, &job, Class::Entry, "    ", (key, rule), "");
            }
        }
        w.line("    steps:");
        for _ in 0..1 + w.rng.below(4) {
            if !w.has_room() {
                break;
            }
            if w.chance(0.4) {
                let (action, version) = (
                    format!("{}/{}", w.draw(Vocabulary::word), w.draw(Vocabulary::package)),
                    format!("v{}", w.rule("small")),
                );
                w.line(&format!("      - uses: {action}@{version}"));
                w.put(&action, Class::Package, "version", &version, "ask_pkg_version", "", false);
                continue;
            }
            let step = w.rule("heading");
            let command = w.rule("command");
            w.line(&format!("      - name: {step}\n        run: {command}"));
            w.fact(&step, Class::Entry, "command", &command);
            w.known(&step, "run", &command);
        }
    }
}
