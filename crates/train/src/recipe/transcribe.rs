//! The section of recipes of towers.

use super::MAX_STEPS;
use serde::Deserialize;
use std::path::PathBuf;

/// What a tower learns to read and how; see `objective/transcribe.rs`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transcribe {
    /// What it sees or hears.
    pub of: Sense,
    /// The folder of the language model that reads the rows, from where the recipe is. It stays as it
    /// is.
    pub language: PathBuf,
    /// Number of steps.
    pub steps: u64,
    /// Pictures or sounds of a step.
    pub examples: usize,
    /// Those that are computed at once, at most.
    pub examples_at_once: usize,
    /// Weight of the squared distance from the bytes' embeddings, in units of that of neighbours.
    pub distance: f32,
    /// Questions about each of them that the language model answers, at most; with none it takes no
    /// part.
    pub questions: usize,
    /// Weight of a byte of an answer; that of a byte of a transcript is 1 in the mean.
    pub answer_weight: f32,
    /// What the places of pictures show, which the tower says on the way; it does not if not set.
    pub marks: Option<Marked>,
    /// Pictures or sounds that are measured, held out from training.
    pub held_out: usize,
}

/// How a tower learns what the places of pictures show.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marked {
    /// The hidden state of which it can be said by one product, 0 before the first layer.
    pub state: usize,
    /// Weight of a patch's loss; that of a byte of a transcript is 1 in the mean.
    pub weight: f32,
}

/// What is seen or heard.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Sense {
    /// Pictures.
    Pictures,
    /// Sounds.
    Sounds,
}

impl Transcribe {
    /// Whether its numbers make sense.
    pub(super) fn check(&self) -> Result<(), String> {
        for (field, found, least, most) in [
            ("steps", self.steps, 1, MAX_STEPS),
            ("examples", self.examples as u64, 1, 1 << 16),
            ("examples_at_once", self.examples_at_once as u64, 1, 1 << 16),
            ("questions", self.questions as u64, 0, 1 << 10),
            ("held_out", self.held_out as u64, 1, 1 << 16),
        ] {
            if !(least..=most).contains(&found) {
                return Err(format!("`transcribe.{field}` is {found}, expected {least} to {most}"));
            }
        }
        if self.marks.is_some() && self.of != Sense::Pictures {
            return Err("`transcribe.marks` is of pictures, and `transcribe.of` is not".to_owned());
        }
        let marks = self.marks.map_or(0.0, |marks| marks.weight);
        for (field, found) in [
            ("distance", self.distance),
            ("answer_weight", self.answer_weight),
            ("marks.weight", marks),
        ] {
            if !(0.0..=1e3).contains(&found) {
                return Err(format!("`transcribe.{field}` is {found}, expected 0 to 1000"));
            }
        }
        Ok(())
    }
}
