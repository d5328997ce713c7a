//! The memory that a clip takes, told before it is begun.

use crate::denoiser::Denoiser;
use crate::request::Checked;
use std::fmt;

/// Bytes at the most, by what they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The model's weights.
    pub weights: u64,
    /// Latents of all candidates, and what predicting takes at once.
    pub predicting: u64,
    /// What turning latents of a block into pixels takes at once, or pixels into latents.
    pub decoding: u64,
    /// The clip.
    pub clip: u64,
    /// Candidates that are predicted at once.
    pub at_once: usize,
}

impl Memory {
    /// What `request` takes if `at_once` candidates are predicted at once.
    pub fn of(model: &dyn Denoiser, request: &Checked<'_>, at_once: usize) -> Self {
        let shape = model.shape();
        let asked = request.request;
        let [height, width] = asked.size;
        let most = request.blocks.iter().map(|block| block.frames()).max().unwrap_or(1);
        let latents = shape.latents(shape.frames_of(most), asked.size);
        let [t, h, w] = shape.patch;
        let rows = (latents[1] / t) * (latents[2] / h) * (latents[3] / w);
        // With and without the prompt.
        let branches = 2;
        let bytes = |n: usize| 4 * n as u64;
        // Latents, clean latents, those of the step before, noise and velocities.
        let kept = 6 * bytes(latents.iter().product()) * asked.candidates as u64;
        let pixels = shape.frames_of(most) * height * width * 3;
        Self {
            weights: model.weight_bytes(),
            predicting: kept + model.velocity_bytes(branches * at_once, rows),
            decoding: model.codec_bytes(asked.size) + 2 * bytes(pixels),
            clip: 2 * (asked.frames * height * width * 3) as u64,
            at_once,
        }
    }

    /// All of it: predicting and decoding take turns.
    pub fn total(&self) -> u64 {
        self.weights + self.beside_weights()
    }

    /// All but the weights, for who has loaded the model already.
    pub fn beside_weights(&self) -> u64 {
        self.predicting.max(self.decoding) + self.clip
    }
}

/// What has to fit beside the weights, which are there already.
impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = mb(self.beside_weights());
        let [predicting, decoding, clip] = [self.predicting, self.decoding, self.clip].map(mb);
        write!(
            f,
            "the clip needs {all} beside the weights ({predicting} for predicting or {decoding} for \
             decoding, and {clip} for frames)"
        )
    }
}

/// Bytes in the unit of messages.
pub(crate) fn mb(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
