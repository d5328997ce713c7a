//! What a picture's places show, said by a product of a hidden state: a gradient for each patch, beside
//! that of the transcript. What came of it is in docs/perf/LOG.md, 2026-11-28.

use super::Sums;
use super::tower::Drawn;
use crate::recipe::Marked;
use crate::senses::pictures::{HUES, Label, NUMBERS, WHATS};
use tensor::{CrossEntropy, Device, Precision, Rng, Tensor, Weight};

/// Weight of a patch that shows nothing; that of another is 1.
const NOTHING: f32 = 0.15;
/// Parts of a [`Label`]: the names of their heads, and how many values they have.
const PARTS: [(&str, usize); 3] =
    [("marks.what", WHATS), ("marks.hue", HUES), ("marks.number", NUMBERS)];

/// The values of [`PARTS`].
fn parts(label: &Label) -> [usize; PARTS.len()] {
    [label.what, label.hue, label.number]
}

/// Heads that are trained with a tower and left behind.
#[derive(Debug)]
pub(super) struct Heads {
    marked: Marked,
    /// Of [`PARTS`], `[values, width]`.
    heads: [Weight; PARTS.len()],
}

impl Heads {
    /// Random ones on hidden states of this width.
    pub(super) fn new(marked: Marked, width: usize, device: &Device, seed: u64) -> Self {
        let mut rng = Rng::stream(seed, u64::MAX);
        let heads = PARTS.map(|(_, values)| {
            let scale = (width as f32).powf(-0.5);
            let data = (0..values * width).map(|_| scale * rng.normal()).collect();
            let head = Tensor::new(&device.host(), &[values, width], data).into_parameter();
            Weight::new(head, Precision::F32)
        });
        Self { marked, heads }
    }

    /// Which hidden state they take.
    pub(super) fn state(&self) -> usize {
        self.marked.state
    }

    /// The loss of what was drawn, from a hidden state `[batch, 1 + patches, width]`; counts are added to
    /// `sums`.
    pub(super) fn loss(&self, state: &Tensor, drawn: &Drawn, sums: &mut Sums) -> Tensor {
        let &[batch, rows, _] = state.shape() else { panic!("a hidden state {state:?}") };
        let patches = (0..batch * rows).filter(|row| !row.is_multiple_of(rows)).collect();
        let state = state.take_rows(&patches);
        let weights = self.weights(&drawn.labels, rows - 1);
        let said: Vec<CrossEntropy> = (0..PARTS.len())
            .map(|i| {
                let targets: Vec<u32> =
                    drawn.labels.iter().map(|label| parts(label)[i] as u32).collect();
                state.cross_entropy(&self.heads[i], &targets, &weights)
            })
            .collect();
        for (label, best) in drawn.labels.iter().zip(&said[0].best).filter(|(l, _)| l.what > 0) {
            sums.seen[0] += u64::from(label.what == *best as usize);
            sums.seen[1] += 1;
        }
        let mut sum = Tensor::zeros(state.device(), &[1]);
        for part in &said {
            sum = sum.add_scaled(1.0, &part.total, 1.0);
        }
        sums.marks += f64::from(sum.to_vec()[0]);
        sums.marks_weight += weights.iter().map(|w| f64::from(*w)).sum::<f64>();
        sum
    }

    /// Weights of the patches; those of a picture add up to so many times the recipe's weight.
    fn weights(&self, labels: &[Label], patches: usize) -> Vec<f32> {
        let mut weights = Vec::with_capacity(labels.len());
        for labels in labels.chunks(patches) {
            let weight = |label: &Label| if label.what == 0 { NOTHING } else { 1.0 };
            let sum: f32 = labels.iter().map(weight).sum();
            let scale = self.marked.weight * patches as f32 / sum;
            weights.extend(labels.iter().map(|label| scale * weight(label)));
        }
        weights
    }

    /// Calls `visit` with each head and its name.
    pub(super) fn for_each_parameter(&mut self, visit: &mut dyn FnMut(&str, &mut Tensor)) {
        for (head, (name, _)) in self.heads.iter_mut().zip(PARTS) {
            visit(name, head.tensor_mut());
        }
    }
}
