//! A few rows on AVX-512 VNNI: weights go from memory to registers, where they are unpacked.
//!
//! With one row a weight is worth two operations, so anything that is done to it beside them shows:
//! unpacked in memory first, two threads multiplied no more than 28 GB of Q4_0 per second, less than
//! some memories give. Here a block of 32 x 32 in Q4_0 takes one row 44 instructions of the two ports that
//! vectors have, of which 16 are products.

use super::avx512::{offsets, scaled};
use super::{BLOCK, Blocks, INTEGERS, Line, SCALES, STARTS, TILE_LINES, WIDTH, pack};
use crate::cpu::Avx512Vnni;
use crate::lanes::prefetch;
use crate::quant::Format;
use std::arch::x86_64::*;
use std::ops::Range;

/// Rows at most: for more of them a weight is better unpacked once for all.
pub(super) const MAX_ROWS: usize = 8;
/// Rows in registers: with two kinds of sums for each half of the columns they are 16 chains, and
/// eight sums of f32.
const ROWS: usize = 4;

/// Rows of a tile of A times some panels.
///
/// # Safety
///
/// * `c` points to `rows` rows, `stride` apart, of at least as many elements as the panels have
///   columns up to their end, and nobody else uses those columns.
pub(super) unsafe fn multiply(
    _: Avx512Vnni,
    (tile, rows): (&[[Line; TILE_LINES]], usize),
    w: Blocks<'_>,
    panels: Range<usize>,
    (c, stride): (*mut f32, usize),
    accumulate: bool,
) {
    assert!(
        rows <= MAX_ROWS && tile.len() == w.k / BLOCK,
        "rows of one tile, as deep as the weight"
    );
    /// # Safety
    ///
    /// As for the function around it, and the features are available.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn inner(
        (tile, rows): (&[[Line; TILE_LINES]], usize),
        w: Blocks<'_>,
        panels: Range<usize>,
        (c, stride): (*mut f32, usize),
        accumulate: bool,
    ) {
        for panel in panels {
            let columns = WIDTH.min(w.n - panel * WIDTH);
            let lines = pack::panel(w, panel);
            for first in (0..rows).step_by(ROWS) {
                // SAFETY: `first` and as many rows as there are from there on, of the columns that
                // the panel has.
                unsafe {
                    let to = (c.add(first * stride + panel * WIDTH), stride, columns);
                    match rows - first {
                        1 => some::<1>(tile, first, lines, w.format, to, accumulate),
                        2 => some::<2>(tile, first, lines, w.format, to, accumulate),
                        3 => some::<3>(tile, first, lines, w.format, to, accumulate),
                        _ => some::<ROWS>(tile, first, lines, w.format, to, accumulate),
                    }
                }
            }
        }
    }

    // SAFETY: the token proves that the features are available; the rest is the caller's promise.
    unsafe { inner((tile, rows), w, panels, (c, stride), accumulate) }
}

/// Rows `first..first + N` times a panel.
///
/// # Safety
///
/// * `to` has `N` rows, its stride apart, of as many columns as it says, and `first + N <= 16`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn some<const N: usize>(
    tile: &[[Line; TILE_LINES]],
    first: usize,
    panel: &[Line],
    format: Format,
    (to, stride, columns): (*mut f32, usize, usize),
    accumulate: bool,
) {
    let masks = [0, 16].map(|h| ((1u32 << columns.saturating_sub(h).min(16)) - 1) as u16);
    let mut sums = [[_mm512_setzero_ps(); 2]; N];
    if accumulate {
        for (i, sums) in sums.iter_mut().enumerate() {
            for h in 0..2 {
                // SAFETY: only columns that there are are read.
                sums[h] = unsafe {
                    _mm512_maskz_loadu_ps(masks[h], to.wrapping_add(i * stride + 16 * h))
                };
            }
        }
    }
    let width = pack::block_lines(format);
    for (b, a) in tile.iter().enumerate() {
        let (start, common) = pack::places(format, b);
        let block = &panel[start..start + width];
        block.iter().for_each(|line| prefetch(std::ptr::from_ref(line).wrapping_add(pack::AHEAD)));
        // SAFETY: rows below 16.
        unsafe {
            match format {
                Format::Q8_0 => q8_0(a, first, block, &mut sums),
                Format::Q4_0 => q4_0(a, first, block, &mut sums),
                _ => q4_k(a, first, &panel[common..common + 2], block, &mut sums),
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        for h in 0..2 {
            // SAFETY: only columns that there are are written.
            unsafe {
                let to = to.wrapping_add(i * stride + 16 * h);
                _mm512_mask_storeu_ps(to, masks[h], sums[h]);
            }
        }
    }
}

/// # Safety
///
/// * `first + N <= 16`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn q8_0<const N: usize>(
    a: &[Line; TILE_LINES],
    first: usize,
    block: &[Line],
    sums: &mut [[__m512; 2]; N],
) {
    let a = Rows { a, first };
    let mut dots = a.starts::<N>();
    // What has a sign becomes 128 more.
    let bias = _mm512_set1_epi8(-128);
    for quad in 0..8 {
        let b = [0, 1].map(|h| _mm512_xor_si512(load(&block[1 + 2 * quad + h]), bias));
        for (i, dots) in dots.iter_mut().enumerate() {
            // SAFETY: a row below 16.
            let x = unsafe { a.quad(i, quad) };
            *dots = [0, 1].map(|h| _mm512_dpbusd_epi32(dots[h], b[h], x));
        }
    }
    a.add(dots, halves(&block[0]), sums);
}

/// # Safety
///
/// * `first + N <= 16`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn q4_0<const N: usize>(
    a: &[Line; TILE_LINES],
    first: usize,
    block: &[Line],
    sums: &mut [[__m512; 2]; N],
) {
    let a = Rows { a, first };
    // SAFETY: the caller's promise, passed on.
    let dots = unsafe { nibbles(a, a.starts(), &block[1..]) };
    a.add(dots, halves(&block[0]), sums);
}

/// # Safety
///
/// * `first + N <= 16`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn q4_k<const N: usize>(
    a: &[Line; TILE_LINES],
    first: usize,
    common: &[Line],
    block: &[Line],
    sums: &mut [[__m512; 2]; N],
) {
    let a = Rows { a, first };
    let integers = _mm512_castps_si512(_mm512_set1_ps(INTEGERS));
    // SAFETY: the caller's promise, passed on.
    let dots = unsafe { nibbles(a, [[integers; 2]; N], &block[1..]) };
    let [s, m] = [0, 1].map(|i| {
        let d = halves(&common[i]);
        let factors = bytes(&block[0], 32 * i);
        [0, 1].map(|h| _mm512_mul_ps(d[h], factors[h]))
    });
    a.add(dots, s, sums);
    for (i, sums) in sums.iter_mut().enumerate() {
        let u = _mm512_set1_ps(a.number(STARTS, i));
        *sums = [0, 1].map(|h| _mm512_fmadd_ps(m[h], u, sums[h]));
    }
}

/// Products of nibbles, added to `low`. The high ones are multiplied where they are, as 16 times what
/// they stand for, and their sums divided.
///
/// # Safety
///
/// * `a.first + N <= 16`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn nibbles<const N: usize>(
    a: Rows<'_>,
    mut low: [[__m512i; 2]; N],
    quads: &[Line],
) -> [[__m512i; 2]; N] {
    let masks = [0x0F, -16i8].map(|mask| _mm512_set1_epi8(mask));
    let mut high = [[_mm512_setzero_si512(); 2]; N];
    for quad in 0..4 {
        let both = [0, 1].map(|h| load(&quads[2 * quad + h]));
        let b = masks.map(|mask| both.map(|x| _mm512_and_si512(x, mask)));
        for (i, (low, high)) in low.iter_mut().zip(&mut high).enumerate() {
            // SAFETY: a row below 16.
            let x = unsafe { [a.quad(i, quad), a.quad(i, quad + 4)] };
            *low = [0, 1].map(|h| _mm512_dpbusd_epi32(low[h], b[0][h], x[0]));
            *high = [0, 1].map(|h| _mm512_dpbusd_epi32(high[h], b[1][h], x[1]));
        }
    }
    for (low, high) in low.iter_mut().zip(&high) {
        *low = [0, 1].map(|h| _mm512_add_epi32(low[h], _mm512_srai_epi32::<4>(high[h])));
    }
    low
}

/// Rows of a block of A, from `first` on.
#[derive(Clone, Copy)]
struct Rows<'a> {
    a: &'a [Line; TILE_LINES],
    first: usize,
}

impl Rows<'_> {
    /// Four numbers of row `i`, for all columns.
    ///
    /// # Safety
    ///
    /// * `first + i < 16 && quad < 8`.
    #[target_feature(enable = "avx512f")]
    unsafe fn quad(self, i: usize, quad: usize) -> __m512i {
        // SAFETY: row `first + i` has 32 bytes in the first 8 lines.
        let x = unsafe {
            let row = self.a.as_ptr().cast::<u8>().add(BLOCK * (self.first + i));
            row.add(4 * quad).cast::<i32>().read_unaligned()
        };
        _mm512_set1_epi32(x)
    }

    /// What line `line` has for row `i`.
    #[inline(always)]
    fn number(self, line: usize, i: usize) -> f32 {
        f32::from_le_bytes(self.a[line].0.as_chunks::<4>().0[self.first + i])
    }

    /// What the products of each row begin with.
    #[target_feature(enable = "avx512f")]
    fn starts<const N: usize>(self) -> [[__m512i; 2]; N] {
        std::array::from_fn(|i| {
            [_mm512_set1_epi32(self.number(STARTS, i).to_bits().cast_signed()); 2]
        })
    }

    /// Adds a block's products to the sums.
    #[target_feature(enable = "avx512f")]
    fn add<const N: usize>(
        self,
        dots: [[__m512i; 2]; N],
        s: [__m512; 2],
        sums: &mut [[__m512; 2]; N],
    ) {
        let off = offsets(s);
        for (i, (sums, dots)) in sums.iter_mut().zip(&dots).enumerate() {
            let t = _mm512_set1_ps(self.number(SCALES, i));
            *sums = [0, 1].map(|h| _mm512_fmadd_ps(scaled(dots[h], s[h], off[h]), t, sums[h]));
        }
    }
}

#[target_feature(enable = "avx512f")]
fn load(line: &Line) -> __m512i {
    // SAFETY: a line is 64 bytes from a multiple of 64 on.
    unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
}

/// 32 numbers of f16.
#[target_feature(enable = "avx512f")]
fn halves(line: &Line) -> [__m512; 2] {
    let line = load(line);
    [
        _mm512_cvtph_ps(_mm512_castsi512_si256(line)),
        _mm512_cvtph_ps(_mm512_extracti64x4_epi64::<1>(line)),
    ]
}

/// 32 bytes of a line, from `start` on, as numbers.
#[target_feature(enable = "avx512f")]
fn bytes(line: &Line, start: usize) -> [__m512; 2] {
    [0, 16].map(|h| {
        let x: &[u8; 16] = line.0[start + h..].first_chunk().expect("16 bytes");
        // SAFETY: 16 bytes are read.
        let x = unsafe { _mm_loadu_si128(x.as_ptr().cast()) };
        _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(x))
    })
}
