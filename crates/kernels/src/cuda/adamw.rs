//! AdamW on the GPU: see [`crate::adamw`] for the formula.
//!
//! Memory-bound: 28 bytes per parameter.

use super::{Cuda, DeviceVec};
use crate::adamw::{AdamW, Constants};

const THREADS: usize = 256;

/// One step, the `step`-th from 1 on; the gradient is multiplied by `grad_scale` first.
///
/// # Panics
///
/// If lengths disagree or `step` is 0.
#[expect(clippy::too_many_arguments, reason = "each is one array of the operation")]
#[track_caller]
pub fn adamw(
    cuda: &Cuda,
    settings: &AdamW,
    step: u64,
    param: &mut DeviceVec<f32>,
    gradient: &DeviceVec<f32>,
    grad_scale: f32,
    m: &mut DeviceVec<f32>,
    v: &mut DeviceVec<f32>,
) {
    let n = param.len();
    assert!(step > 0, "steps count from 1");
    let lengths = (gradient.len(), m.len(), v.len());
    assert_eq!(lengths, (n, n, n), "lengths of param, gradient, m and v");
    let Constants { beta1, beta2, grad_scale, rate, correction, eps, keep } =
        Constants::new(settings, step, grad_scale);
    let args = [
        param.into(),
        gradient.into(),
        m.into(),
        v.into(),
        n.into(),
        grad_scale.into(),
        beta1.into(),
        beta2.into(),
        rate.into(),
        correction.into(),
        eps.into(),
        keep.into(),
    ];
    // SAFETY: all four have n elements.
    unsafe { cuda.launch("adamw_step", [n.div_ceil(THREADS), 1, 1], THREADS, &args) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, random};
    use crate::{Exec, Rng, adamw};

    #[test]
    fn ten_steps() {
        let Some(cuda) = crate::cuda::testing::cuda() else { return };
        let exec = Exec::new(1);
        let settings = AdamW { lr: 1e-2, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };
        for len in [0, 1, 255, 257, 100_003] {
            let mut rng = Rng(9);
            let mut p = random(&mut rng, len);
            let [mut m, mut v] = [vec![0.0; len], vec![0.0; len]];
            let mut device_p = cuda.upload(&p);
            let [mut device_m, mut device_v] = [cuda.zeros(len), cuda.zeros(len)];
            for step in 1..=10 {
                let g = random(&mut rng, len);
                adamw::adamw(&exec, &settings, step, &mut p, &g, 0.5, &mut m, &mut v);
                let g = cuda.upload(&g);
                let (p, m, v) = (&mut device_p, &mut device_m, &mut device_v);
                adamw(&cuda, &settings, step, p, &g, 0.5, m, v);
            }
            assert_close("param", &p, &device_p.to_vec(), 1e-6);
            assert_close("m", &m, &device_m.to_vec(), 1e-6);
            assert_close("v", &v, &device_v.to_vec(), 1e-6);
        }
    }
}
