//! What a project says about itself.

use super::terse;
use crate::lookup::keys::key_value;
use crate::lookup::prose::say;
use crate::lookup::subject::Class;
use crate::lookup::vocabulary::{Case, Vocabulary};
use crate::lookup::writer::Writer;

/// Parts with a command, and the rules that ask for it.
const COMMANDS: [(&str, &str); 8] = [
    ("Install", "ask_install"),
    ("Installation", "ask_install"),
    ("Build", "ask_build"),
    ("Building", "ask_build"),
    ("Test", "ask_test"),
    ("Running the tests", "ask_test"),
    ("Usage", "ask_usage"),
    ("Deploy", "ask_deploy"),
];

pub(super) fn write(w: &mut Writer<'_>) {
    let name = w.draw(Vocabulary::package);
    let about = w.rule("task");
    let line = format!(
        "# {name}\n\n{} to {about}.\n",
        w.pick(&["A tool", "A library", "A small program", "A plugin"])
    );
    w.line(&line);
    w.put("", Class::Section, "project name", &name, "ask_project_name", "", true);
    w.put("", Class::Section, "purpose", &about, "ask_purpose", "", true);
    if w.chance(0.2) {
        let version = w.rule("semver");
        w.line(&format!("![version](https://img.shields.io/badge/version-{version}-blue)\n"));
        w.put(&name, Class::Package, "version", &version, "ask_pkg_version", "", false);
    }
    let mut used: Vec<&str> = Vec::new();
    while w.has_room() {
        match w.rng.below(10) {
            0 | 1 => {
                let (title, asks) = *w.rng.pick(&COMMANDS);
                if !used.contains(&asks) {
                    used.push(asks);
                    command(w, title, asks);
                }
            }
            2 => configuration(w),
            3 => requirements(w),
            4 => {
                let ids: Vec<u16> = Class::Package.attributes().collect();
                let id = *w.rng.pick(&ids);
                let sentence = say(w, &name, Class::Package, id);
                w.line(&format!("{sentence}\n"));
            }
            5 => {
                let (heading, line) = (w.rule("heading"), terse(w));
                w.line(&format!("## {heading}\n\n{line}\n"));
            }
            6 if !used.contains(&"License") => {
                used.push("License");
                licence(w, &name);
            }
            7 => endpoints(w),
            _ => {
                let n = 1 + w.rng.below(3);
                let text: Vec<String> = (0..n).map(|_| w.rule("techfiller")).collect();
                w.line(&format!("{}\n", text.join(" ")));
            }
        }
    }
}

fn command(w: &mut Writer<'_>, title: &str, asks: &str) {
    let command = w.rule("command");
    let before =
        if w.chance(0.4) { format!("{}\n\n", w.rule("techfiller")) } else { String::new() };
    let line = match w.rng.below(4) {
        0 => format!("## {title}\n\n{before}    $ {command}\n"),
        1 => format!("## {title}\n\n{before}Run `{command}`.\n"),
        _ => format!("## {title}\n\n{before}```sh\n{command}\n```\n"),
    };
    w.line(&line);
    w.fact_only((title, Class::Section), "command", &command, asks);
}

fn configuration(w: &mut Writer<'_>) {
    w.line("## Configuration\n");
    for _ in 0..1 + w.rng.below(5) {
        let (key, value) = key_value(w, Case::Snake);
        let text = w.rule("purpose");
        w.line(&format!("- `{key}`: {text} (default `{value}`)"));
        w.fact_asked((&key, Class::Field), "default", &value, "ask_default");
        w.fact_only((&key, Class::Field), "description", &text, "ask_option");
    }
    w.line("");
}

fn requirements(w: &mut Writer<'_>) {
    w.line("## Requirements\n");
    for _ in 0..1 + w.rng.below(4) {
        let (package, version) = (w.draw(Vocabulary::package), w.rule("semver"));
        let line = match w.rng.below(5) {
            0 => format!("- {package} {version} or newer"),
            1 => format!("- at least {package} {version}"),
            2 => format!("- {package} (tested with {version})"),
            3 => format!("- Requires {package} {version}."),
            _ => format!("- {package} {version}"),
        };
        w.line(&line);
        let reverse = "rev_pkg_version";
        w.put(&package, Class::Package, "version", &version, "ask_needed_version", reverse, false);
    }
    w.line("");
}

fn licence(w: &mut Writer<'_>, name: &str) {
    let (license, holder, year) = (w.rule("license"), w.draw(Vocabulary::person), w.rule("year"));
    let line = match w.rng.below(3) {
        0 => format!("## License\n\n{license}\n"),
        1 => format!("{name} is released under the {license} license.\n"),
        _ => format!("License: {license}\n"),
    };
    w.line(&line);
    w.fact(name, Class::Package, "license", &license);
    if w.chance(0.5) {
        copyright(w, "", &holder, &year);
        w.line("");
    }
}

/// A line about who holds the rights, since when.
pub(in crate::lookup) fn copyright(w: &mut Writer<'_>, mark: &str, holder: &str, year: &str) {
    let sign = w.pick(&["Copyright (c)", "Copyright", "(c)", "Copyright ©"]);
    w.line(&format!("{mark}{sign} {year} {holder}"));
    w.put("", Class::Section, "copyright holder", holder, "ask_copyright_holder", "", true);
    w.put("", Class::Section, "copyright year", year, "ask_copyright_year", "", true);
}

/// Requests that a server answers.
fn endpoints(w: &mut Writer<'_>) {
    w.line("## API\n");
    for _ in 0..1 + w.rng.below(5) {
        let method = w.pick(&["GET", "POST", "PUT", "DELETE"]);
        let (path, text) = (w.rule("urlpath"), w.rule("meaning"));
        let request = format!("{method} {path}");
        w.line(&format!("- `{request}` - returns {text}"));
        w.fact_only((&request, Class::Entry), "answer of", &text, "ask_endpoint");
    }
    w.line("");
}
