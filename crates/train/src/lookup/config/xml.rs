//! XML: records, settings, project files.

use crate::lookup::data::records::Records;
use crate::lookup::keys::{new_key, plain, section_name};
use crate::lookup::subject::Class;
use crate::lookup::vocabulary::{Case, Vocabulary};
use crate::lookup::writer::Writer;

pub(super) fn write(w: &mut Writer<'_>) {
    if w.chance(0.6) {
        w.line("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    }
    match w.rng.below(4) {
        0 => settings(w),
        1 => project(w),
        _ => records(w),
    }
}

fn text(value: String) -> String {
    plain(value).replace(['<', '>', '&'], "")
}

fn settings(w: &mut Writer<'_>) {
    let case = *w.rng.pick(&[Case::Camel, Case::Kebab, Case::Pascal, Case::Snake]);
    let root = w.draw(Vocabulary::word);
    w.line(&format!("<{root}>"));
    let style = w.rng.below(3);
    while w.has_room() {
        let name = section_name(w, case);
        if w.index.is_subject(&name) {
            continue;
        }
        if w.chance(0.15) {
            let comment = w.rule("comment").replace("--", "");
            w.line(&format!("  <!-- {comment} -->"));
        }
        let mut used = Vec::new();
        let n = 1 + w.rng.below(5);
        if style == 0 {
            let mut line = format!("  <{name}");
            for _ in 0..n {
                let (key, value) = new_key(w, case, &mut used);
                let value = text(value);
                line.push_str(&format!(" {key}=\"{value}\""));
                w.fact(&name, Class::Section, &key, &value);
            }
            w.line(&format!("{line}/>"));
            continue;
        }
        w.line(&format!("  <{name}>"));
        for _ in 0..n {
            let (key, value) = new_key(w, case, &mut used);
            let value = text(value);
            w.line(&if style == 1 {
                format!("    <{key}>{value}</{key}>")
            } else {
                format!("    <property name=\"{key}\" value=\"{value}\"/>")
            });
            w.fact(&name, Class::Section, &key, &value);
        }
        w.line(&format!("  </{name}>"));
    }
    w.line(&format!("</{root}>"));
}

fn records(w: &mut Writer<'_>) {
    let case = *w.rng.pick(&[Case::Camel, Case::Snake, Case::Kebab]);
    let n = 1 + w.rng.below(5);
    let records = Records::draw(w, n, case);
    let (root, item) = (w.draw(Vocabulary::word), w.draw(Vocabulary::word));
    let in_tags = w.chance(0.5);
    let named_by_tag = w.chance(0.3);
    w.line(&format!("<{root}>"));
    let mut last = String::new();
    while w.has_room() {
        let name = text(records.name(w, &last));
        let mut line = if named_by_tag {
            format!("  <{item}>\n    <{0}>{name}</{0}>", records.id)
        } else {
            format!("  <{item} {}=\"{name}\"", records.id)
        };
        if !named_by_tag && in_tags {
            line.push('>');
        }
        for column in &records.columns {
            let value = text(column.value(w));
            let key = &column.name;
            if in_tags || named_by_tag {
                line.push_str(&format!("\n    <{key}>{value}</{key}>"));
            } else {
                line.push_str(&format!(" {key}=\"{value}\""));
            }
            w.fact(&name, records.class, key, &value);
        }
        line.push_str(&if in_tags || named_by_tag {
            format!("\n  </{item}>")
        } else {
            "/>".to_owned()
        });
        w.line(&line);
        last = name;
    }
    w.line(&format!("</{root}>"));
}

/// A `pom.xml`.
fn project(w: &mut Writer<'_>) {
    let (name, version) = (w.draw(Vocabulary::package), w.rule("semver"));
    w.line(&format!(
        "<project>\n  <artifactId>{name}</artifactId>\n  <version>{version}</version>"
    ));
    w.fact_asked((&name, Class::Package), "version", &version, "ask_pkg_version");
    w.line("  <dependencies>");
    while w.has_room() {
        let group = format!("org.{}", w.draw(Vocabulary::word));
        let (name, version) = (w.draw(Vocabulary::package), w.rule("semver"));
        w.line(&format!("    <dependency>\n      <groupId>{group}</groupId>\n      <artifactId>{name}</artifactId>\n      <version>{version}</version>"));
        w.put(
            &name,
            Class::Package,
            "version",
            &version,
            "ask_pkg_version",
            "rev_pkg_version",
            false,
        );
        w.fact(&name, Class::Package, "group id", &group);
        if w.chance(0.3) {
            let scope = w.pick(&["test", "provided", "runtime"]);
            w.line(&format!("      <scope>{scope}</scope>"));
            w.fact(&name, Class::Package, "scope", scope);
        }
        w.line("    </dependency>");
    }
    w.line("  </dependencies>\n</project>");
}
