//! Cross entropy on the GPU, from finished logits: see [`crate::cross_entropy`] for the formulas.
//!
//! Memory-bound: 4 bytes per logit forward, 8 backward. A row is read twice forward, the second time
//! from the cache.

use super::{Cuda, DeviceVec};

/// Rows of a block: one per warp. As in `cross_entropy.cu`, like the rest.
const ROWS: usize = 8;
const THREADS: usize = 256;
/// Products that a block sums.
const PRODUCTS: usize = 4096;

/// What [`cross_entropy`] knows of each row, each `[rows]`.
#[derive(Debug)]
pub struct Losses {
    /// In nats.
    pub losses: DeviceVec<f32>,
    /// The log of the sum of exp of the logits.
    pub lse: DeviceVec<f32>,
    /// The id with the highest logit, the lowest among equals.
    pub best: DeviceVec<u32>,
}

/// Loss of predicting `targets: [rows]` with `logits: [rows, vocab]`. Targets are on the GPU and not
/// looked at here: the loss of one outside the vocabulary is NaN.
///
/// # Panics
///
/// If lengths disagree or the vocabulary is empty.
#[track_caller]
pub fn cross_entropy(
    cuda: &Cuda,
    logits: &DeviceVec<f32>,
    vocab: usize,
    targets: &DeviceVec<u32>,
) -> Losses {
    let rows = check(logits, vocab, targets);
    let mut out =
        Losses { losses: cuda.output(rows), lse: cuda.output(rows), best: cuda.output(rows) };
    let args = [
        logits.into(),
        targets.into(),
        (&mut out.losses).into(),
        (&mut out.lse).into(),
        (&mut out.best).into(),
        rows.into(),
        vocab.into(),
    ];
    let grid = [rows.div_ceil(ROWS), 1, 1];
    // SAFETY: logits are [rows, vocab], the rest is [rows]; the kernel looks up no target outside
    // the vocabulary.
    unsafe { cuda.launch("cross_entropy_forward", grid, THREADS, &args) };
    out
}

/// The derivative, `[rows, vocab]`: `factor weight (softmax - [v = target])`, with `weights: [rows]`
/// and `factor: [1]`; `lse` is that of the forward pass.
///
/// # Panics
///
/// If lengths disagree or the vocabulary is empty.
#[track_caller]
pub fn cross_entropy_backward(
    cuda: &Cuda,
    logits: &DeviceVec<f32>,
    vocab: usize,
    targets: &DeviceVec<u32>,
    lse: &DeviceVec<f32>,
    weights: &DeviceVec<f32>,
    factor: &DeviceVec<f32>,
) -> DeviceVec<f32> {
    let rows = check(logits, vocab, targets);
    assert_eq!((lse.len(), weights.len()), (rows, rows), "lse and weights are [rows]");
    assert_eq!(factor.len(), 1, "factor is [1]");
    let mut grad_logits = cuda.output(logits.len());
    let args = [
        logits.into(),
        targets.into(),
        lse.into(),
        weights.into(),
        factor.into(),
        (&mut grad_logits).into(),
        rows.into(),
        vocab.into(),
    ];
    let grid = [rows.div_ceil(ROWS), 1, 1];
    // SAFETY: logits and grad_logits are [rows, vocab], factor is [1] and the rest [rows].
    unsafe { cuda.launch("cross_entropy_backward", grid, THREADS, &args) };
    grad_logits
}

/// The sum of `x[i] weights[i]`, `[1]`: in f64, in a fixed order.
///
/// # Panics
///
/// If the lengths differ.
#[track_caller]
pub fn weighted_sum(cuda: &Cuda, x: &DeviceVec<f32>, weights: &DeviceVec<f32>) -> DeviceVec<f32> {
    assert_eq!(x.len(), weights.len(), "lengths of x and weights");
    let blocks = x.len().div_ceil(PRODUCTS);
    let mut parts = doubles(cuda, blocks);
    let args = [x.into(), weights.into(), (&mut parts).into(), x.len().into()];
    // SAFETY: x and weights have that many elements, parts are one double per block.
    unsafe { cuda.launch("cross_entropy_weighted_sums", [blocks, 1, 1], THREADS, &args) };
    sum_parts(cuda, &parts)
}

/// Room for `n` doubles: two words each.
pub(super) fn doubles(cuda: &Cuda, n: usize) -> DeviceVec<u32> {
    cuda.output(2 * n)
}

/// The sum of [`doubles`], `[1]`, in a fixed order.
pub(super) fn sum_parts(cuda: &Cuda, parts: &DeviceVec<u32>) -> DeviceVec<f32> {
    let mut out = cuda.output(1);
    let args = [parts.into(), (&mut out).into(), (parts.len() / 2).into()];
    // SAFETY: parts are that many doubles, out is [1].
    unsafe { cuda.launch("cross_entropy_sum_parts", [1, 1, 1], THREADS, &args) };
    out
}

#[track_caller]
fn check(logits: &DeviceVec<f32>, vocab: usize, targets: &DeviceVec<u32>) -> usize {
    assert!(vocab > 0, "an empty vocabulary");
    assert_eq!(logits.len(), targets.len() * vocab, "logits must be [rows, {vocab}]");
    targets.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, random};
    use crate::{Exec, Rng, cross_entropy};

    /// The twin multiplies by a head: by one whose rows are unit vectors, logits are the states.
    fn identity(n: usize) -> Vec<f32> {
        (0..n * n).map(|i| if i % (n + 1) == 0 { 1.0 } else { 0.0 }).collect()
    }

    #[test]
    fn losses_and_gradients_as_on_the_cpu() {
        let Some(cuda) = crate::cuda::testing::cuda() else { return };
        let exec = Exec::new(1);
        for (rows, vocab) in [(0, 5), (1, 1), (7, 33), (1001, 9), (300, 260), (3, 1030)] {
            let mut rng = Rng(vocab as u64);
            let logits: Vec<f32> =
                random(&mut rng, rows * vocab).iter().map(|x| (x * 40.0).round() / 4.0).collect();
            let targets: Vec<u32> = (0..rows).map(|_| rng.below(vocab) as u32).collect();
            let (weights, head) = (random(&mut rng, rows), identity(vocab));
            let (mut losses, mut lse) = (vec![f32::NAN; rows], vec![f32::NAN; rows]);
            let mut best = vec![u32::MAX; rows];
            cross_entropy::cross_entropy(
                &exec,
                &logits,
                &head,
                vocab,
                &targets,
                &mut losses,
                &mut lse,
                &mut best,
            );
            let (mut grad, mut grad_head) = (vec![f32::NAN; rows * vocab], vec![0.0; head.len()]);
            cross_entropy::cross_entropy_backward(
                &exec,
                &logits,
                &head,
                vocab,
                &targets,
                &lse,
                &weights,
                &mut grad,
                &mut grad_head,
            );
            grad.iter_mut().for_each(|g| *g *= 0.25);

            let (logits, targets) = (cuda.upload(&logits), cuda.upload(&targets));
            let got = cross_entropy(&cuda, &logits, vocab, &targets);
            assert_close("losses", &losses, &got.losses.to_vec(), 1e-5);
            assert_close("lse", &lse, &got.lse.to_vec(), 1e-5);
            assert_eq!(best, got.best.to_vec());
            let (weights, factor) = (cuda.upload(&weights), cuda.upload(&[0.25]));
            let got = cross_entropy_backward(
                &cuda, &logits, vocab, &targets, &got.lse, &weights, &factor,
            );
            assert_close("gradient", &grad, &got.to_vec(), 1e-5);
        }
    }

    #[test]
    fn odd_logits_and_targets() {
        let Some(cuda) = crate::cuda::testing::cuda() else { return };
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        let logits = cuda.upload(&[nan, 2.0, 2.0, 1.0, -inf, -inf, -inf, nan, 0.0, 1.0, 1.0, 0.0]);
        let got = cross_entropy(&cuda, &logits, 4, &cuda.upload(&[1, 0, 4]));
        assert_eq!(got.best.to_vec(), [1, 0, 1]);
        assert!(got.losses.to_vec().iter().all(|x| x.is_nan()));
    }

    #[test]
    fn weighted_sums() {
        let Some(cuda) = crate::cuda::testing::cuda() else { return };
        for len in [0, 1, 5, PRODUCTS, PRODUCTS + 1, 500_003] {
            let mut rng = Rng(len as u64);
            let (x, weights) = (random(&mut rng, len), random(&mut rng, len));
            let products = x.iter().zip(&weights).map(|(x, w)| f64::from(*x) * f64::from(*w));
            let want = products.sum::<f64>() as f32;
            let got = weighted_sum(&cuda, &cuda.upload(&x), &cuda.upload(&weights));
            assert_close("weighted_sum", &[want], &got.to_vec(), 1e-6);
        }
    }
}
