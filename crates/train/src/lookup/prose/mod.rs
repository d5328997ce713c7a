//! Sentences that state something among sentences that do not.

mod deeds;
mod genres;
pub(super) mod glossary;

use super::grammar::Slots;
use super::language::LANGUAGE;
use super::subject::Class;
use super::vocabulary::{Vocabulary, capitalized};
use super::writer::Writer;

pub(super) fn write(w: &mut Writer<'_>) {
    match w.rng.below(11) {
        8..11 => deeds::story(w),
        0 => genres::specification(w),
        1 => genres::biographies(w),
        2 => genres::interview(w),
        3 => genres::news(w),
        _ => {
            if w.chance(0.3) {
                let title = w.rule("headline");
                w.put("", Class::Section, "title", &title, "ask_title", "", true);
                let line = format!("{}{title}\n", w.pick(&["# ", "", "", "== "]));
                w.line(&line);
            }
            Paragraphs::draw(w).write(w);
        }
    }
}

/// How a running text is made.
#[derive(Debug)]
pub(super) struct Paragraphs {
    /// What it is about; several classes take turns.
    classes: Vec<Class>,
    /// Attributes that most of the subjects have, by class.
    attributes: Vec<Vec<u16>>,
    fillers: f32,
    technical: bool,
    /// Column at which lines are broken.
    wrap: Option<usize>,
    html: bool,
    cast: deeds::Cast,
}

impl Paragraphs {
    pub(super) fn draw(w: &mut Writer<'_>) -> Self {
        let n = 1 + w.rng.below(3);
        let classes: Vec<Class> = (0..n).map(|_| *w.rng.pick(&Class::KNOWN)).collect();
        let attributes = classes.iter().map(|class| {
            let n = 1 + w.rng.below(6);
            class.some_attributes(w, n)
        });
        let attributes = attributes.collect();
        let technical =
            classes.iter().any(|c| matches!(c, Class::Service | Class::Field)) && w.chance(0.6);
        let wrap = if w.chance(0.3) { Some(60 + w.rng.below(40)) } else { None };
        Self {
            classes,
            attributes,
            fillers: w.rng.unit() * 0.8,
            technical,
            wrap,
            html: w.chance(0.05),
            cast: deeds::Cast::draw(w),
        }
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        while w.has_room() {
            let mut sentences = Vec::new();
            let before = w.facts.len();
            for _ in 0..1 + w.rng.below(3) {
                if is_short(&sentences, w.room()) {
                    self.about_one(w, &mut sentences);
                }
            }
            // "Baker Inc." at the end of a sentence has one full stop.
            let paragraph = sentences.join(" ").replace("c..", "c.").replace("o..", "o.");
            let paragraph = if self.html { format!("<p>{paragraph}</p>") } else { paragraph };
            match self.wrap {
                Some(column) => wrapped(w, paragraph, column, before),
                None => w.line(&paragraph),
            }
            if w.has_room() && w.chance(0.9) {
                w.line("");
            }
        }
    }

    fn filler(&self, w: &mut Writer<'_>) -> String {
        if self.technical && w.chance(0.7) { w.rule("techfiller") } else { w.rule("filler") }
    }

    /// A few sentences about one subject, with others between them.
    fn about_one(&self, w: &mut Writer<'_>, sentences: &mut Vec<String>) {
        let i = w.rng.below(self.classes.len());
        let class = self.classes[i];
        let subject = Subject::draw(w, class);
        let mut attributes = self.attributes[i].clone();
        if attributes.is_empty() {
            return;
        }
        w.rng.shuffle(&mut attributes);
        attributes.truncate(1 + w.rng.below(3));
        let mut is_known = false;
        if w.chance(0.15) {
            let rule = if class == Class::Person { "intro_person" } else { "intro_thing" };
            let article = subject.with_article();
            let rule = LANGUAGE.grammar.rule(rule);
            let intro = w
                .expand(rule, Slots { subject: &article, bare: &subject.name, ..Slots::default() });
            sentences.push(intro);
            is_known = true;
        }
        if let [first, second, ..] = attributes[..]
            && w.chance(0.15)
            && let Some(sentence) = say_both(w, &subject.name, class, [first, second])
        {
            sentences.push(sentence);
            attributes.drain(..2);
        }
        for id in attributes {
            if is_known && !is_short(sentences, w.room()) {
                break;
            }
            // A pronoun stands right behind a sentence about its subject.
            let sentence = if is_known && w.chance(0.6) {
                subject.say_again(w, id)
            } else {
                say(w, &subject.name, class, id)
            };
            sentences.push(extended(w, sentence));
            is_known = true;
            while w.chance(self.fillers * 0.7) && is_short(sentences, w.room()) {
                let filler = self.filler(w);
                sentences.push(filler);
                is_known = false;
            }
        }
        if w.chance(0.1) {
            let sentence = say_open(w, &subject.name, class);
            sentences.push(sentence);
        }
        if w.chance(0.06) {
            let id = *w.rng.pick(&self.attributes[i]);
            sentences.extend(say_list(w, class, id));
        }
        if w.chance(0.12) {
            let deed = self.cast.deed(w);
            sentences.push(deed);
        }
        if w.chance(self.fillers) {
            let filler = self.filler(w);
            sentences.push(filler);
        }
    }
}

/// Whether there is room for another sentence.
fn is_short(sentences: &[String], room: usize) -> bool {
    sentences.is_empty() || sentences.iter().map(|s| s.len() + 1).sum::<usize>() < room
}

/// Somebody or something that sentences are about.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) name: String,
    class: Class,
    female: bool,
}

impl Subject {
    pub(super) fn draw(w: &mut Writer<'_>, class: Class) -> Self {
        let female = w.chance(0.5);
        let name = if class == Class::Person {
            let given = *w.rng.pick(w.vocabulary.given_names(female));
            format!("{given} {}", w.draw(Vocabulary::family_name))
        } else {
            class.name(w)
        };
        Self { name, class, female }
    }

    pub(super) fn pronoun(&self) -> &'static str {
        match (self.class, self.female) {
            (Class::Person, true) => "she",
            (Class::Person, false) => "he",
            _ => "it",
        }
    }

    fn with_article(&self) -> String {
        if self.class.has_article(&self.name) {
            format!("the {}", self.name)
        } else {
            self.name.clone()
        }
    }

    /// A sentence about the subject that does not name it.
    pub(super) fn say_again(&self, w: &mut Writer<'_>, id: u16) -> String {
        let attribute = &LANGUAGE.attributes[usize::from(id)];
        let value = w.expand(attribute.value, Slots::default());
        let rule = match (self.class, self.female) {
            (Class::Person, true) => "say_her",
            (Class::Person, false) => "say_his",
            _ => "say_its",
        };
        let beginning: Vec<_> = attribute.says.iter().filter(|t| t.begins_with_subject()).collect();
        let slots = Slots {
            subject: self.pronoun(),
            bare: "",
            value: &value,
            attribute: attribute.name,
            ..Slots::default()
        };
        let mut out = String::new();
        if beginning.is_empty() && attribute.own_only {
            return say(w, &self.name, self.class, id);
        }
        if !beginning.is_empty() && (attribute.own_only || w.chance(0.6)) {
            let template = *w.rng.pick(&beginning);
            LANGUAGE.grammar.fill(template, slots, w.vocabulary, &mut w.rng, &mut out);
        } else {
            let rule = LANGUAGE.grammar.rule(rule);
            LANGUAGE.grammar.expand(rule, slots, w.vocabulary, &mut w.rng, &mut out);
        }
        w.fact(&self.name, self.class, attribute.name, &value);
        out
    }
}

/// A sentence that states the attribute `id` of `name`; it becomes a fact.
pub(super) fn say(w: &mut Writer<'_>, name: &str, class: Class, id: u16) -> String {
    let attribute = &LANGUAGE.attributes[usize::from(id)];
    let value = w.expand(attribute.value, Slots::default());
    w.fact(name, class, attribute.name, &value);
    let article = if class.has_article(name) { format!("the {name}") } else { name.to_owned() };
    let slots = Slots {
        subject: &article,
        bare: name,
        attribute: attribute.name,
        value: &value,
        noun: class.noun(),
    };
    for _ in 0..6 {
        let mut out = String::new();
        if !attribute.own_only && w.chance(0.25) {
            let rule = LANGUAGE.grammar.rule("say_of");
            LANGUAGE.grammar.expand(rule, slots, w.vocabulary, &mut w.rng, &mut out);
        } else {
            let template = w.rng.pick(&attribute.says);
            LANGUAGE.grammar.fill(template, slots, w.vocabulary, &mut w.rng, &mut out);
        }
        // A capital at the beginning may have changed the value or a name.
        if out.contains(&value) && (out.contains(name) || class.has_article(name)) {
            return emphasized(w, out, &value);
        }
    }
    format!("The {} of {article} is {value}.", attribute.name)
}

/// A sentence about anything, for comments and notes.
pub(super) fn remark(w: &mut Writer<'_>) -> String {
    let class = *w.rng.pick(&Class::KNOWN);
    let name = class.name(w);
    let ids: Vec<u16> = class.attributes().collect();
    let id = *w.rng.pick(&ids);
    say(w, &name, class, id)
}

/// A sentence about an attribute that no table knows.
fn say_open(w: &mut Writer<'_>, name: &str, class: Class) -> String {
    let attribute = w.rule("open_attribute");
    let value = w.rule("open_value");
    w.fact(name, class, &attribute, &value);
    let article = if class.has_article(name) { format!("the {name}") } else { name.to_owned() };
    let slots = Slots {
        subject: &article,
        bare: name,
        attribute: &attribute,
        value: &value,
        noun: class.noun(),
    };
    let mut out = String::new();
    let rule = LANGUAGE.grammar.rule("say_of");
    LANGUAGE.grammar.expand(rule, slots, w.vocabulary, &mut w.rng, &mut out);
    if out.contains(name) { out } else { format!("The {attribute} of {article} is {value}.") }
}

/// A sentence that gives the same attribute of several subjects.
fn say_list(w: &mut Writer<'_>, class: Class, id: u16) -> Option<String> {
    let attribute = &LANGUAGE.attributes[usize::from(id)];
    if attribute.own_only {
        return None;
    }
    let mut names: Vec<String> = (0..2 + w.rng.below(4)).map(|_| class.name(w)).collect();
    names.dedup();
    let values: Vec<String> =
        names.iter().map(|_| w.expand(attribute.value, Slots::default())).collect();
    for (name, value) in names.iter().zip(&values) {
        w.fact(name, class, attribute.name, value);
    }
    let name = attribute.name;
    // Values with commas of their own would not be told apart in a list.
    let style = w.rng.below(if values.iter().any(|v| v.contains(',')) { 4 } else { 6 });
    let with_article = |name: &String| {
        if class.has_article(name) { format!("the {name}") } else { name.clone() }
    };
    let items: Vec<String> = names
        .iter()
        .zip(&values)
        .map(|(name, value)| match style {
            0 => format!("{name} {value}"),
            1 => format!("{name} ({value})"),
            2 => format!("{value} for {}", with_article(name)),
            3 => format!("{name}: {value}"),
            _ => with_article(name),
        })
        .collect();
    let listed = listed(&items, if style < 4 { "; " } else { ", " });
    Some(match style {
        0 | 3 => format!("The {name} of each: {listed}."),
        1 => format!("We list the {name} behind every name: {listed}."),
        2 => format!("The {name} is {listed}."),
        4 => format!("The {name} of {listed} is {}, respectively.", self::listed(&values, ", ")),
        _ => format!("For {listed} the {name} is {}, in this order.", self::listed(&values, ", ")),
    })
}

/// `a, b and c`.
fn listed(items: &[String], comma: &str) -> String {
    match items {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(comma)),
        _ => items.concat(),
    }
}

/// The sentence with marks around the value, at times.
fn emphasized(w: &mut Writer<'_>, sentence: String, value: &str) -> String {
    let spaced = format!(" {value}");
    if sentence.contains(['`', '"']) || !sentence.contains(&spaced) || !w.chance(0.07) {
        return sentence;
    }
    let mark = w.pick(&["**", "`", "\"", "*", "_", "'"]);
    sentence.replacen(&spaced, &format!(" {mark}{value}{mark}"), 1)
}

/// A sentence that states two attributes of `name` at once.
fn say_both(w: &mut Writer<'_>, name: &str, class: Class, ids: [u16; 2]) -> Option<String> {
    let [first, second] = ids.map(|id| &LANGUAGE.attributes[usize::from(id)]);
    if first.own_only || second.own_only {
        return None;
    }
    let values = [first, second].map(|a| w.expand(a.value, Slots::default()));
    for (attribute, value) in [first, second].into_iter().zip(&values) {
        w.fact(name, class, attribute.name, value);
    }
    let s = if class.has_article(name) { format!("the {name}") } else { name.to_owned() };
    let ([v, x], [a, b]) = (values, [first.name, second.name]);
    Some(match w.rng.below(8) {
        0 => format!("{} has the {a} {v} and the {b} {x}.", capitalized(&s)),
        1 => format!("The {a} of {s} is {v}, the {b} is {x}."),
        2 => format!("The {a} and the {b} of {s} are {v} and {x}."),
        3 => format!("{} ({a} {v}) has the {b} {x}.", capitalized(&s)),
        4 => format!("With {v} as its {a}, {s} has the {b} {x}."),
        5 => format!("{}: {a} {v}, {b} {x}.", capitalized(&s)),
        6 => format!("{}, whose {a} is {v}, has the {b} {x}.", capitalized(&s)),
        _ => format!("{} - {a}: {v}; {b}: {x}.", capitalized(&s)),
    })
}

/// The sentence with something before it or after it, at times.
fn extended(w: &mut Writer<'_>, sentence: String) -> String {
    match w.rng.below(8) {
        0 => {
            let Some(rest) = sentence.strip_prefix("The ") else { return sentence };
            format!("{} the {rest}", w.rule("before"))
        }
        1 if !sentence.contains(['`', '"']) => match sentence.strip_suffix('.') {
            Some(start) => {
                let more = w.rule("after");
                let gap = if more.starts_with(',') { "" } else { " " };
                format!("{start}{gap}{more}.")
            }
            None => sentence,
        },
        _ => sentence,
    }
}

/// Writes `paragraph` in lines of at most `column`, but breaks no value of the facts from `before`
/// on: those are asked for in one piece.
pub(super) fn wrapped(w: &mut Writer<'_>, mut paragraph: String, column: usize, before: usize) {
    const NO_BREAK: &str = "\u{1}";
    for fact in &w.facts[before..] {
        if fact.value.contains(' ') {
            paragraph = paragraph.replace(&fact.value, &fact.value.replace(' ', NO_BREAK));
        }
    }
    let mut length = 0;
    for word in paragraph.split(' ') {
        let start = match length {
            0 => "",
            _ if length + word.len() >= column => "\n",
            _ => " ",
        };
        length = if start == "\n" { word.len() } else { length + start.len() + word.len() };
        w.text.push_str(start);
        w.text.push_str(&word.replace(NO_BREAK, " "));
    }
    w.line("");
}

/// A title for a part of a text.
pub(super) fn heading(w: &mut Writer<'_>) -> String {
    capitalized(&w.rule("heading"))
}
