//! Source code: constants and defaults, among lines that are neither.

use super::Writer;
use super::vocabulary::{Case, Vocabulary};

pub(super) fn write(w: &mut Writer<'_>) {
    let language = w.rng.below(6);
    let fillers = w.rng.unit() * 0.6;
    while w.has_room() {
        if w.chance(fillers) {
            filler(w, language);
        } else {
            constant(w, language);
        }
    }
}

/// A name with its value, as the language spells it.
fn constant(w: &mut Writer<'_>, language: usize) {
    let case = match language {
        3 => *w.rng.pick(&[Case::Camel, Case::Screaming]),
        4 => *w.rng.pick(&[Case::Pascal, Case::Camel]),
        5 => *w.rng.pick(&[Case::Snake, Case::Screaming]),
        _ => Case::Screaming,
    };
    let name = if w.chance(0.5) {
        w.draw(|v, rng| v.attribute(rng, case))
    } else {
        w.draw(|v, rng| v.name(rng, case))
    };
    let value = match w.rng.below(4) {
        0 | 1 => w.draw(Vocabulary::number).trim_start_matches('-').to_owned(),
        2 => w.draw(|v, rng| v.value_of(rng, &name)).replace(['\\', '"'], "/"),
        _ => format!("0x{}", w.draw(|v, rng| v.hex(rng, 4))),
    };
    let is_number = value.replace('_', "").parse::<u64>().is_ok() || value.starts_with("0x");
    let quoted = if is_number { value.clone() } else { format!("\"{value}\"") };
    let kind = match (is_number, w.rng.below(3)) {
        (false, _) => "&str",
        (true, 0) => "u32",
        (true, 1) => "usize",
        _ => "u64",
    };
    if w.chance(0.2) {
        let text = w.draw(Vocabulary::phrase);
        let mark = match language {
            0 => "///",
            1 | 3 | 4 => "//",
            _ => "#",
        };
        w.line(&format!("{mark} The {text}."));
    }
    let comment =
        if w.chance(0.1) { format!(" // {}", w.draw(Vocabulary::phrase)) } else { String::new() };
    let public = w.pick(&["", "pub ", "pub(crate) "]);
    let line = match language {
        0 => format!("{public}const {name}: {kind} = {quoted};{comment}"),
        1 => format!("#define {name} {quoted}"),
        2 => format!("{name} = {quoted}"),
        3 => format!("const {name} = {quoted};{comment}"),
        4 => format!("const {name} = {quoted}"),
        _ => format!("{name}: {} = {quoted}", if is_number { "int" } else { "str" }),
    };
    w.line(&line);
    w.fact("", &name, &value);
}

fn filler(w: &mut Writer<'_>, language: usize) {
    let (a, b, c) = w.draw(|v, rng| (v.name(rng, Case::Snake), v.word(rng), v.word(rng)));
    w.line(&match language {
        0 => format!("\nfn {a}({b}: &[u8]) -> usize {{\n    {b}.{c}()\n}}\n"),
        1 => format!("\nint {a}(int {b}) {{\n    return {b} + {c};\n}}\n"),
        3 => format!("\nfunction {a}({b}) {{\n  return {b}.{c};\n}}\n"),
        4 => format!("\nfunc {a}({b} int) int {{\n\treturn {b} * {c}\n}}\n"),
        _ => format!("\ndef {a}({b}):\n    return {b}.{c}\n"),
    });
}
