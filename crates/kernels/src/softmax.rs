//! Softmax over rows.
//!
//! ```text
//! y = exp(x - max(x)) / sum(exp(x - max(x)))        grad_x = y (grad - sum(y grad))
//! ```
//!
//! Bound by memory and by `exp`. Attention does not use it: it never holds a whole row.

use crate::Exec;
use crate::exp::simd_exp_sum;
use crate::lanes::{dot, load, store};
use fearless_simd::{dispatch, prelude::*};

/// Replaces each row of `x: [rows, cols]` by its softmax.
///
/// # Panics
///
/// If `x` is not a whole number of rows.
#[track_caller]
pub fn softmax(exec: &Exec, x: &mut [f32], cols: usize) {
    assert!(cols > 0 && x.len().is_multiple_of(cols), "x must be [rows, {cols}]");
    let rows = exec.threads.rows_per_task(x.len() / cols, 8);
    exec.threads.for_each_chunk(x, rows * cols, |_, x| {
        for row in x.chunks_exact_mut(cols) {
            dispatch!(exec.cpu.level, simd => simd_row(simd, row));
        }
    });
}

/// The derivative, given the result `y`: `grad_x` is written.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn softmax_backward(exec: &Exec, y: &[f32], grad: &[f32], cols: usize, grad_x: &mut [f32]) {
    assert!(cols > 0 && y.len().is_multiple_of(cols), "y must be [rows, {cols}]");
    assert_eq!((grad.len(), grad_x.len()), (y.len(), y.len()), "lengths of y, grad and grad_x");
    let rows = exec.threads.rows_per_task(y.len() / cols, 8);
    exec.threads.for_each_chunk(grad_x, rows * cols, |task, out| {
        let first = task * rows * cols;
        for (i, out) in out.chunks_exact_mut(cols).enumerate() {
            let row = first + i * cols..first + (i + 1) * cols;
            let (y, grad) = (&y[row.clone()], &grad[row]);
            dispatch!(exec.cpu.level, simd => simd_row_backward(simd, y, grad, out));
        }
    });
}

#[inline(always)]
fn simd_row<S: Simd>(simd: S, x: &mut [f32]) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum = simd_exp_sum(simd, x, 1.0, max);
    let inverse = sum.recip();
    x.iter_mut().for_each(|x| *x *= inverse);
}

#[inline(always)]
fn simd_row_backward<S: Simd>(simd: S, y: &[f32], grad: &[f32], out: &mut [f32]) {
    let mean = S::f32s::splat(simd, dot(simd, y, grad));
    for i in (0..y.len()).step_by(S::f32s::LEN) {
        store::<S>(load(simd, &y[i..]) * (load(simd, &grad[i..]) - mean), &mut out[i..]);
    }
}

/// The definition, in f64.
pub fn reference(x: &[f64], cols: usize) -> Vec<f64> {
    let row = |x: &[f64]| {
        let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = x.iter().map(|x| (x - max).exp()).sum();
        x.iter().map(|x| (x - max).exp() / sum).collect::<Vec<_>>()
    };
    x.chunks_exact(cols).flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::testing::{assert_close, assert_gradient, execs, random};

    #[test]
    fn rows_and_gradients() {
        for (rows, cols) in [(0, 4), (1, 1), (3, 9), (40, 65)] {
            let mut rng = Rng(cols as u64);
            let x: Vec<f32> = random(&mut rng, rows * cols).iter().map(|x| x * 20.0).collect();
            let grad = random(&mut rng, rows * cols);
            let wide: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
            let want: Vec<f32> = reference(&wide, cols).iter().map(|&x| x as f32).collect();
            for exec in execs() {
                let mut y = x.clone();
                softmax(&exec, &mut y, cols);
                assert_close("softmax", &want, &y, 1e-5);
                let mut gx = vec![f32::NAN; x.len()];
                softmax_backward(&exec, &y, &grad, cols, &mut gx);
                if x.len() < 100 {
                    let loss = |x: &[f64]| {
                        let y = reference(x, cols);
                        y.iter().zip(&grad).map(|(y, g)| y * f64::from(*g)).sum::<f64>()
                    };
                    assert_gradient("softmax", &x, &gx, loss, 1e-4);
                }
            }
        }
    }

    #[test]
    fn huge_and_hidden_entries() {
        for exec in execs() {
            let mut x = [1e30, 1e30, f32::NEG_INFINITY, 0.0];
            softmax(&exec, &mut x, 4);
            assert_eq!(x, [0.5, 0.5, 0.0, 0.0]);
        }
    }
}
