//! Sums and scalings on the GPU: what residual connections and the optimizer's bookkeeping need.
//!
//! ```text
//! out = alpha a + beta b
//! ```
//!
//! Memory-bound: 12 bytes per element. Vectors have fewer than 2^32 elements.

use super::{Arg, Cuda, DeviceVec};

/// As in the kernels.
const THREADS: usize = 256;
const PER_BLOCK: usize = 4 * THREADS;

/// Elements for which a sum of squares takes one more block, and most blocks of one vector.
const PER_SUM: usize = 16 * THREADS;
const MAX_SUMS: usize = 256;

/// `alpha a + beta b`.
///
/// # Panics
///
/// If the lengths differ.
#[track_caller]
pub fn scaled_sum(
    cuda: &Cuda,
    alpha: f32,
    a: &DeviceVec<f32>,
    beta: f32,
    b: &DeviceVec<f32>,
) -> DeviceVec<f32> {
    assert_eq!(a.len(), b.len(), "lengths of a and b");
    let mut out = cuda.output(a.len());
    // SAFETY: a, b and out have as many elements as the kernel is told.
    unsafe { launch_scaled_sum(cuda, alpha, a.into(), beta, b.into(), (&mut out).into(), a.len()) };
    out
}

/// `out = alpha a + beta b` of `len` elements; `out` may be `a` or `b`.
///
/// # Safety
///
/// There are `len` elements at each address.
#[track_caller]
pub(super) unsafe fn launch_scaled_sum(
    cuda: &Cuda,
    alpha: f32,
    a: Arg,
    beta: f32,
    b: Arg,
    out: Arg,
    len: usize,
) {
    let args = [alpha.into(), a, beta.into(), b, out, len.into()];
    // SAFETY: the caller vouches for the elements; each thread reads before it writes.
    unsafe {
        cuda.launch("elementwise_scaled_sum", [len.div_ceil(PER_BLOCK), 1, 1], THREADS, &args);
    }
}

/// `factor x`.
#[track_caller]
pub fn scale(cuda: &Cuda, factor: f32, x: &DeviceVec<f32>) -> DeviceVec<f32> {
    let mut out = cuda.output(x.len());
    let grid = [x.len().div_ceil(PER_BLOCK), 1, 1];
    let args = [factor.into(), x.into(), (&mut out).into(), x.len().into()];
    // SAFETY: x and out have as many elements as the kernel is told.
    unsafe { cuda.launch("elementwise_scale", grid, THREADS, &args) };
    out
}

/// Sum of squares of each of `parts`, in f64. Waits for the GPU, once for all of them.
#[track_caller]
pub fn sum_of_squares(cuda: &Cuda, parts: &[&DeviceVec<f32>]) -> Vec<f64> {
    let blocks = |part: &&DeviceVec<f32>| part.len().div_ceil(PER_SUM).min(MAX_SUMS);
    let total: usize = parts.iter().map(blocks).sum();
    let sums = f64s(cuda, total);
    let mut first = 0;
    for part in parts {
        let args = [(*part).into(), part.len().into(), f64_at(&sums, first)];
        // SAFETY: the part is as long as the kernel is told, and each of its blocks has its sum.
        unsafe { cuda.launch("elementwise_sum_of_squares", [blocks(part), 1, 1], THREADS, &args) };
        first += blocks(part);
    }
    let words = sums.to_vec();
    let mut sums =
        words.chunks_exact(2).map(|w| f64::from_bits(u64::from(w[0]) | u64::from(w[1]) << 32));
    parts.iter().map(|part| sums.by_ref().take(blocks(part)).sum()).collect()
}

/// Memory for `len` f64, contents arbitrary.
pub(super) fn f64s(cuda: &Cuda, len: usize) -> DeviceVec<u32> {
    cuda.output(2 * len)
}

/// The address of the f64 number `first`.
#[track_caller]
pub(super) fn f64_at(f64s: &DeviceVec<u32>, first: usize) -> Arg {
    f64s.at(2 * first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, random};
    use crate::{Exec, Rng, elementwise};

    const LENGTHS: [usize; 7] = [0, 1, 255, 1_025, PER_SUM, 3 * PER_SUM + 5, 2_000_003];

    #[test]
    fn sums_and_scalings_of_any_length() {
        let Some(cuda) = crate::cuda::testing::cuda() else { return };
        let exec = Exec::new(1);
        for len in LENGTHS {
            let mut rng = Rng(len as u64);
            let (a, b) = (random(&mut rng, len), random(&mut rng, len));
            let (device_a, device_b) = (cuda.upload(&a), cuda.upload(&b));
            let mut want = vec![0.0; len];
            elementwise::scaled_sum(&exec, 2.0, &a, -0.5, &b, &mut want);
            let got = scaled_sum(&cuda, 2.0, &device_a, -0.5, &device_b).to_vec();
            assert_close("scaled_sum", &want, &got, 1e-6);
            elementwise::scale(&exec, 3.0, &a, &mut want);
            assert_eq!(want, scale(&cuda, 3.0, &device_a).to_vec());
        }
    }

    #[test]
    fn sums_of_squares_of_many_parts() {
        let Some(cuda) = crate::cuda::testing::cuda() else { return };
        let exec = Exec::new(1);
        assert!(sum_of_squares(&cuda, &[]).is_empty());
        let parts = LENGTHS.map(|len| random(&mut Rng(len as u64), len));
        let on_device = parts.each_ref().map(|part| cuda.upload(part));
        let got = sum_of_squares(&cuda, &on_device.each_ref());
        assert_eq!(got.len(), parts.len());
        for (part, got) in parts.iter().zip(&got) {
            let want = elementwise::sum_of_squares(&exec, part);
            assert!((got - want).abs() <= 1e-12 * want, "{got} of {} elements: {want}", part.len());
        }
        assert_eq!(got, sum_of_squares(&cuda, &on_device.each_ref()));
    }
}
