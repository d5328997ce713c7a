//! LayerNorm.
//!
//! ```text
//! n = (x - mean(x)) / sqrt(var(x) + eps)        out = n w + b
//! ```
//!
//! Backward, with `h = grad w`: `grad_x = (h - mean(h) - n mean(h n)) / sqrt(var + eps)`.
//! Memory-bound. Source: arXiv:1607.06450.

use crate::cpu::{narrow, wide};
use crate::lanes::{dot, load, store};
use crate::{Arithmetic, Exec};
use fearless_simd::{dispatch, prelude::*};

/// Rows whose weight gradients are summed together, whatever the number of threads.
const BLOCK: usize = 64;

/// Normalizes each row of `x: [rows, dim]`; `weight` and `bias` are `[dim]`.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn layer_norm(exec: &Exec, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let dim = weight.len();
    assert!(dim > 0 && x.len().is_multiple_of(dim), "x must be [rows, {dim}]");
    assert_eq!((bias.len(), out.len()), (dim, x.len()), "bias must be [dim], out like x");
    let rows = exec.threads.rows_per_task(x.len() / dim, 8);
    exec.threads.for_each_chunk(out, rows * dim, |task, out| {
        let x = &x[task * rows * dim..][..out.len()];
        if exec.cpu.arithmetic == Arithmetic::F64 {
            let row = reference(&wide(x), &wide(weight), &wide(bias), f64::from(eps));
            return narrow(&row, out);
        }
        for (x, out) in x.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
            dispatch!(exec.cpu.level, simd => simd_row(simd, x, weight, bias, eps, out));
        }
    });
}

/// The derivative: `grad_x` is written, `grad_weight` and `grad_bias` are added to.
///
/// # Panics
///
/// If lengths disagree.
#[expect(clippy::too_many_arguments, reason = "each is one array of the operation")]
#[track_caller]
pub fn layer_norm_backward(
    exec: &Exec,
    x: &[f32],
    weight: &[f32],
    eps: f32,
    grad: &[f32],
    grad_x: &mut [f32],
    grad_weight: &mut [f32],
    grad_bias: &mut [f32],
) {
    let dim = weight.len();
    assert!(dim > 0 && x.len().is_multiple_of(dim), "x must be [rows, {dim}]");
    assert_eq!((grad.len(), grad_x.len()), (x.len(), x.len()), "lengths of x, grad and grad_x");
    assert_eq!((grad_weight.len(), grad_bias.len()), (dim, dim), "weights must be [dim]");
    let blocks = (x.len() / dim).div_ceil(BLOCK);
    let mut sums = exec.buffers.take(blocks * 2 * dim);
    sums.fill(0.0);
    let mut tasks: Vec<_> = grad_x.chunks_mut(BLOCK * dim).zip(sums.chunks_mut(2 * dim)).collect();
    exec.threads.for_each_chunk(&mut tasks, 1, |block, task| {
        let (grad_x, sums) = &mut task[0];
        let (sum_w, sum_b) = sums.split_at_mut(dim);
        for (i, grad_x) in grad_x.chunks_exact_mut(dim).enumerate() {
            let row = (block * BLOCK + i) * dim..(block * BLOCK + i + 1) * dim;
            let inputs = [&x[row.clone()], weight, &grad[row]];
            dispatch!(exec.cpu.level, simd =>
                simd_row_backward(simd, inputs, eps, grad_x, sum_w, sum_b));
        }
    });
    for sum in sums.chunks_exact(2 * dim) {
        grad_weight.iter_mut().zip(&sum[..dim]).for_each(|(g, s)| *g += s);
        grad_bias.iter_mut().zip(&sum[dim..]).for_each(|(g, s)| *g += s);
    }
    exec.buffers.give(sums);
}

/// Mean and `1 / sqrt(var + eps)`; the variance from differences to the mean, which cannot cancel.
#[inline(always)]
fn moments<S: Simd>(simd: S, x: &[f32], eps: f32) -> (f32, f32) {
    let lanes = S::f32s::LEN;
    let mut sum = S::f32s::splat(simd, 0.0);
    for i in (0..x.len()).step_by(lanes) {
        sum += load(simd, &x[i..]);
    }
    let mean = sum.reduce_sum() / x.len() as f32;
    let (mut squares, whole) = (S::f32s::splat(simd, 0.0), x.len() / lanes * lanes);
    for x in x[..whole].chunks_exact(lanes) {
        let d = S::f32s::from_slice(simd, x) - S::f32s::splat(simd, mean);
        squares = d.mul_add(d, squares);
    }
    let tail: f32 = x[whole..].iter().map(|x| (x - mean) * (x - mean)).sum();
    (mean, ((squares.reduce_sum() + tail) / x.len() as f32 + eps).sqrt().recip())
}

#[inline(always)]
fn simd_row<S: Simd>(simd: S, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let (mean, r) = moments(simd, x, eps);
    let (mean, r) = (S::f32s::splat(simd, mean), S::f32s::splat(simd, r));
    for i in (0..x.len()).step_by(S::f32s::LEN) {
        let n = (load(simd, &x[i..]) - mean) * r;
        store::<S>(n.mul_add(load(simd, &weight[i..]), load(simd, &bias[i..])), &mut out[i..]);
    }
}

#[inline(always)]
fn simd_row_backward<S: Simd>(
    simd: S,
    [x, weight, grad]: [&[f32]; 3],
    eps: f32,
    grad_x: &mut [f32],
    grad_weight: &mut [f32],
    grad_bias: &mut [f32],
) {
    let splat = |x| S::f32s::splat(simd, x);
    let (mean, r) = moments(simd, x, eps);
    let (mean, r) = (splat(mean), splat(r));
    let mut hn = splat(0.0);
    for i in (0..x.len()).step_by(S::f32s::LEN) {
        let (n, g) = ((load(simd, &x[i..]) - mean) * r, load(simd, &grad[i..]));
        // Lanes beyond the end have `g = 0`.
        hn = (g * load(simd, &weight[i..])).mul_add(n, hn);
        store::<S>(g.mul_add(n, load(simd, &grad_weight[i..])), &mut grad_weight[i..]);
        store::<S>(g + load(simd, &grad_bias[i..]), &mut grad_bias[i..]);
    }
    let count = x.len() as f32;
    let (mean_h, mean_hn) = (dot(simd, grad, weight) / count, hn.reduce_sum() / count);
    let (mean_h, mean_hn) = (splat(mean_h), splat(mean_hn));
    for i in (0..x.len()).step_by(S::f32s::LEN) {
        let n = (load(simd, &x[i..]) - mean) * r;
        let h = load(simd, &grad[i..]) * load(simd, &weight[i..]);
        store::<S>((h - mean_h - n * mean_hn) * r, &mut grad_x[i..]);
    }
}

/// The definition, in f64.
pub fn reference(x: &[f64], weight: &[f64], bias: &[f64], eps: f64) -> Vec<f64> {
    let dim = weight.len() as f64;
    let row = |x: &[f64]| {
        let mean = x.iter().sum::<f64>() / dim;
        let var = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / dim;
        let r = (var + eps).sqrt().recip();
        let out = x.iter().zip(weight).zip(bias).map(|((x, w), b)| (x - mean) * r * w + b);
        out.collect::<Vec<_>>()
    };
    x.chunks_exact(weight.len()).flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::testing::{assert_close, assert_gradient, execs, random};

    #[test]
    fn rows_of_any_width() {
        for (rows, dim) in [(0, 3), (1, 1), (3, 7), (5, 64), (130, 33)] {
            let mut rng = Rng(dim as u64);
            let (x, w) = (random(&mut rng, rows * dim), random(&mut rng, dim));
            let b = random(&mut rng, dim);
            let want = reference(&wide(&x), &wide(&w), &wide(&b), 1e-5);
            let want: Vec<f32> = want.iter().map(|&x| x as f32).collect();
            for exec in execs() {
                let mut got = vec![f32::NAN; x.len()];
                layer_norm(&exec, &x, &w, &b, 1e-5, &mut got);
                assert_close("layer_norm", &want, &got, 1e-5);
            }
        }
    }

    #[test]
    fn gradients() {
        let (rows, dim) = (3, 11);
        let mut rng = Rng(2);
        let mut draw = |n| random(&mut rng, n);
        let (x, w, b, grad) = (draw(rows * dim), draw(dim), draw(dim), draw(rows * dim));
        let (wx, ww, wb) = (wide(&x), wide(&w), wide(&b));
        let loss = |x: &[f64], w: &[f64], b: &[f64]| -> f64 {
            let y = reference(x, w, b, 1e-5);
            y.iter().zip(&grad).map(|(y, g)| y * f64::from(*g)).sum()
        };
        for exec in execs() {
            let mut gx = vec![f32::NAN; x.len()];
            let (mut gw, mut gb) = (vec![0.0; dim], vec![0.0; dim]);
            layer_norm_backward(&exec, &x, &w, 1e-5, &grad, &mut gx, &mut gw, &mut gb);
            assert_gradient("x", &x, &gx, |x| loss(x, &ww, &wb), 1e-5);
            assert_gradient("w", &w, &gw, |w| loss(&wx, w, &wb), 1e-5);
            assert_gradient("b", &b, &gb, |b| loss(&wx, &ww, b), 1e-5);
        }
    }
}
