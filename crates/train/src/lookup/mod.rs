//! Procedural documents with questions about them: what the embedded text model learns from, and
//! what it is examined on.
//!
//! A [`document`] is one or more *sections*, each the image of a kind of file: lock files and
//! dependency lists, TOML, INI and `.env`, JSON, YAML, tables (CSV, Markdown, aligned), logs,
//! prose, glossaries, key-value lists and option texts, source code, notes. While a section is
//! written, it notes *facts*: a subject, an attribute, a value ("serde", "version", "1.0.219").
//! When the document is done, some facts are asked in one of many wordings, names spelled as in
//! the document or nearly so. A fact is asked only if the document gives one answer: facts of the
//! same name with different values are never asked, and an attribute is asked without its subject
//! only if no other subject has it. Some questions ask for what is not there: a name one word or
//! one ending away, a thing without the attribute that others have. Their answer is [`ABSENT`].
//!
//! Documents of [`Split::HeldOut`] are made of words that never occur in names of
//! [`Split::Train`]; see `vocabulary.rs`.

mod code;
mod data;
mod lists;
mod lock;
mod logs;
mod prose;
mod questions;
mod tables;
mod vocabulary;
mod words;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use tensor::Rng;
use vocabulary::{Case, Vocabulary, normalized};

/// The answer to a question about what is missing.
pub const ABSENT: &str = "not in the text";

/// Which words the names of a document are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// For training.
    Train,
    /// For examination: words that training has never seen in names.
    HeldOut,
}

/// Kinds of sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Package locks and dependency lists.
    Lock,
    /// Manifests and settings.
    Toml,
    /// INI, `.env`, properties.
    Ini,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Tables: CSV and the like.
    Table,
    /// Log lines.
    Log,
    /// Sentences.
    Prose,
    /// Glossaries.
    Definition,
    /// Keys and values in running text, option texts.
    KeyValue,
    /// Source code with constants.
    Code,
    /// Notes and read-me files.
    Notes,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Lock,
        Self::Toml,
        Self::Ini,
        Self::Json,
        Self::Yaml,
        Self::Table,
        Self::Log,
        Self::Prose,
        Self::Definition,
        Self::KeyValue,
        Self::Code,
        Self::Notes,
    ];

    /// As reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock file",
            Self::Toml => "TOML",
            Self::Ini => "INI",
            Self::Json => "JSON",
            Self::Yaml => "YAML",
            Self::Table => "table",
            Self::Log => "log",
            Self::Prose => "prose",
            Self::Definition => "definition",
            Self::KeyValue => "key-value",
            Self::Code => "code",
            Self::Notes => "notes",
        }
    }
}

/// What kind of document is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The words of its names.
    pub split: Split,
    /// Shortest length in bytes; lengths are log-uniform.
    pub min_bytes: usize,
    /// Longest length in bytes; the last line may pass it.
    pub max_bytes: usize,
    /// Most questions about it.
    pub questions: usize,
    /// Share of questions about what is missing.
    pub absent_share: f32,
}

/// A text and questions about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The text.
    pub text: String,
    /// Questions in random order.
    pub questions: Vec<Question>,
}

/// A question with its one right answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The kind of section that was asked.
    pub kind: Kind,
    /// As a user types it.
    pub text: String,
    /// A part of the text, or [`ABSENT`].
    pub answer: String,
}

impl Question {
    /// Whether it asks for what is not there.
    pub fn is_absent(&self) -> bool {
        self.answer == ABSENT
    }
}

/// Draws a document; the same `spec` and `rng` give the same one.
pub fn document(spec: &Spec, rng: &mut Rng) -> Document {
    let ratio = spec.max_bytes as f32 / spec.min_bytes.max(1) as f32;
    let bytes = (spec.min_bytes as f32 * ratio.powf(rng.unit())) as usize;
    let vocabulary = Vocabulary::new(spec.split);
    let mut writer = Writer {
        rng: rng.clone(),
        vocabulary: &vocabulary,
        text: String::with_capacity(bytes + 256),
        kind: Kind::Lock,
        facts: Vec::new(),
        seen: HashMap::new(),
        end: 0,
    };
    // A file of one kind, or several put together.
    let alone = bytes <= 16_384 && writer.rng.chance(0.6);
    loop {
        let left = bytes - writer.text.len().min(bytes);
        let size = (200.0 * 40f32.powf(writer.rng.unit())) as usize;
        let section = if alone || left < size + 150 { left } else { size };
        writer.end = writer.text.len() + section;
        writer.kind = *writer.rng.pick(&Kind::ALL);
        writer.section();
        if left <= section {
            break;
        }
        writer.separate();
    }
    let questions = questions::ask(&mut writer, spec.questions, spec.absent_share);
    *rng = writer.rng;
    Document { text: writer.text, questions }
}

/// Something the text says.
#[derive(Clone, Debug)]
struct Fact {
    kind: Kind,
    /// What it is about: a package, a section, a row; empty if the attribute says all.
    subject: String,
    /// `version`, `port`, a key.
    attribute: String,
    value: String,
    /// Wordings that the section knows, complete questions.
    wordings: Vec<String>,
}

/// Writes sections and remembers what they say.
struct Writer<'a> {
    rng: Rng,
    vocabulary: &'a Vocabulary,
    text: String,
    kind: Kind,
    facts: Vec<Fact>,
    /// Under each way to ask, the value; `None` if there are several.
    seen: HashMap<String, Option<String>>,
    /// Length of the text at which the section is full.
    end: usize,
}

/// Longest value that is asked for, in bytes.
const LONGEST_ANSWER: usize = 48;

impl Writer<'_> {
    fn section(&mut self) {
        match self.kind {
            Kind::Lock => lock::write(self),
            Kind::Toml => data::toml(self),
            Kind::Ini => data::ini(self),
            Kind::Json => data::json(self),
            Kind::Yaml => data::yaml(self),
            Kind::Table => tables::write(self),
            Kind::Log => logs::write(self),
            Kind::Prose => prose::write(self),
            Kind::Definition => prose::glossary(self),
            Kind::KeyValue => lists::key_value(self),
            Kind::Code => code::write(self),
            Kind::Notes => lists::notes(self),
        }
    }

    /// What stands between two files.
    fn separate(&mut self) {
        if !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        let name = self.vocabulary.name(&mut self.rng, Case::Snake);
        match self.rng.below(5) {
            0 => self.line(&format!("\n==> {name} <==")),
            1 => self.line(&format!("\n# {name}\n")),
            2 => self.line("\n---\n"),
            _ => self.line(""),
        }
    }

    /// Whether there is room for more in this section.
    fn has_room(&self) -> bool {
        self.text.len() < self.end
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A line that closes a JSON list or object: there is no comma before it.
    fn close(&mut self, line: &str) {
        if self.text.ends_with(",\n") {
            self.text.truncate(self.text.len() - 2);
            self.text.push('\n');
        }
        self.line(line);
    }

    fn chance(&mut self, p: f32) -> bool {
        self.rng.chance(p)
    }

    fn pick<'b>(&mut self, items: &[&'b str]) -> &'b str {
        self.rng.pick::<&str>(items)
    }

    /// Draws with the vocabulary.
    fn draw<T>(&mut self, of: impl FnOnce(&Vocabulary, &mut Rng) -> T) -> T {
        of(self.vocabulary, &mut self.rng)
    }

    /// Remembers that the `attribute` of `subject` is `value`.
    fn fact(&mut self, subject: &str, attribute: &str, value: &str) {
        self.fact_with(subject, attribute, value, Vec::new());
    }

    /// The same, with wordings that only this section knows.
    fn fact_with(&mut self, subject: &str, attribute: &str, value: &str, wordings: Vec<String>) {
        for name in [key(subject, attribute), key("", attribute)] {
            self.seen
                .entry(name)
                .and_modify(|seen| {
                    if seen.as_deref().is_some_and(|seen| seen != value) {
                        *seen = None;
                    }
                })
                .or_insert_with(|| Some(value.to_owned()));
        }
        if !value.is_empty() && value.len() <= LONGEST_ANSWER && !value.contains('\n') {
            self.facts.push(Fact {
                kind: self.kind,
                subject: subject.to_owned(),
                attribute: attribute.to_owned(),
                value: value.to_owned(),
                wordings,
            });
        }
    }

    /// Whether asking for the `attribute` of `subject` has one answer.
    fn is_unique(&self, subject: &str, attribute: &str) -> bool {
        matches!(self.seen.get(&key(subject, attribute)), Some(Some(_)))
    }

    /// Whether nothing is known under this name.
    fn is_unknown(&self, subject: &str, attribute: &str) -> bool {
        !self.seen.contains_key(&key(subject, attribute))
    }
}

/// The name under which a fact is known, whatever the spelling.
fn key(subject: &str, attribute: &str) -> String {
    let mut key = normalized(subject);
    if !key.is_empty() {
        key.push(' ');
    }
    key.push_str(&normalized(attribute));
    key
}
