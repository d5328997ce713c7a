//! The unit of AVX-512 BF16: two products per lane.

#![cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, unused_imports, reason = "nobody can have the token elsewhere")
)]

use super::dot::Task;
use super::tiles::Pending;
use super::{Line, STEP, TILE_ROWS, WIDTH};
use crate::cpu::Avx512Bf16;

/// How far ahead of its use B is asked for, in lines: 16 KiB, as measured for decode over a long
/// KV (docs/perf/LOG.md, 2026-11-26).
const AHEAD: usize = 256;
/// Rows in registers: 8 x 2 vectors are enough chains for two products per cycle.
const ROWS: usize = 8;
/// Vectors of sums in [`chains`].
pub(super) const CHAINS: usize = 2 * ROWS;

/// `x` rounded to bf16, 32 numbers to a line, zeros behind the last.
///
/// # Panics
///
/// If there are fewer lines.
#[cfg(target_arch = "x86_64")]
pub(super) fn round<'a>(_: Avx512Bf16, x: &[f32], out: impl Iterator<Item = &'a mut Line>) {
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn inner<'a>(x: &[f32], mut out: impl Iterator<Item = &'a mut Line>) {
        for x in x.chunks(STEP) {
            let out = out.next().expect("a line for 32 numbers");
            // Lanes of either half that exist.
            let lanes = (1u64 << x.len()) - 1;
            let (low, high) = (lanes as u16, (lanes >> 16) as u16);
            // SAFETY: only lanes that `x` has are read; a line is 64 bytes.
            unsafe {
                let low = _mm512_maskz_loadu_ps(low, x.as_ptr());
                let high = _mm512_maskz_loadu_ps(high, x.as_ptr().wrapping_add(16));
                let rounded: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
                _mm512_store_si512(out.0.as_mut_ptr().cast(), rounded);
            }
        }
    }

    // SAFETY: the token proves that these features are available.
    unsafe { inner(x, out) }
}

/// Adds up all rows of what is pending.
///
/// # Safety
///
/// * What it names is there, see [`Pending`].
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn add_rows(_: Avx512Bf16, pending: &Pending) {
    use std::arch::x86_64::*;

    /// # Safety
    ///
    /// As for the function around it, and the features are available.
    #[target_feature(enable = "avx512f")]
    unsafe fn inner(pending: &Pending) {
        for i in 0..pending.rows {
            // SAFETY: row `i` of each has 32 elements.
            unsafe {
                let sums = pending.sums.add(i * WIDTH);
                let add = pending.add.add(i * pending.add_stride);
                let to = pending.to.add(i * pending.to_stride);
                for half in [0, 16] {
                    let sum = _mm512_add_ps(
                        _mm512_loadu_ps(sums.add(half)),
                        _mm512_loadu_ps(add.add(half)),
                    );
                    _mm512_storeu_ps(to.add(half), sum);
                }
            }
        }
    }

    // SAFETY: the token proves that the feature is available; the rest is the caller's promise.
    unsafe { inner(pending) }
}

/// There is no such unit here, as nobody can have the token.
///
/// # Safety
///
/// None needed.
#[cfg(not(target_arch = "x86_64"))]
pub(super) unsafe fn add_rows(_: Avx512Bf16, _: &Pending) {
    unreachable!("a unit of x86")
}

/// See [`Task`].
///
/// # Safety
///
/// * `task.from` and `task.to` have `task.rows` rows of 32 elements that nobody else uses, or 32
///   rows if there is a second tile.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn multiply(_: Avx512Bf16, task: Task<'_>) {
    /// # Safety
    ///
    /// As for the function around it, and the features are available.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn inner(task: Task<'_>) {
        let below = task.below.map(|a| (a, TILE_ROWS, TILE_ROWS));
        for (a, first_row, count) in [Some((task.a, 0, task.rows)), below].into_iter().flatten() {
            for first in (0..count).step_by(ROWS) {
                // SAFETY: `first` and as many rows as there are from there on, of one tile.
                unsafe {
                    match count - first {
                        1 => rows::<1>(task, a, first_row + first, first),
                        2 => rows::<2>(task, a, first_row + first, first),
                        3 => rows::<3>(task, a, first_row + first, first),
                        4 => rows::<4>(task, a, first_row + first, first),
                        5 => rows::<5>(task, a, first_row + first, first),
                        6 => rows::<6>(task, a, first_row + first, first),
                        7 => rows::<7>(task, a, first_row + first, first),
                        _ => rows::<ROWS>(task, a, first_row + first, first),
                    }
                }
            }
        }
    }

    // SAFETY: the token proves that the features are available; the rest is the caller's promise.
    unsafe { inner(task) }
}

/// Rows `first..first + N` of tile `a`, which are rows `row..` of the sums.
///
/// # Safety
///
/// * The sums have those rows, and `first + N <= 16`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn rows<const N: usize>(task: Task<'_>, a: &[Line], row: usize, first: usize) {
    use std::arch::x86_64::*;

    debug_assert!(first + N <= TILE_ROWS);
    let mut sums = [[_mm512_setzero_ps(); 2]; N];
    if let Some(from) = task.from {
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: row `row + i` of the sums has 32 elements.
            unsafe {
                let data = from.data.add((row + i) * from.stride);
                *sums = [_mm512_loadu_ps(data), _mm512_loadu_ps(data.add(16))];
            }
        }
    }
    for (a, b) in a.as_chunks::<TILE_ROWS>().0.iter().zip(task.b.as_chunks::<STEP>().0) {
        for pair in 0..STEP / 2 {
            let b = &b[2 * pair..2 * pair + 2];
            if task.streamed {
                for line in b {
                    let ahead = std::ptr::from_ref(line).wrapping_add(AHEAD);
                    _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                }
            }
            // SAFETY: a line is 64 bytes, and any bits are numbers.
            let [b0, b1] =
                unsafe { [&b[0], &b[1]].map(|line| std::mem::transmute::<Line, __m512bh>(*line)) };
            for (i, sums) in sums.iter_mut().enumerate() {
                // SAFETY: row `first + i` is below 16, and a line has 16 pairs; any bits are
                // numbers.
                let x: __m512bh = unsafe {
                    let x = a.as_ptr().add(first + i).cast::<i32>().add(pair);
                    std::mem::transmute(_mm512_set1_epi32(*x))
                };
                sums[0] = _mm512_dpbf16_ps(sums[0], x, b0);
                sums[1] = _mm512_dpbf16_ps(sums[1], x, b1);
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        // SAFETY: row `row + i` of the sums has 32 elements.
        unsafe {
            let data = task.to.data.add((row + i) * task.to.stride);
            _mm512_storeu_ps(data, sums[0]);
            _mm512_storeu_ps(data.add(16), sums[1]);
        }
    }
}

/// See [`super::chains`].
#[cfg(target_arch = "x86_64")]
pub(super) fn chains(_: Avx512Bf16, steps: usize) {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn inner(steps: usize) -> f32 {
        // Pairs of 0.5; different starts, or the chains would be one.
        let x = _mm512_set1_epi32(black_box(0x3F00_3F00));
        // SAFETY: any bits are numbers.
        let x: __m512bh = unsafe { std::mem::transmute(x) };
        let mut sums = [_mm512_setzero_ps(); CHAINS];
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = _mm512_set1_ps(black_box(i as f32));
        }
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, x, x);
            }
        }
        let mut total = 0.0;
        for sum in sums {
            total += _mm512_reduce_add_ps(sum);
        }
        total
    }

    // SAFETY: the token proves that these features are available.
    black_box(unsafe { inner(steps) });
}

/// There is no such unit here, as nobody can have the token.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn chains(_: Avx512Bf16, _: usize) {
    unreachable!("a unit of x86")
}

/// There is no such unit here, as nobody can have the token.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn round<'a>(_: Avx512Bf16, _: &[f32], _: impl Iterator<Item = &'a mut Line>) {
    unreachable!("a unit of x86")
}

/// There is no such unit here, as nobody can have the token.
///
/// # Safety
///
/// None needed.
#[cfg(not(target_arch = "x86_64"))]
pub(super) unsafe fn multiply(_: Avx512Bf16, _: Task<'_>) {
    unreachable!("a unit of x86")
}
