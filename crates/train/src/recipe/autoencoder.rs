//! The section of recipes of autoencoders.

use super::MAX_STEPS;
use serde::Deserialize;

/// What an autoencoder reads and how it is judged; see `objective/autoencoder.rs`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Autoencoder {
    /// Number of steps.
    pub steps: u64,
    /// Differences of pixels, from -1 to 1, below which their squares count.
    pub smooth: f32,
    /// Weight of the differences between neighbours.
    pub gradient_difference: f32,
    /// Weight of the divergence of latents from the standard normal distribution.
    pub kl: f32,
    /// What a step reads: all of these that are due. The clips that are measured are as those that
    /// the last step reads.
    pub batches: Vec<ClipBatch>,
}

/// Clips of one shape.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipBatch {
    /// What they show.
    pub of: ClipsOf,
    /// How many of them.
    pub clips: usize,
    /// Frames of each.
    pub frames: usize,
    /// Pixels along each side.
    pub size: usize,
    /// Read at steps that are a multiple of this,
    #[serde(default = "one")]
    pub every: u64,
    /// from this step on
    #[serde(default = "one")]
    pub from: u64,
    /// to this one, or to the last.
    pub until: Option<u64>,
}

/// A number that stands for no choice.
fn one() -> u64 {
    1
}

impl ClipBatch {
    /// Whether step `step` reads it.
    pub(crate) fn is_due(&self, step: u64) -> bool {
        let range = self.from..=self.until.unwrap_or(u64::MAX);
        range.contains(&step) && step.is_multiple_of(self.every)
    }
}

/// What clips show.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ClipsOf {
    /// Objects that move.
    Scenes,
    /// Pictures of subjects alone.
    References,
}

impl Autoencoder {
    pub(super) fn check(&self) -> Result<(), String> {
        let wrong = |field: &str, found: String, expected: &str| {
            Err(format!("`autoencoder.{field}` is {found}, expected {expected}"))
        };
        if !(1..=MAX_STEPS).contains(&self.steps) {
            return wrong("steps", self.steps.to_string(), &format!("1 to {MAX_STEPS}"));
        }
        for (field, value, least) in [
            ("smooth", self.smooth, 1e-6),
            ("gradient_difference", self.gradient_difference, 0.0),
            ("kl", self.kl, 0.0),
        ] {
            if !(least..=1e6).contains(&value) {
                return wrong(field, value.to_string(), &format!("a number from {least:e} to 1e6"));
            }
        }
        // Batches of every step, one after the other, have to leave no gap.
        let mut next = 1;
        let mut always: Vec<_> = self.batches.iter().filter(|batch| batch.every == 1).collect();
        always.sort_by_key(|batch| batch.from);
        for batch in always.iter().filter(|batch| batch.of == ClipsOf::Scenes) {
            if batch.from <= next {
                next = next.max(batch.until.unwrap_or(MAX_STEPS).saturating_add(1));
            }
        }
        if next <= self.steps {
            let found = format!("without scenes of `every = 1` at step {next}");
            return wrong("batches", found, "some for each step");
        }
        for (i, batch) in self.batches.iter().enumerate() {
            let &ClipBatch { of, clips, frames, size, every, from, until } = batch;
            for (field, found, most) in [
                ("clips", clips as u64, 4096),
                ("frames", frames as u64, 1024),
                ("size", size as u64, 4096),
                ("every", every, MAX_STEPS),
                ("from", from, MAX_STEPS),
                ("until", until.unwrap_or(1), MAX_STEPS),
            ] {
                if !(1..=most).contains(&found) {
                    let field = format!("batches[{i}].{field}");
                    return wrong(&field, found.to_string(), &format!("1 to {most}"));
                }
            }
            if of == ClipsOf::References && frames != 1 {
                let field = format!("batches[{i}].frames");
                return wrong(&field, frames.to_string(), "1, as references are pictures");
            }
        }
        Ok(())
    }
}
