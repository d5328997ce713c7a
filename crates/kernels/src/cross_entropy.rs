//! Cross entropy fused with the head: logits exist for a block of rows and a chunk of the
//! vocabulary at a time.
//!
//! ```text
//! logit_v = hidden . head_v      lse = ln(sum_v exp(logit_v))      loss = lse - logit_target
//! grad of logit_v = weight (exp(logit_v - lse) - [v = target])
//! ```
//!
//! Bound by the products: 2 forward (one of them again in the backward pass) and 2 backward.

use crate::Exec;
use crate::exp::simd_exp_sum;
use crate::matmul::{Mat, MatMut, matmul};
use fearless_simd::{dispatch, prelude::*};
use std::ops::Range;

/// Vocabulary entries per chunk and rows per block: 16 MiB of logits.
const CHUNK: usize = 4096;
const BLOCK: usize = 1024;

/// Loss in nats of predicting `targets: [rows]` from `hidden: [rows, dim]` with
/// `head: [vocab, dim]`. Written, each `[rows]`: `losses`, `lse` (the log of the sum of exp of the
/// logits) and `best` (the id with the highest logit, the lowest among equals).
///
/// # Panics
///
/// If lengths disagree, the vocabulary is empty or a target is outside it.
#[expect(clippy::too_many_arguments, reason = "each is one array of the operation")]
#[track_caller]
pub fn cross_entropy(
    exec: &Exec,
    hidden: &[f32],
    head: &[f32],
    dim: usize,
    targets: &[u32],
    losses: &mut [f32],
    lse: &mut [f32],
    best: &mut [u32],
) {
    let rows = targets.len();
    check(hidden, head, dim, targets);
    assert_eq!((losses.len(), lse.len(), best.len()), (rows, rows, rows), "outputs are [rows]");
    let mut state = vec![Row::default(); rows];
    for_each_chunk(exec, hidden, head, dim, rows, |block, chunk, logits| {
        let width = chunk.len();
        let mut parts: Vec<_> = logits
            .chunks_exact_mut(width)
            .zip(&mut state[block.clone()])
            .zip(&targets[block])
            .collect();
        exec.threads.for_each_chunk(&mut parts, 16, |_, parts| {
            for ((logits, row), target) in parts {
                let target = (**target as usize).wrapping_sub(chunk.start);
                dispatch!(exec.cpu.level, simd =>
                    simd_row(simd, logits, chunk.start as u32, target, row));
            }
        });
    });
    for (i, row) in state.iter().enumerate() {
        (losses[i], lse[i], best[i]) = (row.lse - row.target, row.lse, row.best.0);
    }
}

/// The derivative, each row times `weights: [rows]`; `lse` is that of the forward pass.
/// `grad_hidden` is written, `grad_head` added to.
///
/// # Panics
///
/// If lengths disagree or a target is outside the vocabulary.
#[expect(clippy::too_many_arguments, reason = "each is one array of the operation")]
#[track_caller]
pub fn cross_entropy_backward(
    exec: &Exec,
    hidden: &[f32],
    head: &[f32],
    dim: usize,
    targets: &[u32],
    lse: &[f32],
    weights: &[f32],
    grad_hidden: &mut [f32],
    grad_head: &mut [f32],
) {
    let rows = targets.len();
    check(hidden, head, dim, targets);
    assert_eq!((lse.len(), weights.len()), (rows, rows), "lse and weights are [rows]");
    assert_eq!((grad_hidden.len(), grad_head.len()), (hidden.len(), head.len()), "gradients");
    for_each_chunk(exec, hidden, head, dim, rows, |block, chunk, logits| {
        let width = chunk.len();
        exec.threads.for_each_chunk(logits, 16 * width, |task, logits| {
            for (i, logits) in logits.chunks_exact_mut(width).enumerate() {
                let row = block.start + task * 16 + i;
                dispatch!(exec.cpu.level, simd => simd_exp_sum(simd, logits, 1.0, lse[row]));
                if let Some(target) = (targets[row] as usize).checked_sub(chunk.start)
                    && target < width
                {
                    logits[target] -= 1.0;
                }
                logits.iter_mut().for_each(|p| *p *= weights[row]);
            }
        });
        let p = Mat::row_major(logits, block.len(), width);
        let of_rows = block.start * dim..block.end * dim;
        let of_chunk = chunk.start * dim..chunk.end * dim;
        let w = Mat::row_major(&head[of_chunk.clone()], width, dim);
        let x = Mat::row_major(&hidden[of_rows.clone()], block.len(), dim);
        let grad_x = MatMut::row_major(&mut grad_hidden[of_rows], block.len(), dim);
        matmul(exec, p, w, grad_x, chunk.start > 0);
        matmul(exec, p.t(), x, MatMut::row_major(&mut grad_head[of_chunk], width, dim), true);
    });
}

#[track_caller]
fn check(hidden: &[f32], head: &[f32], dim: usize, targets: &[u32]) -> usize {
    assert!(dim > 0 && head.len() >= dim, "an empty head");
    let vocab = head.len() / dim;
    assert_eq!(head.len(), vocab * dim, "head must be [vocab, {dim}]");
    assert_eq!(hidden.len(), targets.len() * dim, "hidden must be [rows, {dim}]");
    if let Some(target) = targets.iter().find(|&&t| t as usize >= vocab) {
        panic!("target {target} in a vocabulary of {vocab}");
    }
    vocab
}

/// Calls `f(rows, vocabulary entries, logits)` for each block of rows and, in order, each chunk.
fn for_each_chunk(
    exec: &Exec,
    hidden: &[f32],
    head: &[f32],
    dim: usize,
    rows: usize,
    mut f: impl FnMut(Range<usize>, Range<usize>, &mut [f32]),
) {
    let vocab = head.len() / dim;
    let mut logits = exec.buffers.take(rows.min(BLOCK) * vocab.min(CHUNK));
    for block in (0..rows).step_by(BLOCK).map(|r| r..rows.min(r + BLOCK)) {
        for chunk in (0..vocab).step_by(CHUNK).map(|v| v..vocab.min(v + CHUNK)) {
            let logits = &mut logits[..block.len() * chunk.len()];
            let x = &hidden[block.start * dim..block.end * dim];
            let w = Mat::row_major(&head[chunk.start * dim..chunk.end * dim], chunk.len(), dim);
            let out = MatMut::row_major(logits, block.len(), chunk.len());
            matmul(exec, Mat::row_major(x, block.len(), dim), w.t(), out, false);
            f(block.clone(), chunk, logits);
        }
    }
    exec.buffers.give(logits);
}

/// What is known of a row after some chunks of the vocabulary.
#[derive(Clone)]
struct Row {
    lse: f32,
    /// The target's logit.
    target: f32,
    /// The best id and its logit.
    best: (u32, f32),
}

impl Default for Row {
    fn default() -> Self {
        Self { lse: f32::NEG_INFINITY, target: 0.0, best: (0, f32::NEG_INFINITY) }
    }
}

/// Takes in the logits of ids from `first` on; `target` is an index into them, or beyond.
#[inline(always)]
fn simd_row<S: Simd>(simd: S, logits: &mut [f32], first: u32, target: usize, row: &mut Row) {
    if let Some(&logit) = logits.get(target) {
        row.target = logit;
    }
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max > row.best.1 {
        let id = logits.iter().position(|&x| x == max).unwrap_or(0);
        row.best = (first + id as u32, max);
    }
    let here = max + simd_exp_sum(simd, logits, 1.0, max).ln();
    let (high, low) = if row.lse > here { (row.lse, here) } else { (here, row.lse) };
    row.lse = high + (low - high).exp().ln_1p();
}

/// The definition for one row, in f64: the loss and the best id.
pub fn reference(hidden: &[f64], head: &[f64], target: usize) -> (f64, usize) {
    let dot = |w: &[f64]| w.iter().zip(hidden).map(|(w, x)| w * x).sum::<f64>();
    let logits: Vec<f64> = head.chunks_exact(hidden.len()).map(dot).collect();
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let lse = max + logits.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
    (lse - logits[target], logits.iter().position(|&x| x == max).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::testing::{assert_close, assert_gradient, execs, random};

    fn wide(x: &[f32]) -> Vec<f64> {
        x.iter().map(|&x| f64::from(x)).collect()
    }

    #[test]
    fn losses_over_several_blocks_and_chunks() {
        for (rows, vocab, dim) in
            [(0, 5, 3), (1, 1, 1), (7, 33, 5), (BLOCK + 2, 9, 2), (3, CHUNK + 7, 4)]
        {
            let mut rng = Rng(vocab as u64);
            let x: Vec<f32> = random(&mut rng, rows * dim).iter().map(|x| x * 5.0).collect();
            let w = random(&mut rng, vocab * dim);
            let targets: Vec<u32> = (0..rows).map(|_| rng.below(vocab) as u32).collect();
            let wide_w = wide(&w);
            let want: Vec<(f64, usize)> = x
                .chunks_exact(dim)
                .zip(&targets)
                .map(|(x, &t)| reference(&wide(x), &wide_w, t as usize))
                .collect();
            let want_losses: Vec<f32> = want.iter().map(|w| w.0 as f32).collect();
            for exec in execs() {
                let (mut losses, mut lse) = (vec![f32::NAN; rows], vec![f32::NAN; rows]);
                let mut best = vec![u32::MAX; rows];
                cross_entropy(&exec, &x, &w, dim, &targets, &mut losses, &mut lse, &mut best);
                assert_close("loss", &want_losses, &losses, 1e-5);
                let same = want.iter().zip(&best).filter(|(w, b)| w.1 == **b as usize).count();
                assert_eq!(same, rows, "best ids");
            }
        }
    }

    #[test]
    fn gradients() {
        let (rows, vocab, dim) = (4, 6, 3);
        let mut rng = Rng(12);
        let (x, w) = (random(&mut rng, rows * dim), random(&mut rng, vocab * dim));
        let (targets, weights) = ([0, 5, 2, 2], [1.0, 0.5, 0.0, -2.0]);
        let loss = |x: &[f64], w: &[f64]| -> f64 {
            let rows = x.chunks_exact(dim).zip(targets).zip(weights);
            rows.map(|((x, t), weight)| reference(x, w, t as usize).0 * f64::from(weight)).sum()
        };
        for exec in execs() {
            let (mut losses, mut lse, mut best) = ([0.0; 4], [0.0; 4], [0; 4]);
            cross_entropy(&exec, &x, &w, dim, &targets, &mut losses, &mut lse, &mut best);
            let (mut gx, mut gw) = (vec![f32::NAN; x.len()], vec![0.0; w.len()]);
            cross_entropy_backward(&exec, &x, &w, dim, &targets, &lse, &weights, &mut gx, &mut gw);
            assert_gradient("hidden", &x, &gx, |x| loss(x, &wide(&w)), 1e-4);
            assert_gradient("head", &w, &gw, |w| loss(&wide(&x), w), 1e-4);
        }
    }

    #[test]
    fn gradients_of_a_wide_vocabulary_sum_to_nothing() {
        let (rows, vocab, dim) = (2, CHUNK + 5, 2);
        let mut rng = Rng(13);
        let (x, w) = (random(&mut rng, rows * dim), random(&mut rng, vocab * dim));
        let targets = [CHUNK as u32 + 1, 3];
        for exec in execs() {
            let (mut losses, mut lse, mut best) = ([0.0; 2], [0.0; 2], [0; 2]);
            cross_entropy(&exec, &x, &w, dim, &targets, &mut losses, &mut lse, &mut best);
            let (mut gx, mut gw) = (vec![f32::NAN; x.len()], vec![0.0; w.len()]);
            cross_entropy_backward(&exec, &x, &w, dim, &targets, &lse, &[1.0; 2], &mut gx, &mut gw);
            for j in 0..dim {
                let sum: f64 = gw.iter().skip(j).step_by(dim).map(|&g| f64::from(g)).sum();
                assert!(sum.abs() < 1e-4, "{sum}");
            }
            // The target's own row: minus the state, but for its share of the probability.
            for (row, &target) in targets.iter().enumerate() {
                let got = gw[target as usize * dim];
                assert!((got + x[row * dim]).abs() < 0.01, "{got}");
            }
        }
    }
}
