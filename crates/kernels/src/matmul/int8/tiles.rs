//! The unit of AMX: `tdpbssd`, 16 x 16 sums of the products of a block of 32.
//!
//! Scales differ from block to block, so the sums of each leave the tiles and are scaled by AVX-512,
//! while the tiles multiply the next block. As in `bf16::tiles` the instructions are assembly, and
//! no tile has contents that outlive a block of it.

use super::{Line, TILE_LINES, Task, UNPACKED};
use crate::cpu::AmxInt8;
use crate::matmul::amx::Shaped;
use std::arch::x86_64::*;

/// Tiles of this thread are in use.
pub(super) struct Tiles {
    _shaped: Shaped,
}

/// The sums of a block, and of the next.
#[repr(C, align(64))]
struct Sums([[[i32; 16]; 16]; 2]);

impl Tiles {
    pub(super) fn new(token: AmxInt8) -> Self {
        // tmm0: sums; tmm1: 16 rows of A; tmm2: 8 quads of 16 columns.
        Self { _shaped: Shaped::new(token.tiles(), &[(16, 64), (16, 32), (8, 64)]) }
    }

    /// See [`Task`].
    ///
    /// # Safety
    ///
    /// * `task.to` has `task.rows` rows of 32 elements that nobody else uses.
    pub(super) unsafe fn multiply(&self, task: Task<'_>) {
        let whole = task.rows == 16;
        // SAFETY: whoever has `Tiles` may use tiles, and AVX-512 with them; the rest is the caller's
        // promise.
        unsafe {
            match (task.minima, whole) {
                (false, true) => columns::<false, true>(task),
                (false, false) => columns::<false, false>(task),
                (true, true) => columns::<true, true>(task),
                (true, false) => columns::<true, false>(task),
            }
        }
    }
}

/// # Safety
///
/// * As for [`Tiles::multiply`], and tiles are shaped; `WHOLE` means 16 rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn columns<const MINIMA: bool, const WHOLE: bool>(task: Task<'_>) {
    let mut dots = Sums([[[0; 16]; 16]; 2]);
    let rows = if WHOLE { 16 } else { task.rows };
    for half in 0..2 {
        let at = |i: usize| task.to.data.wrapping_add(i * task.to.stride + 16 * half);
        let mut sums = [_mm512_setzero_ps(); 16];
        if task.accumulate {
            for (i, sum) in sums.iter_mut().enumerate().take(rows) {
                // SAFETY: row `i` of the sums has 32 elements.
                *sum = unsafe { _mm512_loadu_ps(at(i)) };
            }
        }
        let pairs = task.a.iter().zip(task.b);
        let mut before: Option<(&[Line; TILE_LINES], &[Line; UNPACKED])> = None;
        for (i, (a, b)) in pairs.enumerate() {
            // SAFETY: tiles are shaped.
            unsafe { multiply(a, b, half, &mut dots.0[i % 2]) };
            if let Some((a, b)) = before {
                scale::<MINIMA>(a, b, half, &dots.0[(i + 1) % 2], &mut sums);
            }
            before = Some((a, b));
        }
        if let Some((a, b)) = before {
            scale::<MINIMA>(a, b, half, &dots.0[(task.a.len() + 1) % 2], &mut sums);
        }
        for (i, sum) in sums.iter().enumerate().take(rows) {
            // SAFETY: row `i` of the sums has 32 elements.
            unsafe { _mm512_storeu_ps(at(i), *sum) };
        }
    }
}

/// The sums of one block for 16 columns.
///
/// # Safety
///
/// * Tiles are shaped.
#[inline]
unsafe fn multiply(
    a: &[Line; TILE_LINES],
    b: &[Line; UNPACKED],
    half: usize,
    dots: &mut [[i32; 16]; 16],
) {
    // SAFETY: 16 rows of 32 bytes of A, 8 of 64 bytes of B that are 128 apart, and 16 x 16 sums are
    // there; tiles are declared as overwritten.
    unsafe {
        std::arch::asm!(
            "tilezero tmm0",
            "tileloadd tmm1, [{a} + {row}]",
            "tileloadd tmm2, [{b} + 4*{row}]",
            "tdpbssd tmm0, tmm1, tmm2",
            "tilestored [{dots} + 2*{row}], tmm0",
            a = in(reg) a.as_ptr(),
            b = in(reg) b.as_ptr().add(4 + half),
            row = in(reg) 32usize,
            dots = in(reg) dots.as_mut_ptr(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _,
            options(nostack, preserves_flags),
        );
    }
}

/// Adds the sums of a block to `sums`, scaled.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn scale<const MINIMA: bool>(
    a: &[Line; TILE_LINES],
    b: &[Line; UNPACKED],
    half: usize,
    dots: &[[i32; 16]; 16],
    sums: &mut [__m512; 16],
) {
    // SAFETY: lines are 64 bytes, and any bits are numbers; a line has 16 of them.
    unsafe {
        let line = |i: usize| _mm512_load_ps(b[i].0.as_ptr().cast());
        let (s, m) = (line(half), line(2 + half));
        let (t, u) = (a[8].0.as_ptr().cast::<f32>(), a[9].0.as_ptr().cast::<f32>());
        for (i, (sum, dots)) in sums.iter_mut().zip(dots).enumerate() {
            let scale = _mm512_mul_ps(s, _mm512_set1_ps(*t.add(i)));
            let dots = _mm512_cvtepi32_ps(_mm512_loadu_si512(dots.as_ptr().cast()));
            *sum = _mm512_fmadd_ps(dots, scale, *sum);
            if MINIMA {
                *sum = _mm512_fmadd_ps(m, _mm512_set1_ps(*u.add(i)), *sum);
            }
        }
    }
}
