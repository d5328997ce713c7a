//! The unit of AMX: `tdpbssd`, 16 x 16 sums of the products of a block of 32.
//!
//! Scales differ from block to block, so the sums of each leave the tiles and are scaled by AVX-512,
//! while the tiles multiply the next block. As in `bf16::tiles` the instructions are assembly, and
//! no tile has contents that outlive a block of it.

use super::{Line, TILE_LINES, Task, UNPACKED};
use crate::cpu::AmxInt8;
use crate::matmul::amx::{Shaped, tile_chains};
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

/// Tiles of this thread are in use.
pub(super) struct Tiles {
    _shaped: Shaped,
}

/// Blocks that are multiplied before the first is scaled.
const AT_ONCE: usize = 4;

/// The sums of these blocks.
#[repr(C, align(64))]
struct Sums([[[i32; 16]; 16]; AT_ONCE]);

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

/// Two halves of 16 columns, each in two parts of four blocks: while one is scaled the next but one
/// is multiplied, for the way from tiles to vectors is long.
///
/// # Safety
///
/// * As for [`Tiles::multiply`], and tiles are shaped; `WHOLE` means 16 rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn columns<const MINIMA: bool, const WHOLE: bool>(task: Task<'_>) {
    // Zeros would cost more than what is computed.
    let mut dots = MaybeUninit::<[Sums; 3]>::uninit();
    let dots = dots.as_mut_ptr().cast::<Sums>();
    let rows = if WHOLE { 16 } else { task.rows };
    let at = |half: usize, i: usize| task.to.data.wrapping_add(i * task.to.stride + 16 * half);
    let parts = task.a.len().div_ceil(AT_ONCE);
    let part = |i: usize| {
        let (half, part) = (i / parts, i % parts);
        let range = part * AT_ONCE..task.a.len().min((part + 1) * AT_ONCE);
        (half, &task.a[range.clone()], &task.b[range])
    };
    let mut sums = [_mm512_setzero_ps(); 16];
    for i in 0..2 * parts + 2 {
        if i < 2 * parts {
            let (half, a, b) = part(i);
            // SAFETY: tiles are shaped, and there are three of `Sums`.
            unsafe { multiply(a, b, half, dots.add(i % 3)) };
        }
        if i < 2 {
            continue;
        }
        let (half, a, b) = part(i - 2);
        if (i - 2) % parts == 0 {
            for (row, sum) in sums.iter_mut().enumerate().take(rows) {
                *sum = match task.accumulate {
                    // SAFETY: row `row` of the sums has 32 elements.
                    true => unsafe { _mm512_loadu_ps(at(half, row)) },
                    false => _mm512_setzero_ps(),
                };
            }
        }
        for (block, (a, b)) in a.iter().zip(b).enumerate() {
            // SAFETY: `multiply` has written them for as many blocks.
            let dots = unsafe { &(*dots.add((i - 2) % 3)).0[block] };
            scale::<MINIMA>(a, b, half, dots, &mut sums);
        }
        if (i - 1) % parts == 0 {
            for (row, sum) in sums.iter().enumerate().take(rows) {
                // SAFETY: as above.
                unsafe { _mm512_storeu_ps(at(half, row), *sum) };
            }
        }
    }
}

/// The sums of up to four blocks for 16 columns.
///
/// # Safety
///
/// * Tiles are shaped, and `dots` points to `Sums` to be written for as many blocks as there are.
#[inline]
unsafe fn multiply(a: &[[Line; TILE_LINES]], b: &[[Line; UNPACKED]], half: usize, dots: *mut Sums) {
    for (block, (a, b)) in a.iter().zip(b).enumerate() {
        // SAFETY: 16 rows of 32 bytes of A, 8 of 64 bytes of B that are 128 apart, and 16 x 16 sums
        // are there; tiles are declared as overwritten.
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
                dots = in(reg) dots.cast::<[[i32; 16]; 16]>().wrapping_add(block),
                out("tmm0") _, out("tmm1") _, out("tmm2") _,
                options(nostack, preserves_flags),
            );
        }
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
            let dots = _mm512_cvtepi32_ps(_mm512_loadu_si512(dots.as_ptr().cast()));
            let scaled = _mm512_mul_ps(dots, s);
            *sum = _mm512_fmadd_ps(scaled, _mm512_set1_ps(*t.add(i)), *sum);
            if MINIMA {
                *sum = _mm512_fmadd_ps(m, _mm512_set1_ps(*u.add(i)), *sum);
            }
        }
    }
}

/// See [`super::chains`].
pub(super) fn chains(token: AmxInt8, steps: usize) {
    let _shaped = Shaped::new(token.tiles(), &[(16, 64); 8]);
    tile_chains!("tdpbssd", Line([1; 64]), steps);
}
