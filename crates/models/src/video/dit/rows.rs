//! The rows of a sequence: what each is, where it stands and what it is told.

use super::DitInput;
use super::config::{DitConfig, RopeConfig, TextPlacement};
use std::collections::BTreeMap;
use std::ops::Range;
use tensor::{Angles, Device, Tensor};

/// Base of the frequencies of places: pictures are few rows wide.
const PLACE_THETA: f64 = 100.0;
/// Largest value that a place adds.
const PLACE_SCALE: f64 = 0.5;

/// The rows of each sample: the prompt's if it is packed, a reference's, the clip's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    text: usize,
    /// Frames, height and width of a reference; 0 if there is none.
    reference: [usize; 3],
    /// Position in time of the clip's first frame.
    start: usize,
    grid: [usize; 3],
}

/// What modulations are made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) time: f32,
    pub(crate) guidance: f32,
    /// Whose prompt, where that counts.
    pub(crate) sample: usize,
}

/// What a row is told: which of the pairs, and its kind: 0 is video, the last text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) pair: usize,
    pub(super) modality: usize,
}

/// What all rows of a batch are told.
pub(super) struct AllTold {
    pub(super) pairs: Vec<Pair>,
    /// Of each row.
    pub(super) groups: Vec<Told>,
}

impl Rows {
    /// Of a prompt `[batch, rows, _]`, latents of a reference and a clip's grid of patches.
    pub(super) fn new(
        config: &DitConfig,
        text: &Tensor,
        reference: Option<&Tensor>,
        grid: [usize; 3],
    ) -> Self {
        let text = match config.text.placement {
            TextPlacement::Cross => 0,
            TextPlacement::Packed => text.shape()[1],
        };
        let size = |x: &Tensor| [2, 3, 4].map(|axis| x.shape()[axis]);
        let reference = reference.map_or([0; 3], |reference| config.grid(size(reference)));
        Self { text, reference, start: text + config.reference_frames, grid }
    }

    /// Rows of a sample.
    pub(super) fn len(&self) -> usize {
        self.given() + self.grid.iter().product::<usize>()
    }

    /// Those of prompt and reference.
    fn given(&self) -> usize {
        self.text + self.reference.iter().product::<usize>()
    }

    /// Those of the clip.
    pub(super) fn video(&self) -> Range<usize> {
        self.given()..self.len()
    }

    /// The prompt's rows stand along the first axis, at the origin of the others; reference and clip
    /// are grids that come after them in time.
    pub(super) fn angles(&self, rope: &RopeConfig) -> Angles {
        let text = (0..self.text).map(|row| [row as f64, 0.0, 0.0]);
        let grid = |start: usize, grid| places(start as f64, grid, rope.spacing);
        let positions =
            text.chain(grid(self.text, self.reference)).chain(grid(self.start, self.grid));
        let angles = positions.flat_map(|position| {
            (0..3).flat_map(move |axis| {
                let dim = rope.dims[axis];
                (0..dim / 2).map(move |i| {
                    let frequency = 1.0 / rope.theta.powf(2.0 * i as f64 / dim as f64);
                    position[axis] * frequency
                })
            })
        });
        Angles::new(rope.dims.iter().sum::<usize>() / 2, angles)
    }

    /// What the places of the rows of latents add to them, `[reference and clip, hidden_size]`: along
    /// each axis sines and cosines in a third of the features; the clip begins at 0.
    pub(super) fn places(&self, device: &Device, config: &DitConfig) -> Tensor {
        let hidden_size = config.hidden_size;
        let grid = |start: f64, grid| places(start, grid, config.rope.spacing);
        let pairs = hidden_size / 6;
        let data = grid(-1.0, self.reference).chain(grid(0.0, self.grid)).flat_map(|place| {
            (0..hidden_size).map(move |feature| {
                let (axis, pair) = (feature / (2 * pairs), feature % (2 * pairs) / 2);
                if axis > 2 {
                    return 0.0;
                }
                let angle = place[axis] * PLACE_THETA.powf(-(pair as f64) / pairs as f64);
                let wave = if feature % 2 == 0 { angle.sin() } else { angle.cos() };
                (PLACE_SCALE * wave) as f32
            })
        });
        let data: Vec<f32> = data.collect();
        Tensor::new(device, &[data.len() / hidden_size, hidden_size], data)
    }

    /// What rows are told: those that are given have time 0, and equal pairs are made once.
    pub(super) fn told(&self, config: &DitConfig, input: &DitInput) -> AllTold {
        let (mut known, mut pairs, mut groups) = (BTreeMap::new(), Vec::new(), Vec::new());
        let batch = input.batch();
        let per_sample = input.times.len() / batch.max(1);
        for (sample, row) in (0..batch).flat_map(|i| (0..self.len()).map(move |row| (i, row))) {
            let time = match row.checked_sub(self.given()) {
                Some(token) => input.times[sample * per_sample + token.min(per_sample - 1)],
                None => 0.0,
            };
            let guidance = input.guidance.as_ref().map_or(0.0, |guidance| guidance[sample]);
            let whose = if config.text.pooled { sample } else { 0 };
            let key = (time.to_bits(), guidance.to_bits(), whose);
            let pair = *known.entry(key).or_insert_with(|| {
                pairs.push(Pair { time, guidance, sample: whose });
                pairs.len() - 1
            });
            groups.push(Told { pair, modality: self.modality(config, row) });
        }
        AllTold { pairs, groups }
    }

    fn modality(&self, config: &DitConfig, row: usize) -> usize {
        match row {
            row if row < self.text => config.modalities - 1,
            row if row < self.given() && config.modalities == 3 => 1,
            _ => 0,
        }
    }
}

/// Where the rows of a grid stand that begins at `start` in time.
fn places(
    start: f64,
    [frames, height, width]: [usize; 3],
    [time, down, right]: [f64; 3],
) -> impl Iterator<Item = [f64; 3]> {
    (0..frames * height * width).map(move |i| {
        let (frame, row, column) = (i / width / height, i / width % height, i % width);
        [start + frame as f64 * time, row as f64 * down, column as f64 * right]
    })
}
