//! The unit of AVX2: products of bytes by way of 16 bits.
//!
//! `vpmaddubsw` adds two products of a byte without sign and one with, and saturates; of magnitudes
//! up to 128 and 127 it cannot, so the sign goes from the weight to the other factor.

use super::{CHAINS, Line, TILE_LINES, Task, UNPACKED};
use crate::cpu::Avx2;
use std::arch::x86_64::*;
use std::hint::black_box;

/// Rows in registers, of 8 columns at a time.
const ROWS: usize = 4;

/// See [`Task`].
///
/// # Safety
///
/// * `task.to` has `task.rows` rows of 32 elements that nobody else uses.
pub(super) unsafe fn multiply(_: Avx2, task: Task<'_>) {
    /// # Safety
    ///
    /// As for the function around it, and the features are available.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn inner<const MINIMA: bool>(task: Task<'_>) {
        for first in (0..task.rows).step_by(ROWS) {
            for group in 0..4 {
                // SAFETY: `first` and as many rows as there are from there on.
                unsafe {
                    match task.rows - first {
                        1 => rows::<1, MINIMA>(task, first, group),
                        2 => rows::<2, MINIMA>(task, first, group),
                        3 => rows::<3, MINIMA>(task, first, group),
                        _ => rows::<ROWS, MINIMA>(task, first, group),
                    }
                }
            }
        }
    }

    // SAFETY: the token proves that the features are available; the rest is the caller's promise.
    unsafe { if task.minima { inner::<true>(task) } else { inner::<false>(task) } }
}

/// Rows `first..first + N` of the tile, columns `8 group..`.
///
/// # Safety
///
/// * The sums have those rows, `first + N <= 16` and `group < 4`.
#[target_feature(enable = "avx2,fma")]
unsafe fn rows<const N: usize, const MINIMA: bool>(task: Task<'_>, first: usize, group: usize) {
    let mut sums = [_mm256_setzero_ps(); N];
    let at = |i: usize| task.to.data.wrapping_add((first + i) * task.to.stride + 8 * group);
    if task.accumulate {
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: row `first + i` of the sums has 32 elements.
            *sums = unsafe { _mm256_loadu_ps(at(i)) };
        }
    }
    for (a, b) in task.a.iter().zip(task.b) {
        // SAFETY: `first + i` is below 16 and `group` below 4.
        unsafe { block::<N, MINIMA>(a, b, first, group, &mut sums) };
    }
    for (i, sums) in sums.iter().enumerate() {
        // SAFETY: as above.
        unsafe { _mm256_storeu_ps(at(i), *sums) };
    }
}

/// # Safety
///
/// * `first + N <= 16` and `group < 4`.
#[target_feature(enable = "avx2,fma")]
unsafe fn block<const N: usize, const MINIMA: bool>(
    a: &[Line; TILE_LINES],
    b: &[Line; UNPACKED],
    first: usize,
    group: usize,
    sums: &mut [__m256; N],
) {
    // SAFETY: rows below 16 have 32 bytes in the first 8 lines of `a` and 4 in each of the others;
    // half a line of `b` is 32 bytes, and any bits are numbers.
    unsafe {
        let p = a.as_ptr().cast::<u8>().add(32 * first);
        let t = a[8].0.as_ptr().cast::<f32>().add(first);
        let u = a[9].0.as_ptr().cast::<f32>().add(first);
        let half = |pair: usize| {
            let line = b[2 * pair + group / 2].0.as_ptr();
            _mm256_load_si256(line.add(32 * (group % 2)).cast())
        };
        let ones = _mm256_set1_epi16(1);
        let mut dots = [_mm256_setzero_si256(); N];
        for quad in 0..8 {
            let q = half(2 + quad);
            let magnitude = _mm256_abs_epi8(q);
            for (i, dots) in dots.iter_mut().enumerate() {
                let x = _mm256_set1_epi32(p.add(32 * i + 4 * quad).cast::<i32>().read_unaligned());
                let pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(x, q));
                *dots = _mm256_add_epi32(*dots, _mm256_madd_epi16(pairs, ones));
            }
        }
        let s = _mm256_castsi256_ps(half(0));
        let m = _mm256_castsi256_ps(half(1));
        for (i, (sums, dots)) in sums.iter_mut().zip(&dots).enumerate() {
            let scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(*dots), s);
            *sums = _mm256_fmadd_ps(scaled, _mm256_set1_ps(*t.add(i)), *sums);
            if MINIMA {
                *sums = _mm256_fmadd_ps(m, _mm256_set1_ps(*u.add(i)), *sums);
            }
        }
    }
}

/// See [`super::chains`].
pub(super) fn chains(_: Avx2, steps: usize) {
    #[target_feature(enable = "avx2")]
    fn inner(steps: usize) -> i32 {
        let (x, ones) = (_mm256_set1_epi8(black_box(1)), _mm256_set1_epi16(black_box(1)));
        // Different starts, or the chains would be one.
        let mut sums: [__m256i; CHAINS] =
            std::array::from_fn(|i| _mm256_set1_epi32(black_box(i as i32)));
        for _ in 0..steps {
            for sum in &mut sums {
                let pairs = _mm256_maddubs_epi16(x, *sum);
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
            }
        }
        let mut numbers = [0; 8];
        sums.iter().fold(0, |total: i32, sum| {
            // SAFETY: 8 numbers are 32 bytes.
            unsafe { _mm256_storeu_si256(numbers.as_mut_ptr().cast(), *sum) };
            numbers.iter().fold(total, |total, x| total.wrapping_add(*x))
        })
    }

    // SAFETY: the token proves that these features are available.
    black_box(unsafe { inner(steps) });
}
