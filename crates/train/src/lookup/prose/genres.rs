//! Specifications, lives, interviews, news.

use super::{Paragraphs, Subject, heading, say, wrapped};
use crate::lookup::keys::key_value;
use crate::lookup::language::LANGUAGE;
use crate::lookup::subject::Class;
use crate::lookup::vocabulary::{Case, Vocabulary};
use crate::lookup::writer::Writer;

/// Numbered sections with fields, types and limits.
pub(super) fn specification(w: &mut Writer<'_>) {
    let depth = w.rng.below(2);
    let (mut chapter, mut section) = (1 + w.rng.below(6), 0);
    let indent = w.pick(&["", "", "   "]);
    while w.has_room() {
        section += 1;
        if section > 3 {
            (chapter, section) = (chapter + 1, 1);
        }
        let title = heading(w);
        let number = if depth == 0 {
            format!("{}.", chapter * 4 + section)
        } else {
            format!("{chapter}.{section}.")
        };
        w.line(&format!("{number}  {title}\n"));
        let number = number.trim_end_matches('.');
        w.fact_only((number, Class::Entry), "title of section", &title, "ask_section_title");
        w.fact_only((&title, Class::Entry), "section", number, "ask_section_number");
        for _ in 0..1 + w.rng.below(3) {
            let mut sentences = Vec::new();
            let before = w.facts.len();
            for _ in 0..1 + w.rng.below(5) {
                if !w.facts.is_empty() && w.chance(0.5) {
                    let filler = w.rule("techfiller");
                    sentences.push(filler);
                    continue;
                }
                let class = *w.rng.pick(&[Class::Field, Class::Field, Class::Service]);
                let subject = class.name(w);
                let ids: Vec<u16> = class.attributes().collect();
                let id = *w.rng.pick(&ids);
                let sentence = say(w, &subject, class, id);
                sentences.push(sentence);
            }
            let paragraph = sentences.join(" ");
            if indent.is_empty() {
                wrapped(w, paragraph, 72, before);
            } else {
                for sentence in sentences {
                    w.line(&format!("{indent}{sentence}"));
                }
            }
            w.line("");
            if !w.has_room() {
                return;
            }
        }
        if w.chance(0.3) {
            for _ in 0..1 + w.rng.below(5) {
                let (key, value) = key_value(w, Case::Snake);
                let text = w.rule("purpose");
                w.line(&format!("{indent}{key}: {text}. Default: {value}."));
                w.fact_asked((&key, Class::Field), "default", &value, "ask_default");
                w.fact_only((&key, Class::Field), "description", &text, "ask_option");
            }
            w.line("");
        }
    }
}

/// Entries about persons, places, companies, as an encyclopedia has them.
pub(super) fn biographies(w: &mut Writer<'_>) {
    while w.has_room() {
        let class = *w.rng.pick(&[Class::Person, Class::Person, Class::Place, Class::Company]);
        let subject = Subject::draw(w, class);
        let n = 2 + w.rng.below(4);
        let mut sentences = Vec::new();
        let mut ids = class.some_attributes(w, n);
        if class == Class::Person && w.chance(0.6) {
            let year = 1600 + w.rng.below(380);
            let age = 20 + w.rng.below(75);
            let (born, died) = (life_date(w, year), life_date(w, year + age));
            let job = w.rule("job");
            let dead = w.chance(0.5);
            let span = if dead { format!("({born} – {died})") } else { format!("(born {born})") };
            let an = if job.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
            sentences.push(format!("{} {span} was {an} {job}.", subject.name));
            w.fact(&subject.name, class, "birthday", &born);
            w.fact(&subject.name, class, "job", &job);
            if dead {
                w.fact_only((&subject.name, class), "death", &died, "ask_died");
            }
            ids.retain(|id| {
                !["birthday", "job"].contains(&LANGUAGE.attributes[usize::from(*id)].name)
            });
        }
        for id in ids {
            let again = !sentences.is_empty() && w.chance(0.75);
            let sentence =
                if again { subject.say_again(w, id) } else { say(w, &subject.name, class, id) };
            sentences.push(sentence);
        }
        for _ in 0..w.rng.below(3) {
            let filler = w.rule("filler");
            sentences.push(filler);
        }
        w.line(&sentences.join(" "));
        w.line("");
    }
}

/// A date in `year`, or the year alone.
fn life_date(w: &mut Writer<'_>, year: usize) -> String {
    match w.rng.below(3) {
        0 => year.to_string(),
        _ => format!("{} {} {year}", w.rule("day"), w.rule("month")),
    }
}

/// Speakers take turns.
pub(super) fn interview(w: &mut Writer<'_>) {
    let names = [w.draw(Vocabulary::given_name), w.draw(Vocabulary::given_name)];
    let colon = w.pick(&[": ", ": ", " - ", ":\n"]);
    let mut turn = 0;
    while w.has_room() {
        turn += 1;
        let class = *w.rng.pick(&Class::KNOWN);
        let subject = class.name(w);
        let ids: Vec<u16> = class.attributes().collect();
        let id = *w.rng.pick(&ids);
        let mut text = if w.facts.is_empty() || w.chance(0.6) {
            say(w, &subject, class, id)
        } else {
            w.rule("filler")
        };
        while w.chance(0.4) {
            let filler = w.rule("filler");
            text =
                if w.chance(0.5) { format!("{text} {filler}") } else { format!("{filler} {text}") };
        }
        w.line(&format!("{}{colon}{text}", names[turn % 2]));
        if w.chance(0.5) {
            w.line("");
        }
    }
}

/// Headlines, datelines, short reports.
pub(super) fn news(w: &mut Writer<'_>) {
    while w.has_room() {
        let (headline, place, author) =
            (w.rule("headline"), w.draw(Vocabulary::place), w.draw(Vocabulary::person));
        w.line(&headline);
        if w.chance(0.5) {
            w.line(&format!("By {author}"));
            w.fact_only((&headline, Class::Field), "author", &author, "ask_wrote");
        }
        let date = w.rule("dateof");
        let end = w.end;
        w.end = end.min(w.text.len() + 200 + w.rng.below(900));
        w.text.push_str(&format!("\n{}, {date}. ", place.to_uppercase()));
        Paragraphs::draw(w).write(w);
        w.end = end;
        w.line("");
    }
}
