//! What tells good clips from bad ones, as sampling needs it.

use media::Clip;

/// What is said of the frames of a clip.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// How bad the clip is; 0 is faultless.
    pub badness: f64,
    /// Frames in which something is wrong, in order.
    pub bad: Vec<usize>,
}

/// Judges clips while they are made. [`crate::checks::Checks`] does so by their frames' consistency.
pub trait Judge {
    /// How bad a clip will be, told by the clean latents that a model predicts midway, `shape` being
    /// channels, frames, height and width, and by what these decode to.
    fn early(&self, clean: &[f32], shape: [usize; 4], preview: &Clip) -> f64;

    /// What is wrong with a clip.
    fn verdict(&self, clip: &Clip) -> Verdict;

    /// Whether `after`, of which `frames` were made again, is to be taken in place of `before`: these are
    /// better and their neighbours no worse.
    fn accepts(&self, before: &Clip, after: &Clip, frames: &[usize]) -> bool;

    /// The clip with brightness and contrast of bad frames brought to those of their neighbours, and
    /// which these are; nothing if that mends none.
    fn photometric(&self, clip: &Clip, bad: &[usize]) -> Option<(Clip, Vec<usize>)>;
}
