//! Clips to be judged: rendered, through the autoencoder, and generated.

use super::Arguments;
use crate::commands::video::model::Model;
use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use media::Clip;
use models::vision::pixels::Rgb;
use std::ops::ControlFlow;
use tensor::Rng;
use train::clips::Scene;
use video::{Consistency, Denoiser as _, Guidance, Nano, Pipeline, Request, Sampler};

/// Sides of rendered clips where no model says otherwise.
const SIZE: usize = 64;
/// Frames of these.
const FRAMES: usize = 9;

/// What a clip is made from beside the prompt.
#[derive(Clone, Default)]
pub(super) struct Given {
    pub(super) first: Option<Rgb>,
    pub(super) last: Option<Rgb>,
    pub(super) subject: Option<Rgb>,
}

pub(super) struct Maker<'a> {
    model: Option<&'a Model>,
    arguments: &'a Arguments,
    /// Sides of clips in pixels.
    pub(super) size: usize,
    /// Frames of clips.
    pub(super) frames: usize,
    /// Sides of pictures of subjects in pixels.
    pub(super) reference: usize,
}

impl<'a> Maker<'a> {
    pub(super) fn new(model: Option<&'a Model>, arguments: &'a Arguments) -> Self {
        let shape = model.map(|model| model.nano.shape());
        Self {
            model,
            arguments,
            size: shape.map_or(SIZE, |s| s.size[0]),
            frames: arguments.frames.unwrap_or(shape.map_or(FRAMES, |s| s.frames)),
            reference: shape.map_or(SIZE / 2, |s| s.reference),
        }
    }

    /// Clips of each row.
    pub(super) fn count(&self) -> usize {
        self.arguments.count
    }

    /// How much noise a step renews.
    pub(super) fn eta(&self) -> f64 {
        self.arguments.eta
    }

    /// What is random of clip `i`; `part` keeps tables apart.
    pub(super) fn rng(&self, part: u64, i: usize) -> Rng {
        Rng::stream(self.arguments.seed ^ (part << 32), i as u64)
    }

    pub(super) fn nano(&self) -> anyhow::Result<&'a Nano> {
        Ok(&self.model.context("there is no model, expected `--model`")?.nano)
    }

    /// Whether there is an autoencoder to look at.
    pub(super) fn has_codec(&self) -> bool {
        self.model.is_some_and(|model| model.nano.model().vae().is_some())
    }

    pub(super) fn render(&self, scene: &Scene) -> Clip {
        scene.render(self.size, self.frames)
    }

    /// What the autoencoder leaves of a clip.
    pub(super) fn through_codec(&self, clip: &Clip) -> anyhow::Result<Clip> {
        let nano = self.nano()?;
        let latents = video::clip::encode(nano, clip);
        let shape = [1, 2, 3, 4].map(|axis| latents.shape()[axis]);
        Ok(video::clip::decode(nano, &latents.to_vec(), shape))
    }

    /// A clip of a prompt.
    pub(super) fn make(
        &self,
        prompt: &str,
        seed: u64,
        eta: f64,
        given: Given,
    ) -> anyhow::Result<Clip> {
        let model = self.model.context("there is no model, expected `--model`")?;
        let shape = model.nano.shape();
        let request = Request {
            seed,
            steps: self.arguments.steps,
            sampler: Sampler::Euler { eta },
            guidance: Guidance { text: self.arguments.guidance, ..Guidance::NONE },
            frames: self.frames,
            first_frame: given.first,
            last_frame: given.last,
            subject: given.subject,
            consistency: Consistency::Off,
            ..Request::new(prompt, shape)
        };
        let pipeline = Pipeline { model: &model.nano, words: &model.words, free_bytes: None };
        let made = pipeline.generate(&request, &mut |_| ControlFlow::Continue(()));
        Ok(made.with_context(|| format!("cannot make a clip of \"{prompt}\""))?.clip)
    }
}

/// Frame `i` of a clip as a picture.
pub(super) fn picture(clip: &Clip, i: usize) -> Rgb {
    Rgb { height: clip.height, width: clip.width, data: clip.frame(i).to_vec() }
}

/// How near pixels are to what they should be, in decibels of a peak of 255.
pub(super) fn psnr(found: &[u8], expected: &[u8]) -> f64 {
    let squares = found.iter().zip(expected).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
    let mean = squares.sum::<f64>() / found.len().max(1) as f64;
    // Equal pixels are as near as rounding lets them.
    10.0 * (255.0f64.powi(2) / mean.max(1.0 / 12.0)).log10()
}

/// How far a table is.
pub(super) fn bar(name: &str, clips: usize) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta} left")?;
    Ok(ProgressBar::new(clips as u64).with_style(style).with_message(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decibels_of_known_errors() {
        assert!((psnr(&[0, 255], &[255, 0]) - 0.0).abs() < 1e-9);
        assert!((psnr(&[10; 9], &[11; 9]) - 48.13).abs() < 0.01);
        assert!((psnr(&[7; 9], &[7; 9]) - 58.92).abs() < 0.01);
    }
}
