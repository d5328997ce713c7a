//! What tells good clips from bad ones, as sampling needs it.

use crate::consistency::frames::Frame;
use crate::consistency::latent::LatentScores;
use crate::consistency::repair::{self, Photometric};
use crate::consistency::{Options, Report, Thresholds, Verdict, check};
use crate::request::Request;
use media::Clip;
use std::fmt;

/// Judges clips while they are made.
pub trait Judge: fmt::Debug {
    /// What is wrong with a clip.
    fn check(&self, clip: &Clip) -> Verdict;

    /// All that is measured of a clip that is done.
    fn report(&self, clip: &Clip) -> Report;

    /// How bad a clip will be, smaller being better: told by the clean latents that a model predicts
    /// midway, `shape` being channels, frames, height and width, and by what these decode to.
    fn early(&self, clean: &[f32], shape: [usize; 4], preview: &Clip) -> f64;

    /// Whether a clip of which `frames` were made again is to be taken in place of the one before.
    fn accepts(&self, before: &Verdict, after: &Verdict, frames: &[usize]) -> bool;

    /// Brings the brightness of a frame to that of those around it that are not `wrong`, if that can be
    /// done.
    fn photometric(&self, clip: &mut Clip, frame: usize, wrong: &[usize]) -> Option<Photometric>;
}

/// Judges clips by the consistency of their frames.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    /// The subject, if there is one.
    reference: Option<Frame>,
}

impl Checks {
    /// For the clip of `request`.
    pub fn new(request: &Request) -> Self {
        let frame = request.subject.as_ref().map(|picture| {
            let (height, width, rgb) = (picture.height, picture.width, picture.data.clone());
            Frame::of(&Clip { frames: 1, height, width, rate: 1.0, rgb }, 0)
        });
        Self { reference: frame }
    }

    fn options(&self) -> Options<'_> {
        // Clips come from a decoder, which is not as steady as what is rendered.
        let thresholds = Thresholds::decoded();
        Options { reference: self.reference.as_ref(), thresholds, ..Options::default() }
    }
}

impl Judge for Checks {
    fn check(&self, clip: &Clip) -> Verdict {
        Verdict::of(clip, &self.options())
    }

    fn report(&self, clip: &Clip) -> Report {
        check(clip, &self.options())
    }

    /// What is unsteady in the latents, less the rank of what they decode to.
    fn early(&self, clean: &[f32], [channels, frames, ..]: [usize; 4], preview: &Clip) -> f64 {
        LatentScores::of(clean, channels, frames).unrest() - self.check(preview).rank()
    }

    fn accepts(&self, before: &Verdict, after: &Verdict, frames: &[usize]) -> bool {
        repair::accept(before, after, frames)
    }

    fn photometric(&self, clip: &mut Clip, frame: usize, wrong: &[usize]) -> Option<Photometric> {
        repair::photometric(clip, frame, wrong)
    }
}
