//! RMSNorm, plain and with the sigmoid gate of lightning attention's output.
//!
//! ```text
//! r = 1 / sqrt(mean(x^2) + eps)       out = x r w            gated: out = x r w sigmoid(gate)
//! ```
//!
//! Backward, with `h = grad w sigmoid(gate)`: `grad_x = r (h - x r^2 mean(h x))`. Memory-bound.
//! Source: arXiv:1910.07467; the gated form: arXiv:2501.08313, section 2.

use crate::activation::simd_sigmoid;
use crate::cpu::{narrow, wide};
use crate::lanes::{dot, load, store};
use crate::{Arithmetic, Exec};
use fearless_simd::{dispatch, prelude::*};

/// Rows whose weight gradients are summed together: fixed, so that the result does not depend on
/// the number of threads.
const BLOCK: usize = 64;

/// `out = x / rms(x) * weight` for each row of `x: [rows, dim]`, `weight: [dim]`.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn rms_norm(exec: &Exec, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    forward(exec, x, weight, None, eps, out);
}

/// [`rms_norm`] times `sigmoid(gate)`, `gate: [rows, dim]`.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn gated_rms_norm(
    exec: &Exec,
    x: &[f32],
    weight: &[f32],
    gate: &[f32],
    eps: f32,
    out: &mut [f32],
) {
    assert_eq!(gate.len(), x.len(), "gate must be [rows, dim]");
    forward(exec, x, weight, Some(gate), eps, out);
}

#[track_caller]
fn forward(
    exec: &Exec,
    x: &[f32],
    weight: &[f32],
    gate: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
) {
    let dim = weight.len();
    assert!(dim > 0 && x.len().is_multiple_of(dim), "x must be [rows, {dim}]");
    assert_eq!(x.len(), out.len(), "lengths of x and out");
    let rows = exec.threads.rows_per_task(x.len() / dim, 8);
    exec.threads.for_each_chunk(out, rows * dim, |task, out| {
        let first = task * rows * dim;
        for (i, out) in out.chunks_exact_mut(dim).enumerate() {
            let row = first + i * dim..first + (i + 1) * dim;
            let (x, gate) = (&x[row.clone()], gate.map(|gate| &gate[row]));
            match exec.cpu.arithmetic {
                Arithmetic::F32 => {
                    dispatch!(exec.cpu.level, simd => simd_row(simd, x, weight, gate, eps, out));
                }
                Arithmetic::F64 => {
                    let gate = gate.map(wide);
                    let row = reference(&wide(x), &wide(weight), gate.as_deref(), f64::from(eps));
                    narrow(&row, out);
                }
            }
        }
    });
}

/// The derivative of [`rms_norm`]: `grad_x` is written, `grad_weight` added to.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn rms_norm_backward(
    exec: &Exec,
    x: &[f32],
    weight: &[f32],
    eps: f32,
    grad: &[f32],
    grad_x: &mut [f32],
    grad_weight: &mut [f32],
) {
    backward(exec, [x, weight, grad], None, eps, grad_x, &mut [], grad_weight);
}

/// The derivative of [`gated_rms_norm`]: `grad_x` and `grad_gate` are written, `grad_weight` added
/// to.
///
/// # Panics
///
/// If lengths disagree.
#[expect(clippy::too_many_arguments, reason = "each is one array of the operation")]
#[track_caller]
pub fn gated_rms_norm_backward(
    exec: &Exec,
    x: &[f32],
    weight: &[f32],
    gate: &[f32],
    eps: f32,
    grad: &[f32],
    grad_x: &mut [f32],
    grad_gate: &mut [f32],
    grad_weight: &mut [f32],
) {
    assert_eq!((gate.len(), grad_gate.len()), (x.len(), x.len()), "gate must be [rows, dim]");
    backward(exec, [x, weight, grad], Some(gate), eps, grad_x, grad_gate, grad_weight);
}

#[track_caller]
fn backward(
    exec: &Exec,
    [x, weight, grad]: [&[f32]; 3],
    gate: Option<&[f32]>,
    eps: f32,
    grad_x: &mut [f32],
    grad_gate: &mut [f32],
    grad_weight: &mut [f32],
) {
    let dim = weight.len();
    assert!(dim > 0 && x.len().is_multiple_of(dim), "x must be [rows, {dim}]");
    assert_eq!((grad.len(), grad_x.len()), (x.len(), x.len()), "lengths of x, grad and grad_x");
    assert_eq!(grad_weight.len(), dim, "grad_weight must be [dim]");
    let blocks = (x.len() / dim).div_ceil(BLOCK);
    let mut sums = exec.buffers.take(blocks * dim);
    sums.fill(0.0);
    let mut gates = grad_gate.chunks_mut(BLOCK * dim);
    let mut tasks: Vec<_> = grad_x
        .chunks_mut(BLOCK * dim)
        .zip(sums.chunks_mut(dim))
        .map(|(grad_x, sum)| (grad_x, gates.next(), sum))
        .collect();
    exec.threads.for_each_chunk(&mut tasks, 1, |block, task| {
        let (grad_x, grad_gate, sum) = &mut task[0];
        for (i, grad_x) in grad_x.chunks_exact_mut(dim).enumerate() {
            let row = (block * BLOCK + i) * dim..(block * BLOCK + i + 1) * dim;
            let inputs = [&x[row.clone()], weight, &grad[row.clone()]];
            let gate = gate.map(|gate| &gate[row]);
            let grad_gate = grad_gate.as_mut().map(|g| &mut g[i * dim..(i + 1) * dim]);
            dispatch!(exec.cpu.level, simd =>
                simd_row_backward(simd, inputs, gate, eps, grad_x, grad_gate, sum));
        }
    });
    for sum in sums.chunks_exact(dim) {
        grad_weight.iter_mut().zip(sum).for_each(|(g, s)| *g += s);
    }
    exec.buffers.give(sums);
}

#[inline(always)]
fn simd_row<S: Simd>(
    simd: S,
    x: &[f32],
    weight: &[f32],
    gate: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
) {
    let r = S::f32s::splat(simd, inverse_rms(simd, x, eps));
    for i in (0..x.len()).step_by(S::f32s::LEN) {
        let mut y = load(simd, &x[i..]) * r * load(simd, &weight[i..]);
        if let Some(gate) = gate {
            y *= simd_sigmoid(simd, load(simd, &gate[i..]));
        }
        store::<S>(y, &mut out[i..]);
    }
}

#[inline(always)]
fn inverse_rms<S: Simd>(simd: S, x: &[f32], eps: f32) -> f32 {
    (dot(simd, x, x) / x.len() as f32 + eps).sqrt().recip()
}

#[inline(always)]
fn simd_row_backward<S: Simd>(
    simd: S,
    [x, weight, grad]: [&[f32]; 3],
    gate: Option<&[f32]>,
    eps: f32,
    grad_x: &mut [f32],
    mut grad_gate: Option<&mut [f32]>,
    grad_weight: &mut [f32],
) {
    let splat = |x| S::f32s::splat(simd, x);
    let (one, inverse) = (splat(1.0), inverse_rms(simd, x, eps));
    let r = splat(inverse);
    let mut hx = splat(0.0);
    for i in (0..x.len()).step_by(S::f32s::LEN) {
        let (x, w) = (load(simd, &x[i..]), load(simd, &weight[i..]));
        let grad = load(simd, &grad[i..]);
        let mut gated = grad;
        if let (Some(gate), Some(grad_gate)) = (gate, grad_gate.as_deref_mut()) {
            let s = simd_sigmoid(simd, load(simd, &gate[i..]));
            gated = grad * s;
            store::<S>(gated * (one - s) * x * r * w, &mut grad_gate[i..]);
        }
        let h = gated * w;
        hx = h.mul_add(x, hx);
        store::<S>(h, &mut grad_x[i..]);
        store::<S>((gated * r).mul_add(x, load(simd, &grad_weight[i..])), &mut grad_weight[i..]);
    }
    let c = splat(hx.reduce_sum() / x.len() as f32 * inverse * inverse);
    for i in (0..x.len()).step_by(S::f32s::LEN) {
        let h = load(simd, &grad_x[i..]);
        store::<S>(r * (h - load(simd, &x[i..]) * c), &mut grad_x[i..]);
    }
}

/// The definition, in f64.
pub fn reference(x: &[f64], weight: &[f64], gate: Option<&[f64]>, eps: f64) -> Vec<f64> {
    let dim = weight.len();
    let row = |(i, x): (usize, &[f64])| {
        let r = (x.iter().map(|x| x * x).sum::<f64>() / dim as f64 + eps).sqrt().recip();
        let gate = move |j: usize| gate.map_or(1.0, |g| 1.0 / (1.0 + (-g[i * dim + j]).exp()));
        x.iter().zip(weight).enumerate().map(|(j, (x, w))| x * r * w * gate(j)).collect::<Vec<_>>()
    };
    x.chunks_exact(dim).enumerate().flat_map(row).collect()
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
            let gate = random(&mut rng, rows * dim);
            for exec in execs() {
                for gate in [None, Some(&gate)] {
                    let wide_gate = gate.map(|gate| wide(gate));
                    let want = reference(&wide(&x), &wide(&w), wide_gate.as_deref(), 1e-5);
                    let want: Vec<f32> = want.iter().map(|&x| x as f32).collect();
                    let mut got = vec![f32::NAN; x.len()];
                    match gate {
                        None => rms_norm(&exec, &x, &w, 1e-5, &mut got),
                        Some(gate) => gated_rms_norm(&exec, &x, &w, gate, 1e-5, &mut got),
                    }
                    assert_close("rms_norm", &want, &got, 1e-6);
                }
            }
        }
    }

    #[test]
    fn gradients() {
        let (rows, dim) = (3, 11);
        let mut rng = Rng(2);
        let mut draw = |n| random(&mut rng, n);
        let (x, w, gate, grad) = (draw(rows * dim), draw(dim), draw(rows * dim), draw(rows * dim));
        let loss = |x: &[f64], w: &[f64], gate: Option<&[f64]>| -> f64 {
            let y = reference(x, w, gate, 1e-5);
            y.iter().zip(&grad).map(|(y, g)| y * f64::from(*g)).sum()
        };
        let (wx, ww, wg) = (wide(&x), wide(&w), wide(&gate));
        for exec in execs() {
            let (mut gx, mut gw) = (vec![f32::NAN; x.len()], vec![0.0; dim]);
            rms_norm_backward(&exec, &x, &w, 1e-5, &grad, &mut gx, &mut gw);
            assert_gradient("x", &x, &gx, |x| loss(x, &ww, None), 1e-5);
            assert_gradient("w", &w, &gw, |w| loss(&wx, w, None), 1e-5);
            let mut gg = vec![f32::NAN; x.len()];
            gw.fill(0.0);
            gated_rms_norm_backward(&exec, &x, &w, &gate, 1e-5, &grad, &mut gx, &mut gg, &mut gw);
            assert_gradient("x, gated", &x, &gx, |x| loss(x, &ww, Some(&wg)), 1e-5);
            assert_gradient("gate", &gate, &gg, |g| loss(&wx, &ww, Some(g)), 1e-5);
            assert_gradient("w, gated", &w, &gw, |w| loss(&wx, w, Some(&wg)), 1e-5);
        }
    }

    #[test]
    fn the_weight_gradient_does_not_depend_on_the_threads() {
        let (rows, dim) = (300, 9);
        let mut rng = Rng(5);
        let (x, w) = (random(&mut rng, rows * dim), random(&mut rng, dim));
        let grad = random(&mut rng, rows * dim);
        for pair in execs().chunks(2) {
            let sums: Vec<Vec<f32>> = pair
                .iter()
                .map(|exec| {
                    let (mut gx, mut gw) = (vec![0.0; x.len()], vec![0.0; dim]);
                    rms_norm_backward(exec, &x, &w, 1e-5, &grad, &mut gx, &mut gw);
                    gw
                })
                .collect();
            assert_eq!(sums[0], sums[1]);
        }
    }
}
