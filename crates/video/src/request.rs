//! What is asked for, checked once.

use crate::blocks::{Block, blocks};
use crate::denoiser::Shape;
use crate::{Error, Guidance, Sampler};
use models::vision::pixels::Rgb;
use std::ops::RangeInclusive;
use text::words::Words;

/// Steps unless others are asked for.
pub const DEFAULT_STEPS: usize = 20;
/// The shift that our models are trained with.
pub const DEFAULT_SHIFT: f64 = 3.0;
/// The weight of the prompt unless another is asked for.
pub const DEFAULT_GUIDANCE: f32 = 3.0;

const STEPS: RangeInclusive<usize> = 1..=1000;
const CANDIDATES: RangeInclusive<usize> = 1..=64;
const WEIGHTS: RangeInclusive<f32> = 0.0..=100.0;
const SHIFTS: RangeInclusive<f64> = 0.01..=100.0;
/// Frames of the longest clip; at 64 x 64 pixels it takes 200 MB.
const MAX_FRAMES: usize = 1 << 14;

/// What is done about frames that are not as they should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Nothing: they are not looked at.
    Off,
    /// They are reported.
    #[default]
    Report,
    /// The best of several candidates is finished and reported.
    Select,
    /// Bad frames are made again where that makes them better, and reported.
    Repair,
}

/// A clip that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What is to be seen.
    pub prompt: String,
    /// What guidance leads away from; may be empty.
    pub negative_prompt: String,
    /// The same seed gives the same clip; candidates have the next seeds.
    pub seed: u64,
    /// Steps of sampling.
    pub steps: usize,
    /// How far levels of noise are shifted towards noise; 1 is not at all.
    pub shift: f64,
    /// How a step is made.
    pub sampler: Sampler,
    /// How much more is done of what is asked for.
    pub guidance: Guidance,
    /// Frames.
    pub frames: usize,
    /// Height and width in pixels.
    pub size: [usize; 2],
    /// The first frame, of that size.
    pub first_frame: Option<Rgb>,
    /// The last frame, of that size.
    pub last_frame: Option<Rgb>,
    /// A subject, of the size of references.
    pub subject: Option<Rgb>,
    /// Clips that are begun, of which the best is finished.
    pub candidates: usize,
    /// What is done about bad frames.
    pub consistency: Consistency,
    /// Latent frames at the end of a block that the next one of a long clip goes on from.
    pub context: usize,
}

impl Request {
    /// A clip of `prompt` as the model has learned them, everything else as it is unless asked for.
    pub fn new(prompt: impl Into<String>, shape: &Shape) -> Self {
        Self {
            prompt: prompt.into(),
            negative_prompt: String::new(),
            seed: 0,
            steps: DEFAULT_STEPS,
            shift: DEFAULT_SHIFT,
            sampler: Sampler::ODE,
            guidance: Guidance { text: DEFAULT_GUIDANCE, ..Guidance::NONE },
            frames: shape.frames,
            size: shape.size,
            first_frame: None,
            last_frame: None,
            subject: None,
            candidates: 1,
            consistency: Consistency::Report,
            // Of two a movement can be seen.
            context: shape.latent_frames(shape.frames).saturating_sub(1).clamp(1, 2),
        }
    }

    /// Whether a model of `shape` that knows `words` can fulfil it.
    ///
    /// # Errors
    ///
    /// Names the first field that it cannot, its value and the nearest that it can.
    pub fn check(&self, shape: &Shape, words: &Words) -> Result<Checked<'_>, Error> {
        let Self { steps, guidance, candidates, size, frames, .. } = *self;
        let prompt = encode("prompt", &self.prompt, shape, words)?;
        if prompt.is_empty() {
            return wrong("prompt", "empty", "words that say what is to be seen");
        }
        let negative = encode("negative_prompt", &self.negative_prompt, shape, words)?;
        within("steps", steps, STEPS)?;
        within("shift", self.shift, SHIFTS)?;
        if let Sampler::Euler { eta } = self.sampler {
            within("eta", eta, 0.0..=1.0)?;
        }
        within("guidance", guidance.text, WEIGHTS)?;
        within("image_guidance", guidance.image, WEIGHTS)?;
        if self.subject.is_none() && guidance.image != 1.0 {
            return wrong("image_guidance", guidance.image, "1 where there is no `subject`");
        }
        within("guidance_rescale", guidance.rescale, 0.0..=1.0)?;
        let [low, high] = guidance.interval;
        if !(0.0 <= low && low <= high && high <= 1.0) {
            let found = format!("{low} to {high}");
            return wrong("guidance_interval", found, "levels from 0 to 1, the lower first");
        }
        within("candidates", candidates, CANDIDATES)?;
        if candidates > 1 && !matches!(self.consistency, Consistency::Select | Consistency::Repair)
        {
            return wrong("candidates", candidates, "1 unless `consistency` selects or repairs");
        }
        self.check_frames(shape)?;
        check_size(size, shape)?;
        for (field, picture, [height, width]) in [
            ("first_frame", &self.first_frame, size),
            ("last_frame", &self.last_frame, size),
            ("subject", &self.subject, [shape.reference; 2]),
        ] {
            if let Some(picture) = picture
                && [picture.height, picture.width] != [height, width]
            {
                let found = format!("{} x {} pixels", picture.width, picture.height);
                return wrong(field, found, format!("{width} x {height}"));
            }
        }
        let most = shape.latent_frames(shape.frames);
        let total = shape.latent_frames(frames);
        if total > most && !(1..most).contains(&self.context) {
            let expected = format!("1 to {}, less than the {most} of a block", most - 1);
            return wrong("context", self.context, expected);
        }
        // A last frame next to those of the block before would leave nothing to be made between.
        let (context, last_new) = match self.last_frame {
            Some(_) => (self.context.min(most.saturating_sub(2).max(1)), 2),
            None => (self.context, 1),
        };
        let last_new = last_new.min(most.saturating_sub(context).max(1));
        Ok(Checked {
            request: self,
            prompt,
            negative,
            blocks: blocks(total, most, context, last_new),
        })
    }

    fn check_frames(&self, shape: &Shape) -> Result<(), Error> {
        let fits = |frames: usize| {
            (1..=MAX_FRAMES).contains(&frames)
                && (frames - 1).is_multiple_of(shape.time)
                && shape.latent_frames(frames).is_multiple_of(shape.patch[0])
        };
        if !fits(self.frames) {
            let nearest = nearest(self.frames.min(2 * MAX_FRAMES), fits);
            let rule = match shape.time {
                1 => format!(" (1 to {MAX_FRAMES})"),
                time => format!(" (1 more than a multiple of {time}, up to {MAX_FRAMES})"),
            };
            return wrong("frames", self.frames, nearest + &rule);
        }
        let given =
            usize::from(self.first_frame.is_some()) + usize::from(self.last_frame.is_some());
        let latent_frames = shape.latent_frames(self.frames);
        if given >= latent_frames {
            let least = shape.frames_of(given + 1);
            let expected = format!("{least} or more, so that there are some between those given");
            return wrong("frames", self.frames, expected);
        }
        Ok(())
    }
}

/// A request that a model can fulfil.
#[derive(Clone, Debug)]
pub struct Checked<'a> {
    /// It.
    pub request: &'a Request,
    /// The words of the prompt.
    pub prompt: Vec<u32>,
    /// Those of the negative prompt, which may be none.
    pub negative: Vec<u32>,
    /// What is made one after another.
    pub blocks: Vec<Block>,
}

fn encode(
    field: &'static str,
    text: &str,
    shape: &Shape,
    words: &Words,
) -> Result<Vec<u32>, Error> {
    let ids = words.encode(text).map_err(|source| Error::Words { field, source })?;
    match ids.len() > shape.max_words {
        true => {
            let expected = format!("at most {}", shape.max_words);
            wrong(field, format!("{} words", ids.len()), expected)
        }
        false => Ok(ids),
    }
}

fn check_size(size: [usize; 2], shape: &Shape) -> Result<(), Error> {
    let steps = [1, 2].map(|axis| shape.space * shape.patch[axis]);
    for ((field, found), step) in ["height", "width"].into_iter().zip(size).zip(steps) {
        let most = step * shape.max_rows;
        let fits = |side: usize| side > 0 && side.is_multiple_of(step) && side <= most;
        if !fits(found) {
            let rule = format!(" (a multiple of {step}, up to {most})");
            return wrong(field, found, nearest(found.min(2 * most), fits) + &rule);
        }
    }
    Ok(())
}

/// The nearest numbers below and above that fit.
fn nearest(found: usize, fits: impl Fn(usize) -> bool) -> String {
    let below = (0..found).rev().find(|n| fits(*n));
    let above = (found + 1..=found + (1 << 16)).find(|n| fits(*n));
    match (below, above) {
        (Some(below), Some(above)) => format!("{below} or {above}"),
        (Some(n), None) | (None, Some(n)) => n.to_string(),
        (None, None) => "another number".to_owned(),
    }
}

fn within<T>(field: &'static str, found: T, range: RangeInclusive<T>) -> Result<(), Error>
where
    T: PartialOrd + std::fmt::Display,
{
    match range.contains(&found) {
        true => Ok(()),
        false => wrong(field, found, format!("{} to {}", range.start(), range.end())),
    }
}

fn wrong<T>(
    field: &'static str,
    found: impl std::fmt::Display,
    expected: impl Into<String>,
) -> Result<T, Error> {
    Err(Error::Request { field, found: found.to_string(), expected: expected.into() })
}
