//! Frames that are bad, made again from noise that is added to them; the others stay as they are.

use crate::denoise::{Canvas, Conditions, Course, Part, Run, Watch};
use crate::denoiser::{Denoiser, Shape};
use crate::judge::Judge;
use crate::noise::Use;
use crate::request::Request;
use crate::{Error, NoiseSchedule, clip};
use media::Clip;

/// The level to which bad frames are noised in each round.
const LEVELS: [f64; 2] = [0.45, 0.7];
/// Steps of rounds are counted apart, so that each has its own noise: more than a request can have.
const STEPS_OF_ROUND: u32 = 1 << 16;

/// What was done about bad frames.
#[derive(Clone, Debug, PartialEq)]
pub struct Repair {
    /// The round, from 1; 0 for what was done to pixels after the last.
    pub round: usize,
    /// The level to which frames were noised, 0 if they were not.
    pub level: f64,
    /// The frames that were made again, counted in the clip.
    pub frames: Vec<usize>,
    /// How bad the block was before.
    pub before: f64,
    /// And after.
    pub after: f64,
    /// Whether the clip has the frames as they are after it.
    pub accepted: bool,
    /// Predictions that it took.
    pub evaluations: usize,
}

impl Repair {
    /// Whether only pixels were changed, not what the model made.
    pub fn is_postprocess(&self) -> bool {
        self.round == 0
    }
}

/// A block that was made.
#[derive(Clone, Debug)]
pub struct Block {
    /// The seed that made it.
    pub seed: u64,
    /// Its latents, `[channels, frames, height, width]`.
    pub latents: Vec<f32>,
    /// Its frames.
    pub clip: Clip,
    /// The number of its first frame in the clip.
    pub first_frame: usize,
}

/// What repairing a block takes.
pub struct Bench<'a> {
    /// The model.
    pub model: &'a dyn Denoiser,
    /// What it is told.
    pub conditions: &'a Conditions,
    /// What tells bad frames.
    pub judge: &'a dyn Judge,
    /// Steps and how they are made.
    pub request: &'a Request,
    /// What was given when the block was made.
    pub canvas: &'a Canvas,
    /// Which block it is.
    pub part: Part,
}

impl std::fmt::Debug for Bench<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bench({:?})", self.part)
    }
}

impl Bench<'_> {
    /// Makes bad frames of `block` again as long as that makes it better; what was tried is told.
    ///
    /// # Errors
    ///
    /// If the watch breaks or predictions are not finite.
    pub fn repair(&self, block: &mut Block, watch: &mut Watch<'_>) -> Result<Vec<Repair>, Error> {
        let shape = self.model.shape();
        let given = self.given_frames();
        let verdict = |clip: &Clip| {
            let mut verdict = self.judge.verdict(clip);
            verdict.bad.retain(|frame| !given.contains(frame));
            verdict
        };
        let number = |frames: Vec<usize>| frames.iter().map(|f| f + block.first_frame).collect();
        let mut tried = Vec::new();
        let mut found = verdict(&block.clip);
        for (round, level) in (1..).zip(LEVELS) {
            let again = self.latent_frames(&found.bad);
            if again.is_empty() {
                break;
            }
            let mut canvas = Canvas { given: block.latents.clone(), ..self.canvas.clone() };
            canvas.keep_but(&again);
            let steps = (self.request.steps as f64 * level).ceil() as usize;
            let course = Course {
                sampler: self.request.sampler,
                sigmas: NoiseSchedule { shift: self.request.shift }.sigmas_from(level, steps),
                uses: [Use::Repair, Use::RepairStep],
                part: Part { repair: round, ..self.part },
                step_offset: round as u32 * STEPS_OF_ROUND,
            };
            let start = [(block.seed, canvas)];
            let mut run = Run::new(self.model, self.conditions, &course, start);
            run.advance(steps, 1, watch)?;
            let latents = run.samples()[0].latents();
            let clip = clip::decode(self.model, latents, self.canvas.shape);
            let frames: Vec<usize> = again.iter().flat_map(|i| frames_of(shape, *i)).collect();
            let accepted = self.judge.accepts(&block.clip, &clip, &frames);
            let after = verdict(&clip);
            tried.push(Repair {
                round,
                level,
                frames: number(frames),
                before: found.badness,
                after: after.badness,
                accepted,
                evaluations: run.evaluations(),
            });
            if accepted {
                block.latents = latents.to_vec();
                block.clip = clip;
                found = after;
            }
        }
        if found.bad.is_empty() {
            return Ok(tried);
        }
        if let Some((clip, frames)) = self.judge.photometric(&block.clip, &found.bad) {
            tried.push(Repair {
                round: 0,
                level: 0.0,
                frames: number(frames),
                before: found.badness,
                after: verdict(&clip).badness,
                accepted: true,
                evaluations: 0,
            });
            block.clip = clip;
        }
        Ok(tried)
    }

    /// Frames of the block that are given, and not to be changed.
    fn given_frames(&self) -> Vec<usize> {
        let [_, frames, ..] = self.canvas.shape;
        let given = (0..frames).filter(|i| !self.canvas.is_free(*i));
        given.flat_map(|i| frames_of(self.model.shape(), i)).collect()
    }

    /// The latent frames of bad frames, with those beside them as long as one frame stays that was made or
    /// given: what is noised must go with something.
    fn latent_frames(&self, bad: &[usize]) -> Vec<usize> {
        let [_, frames, ..] = self.canvas.shape;
        let shape = self.model.shape();
        let of_bad = |i: usize| bad.iter().any(|frame| shape.latent_frames(frame + 1) == i + 1);
        let may = |i: usize| self.canvas.is_free(i);
        let bad: Vec<usize> = (0..frames).filter(|i| may(*i) && of_bad(*i)).collect();
        let near = |i: usize| bad.iter().any(|b| b.abs_diff(i) <= 1);
        let wide: Vec<usize> = (0..frames).filter(|i| may(*i) && near(*i)).collect();
        if wide.len() < frames { wide } else { bad }
    }
}

/// The frames of latent frame `i`.
fn frames_of(shape: &Shape, i: usize) -> std::ops::Range<usize> {
    let start = if i == 0 { 0 } else { shape.frames_of(i) };
    start..shape.frames_of(i + 1)
}
