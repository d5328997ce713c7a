//! What a picture's places show, said by a product of a hidden state: a tower told so learns to see
//! what it has to write about before it can write (docs/models/nano-vision.md).

use super::tower::Drawn;
use crate::recipe::Marked;
use crate::senses::pictures::{HUES, Label, NUMBERS, WHATS};
use tensor::{Device, Precision, Rng, Tensor, Weight};

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

    /// The loss of what was drawn, from a hidden state `[batch, 1 + patches, width]`, and the share of
    /// patches with something that are seen as what they are: right and all.
    pub(super) fn loss(&self, state: &Tensor, drawn: &Drawn) -> (Tensor, [u64; 2]) {
        let &[batch, rows, _] = state.shape() else { panic!("a hidden state {state:?}") };
        let patches = (0..batch * rows).filter(|row| !row.is_multiple_of(rows)).collect();
        let state = state.take_rows(&patches);
        let labels = &drawn.labels;
        let weights = self.weights(labels, rows - 1);
        let mut sum: Option<Tensor> = None;
        let mut right = [0, 0];
        for (i, head) in self.heads.iter().enumerate() {
            let targets: Vec<u32> = labels.iter().map(|label| parts(label)[i] as u32).collect();
            let said = state.cross_entropy(head, &targets, &weights);
            if i == 0 {
                let there = targets.iter().zip(&said.best).filter(|(what, _)| **what > 0);
                right[1] = there.clone().count() as u64;
                right[0] = there.filter(|(what, best)| what == best).count() as u64;
            }
            sum = Some(match sum {
                Some(sum) => sum.add_scaled(1.0, &said.total, 1.0),
                None => said.total,
            });
        }
        let sum = sum.unwrap_or_else(|| panic!("there are parts of labels"));
        (sum, right)
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
