//! What the pipeline asks of a model.

use std::fmt;
use tensor::{Device, Tensor};

/// The sizes of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Height and width in pixels of the clips it has learned.
    pub size: [usize; 2],
    /// Frames of these.
    pub frames: usize,
    /// Frames per second.
    pub rate: f64,
    /// Pixels along each side of a picture of a subject.
    pub reference: usize,
    /// Channels of latents.
    pub channels: usize,
    /// Pixels along a side that are one latent.
    pub space: usize,
    /// Frames that are one latent frame, but for the first, which is one alone; 1 if all are.
    pub time: usize,
    /// Latent frames, rows and columns that are one row of the transformer.
    pub patch: [usize; 3],
    /// Most rows of the transformer along an axis.
    pub max_rows: usize,
    /// Most words of a prompt.
    pub max_words: usize,
}

impl Shape {
    /// Latent frames of so many frames.
    pub fn latent_frames(&self, frames: usize) -> usize {
        1 + frames.saturating_sub(1) / self.time
    }

    /// Frames of so many latent frames, 1 or more.
    pub fn frames_of(&self, latent_frames: usize) -> usize {
        1 + (latent_frames - 1) * self.time
    }

    /// Channels, frames, height and width of the latents of a clip.
    pub fn latents(&self, frames: usize, [height, width]: [usize; 2]) -> [usize; 4] {
        [self.channels, self.latent_frames(frames), height / self.space, width / self.space]
    }
}

/// A model that predicts velocities of normalized latents, and turns these into pixels and back.
///
/// Clips are `[batch, channels, frames, height, width]`, pixels from -1 to 1. What it computes for a
/// sample must not depend on the others of its batch.
pub trait Denoiser: fmt::Debug + Send + Sync {
    /// Its sizes.
    fn shape(&self) -> &Shape;

    /// Where it computes.
    fn device(&self) -> &Device;

    /// Prompts as rows, `[batch, rows, dim]`; one without words asks for nothing.
    fn encode_prompts(&self, prompts: &[Vec<u32>]) -> Tensor;

    /// The velocity `e - x0` of `latents`, for prompts and, where there is one, a clean picture of a
    /// subject for each sample, `[batch, channels, 1, height, width]`; `levels` has the level of noise,
    /// from 0 to 1, of each row of each sample, frames outermost.
    fn velocity(
        &self,
        latents: &Tensor,
        text: &Tensor,
        reference: Option<&Tensor>,
        levels: &[f32],
    ) -> Tensor;

    /// Pixels as normalized latents.
    fn encode(&self, pixels: &Tensor) -> Tensor;

    /// Normalized latents as pixels.
    fn decode(&self, latents: &Tensor) -> Tensor;

    /// Bytes that the weights take in memory.
    fn weight_bytes(&self) -> u64;

    /// Bytes that predicting takes at once, beside the weights and what it is given: for so many
    /// samples of so many rows.
    fn velocity_bytes(&self, samples: usize, rows: usize) -> u64;

    /// Bytes that decoding or encoding takes at once, for frames of so many pixels' height and width,
    /// beside the clip.
    fn codec_bytes(&self, size: [usize; 2]) -> u64;
}
