//! RMSNorm on the GPU, plain and gated: see [`crate::rms_norm`] for the formulas.
//!
//! Memory-bound: 8 bytes per number forward, 12 backward, 12 and 20 with a gate. Right for any width;
//! backward each 256 columns read their rows once, so rows of up to 256 are read from memory once.

use super::{Cuda, DeviceVec};

/// Rows of a block, forward: one per warp. As in `rms_norm.cu`, like the rest.
const ROWS: usize = 8;
/// Rows whose weight gradients one block sums.
const ROWS_BACKWARD: usize = 64;
/// Columns of such a block.
const COLUMNS: usize = 256;
const THREADS: usize = 256;

/// `x / rms(x) * weight` for each row of `x: [rows, dim]`, `weight: [dim]`.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn rms_norm(
    cuda: &Cuda,
    x: &DeviceVec<f32>,
    weight: &DeviceVec<f32>,
    eps: f32,
) -> DeviceVec<f32> {
    let (rows, dim) = shape(x, weight);
    let mut out = cuda.output(x.len());
    let args = [x.into(), weight.into(), eps.into(), (&mut out).into(), rows.into(), dim.into()];
    let grid = [rows.div_ceil(ROWS), 1, 1];
    // SAFETY: x and out are [rows, dim], weight is [dim].
    unsafe { cuda.launch("rms_norm_forward", grid, THREADS, &args) };
    out
}

/// [`rms_norm`] times `sigmoid(gate)`, `gate: [rows, dim]`.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn gated_rms_norm(
    cuda: &Cuda,
    x: &DeviceVec<f32>,
    weight: &DeviceVec<f32>,
    gate: &DeviceVec<f32>,
    eps: f32,
) -> DeviceVec<f32> {
    let (rows, dim) = shape(x, weight);
    assert_eq!(gate.len(), x.len(), "gate must be [rows, dim]");
    let mut out = cuda.output(x.len());
    let args = [
        x.into(),
        weight.into(),
        gate.into(),
        eps.into(),
        (&mut out).into(),
        rows.into(),
        dim.into(),
    ];
    let grid = [rows.div_ceil(ROWS), 1, 1];
    // SAFETY: x, gate and out are [rows, dim], weight is [dim].
    unsafe { cuda.launch("rms_norm_gated", grid, THREADS, &args) };
    out
}

/// The derivative of [`rms_norm`] for `grad: [rows, dim]`: those of `x` and of `weight`.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn rms_norm_backward(
    cuda: &Cuda,
    x: &DeviceVec<f32>,
    weight: &DeviceVec<f32>,
    eps: f32,
    grad: &DeviceVec<f32>,
) -> (DeviceVec<f32>, DeviceVec<f32>) {
    let (rows, dim) = shape(x, weight);
    assert_eq!(grad.len(), x.len(), "grad must be [rows, dim]");
    let blocks = rows.div_ceil(ROWS_BACKWARD);
    let (mut grad_x, mut sums) = (cuda.output(x.len()), cuda.output(blocks * dim));
    let args = [
        x.into(),
        weight.into(),
        eps.into(),
        grad.into(),
        (&mut grad_x).into(),
        (&mut sums).into(),
        rows.into(),
        dim.into(),
    ];
    let grid = [blocks, dim.div_ceil(COLUMNS), 1];
    // SAFETY: x, grad and grad_x are [rows, dim], weight is [dim] and sums [blocks, dim].
    unsafe { cuda.launch("rms_norm_backward", grid, THREADS, &args) };
    (grad_x, sum_blocks(cuda, &sums, blocks, dim))
}

/// The derivative of [`gated_rms_norm`] for `grad: [rows, dim]`: those of `x`, of `gate` and of
/// `weight`.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn gated_rms_norm_backward(
    cuda: &Cuda,
    x: &DeviceVec<f32>,
    weight: &DeviceVec<f32>,
    gate: &DeviceVec<f32>,
    eps: f32,
    grad: &DeviceVec<f32>,
) -> (DeviceVec<f32>, DeviceVec<f32>, DeviceVec<f32>) {
    let (rows, dim) = shape(x, weight);
    assert_eq!(gate.len(), x.len(), "gate must be [rows, dim]");
    assert_eq!(grad.len(), x.len(), "grad must be [rows, dim]");
    let blocks = rows.div_ceil(ROWS_BACKWARD);
    let (mut grad_x, mut grad_gate) = (cuda.output(x.len()), cuda.output(x.len()));
    let mut sums = cuda.output(blocks * dim);
    let args = [
        x.into(),
        weight.into(),
        gate.into(),
        eps.into(),
        grad.into(),
        (&mut grad_x).into(),
        (&mut grad_gate).into(),
        (&mut sums).into(),
        rows.into(),
        dim.into(),
    ];
    let grid = [blocks, dim.div_ceil(COLUMNS), 1];
    // SAFETY: x, gate and all gradients are [rows, dim], weight is [dim] and sums [blocks, dim].
    unsafe { cuda.launch("rms_norm_gated_backward", grid, THREADS, &args) };
    (grad_x, grad_gate, sum_blocks(cuda, &sums, blocks, dim))
}

#[track_caller]
fn shape(x: &DeviceVec<f32>, weight: &DeviceVec<f32>) -> (usize, usize) {
    let dim = weight.len();
    assert!(dim > 0 && x.len().is_multiple_of(dim), "x must be [rows, {dim}]");
    (x.len() / dim, dim)
}

/// The sum of the rows of `sums: [blocks, dim]`.
fn sum_blocks(cuda: &Cuda, sums: &DeviceVec<f32>, blocks: usize, dim: usize) -> DeviceVec<f32> {
    let mut grad_weight = cuda.output(dim);
    let args = [sums.into(), (&mut grad_weight).into(), blocks.into(), dim.into()];
    // SAFETY: sums is [blocks, dim], grad_weight is [dim]; the kernel wants 1024 threads.
    unsafe { cuda.launch("rms_norm_sum_blocks", [dim.div_ceil(32), 1, 1], 1024, &args) };
    grad_weight
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, random};
    use crate::{Exec, Rng, rms_norm};

    #[test]
    fn rows_and_gradients_as_on_the_cpu() {
        let Some(cuda) = crate::cuda::testing::cuda() else { return };
        let exec = Exec::new(1);
        let shapes =
            [(0, 3), (1, 1), (3, 7), (5, 64), (130, 33), (1001, 128), (70, 300), (4200, 5)];
        for (rows, dim) in shapes {
            let (n, eps) = (rows * dim, 1e-5);
            let mut rng = Rng(dim as u64);
            let mut draw = |n| random(&mut rng, n);
            let (x, w, gate, grad) = (draw(n), draw(dim), draw(n), draw(n));
            let upload = |x: &[f32]| cuda.upload(x);
            let (dx, dw, dgate, dgrad) = (upload(&x), upload(&w), upload(&gate), upload(&grad));

            let mut want = vec![f32::NAN; n];
            rms_norm::rms_norm(&exec, &x, &w, eps, &mut want);
            assert_close("plain", &want, &rms_norm(&cuda, &dx, &dw, eps).to_vec(), 1e-6);
            let (mut gx, mut gw) = (vec![f32::NAN; n], vec![0.0; dim]);
            rms_norm::rms_norm_backward(&exec, &x, &w, eps, &grad, &mut gx, &mut gw);
            let got = rms_norm_backward(&cuda, &dx, &dw, eps, &dgrad);
            assert_close("grad_x", &gx, &got.0.to_vec(), 1e-5);
            assert_close("grad_weight", &gw, &got.1.to_vec(), 1e-5);

            rms_norm::gated_rms_norm(&exec, &x, &w, &gate, eps, &mut want);
            let got = gated_rms_norm(&cuda, &dx, &dw, &dgate, eps);
            assert_close("gated", &want, &got.to_vec(), 1e-6);
            let mut gg = vec![f32::NAN; n];
            gw.fill(0.0);
            rms_norm::gated_rms_norm_backward(
                &exec, &x, &w, &gate, eps, &grad, &mut gx, &mut gg, &mut gw,
            );
            let got = gated_rms_norm_backward(&cuda, &dx, &dw, &dgate, eps, &dgrad);
            assert_close("gated grad_x", &gx, &got.0.to_vec(), 1e-5);
            assert_close("gated grad_gate", &gg, &got.1.to_vec(), 1e-5);
            assert_close("gated grad_weight", &gw, &got.2.to_vec(), 1e-5);
        }
    }

    #[test]
    fn the_same_bits_again() {
        let Some(cuda) = crate::cuda::testing::cuda() else { return };
        let mut rng = Rng(3);
        let mut draw = |n| cuda.upload(&random(&mut rng, n));
        let (x, w, grad) = (draw(5000 * 128), draw(128), draw(5000 * 128));
        let first = rms_norm_backward(&cuda, &x, &w, 1e-5, &grad);
        let second = rms_norm_backward(&cuda, &x, &w, 1e-5, &grad);
        assert_eq!(first.0.to_vec(), second.0.to_vec());
        assert_eq!(first.1.to_vec(), second.1.to_vec());
    }
}
