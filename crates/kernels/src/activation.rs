//! Activations: SiLU, GELU, sigmoid, and the gated product of SwiGLU.
//!
//! ```text
//! sigmoid(x) = 1 / (1 + exp(-x))      silu(x) = x sigmoid(x)      swiglu(g, u) = silu(g) u
//! gelu(x) = x Phi(x) = x (1 + erf(x / sqrt 2)) / 2
//! ```
//!
//! SiLU, sigmoid and SwiGLU are bound by memory for vectors that do not fit the cache. GELU is
//! exact, in f64 by its error function: the towers that use it spend their time in products.

use crate::elementwise::PIECE;
use crate::exp::simd_exp;
use crate::lanes::{load, store};
use crate::{Arithmetic, Exec};
use fearless_simd::{dispatch, prelude::*};

/// Which function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x sigmoid(x)`.
    Silu,
    /// `x Phi(x)`, the exact form.
    Gelu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
}

/// `out = f(x)`.
///
/// # Panics
///
/// If the lengths differ.
#[track_caller]
pub fn activation(exec: &Exec, kind: Activation, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "lengths of x and out");
    exec.threads.for_each_chunk(out, PIECE, |i, out| {
        let x = &x[i * PIECE..][..out.len()];
        match (kind, exec.cpu.arithmetic) {
            (Activation::Gelu, _) | (_, Arithmetic::F64) => reference(kind, x, out),
            _ => dispatch!(exec.cpu.level, simd => simd_activation(simd, kind, x, out)),
        }
    });
}

/// `grad_x = f'(x) grad`.
///
/// # Panics
///
/// If the lengths differ.
#[track_caller]
pub fn activation_backward(
    exec: &Exec,
    kind: Activation,
    x: &[f32],
    grad: &[f32],
    grad_x: &mut [f32],
) {
    assert_eq!((x.len(), grad.len()), (grad_x.len(), grad_x.len()), "lengths of x, grad, grad_x");
    exec.threads.for_each_chunk(grad_x, PIECE, |i, out| {
        let (x, grad) = (&x[i * PIECE..][..out.len()], &grad[i * PIECE..][..out.len()]);
        if kind == Activation::Gelu {
            for ((out, &x), grad) in out.iter_mut().zip(x).zip(grad) {
                let x = f64::from(x);
                let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
                *out = (normal_cdf(x) + x * density) as f32 * grad;
            }
        } else {
            dispatch!(exec.cpu.level, simd => simd_backward(simd, kind, x, grad, out));
        }
    });
}

/// `out = silu(gate) up`.
///
/// # Panics
///
/// If the lengths differ.
#[track_caller]
pub fn swiglu(exec: &Exec, gate: &[f32], up: &[f32], out: &mut [f32]) {
    assert_eq!((gate.len(), up.len()), (out.len(), out.len()), "lengths of gate, up and out");
    exec.threads.for_each_chunk(out, PIECE, |i, out| {
        let (gate, up) = (&gate[i * PIECE..][..out.len()], &up[i * PIECE..][..out.len()]);
        match exec.cpu.arithmetic {
            Arithmetic::F32 => dispatch!(exec.cpu.level, simd => simd_swiglu(simd, gate, up, out)),
            Arithmetic::F64 => {
                for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
                    *out = (value(Activation::Silu, f64::from(*gate)) * f64::from(*up)) as f32;
                }
            }
        }
    });
}

/// The derivative of [`swiglu`]: both gradients are written.
///
/// # Panics
///
/// If the lengths differ.
#[track_caller]
pub fn swiglu_backward(
    exec: &Exec,
    gate: &[f32],
    up: &[f32],
    grad: &[f32],
    grad_gate: &mut [f32],
    grad_up: &mut [f32],
) {
    let n = grad.len();
    assert_eq!((gate.len(), up.len(), grad_gate.len(), grad_up.len()), (n, n, n, n), "lengths");
    let pieces = grad_gate.chunks_mut(PIECE).zip(grad_up.chunks_mut(PIECE));
    let mut pieces: Vec<_> = pieces.collect();
    exec.threads.for_each_chunk(&mut pieces, 1, |i, piece| {
        let (grad_gate, grad_up) = &mut piece[0];
        let part = |x| part_of(x, i, grad_up.len());
        let inputs = [part(gate), part(up), part(grad)];
        dispatch!(exec.cpu.level, simd => simd_swiglu_backward(simd, inputs, grad_gate, grad_up));
    });
}

fn part_of(x: &[f32], piece: usize, len: usize) -> &[f32] {
    &x[piece * PIECE..][..len]
}

/// sigmoid of each lane.
#[inline(always)]
pub(crate) fn simd_sigmoid<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let one = S::f32s::splat(simd, 1.0);
    one / (one + simd_exp(simd, -x))
}

#[inline(always)]
fn simd_activation<S: Simd>(simd: S, kind: Activation, x: &[f32], out: &mut [f32]) {
    for i in (0..out.len()).step_by(S::f32s::LEN) {
        let x = load(simd, &x[i..]);
        let s = simd_sigmoid(simd, x);
        store::<S>(if kind == Activation::Silu { x * s } else { s }, &mut out[i..]);
    }
}

#[inline(always)]
fn simd_backward<S: Simd>(simd: S, kind: Activation, x: &[f32], grad: &[f32], out: &mut [f32]) {
    let one = S::f32s::splat(simd, 1.0);
    for i in (0..out.len()).step_by(S::f32s::LEN) {
        let x = load(simd, &x[i..]);
        let s = simd_sigmoid(simd, x);
        let slope = match kind {
            Activation::Silu => s * (x * (one - s) + one),
            _ => s * (one - s),
        };
        store::<S>(slope * load(simd, &grad[i..]), &mut out[i..]);
    }
}

#[inline(always)]
fn simd_swiglu<S: Simd>(simd: S, gate: &[f32], up: &[f32], out: &mut [f32]) {
    for i in (0..out.len()).step_by(S::f32s::LEN) {
        let gate = load(simd, &gate[i..]);
        store::<S>(gate * simd_sigmoid(simd, gate) * load(simd, &up[i..]), &mut out[i..]);
    }
}

#[inline(always)]
fn simd_swiglu_backward<S: Simd>(
    simd: S,
    [gate, up, grad]: [&[f32]; 3],
    grad_gate: &mut [f32],
    grad_up: &mut [f32],
) {
    let one = S::f32s::splat(simd, 1.0);
    for i in (0..grad.len()).step_by(S::f32s::LEN) {
        let (x, grad) = (load(simd, &gate[i..]), load(simd, &grad[i..]));
        let s = simd_sigmoid(simd, x);
        store::<S>(grad * x * s, &mut grad_up[i..]);
        let slope = s * (x * (one - s) + one);
        store::<S>(grad * load(simd, &up[i..]) * slope, &mut grad_gate[i..]);
    }
}

/// The definition, in f64.
pub fn reference(kind: Activation, x: &[f32], out: &mut [f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = value(kind, f64::from(x)) as f32;
    }
}

fn value(kind: Activation, x: f64) -> f64 {
    match kind {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Gelu => x * normal_cdf(x),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
    }
}

/// The normal distribution's cumulative function, to 1e-15: the series of `Phi(x) - 1/2` near 0,
/// the continued fraction of the tail beyond (Abramowitz & Stegun 26.2.11 and 26.2.14).
fn normal_cdf(x: f64) -> f64 {
    let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if x.abs() < 4.0 {
        let (mut term, mut sum, mut n) = (x, x, 1.0);
        while term.abs() > 1e-17 * sum.abs() {
            n += 2.0;
            term *= x * x / n;
            sum += term;
        }
        return 0.5 + density * sum;
    }
    let mut fraction = x.abs();
    for i in (1..60).rev() {
        fraction = x.abs() + f64::from(i) / fraction;
    }
    let tail = density / fraction;
    if x < 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::testing::{assert_close, assert_gradient, execs, random};

    const KINDS: [Activation; 3] = [Activation::Silu, Activation::Gelu, Activation::Sigmoid];

    #[test]
    fn values_of_any_length() {
        for len in [0, 1, 7, 8, 33, PIECE + 3] {
            let x: Vec<f32> = random(&mut Rng(7), len).iter().map(|x| x * 9.0).collect();
            for exec in execs() {
                for kind in KINDS {
                    let (mut want, mut got) = (vec![0.0; len], vec![f32::NAN; len]);
                    reference(kind, &x, &mut want);
                    activation(&exec, kind, &x, &mut got);
                    assert_close("activation", &want, &got, 1e-6);
                }
            }
        }
    }

    #[test]
    fn known_values_of_gelu() {
        // From tables of the normal distribution.
        for (x, phi) in [(0.0, 0.5), (1.0, 0.841_344_746_068_543), (-5.0, 2.866_515_718_791_94e-7)]
        {
            assert!((normal_cdf(x) - phi).abs() < 1e-14, "{x}");
        }
    }

    #[test]
    fn far_values_stay_finite() {
        let x = [-1e30, -200.0, 200.0, 1e30];
        for exec in execs() {
            for kind in KINDS {
                let mut y = [f32::NAN; 4];
                activation(&exec, kind, &x, &mut y);
                assert!(y.iter().all(|y| y.is_finite()), "{kind:?} {y:?}");
                assert!(y[0].abs() < 1e-7 && y[1].abs() < 1e-7, "{kind:?} {y:?}");
            }
        }
    }

    #[test]
    fn gradients() {
        let mut rng = Rng(3);
        let x: Vec<f32> = random(&mut rng, 37).iter().map(|x| x * 4.0).collect();
        let (up, grad) = (random(&mut rng, 37), random(&mut rng, 37));
        let dot = |values: &mut dyn Iterator<Item = f64>| {
            values.zip(&grad).map(|(y, g)| y * f64::from(*g)).sum::<f64>()
        };
        for exec in execs() {
            for kind in KINDS {
                let mut gx = vec![f32::NAN; 37];
                activation_backward(&exec, kind, &x, &grad, &mut gx);
                let loss = |x: &[f64]| dot(&mut x.iter().map(|&x| value(kind, x)));
                assert_gradient("activation", &x, &gx, loss, 1e-5);
            }
            let (mut gg, mut gu) = (vec![f32::NAN; 37], vec![f32::NAN; 37]);
            swiglu_backward(&exec, &x, &up, &grad, &mut gg, &mut gu);
            let silu = |x: f64| value(Activation::Silu, x);
            let of_gate =
                |x: &[f64]| dot(&mut x.iter().zip(&up).map(|(x, u)| silu(*x) * f64::from(*u)));
            assert_gradient("gate", &x, &gg, of_gate, 1e-5);
            let of_up = |u: &[f64]| dot(&mut x.iter().zip(u).map(|(x, u)| silu(f64::from(*x)) * u));
            assert_gradient("up", &up, &gu, of_up, 1e-5);
            let (mut y, mut want) = (vec![f32::NAN; 37], vec![0.0; 37]);
            swiglu(&exec, &x, &up, &mut y);
            reference(Activation::Silu, &x, &mut want);
            want.iter_mut().zip(&up).for_each(|(w, u)| *w *= u);
            assert_close("swiglu", &want, &y, 1e-6);
        }
    }
}
