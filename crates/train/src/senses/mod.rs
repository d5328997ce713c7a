//! Procedural pictures and sounds with questions about them: what the embedded towers learn from, and
//! what they are examined on.

pub mod sounds;

/// A question about a picture or a sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What it asks for, as reports call it.
    pub kind: &'static str,
    /// The question as somebody types it.
    pub text: String,
    /// The answer: a piece of the transcript.
    pub answer: String,
}
