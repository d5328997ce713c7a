//! Settings of servers: blocks in braces, directives, hosts of ssh, resources.

use super::{comment, remember};
use crate::lookup::keys::{new_key, plain, quoted, section_name};
use crate::lookup::subject::Class;
use crate::lookup::vocabulary::{Case, Vocabulary};
use crate::lookup::writer::Writer;

/// As nginx has them: `name { key value; }`.
pub(super) fn blocks(w: &mut Writer<'_>) {
    let end = w.pick(&[";", ";", ";", ""]);
    let pad = w.pick(&["    ", "  ", "\t"]);
    let comments = w.rng.unit() * 0.25;
    while w.has_room() {
        let site = w.chance(0.4);
        let name = if site { w.rule("domain") } else { section_name(w, Case::Snake) };
        if site {
            w.line(&format!("server {{\n{pad}server_name {name}{end}"));
        } else {
            w.line(&format!("{name} {{"));
        }
        let mut used = Vec::new();
        for _ in 0..1 + w.rng.below(7) {
            if w.chance(comments) {
                comment(w, &format!("{pad}#"));
            }
            let (key, value) = new_key(w, Case::Snake, &mut used);
            w.line(&format!("{pad}{key} {value}{end}"));
            w.fact(&name, Class::Section, &key, &value);
        }
        for _ in 0..w.rng.below(3) {
            if !w.has_room() {
                break;
            }
            let location = format!("/{}", w.draw(Vocabulary::word));
            let target = format!("http://{}", w.rule("hostport"));
            w.line(&format!("{pad}location {location} {{\n{pad}{pad}proxy_pass {target}{end}"));
            w.fact(&location, Class::Section, "proxy_pass", &target);
            if w.chance(0.5) {
                let (key, value) = new_key(w, Case::Snake, &mut used);
                w.line(&format!("{pad}{pad}{key} {value}{end}"));
                w.fact(&location, Class::Section, &key, &value);
            }
            w.line(&format!("{pad}}}"));
        }
        w.line("}");
        if w.chance(0.6) {
            w.line("");
        }
    }
}

/// As Apache and many daemons have them: `Key value`, sections in angle brackets.
pub(super) fn directives(w: &mut Writer<'_>) {
    let case = *w.rng.pick(&[Case::Pascal, Case::Pascal, Case::Snake, Case::Kebab]);
    let comments = 0.05 + w.rng.unit() * 0.35;
    let sections = w.chance(0.6);
    let mut used = Vec::new();
    while w.has_room() {
        if w.chance(comments) {
            comment(w, "#");
        }
        if sections && w.chance(0.15) {
            let kind = w.pick(&["VirtualHost", "Directory", "Pool", "Location"]);
            let name = if kind == "VirtualHost" {
                w.rule("domain")
            } else {
                format!("/{}/{}", w.draw(Vocabulary::word), w.draw(Vocabulary::word))
            };
            w.line(&format!("<{kind} {name}>"));
            let mut used = Vec::new();
            for _ in 0..1 + w.rng.below(5) {
                let (key, value) = new_key(w, case, &mut used);
                w.line(&format!("    {key} {value}"));
                w.fact(&name, Class::Section, &key, &value);
            }
            w.line(&format!("</{kind}>"));
            continue;
        }
        let (key, value) = new_key(w, case, &mut used);
        if w.chance(0.08) {
            // What is commented out is not set.
            w.line(&format!("#{key} {value}"));
            w.known("", &key, &value);
            continue;
        }
        w.line(&format!("{key} {value}"));
        remember(w, "", &key, &value);
    }
}

/// `Host name` with lines under it.
pub(super) fn ssh(w: &mut Writer<'_>) {
    let indent = w.pick(&["    ", "  ", "\t"]);
    while w.has_room() {
        let name = w.draw(Vocabulary::machine);
        w.line(&format!("Host {name}"));
        for (key, rule, asked) in [
            ("HostName", "host", "host name"),
            ("User", "word", "user"),
            ("Port", "port", "port"),
            ("IdentityFile", "path", "identity file"),
            ("ProxyJump", "machine2", "proxy jump"),
            ("ServerAliveInterval", "small", "server alive interval"),
            ("ForwardAgent", "bool", "forward agent"),
        ] {
            if w.chance(0.55) {
                let value = w.rule(rule);
                w.line(&format!("{indent}{key} {value}"));
                w.fact(&name, Class::Machine, asked, &value);
            }
        }
        if w.chance(0.7) {
            w.line("");
        }
    }
}

/// `resource "type" "name" { key = value }`.
pub(super) fn terraform(w: &mut Writer<'_>) {
    while w.has_room() {
        let name = w.draw(|v, rng| v.name(rng, Case::Snake));
        if w.index.is_subject(&name) {
            continue;
        }
        if w.chance(0.25) {
            let value = plain(w.rule("any"));
            let about = w.rule("purpose");
            w.line(&format!(
                "variable \"{name}\" {{\n  description = \"{about}\"\n  default     = {}\n}}\n",
                quoted(&value, "\"")
            ));
            w.fact_asked((&name, Class::Field), "default", &value, "ask_default");
            w.fact(&name, Class::Field, "description", &about);
            continue;
        }
        let kind = format!(
            "{}_{}",
            w.pick(&["aws", "google", "azurerm", "cloud"]),
            w.pick(&["instance", "bucket", "database", "network", "subnet", "record"])
        );
        w.line(&format!("resource \"{kind}\" \"{name}\" {{"));
        let mut used = Vec::new();
        let n = 1 + w.rng.below(6);
        let entries: Vec<(String, String)> =
            (0..n).map(|_| new_key(w, Case::Snake, &mut used)).collect();
        let width = entries.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        for (key, value) in entries {
            let value = plain(value);
            w.line(&format!("  {key:<width$} = {}", quoted(&value, "\"")));
            w.fact(&name, Class::Section, &key, &value);
        }
        if w.chance(0.3) {
            let team = w.rule("word1");
            w.line(&format!("\n  tags = {{\n    Team = \"{team}\"\n  }}"));
            w.fact(&name, Class::Section, "team", &team);
        }
        w.line("}\n");
    }
}
