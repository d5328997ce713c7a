//! AdamW: Adam with decoupled weight decay (arXiv:1711.05101).
//!
//! ```text
//! m = b1 m + (1 - b1) g       v = b2 v + (1 - b2) g^2
//! p = p - lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + decay p)
//! ```
//!
//! Memory-bound: 28 bytes per parameter.

use crate::Exec;
use crate::elementwise::PIECE;
use crate::lanes::{load, store};
use fearless_simd::{dispatch, prelude::*};

/// The optimizer's settings for one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate.
    pub lr: f32,
    /// Memory of the mean.
    pub beta1: f32,
    /// Memory of the mean square.
    pub beta2: f32,
    /// Added to the root.
    pub eps: f32,
    /// Share of the parameter taken away, times the learning rate.
    pub weight_decay: f32,
}

/// One step, the `step`-th from 1 on; the gradient is multiplied by `grad_scale` first.
///
/// # Panics
///
/// If lengths disagree or `step` is 0.
#[expect(clippy::too_many_arguments, reason = "each is one array of the operation")]
#[track_caller]
pub fn adamw(
    exec: &Exec,
    settings: &AdamW,
    step: u64,
    param: &mut [f32],
    grad: &[f32],
    grad_scale: f32,
    m: &mut [f32],
    v: &mut [f32],
) {
    let n = param.len();
    assert!(step > 0, "steps count from 1");
    assert_eq!((grad.len(), m.len(), v.len()), (n, n, n), "lengths of param, grad, m and v");
    let constants = Constants::new(settings, step, grad_scale);
    let pieces = param.chunks_mut(PIECE).zip(m.chunks_mut(PIECE)).zip(v.chunks_mut(PIECE));
    let mut pieces: Vec<_> = pieces.zip(grad.chunks(PIECE)).collect();
    exec.threads.for_each_chunk(&mut pieces, 1, |_, piece| {
        let (((param, m), v), grad) = &mut piece[0];
        dispatch!(exec.cpu.level, simd => simd_adamw(simd, &constants, param, grad, m, v));
    });
}

/// What a step needs, in f32.
pub(crate) struct Constants {
    pub(crate) beta1: f32,
    pub(crate) beta2: f32,
    pub(crate) grad_scale: f32,
    /// `lr / (1 - b1^t)`.
    pub(crate) rate: f32,
    /// `1 / (1 - b2^t)`.
    pub(crate) correction: f32,
    pub(crate) eps: f32,
    pub(crate) keep: f32,
}

impl Constants {
    pub(crate) fn new(settings: &AdamW, step: u64, grad_scale: f32) -> Self {
        let &AdamW { lr, beta1, beta2, eps, weight_decay } = settings;
        let rest = |beta: f32| 1.0 - f64::from(beta).powf(step as f64);
        Self {
            beta1,
            beta2,
            grad_scale,
            rate: (f64::from(lr) / rest(beta1)) as f32,
            correction: rest(beta2).recip() as f32,
            eps,
            keep: (1.0 - f64::from(lr) * f64::from(weight_decay)) as f32,
        }
    }
}

#[inline(always)]
fn simd_adamw<S: Simd>(
    simd: S,
    constants: &Constants,
    param: &mut [f32],
    grad: &[f32],
    m: &mut [f32],
    v: &mut [f32],
) {
    let splat = |x: f32| S::f32s::splat(simd, x);
    let (beta1, beta2) = (splat(constants.beta1), splat(constants.beta2));
    let (rest1, rest2) = (splat(1.0 - constants.beta1), splat(1.0 - constants.beta2));
    let (scale, rate) = (splat(constants.grad_scale), splat(constants.rate));
    let (correction, eps) = (splat(constants.correction), splat(constants.eps));
    let keep = splat(constants.keep);
    for i in (0..param.len()).step_by(S::f32s::LEN) {
        let g = load(simd, &grad[i..]) * scale;
        let new_m = beta1.mul_add(load(simd, &m[i..]), rest1 * g);
        let new_v = beta2.mul_add(load(simd, &v[i..]), rest2 * g * g);
        let move_by = rate * new_m / ((new_v * correction).sqrt() + eps);
        store::<S>(load(simd, &param[i..]) * keep - move_by, &mut param[i..]);
        store::<S>(new_m, &mut m[i..]);
        store::<S>(new_v, &mut v[i..]);
    }
}

/// The definition for one parameter, in f64: `[param, m, v]` after the step.
pub fn reference(settings: &AdamW, step: u64, [p, m, v]: [f64; 3], g: f64) -> [f64; 3] {
    let (b1, b2) = (f64::from(settings.beta1), f64::from(settings.beta2));
    let m = b1 * m + (1.0 - b1) * g;
    let v = b2 * v + (1.0 - b2) * g * g;
    let m_hat = m / (1.0 - b1.powf(step as f64));
    let v_hat = v / (1.0 - b2.powf(step as f64));
    let move_by = m_hat / (v_hat.sqrt() + f64::from(settings.eps));
    [p - f64::from(settings.lr) * (move_by + f64::from(settings.weight_decay) * p), m, v]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::testing::{assert_close, execs, random};

    #[test]
    fn ten_steps() {
        let settings = AdamW { lr: 1e-2, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };
        for len in [0, 1, 13, PIECE + 1] {
            for exec in execs() {
                let mut rng = Rng(9);
                let mut p = random(&mut rng, len);
                let (mut m, mut v) = (vec![0.0; len], vec![0.0; len]);
                let mut want: Vec<[f64; 3]> = p.iter().map(|&p| [f64::from(p), 0.0, 0.0]).collect();
                for step in 1..=10 {
                    let grad = random(&mut rng, len);
                    adamw(&exec, &settings, step, &mut p, &grad, 0.5, &mut m, &mut v);
                    for (want, g) in want.iter_mut().zip(&grad) {
                        *want = reference(&settings, step, *want, 0.5 * f64::from(*g));
                    }
                }
                let part = |i: usize| -> Vec<f32> { want.iter().map(|w| w[i] as f32).collect() };
                assert_close("param", &part(0), &p, 1e-5);
                assert_close("m", &part(1), &m, 1e-5);
                assert_close("v", &part(2), &v, 1e-5);
            }
        }
    }
}
