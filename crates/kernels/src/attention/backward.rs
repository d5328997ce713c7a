//! The derivative; the weights are computed again from the kept logarithms of the sums.
//!
//! ```text
//! P  = exp(scale Q K^T - lse)          delta = rowsum(dO * O)
//! dV = P^T dO
//! dS = P * (dO V^T - delta)
//! dQ = scale dS K                      dK = scale dS^T Q
//! ```

use super::kv::TILE_KEYS;
use super::rows::scaled_queries;
use super::{Attention, Call, Kv, Part};
use crate::Exec;
use crate::exp::simd_exp_sum;
use crate::matmul::{Mat, MatMut, Scratch, serial};
use crate::threads::SharedMut;
use fearless_simd::dispatch;
use std::ops::Range;

/// Rows per tile; query heads that share a key head count as rows.
const TILE_ROWS: usize = 48;

/// One sequence of a batch: its query rows and its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttentionSpan {
    /// Rows of q.
    pub rows: Range<usize>,
    /// Rows of k and v; key `j` of the sequence is row `keys.start + j`.
    pub keys: Range<usize>,
}

/// What the forward pass had and made, for all sequences of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a> {
    /// `[rows, heads, head_dim]`.
    pub q: &'a [f32],
    /// Position of each row in its sequence.
    pub positions: &'a [usize],
    /// Factor of the scores of each row.
    pub scales: &'a [f32],
    /// `[keys, kv_heads, head_dim]`.
    pub k: &'a [f32],
    /// `[keys, kv_heads, head_dim]`.
    pub v: &'a [f32],
    /// `[rows, heads, head_dim]`.
    pub out: &'a [f32],
    /// `[rows, heads]`.
    pub lse: &'a [f32],
}

/// From the gradient of the output, `grad: [rows, heads, head_dim]`, to those of q, k and v, which
/// are added to `grads`.
///
/// Sequences must not share rows or keys.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn attention_backward(
    exec: &Exec,
    shape: &Attention,
    forward: Forward<'_>,
    spans: &[AttentionSpan],
    grad: &[f32],
    grads: [&mut [f32]; 3],
) {
    shape.check();
    assert_eq!(grad.len(), forward.q.len(), "grad must be [rows, heads, head_dim]");
    let [grad_q, grad_k, grad_v] = grads;
    assert_eq!(grad_q.len(), forward.q.len(), "gradient of q");
    assert_eq!((grad_k.len(), grad_v.len()), (forward.k.len(), forward.v.len()), "of k and v");
    let Attention { heads, kv_heads, head_dim: dim } = *shape;
    let group = shape.group();
    let [grad_q, grad_k, grad_v] = [grad_q, grad_k, grad_v].map(|g| SharedMut(g.as_mut_ptr()));
    exec.threads.run(spans.len() * kv_heads, |task| {
        let (span, kv_head) = (&spans[task / kv_heads], task % kv_heads);
        let keys = span.keys.len();
        let head = HeadBackward { exec, shape, forward, span, kv_head, grad };
        let mut local = [0, 1].map(|_| exec.buffers.take(keys * dim));
        local.iter_mut().for_each(|x| x.fill(0.0));
        let [local_k, local_v] = &mut local;
        head.run(local_k, local_v, |row, g, x| {
            let at = (row * heads + kv_head * group + g) * dim;
            // SAFETY: rows of the span and heads of the group belong to this task alone.
            let to = unsafe { std::slice::from_raw_parts_mut(grad_q.at(at), dim) };
            to.iter_mut().zip(x).for_each(|(to, x)| *to += x);
        });
        for (shared, local) in [&grad_k, &grad_v].into_iter().zip(&local) {
            for (j, x) in local.chunks_exact(dim).enumerate() {
                let at = ((span.keys.start + j) * kv_heads + kv_head) * dim;
                // SAFETY: keys of the span and this key head belong to this task alone.
                let to = unsafe { std::slice::from_raw_parts_mut(shared.at(at), dim) };
                to.iter_mut().zip(x).for_each(|(to, x)| *to += x);
            }
        }
        local.into_iter().for_each(|buffer| exec.buffers.give(buffer));
    });
}

struct HeadBackward<'a> {
    exec: &'a Exec,
    shape: &'a Attention,
    forward: Forward<'a>,
    span: &'a AttentionSpan,
    kv_head: usize,
    grad: &'a [f32],
}

impl HeadBackward<'_> {
    /// Adds to `grad_k` and `grad_v`, `[keys, head_dim]` of this head; `emit(row, head of the
    /// group, x)` gets parts of the gradient of q.
    fn run(
        &self,
        grad_k: &mut [f32],
        grad_v: &mut [f32],
        mut emit: impl FnMut(usize, usize, &[f32]),
    ) {
        let (exec, dim, group) = (self.exec, self.shape.head_dim, self.shape.group());
        let mut scratch = Scratch::default();
        let rows_per_tile = (TILE_ROWS / group).max(1);
        let size = rows_per_tile * group;
        let [mut q, mut grad_out, mut grad_q] = [0; 3].map(|_| exec.buffers.take(size * dim));
        let [mut weights, mut grad_scores] = [0; 2].map(|_| exec.buffers.take(size * TILE_KEYS));
        for start in self.span.rows.clone().step_by(rows_per_tile) {
            let rows = start..self.span.rows.end.min(start + rows_per_tile);
            let num_rows = rows.len() * group;
            let q = &mut q[..num_rows * dim];
            let part = Part { rows: rows.clone(), head: self.kv_head, runs: 0..0 };
            scaled_queries(self.call(), &part, q);
            let (grad_out, grad_q) =
                (&mut grad_out[..num_rows * dim], &mut grad_q[..num_rows * dim]);
            let delta = self.grad_rows(rows.clone(), grad_out);
            grad_q.fill(0.0);
            let last = self.forward.positions[rows.clone()].iter().max().copied().unwrap_or(0);
            for first in (0..=last).step_by(TILE_KEYS) {
                let keys = first..(last + 1).min(first + TILE_KEYS);
                let n = keys.len();
                let global = self.span.keys.start + first..self.span.keys.start + keys.end;
                let k = self.of_head(self.forward.k, global.clone());
                let v = self.of_head(self.forward.v, global);
                let weights = &mut weights[..num_rows * n];
                let grad_scores = &mut grad_scores[..num_rows * n];
                let mut product = |a: Mat<'_>, b: Mat<'_>, c: &mut [f32], accumulate| {
                    let c = MatMut::row_major(c, a.rows(), b.cols());
                    serial(exec.cpu, a, b, c, accumulate, &mut scratch);
                };
                let queries = Mat::row_major(q, num_rows, dim);
                product(queries, k.t(), weights, false);
                self.weights(rows.start, keys.clone(), weights);
                let d_out = Mat::row_major(grad_out, num_rows, dim);
                let piece = keys.start * dim..keys.end * dim;
                product(
                    Mat::row_major(weights, num_rows, n).t(),
                    d_out,
                    &mut grad_v[piece.clone()],
                    true,
                );
                product(d_out, v.t(), grad_scores, false);
                for ((ds, p), delta) in
                    grad_scores.chunks_exact_mut(n).zip(weights.chunks_exact(n)).zip(&delta)
                {
                    ds.iter_mut().zip(p).for_each(|(ds, p)| *ds = p * (*ds - delta));
                }
                let ds = Mat::row_major(grad_scores, num_rows, n);
                product(ds, k, grad_q, true);
                // `q` is scaled already.
                product(ds.t(), queries, &mut grad_k[piece], true);
            }
            for (i, x) in grad_q.chunks_exact_mut(dim).enumerate() {
                let row = rows.start + i / group;
                x.iter_mut().for_each(|x| *x *= self.forward.scales[row]);
                emit(row, i % group, x);
            }
        }
        for buffer in [q, grad_out, grad_q, weights, grad_scores] {
            exec.buffers.give(buffer);
        }
    }

    fn call(&self) -> Call<'_> {
        let Forward { q, positions, scales, k, v, .. } = self.forward;
        Call { shape: self.shape, q, positions, scales, kv: Kv::Rows { k, v } }
    }

    /// Keys or values of the head as a matrix `[keys, head_dim]`.
    fn of_head<'b>(&self, x: &'b [f32], keys: Range<usize>) -> Mat<'b> {
        let Attention { kv_heads, head_dim, .. } = *self.shape;
        let stride = kv_heads * head_dim;
        let data = &x[keys.start * stride + self.kv_head * head_dim..];
        Mat::new(data, keys.len(), head_dim, stride, 1)
    }

    /// Copies the rows of the output's gradient and returns `sum(dO * O)` for each.
    fn grad_rows(&self, rows: Range<usize>, to: &mut [f32]) -> Vec<f32> {
        let (dim, group) = (self.shape.head_dim, self.shape.group());
        to.chunks_exact_mut(dim)
            .enumerate()
            .map(|(i, to)| {
                let head = self.kv_head * group + i % group;
                let at = ((rows.start + i / group) * self.shape.heads + head) * dim;
                to.copy_from_slice(&self.grad[at..at + dim]);
                to.iter().zip(&self.forward.out[at..]).map(|(g, o)| g * o).sum()
            })
            .collect()
    }

    /// Scores to weights `exp(score - lse)`, 0 for keys that the row does not see.
    fn weights(&self, first_row: usize, keys: Range<usize>, scores: &mut [f32]) {
        let group = self.shape.group();
        for (i, row) in scores.chunks_exact_mut(keys.len()).enumerate() {
            let (at, head) = (first_row + i / group, self.kv_head * group + i % group);
            let position = self.forward.positions[at];
            let visible = (position + 1).saturating_sub(keys.start).min(keys.len());
            row[visible..].fill(0.0);
            let lse = self.forward.lse[at * self.shape.heads + head];
            let row = &mut row[..visible];
            dispatch!(self.exec.cpu.level, simd => simd_exp_sum(simd, row, 1.0, lse));
        }
    }
}
