//! Procedural documents with questions about them: what the embedded text model learns from, and
//! what it is examined on.
//!
//! A [`document`] is one or more *sections*, each the image of a kind of file: lock files,
//! manifests, settings, data, tables, logs, prose, source code, notes and so on. While a section is
//! written, it notes *facts*: a subject, an attribute, a value ("serde", "version", "1.0.219").
//! When the document is done, some facts are asked in one of many wordings, names spelled as in
//! the document or nearly so.
//!
//! * A fact is asked only if the document gives one answer. Names are compared without case,
//!   separators, plurals and short forms, and synonyms (`price`, `cost`) are one attribute.
//! * An answer is a part of the text as a person would copy it: with the unit that belongs to it,
//!   without quotes around it. Only if the question names the unit ("how many boxes") is it the
//!   number alone. "When" asks for a whole time stamp, "at what time" for the time of the day.
//! * Some questions ask for what is not there: a name one word or one ending away, a thing without
//!   the attribute that others have. Their answer is [`ABSENT`].
//!
//! Documents of [`Split::HeldOut`] are made of words that never occur in names of
//! [`Split::Train`]; see `vocabulary.rs`. The wordings and sentences are tables of rules
//! (`grammar.rs`) in text files beside the code.

mod code;
mod config;
mod data;
mod grammar;
mod index;
mod keys;
mod language;
mod lists;
mod lock;
mod logs;
mod notes;
mod prose;
mod questions;
mod subject;
mod tables;
mod vocabulary;
mod words;
mod writer;

#[cfg(test)]
mod tests;

use tensor::Rng;
use text::lookup::ABSENT;
use writer::Writer;

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
    /// Files of servers, builds and systems in formats of their own; XML.
    Config,
    /// Source code with constants.
    Code,
    /// Notes and read-me files.
    Notes,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 13] = [
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
        Self::Config,
        Self::Code,
        Self::Notes,
    ];

    /// One of them; those that are harder to read come more often.
    fn draw(rng: &mut Rng) -> Self {
        const WEIGHTS: [(Kind, usize); 13] = [
            (Kind::Lock, 5),
            (Kind::Toml, 5),
            (Kind::Ini, 5),
            (Kind::Json, 8),
            (Kind::Yaml, 8),
            (Kind::Table, 15),
            (Kind::Log, 13),
            (Kind::Prose, 18),
            (Kind::Definition, 3),
            (Kind::KeyValue, 8),
            (Kind::Config, 10),
            (Kind::Code, 8),
            (Kind::Notes, 12),
        ];
        let mut left = rng.below(WEIGHTS.iter().map(|(_, weight)| weight).sum());
        for (kind, weight) in WEIGHTS {
            if left < weight {
                return kind;
            }
            left -= weight;
        }
        unreachable!("the weights were summed")
    }

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
            Self::Config => "configuration",
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
    let mut writer = Writer::new(spec.split, rng.clone(), bytes);
    // A file of one kind, or several put together.
    let alone = bytes <= 16_384 && writer.chance(0.6);
    loop {
        let left = bytes - writer.text.len().min(bytes);
        let size = (200.0 * 40f32.powf(writer.rng.unit())) as usize;
        let section = if alone || left < size + 150 { left } else { size };
        let kind = Kind::draw(&mut writer.rng);
        writer.section(kind, section);
        if bytes <= writer.text.len() {
            break;
        }
        writer.separate();
    }
    writer.dress();
    let questions = questions::ask(&mut writer, spec.questions, spec.absent_share);
    *rng = writer.rng;
    Document { text: writer.text, questions }
}
