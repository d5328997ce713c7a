//! What towers learn to see and hear: things drawn by chance, with a *transcript* of what can be read
//! off them and questions about it.
//!
//! A transcript is text that the language model can look things up in, `circles: 3`, `circle: red`. A
//! tower's rows are trained to lie at the embeddings of its bytes, so the language model reads a
//! picture or a sound as it reads a text, and stays as it is.

pub mod pictures;
pub mod sounds;

/// A question with its one right answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What is asked for: a word of a table of results.
    pub kind: &'static str,
    /// As a user types it.
    pub text: String,
    /// A part of the transcript, or [`ABSENT`](text::lookup::ABSENT).
    pub answer: String,
}

/// Lines of a transcript, `label: value`.
///
/// A line's fields are as wide as what they can hold, filled up with spaces: every row of a tower has one
/// thing to say, whatever stands before it, and learns it much faster (docs/adr/0011).
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(String);

impl Lines {
    /// Adds a line whose label and value are at most so wide.
    pub(crate) fn push(
        &mut self,
        (label, label_width): (&str, usize),
        (value, value_width): (impl std::fmt::Display, usize),
    ) {
        let (label, value) = (format!("{label}:"), value.to_string());
        let width = label_width + 1;
        self.0.push_str(&format!("{label:<width$} {value:<value_width$}\n"));
    }

    /// Adds an empty line as wide as one of such fields.
    pub(crate) fn push_blank(&mut self, label_width: usize, value_width: usize) {
        self.0.push_str(&" ".repeat(label_width + 2 + value_width));
        self.0.push('\n');
    }

    /// The text.
    pub(crate) fn into_text(self) -> String {
        self.0
    }
}
