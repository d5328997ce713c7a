//! From a request to a clip.

use crate::blocks::Block;
use crate::consistency::Report;
use crate::denoise::{Canvas, Conditions, Course, Part, Run, Watch};
use crate::denoiser::Denoiser;
use crate::judge::{Checks, Judge};
use crate::noise::Use;
use crate::plan::Memory;
use crate::repair::{self, Bench, Done};
use crate::request::{Checked, Request};
use crate::{Consistency, Error, NoiseSchedule, clip};
use media::Clip;
use models::vision::pixels::Rgb;
use tensor::Tensor;
use text::words::Words;

/// A model, its words and the memory there is.
#[derive(Clone, Copy, Debug)]
pub struct Pipeline<'a> {
    /// The model.
    pub model: &'a dyn Denoiser,
    /// The words that it knows.
    pub words: &'a Words,
    /// Bytes that a clip may take beside the weights, if anybody knows.
    pub free_bytes: Option<u64>,
}

/// A clip that was made, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The frames.
    pub clip: Clip,
    /// The seed of each block: the request's, or that of the candidate that was chosen.
    pub seeds: Vec<u64>,
    /// The candidates of each block, if there were several.
    pub candidates: Vec<Candidate>,
    /// What is wrong with frames and what was done about it, if they were looked at.
    pub report: Option<Report>,
    /// Predictions that were made, each of one sample.
    pub evaluations: usize,
}

/// A clip that was begun.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The block, from 0.
    pub block: usize,
    /// Its seed.
    pub seed: u64,
    /// How bad it promised to be midway, smaller being better: see [`Judge::early`].
    pub badness: f64,
    /// Whether it was finished.
    pub chosen: bool,
}

/// The level at which the best candidate is chosen.
const SELECT_AT: f64 = 0.5;

/// What all blocks of a clip have in common.
#[derive(Clone, Copy)]
struct Work<'a> {
    checked: &'a Checked<'a>,
    conditions: &'a Conditions,
    judge: &'a dyn Judge,
    /// Candidates that are predicted at once.
    at_once: usize,
}

impl Pipeline<'_> {
    /// The memory that `request` takes, with as many candidates at once as fit.
    ///
    /// # Errors
    ///
    /// If it is more than there is.
    pub fn plan(&self, request: &Checked<'_>) -> Result<Memory, Error> {
        let of = |at_once| Memory::of(self.model, request, at_once);
        let fits = |memory: &Memory| self.free_bytes.is_none_or(|f| memory.beside_weights() <= f);
        let candidates = request.request.candidates;
        let memory = (1..=candidates).rev().map(of).find(fits);
        memory.ok_or_else(|| Error::Memory {
            memory: of(1),
            free: self.free_bytes.unwrap_or(0),
            hint: match candidates {
                1 => "a smaller size or fewer frames",
                _ => "a smaller size, fewer frames or fewer candidates",
            },
        })
    }

    /// Makes the clip of `request`, telling `watch` of each step.
    ///
    /// # Errors
    ///
    /// If the model cannot fulfil the request, memory does not suffice, or the watch ends it.
    pub fn generate(&self, request: &Request, watch: &mut Watch<'_>) -> Result<Outcome, Error> {
        self.generate_by(request, &Checks::new(request), watch)
    }

    /// The same, selecting and repairing by what `judge` says.
    ///
    /// # Errors
    ///
    /// As [`generate`](Self::generate).
    pub fn generate_by(
        &self,
        request: &Request,
        judge: &dyn Judge,
        watch: &mut Watch<'_>,
    ) -> Result<Outcome, Error> {
        let checked = request.check(self.model.shape(), self.words)?;
        let memory = self.plan(&checked)?;
        let conditions = self.conditions(&checked);
        let [height, width] = request.size;
        let rate = self.model.shape().rate;
        let mut made = Outcome {
            clip: Clip { frames: 0, height, width, rate, rgb: Vec::new() },
            seeds: Vec::new(),
            candidates: Vec::new(),
            report: None,
            evaluations: 0,
        };
        let at_once = memory.at_once;
        let work = Work { checked: &checked, conditions: &conditions, judge, at_once };
        let mut done = Done::default();
        for i in 0..checked.blocks.len() {
            self.block(&work, i, &mut made, &mut done, watch)?;
        }
        if request.consistency != Consistency::Off {
            let Done { repairs, postprocessed } = done;
            let report = judge.report(&made.clip);
            made.report = Some(Report { repairs, postprocessed, ..report });
        }
        Ok(made)
    }

    /// What all samples are told.
    fn conditions(&self, checked: &Checked<'_>) -> Conditions {
        let request = checked.request;
        let text = self.model.encode_prompts(&[checked.prompt.clone(), checked.negative.clone()]);
        let subject = request.subject.as_ref().map(|subject| self.encode(subject, 1));
        Conditions {
            prompt: text.narrow(0, 0..1),
            negative: text.narrow(0, 1..2),
            subject,
            guidance: request.guidance,
        }
    }

    /// The latents of a picture that stands still for so many frames.
    fn encode(&self, picture: &Rgb, frames: usize) -> Tensor {
        clip::encode(self.model, &clip::still(picture, frames, self.model.shape().rate))
    }

    /// What is given of block `i`: frames of the request, and the end of what is made already.
    fn canvas(&self, checked: &Checked<'_>, i: usize, made: &Clip) -> Canvas {
        let shape = self.model.shape();
        let (request, block) = (checked.request, checked.blocks[i]);
        let frames = shape.frames_of(block.frames());
        let mut canvas = Canvas::free(shape.latents(frames, request.size), block.first);
        if block.given > 0 {
            // As pixels, so that its first latent frame is one frame alone, as in any clip.
            let frames = shape.frames_of(block.given);
            let start = made.rgb.len() - frames * made.height * made.width * 3;
            let end = Clip { frames, rgb: made.rgb[start..].to_vec(), ..*made };
            let given = clip::encode(self.model, &end);
            (0..block.given).for_each(|i| canvas.give(i, &frame_of(&given, i)));
        }
        if let (Some(picture), 0) = (&request.first_frame, block.given) {
            canvas.give(0, &frame_of(&self.encode(picture, 1), 0));
        }
        if let (Some(picture), true) = (&request.last_frame, i + 1 == checked.blocks.len()) {
            // A latent frame of several frames is one of a clip that stands still.
            let latents = self.encode(picture, 1 + shape.time);
            let last = latents.shape()[2] - 1;
            canvas.give(block.frames() - 1, &frame_of(&latents, last));
        }
        canvas
    }

    /// Makes block `i`: samples, chooses, decodes and repairs it, and adds its new frames.
    fn block(
        &self,
        work: &Work<'_>,
        i: usize,
        made: &mut Outcome,
        done: &mut Done,
        watch: &mut Watch<'_>,
    ) -> Result<(), Error> {
        let Work { checked, conditions, judge, at_once } = *work;
        let request = checked.request;
        let block = checked.blocks[i];
        let canvas = self.canvas(checked, i, &made.clip);
        let part = Part { block: i, blocks: checked.blocks.len(), repair: 0 };
        let course = Course {
            sampler: request.sampler,
            sigmas: NoiseSchedule { shift: request.shift }.sigmas(request.steps),
            uses: [Use::Start, Use::Step],
            part,
            step_offset: 0,
        };
        let seeds = (0..request.candidates as u64).map(|i| request.seed.wrapping_add(i));
        let starts = seeds.map(|seed| (seed, canvas.clone()));
        let mut run = Run::new(self.model, conditions, &course, starts);
        if request.candidates > 1 {
            run.advance(run.steps_to(SELECT_AT), at_once, watch)?;
            self.select(&mut run, i, judge, &mut made.candidates);
        }
        run.advance(run.steps(), 1, watch)?;
        made.evaluations += run.evaluations();
        let sample = &run.samples()[0];
        made.seeds.push(sample.seed);
        let new = self.new_frames(block);
        let clip = clip::decode(self.model, sample.latents(), sample.shape());
        let mut block = repair::Block {
            seed: sample.seed,
            latents: sample.latents().to_vec(),
            first_frame: made.clip.frames + new - clip.frames,
            clip,
        };
        if request.consistency == Consistency::Repair {
            let bench =
                Bench { model: self.model, conditions, judge, request, canvas: &canvas, part };
            let before = done.repairs.len();
            bench.repair(&mut block, done, watch)?;
            let repairs = done.repairs[before..].iter();
            made.evaluations += repairs.map(|repair| repair.evaluations).sum::<usize>();
        }
        append(&mut made.clip, &block.clip, new);
        Ok(())
    }

    /// Keeps the candidate that promises best.
    fn select(
        &self,
        run: &mut Run<'_>,
        block: usize,
        judge: &dyn Judge,
        told: &mut Vec<Candidate>,
    ) {
        let badness: Vec<f64> = run
            .samples()
            .iter()
            .map(|sample| {
                let preview = clip::decode(self.model, sample.clean(), sample.shape());
                judge.early(sample.clean(), sample.shape(), &preview)
            })
            .collect();
        // The first of equals; what cannot be judged comes last.
        let order = |a: &usize, b: &usize| badness[*a].total_cmp(&badness[*b]);
        let best = (0..badness.len()).min_by(order).unwrap_or(0);
        for (i, (sample, badness)) in run.samples().iter().zip(&badness).enumerate() {
            let (seed, badness) = (sample.seed, *badness);
            told.push(Candidate { block, seed, badness, chosen: i == best });
        }
        run.keep(best);
    }

    /// Frames of a block that are new.
    fn new_frames(&self, block: Block) -> usize {
        let shape = self.model.shape();
        let given = if block.given == 0 { 0 } else { shape.frames_of(block.given) };
        shape.frames_of(block.frames()) - given
    }
}

/// Adds the last `new` frames of `block` to `clip`.
fn append(clip: &mut Clip, block: &Clip, new: usize) {
    let start = (block.frames - new) * block.height * block.width * 3;
    clip.rgb.extend_from_slice(&block.rgb[start..]);
    clip.frames += new;
}

/// Latent frame `i` of the first of a batch, `[channels, height, width]`.
fn frame_of(latents: &Tensor, i: usize) -> Vec<f32> {
    latents.narrow(0, 0..1).narrow(2, i..i + 1).to_vec()
}
