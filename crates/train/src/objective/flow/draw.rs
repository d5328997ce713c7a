//! What a step draws: clips, tasks, captions, levels of noise and the noise.

use super::pool::scene;
use crate::clips::{Task, tokenizer};
use crate::recipe::Flow;
use models::video::nano::config::NanoConfig;
use std::sync::Arc;
use tensor::Rng;
use text::words::Words;

/// A clip of the pool as it is learned from once.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Which of the pool.
    pub(super) index: usize,
    pub(super) task: Task,
    /// Words of the caption; none if it is not told.
    pub(super) prompt: Vec<u32>,
    /// Whether the reference is shown.
    pub(super) reference: bool,
    /// The level of noise of each latent frame; 0 for what is given.
    pub(super) levels: Vec<f32>,
    /// Standard normal, `[channels, frames, height, width]`.
    pub(super) noise: Vec<f32>,
}

/// How samples are drawn.
#[derive(Clone, Debug)]
pub(super) struct Drawing {
    section: Flow,
    words: Arc<Words>,
    seed: u64,
    shape: [usize; 4],
    rows_of_frame: usize,
}

impl Drawing {
    pub(super) fn new(section: &Flow, config: &NanoConfig, seed: u64) -> Self {
        let shape = config.latent_shape([config.frames, config.height, config.width]);
        let [_, height, width] = config.transformer.grid([shape[1], shape[2], shape[3]]);
        let (section, words) = (section.clone(), Arc::new(tokenizer()));
        Self { section, words, seed, shape, rows_of_frame: height * width }
    }

    /// Rows of the transformer that a latent frame is.
    pub(super) fn rows_of_frame(&self) -> usize {
        self.rows_of_frame
    }

    /// Channels, frames, height and width of latents.
    pub(super) fn shape(&self) -> [usize; 4] {
        self.shape
    }

    pub(super) fn words(&self) -> &Words {
        &self.words
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// The samples of a step.
    pub(super) fn step(&self, step: u64) -> Vec<Sample> {
        self.samples(self.section.clips, step, self.oldest(step))
    }

    /// The first clip of the pool of a step.
    pub(super) fn oldest(&self, step: u64) -> usize {
        self.section.fresh * step as usize
    }

    /// `count` samples of a stream of numbers, of clips from number `oldest` on.
    pub(super) fn samples(&self, count: usize, stream: u64, oldest: usize) -> Vec<Sample> {
        let mut rng = Rng::stream(self.seed, stream);
        (0..count).map(|_| self.sample(oldest, &mut rng)).collect()
    }

    fn sample(&self, oldest: usize, rng: &mut Rng) -> Sample {
        let index = oldest + rng.below(self.section.pool);
        let (is_subject, scene) = scene(self.seed, index);
        let task = loop {
            let task = Task::draw(rng);
            if task.has_reference() == is_subject {
                break task;
            }
        };
        let caption = scene.caption(rng);
        let is_told = !rng.chance(self.section.drop_text);
        // Captions are of words that the tokenizer knows: those of the same module.
        let prompt =
            if is_told { self.words.encode(&caption).unwrap_or_default() } else { Vec::new() };
        let reference = is_subject && !rng.chance(self.section.drop_reference);
        let levels = self.levels(task, rng);
        let noise = (0..self.shape.iter().product()).map(|_| rng.normal()).collect();
        Sample { index, task, prompt, reference, levels, noise }
    }

    /// Levels of latent frames, at least one of them above 0.
    fn levels(&self, task: Task, rng: &mut Rng) -> Vec<f32> {
        let frames = self.shape[1];
        let common = self.level(rng);
        let mut levels = vec![common; frames];
        if rng.chance(self.section.independent) {
            if rng.chance(0.5) {
                levels.fill_with(|| self.level(rng));
            } else {
                levels.iter_mut().for_each(|s| *s = if rng.chance(0.5) { 0.0 } else { *s });
            }
        }
        if task.has_first() {
            levels[0] = 0.0;
        }
        if task.has_last() {
            levels[frames - 1] = 0.0;
        }
        if levels.iter().all(|s| *s == 0.0) {
            levels[frames / 2] = common;
        }
        levels
    }

    /// Logit-normal, shifted.
    fn level(&self, rng: &mut Rng) -> f32 {
        let s = 1.0 / (1.0 + (-rng.normal()).exp());
        let shift = self.section.shift;
        (shift * s / (1.0 + (shift - 1.0) * s)).clamp(1e-4, 1.0)
    }
}
