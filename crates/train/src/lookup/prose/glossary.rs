//! Terms and what they mean, in few words.

use crate::lookup::subject::Class;
use crate::lookup::vocabulary::{Case, capitalized};
use crate::lookup::writer::Writer;

pub(in crate::lookup) fn write(w: &mut Writer<'_>) {
    let style = w.rng.below(10);
    let more = w.rng.unit() * 0.5;
    let mut used: Vec<String> = Vec::new();
    while w.has_room() {
        let case = *w.rng.pick(&[Case::Spaced, Case::Spaced, Case::Title, Case::Kebab]);
        let term = w.draw(|v, rng| v.name(rng, case));
        if used.contains(&term) {
            continue;
        }
        let meaning = w.rule("meaning");
        let more = if w.chance(more) { format!(" {}", w.rule("filler")) } else { String::new() };
        let class = w.pick(&["n.", "adj.", "v.", "noun", "verb"]);
        let line = match style {
            0 => format!("A *{term}* is {meaning}.{more}"),
            1 => format!("{term}: {meaning}."),
            2 => format!("**{term}** - {meaning}"),
            3 => format!("{term} means {meaning}.{more}"),
            4 => format!("{term}\n    {meaning}"),
            5 => format!("- {term}: {meaning}"),
            6 => format!("{term} ({class}) {meaning}.{more}"),
            7 => format!("<dt>{term}</dt>\n<dd>{meaning}</dd>"),
            8 => format!("{}, {class}: {meaning}.", capitalized(&term)),
            _ => format!("\"{term}\" is {meaning}.{more}"),
        };
        w.line(&line);
        if style == 6 || style == 8 {
            w.known(&term, "word class", class);
        }
        w.fact_only((&term, Class::Entry), "meaning", &meaning, "ask_meaning");
        used.push(term);
    }
}
