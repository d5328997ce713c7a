//! Rules that expand to text at random, read from tables such as `english.txt`.
//!
//! ```text
//! # A comment.
//! greeting = hello {given} | good [early ]morning, {^word}
//!     | hi          a line that begins with a space goes on with the rule
//! ```
//!
//! `{rule}` expands another rule or draws from the vocabulary, `{^rule}` does so with a capital,
//! `{s}` is a slot that the caller fills, `[text]` is left out half of the time, `\n` and `\s` are
//! a line break and a space, and a backslash before any other sign keeps it as it is.

use super::vocabulary::{Vocabulary, capitalized};
use std::collections::HashMap;
use tensor::Rng;

/// A rule, by its place in the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule(u16);

/// Draws something and appends it.
pub(super) type Draw = fn(&Vocabulary, &mut Rng, &mut String);

/// What the slots of a template stand for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slots<'a> {
    /// `{s}`: the subject, with an article where it has one.
    pub(super) subject: &'a str,
    /// `{b}`: the subject, bare.
    pub(super) bare: &'a str,
    /// `{a}`: the attribute.
    pub(super) attribute: &'a str,
    /// `{v}`: the value.
    pub(super) value: &'a str,
    /// `{n}`: what kind of thing the subject is.
    pub(super) noun: &'a str,
}

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Rule(Rule),
    Draw(Draw),
    Slot(char),
    Maybe(Template),
    Capital(Template),
}

/// A text with gaps.
#[derive(Clone, Debug, Default)]
pub(super) struct Template(Vec<Piece>);

/// All rules.
#[derive(Debug)]
pub(super) struct Grammar {
    names: HashMap<String, Rule>,
    draws: HashMap<&'static str, Draw>,
    rules: Vec<Vec<Template>>,
}

impl Grammar {
    /// Reads `sources`; `draws` are what rules may use besides each other.
    ///
    /// # Panics
    ///
    /// If a table uses a name that nothing defines: the tables are a part of this program.
    pub(super) fn new(sources: &[&'static str], draws: &[(&'static str, Draw)]) -> Self {
        let mut bodies: Vec<(&'static str, Vec<&'static str>)> = Vec::new();
        for line in sources.iter().flat_map(|source| source.lines()) {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            if line.starts_with(' ') {
                bodies.last_mut().expect("a rule begins before it goes on").1.push(line);
            } else {
                let (name, body) = line.split_once(" = ").expect("a rule is `name = body`");
                bodies.push((name.trim(), vec![body]));
            }
        }
        let names =
            bodies.iter().enumerate().map(|(i, (name, _))| ((*name).to_owned(), Rule(i as u16)));
        let mut grammar = Self {
            names: names.collect(),
            draws: draws.iter().copied().collect(),
            rules: Vec::new(),
        };
        assert_eq!(grammar.names.len(), bodies.len(), "a rule is defined twice");
        for (_, lines) in &bodies {
            let alternatives = lines.iter().flat_map(|line| split_alternatives(line));
            let rule = alternatives.map(|alternative| grammar.template(alternative)).collect();
            grammar.rules.push(rule);
        }
        for (name, draw) in draws {
            grammar.names.insert((*name).to_owned(), Rule(grammar.rules.len() as u16));
            grammar.rules.push(vec![Template(vec![Piece::Draw(*draw)])]);
        }
        grammar
    }

    /// Adds an alternative to the rule called `name`, which need not be there yet.
    pub(super) fn add(&mut self, name: &str, alternative: &str) {
        let template = self.template(alternative);
        match self.names.get(name) {
            Some(rule) => self.rules[usize::from(rule.0)].push(template),
            None => {
                self.names.insert(name.to_owned(), Rule(self.rules.len() as u16));
                self.rules.push(vec![template]);
            }
        }
    }

    /// The rule called `name`.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub(super) fn rule(&self, name: &str) -> Rule {
        *self.names.get(name).unwrap_or_else(|| panic!("no rule `{name}`"))
    }

    /// Whether a rule is called `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Compiles one text with gaps.
    pub(super) fn template(&self, source: &str) -> Template {
        let chars: Vec<char> = source.trim().chars().collect();
        let mut at = 0;
        let template = self.sequence(&chars, &mut at);
        assert_eq!(at, chars.len(), "unmatched `]` in `{source}`");
        template
    }

    fn sequence(&self, chars: &[char], at: &mut usize) -> Template {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let flush = |text: &mut String, pieces: &mut Vec<Piece>| {
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(text)));
            }
        };
        while *at < chars.len() && chars[*at] != ']' {
            let c = chars[*at];
            *at += 1;
            match c {
                '\\' => {
                    text.push(match chars[*at] {
                        'n' => '\n',
                        't' => '\t',
                        's' => ' ',
                        other => other,
                    });
                    *at += 1;
                }
                '[' => {
                    flush(&mut text, &mut pieces);
                    pieces.push(Piece::Maybe(self.sequence(chars, at)));
                    *at += 1;
                }
                '{' => {
                    flush(&mut text, &mut pieces);
                    let len = chars[*at..].iter().position(|c| *c == '}').expect("`{` is closed");
                    let name: String = chars[*at..*at + len].iter().collect();
                    *at += len + 1;
                    pieces.push(self.reference(&name));
                }
                other => text.push(other),
            }
        }
        flush(&mut text, &mut pieces);
        Template(pieces)
    }

    fn reference(&self, name: &str) -> Piece {
        if let Some(name) = name.strip_prefix('^') {
            return Piece::Capital(Template(vec![self.reference(name)]));
        }
        if ["s", "b", "a", "v", "n"].contains(&name) {
            return Piece::Slot(name.chars().next().unwrap_or('s'));
        }
        match (self.names.get(name), self.draws.get(name)) {
            (Some(rule), _) => Piece::Rule(*rule),
            (None, Some(draw)) => Piece::Draw(*draw),
            (None, None) => panic!("no rule and no drawing is called `{name}`"),
        }
    }

    /// Expands `rule` at the end of `out`.
    pub(super) fn expand(
        &self,
        rule: Rule,
        slots: Slots<'_>,
        vocabulary: &Vocabulary,
        rng: &mut Rng,
        out: &mut String,
    ) {
        let template = rng.pick(&self.rules[usize::from(rule.0)]);
        self.fill(template, slots, vocabulary, rng, out);
    }

    /// Fills the gaps of `template` at the end of `out`.
    pub(super) fn fill(
        &self,
        template: &Template,
        slots: Slots<'_>,
        vocabulary: &Vocabulary,
        rng: &mut Rng,
        out: &mut String,
    ) {
        for piece in &template.0 {
            let start = out.len();
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Rule(rule) => self.expand(*rule, slots, vocabulary, rng, out),
                Piece::Draw(draw) => draw(vocabulary, rng, out),
                Piece::Slot(slot) => out.push_str(match slot {
                    's' => slots.subject,
                    'b' => slots.bare,
                    'a' => slots.attribute,
                    'v' => slots.value,
                    _ => slots.noun,
                }),
                Piece::Maybe(template) => {
                    if rng.chance(0.5) {
                        self.fill(template, slots, vocabulary, rng, out);
                    }
                }
                // Names and values stay as they are; "the ..." and pronouns do not.
                Piece::Capital(Template(inner))
                    if matches!(inner[..], [Piece::Slot('v' | 'b')])
                        || matches!(inner[..], [Piece::Slot('s')])
                            && slots.subject == slots.bare =>
                {
                    let template = Template(inner.clone());
                    self.fill(&template, slots, vocabulary, rng, out);
                }
                Piece::Capital(template) => {
                    self.fill(template, slots, vocabulary, rng, out);
                    let capital = capitalized(&out[start..]);
                    out.truncate(start);
                    out.push_str(&capital);
                }
            }
            if !matches!(piece, Piece::Text(_)) {
                with_n(out, start);
            }
        }
    }
}

impl Template {
    /// Whether it begins with the subject, so that a pronoun may stand for that.
    pub(super) fn begins_with_subject(&self) -> bool {
        match self.0.first() {
            Some(Piece::Slot('s')) => true,
            Some(Piece::Capital(first)) => first.begins_with_subject(),
            _ => false,
        }
    }
}

/// Makes `an` of an `a` before `start`, if a vowel follows.
fn with_n(out: &mut String, start: usize) {
    let vowel = out[start..].starts_with(['a', 'e', 'i', 'o']);
    if vowel
        && start >= 2
        && (out[..start].ends_with(" a ") || start == 2 && out.starts_with(['a', 'A']))
    {
        out.insert(start - 1, 'n');
    }
}

/// The parts of a line between its bars.
fn split_alternatives(line: &str) -> impl Iterator<Item = &str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '|' => {
                parts.push(&line[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&line[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty())
}
