//! Causal softmax attention as a layer: grouped queries, partial rotation.

use super::{Caches, Rows, layer_of};
use crate::Batch;
use std::sync::Arc;
use tensor::{Attention, AttentionRows, AttentionSpan, Kv, Rope, Tensor, Weight};

/// One softmax attention layer.
#[derive(Debug)]
pub(crate) struct SoftmaxAttention {
    /// `[heads * head_dim, hidden_size]`.
    pub(crate) q_proj: Weight,
    /// `[kv_heads * head_dim, hidden_size]`.
    pub(crate) k_proj: Weight,
    /// `[kv_heads * head_dim, hidden_size]`.
    pub(crate) v_proj: Weight,
    /// `[hidden_size, heads * head_dim]`.
    pub(crate) o_proj: Weight,
    pub(crate) shape: Attention,
    pub(crate) rotary_dim: usize,
    pub(crate) rope_theta: f64,
    /// See [`crate::Config::attention_log_length_base`].
    pub(crate) log_length_base: Option<f64>,
}

impl SoftmaxAttention {
    /// From `x: [tokens, hidden_size]` to the needed rows, `[rows, hidden_size]`.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        batch: &Batch,
        caches: &mut Caches<'_, '_>,
        layer: usize,
        rows: Rows,
    ) -> Tensor {
        let needed = rows.count(batch);
        let (wanted, places) = queries(batch, rows);
        let queries = self.rows(batch, &wanted);
        let positions: Arc<[usize]> = queries.positions.clone().into();
        let q = if wanted.len() == x.rows() { x.clone() } else { x.take_rows(&wanted) };
        let q = q.linear(&self.q_proj);
        let q = q.rope(self.rope(self.shape.heads), &positions); // [rows, heads * head_dim]
        let k = x.linear(&self.k_proj).rope(self.rope(self.shape.kv_heads), &batch.positions);
        let v = x.linear(&self.v_proj); // [tokens, kv_heads * head_dim]
        let o = match caches {
            None => q.attention(&k, &v, self.shape, &Arc::new(queries)),
            Some(caches) => {
                let width = k.last_dim();
                let (k, v) = (k.data(), v.data());
                let mut layers = layer_of(caches, layer);
                let kv: Vec<Kv<'_>> = layers
                    .iter_mut()
                    .zip(batch.spans.iter())
                    .map(|(cache, span)| {
                        let part = span.start * width..span.end * width;
                        cache.append(x.device(), &k[part.clone()], &v[part])
                    })
                    .collect();
                q.attention_over(self.shape, &queries, &kv)
            }
        };
        let o = o.linear(&self.o_proj);
        // Rows that do not query get nothing from this layer.
        if places.len() == needed { o } else { o.put_rows(&places, needed) }
    }

    fn rope(&self, heads: usize) -> Rope {
        Rope {
            heads,
            head_dim: self.shape.head_dim,
            rotary_dim: self.rotary_dim,
            theta: self.rope_theta,
        }
    }

    /// Where the query rows `wanted` stand and how their scores are scaled.
    fn rows(&self, batch: &Batch, wanted: &[usize]) -> AttentionRows {
        let mut first = 0;
        let spans = batch.spans.iter().map(|span| {
            let n = wanted[first..].iter().take_while(|&&row| row < span.end).count();
            first += n;
            AttentionSpan { rows: first - n..first, keys: span.clone() }
        });
        let spans = spans.collect();
        let positions: Vec<usize> = wanted.iter().map(|&row| batch.positions[row]).collect();
        let scales = positions.iter().map(|&position| self.scale(position)).collect();
        AttentionRows { spans, positions, scales }
    }

    /// `1 / sqrt(head_dim)`, times the logarithm of the length beyond the base, if there is one:
    /// it keeps attention as sharp over a long text as over a short one.
    fn scale(&self, position: usize) -> f32 {
        let scale = (self.shape.head_dim as f64).sqrt().recip();
        let length = self.log_length_base.map_or(1.0, |base| ((position + 1) as f64).log(base));
        (scale * length.max(1.0)) as f32
    }
}

/// The tokens that query, and where they are among the needed rows.
fn queries(batch: &Batch, rows: Rows) -> (Arc<[usize]>, Arc<[usize]>) {
    let all: Arc<[usize]> = match rows {
        Rows::Output => Arc::clone(&batch.output_rows),
        Rows::All => (0..batch.tokens()).collect(),
    };
    let Some(querying) = &batch.query_rows else {
        let places = (0..all.len()).collect();
        return (all, places);
    };
    let places: Arc<[usize]> =
        (0..all.len()).filter(|&i| querying.binary_search(&all[i]).is_ok()).collect();
    (places.iter().map(|&i| all[i]).collect(), places)
}
