//! Sums and scalings: what residual connections and the optimizer's bookkeeping need.
//!
//! ```text
//! out = alpha a + beta b
//! ```
//!
//! Memory-bound: 12 bytes per element.

use crate::Exec;
use crate::lanes;
use fearless_simd::{dispatch, prelude::*};

/// Elements per task: 64 KiB of each operand.
pub(crate) const PIECE: usize = 16 * 1024;

/// `out = alpha a + beta b`.
///
/// # Panics
///
/// If the lengths differ.
#[track_caller]
pub fn scaled_sum(exec: &Exec, alpha: f32, a: &[f32], beta: f32, b: &[f32], out: &mut [f32]) {
    assert_eq!((a.len(), b.len()), (out.len(), out.len()), "lengths of a, b and out");
    exec.threads.for_each_chunk(out, PIECE, |i, out| {
        let (a, b) = (&a[i * PIECE..][..out.len()], &b[i * PIECE..][..out.len()]);
        dispatch!(exec.cpu.level, simd => simd_scaled_sum(simd, alpha, a, beta, b, out));
    });
}

/// `out = alpha a`.
///
/// # Panics
///
/// If the lengths differ.
#[track_caller]
pub fn scale(exec: &Exec, alpha: f32, a: &[f32], out: &mut [f32]) {
    assert_eq!(a.len(), out.len(), "lengths of a and out");
    exec.threads.for_each_chunk(out, PIECE, |i, out| {
        for (out, a) in out.iter_mut().zip(&a[i * PIECE..]) {
            *out = alpha * a;
        }
    });
}

/// `out = x + row` for each row of `x: [rows, dim]`, `row: [dim]`: the bias of a product.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn add_row(exec: &Exec, x: &[f32], row: &[f32], out: &mut [f32]) {
    let dim = row.len();
    assert!(dim > 0 && x.len().is_multiple_of(dim), "x must be [rows, {dim}]");
    assert_eq!(x.len(), out.len(), "lengths of x and out");
    let rows = exec.threads.rows_per_task(x.len() / dim, 8);
    exec.threads.for_each_chunk(out, rows * dim, |task, out| {
        let x = &x[task * rows * dim..][..out.len()];
        for (x, out) in x.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
            out.iter_mut().zip(x).zip(row).for_each(|((out, x), row)| *out = x + row);
        }
    });
}

/// Adds the sum of all rows of `x: [rows, dim]` to `sums: [dim]`, row by row: the derivative of
/// [`add_row`].
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn sum_rows(x: &[f32], sums: &mut [f32]) {
    let dim = sums.len();
    assert!(dim > 0 && x.len().is_multiple_of(dim), "x must be [rows, {dim}]");
    for x in x.chunks_exact(dim) {
        sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
    }
}

/// Sum of squares, in f64, in the order of the pieces whatever the number of threads.
pub fn sum_of_squares(exec: &Exec, x: &[f32]) -> f64 {
    let mut sums = vec![0.0f64; x.len().div_ceil(PIECE)];
    exec.threads.for_each_chunk(&mut sums, 1, |i, sum| {
        let piece = &x[i * PIECE..x.len().min((i + 1) * PIECE)];
        sum[0] = piece.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    });
    sums.iter().sum()
}

#[inline(always)]
fn simd_scaled_sum<S: Simd>(simd: S, alpha: f32, a: &[f32], beta: f32, b: &[f32], out: &mut [f32]) {
    let width = S::f32s::LEN;
    let whole = out.len() / width * width;
    let (va, vb) = (S::f32s::splat(simd, alpha), S::f32s::splat(simd, beta));
    for ((out, a), b) in
        out.chunks_exact_mut(width).zip(a.chunks_exact(width)).zip(b.chunks_exact(width))
    {
        let (a, b) = (S::f32s::from_slice(simd, a), S::f32s::from_slice(simd, b));
        a.mul_add(va, b * vb).store_slice(out);
    }
    // The same operations, or an element's bits would depend on where it stands.
    if whole < out.len() {
        let (a, b) = (lanes::load(simd, &a[whole..]), lanes::load(simd, &b[whole..]));
        lanes::store::<S>(a.mul_add(va, b * vb), &mut out[whole..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::testing::{assert_close, execs, random};

    /// What stood at the end of a batch was computed without the fused operation of the rest.
    #[test]
    fn bits_do_not_depend_on_the_place() {
        let (a, b) = (random(&mut Rng(1), 63), random(&mut Rng(2), 63));
        for exec in execs() {
            let mut whole = vec![f32::NAN; 63];
            scaled_sum(&exec, 1.3, &a, -0.7, &b, &mut whole);
            for i in 0..63 {
                let mut alone = [f32::NAN];
                scaled_sum(&exec, 1.3, &a[i..=i], -0.7, &b[i..=i], &mut alone);
                assert_eq!(whole[i], alone[0], "element {i}, {exec:?}");
            }
        }
    }

    #[test]
    fn a_row_added_and_summed() {
        for (rows, dim) in [(0, 3), (1, 1), (3, 7), (130, 33), (1000, 1)] {
            let mut rng = Rng(dim as u64);
            let (x, row) = (random(&mut rng, rows * dim), random(&mut rng, dim));
            let want: Vec<f32> = x.iter().enumerate().map(|(i, x)| x + row[i % dim]).collect();
            let mut sums = vec![0.0; dim];
            sum_rows(&x, &mut sums);
            for (i, sum) in sums.iter().enumerate() {
                let want: f32 = x.iter().skip(i).step_by(dim).sum();
                assert!((sum - want).abs() < 1e-4, "{sum} {want}");
            }
            for exec in execs() {
                let mut out = vec![f32::NAN; x.len()];
                add_row(&exec, &x, &row, &mut out);
                assert_eq!(out, want);
            }
        }
    }

    #[test]
    fn sums_of_any_length() {
        for len in [0, 1, 15, 17, PIECE, 2 * PIECE + 5] {
            let mut rng = Rng(len as u64);
            let (a, b) = (random(&mut rng, len), random(&mut rng, len));
            let want: Vec<f32> = a.iter().zip(&b).map(|(a, b)| 2.0 * a - 0.5 * b).collect();
            let doubled: Vec<f32> = a.iter().map(|a| 2.0 * a).collect();
            let squares: f64 = a.iter().map(|a| f64::from(*a).powi(2)).sum();
            for exec in execs() {
                let mut out = vec![f32::NAN; len];
                scaled_sum(&exec, 2.0, &a, -0.5, &b, &mut out);
                assert_close("scaled_sum", &want, &out, 1e-6);
                scale(&exec, 2.0, &a, &mut out);
                assert_eq!(doubled, out);
                assert!((sum_of_squares(&exec, &a) - squares).abs() <= 1e-9 * squares);
            }
        }
    }
}
