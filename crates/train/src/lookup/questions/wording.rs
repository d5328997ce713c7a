//! The wording of a question.

use super::slots;
use crate::lookup::Kind;
use crate::lookup::grammar::{Slots, Template};
use crate::lookup::index::Asked;
use crate::lookup::language::LANGUAGE;
use crate::lookup::subject::Class;
use crate::lookup::vocabulary::{Case, normalized};
use crate::lookup::writer::{Fact, Writer};

/// Whether a wording is a sentence or a few key words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Question,
    Words,
}

impl Form {
    pub(super) fn of(text: &str) -> Self {
        const STARTS: [&str; 20] = [
            "what", "which", "who", "whose", "when", "where", "how", "at", "on", "in", "by", "for",
            "is", "to", "of", "under", "do", "why", "with", "from",
        ];
        let first = text.split([' ', '\'']).next().unwrap_or_default();
        if STARTS.contains(&first) && text.contains(' ') { Self::Question } else { Self::Words }
    }
}

/// The name as it stands in the text, or nearly so.
fn spelled(w: &mut Writer<'_>, name: &str) -> String {
    let words = |w: &mut Writer<'_>| -> Vec<String> {
        let words = normalized(name);
        let words = words.split(' ').map(|word| match LANGUAGE.other_form(word) {
            Some(other) if w.chance(0.3) => other.to_owned(),
            _ => word.to_owned(),
        });
        words.collect()
    };
    match w.rng.below(16) {
        0 => name.to_lowercase(),
        1..5 => words(w).join(" "),
        5 => Case::Snake.join(&words(w)),
        6 => Case::Kebab.join(&words(w)),
        7 if w.chance(0.3) => name.to_uppercase(),
        _ => name.to_owned(),
    }
}

/// The subject as it stands in the text, or nearly so.
fn spelled_subject(w: &mut Writer<'_>, subject: &str) -> String {
    match w.rng.below(14) {
        0 => subject.to_lowercase(),
        // A digit or a dot may be all that tells two names apart.
        1 if subject.chars().all(|c| c.is_ascii_alphanumeric() || "-_ ".contains(c)) => {
            normalized(subject)
        }
        _ => subject.to_owned(),
    }
}

/// The name of the attribute to ask with: a synonym, its spelling in the text, or its last word.
fn asked_attribute(w: &mut Writer<'_>, attribute: &str, may_shorten: bool) -> String {
    let id = LANGUAGE.attribute_of(LANGUAGE.canonical(attribute));
    if let Some(id) = id {
        let nouns = &LANGUAGE.attributes[usize::from(id)].nouns;
        let is_noun = nouns.iter().any(|noun| *noun == normalized(attribute));
        if !is_noun || w.chance(0.35) {
            return (*w.rng.pick(nouns)).to_owned();
        }
    }
    if may_shorten && w.chance(0.15) {
        let words = normalized(attribute);
        let last = words.rsplit(' ').next().unwrap_or_default();
        let vague = ["name", "by", "at", "in", "on", "to", "of"].contains(&last);
        if last.len() > 2 && !vague && !last.chars().any(|c| c.is_ascii_digit()) {
            return last.to_owned();
        }
    }
    spelled(w, attribute)
}

/// Asks for a key that stands by itself.
pub(super) fn of_key(
    w: &mut Writer<'_>,
    fact: &Fact,
    attribute: &str,
    may_shorten: bool,
) -> String {
    let name = if fact.own_only {
        attribute.to_owned()
    } else {
        asked_attribute(w, attribute, may_shorten)
    };
    let slots = Slots { attribute: &name, ..Slots::default() };
    match fact.asks {
        Some(rule) if fact.own_only || w.chance(0.5) => w.expand(rule, slots),
        _ => by_rule(w, "ask_key", slots),
    }
}

/// Asks for the attribute of the only thing that has it.
pub(super) fn of_attribute(w: &mut Writer<'_>, fact: &Fact, may_shorten: bool) -> String {
    let name = asked_attribute(w, &fact.attribute, may_shorten);
    let rule = if fact.class == Class::Section { "ask_key" } else { "ask_alone" };
    by_rule(w, rule, Slots { attribute: &name, ..Slots::default() })
}

/// Asks for the attribute of a subject; `broad` allows wordings that fit several attributes.
pub(super) fn of_subject(
    w: &mut Writer<'_>,
    fact: &Fact,
    subject: &str,
    attribute: &str,
    broad: bool,
) -> String {
    let bare = if fact.own_only { subject.to_owned() } else { spelled_subject(w, subject) };
    let bare = part_of_path(w, fact.kind, fact.class, &bare, attribute).unwrap_or(bare);
    let article = with_article(w, fact.class, subject, &bare);
    if let Some(rule) = fact.asks
        && (fact.own_only || w.chance(0.65))
    {
        let name = spelled_argument(w, attribute);
        return w.expand(rule, slots(&article, &bare, &name, fact.class));
    }
    let id = LANGUAGE.attribute_of(LANGUAGE.canonical(attribute));
    if let Some(id) = id {
        let known = &LANGUAGE.attributes[usize::from(id)];
        let is_lexical = Class::KNOWN.contains(&fact.class) || fact.class == Class::Entry;
        let share = if is_lexical { 0.55 } else { 0.3 };
        if known.own_only || !known.asks.is_empty() && w.chance(share) {
            let broad = broad && !known.broad_asks.is_empty() && w.chance(0.25);
            let asks: &[Template] = if broad { &known.broad_asks } else { &known.asks };
            let template = w.rng.pick(asks);
            let mut out = String::new();
            let slots = slots(&article, &bare, attribute, fact.class);
            LANGUAGE.grammar.fill(template, slots, w.vocabulary, &mut w.rng, &mut out);
            return out;
        }
    }
    let name = asked_attribute(w, attribute, false);
    let rule = if fact.class == Class::Section { "ask_section" } else { "ask_of" };
    by_rule(w, rule, slots(&article, &bare, &name, fact.class))
}

/// `tls` or `tls in server` for `server.tls`, where that is enough.
fn part_of_path(
    w: &mut Writer<'_>,
    kind: Kind,
    class: Class,
    path: &str,
    attribute: &str,
) -> Option<String> {
    let (rest, last) = path.rsplit_once('.')?;
    // A domain is no path, and what is not there must not be called by a part that is.
    let is_known = w.index.is_unique(path, Asked::Attribute(attribute));
    if class != Class::Section || path.contains([' ', '/']) || !is_known || kind == Kind::Config {
        return None;
    }
    let short = w.index.is_unique(last, Asked::Attribute(attribute));
    match w.rng.below(10) {
        0..3 if short => Some(last.to_owned()),
        3 => Some(format!("{last} in {rest}")),
        4 => Some(path.replace('.', " ")),
        5 => Some(format!("{rest} > {last}")),
        _ => None,
    }
}

/// Names of arguments and constants stay as they are, most of the time.
fn spelled_argument(w: &mut Writer<'_>, attribute: &str) -> String {
    if w.chance(0.85) { attribute.to_owned() } else { spelled(w, attribute) }
}

fn with_article(w: &mut Writer<'_>, class: Class, subject: &str, bare: &str) -> String {
    if class.has_article(subject) && w.chance(0.85) {
        format!("the {bare}")
    } else if class == Class::Service && w.chance(0.15) && !bare.ends_with("service") {
        format!("the {bare} service")
    } else {
        bare.to_owned()
    }
}

/// Asks what has the value, if one can say that.
pub(super) fn of_value(w: &mut Writer<'_>, fact: &Fact, value: &str) -> Option<String> {
    let name = if fact.subject.is_empty() {
        String::new()
    } else {
        asked_attribute(w, &fact.attribute, false)
    };
    let slots = Slots { value, attribute: &name, noun: fact.class.noun(), ..Slots::default() };
    if let Some(rule) = fact.reverse {
        return Some(w.expand(rule, slots));
    }
    if fact.subject.is_empty() || fact.asks.is_some() {
        return None;
    }
    let id = LANGUAGE.attribute_of(LANGUAGE.canonical(&fact.attribute));
    if let Some(id) = id {
        let known = &LANGUAGE.attributes[usize::from(id)];
        if !known.reverse.is_empty() && Class::KNOWN.contains(&fact.class) && w.chance(0.6) {
            let template = w.rng.pick(&known.reverse);
            let mut out = String::new();
            LANGUAGE.grammar.fill(template, slots, w.vocabulary, &mut w.rng, &mut out);
            return Some(out);
        }
    }
    let rule = if fact.class == Class::Person { "rev_person" } else { "rev_any" };
    Some(by_rule(w, rule, slots))
}

fn by_rule(w: &mut Writer<'_>, rule: &str, slots: Slots<'_>) -> String {
    w.expand(LANGUAGE.grammar.rule(rule), slots)
}
