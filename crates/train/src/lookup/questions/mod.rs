//! Which facts are asked for, and what is asked that is not there.

mod wording;

use super::grammar::Slots;
use super::index::Asked;
use super::language::LANGUAGE;
use super::subject::Class;
use super::vocabulary::{Case, normalized};
use super::writer::{Fact, Writer};
use super::{ABSENT, Kind, Question};
use wording::Form;

/// Up to `n` questions, `absent_share` of them about what is missing.
pub(super) fn ask(w: &mut Writer<'_>, n: usize, absent_share: f32) -> Vec<Question> {
    let mut facts = std::mem::take(&mut w.facts);
    w.rng.shuffle(&mut facts);
    let mut questions = Vec::new();
    let mut next = 0;
    while questions.len() < n && next < facts.len() {
        let fact = &facts[next];
        next += 1;
        if w.chance(absent_share) {
            let prepared = if fact.class == Class::Deed { prepared(w) } else { None };
            let missing = prepared.or_else(|| {
                (0..6).find_map(|_| {
                    let other = w.rng.below(facts.len());
                    missing(w, fact, &facts[other])
                })
            });
            questions.extend(missing);
            if questions.len() == n {
                break;
            }
        }
        let question = if w.chance(0.15) { reverse(w, fact) } else { None };
        questions.extend(question.or_else(|| present(w, fact)));
    }
    w.rng.shuffle(&mut questions);
    questions
}

/// One of the questions that a section does not answer, if no other part of the text does.
fn prepared(w: &mut Writer<'_>) -> Option<Question> {
    if w.missing.is_empty() {
        return None;
    }
    let at = w.rng.below(w.missing.len());
    let fact = w.missing.swap_remove(at);
    // Another sentence may say by accident what no deed does.
    let is_said = w.text.contains(fact.subject.as_str());
    if is_said || !w.index.is_unknown(&fact.subject, Asked::Attribute(&fact.attribute)) {
        return None;
    }
    let text = wording::of_subject(w, &fact, &fact.subject, &fact.attribute, false);
    Some(finished(w, &fact, text, ABSENT.to_owned()))
}

/// A question for a fact, if it has only one answer.
fn present(w: &mut Writer<'_>, fact: &Fact) -> Option<Question> {
    let (subject, attribute) = (fact.subject.as_str(), fact.attribute.as_str());
    let whole = Asked::Attribute(attribute);
    // Line breaks and capitals may have changed a value where it was written.
    if !w.index.is_unique(subject, whole) || !w.text.contains(fact.value.as_str()) {
        return None;
    }
    // Two attributes with the same last word make that word alone a bad question.
    let head_is_unique = w.index.is_unique("", Asked::Head(attribute));
    let alone = head_is_unique && w.index.is_unique("", whole);
    let text = if subject.is_empty() {
        wording::of_key(w, fact, attribute, head_is_unique)
    } else if alone && !names_unit(fact) && w.chance(0.2) {
        wording::of_attribute(w, fact, head_is_unique)
    } else {
        // "Who is responsible" has one answer if there is an owner and no manager.
        let broad = attribute_group(attribute)
            .is_some_and(|group| w.index.is_unique(subject, Asked::Group(group)));
        wording::of_subject(w, fact, subject, attribute, broad)
    };
    Some(finished(w, fact, text, fact.value.clone()))
}

/// Whether only the wordings of its own fit, such as those that name the unit.
fn names_unit(fact: &Fact) -> bool {
    let id = LANGUAGE.attribute_of(LANGUAGE.canonical(&fact.attribute));
    fact.own_only || id.is_some_and(|id| LANGUAGE.attributes[usize::from(id)].own_only)
}

fn attribute_group(attribute: &str) -> Option<&'static str> {
    let id = LANGUAGE.attribute_of(LANGUAGE.canonical(attribute))?;
    let group = LANGUAGE.attributes[usize::from(id)].group;
    (!group.is_empty()).then_some(group)
}

/// A question for the subject whose attribute has the value, or for a key.
fn reverse(w: &mut Writer<'_>, fact: &Fact) -> Option<Question> {
    let answer = if fact.subject.is_empty() { &fact.attribute } else { &fact.subject };
    let listed = fact.class == Class::Section && !fact.subject.is_empty();
    let closed = names_unit(fact) && fact.reverse.is_none();
    if closed || listed || fact.value.len() < 2 || fact.value.len() > 40 {
        return None;
    }
    if is_flag(&fact.value)
        || occurrences(&w.text, &fact.value, 2) != 1
        || !w.text.contains(answer.as_str())
    {
        return None;
    }
    let text = wording::of_value(w, fact, &fact.value)?;
    Some(finished(w, fact, text, answer.clone()))
}

/// Whether a fact of a log is what an actor reported, not when or how its line was written.
fn is_report(fact: &Fact) -> bool {
    fact.class == Class::Entry && !["time", "level", "hour"].contains(&fact.attribute.as_str())
}

fn is_flag(value: &str) -> bool {
    ["true", "false", "yes", "no", "on", "off", "none", "null"].contains(&value)
}

/// How often `part` is in `text`, counted up to `most`.
fn occurrences(text: &str, part: &str, most: usize) -> usize {
    text.match_indices(part).take(most).count()
}

/// A question for what looks like `fact` or goes with the attribute of `other`.
fn missing(w: &mut Writer<'_>, fact: &Fact, other: &Fact) -> Option<Question> {
    let subject = fact.subject.as_str();
    if fact.class == Class::Deed {
        return None;
    }
    if subject.is_empty() {
        return missing_key(w, fact);
    }
    match w.rng.below(12) {
        // Another subject: near the one that is there, or of the same kind.
        0..5 => {
            let asked = match fact.attribute.as_str() {
                "answer" => w.rule("faqq"),
                "who" => w.rule("task"),
                "item" | "release date" | "change" => w.vocabulary.near_value(&mut w.rng, subject),
                _ if subject.starts_with(|c: char| c.is_ascii_digit()) => {
                    w.vocabulary.near_value(&mut w.rng, subject)
                }
                _ if subject.contains(" /") || w.chance(0.4) => similar_subject(w, fact),
                _ => w.vocabulary.other(&mut w.rng, subject),
            };
            if is_in_text(w, &asked) || asked.contains(['\n', '"']) {
                return None;
            }
            let text = wording::of_subject(w, fact, &asked, &fact.attribute, true);
            Some(finished(w, fact, text, ABSENT.to_owned()))
        }
        // The same subject: what another one has, or what such a thing might have.
        5..11 if !fact.own_only => {
            if fact.asks.is_some() && w.chance(0.7) {
                return None;
            }
            if w.chance(0.6) && !other.subject.is_empty() && !other.own_only {
                return missing_attribute(w, fact, other);
            }
            let mut ids: Vec<u16> = fact.class.attributes().collect();
            w.rng.shuffle(&mut ids);
            let attribute = match ids.first() {
                Some(id) => LANGUAGE.attributes[usize::from(*id)].name.to_owned(),
                None => super::keys::key_value(w, Case::Snake).0,
            };
            let imagined = Fact { attribute, asks: None, ..fact.clone() };
            missing_attribute(w, fact, &imagined)
        }
        // An actor of a log is asked for what another one reported.
        5..11 if fact.kind == Kind::Log && fact.own_only && is_report(fact) => {
            let unknown = w.index.is_unknown(subject, Asked::Attribute(&other.attribute));
            if !unknown || other.kind != fact.kind || !other.own_only || !is_report(other) {
                return None;
            }
            let text = wording::of_subject(w, other, subject, &other.attribute, false);
            Some(finished(w, fact, text, ABSENT.to_owned()))
        }
        // A value that nothing has.
        11 => {
            let value = w.vocabulary.near_value(&mut w.rng, &fact.value);
            if (fact.own_only && fact.reverse.is_none())
                || value.len() < 2
                || w.text.contains(value.as_str())
                || value.len() > 40
            {
                return None;
            }
            let text = wording::of_value(w, fact, &value)?;
            Some(finished(w, fact, text, ABSENT.to_owned()))
        }
        _ => None,
    }
}

/// Asks the subject of `fact` for the attribute of `other`.
fn missing_attribute(w: &mut Writer<'_>, fact: &Fact, other: &Fact) -> Option<Question> {
    let (subject, attribute) = (&fact.subject, &other.attribute);
    let group = attribute_group(attribute);
    let unknown = w.index.is_unknown(subject, Asked::Attribute(attribute))
        && w.index.is_unknown(subject, Asked::Head(attribute))
        && group.is_none_or(|group| w.index.is_unknown(subject, Asked::Group(group)));
    if !unknown || normalized(attribute).is_empty() || attribute.len() > 40 {
        return None;
    }
    // Section wordings of the other fact would not fit this subject.
    let asked =
        Fact { asks: if other.class == fact.class { other.asks } else { None }, ..other.clone() };
    let asked = Fact { class: fact.class, kind: fact.kind, ..asked };
    let text = wording::of_subject(w, &asked, subject, attribute, false);
    Some(finished(w, fact, text, ABSENT.to_owned()))
}

/// Asks for a key that is not there.
fn missing_key(w: &mut Writer<'_>, fact: &Fact) -> Option<Question> {
    // Wordings of its own may not name the key at all.
    if fact.own_only {
        return None;
    }
    let asked = if w.chance(0.6) {
        w.vocabulary.other(&mut w.rng, &fact.attribute)
    } else {
        super::keys::key_value(w, Case::Snake).0
    };
    let is_known = !w.index.is_unknown("", Asked::Attribute(&asked))
        || !w.index.is_unknown("", Asked::Head(&asked)) && !asked.contains(['_', '-', ' ', '.'])
        || w.index.is_subject(&asked)
        || w.text.contains(asked.as_str());
    if is_known || normalized(&asked).is_empty() {
        return None;
    }
    let fact = Fact { attribute: asked.clone(), ..fact.clone() };
    let text = wording::of_key(w, &fact, &asked, false);
    Some(finished(w, &fact, text, ABSENT.to_owned()))
}

/// A subject of the same kind that is not in the text.
fn similar_subject(w: &mut Writer<'_>, fact: &Fact) -> String {
    if Class::KNOWN.contains(&fact.class) {
        return fact.class.name(w);
    }
    // A person for a person, `a-b` for `c-d`, another path for a request.
    let name = &fact.subject;
    if let Some((method, _)) = name.split_once(" /") {
        return format!("{method} {}", w.rule("urlpath"));
    }
    let words = name.split(' ');
    let is_person = words.clone().count() == 2
        && words.clone().all(|word| word.starts_with(|c: char| c.is_uppercase()));
    let case = if name.contains('_') {
        Case::Snake
    } else if name.contains('-') {
        Case::Kebab
    } else if is_person {
        return w.draw(|v, rng| v.person(rng));
    } else if name.contains(' ') {
        return w.vocabulary.other(&mut w.rng, name);
    } else {
        Case::Spaced
    };
    w.draw(|v, rng| v.name(rng, case))
}

/// Whether the text names `subject` in any spelling.
fn is_in_text(w: &Writer<'_>, subject: &str) -> bool {
    w.index.is_subject(subject) || w.text.contains(subject)
}

/// Puts the last touches to the wording: politeness, question mark, capitals.
fn finished(w: &mut Writer<'_>, fact: &Fact, mut text: String, answer: String) -> Question {
    let form = Form::of(&text);
    if form == Form::Question && w.chance(0.05) {
        let lead = w.pick(&[
            "please: ",
            "quick question: ",
            "hey, ",
            "hi, ",
            "so ",
            "ok, ",
            "tell me, ",
            "according to the text, ",
            "in this document, ",
        ]);
        text.insert_str(0, lead);
    }
    let mark = if form == Form::Question { 0.75 } else { 0.25 };
    if w.chance(mark) && !text.ends_with(['?', '!', '.', '=', ':']) {
        text.push('?');
    }
    match w.rng.below(20) {
        0..7 if form == Form::Question => text = super::vocabulary::capitalized(&text),
        7 => text = text.to_lowercase(),
        8 if w.chance(0.1) => text = text.to_uppercase(),
        _ => {}
    }
    Question { kind: fact.kind, text, answer }
}

/// Slots for a subject; `article` is long-lived storage for "the ...".
fn slots<'a>(article: &'a str, subject: &'a str, attribute: &'a str, class: Class) -> Slots<'a> {
    Slots { subject: article, bare: subject, attribute, value: "", noun: class.noun() }
}
