//! Lightning attention as a layer: projection, recurrence, gated norm, projection.

use super::{Caches, Rows, layer_of};
use crate::Batch;
use std::sync::Arc;
use tensor::{Lightning, Piece, Tensor, Weight};

/// The output norm's epsilon: the released code does not pass the config's value, so its norm
/// uses its own default.
const NORM_EPS: f32 = 1e-6;

/// One lightning attention layer; weights in the checkpoint's layout.
#[derive(Debug)]
pub(crate) struct LightningAttention {
    /// `[heads * 3 * head_dim, hidden_size]`, rows interleaved per head: q, k, v.
    pub(crate) qkv_proj: Weight,
    /// `[heads * head_dim, hidden_size]`.
    pub(crate) output_gate: Weight,
    /// `[heads * head_dim]`: one norm over all heads.
    pub(crate) norm: Tensor,
    /// `[hidden_size, heads * head_dim]`.
    pub(crate) out_proj: Weight,
    pub(crate) shape: Lightning,
    /// Decay rate of each head in this layer.
    pub(crate) slopes: Arc<[f32]>,
}

impl LightningAttention {
    /// From `x: [tokens, hidden_size]` to the needed rows, `[rows, hidden_size]`.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        batch: &Batch,
        caches: &mut Caches<'_, '_>,
        layer: usize,
        rows: Rows,
    ) -> Tensor {
        let qkv = x.linear(&self.qkv_proj).silu(); // [tokens, heads * 3 * head_dim]
        let o = match caches {
            None => qkv.lightning(self.shape, &self.slopes, &batch.spans),
            Some(caches) => {
                let pasts: Vec<usize> = caches.iter().map(|cache| cache.tokens()).collect();
                let layers = layer_of(caches, layer).into_iter();
                let pieces = layers.zip(pasts).zip(batch.spans.iter());
                let mut pieces: Vec<_> = pieces
                    .map(|((cache, past), rows)| Piece {
                        rows: rows.clone(),
                        past,
                        state: cache.state(),
                    })
                    .collect();
                qkv.lightning_from(self.shape, &self.slopes, &mut pieces)
            }
        };
        drop(qkv);
        let gate = rows.of(x, batch).linear(&self.output_gate);
        rows.of(&o, batch).gated_rms_norm(&self.norm, &gate, NORM_EPS).linear(&self.out_proj)
    }
}
