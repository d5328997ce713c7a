//! Activations: SiLU, the GELU family, ReLU, sigmoid, and the gated product of SwiGLU.
//!
//! ```text
//! sigmoid(x) = 1 / (1 + exp(-x))      silu(x) = x sigmoid(x)      swiglu(g, u) = silu(g) u
//! gelu(x) = x Phi(x) = x (1 + erf(x / sqrt 2)) / 2                quick_gelu(x) = x sigmoid(1.702 x)
//! gelu_tanh(x) = x (1 + tanh u) / 2 = x sigmoid(2 u)              u = sqrt(2 / pi) (x + 0.044715 x^3)
//! ```
//!
//! GELU: arXiv:1606.08415. All are bound by memory for vectors that do not fit the cache.

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
    /// GELU by the hyperbolic tangent.
    GeluTanh,
    /// `x sigmoid(1.702 x)`.
    QuickGelu,
    /// `max(x, 0)`.
    Relu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
}

/// Slope of the sigmoid in [`Activation::QuickGelu`].
const QUICK: f32 = 1.702;
/// The cubic term of [`Activation::GeluTanh`].
const CUBIC: f32 = 0.044_715;
/// `2 sqrt(2 / pi)`, twice the factor of its argument.
const TWICE_ROOT: f32 = 1.595_769_2;

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
        match exec.cpu.arithmetic {
            Arithmetic::F64 => reference(kind, x, out),
            Arithmetic::F32 => {
                dispatch!(exec.cpu.level, simd => simd_activation(simd, kind, x, out));
            }
        }
    });
}

/// `x = f(x + bias)` for each row of `x: [rows, dim]`, `bias: [dim]`, the same bits as
/// [`add_row`](crate::elementwise::add_row) and then [`activation`]; without an activation, `x + bias`.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn add_bias(exec: &Exec, kind: Option<Activation>, bias: &[f32], x: &mut [f32]) {
    let dim = bias.len();
    assert!(dim > 0 && x.len().is_multiple_of(dim), "x must be [rows, {dim}]");
    let rows = exec.threads.rows_per_task(x.len() / dim, 8);
    exec.threads.for_each_chunk(x, rows * dim, |_, x| {
        let mut sums = [0.0; PIECE];
        for row in x.chunks_exact_mut(dim) {
            for (x, bias) in row.chunks_mut(PIECE).zip(bias.chunks(PIECE)) {
                let Some(kind) = kind else {
                    x.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
                    continue;
                };
                let sums = &mut sums[..x.len()];
                sums.iter_mut().zip(&*x).zip(bias).for_each(|((sum, x), bias)| *sum = x + bias);
                match exec.cpu.arithmetic {
                    Arithmetic::F64 => reference(kind, sums, x),
                    Arithmetic::F32 => {
                        dispatch!(exec.cpu.level, simd => simd_activation(simd, kind, sums, x));
                    }
                }
            }
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
        dispatch!(exec.cpu.level, simd => simd_backward(simd, kind, x, grad, out));
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

/// `Phi(x)` and `exp(-x^2 / 2)` of each lane; `Phi` to 1e-7 (Abramowitz & Stegun 7.1.26).
#[inline(always)]
fn simd_normal_cdf<S: Simd>(simd: S, x: S::f32s) -> (S::f32s, S::f32s) {
    const P: f32 = 0.327_591_1;
    const A: [f32; 5] = [1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_72, 0.254_829_6];
    let splat = |x: f32| S::f32s::splat(simd, x);
    let z = x.max(-x) * splat(std::f32::consts::FRAC_1_SQRT_2);
    let t = splat(1.0) / z.mul_add(splat(P), splat(1.0));
    let mut y = splat(A[0]);
    for a in &A[1..] {
        y = y.mul_add(t, splat(*a));
    }
    let e = simd_exp(simd, -(z * z));
    let tail = y * t * e * splat(0.5);
    (x.simd_lt(splat(0.0)).select(tail, splat(1.0) - tail), e)
}

/// `x` where [`Activation::GeluTanh`] is neither 0 nor the identity, so that cubes stay finite.
#[inline(always)]
fn near<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    x.max(S::f32s::splat(simd, -10.0)).min(S::f32s::splat(simd, 10.0))
}

#[inline(always)]
fn simd_activation<S: Simd>(simd: S, kind: Activation, x: &[f32], out: &mut [f32]) {
    let splat = |x: f32| S::f32s::splat(simd, x);
    for i in (0..out.len()).step_by(S::f32s::LEN) {
        let x = load(simd, &x[i..]);
        let y = match kind {
            Activation::Silu => x * simd_sigmoid(simd, x),
            Activation::Gelu => x * simd_normal_cdf(simd, x).0,
            Activation::GeluTanh => {
                let n = near(simd, x);
                let u = (n * n).mul_add(splat(CUBIC), splat(1.0)) * n * splat(TWICE_ROOT);
                x * simd_sigmoid(simd, u)
            }
            Activation::QuickGelu => x * simd_sigmoid(simd, x * splat(QUICK)),
            Activation::Relu => x.max(splat(0.0)),
            Activation::Sigmoid => simd_sigmoid(simd, x),
        };
        store::<S>(y, &mut out[i..]);
    }
}

#[inline(always)]
fn simd_backward<S: Simd>(simd: S, kind: Activation, x: &[f32], grad: &[f32], out: &mut [f32]) {
    let splat = |x: f32| S::f32s::splat(simd, x);
    let one = splat(1.0);
    for i in (0..out.len()).step_by(S::f32s::LEN) {
        let x = load(simd, &x[i..]);
        let slope = match kind {
            Activation::Silu => {
                let s = simd_sigmoid(simd, x);
                s * (x * (one - s) + one)
            }
            Activation::Gelu => {
                // `1 / sqrt(2 pi)`, of the normal density.
                const ROOT: f32 = 0.398_942_3;
                let (cdf, e) = simd_normal_cdf(simd, x);
                // Beyond the range of `e` the product would be of infinity and 0.
                x.max(splat(-1e4)).min(splat(1e4)).mul_add(e * splat(ROOT), cdf)
            }
            Activation::GeluTanh => {
                let n = near(simd, x);
                let square = n * n;
                let u = square.mul_add(splat(CUBIC), one) * n * splat(TWICE_ROOT);
                let du = square.mul_add(splat(3.0 * CUBIC), one) * splat(TWICE_ROOT);
                let s = simd_sigmoid(simd, u);
                s * (n * (one - s) * du + one)
            }
            Activation::QuickGelu => {
                let u = x * splat(QUICK);
                let s = simd_sigmoid(simd, u);
                s * (u * (one - s) + one)
            }
            Activation::Relu => splat(0.0).simd_lt(x).select(one, splat(0.0)),
            Activation::Sigmoid => {
                let s = simd_sigmoid(simd, x);
                s * (one - s)
            }
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
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match kind {
        Activation::Silu => x * sigmoid(x),
        Activation::Gelu => x * normal_cdf(x),
        Activation::GeluTanh => {
            let u = std::f64::consts::FRAC_2_PI.sqrt() * (x + 0.044_715 * x * x * x);
            x * sigmoid(2.0 * u)
        }
        Activation::QuickGelu => x * sigmoid(1.702 * x),
        Activation::Relu => x.max(0.0),
        Activation::Sigmoid => sigmoid(x),
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

    const KINDS: [Activation; 6] = [
        Activation::Silu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::QuickGelu,
        Activation::Relu,
        Activation::Sigmoid,
    ];

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
    fn a_bias_before_it_changes_no_bits() {
        for dim in [1, 5, 64, PIECE + 7] {
            let x = random(&mut Rng(8), 3 * dim);
            let bias = random(&mut Rng(9), dim);
            for exec in execs() {
                let mut sums = vec![f32::NAN; x.len()];
                crate::elementwise::add_row(&exec, &x, &bias, &mut sums);
                let mut got = x.clone();
                add_bias(&exec, None, &bias, &mut got);
                assert_eq!(got, sums);
                for kind in KINDS {
                    let (mut want, mut got) = (vec![f32::NAN; x.len()], x.clone());
                    activation(&exec, kind, &sums, &mut want);
                    add_bias(&exec, Some(kind), &bias, &mut got);
                    assert_eq!(got, want, "{kind:?} of rows of {dim}");
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

    /// No level is further from the definition than a few roundings of numbers of its size.
    #[test]
    fn no_value_is_off() {
        let x: Vec<f32> = (-12_000..12_000).map(|i| i as f32 / 1000.0).collect();
        for exec in execs() {
            for kind in KINDS {
                let (mut want, mut got) = (vec![0.0; x.len()], vec![f32::NAN; x.len()]);
                reference(kind, &x, &mut want);
                activation(&exec, kind, &x, &mut got);
                for ((x, want), got) in x.iter().zip(&want).zip(got) {
                    let error = (want - got).abs();
                    assert!(error <= 4e-7 * x.abs().max(1.0), "{kind:?}({x}) = {got}, not {want}");
                }
            }
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
                let mut slopes = [f32::NAN; 4];
                activation_backward(&exec, kind, &x, &[1.0; 4], &mut slopes);
                assert!(
                    slopes.iter().all(|s| (-1e-6..1.000_001).contains(s)),
                    "{kind:?} {slopes:?}"
                );
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
