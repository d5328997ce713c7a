//! The loop: from noise to clean latents, step by step.

use crate::denoiser::Denoiser;
use crate::guidance::{Guidance, Weights};
use crate::noise::{self, Place, Use};
use crate::sampler::{Sampler, Solver, Step, predict_clean};
use crate::{Error, clip};
use media::Clip;
use std::ops::ControlFlow;
use std::sync::Arc;
use tensor::Tensor;

/// What all samples are told; each tensor is of one sample.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// The rows of the prompt, `[1, rows, dim]`.
    pub prompt: Tensor,
    /// Those of the negative prompt.
    pub negative: Tensor,
    /// Clean latents of a subject, `[1, channels, 1, height, width]`.
    pub subject: Option<Tensor>,
    /// How much more is done of what is asked for.
    pub guidance: Guidance,
}

/// Latents of one clip and which of them are given.
#[derive(Clone, Debug)]
pub struct Canvas {
    /// Channels, frames, height and width.
    pub shape: [usize; 4],
    /// The first latent frame's number in the whole clip: noise depends on it.
    pub first_frame: usize,
    /// Clean latents where they are given, `[channels, frames, height, width]`.
    pub given: Vec<f32>,
    /// Of each position, `[frames, height, width]`, whether it is to be made. Rows of the transformer are
    /// made as a whole.
    pub free: Arc<[bool]>,
}

impl Canvas {
    /// All of it free.
    pub fn free(shape: [usize; 4], first_frame: usize) -> Self {
        let given = vec![0.0; shape.iter().product()];
        let free = vec![true; shape[1..].iter().product()].into();
        Self { shape, first_frame, given, free }
    }

    /// Gives frame `i` the latents `frame: [channels, height, width]`.
    ///
    /// # Panics
    ///
    /// If there is no such frame or it is of another shape.
    pub fn give(&mut self, i: usize, frame: &[f32]) {
        let [channels, frames, height, width] = self.shape;
        let plane = height * width;
        assert!(i < frames && frame.len() == channels * plane, "frame {i} of {:?}", self.shape);
        for (channel, values) in frame.chunks(plane).enumerate() {
            let at = (channel * frames + i) * plane;
            self.given[at..at + plane].copy_from_slice(values);
        }
        let at = i * plane;
        let free = (0..self.free.len()).map(|p| self.free[p] && !(at..at + plane).contains(&p));
        self.free = free.collect();
    }

    /// Whether any of frame `i` is to be made.
    ///
    /// # Panics
    ///
    /// If there is no such frame.
    pub fn is_free(&self, i: usize) -> bool {
        let plane = self.shape[2] * self.shape[3];
        self.free[i * plane..(i + 1) * plane].contains(&true)
    }

    /// Gives all frames but `again` what they have; of these what was given stays given.
    pub fn keep_but(&mut self, again: &[usize]) {
        let plane = self.shape[2] * self.shape[3];
        let free = self.free.iter().enumerate();
        self.free = free.map(|(p, free)| *free && again.contains(&(p / plane))).collect();
    }

    fn positions(&self) -> usize {
        self.free.len()
    }
}

/// How sampling goes.
#[derive(Clone, Debug)]
pub struct Course {
    /// How a step is made.
    pub sampler: Sampler,
    /// The levels, from the first down to 0.
    pub sigmas: Vec<f64>,
    /// What the first noise is for, and that of the steps.
    pub uses: [Use; 2],
    /// What it makes.
    pub part: Part,
    /// Added to the number of a step where noise is drawn, so that repeated repairs draw anew.
    pub step_offset: u32,
}

/// One clip on its way.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Decides its noise.
    pub seed: u64,
    canvas: Canvas,
    x: Vec<f32>,
    solver: Solver,
    clean: Vec<f32>,
}

impl Sample {
    /// The latents as the last step left them, `[channels, frames, height, width]`.
    pub fn latents(&self) -> &[f32] {
        &self.x
    }

    /// The clean latents that the last prediction says.
    pub fn clean(&self) -> &[f32] {
        &self.clean
    }

    /// Channels, frames, height and width.
    pub fn shape(&self) -> [usize; 4] {
        self.canvas.shape
    }
}

/// What is being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The block, from 0.
    pub block: usize,
    /// How many there are.
    pub blocks: usize,
    /// The round of repair, from 1; 0 while the block is made.
    pub repair: usize,
}

/// A step that was made.
#[derive(Debug)]
pub struct Progress<'a> {
    /// What it is a step of.
    pub part: Part,
    /// Steps made of this course, from 1.
    pub step: usize,
    /// How many there are.
    pub steps: usize,
    /// The level now.
    pub level: f64,
    model: &'a dyn Denoiser,
    samples: &'a [Sample],
}

impl Progress<'_> {
    /// Samples that are on their way.
    pub fn candidates(&self) -> usize {
        self.samples.len()
    }

    /// How much of the clip is made, from 0 to 1; repairs do not count.
    pub fn fraction(&self) -> f64 {
        let Part { block, blocks, repair } = self.part;
        let done = if repair > 0 { 1.0 } else { self.step as f64 / self.steps as f64 };
        (block as f64 + done) / blocks as f64
    }

    /// What the first sample would be if it were finished now; this decodes.
    pub fn preview(&self) -> Clip {
        let sample = &self.samples[0];
        clip::decode(self.model, &sample.clean, sample.shape())
    }
}

/// Told after each step; breaking ends the work.
pub type Watch<'a> = dyn FnMut(&Progress<'_>) -> ControlFlow<()> + 'a;

/// Samples that go through the same levels.
#[derive(Debug)]
pub struct Run<'a> {
    conditions: &'a Conditions,
    course: &'a Course,
    model: &'a dyn Denoiser,
    samples: Vec<Sample>,
    step: usize,
    evaluations: usize,
}

impl<'a> Run<'a> {
    /// Samples at the first level: what is free has noise added to what is given there, which is
    /// nothing where sampling begins from noise alone.
    pub fn new(
        model: &'a dyn Denoiser,
        conditions: &'a Conditions,
        course: &'a Course,
        starts: impl IntoIterator<Item = (u64, Canvas)>,
    ) -> Self {
        let start = course.sigmas[0];
        let sample = |(seed, canvas): (u64, Canvas)| {
            let z = draw(seed, course.uses[0], course.step_offset, &canvas);
            let positions = canvas.positions();
            let noised = |(i, (clean, z)): (usize, (&f32, &f32))| {
                let s = if canvas.free[i % positions] { start } else { 0.0 };
                ((1.0 - s) * f64::from(*clean) + s * f64::from(*z)) as f32
            };
            let x: Vec<f32> = canvas.given.iter().zip(&z).enumerate().map(noised).collect();
            Sample { seed, clean: x.clone(), x, solver: Solver::new(course.sampler), canvas }
        };
        let samples = starts.into_iter().map(sample).collect();
        Self { conditions, course, model, samples, step: 0, evaluations: 0 }
    }

    /// The samples.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Predictions made so far, each of one sample.
    pub fn evaluations(&self) -> usize {
        self.evaluations
    }

    /// Ends all samples but the `i`-th.
    ///
    /// # Panics
    ///
    /// If there is no such sample.
    pub fn keep(&mut self, i: usize) {
        self.samples.swap(0, i);
        self.samples.truncate(1);
    }

    /// The number of the first step after which the level is at most `level`, but for rounding.
    pub fn steps_to(&self, level: f64) -> usize {
        let sigmas = &self.course.sigmas;
        (1..sigmas.len()).find(|&i| sigmas[i] <= level + 1e-9).unwrap_or(sigmas.len() - 1)
    }

    /// Steps until `until` of them are made; so many samples are predicted at once.
    ///
    /// # Errors
    ///
    /// If the watch breaks, or predictions are not finite.
    pub fn advance(
        &mut self,
        until: usize,
        at_once: usize,
        watch: &mut Watch<'_>,
    ) -> Result<(), Error> {
        let steps = self.course.sigmas.len() - 1;
        while self.step < until.min(steps) {
            let [s, next] = [0, 1].map(|i| self.course.sigmas[self.step + i]);
            for i in (0..self.samples.len()).step_by(at_once.max(1)) {
                let end = self.samples.len().min(i + at_once.max(1));
                self.step_some(i..end, [s, next])?;
            }
            self.step += 1;
            let progress = Progress {
                part: self.course.part,
                step: self.step,
                steps,
                level: next,
                model: self.model,
                samples: &self.samples,
            };
            if watch(&progress).is_break() {
                return Err(Error::Cancelled);
            }
        }
        Ok(())
    }

    /// The last step.
    pub fn steps(&self) -> usize {
        self.course.sigmas.len() - 1
    }

    fn step_some(
        &mut self,
        range: std::ops::Range<usize>,
        [s, next]: [f64; 2],
    ) -> Result<(), Error> {
        let has_subject = self.conditions.subject.is_some();
        let weights = self.conditions.guidance.weights(s, has_subject);
        let velocities = self.velocities(range.clone(), s, weights);
        for (sample, velocity) in self.samples[range].iter_mut().zip(velocities) {
            if !velocity.iter().all(|v| v.is_finite()) {
                let (step, steps) = (self.step + 1, self.course.sigmas.len() - 1);
                return Err(Error::NotFinite { step, steps });
            }
            let levels = |s: f64| -> Vec<f64> {
                sample.canvas.free.iter().map(|free| if *free { s } else { 0.0 }).collect()
            };
            let (now, next) = (levels(s), levels(next));
            let noise = match self.course.sampler.is_stochastic() {
                true => {
                    let step = self.course.step_offset + self.step as u32;
                    draw(sample.seed, self.course.uses[1], step, &sample.canvas)
                }
                false => Vec::new(),
            };
            sample.clean = predict_clean(&sample.x, &velocity, &now);
            let step = Step { now: &now, next: &next, noise: &noise, clean: &sample.clean };
            sample.solver.step(&mut sample.x, &velocity, step);
        }
        Ok(())
    }

    /// The guided velocities of some samples, `[channels, positions]` each.
    fn velocities(
        &mut self,
        range: std::ops::Range<usize>,
        s: f64,
        weights: Weights,
    ) -> Vec<Vec<f32>> {
        let Conditions { prompt, negative, subject, guidance } = self.conditions;
        let n = range.len();
        let samples = &self.samples[range];
        let device = self.model.device();
        let shape = samples[0].shape();
        let len: usize = shape.iter().product();
        let x = samples.iter().flat_map(|sample| sample.x.iter().copied()).collect();
        let x = Tensor::new(device, &[&[n][..], &shape].concat(), x);
        let patch = self.model.shape().patch;
        let levels: Vec<f32> =
            samples.iter().flat_map(|sample| row_levels(&sample.canvas, patch, s)).collect();
        // All prompts of one call, with the subject or without: those need sequences of other lengths.
        let mut predict = |texts: &[&Tensor], subject: Option<&Tensor>| -> Vec<Vec<f32>> {
            let branches = texts.len();
            self.evaluations += branches * n;
            let text: Vec<Tensor> = texts.iter().map(|text| text.repeat(0, n)).collect();
            let text = Tensor::cat(&text.iter().collect::<Vec<_>>(), 0);
            let subject = subject.map(|subject| subject.repeat(0, branches * n));
            let x = Tensor::cat(&vec![&x; branches], 0);
            let levels = levels.repeat(branches);
            let v = self.model.velocity(&x, &text, subject.as_ref(), &levels).to_vec();
            v.chunks(n * len).map(<[f32]>::to_vec).collect()
        };
        let parts: Vec<(f32, Vec<f32>)> = match subject {
            None => {
                let asked = [(weights.full, prompt), (weights.plain, negative)];
                let asked: Vec<_> = asked.into_iter().filter(|(w, _)| *w != 0.0).collect();
                let texts: Vec<&Tensor> = asked.iter().map(|(_, text)| *text).collect();
                let weights = asked.iter().map(|(w, _)| *w);
                weights.zip(predict(&texts, None)).collect()
            }
            Some(_) => {
                let asked = [(weights.full, prompt), (weights.subject, negative)];
                let asked: Vec<_> = asked.into_iter().filter(|(w, _)| *w != 0.0).collect();
                let texts: Vec<&Tensor> = asked.iter().map(|(_, text)| *text).collect();
                let mut parts: Vec<(f32, Vec<f32>)> = Vec::new();
                if !texts.is_empty() {
                    let predicted = predict(&texts, subject.as_ref());
                    parts.extend(asked.iter().map(|(w, _)| *w).zip(predicted));
                }
                if weights.plain != 0.0 {
                    parts
                        .extend(predict(&[negative], None).into_iter().map(|v| (weights.plain, v)));
                }
                parts
            }
        };
        let free = |sample: &Sample, i: usize| sample.canvas.free[i % sample.canvas.positions()];
        let guided = |(i, sample): (usize, &Sample)| {
            let of_sample = |part: &'_ [f32]| part[i * len..(i + 1) * len].to_vec();
            if let [(1.0, only)] = &parts[..] {
                return of_sample(only);
            }
            let mut sum = vec![0f64; len];
            for (weight, part) in &parts {
                let part = &part[i * len..(i + 1) * len];
                sum.iter_mut().zip(part).for_each(|(sum, v)| *sum += f64::from(weight * v));
            }
            let mut guided: Vec<f32> = sum.into_iter().map(|sum| sum as f32).collect();
            if weights.full != 0.0 {
                let full = &parts[0].1[i * len..(i + 1) * len];
                guidance.rescale(&mut guided, full, |i| free(sample, i));
            }
            guided
        };
        samples.iter().enumerate().map(guided).collect()
    }
}

/// Noise for all of a canvas.
fn draw(seed: u64, of: Use, step: u32, canvas: &Canvas) -> Vec<f32> {
    let [channels, frames, height, width] = canvas.shape;
    let place = Place { seed, of, step, frame: canvas.first_frame as u32 };
    noise::of_clip(place, [channels, frames, height * width])
}

/// The level of each row of the transformer where that of what is free is `s`.
fn row_levels(canvas: &Canvas, patch: [usize; 3], s: f64) -> impl Iterator<Item = f32> {
    let [_, frames, height, width] = canvas.shape;
    let [t, h, w] = patch;
    let corners = (0..frames).step_by(t).flat_map(move |f| {
        let rows = (0..height).step_by(h);
        rows.flat_map(move |y| (0..width).step_by(w).map(move |x| (f * height + y) * width + x))
    });
    let free = Arc::clone(&canvas.free);
    corners.map(move |at| if free[at] { s as f32 } else { 0.0 })
}
