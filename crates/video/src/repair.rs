//! Frames that are wrong, made again from noise that is added to them; the others stay as they are.

use crate::consistency::Verdict;
use crate::consistency::repair::{self, Photometric};
use crate::consistency::report::Repair;
use crate::denoise::{Canvas, Conditions, Course, Part, Run, Watch};
use crate::denoiser::Denoiser;
use crate::judge::Judge;
use crate::noise::Use;
use crate::request::Request;
use crate::{Error, NoiseSchedule, clip};
use media::Clip;

/// The level to which wrong frames are noised in each round.
const LEVELS: [f64; 2] = [0.45, 0.7];
/// Steps of rounds are counted apart, so that each has its own noise: more than a request can have.
const STEPS_OF_ROUND: u32 = 1 << 16;

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

/// What was done, in frames of the clip.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Done {
    /// Frames that were made again, taken or not.
    pub repairs: Vec<Repair>,
    /// Frames of which pixels were changed.
    pub postprocessed: Vec<Photometric>,
}

/// What repairing a block takes.
#[derive(Debug)]
pub struct Bench<'a> {
    /// The model.
    pub model: &'a dyn Denoiser,
    /// What it is told.
    pub conditions: &'a Conditions,
    /// What tells wrong frames.
    pub judge: &'a dyn Judge,
    /// Steps and how they are made.
    pub request: &'a Request,
    /// What was given when the block was made.
    pub canvas: &'a Canvas,
    /// Which block it is.
    pub part: Part,
}

impl Bench<'_> {
    /// Makes wrong frames of `block` again where that makes them better; what is wrong still has its
    /// brightness corrected, if that makes it better.
    ///
    /// # Errors
    ///
    /// If the watch breaks or predictions are not finite.
    pub fn repair(
        &self,
        block: &mut Block,
        done: &mut Done,
        watch: &mut Watch<'_>,
    ) -> Result<(), Error> {
        let stride = self.model.shape().time;
        let mut verdict = self.judge.check(&block.clip);
        for (round, level) in (1..).zip(LEVELS) {
            let again = self.latent_frames(&verdict, block.clip.frames);
            if again.is_empty() {
                return Ok(());
            }
            let (latents, evaluations) = self.again(block, &again, round, level, watch)?;
            let clip = clip::decode(self.model, &latents, self.canvas.shape);
            let range = |i: &usize| repair::pixel_frames(*i, stride, clip.frames);
            let frames: Vec<usize> = again.iter().flat_map(range).collect();
            let after = self.judge.check(&clip);
            let accepted = self.judge.accepts(&verdict, &after, &frames);
            let worst = |of: &Verdict| frames.iter().map(|i| of.severity[*i]).fold(0.0, f64::max);
            done.repairs.push(Repair {
                frames: frames.iter().map(|i| i + block.first_frame).collect(),
                level: level as f32,
                before: worst(&verdict),
                after: worst(&after),
                accepted,
                evaluations,
            });
            if accepted {
                (block.latents, block.clip, verdict) = (latents, clip, after);
            }
        }
        self.correct(block, verdict, done);
        Ok(())
    }

    /// The latents of a block whose latent frames `again` were made again, and predictions that it took.
    fn again(
        &self,
        block: &Block,
        again: &[usize],
        round: usize,
        level: f64,
        watch: &mut Watch<'_>,
    ) -> Result<(Vec<f32>, usize), Error> {
        let Request { sampler, steps, shift, .. } = *self.request;
        let mut canvas = Canvas { given: block.latents.clone(), ..self.canvas.clone() };
        canvas.keep_but(again);
        let steps = (steps as f64 * level).ceil() as usize;
        let course = Course {
            sampler,
            sigmas: NoiseSchedule { shift }.sigmas_from(level, steps),
            uses: [Use::Repair, Use::RepairStep],
            part: Part { repair: round, ..self.part },
            step_offset: round as u32 * STEPS_OF_ROUND,
        };
        let mut run = Run::new(self.model, self.conditions, &course, [(block.seed, canvas)]);
        run.advance(steps, 1, watch)?;
        Ok((run.samples()[0].latents().to_vec(), run.evaluations()))
    }

    /// Corrects the brightness of frames that are wrong still.
    fn correct(&self, block: &mut Block, mut verdict: Verdict, done: &mut Done) {
        let given = self.given_frames(block.clip.frames);
        let wrong = verdict.wrong_frames();
        for frame in wrong.iter().copied().filter(|frame| !given.contains(frame)) {
            let mut clip = block.clip.clone();
            let Some(mut change) = self.judge.photometric(&mut clip, frame, &wrong) else {
                continue;
            };
            let after = self.judge.check(&clip);
            if self.judge.accepts(&verdict, &after, &[frame]) {
                change.frame = frame + block.first_frame;
                done.postprocessed.push(change);
                (block.clip, verdict) = (clip, after);
            }
        }
    }

    /// Frames of the block that are given, and not to be changed.
    fn given_frames(&self, frames: usize) -> Vec<usize> {
        let [_, latent_frames, ..] = self.canvas.shape;
        let given = (0..latent_frames).filter(|i| !self.canvas.is_free(*i));
        let stride = self.model.shape().time;
        given.flat_map(|i| repair::pixel_frames(i, stride, frames)).collect()
    }

    /// The latent frames of wrong frames, with those beside them as long as one stays: what is noised must
    /// go with something.
    fn latent_frames(&self, verdict: &Verdict, frames: usize) -> Vec<usize> {
        let stride = self.model.shape().time;
        let [_, latent_frames, ..] = self.canvas.shape;
        let given = self.given_frames(frames);
        let wrong: Vec<usize> =
            verdict.wrong_frames().into_iter().filter(|frame| !given.contains(frame)).collect();
        let mut wide = repair::latent_frames(&wrong, frames, stride);
        wide.retain(|i| self.canvas.is_free(*i));
        if wide.len() < latent_frames {
            return wide;
        }
        let mut theirs: Vec<usize> =
            wrong.iter().map(|frame| repair::latent_frame(*frame, stride)).collect();
        theirs.dedup();
        theirs
    }
}
