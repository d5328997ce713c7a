//! Clips as latents, each made once.

use super::draw::Sample;
use crate::clips::{Scene, Split, Task};
use media::Clip;
use models::video::NanoVideo;
use models::video::nano::config::NanoConfig;
use std::collections::HashMap;
use tensor::{Device, Rng, Tensor};

/// Clips that are encoded at once.
const AT_ONCE: usize = 8;
/// The streams of numbers that scenes are drawn from: no step's.
const SCENES: u64 = 1 << 60;

/// Latents of the clips that have been asked for so far. What they are depends on their number only,
/// so a run that is resumed makes the same again.
#[derive(Debug)]
pub(super) struct Pool {
    seed: u64,
    /// Pixels along each side of clips and of references, and frames.
    size: usize,
    reference_pixels: usize,
    frames: usize,
    /// Channels, frames, height and width of the latents.
    shape: [usize; 4],
    reference_size: [usize; 2],
    clips: HashMap<usize, Vec<f32>>,
    /// The last latent frame of a clip that stands still as the last frame: all that is known of where
    /// only that one is given.
    last: HashMap<usize, Vec<f32>>,
    references: HashMap<usize, Vec<f32>>,
}

/// Scene `index` of the pool of a seed, and whether it has a subject.
pub(super) fn scene(seed: u64, index: usize) -> (bool, Scene) {
    let mut rng = Rng::stream(seed, SCENES + index as u64);
    let task = Task::draw(&mut rng);
    (task.has_reference(), task.scene(&mut rng, Split::Train))
}

impl Pool {
    pub(super) fn new(config: &NanoConfig, seed: u64) -> Self {
        let reference = config.latent_shape([1, config.reference_size, config.reference_size]);
        Self {
            seed,
            size: config.height,
            reference_pixels: config.reference_size,
            frames: config.frames,
            shape: config.latent_shape([config.frames, config.height, config.width]),
            reference_size: [reference[2], reference[3]],
            clips: HashMap::new(),
            last: HashMap::new(),
            references: HashMap::new(),
        }
    }

    /// Channels, frames, height and width of latents.
    pub(super) fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// Height and width of the latents of a reference.
    pub(super) fn reference_size(&self) -> [usize; 2] {
        self.reference_size
    }

    /// Drops clips with smaller numbers.
    pub(super) fn forget_before(&mut self, oldest: usize) {
        for known in [&mut self.clips, &mut self.last, &mut self.references] {
            known.retain(|index, _| *index >= oldest);
        }
    }

    /// Makes what `samples` need and is not there yet.
    pub(super) fn prepare(&mut self, model: &NanoVideo, device: &Device, samples: &[Sample]) {
        let (seed, size, frames) = (self.seed, self.size, self.frames);
        let scene = |index: usize| scene(seed, index).1;
        let all = samples.iter().map(|sample| sample.index);
        fill(&mut self.clips, all, model, device, |index| scene(index).render(size, frames));
        let with_last = samples.iter().filter(|sample| sample.task.has_last());
        // A latent frame after the first is of several frames.
        let still = frames.min(1 + frames.saturating_sub(1) / (self.shape[1].max(2) - 1));
        fill(&mut self.last, with_last.map(|sample| sample.index), model, device, |index| {
            let clip = scene(index).render(size, frames);
            let frame = clip.rgb.len() / frames;
            let rgb = clip.rgb[(frames - 1) * frame..].repeat(still);
            Clip { frames: still, rgb, ..clip }
        });
        let with_reference = samples.iter().filter(|sample| sample.reference);
        let pixels = self.reference_pixels;
        fill(
            &mut self.references,
            with_reference.map(|sample| sample.index),
            model,
            device,
            |index| scene(index).reference(pixels),
        );
    }

    /// The latents of a clip, `[channels, frames, height, width]`; the last frame as it is given.
    pub(super) fn clip(&self, index: usize, last_is_given: bool) -> Vec<f32> {
        let mut clip = self.clips[&index].clone();
        if last_is_given {
            let [channels, frames, height, width] = self.shape;
            let (area, last) = (height * width, &self.last[&index]);
            let still = last.len() / channels / area;
            for channel in 0..channels {
                let to = (channel * frames + frames - 1) * area;
                let from = (channel * still + still - 1) * area;
                clip[to..to + area].copy_from_slice(&last[from..from + area]);
            }
        }
        clip
    }

    /// The latents of a reference, `[channels, 1, height, width]`.
    pub(super) fn reference(&self, index: usize) -> &[f32] {
        &self.references[&index]
    }
}

/// Makes latents of those of `indices` that are not in `known`.
fn fill(
    known: &mut HashMap<usize, Vec<f32>>,
    indices: impl Iterator<Item = usize>,
    model: &NanoVideo,
    device: &Device,
    clip: impl Fn(usize) -> Clip,
) {
    let mut missing: Vec<usize> = indices.filter(|index| !known.contains_key(index)).collect();
    missing.sort_unstable();
    missing.dedup();
    for indices in missing.chunks(AT_ONCE) {
        let clips: Vec<Clip> = indices.iter().map(|index| clip(*index)).collect();
        let shape = [clips.len(), 3, clips[0].frames, clips[0].height, clips[0].width];
        let pixels = clips.iter().flat_map(Clip::channels_first).collect();
        let latents = model.to_latents(&Tensor::new(device, &shape, pixels)).to_vec();
        let len = latents.len() / indices.len();
        known.extend(indices.iter().copied().zip(latents.chunks_exact(len).map(<[f32]>::to_vec)));
    }
}
