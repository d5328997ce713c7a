//! Keys and values outside of formats: lists, forms, option texts, notes and read-me files.

use super::Writer;
use super::vocabulary::{Case, Vocabulary, capitalized};

pub(super) fn key_value(w: &mut Writer<'_>) {
    match w.rng.below(4) {
        0 => options(w),
        1 => records(w),
        _ => pairs(w),
    }
}

/// One key and one value per line, in one of many spellings.
fn pairs(w: &mut Writer<'_>) {
    const STYLES: [(&str, &str); 12] = [
        ("", " = "),
        ("", ": "),
        ("", "="),
        ("", " "),
        ("- ", ": "),
        ("* ", " = "),
        ("", "\t"),
        ("", " -> "),
        ("", " .......... "),
        ("  ", " : "),
        ("", " is "),
        ("- **", "**: "),
    ];
    let (before, between) = *w.rng.pick(&STYLES);
    let case = *w.rng.pick(&Case::ALL);
    let names = w.chance(0.5);
    let mut last = String::new();
    while w.has_room() {
        let key = if !last.is_empty() && w.chance(0.2) {
            w.vocabulary.near(&mut w.rng, &last)
        } else if names {
            w.draw(|v, rng| v.name(rng, case))
        } else {
            w.draw(|v, rng| v.attribute(rng, case))
        };
        let value = w.draw(|v, rng| v.value_of(rng, &key));
        w.line(&format!("{before}{key}{between}{value}"));
        w.fact("", &key, &value);
        last = key;
    }
}

/// Blocks of lines, each about one thing that its first line names.
fn records(w: &mut Writer<'_>) {
    let case = *w.rng.pick(&[Case::Title, Case::Spaced, Case::Snake]);
    let n = 1 + w.rng.below(4);
    let attributes: Vec<String> = (0..n).map(|_| w.draw(|v, rng| v.attribute(rng, case))).collect();
    let heading = w.rng.below(4);
    while w.has_room() {
        let name = super::data::row_name(w);
        w.line(&match heading {
            0 => format!("{name}:"),
            1 => format!("Name: {name}"),
            2 => format!("== {name} =="),
            _ => format!("* {name}"),
        });
        for attribute in &attributes {
            let value = w.draw(|v, rng| v.value_of(rng, attribute));
            w.line(&format!("  {attribute}: {value}"));
            w.fact(&name, attribute, &value);
        }
        if heading != 3 {
            w.line("");
        }
    }
}

/// Options of a command with defaults.
fn options(w: &mut Writer<'_>) {
    let style = w.rng.below(4);
    while w.has_room() {
        let name = w.draw(|v, rng| v.attribute(rng, Case::Kebab));
        let value = w.draw(|v, rng| v.value_of(rng, &name));
        let text = w.draw(Vocabulary::phrase);
        let argument = w.pick(&["N", "FILE", "VALUE", "NAME", "SECONDS", "ADDR"]);
        let option = format!("--{name}");
        w.line(&match style {
            0 => format!("  {option} {argument}    {text} (default: {value})"),
            1 => format!("  {option} <{argument}>\n          {text} [default: {value}]"),
            2 => format!("{option}={argument}\n    Sets the {text}. The default is {value}."),
            _ => format!("  {option}  {text}, {value} by default"),
        });
        let asked = [
            "what does {s} default to?",
            "default of {s}",
            "what is the default of {s}?",
            "what does the {s} option default to?",
            "what is the default value of {s}?",
            "which value does {s} have by default?",
            "{s} default?",
        ];
        let asked = asked.iter().map(|asked| asked.replace("{s}", &option)).collect();
        w.fact_with(&option, "default", &value, asked);
    }
}

/// Notes of a meeting, a read-me: headings, bullets, lines with names.
pub(super) fn notes(w: &mut Writer<'_>) {
    let title = w.draw(|v, rng| v.name(rng, Case::Title));
    w.line(&format!("# {title}\n"));
    while w.has_room() {
        match w.rng.below(7) {
            0 => {
                let heading = w.draw(|v, rng| v.name(rng, Case::Title));
                w.line(&format!("\n## {heading}\n"));
            }
            1 => {
                let (person, text) = w.draw(|v, rng| (v.person(rng), v.phrase(rng)));
                w.line(&format!("{person} asked for {text}."));
            }
            _ => bullet(w),
        }
    }
}

/// An attribute, lines with it, ways to ask.
const BULLETS: [(&str, &[&str], &[&str]); 10] = [
    (
        "owner",
        &[
            "{s}: owned by {v}",
            "{s} (owner: {v})",
            "{v} takes over {s}",
            "{s} -> {v}",
            "{v} owns {s}",
        ],
        &["who owns {s}?", "owner of {s}", "who is the owner of {s}?", "who takes {s}?"],
    ),
    (
        "deadline",
        &["{s} is due {v}", "{s}: deadline {v}", "{s} until {v}"],
        &["when is {s} due?", "deadline of {s}", "what is the deadline of {s}?"],
    ),
    (
        "task",
        &["{v} by {s}", "{s} will do the {v}", "{s}: {v}"],
        &["what will {s} do?", "task of {s}"],
    ),
    (
        "version",
        &["needs {s} {v} or newer", "tested with {s} {v}", "requires {s} {v}"],
        &["which version of {s} is needed?", "which version of {s}?", "version of {s}"],
    ),
    (
        "budget",
        &["budget of {s}: {v}", "{s} gets {v}", "{s} has a budget of {v}"],
        &["what is the budget of {s}?", "budget of {s}", "how much does {s} get?"],
    ),
    (
        "status",
        &["{s} is {v}", "{s}: {v}", "[{v}] {s}"],
        &["what is the status of {s}?", "status of {s}", "{s} status?"],
    ),
    (
        "room",
        &["{s} meets in {v}", "{s} is in room {v}"],
        &["where does {s} meet?", "in which room is {s}?", "room of {s}"],
    ),
    (
        "command",
        &["{s}: run `{v}`", "to get {s}, type `{v}`"],
        &["which command is for {s}?", "command for {s}", "what do I run for {s}?"],
    ),
    (
        "contact",
        &["ask {v} about {s}", "{s}: contact {v}"],
        &["who is the contact for {s}?", "contact for {s}", "whom do I ask about {s}?"],
    ),
    (
        "decision",
        &["decided: {s} becomes {v}", "{s} will be {v}"],
        &["what will {s} be?", "what does {s} become?", "decision on {s}"],
    ),
];

fn bullet(w: &mut Writer<'_>) {
    let mark = w.pick(&["- ", "- ", "* ", "- [ ] ", "1. ", ""]);
    let (attribute, lines, asked) = *w.rng.pick(&BULLETS);
    let subject = if attribute == "task" {
        w.draw(Vocabulary::person)
    } else {
        let case = *w.rng.pick(&[Case::Spaced, Case::Kebab, Case::Snake]);
        w.draw(|v, rng| v.name(rng, case))
    };
    let value = match attribute {
        "owner" | "contact" => w.draw(Vocabulary::person),
        "deadline" => w.draw(Vocabulary::date),
        "task" => w.draw(Vocabulary::phrase),
        "budget" => format!("{} {}", 1 + w.rng.below(900), w.pick(&["EUR", "USD", "k", "hours"])),
        "room" => w.draw(|v, rng| if rng.chance(0.5) { v.code(rng) } else { v.place(rng) }),
        "status" | "decision" => w.draw(Vocabulary::word),
        "command" => {
            w.draw(|v, rng| format!("{} {} --{}", v.package(rng), v.word(rng), v.word(rng)))
        }
        _ => w.draw(|v, rng| v.value_of(rng, attribute)),
    };
    let line = w.pick(lines).replace("{s}", &subject).replace("{v}", &value);
    // A value at the start stays as it is asked for.
    let line = if w.chance(0.3) && !line.starts_with(&value) { capitalized(&line) } else { line };
    w.line(&format!("{mark}{line}"));
    let asked = asked.iter().map(|asked| asked.replace("{s}", &subject)).collect();
    w.fact_with(&subject, attribute, &value, asked);
}
