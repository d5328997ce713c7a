//! Writes sections and remembers what they say.

use super::grammar::{Rule, Slots};
use super::index::Index;
use super::language::LANGUAGE;
use super::subject::Class;
use super::vocabulary::Vocabulary;
use super::{Kind, Split};
use super::{code, config, data, lists, lock, logs, notes, prose, tables};
use tensor::Rng;

/// Longest value that is asked for, in bytes.
pub(super) const LONGEST_ANSWER: usize = 64;

/// Something the text says.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    pub(super) kind: Kind,
    /// What it is about: a package, a section, a row; empty if the attribute says all.
    pub(super) subject: String,
    pub(super) class: Class,
    /// `version`, `port`, a key.
    pub(super) attribute: String,
    pub(super) value: String,
    /// Ways to ask that the section knows, complete questions.
    pub(super) asks: Option<Rule>,
    /// Ways to ask for the subject, given the value.
    pub(super) reverse: Option<Rule>,
    /// Whether no other wording fits.
    pub(super) own_only: bool,
}

/// Writes sections and remembers what they say.
pub(super) struct Writer<'a> {
    pub(super) rng: Rng,
    pub(super) vocabulary: &'a Vocabulary,
    pub(super) text: String,
    pub(super) kind: Kind,
    pub(super) facts: Vec<Fact>,
    /// What may be asked and is not there, unless another part of the text says it.
    pub(super) missing: Vec<Fact>,
    pub(super) index: Index,
    /// Length of the text at which the section is full.
    pub(super) end: usize,
}

impl Writer<'_> {
    /// A writer of about `bytes`.
    pub(super) fn new(split: Split, rng: Rng, bytes: usize) -> Self {
        Self {
            rng,
            vocabulary: Vocabulary::of(split),
            text: String::with_capacity(bytes + 512),
            kind: Kind::Lock,
            facts: Vec::new(),
            missing: Vec::new(),
            index: Index::default(),
            end: 0,
        }
    }

    /// Writes about `bytes` of a file of the given kind.
    pub(super) fn section(&mut self, kind: Kind, bytes: usize) {
        self.kind = kind;
        self.end = self.text.len() + bytes;
        self.preamble();
        match kind {
            Kind::Lock => lock::write(self),
            Kind::Toml => data::toml::write(self),
            Kind::Ini => config::ini::write(self),
            Kind::Json => data::json::write(self),
            Kind::Yaml => data::yaml::write(self),
            Kind::Table => tables::write(self),
            Kind::Log => logs::write(self),
            Kind::Prose => prose::write(self),
            Kind::Definition => prose::glossary::write(self),
            Kind::KeyValue => lists::write(self),
            Kind::Config => config::write(self),
            Kind::Code => code::write(self),
            Kind::Notes => notes::write(self),
        }
    }

    /// Lines at the top of a file that say nothing of what is in it.
    fn preamble(&mut self) {
        let with_comments = matches!(self.kind, Kind::Toml | Kind::Ini | Kind::Yaml);
        if !with_comments || self.room() < 400 || !self.chance(0.15) {
            return;
        }
        let frame = if self.chance(0.3) { "#".repeat(60) } else { String::new() };
        if !frame.is_empty() {
            self.line(&frame);
        }
        for _ in 0..1 + self.rng.below(5) {
            let text = self.rule("techfiller");
            self.line(&format!("# {text}"));
        }
        self.line(&frame);
    }

    /// Shows a short text as people send each other texts, at times: quoted, indented, numbered,
    /// with the line ends of another system.
    pub(super) fn dress(&mut self) {
        let lines = self.text.matches('\n').count();
        if lines > 60 || !self.chance(0.08) {
            return;
        }
        let style = self.rng.below(5);
        let before = match style {
            0 => "> ",
            1 => "    ",
            2 => "| ",
            _ => "",
        };
        let end = if style == 3 { "\r\n" } else { "\n" };
        let mut dressed = String::with_capacity(self.text.len() + lines * 6);
        for (i, line) in self.text.lines().enumerate() {
            if style == 4 {
                dressed.push_str(&format!("{:>4} ", i + 1));
            }
            dressed.push_str(before);
            dressed.push_str(line);
            dressed.push_str(end);
        }
        self.text = dressed;
    }

    /// What stands between two files.
    pub(super) fn separate(&mut self) {
        if !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        let name = self.rule("file");
        match self.rng.below(8) {
            0 => self.line(&format!("\n==> {name} <==")),
            1 => self.line(&format!("\n# {name}\n")),
            2 => self.line("\n---\n"),
            3 => self.line(&format!("\n=== {name} ===\n")),
            4 => self.line(&format!("\n--- {name} ---")),
            _ => self.line(""),
        }
    }

    /// Whether there is room for more in this section.
    pub(super) fn has_room(&self) -> bool {
        self.text.len() < self.end
    }

    /// Bytes until the section is full.
    pub(super) fn room(&self) -> usize {
        self.end.saturating_sub(self.text.len())
    }

    pub(super) fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A line that closes a JSON list or object: there is no comma before it.
    pub(super) fn close(&mut self, line: &str) {
        if self.text.ends_with(",\n") {
            self.text.truncate(self.text.len() - 2);
            self.text.push('\n');
        }
        self.line(line);
    }

    pub(super) fn chance(&mut self, p: f32) -> bool {
        self.rng.chance(p)
    }

    pub(super) fn pick<'b>(&mut self, items: &[&'b str]) -> &'b str {
        self.rng.pick::<&str>(items)
    }

    /// Draws with the vocabulary.
    pub(super) fn draw<T>(&mut self, of: impl FnOnce(&Vocabulary, &mut Rng) -> T) -> T {
        of(self.vocabulary, &mut self.rng)
    }

    /// Expands the rule called `name`.
    pub(super) fn rule(&mut self, name: &str) -> String {
        self.expand(LANGUAGE.grammar.rule(name), Slots::default())
    }

    /// Expands `rule` with `slots`.
    pub(super) fn expand(&mut self, rule: Rule, slots: Slots<'_>) -> String {
        let mut out = String::new();
        LANGUAGE.grammar.expand(rule, slots, self.vocabulary, &mut self.rng, &mut out);
        out
    }

    /// Remembers that the `attribute` of `subject` is `value`.
    pub(super) fn fact(&mut self, subject: &str, class: Class, attribute: &str, value: &str) {
        self.put(subject, class, attribute, value, "", "", false);
    }

    /// The same for an attribute that needs no subject.
    pub(super) fn key(&mut self, attribute: &str, value: &str) {
        self.put("", Class::Section, attribute, value, "", "rev_key", false);
    }

    /// Remembers a fact that is asked for by a rule of its own or in the general wordings.
    pub(super) fn fact_asked(
        &mut self,
        (subject, class): (&str, Class),
        attribute: &str,
        value: &str,
        asks: &str,
    ) {
        self.put(subject, class, attribute, value, asks, "", false);
    }

    /// Remembers a fact that is asked for only by a rule of its own.
    pub(super) fn fact_only(
        &mut self,
        (subject, class): (&str, Class),
        attribute: &str,
        value: &str,
        asks: &str,
    ) {
        self.put(subject, class, attribute, value, asks, "", true);
    }

    /// Remembers that the text says what the `attribute` of `subject` is, and does not ask.
    pub(super) fn known(&mut self, subject: &str, attribute: &str, value: &str) {
        self.index.note(subject, attribute, value);
    }

    /// Remembers a question that the section does not answer.
    pub(super) fn missing(&mut self, subject: &str, attribute: &str, asks: &str) {
        self.missing.push(Fact {
            kind: self.kind,
            subject: subject.to_owned(),
            class: Class::Deed,
            attribute: attribute.to_owned(),
            value: super::ABSENT.to_owned(),
            asks: Some(LANGUAGE.grammar.rule(asks)),
            reverse: None,
            own_only: true,
        });
    }

    /// Remembers a fact with all that is known about asking for it; empty names are no rules.
    #[expect(clippy::too_many_arguments, reason = "the short forms above are what is called")]
    pub(super) fn put(
        &mut self,
        subject: &str,
        class: Class,
        attribute: &str,
        value: &str,
        asks: &str,
        reverse: &str,
        own_only: bool,
    ) {
        self.index.note(subject, attribute, value);
        if value.is_empty() || value.len() > LONGEST_ANSWER || value.contains('\n') {
            return;
        }
        let rule = |name: &str| (!name.is_empty()).then(|| LANGUAGE.grammar.rule(name));
        self.facts.push(Fact {
            kind: self.kind,
            subject: subject.to_owned(),
            class,
            attribute: attribute.to_owned(),
            value: value.to_owned(),
            asks: rule(asks),
            reverse: rule(reverse),
            own_only,
        });
    }
}
