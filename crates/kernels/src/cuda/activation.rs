//! SiLU and the gated product of SwiGLU on the GPU: see [`crate::activation`] for the formulas.
//!
//! Memory-bound: 4 bytes for each number read or written. Right for any length below 2^34.

use super::{Arg, Cuda, DeviceVec};

const THREADS: usize = 256;

/// `x sigmoid(x)`.
pub fn silu(cuda: &Cuda, x: &DeviceVec<f32>) -> DeviceVec<f32> {
    let mut out = cuda.output(x.len());
    // SAFETY: both have as many elements.
    unsafe { launch(cuda, "activation_silu_forward", x.len(), [x.into(), (&mut out).into()]) };
    out
}

/// The derivative of [`silu`].
///
/// # Panics
///
/// If the lengths differ.
#[track_caller]
pub fn silu_backward(cuda: &Cuda, x: &DeviceVec<f32>, grad: &DeviceVec<f32>) -> DeviceVec<f32> {
    assert_eq!(x.len(), grad.len(), "lengths of x and grad");
    let mut grad_x = cuda.output(x.len());
    let args = [x.into(), grad.into(), (&mut grad_x).into()];
    // SAFETY: all three have as many elements.
    unsafe { launch(cuda, "activation_silu_backward", x.len(), args) };
    grad_x
}

/// `silu(gate) up`.
///
/// # Panics
///
/// If the lengths differ.
#[track_caller]
pub fn swiglu(cuda: &Cuda, gate: &DeviceVec<f32>, up: &DeviceVec<f32>) -> DeviceVec<f32> {
    assert_eq!(gate.len(), up.len(), "lengths of gate and up");
    let mut out = cuda.output(gate.len());
    let args = [gate.into(), up.into(), (&mut out).into()];
    // SAFETY: all three have as many elements.
    unsafe { launch(cuda, "activation_swiglu", gate.len(), args) };
    out
}

/// The derivative of [`swiglu`]: those of `gate` and of `up`.
///
/// # Panics
///
/// If the lengths differ.
#[track_caller]
pub fn swiglu_backward(
    cuda: &Cuda,
    gate: &DeviceVec<f32>,
    up: &DeviceVec<f32>,
    grad: &DeviceVec<f32>,
) -> (DeviceVec<f32>, DeviceVec<f32>) {
    let n = grad.len();
    assert_eq!((gate.len(), up.len()), (n, n), "lengths of gate, up and grad");
    let (mut grad_gate, mut grad_up) = (cuda.output(n), cuda.output(n));
    let args =
        [gate.into(), up.into(), grad.into(), (&mut grad_gate).into(), (&mut grad_up).into()];
    // SAFETY: all five have as many elements.
    unsafe { launch(cuda, "activation_swiglu_backward", n, args) };
    (grad_gate, grad_up)
}

/// Runs a kernel whose threads own four elements each.
///
/// # Safety
///
/// `vecs` are the kernel's vectors in its order, `len` elements each.
unsafe fn launch<const N: usize>(cuda: &Cuda, name: &'static str, len: usize, vecs: [Arg; N]) {
    let (quads, rest) = (len / 4, len % 4);
    let args: Vec<Arg> = vecs.into_iter().chain([quads.into(), rest.into()]).collect();
    // SAFETY: 4 quads + rest = len.
    unsafe { cuda.launch(name, [len.div_ceil(4 * THREADS), 1, 1], THREADS, &args) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::{self, Activation};
    use crate::testing::{assert_close, random};
    use crate::{Exec, Rng};

    #[test]
    fn values_and_gradients_as_on_the_cpu() {
        let Some(cuda) = crate::cuda::testing::cuda() else { return };
        let exec = Exec::new(1);
        for len in [0, 1, 3, 4, 7, 33, 1023, 1024, 1025, 100_002] {
            let mut rng = Rng(7);
            let x: Vec<f32> = random(&mut rng, len).iter().map(|x| x * 9.0).collect();
            let (up, grad) = (random(&mut rng, len), random(&mut rng, len));
            let (dx, dup, dgrad) = (cuda.upload(&x), cuda.upload(&up), cuda.upload(&grad));
            let mut want = vec![f32::NAN; len];
            activation::activation(&exec, Activation::Silu, &x, &mut want);
            assert_close("silu", &want, &silu(&cuda, &dx).to_vec(), 1e-6);
            activation::activation_backward(&exec, Activation::Silu, &x, &grad, &mut want);
            let got = silu_backward(&cuda, &dx, &dgrad);
            assert_close("silu_backward", &want, &got.to_vec(), 1e-6);
            activation::swiglu(&exec, &x, &up, &mut want);
            assert_close("swiglu", &want, &swiglu(&cuda, &dx, &dup).to_vec(), 1e-6);
            let mut want_up = vec![f32::NAN; len];
            activation::swiglu_backward(&exec, &x, &up, &grad, &mut want, &mut want_up);
            let got = swiglu_backward(&cuda, &dx, &dup, &dgrad);
            assert_close("grad_gate", &want, &got.0.to_vec(), 1e-6);
            assert_close("grad_up", &want_up, &got.1.to_vec(), 1e-6);
        }
    }

    #[test]
    fn far_values_stay_finite() {
        let Some(cuda) = crate::cuda::testing::cuda() else { return };
        let x = cuda.upload(&[-1e30, -200.0, 200.0, 1e30, -1e30]);
        let y = silu(&cuda, &x).to_vec();
        assert_eq!(y, [0.0, 0.0, 200.0, 1e30, 0.0]);
        let slope = silu_backward(&cuda, &x, &cuda.upload(&[1.0; 5])).to_vec();
        assert_eq!(slope, [0.0, 0.0, 1.0, 1.0, 0.0]);
    }
}
