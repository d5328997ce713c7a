//! What a video model is trained on.

use super::MAX_STEPS;
use serde::Deserialize;
use std::path::PathBuf;

/// What a video model reads and how; see `objective/flow`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Number of steps.
    pub steps: u64,
    /// The folder of the autoencoder, from where the recipe is; latents are pixels if not set.
    pub autoencoder: Option<PathBuf>,
    /// Clips that a step draws from: the latents of each are made once.
    pub pool: usize,
    /// Clips that come into the pool with each step; as many go, the oldest first.
    pub fresh: usize,
    /// Clips of a step.
    pub clips: usize,
    /// Clips that are computed at once, at most.
    pub clips_at_once: usize,
    /// How far levels of noise are pushed up: `s` becomes `shift s / (1 + (shift - 1) s)`.
    pub shift: f32,
    /// Share of captions that are not told, for guidance.
    pub drop_text: f32,
    /// Share of references that are not shown, for guidance.
    pub drop_reference: f32,
    /// Share of clips whose latent frames do not all have one level of noise: of half of these each has
    /// its own, of the others each has the clip's or none.
    pub independent: f32,
    /// Prompts that are tried at each validation.
    pub prompts: usize,
    /// Steps of the sampler with which they are tried.
    pub sampler_steps: usize,
    /// Guidance of it.
    pub guidance: f32,
}

impl Flow {
    /// Whether its numbers make sense.
    pub(super) fn check(&self) -> Result<(), String> {
        let wrong = |field: &str, found: String, expected: String| {
            Err(format!("`flow.{field}` is {found}, expected {expected}"))
        };
        for (field, found, least, most) in [
            ("steps", self.steps, 1, MAX_STEPS),
            ("pool", self.pool as u64, 1, 1 << 32),
            ("fresh", self.fresh as u64, 0, 1 << 16),
            ("clips", self.clips as u64, 1, 1 << 16),
            ("clips_at_once", self.clips_at_once as u64, 1, 1 << 16),
            ("prompts", self.prompts as u64, 0, 1 << 16),
            ("sampler_steps", self.sampler_steps as u64, 1, 1000),
        ] {
            if !(least..=most).contains(&found) {
                return wrong(field, found.to_string(), format!("{least} to {most}"));
            }
        }
        for (field, found, least, most) in [
            ("shift", self.shift, 0.01, 100.0),
            ("drop_text", self.drop_text, 0.0, 1.0),
            ("drop_reference", self.drop_reference, 0.0, 1.0),
            ("independent", self.independent, 0.0, 1.0),
            ("guidance", self.guidance, 0.0, 100.0),
        ] {
            if !(least..=most).contains(&found) {
                return wrong(field, found.to_string(), format!("{least} to {most}"));
            }
        }
        Ok(())
    }
}
