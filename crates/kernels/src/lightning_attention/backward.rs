//! The derivative of the chunk form.
//!
//! With `P = (Q K^T) * D`, and `dS` the gradient of the state after a block:
//!
//! ```text
//! dQ = (dO V^T * D) K + (dO S^T) * exp(-slope i)
//! dK = (dO V^T * D)^T Q + (V dS^T) * exp(-slope (m - i))
//! dV = P^T dO + (K * exp(-slope (m - i))) dS
//! dS <- exp(-slope m) dS + (Q * exp(-slope i))^T dO
//! ```
//!
//! The states at the starts of the blocks are computed again: `head_dim / 32` floats per feature
//! and token, instead of `head_dim`.

use super::{BLOCK, HeadRows, Lightning, decays};
use crate::matmul::{Mat, MatMut, Scratch, serial};
use crate::threads::SharedMut;
use crate::{Cpu, Exec};
use std::ops::Range;

/// From the gradient `grad: [tokens, heads, head_dim]` of the output to
/// `grad_qkv: [tokens, heads, 3, head_dim]`, for spans that start from a zero state and whose final
/// state is not used. Tokens outside all spans are left alone.
///
/// # Panics
///
/// If lengths disagree, or spans overlap or are out of order.
#[track_caller]
pub fn lightning_attention_backward(
    exec: &Exec,
    shape: &Lightning,
    slopes: &[f32],
    qkv: &[f32],
    spans: &[Range<usize>],
    grad: &[f32],
    grad_qkv: &mut [f32],
) {
    shape.check(slopes, qkv, spans.iter().cloned());
    assert_eq!(qkv.len(), grad_qkv.len(), "qkv and its gradient");
    assert_eq!(3 * grad.len(), qkv.len(), "grad must be [tokens, heads, head_dim]");
    let out = SharedMut(grad_qkv.as_mut_ptr());
    exec.threads.run(spans.len() * shape.heads, |i| {
        let (span, head) = (spans[i / shape.heads].clone(), i % shape.heads);
        let rows = HeadRows::new(shape, qkv, head, slopes[head]);
        head_backward(exec, rows, span, grad, |token, part, row| {
            let at = ((token * shape.heads + head) * 3 + part) * shape.head_dim;
            // SAFETY: each task writes the columns of its head in the rows of its span only.
            unsafe { std::slice::from_raw_parts_mut(out.at(at), shape.head_dim) }
                .copy_from_slice(row);
        });
    });
}

/// One head of one span; `emit(token, part, row)` gets the gradients of q, k, v (parts 0, 1, 2).
fn head_backward(
    exec: &Exec,
    rows: HeadRows<'_>,
    span: Range<usize>,
    grad: &[f32],
    emit: impl Fn(usize, usize, &[f32]),
) {
    let Lightning { heads, head_dim: dim } = *rows.shape;
    let size = BLOCK.min(span.len()).max(1);
    let decays = decays(rows.slope);
    let num_chunks = span.len().div_ceil(size);
    let mut scratch = Scratch::default();
    let cpu = exec.cpu;
    let mut scaled = exec.buffers.take(size * dim);
    let mut states = exec.buffers.take((num_chunks + 1) * dim * dim);
    let chunk = |i: usize| span.start + i * size..span.end.min(span.start + (i + 1) * size);
    states[..dim * dim].fill(0.0);
    for i in 0..num_chunks.saturating_sub(1) {
        states.copy_within(i * dim * dim..(i + 1) * dim * dim, (i + 1) * dim * dim);
        let (tokens, state) = (chunk(i), &mut states[(i + 1) * dim * dim..][..dim * dim]);
        let scaled = &mut scaled[..tokens.len() * dim];
        rows.advance(cpu, tokens, &decays, state, scaled, &mut scratch);
    }
    let mut grad_state = vec![0.0; dim * dim];
    let mut result = vec![0.0; size * dim];
    let (mut scores, mut grad_scores) = (vec![0.0; size * size], vec![0.0; size * size]);
    for i in (0..num_chunks).rev() {
        let tokens = chunk(i);
        let m = tokens.len();
        let (scores, grad_scores) = (&mut scores[..m * m], &mut grad_scores[..m * m]);
        let (scaled, result) = (&mut scaled[..m * dim], &mut result[..m * dim]);
        let at = (tokens.start * heads + rows.head) * dim;
        let grad_out = Mat::new(&grad[at..], m, dim, heads * dim, 1);
        let [q, k, v] = [0, 1, 2].map(|part| rows.matrix(part, tokens.clone()));
        let state = Mat::row_major(&states[i * dim * dim..][..dim * dim], dim, dim);
        let mut product = |a: Mat<'_>, b: Mat<'_>, c: &mut [f32], accumulate| {
            let c = MatMut::row_major(c, a.rows(), b.cols());
            serial(cpu, a, b, c, accumulate, &mut scratch);
        };
        let write = |part: usize, rows: &[f32]| {
            for (token, row) in tokens.clone().zip(rows.chunks_exact(dim)) {
                emit(token, part, row);
            }
        };
        product(grad_out, v.t(), grad_scores, false);
        mask(grad_scores, m, &decays);
        product(q, k.t(), scores, false);
        mask(scores, m, &decays);

        // dQ: the part through the state first, for it is scaled by rows.
        product(grad_out, state.t(), result, false);
        for (row, decay) in result.chunks_exact_mut(dim).zip(&decays[1..]) {
            row.iter_mut().for_each(|x| *x *= decay);
        }
        product(Mat::row_major(grad_scores, m, m), k, result, true);
        write(0, result);

        product(v, Mat::row_major(&grad_state, dim, dim).t(), result, false);
        for (row, decay) in result.chunks_exact_mut(dim).zip(decays[..m].iter().rev()) {
            row.iter_mut().for_each(|x| *x *= decay);
        }
        product(Mat::row_major(grad_scores, m, m).t(), q, result, true);
        write(1, result);

        rows.scaled(1, tokens.clone(), |i| decays[m - 1 - i], scaled);
        let k = Mat::row_major(scaled, m, dim);
        product(k, Mat::row_major(&grad_state, dim, dim), result, false);
        product(Mat::row_major(scores, m, m).t(), grad_out, result, true);
        write(2, result);

        grad_state.iter_mut().for_each(|x| *x *= decays[m]);
        rows.scaled(0, tokens.clone(), |i| decays[i + 1], scaled);
        product(Mat::row_major(scaled, m, dim).t(), grad_out, &mut grad_state, true);
    }
    exec.buffers.give(scaled);
    exec.buffers.give(states);
}

/// `x * D`: entry `(i, j)` of `x: [m, m]` times `decays[i - j]`, zero above the diagonal.
fn mask(x: &mut [f32], m: usize, decays: &[f32]) {
    for (i, row) in x.chunks_exact_mut(m).enumerate() {
        for (x, decay) in row[..=i].iter_mut().zip(decays[..=i].iter().rev()) {
            *x *= decay;
        }
        row[i + 1..].fill(0.0);
    }
}

impl<'a> HeadRows<'a> {
    /// q, k or v (0, 1, 2) of `tokens` as a matrix `[tokens, head_dim]`.
    fn matrix(self, part: usize, tokens: Range<usize>) -> Mat<'a> {
        let Lightning { heads, head_dim } = *self.shape;
        let start = (tokens.start * heads + self.head) * 3 * head_dim + part * head_dim;
        Mat::new(&self.qkv[start..], tokens.len(), head_dim, 3 * heads * head_dim, 1)
    }

    /// Row `i` of q, k or v times `factor(i)`, copied to `out: [tokens, head_dim]`.
    fn scaled(
        self,
        part: usize,
        tokens: Range<usize>,
        factor: impl Fn(usize) -> f32,
        out: &mut [f32],
    ) {
        let dim = self.shape.head_dim;
        for (i, (token, out)) in tokens.zip(out.chunks_exact_mut(dim)).enumerate() {
            let factor = factor(i);
            for (out, x) in out.iter_mut().zip(self.token(token)[part]) {
                *out = factor * x;
            }
        }
    }

    /// The state after one block; `rows: [m, head_dim]` is scratch.
    fn advance(
        self,
        cpu: Cpu,
        tokens: Range<usize>,
        decays: &[f32],
        state: &mut [f32],
        rows: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let (m, dim) = (tokens.len(), self.shape.head_dim);
        self.scaled(1, tokens.clone(), |i| decays[m - 1 - i], rows);
        state.iter_mut().for_each(|s| *s *= decays[m]);
        let (k, v) = (Mat::row_major(rows, m, dim), self.matrix(2, tokens));
        serial(cpu, k.t(), v, MatMut::row_major(state, dim, dim), true, scratch);
    }
}
