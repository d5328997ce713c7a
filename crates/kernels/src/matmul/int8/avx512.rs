//! The unit of AVX-512 VNNI: four products of bytes per lane, one of whose factors has no sign.

use super::{CHAINS, INTEGERS, Line, TILE_LINES, Task, UNPACKED};
use crate::cpu::Avx512Vnni;
use std::arch::x86_64::*;
use std::hint::black_box;

/// Rows in registers: with two vectors each they are twelve chains, enough for two instructions per
/// cycle of latency 5.
const ROWS: usize = 6;

/// See [`Task`]; the bytes of `task.b` are what they stand for plus the bias that the sums of
/// `task.a` take off.
///
/// # Safety
///
/// * `task.to` has `task.rows` rows of 32 elements that nobody else uses.
pub(super) unsafe fn multiply(_: Avx512Vnni, task: Task<'_>) {
    /// # Safety
    ///
    /// As for the function around it, and the features are available.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn inner<const MINIMA: bool>(task: Task<'_>) {
        for first in (0..task.rows).step_by(ROWS) {
            // SAFETY: `first` and as many rows as there are from there on.
            unsafe {
                match task.rows - first {
                    1 => rows::<1, MINIMA>(task, first),
                    2 => rows::<2, MINIMA>(task, first),
                    3 => rows::<3, MINIMA>(task, first),
                    4 => rows::<4, MINIMA>(task, first),
                    5 => rows::<5, MINIMA>(task, first),
                    _ => rows::<ROWS, MINIMA>(task, first),
                }
            }
        }
    }

    // SAFETY: the token proves that the features are available; the rest is the caller's promise.
    unsafe { if task.minima { inner::<true>(task) } else { inner::<false>(task) } }
}

/// Rows `first..first + N` of the tile.
///
/// # Safety
///
/// * The sums have those rows, and `first + N <= 16`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn rows<const N: usize, const MINIMA: bool>(task: Task<'_>, first: usize) {
    let mut sums = [[_mm512_setzero_ps(); 2]; N];
    if task.accumulate {
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: row `first + i` of the sums has 32 elements.
            unsafe {
                let data = task.to.data.add((first + i) * task.to.stride);
                *sums = [_mm512_loadu_ps(data), _mm512_loadu_ps(data.add(16))];
            }
        }
    }
    for (a, b) in task.a.iter().zip(task.b) {
        // SAFETY: `first + i` is below 16.
        unsafe { block::<N, MINIMA>(a, b, first, &mut sums) };
    }
    for (i, sums) in sums.iter().enumerate() {
        // SAFETY: row `first + i` of the sums has 32 elements.
        unsafe {
            let data = task.to.data.add((first + i) * task.to.stride);
            _mm512_storeu_ps(data, sums[0]);
            _mm512_storeu_ps(data.add(16), sums[1]);
        }
    }
}

/// # Safety
///
/// * `first + N <= 16`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn block<const N: usize, const MINIMA: bool>(
    a: &[Line; TILE_LINES],
    b: &[Line; UNPACKED],
    first: usize,
    sums: &mut [[__m512; 2]; N],
) {
    // SAFETY: rows below 16 have 32 bytes in the first 8 lines of `a` and 4 in each of the others;
    // the lines of `b` are 64 bytes, and any bits are numbers.
    unsafe {
        let p = a.as_ptr().cast::<u8>().add(32 * first);
        let t = a[8].0.as_ptr().cast::<f32>().add(first);
        let u = a[9].0.as_ptr().cast::<f32>().add(first);
        let line = |i: usize| _mm512_load_si512(b[i].0.as_ptr().cast());
        let mut dots = [[_mm512_castps_si512(_mm512_set1_ps(INTEGERS)); 2]; N];
        if !MINIMA {
            for (i, dots) in dots.iter_mut().enumerate() {
                *dots = [_mm512_set1_epi32(*u.add(i).cast::<i32>()); 2];
            }
        }
        for quad in 0..8 {
            let (b0, b1) = (line(4 + 2 * quad), line(5 + 2 * quad));
            for (i, dots) in dots.iter_mut().enumerate() {
                let x = _mm512_set1_epi32(p.add(32 * i + 4 * quad).cast::<i32>().read_unaligned());
                dots[0] = _mm512_dpbusd_epi32(dots[0], b0, x);
                dots[1] = _mm512_dpbusd_epi32(dots[1], b1, x);
            }
        }
        let s = [_mm512_castsi512_ps(line(0)), _mm512_castsi512_ps(line(1))];
        let m = [_mm512_castsi512_ps(line(2)), _mm512_castsi512_ps(line(3))];
        let off = offsets(s);
        for (i, (sums, dots)) in sums.iter_mut().zip(&dots).enumerate() {
            let t = _mm512_set1_ps(*t.add(i));
            for h in 0..2 {
                sums[h] = _mm512_fmadd_ps(scaled(dots[h], s[h], off[h]), t, sums[h]);
                if MINIMA {
                    sums[h] = _mm512_fmadd_ps(m[h], _mm512_set1_ps(*u.add(i)), sums[h]);
                }
            }
        }
    }
}

/// What [`INTEGERS`] is times scales, negative. It is exact: a scale of Q8_0 and Q4_0 has 11 bits, one
/// of Q4_K 17, and 1.5 x 2^23 has 2.
#[target_feature(enable = "avx512f")]
pub(super) fn offsets(s: [__m512; 2]) -> [__m512; 2] {
    s.map(|s| _mm512_mul_ps(s, _mm512_set1_ps(-INTEGERS)))
}

/// Integers times their scales, rounded once, where `dots` began with [`INTEGERS`]: one instruction in
/// place of a conversion and a product.
#[target_feature(enable = "avx512f")]
pub(super) fn scaled(dots: __m512i, s: __m512, offset: __m512) -> __m512 {
    _mm512_fmadd_ps(_mm512_castsi512_ps(dots), s, offset)
}

/// See [`super::chains`].
pub(super) fn chains(_: Avx512Vnni, steps: usize) {
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn inner(steps: usize) -> i32 {
        let x = _mm512_set1_epi8(black_box(1));
        // Different starts, or the chains would be one.
        let mut sums: [__m512i; CHAINS] =
            std::array::from_fn(|i| _mm512_set1_epi32(black_box(i as i32)));
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, x, x);
            }
        }
        sums.into_iter().map(|sum| _mm512_reduce_add_epi32(sum)).fold(0, i32::wrapping_add)
    }

    // SAFETY: the token proves that these features are available.
    black_box(unsafe { inner(steps) });
}
