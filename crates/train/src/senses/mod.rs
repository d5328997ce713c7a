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

/// Lines of a transcript.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(String);

impl Lines {
    /// Adds `label: value`.
    pub(crate) fn push(&mut self, label: impl std::fmt::Display, value: impl std::fmt::Display) {
        self.0.push_str(&format!("{label}: {value}\n"));
    }

    /// The text.
    pub(crate) fn into_text(self) -> String {
        self.0
    }
}
