//! Layers that architectures share.

pub(crate) mod encoder;
pub mod lightning_attention;
pub(crate) mod linear;
pub mod moe;
pub(crate) mod projector;
pub mod softmax_attention;

use crate::Batch;
use crate::cache::{Cache, LayerCache};
use tensor::Tensor;

/// The memories of a batch's sequences, or none: sequences that start here and leave nothing.
pub(crate) type Caches<'a, 'b> = Option<&'a mut [&'b mut Cache]>;

/// Where a mixer finds the memory of one layer.
pub(crate) fn layer_of<'a>(caches: &'a mut [&mut Cache], layer: usize) -> Vec<&'a mut LayerCache> {
    caches.iter_mut().map(|cache| cache.layer(layer)).collect()
}

/// Which rows of a layer's output are needed: all in most layers, only the batch's output rows in
/// the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    All,
    Output,
}

impl Rows {
    /// Number of needed rows.
    pub(crate) fn count(self, batch: &Batch) -> usize {
        match self {
            Self::All => batch.tokens(),
            Self::Output => batch.output_rows.len(),
        }
    }

    /// The needed rows of `x: [tokens, dim]`.
    pub(crate) fn of(self, x: &Tensor, batch: &Batch) -> Tensor {
        match self {
            Self::Output if !batch.wants_all() => x.take_rows(&batch.output_rows),
            _ => x.clone(),
        }
    }
}
