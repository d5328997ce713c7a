//! One filter per channel: `y[o, c] = bias[c] + sum_{tap} x[…, c] w[tap, c]`.
//!
//! Memory-bound for small kernels: neighbours under the kernel are in the cache.

use super::Conv;
use crate::lanes::{load, store};
use crate::{Arithmetic, Exec};
use fearless_simd::{dispatch, prelude::*};

/// Outputs whose weight gradients are summed together, whatever the number of threads.
const BLOCK: usize = 256;

/// Convolves each channel of `x` with its own column of `weight: [taps, channels]`; `out` has the
/// shape of [`Conv::output`] and all channels.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn depthwise(exec: &Exec, conv: &Conv, x: &[f32], weight: &[f32], out: &mut [f32]) {
    conv.check_input(x);
    let channels = conv.channels;
    assert_eq!(weight.len(), conv.patch_len(), "weight must be [taps, channels]");
    assert_eq!(out.len(), conv.output_rows() * channels, "out must be {:?}", conv.output());
    if out.is_empty() {
        return;
    }
    let rows = exec.threads.rows_per_task(out.len() / channels, 8);
    exec.threads.for_each_chunk(out, rows * channels, |task, out| {
        let mut sums = vec![0.0; channels];
        for (i, out) in out.chunks_exact_mut(channels).enumerate() {
            out.fill(0.0);
            sums.fill(0.0);
            conv.for_each_tap(task * rows + i, |tap, row| {
                let Some(row) = row else { return };
                let x = &x[row * channels..(row + 1) * channels];
                let w = &weight[tap * channels..(tap + 1) * channels];
                match exec.cpu.arithmetic {
                    Arithmetic::F32 => {
                        dispatch!(exec.cpu.level, simd => add_product(simd, x, w, out));
                    }
                    Arithmetic::F64 => {
                        let terms = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w));
                        sums.iter_mut()
                            .zip(terms)
                            .for_each(|(sum, term): (&mut f64, f64)| *sum += term);
                    }
                }
            });
            if exec.cpu.arithmetic == Arithmetic::F64 {
                crate::cpu::narrow(&sums, out);
            }
        }
    });
}

/// The gradients of x and of the weight, from that of the output; both are written.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn depthwise_backward(
    exec: &Exec,
    conv: &Conv,
    [x, weight]: [&[f32]; 2],
    grad: &[f32],
    grad_x: &mut [f32],
    grad_weight: &mut [f32],
) {
    conv.check_input(x);
    conv.check_input(grad_x);
    let (channels, patch) = (conv.channels, conv.patch_len());
    assert_eq!((weight.len(), grad_weight.len()), (patch, patch), "weights [taps, channels]");
    assert_eq!(grad.len(), conv.output_rows() * channels, "grad must be {:?}", conv.output());
    grad_x.fill(0.0);
    grad_weight.fill(0.0);
    if x.is_empty() || grad.is_empty() {
        return;
    }
    let rows = exec.threads.rows_per_task(x.len() / channels, 8);
    exec.threads.for_each_chunk(grad_x, rows * channels, |task, out| {
        for (i, out) in out.chunks_exact_mut(channels).enumerate() {
            conv.for_each_use(task * rows + i, |tap, row| {
                let g = &grad[row * channels..(row + 1) * channels];
                let w = &weight[tap * channels..(tap + 1) * channels];
                dispatch!(exec.cpu.level, simd => add_product(simd, g, w, out));
            });
        }
    });
    let blocks = conv.output_rows().div_ceil(BLOCK);
    let mut sums = exec.buffers.take(blocks * patch);
    sums.fill(0.0);
    exec.threads.for_each_chunk(&mut sums, patch, |block, sums| {
        for row in block * BLOCK..conv.output_rows().min((block + 1) * BLOCK) {
            let g = &grad[row * channels..(row + 1) * channels];
            conv.for_each_tap(row, |tap, row| {
                let Some(row) = row else { return };
                let x = &x[row * channels..(row + 1) * channels];
                let sums = &mut sums[tap * channels..(tap + 1) * channels];
                dispatch!(exec.cpu.level, simd => add_product(simd, x, g, sums));
            });
        }
    });
    for sums in sums.chunks_exact(patch) {
        grad_weight.iter_mut().zip(sums).for_each(|(g, s)| *g += s);
    }
    exec.buffers.give(sums);
}

/// `sum += a b`.
#[inline(always)]
fn add_product<S: Simd>(simd: S, a: &[f32], b: &[f32], sum: &mut [f32]) {
    for i in (0..sum.len()).step_by(S::f32s::LEN) {
        let (a, b) = (load(simd, &a[i..]), load(simd, &b[i..]));
        store::<S>(a.mul_add(b, load(simd, &sum[i..])), &mut sum[i..]);
    }
}

/// The definition, in f64: a dense convolution per channel.
pub fn reference(conv: &Conv, x: &[f64], weight: &[f64]) -> Vec<f64> {
    let channels = conv.channels;
    let one = Conv { channels: 1, ..*conv };
    let column =
        |x: &[f64], c: usize| -> Vec<f64> { x.iter().skip(c).step_by(channels).copied().collect() };
    let each: Vec<Vec<f64>> = (0..channels)
        .map(|c| super::reference(&one, &column(x, c), &column(weight, c), 1))
        .collect();
    (0..conv.output_rows()).flat_map(|row| each.iter().map(move |column| column[row])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::conv::tests::cases;
    use crate::cpu::wide;
    use crate::testing::{assert_close, assert_gradient, execs, random};

    #[test]
    fn awkward_shapes() {
        for case in cases() {
            let mut rng = Rng(1);
            let x = random(&mut rng, case.input_rows() * case.channels);
            let w = random(&mut rng, case.patch_len());
            let want = reference(&case, &wide(&x), &wide(&w));
            let want: Vec<f32> = want.iter().map(|&x| x as f32).collect();
            for exec in execs() {
                let mut out = vec![f32::NAN; want.len()];
                depthwise(&exec, &case, &x, &w, &mut out);
                assert_close(&format!("{case:?}"), &want, &out, 1e-5);
            }
        }
    }

    #[test]
    fn gradients() {
        // So many outputs that there are several blocks.
        let large = Conv { input: [1, 2, 13, 17], channels: 2, ..cases()[0] };
        for case in cases().into_iter().chain([large]) {
            let mut rng = Rng(2);
            let x = random(&mut rng, case.input_rows() * case.channels);
            let w = random(&mut rng, case.patch_len());
            let grad = random(&mut rng, case.output_rows() * case.channels);
            let loss = |x: &[f64], w: &[f64]| -> f64 {
                let out = reference(&case, x, w);
                out.iter().zip(&grad).map(|(o, g)| o * f64::from(*g)).sum()
            };
            let (wx, ww) = (wide(&x), wide(&w));
            for exec in [&execs()[0], &Exec::new(3)] {
                let (mut gx, mut gw) = (vec![f32::NAN; x.len()], vec![f32::NAN; w.len()]);
                depthwise_backward(exec, &case, [&x, &w], &grad, &mut gx, &mut gw);
                assert_gradient("x", &x, &gx, |x| loss(x, &ww), 1e-5);
                assert_gradient("weight", &w, &gw, |w| loss(&wx, w), 1e-5);
            }
        }
    }
}
