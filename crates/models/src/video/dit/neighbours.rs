//! What rows take over from those around them.
//!
//! Linear attention sums over all rows alike, so where an outline is, to a part of a row, is more than a
//! feed-forward part that sees one row can say. Convolutions in the feed-forward part mend that
//! (arXiv:2410.10629, section 2.2); here its input is convolved, a filter for each feature:
//!
//! ```text
//! out = x + depthwise x
//! ```
//!
//! Within a frame of the clip or of a reference; the prompt's rows have no neighbours.

use super::attention::Sequences;
use super::ffn::PLANE;
use crate::Error;
use crate::video::parameters::{Parameter, Visit};
use crate::weights::{Role, Source};
use std::ops::Range;
use tensor::Tensor;

/// One filter of 3 x 3 per feature.
#[derive(Debug)]
pub(super) struct Neighbours {
    /// As files have it, `[hidden_size, 1, 3, 3]`.
    weight: Tensor,
}

impl Neighbours {
    pub(super) fn new(source: &mut dyn Source, name: &str, d: usize) -> Result<Self, Error> {
        let weight = source.tensor(&format!("{name}.weight"), &[d, 1, 3, 3], Role::Projection)?;
        Ok(Self { weight })
    }

    /// Rows of all samples, `[batch * rows, hidden_size]`, to the same shape.
    pub(super) fn forward(&self, x: &Tensor, sequences: &Sequences) -> Tensor {
        let &Sequences { batch, len, reference, grid, .. } = sequences;
        let d = x.last_dim();
        let filters = self.weight.reshape(&[d, 9]).permute(&[1, 0]); // [taps, d]
        let all = x.reshape(&[batch, len, d]);
        let of = |rows: Range<usize>, [frames, height, width]: [usize; 3]| {
            let grid = all.narrow(1, rows.clone()).reshape(&[batch, frames, height, width, d]);
            grid.depthwise_conv(&filters, &PLANE).reshape(&[batch, rows.len(), d])
        };
        let clip = len - grid.iter().product::<usize>();
        let shown = clip - reference.iter().product::<usize>();
        let mut parts = Vec::new();
        if shown > 0 {
            parts.push(Tensor::zeros(x.device(), &[batch, shown, d]));
        }
        if clip > shown {
            parts.push(of(shown..clip, reference));
        }
        parts.push(of(clip..len, grid));
        let parts: Vec<&Tensor> = parts.iter().collect();
        x.add_scaled(1.0, &Tensor::cat(&parts, 1).reshape(x.shape()), 1.0)
    }

    pub(super) fn walk(&mut self, name: &str, visit: Visit<'_>) {
        visit(&format!("{name}.weight"), Parameter::Tensor(&mut self.weight));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Random;
    use std::sync::Arc;
    use tensor::{Angles, Device, Pairing, Precision, Rng};

    /// Rows of the prompt have no neighbours, and neither a reference and a clip, nor frames, nor samples
    /// are neighbours of each other.
    #[test]
    fn neighbours_are_those_of_the_same_frame() {
        let device = Device::cpu(1);
        let (batch, text, reference, grid) = (2, 3, [1, 2, 2], [2, 3, 2]);
        let (clip, len) = (text + 4, text + 4 + 12);
        let sequences = Sequences {
            batch,
            len,
            reference,
            grid,
            angles: Arc::new(Angles::new(0, std::iter::empty())),
            pairing: Pairing::Half,
        };
        let mut source = Random::new(&device, Precision::F32, 1, 1);
        let mut neighbours =
            Neighbours::new(&mut source, "neighbours", 2).expect("weights by chance");
        // The first feature takes over what is to the left, twice; the second what is below.
        let (left, below) = (3, 7);
        let mut weight = vec![0.0; 18];
        (weight[left], weight[9 + below]) = (2.0, 1.0);
        neighbours.weight = Tensor::new(&device, &[2, 1, 3, 3], weight);
        let x = Tensor::normal(&device, &[batch * len, 2], 1.0, &mut Rng(2));
        let (x, y) = (x.to_vec(), neighbours.forward(&x, &sequences).to_vec());
        for (sample, row) in (0..batch).flat_map(|sample| (0..len).map(move |row| (sample, row))) {
            let at = |row: usize, feature: usize| x[(sample * len + row) * 2 + feature];
            let found = &y[(sample * len + row) * 2..][..2];
            let [height, first] = match row {
                row if row < text => {
                    assert_eq!(*found, [at(row, 0), at(row, 1)], "{row}");
                    continue;
                }
                row if row < clip => [2, text],
                _ => [3, clip],
            };
            let (column, line) = ((row - first) % 2, (row - first) / 2 % height);
            let to_the_left = if column > 0 { 2.0 * at(row - 1, 0) } else { 0.0 };
            let under = if line + 1 < height { at(row + 2, 1) } else { 0.0 };
            assert_eq!(*found, [at(row, 0) + to_the_left, at(row, 1) + under], "{sample} {row}");
        }
    }
}
