//! What [`super::tiles`] does with AVX-512 and AMX: rounding, widening, weights, products.

use super::kv::{BLOCK as STEP, KvType, SCALES, TILE_BLOCKS, TILE_KEYS};
use super::pages::{Line, elements};
use crate::cpu::Avx512Bf16;
use crate::half::Bf16;
use crate::lanes::prefetch;
use crate::matmul::bf16::tiles::Tiles;
use std::arch::x86_64::*;

#[inline]
#[target_feature(enable = "avx512f")]
fn bits(x: __m512bh) -> __m512i {
    // SAFETY: both are 64 bytes, and any bits are integers.
    unsafe { std::mem::transmute(x) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(line: &mut Line, x: __m512i) {
    // SAFETY: a line is 64 bytes and aligned to as many.
    unsafe { _mm512_store_si512(line.0.as_mut_ptr().cast(), x) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn read(line: &Line) -> __m512 {
    // SAFETY: a line is 64 bytes and aligned to as many.
    unsafe { _mm512_load_ps(line.0.as_ptr()) }
}

/// Rounds `scale x` to bf16, zeros behind it, 32 elements to every `stride`th line of `out`.
pub(super) fn round(_: Avx512Bf16, x: &[f32], scale: f32, out: &mut [Line], stride: usize) {
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn inner(x: &[f32], scale: f32, out: &mut [Line], stride: usize) {
        let scale = _mm512_set1_ps(scale);
        for (step, line) in out.iter_mut().step_by(stride).enumerate() {
            let x = x.get(step * STEP..).unwrap_or(&[]);
            let mask = ((1u64 << x.len().min(STEP)) - 1) as u32;
            let x = x.as_ptr();
            // SAFETY: lanes below 32 and the length are read.
            let [low, high] = unsafe {
                [
                    _mm512_maskz_loadu_ps(mask as u16, x),
                    _mm512_maskz_loadu_ps((mask >> 16) as u16, x.wrapping_add(16)),
                ]
            };
            let [low, high] = [_mm512_mul_ps(low, scale), _mm512_mul_ps(high, scale)];
            store(line, bits(_mm512_cvtne2ps_pbh(high, low)));
        }
    }
    // SAFETY: the token proves that these features are available.
    unsafe { inner(x, scale, out, stride) }
}

/// A tile of q8 to bf16, `n` of its keys, rounded up to whole blocks: `out` as if it had been kept so.
/// Meanwhile asks for what lies `ahead(byte of the tile)` bytes behind.
///
/// # Panics
///
/// If there are not as many lines.
pub(super) fn widen(
    _: Avx512Bf16,
    tile: &[Line],
    n: usize,
    steps: usize,
    ahead: impl Fn(usize) -> usize,
    out: &mut [Line],
) {
    /// Twice each of the lanes `from..from + 8`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn doubled(x: __m512, from: i32) -> __m512 {
        let lane = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
        _mm512_permutexvar_ps(_mm512_add_epi32(lane, _mm512_set1_epi32(from)), x)
    }
    /// 32 codes times the scales of the first 16 and of the others.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn scaled(codes: __m256i, [low, high]: [__m512; 2]) -> __m512i {
        let wide = [_mm256_castsi256_si128(codes), _mm256_extracti128_si256::<1>(codes)]
            .map(|codes| _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes)));
        bits(_mm512_cvtne2ps_pbh(_mm512_mul_ps(wide[1], high), _mm512_mul_ps(wide[0], low)))
    }
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn block<const KEYS: bool>(block: &[Line], ahead: usize, out: &mut [Line]) {
        let scales: &[Bf16; STEP] = elements(block)[SCALES..].first_chunk().expect("32 scales");
        let codes: &[[i8; STEP]] = elements::<i8>(&block[..STEP / 2]).as_chunks().0;
        // Of keys, the scales of all columns, 8 to a vector.
        // SAFETY: 32 scales are read, 16 at a time.
        let halves = [0, 16].map(|at| unsafe { _mm256_loadu_si256(scales[at..].as_ptr().cast()) });
        let halves =
            halves.map(|x| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(x))));
        let columns = halves.map(|x| [doubled(x, 0), doubled(x, 8)]);
        let lines = out.as_chunks_mut::<2>().0.iter_mut().zip(codes.as_chunks::<2>().0);
        for ((lines, codes), pair) in lines.zip(scales.as_chunks::<2>().0) {
            prefetch(codes.as_ptr().wrapping_byte_add(ahead));
            // Of values, those of a pair of keys, in turns.
            let word = i32::from(pair[0]) | i32::from(pair[1]) << 16;
            let word = _mm512_set1_epi32(word);
            let even = _mm512_slli_epi32::<16>(word);
            let odd = _mm512_and_si512(word, _mm512_set1_epi32(0xFFFF_0000u32 as i32));
            let rows = _mm512_castsi512_ps(_mm512_mask_mov_epi32(even, 0xAAAA, odd));
            for ((line, codes), columns) in lines.iter_mut().zip(codes).zip(columns) {
                // SAFETY: 32 codes.
                let codes = unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) };
                store(line, scaled(codes, if KEYS { columns } else { [rows; 2] }));
            }
        }
    }
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn inner(
        tile: &[Line],
        n: usize,
        steps: usize,
        ahead: impl Fn(usize) -> usize,
        out: &mut [Line],
    ) {
        let start = tile.as_ptr().addr();
        let ahead = |block: &[Line]| ahead(block.as_ptr().addr() - start);
        let (k, v) = tile.split_at(TILE_BLOCKS * steps * KvType::Q8.block_lines());
        let (out_k, out_v) = out.split_at_mut(TILE_KEYS * steps);
        let key_steps = n.div_ceil(STEP);
        let blocks = k.chunks_exact(KvType::Q8.block_lines()).zip(out_k.chunks_exact_mut(STEP));
        for (x, out) in blocks.take(key_steps * steps) {
            block::<true>(x, ahead(x), out);
        }
        let blocks = v.chunks_exact(KvType::Q8.block_lines()).zip(out_v.chunks_exact_mut(STEP));
        for (_, (x, out)) in blocks.enumerate().filter(|(i, _)| i % TILE_BLOCKS < key_steps) {
            block::<false>(x, ahead(x), out);
        }
    }
    // SAFETY: the token proves that these features are available.
    unsafe { inner(tile, n, steps, ahead, out) }
}

/// Scores of a row, base 2, to weights, 32 to every `stride`th line of `p`, zeros from `visible` on;
/// the row's maximum and sum are brought up to date, its values `o` rescaled.
pub(super) fn weigh(
    _: Avx512Bf16,
    scores: &[Line],
    visible: usize,
    stats: &mut (f32, f32),
    o: &mut [Line],
    p: &mut [Line],
    stride: usize,
) {
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn inner(
        scores: &[Line],
        visible: usize,
        (max, sum): &mut (f32, f32),
        o: &mut [Line],
        p: &mut [Line],
        stride: usize,
    ) {
        let lanes = |line: usize| {
            let n = visible.saturating_sub(line * 16).min(16);
            ((1u32 << n) - 1) as u16
        };
        let mut maxima = _mm512_set1_ps(*max);
        for (i, x) in scores.iter().enumerate() {
            maxima = _mm512_mask_max_ps(maxima, lanes(i), maxima, read(x));
        }
        let new = _mm512_reduce_max_ps(maxima);
        if new > *max {
            let factor = (*max - new).exp2();
            *sum *= factor;
            let factor = _mm512_set1_ps(factor);
            for o in o {
                let x = _mm512_mul_ps(read(o), factor);
                store(o, _mm512_castps_si512(x));
            }
            *max = new;
        }
        let max = _mm512_set1_ps(new);
        let mut sums = _mm512_setzero_ps();
        let lines = p.iter_mut().step_by(stride);
        for (i, (p, [low, high])) in lines.zip(scores.as_chunks::<2>().0).enumerate() {
            let low = _mm512_maskz_mov_ps(lanes(2 * i), exp2(_mm512_sub_ps(read(low), max)));
            let high = _mm512_maskz_mov_ps(lanes(2 * i + 1), exp2(_mm512_sub_ps(read(high), max)));
            sums = _mm512_add_ps(sums, _mm512_add_ps(low, high));
            store(p, bits(_mm512_cvtne2ps_pbh(high, low)));
        }
        *sum += _mm512_reduce_add_ps(sums);
    }
    // SAFETY: the token proves that these features are available.
    unsafe { inner(scores, visible, stats, o, p, stride) }
}

/// `2^x` for `x` up to 0, within 3e-6 of itself: far more than bf16 keeps of it.
#[inline]
#[target_feature(enable = "avx512f")]
fn exp2(x: __m512) -> __m512 {
    /// The best polynomial of degree 4 in [-1/2, 1/2], by the exchange algorithm of Remez.
    const C: [f32; 5] = [0.009_570_102, 0.055_917_86, 0.240_247_44, 0.693_121_8, 0.999_999_3];
    // Below, the result is 0 in any case; what is not a number stays that.
    let x = _mm512_max_ps(_mm512_set1_ps(-200.0), x);
    let n = _mm512_roundscale_ps::<0x08>(x);
    let r = _mm512_sub_ps(x, n);
    let mut y = _mm512_set1_ps(C[0]);
    for c in &C[1..] {
        y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(*c));
    }
    _mm512_scalef_ps(y, n)
}

/// `to (+)= A B` with 32 rows of A and 32 columns.
///
/// ```text
/// a   [2][steps][16]   b  [steps][32]   to  rows `stride` lines apart, two lines each
/// ```
///
/// # Panics
///
/// If there are not as many lines.
pub(super) fn multiply_two(
    _: &Tiles,
    a: &[Line],
    b: &[Line],
    to: &mut [Line],
    stride: usize,
    accumulate: bool,
) {
    let steps = b.len() / STEP;
    assert!(steps > 0 && a.len() == 32 * steps && b.len() == 32 * steps, "lines of A and B");
    assert!(to.len() >= 31 * stride + 2, "lines of the result");
    let a_below = a[16 * steps..].as_ptr();
    let (a, b, to, stride) = (a.as_ptr(), b.as_ptr(), to.as_mut_ptr(), 64 * stride);
    let to_below = to.wrapping_byte_add(16 * stride);
    // SAFETY: 16 lines of both tiles of A and 32 of B are read in each step, and 32 rows of two
    // lines of the result are read and written; the assertions show that they exist. Whoever has
    // a `Tiles` may use tiles, which are declared as overwritten.
    unsafe {
        std::arch::asm!(
            "test {accumulate}, {accumulate}",
            "jz 2f",
            "tileloadd tmm0, [{to} + {stride}]",
            "tileloadd tmm1, [{to} + {stride} + 64]",
            "tileloadd tmm2, [{to_below} + {stride}]",
            "tileloadd tmm3, [{to_below} + {stride} + 64]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "3:",
            "tileloadd tmm6, [{b} + 2*{line}]",
            "tileloadd tmm4, [{a} + {line}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{a_below} + {line}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tileloadd tmm7, [{b} + 2*{line} + 64]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a}, 1024",
            "add {a_below}, 1024",
            "add {b}, 2048",
            "dec {steps}",
            "jnz 3b",
            "tilestored [{to} + {stride}], tmm0",
            "tilestored [{to} + {stride} + 64], tmm1",
            "tilestored [{to_below} + {stride}], tmm2",
            "tilestored [{to_below} + {stride} + 64], tmm3",
            accumulate = in(reg) usize::from(accumulate),
            to = in(reg) to,
            to_below = in(reg) to_below,
            stride = in(reg) stride,
            a = inout(reg) a => _,
            a_below = inout(reg) a_below => _,
            b = inout(reg) b => _,
            line = in(reg) 64usize,
            steps = inout(reg) steps => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// [`multiply_two`] with as many rows as tiles have, those of the first tile of A; asks for what lies
/// `ahead` bytes behind B, unless that is 0.
///
/// # Panics
///
/// If there are not as many lines.
pub(super) fn multiply(
    _: &Tiles,
    a: &[Line],
    b: &[Line],
    to: &mut [Line],
    stride: usize,
    accumulate: bool,
    ahead: usize,
) {
    let steps = b.len() / STEP;
    assert!(steps > 0 && a.len() == 32 * steps && b.len() == 32 * steps, "lines of A and B");
    assert!(to.len() >= 15 * stride + 2, "lines of the result");
    let (a, b, to, stride) = (a.as_ptr(), b.as_ptr(), to.as_mut_ptr(), 64 * stride);
    // SAFETY: as in `multiply_two`, with one tile of A and 16 rows at most; a prefetch may be of any
    // address.
    unsafe {
        std::arch::asm!(
            "test {accumulate}, {accumulate}",
            "jz 2f",
            "tileloadd tmm0, [{to} + {stride}]",
            "tileloadd tmm1, [{to} + {stride} + 64]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "3:",
            "test {ahead}, {ahead}",
            "jz 4f",
            // All 32 lines of a step.
            ".irp line, 0,64,128,192,256,320,384,448,512,576,640,704,768,832,896,960",
            "prefetcht1 [{b} + {ahead} + \\line]",
            "prefetcht1 [{b} + {ahead} + 1024 + \\line]",
            ".endr",
            "4:",
            "tileloadd tmm4, [{a} + {line}]",
            "tileloadd tmm6, [{b} + 2*{line}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b} + 2*{line} + 64]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "add {a}, 1024",
            "add {b}, 2048",
            "dec {steps}",
            "jnz 3b",
            "tilestored [{to} + {stride}], tmm0",
            "tilestored [{to} + {stride} + 64], tmm1",
            ahead = in(reg) ahead,
            accumulate = in(reg) usize::from(accumulate),
            to = in(reg) to,
            stride = in(reg) stride,
            a = inout(reg) a => _,
            b = inout(reg) b => _,
            line = in(reg) 64usize,
            steps = inout(reg) steps => _,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
