//! Files of builds: Dockerfile, Makefile, CMake, Gradle.

use super::comment;
use crate::lookup::keys::new_key;
use crate::lookup::subject::Class;
use crate::lookup::vocabulary::{Case, Vocabulary};
use crate::lookup::writer::Writer;

pub(super) fn dockerfile(w: &mut Writer<'_>) {
    let image = w.rule("image");
    w.line(&format!("FROM {image}"));
    w.key("base image", &image);
    let mut stages = vec![String::new()];
    let mut used = Vec::new();
    while w.has_room() {
        match w.rng.below(12) {
            0 => comment(w, "#"),
            1..4 => {
                let (key, value) = new_key(w, Case::Screaming, &mut used);
                let sign =
                    if value.contains(' ') { format!("=\"{value}\"") } else { format!("={value}") };
                let word = w.pick(&["ENV", "ENV", "ARG"]);
                w.line(&format!("{word} {key}{sign}"));
                w.key(&key, &value);
            }
            4 => {
                let command = w.rule("command");
                w.line(&format!("RUN {command}"));
            }
            5 => {
                let (from, to) = (w.rule("path"), w.rule("path"));
                w.line(&format!("COPY {from} {to}"));
            }
            6 => {
                let (key, value) =
                    (w.pick(&["maintainer", "version", "vendor", "description"]), w.rule("quoted"));
                w.line(&format!("LABEL {key}=\"{value}\""));
                w.key(&format!("label {key}"), &value);
            }
            7 => {
                let (image, stage) = (w.rule("image"), w.draw(Vocabulary::word));
                w.line(&format!("\nFROM {image} AS {stage}"));
                w.fact(&stage, Class::Entry, "base image", &image);
                w.known("", "base image", &image);
                stages.push(stage);
            }
            n => {
                // Each of these is given once for a stage.
                let (word, rule, asked) = [
                    ("WORKDIR", "path", "working directory"),
                    ("EXPOSE", "port", "exposed port"),
                    ("USER", "word1", "user"),
                    ("ENTRYPOINT", "path", "entrypoint"),
                ][n - 8];
                if used.contains(&word.to_owned()) {
                    continue;
                }
                used.push(word.to_owned());
                let value = w.rule(rule);
                w.line(&if word == "ENTRYPOINT" {
                    format!("{word} [\"{value}\"]")
                } else {
                    format!("{word} {value}")
                });
                w.key(asked, &value);
            }
        }
    }
}

/// Variables and rules.
pub(super) fn makefile(w: &mut Writer<'_>) {
    let sign = w.pick(&[" = ", " := ", "=", " ?= "]);
    let mut used = Vec::new();
    for _ in 0..2 + w.rng.below(10) {
        if w.has_room() {
            if w.chance(0.15) {
                comment(w, "#");
            }
            let (key, value) = new_key(w, Case::Screaming, &mut used);
            w.line(&format!("{key}{sign}{value}"));
            w.key(&key, &value);
        }
    }
    while w.has_room() {
        let target = w.draw(|v, rng| v.name(rng, Case::Kebab));
        if used.contains(&target) {
            continue;
        }
        used.push(target.clone());
        let needs = if w.chance(0.5) { w.draw(Vocabulary::word) } else { String::new() };
        let command = w.rule("command");
        if w.chance(0.2) {
            w.line(&format!(".PHONY: {target}"));
        }
        w.line(&format!("{target}: {needs}\n\t{command}\n"));
        w.fact(&target, Class::Entry, "command", &command);
        if !needs.is_empty() {
            w.fact_only((&target, Class::Entry), "dependency", &needs, "ask_dep_on");
        }
    }
}

pub(super) fn cmake(w: &mut Writer<'_>) {
    let (project, version) = (w.draw(Vocabulary::package), w.rule("semver"));
    let minimum = format!("3.{}", w.rng.below(30));
    w.line(&format!("cmake_minimum_required(VERSION {minimum})\nproject({project} VERSION {version} LANGUAGES CXX)\n"));
    w.key("cmake minimum required", &minimum);
    w.fact_asked((&project, Class::Package), "version", &version, "ask_pkg_version");
    let mut used = Vec::new();
    while w.has_room() {
        match w.rng.below(7) {
            0 => comment(w, "#"),
            1 => {
                let (name, version) = (w.draw(Vocabulary::package), w.rule("semver"));
                w.line(&format!("find_package({name} {version} REQUIRED)"));
                w.fact_asked((&name, Class::Package), "version", &version, "ask_pkg_version");
            }
            2 => {
                let (target, source) = (w.draw(|v, rng| v.name(rng, Case::Snake)), w.rule("file"));
                w.line(&format!("add_executable({target} {source})"));
                w.fact(&target, Class::Entry, "source", &source);
            }
            3 => {
                let (name, about, value) = (
                    w.draw(|v, rng| v.name(rng, Case::Screaming)),
                    w.rule("purpose"),
                    w.pick(&["ON", "OFF"]),
                );
                w.line(&format!("option({name} \"{about}\" {value})"));
                w.fact_asked((&name, Class::Field), "default", value, "ask_default");
                w.fact(&name, Class::Field, "description", &about);
            }
            _ => {
                let (key, value) = new_key(w, Case::Screaming, &mut used);
                let written =
                    if value.contains(' ') { format!("\"{value}\"") } else { value.clone() };
                w.line(&format!("set({key} {written})"));
                w.key(&key, &value);
            }
        }
    }
}

pub(super) fn gradle(w: &mut Writer<'_>) {
    let quote = w.pick(&["'", "\""]);
    let (group, version) = (
        format!("com.{}.{}", w.draw(Vocabulary::word), w.draw(Vocabulary::word)),
        w.rule("semver"),
    );
    w.line("plugins {");
    for _ in 0..1 + w.rng.below(3) {
        let (name, version) = (
            format!("org.{}.{}", w.draw(Vocabulary::word), w.draw(Vocabulary::word)),
            w.rule("semver"),
        );
        w.line(&format!("    id {quote}{name}{quote} version {quote}{version}{quote}"));
        w.fact_asked((&name, Class::Package), "version", &version, "ask_pkg_version");
    }
    w.line(&format!(
        "}}\n\ngroup = {quote}{group}{quote}\nversion = {quote}{version}{quote}\n\ndependencies {{"
    ));
    w.key("group", &group);
    w.key("version", &version);
    while w.has_room() {
        if w.chance(0.1) {
            comment(w, "    //");
        }
        let word = w.pick(&[
            "implementation",
            "implementation",
            "testImplementation",
            "runtimeOnly",
            "api",
        ]);
        let (owner, name, version) =
            (w.draw(Vocabulary::word), w.draw(Vocabulary::package), w.rule("semver"));
        w.line(&format!("    {word} {quote}org.{owner}:{name}:{version}{quote}"));
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
    w.line("}");
}
