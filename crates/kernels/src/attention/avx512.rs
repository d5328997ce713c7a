//! What [`super::tiles`] does with AVX-512 and AMX: packing, weights, products.

use super::Q8_BLOCK;
use super::kv::Piece;
use crate::cpu::Avx512Bf16;
use crate::half::{Bf16, bf16_to_f32};
use crate::lanes::prefetch;
use crate::matmul::bf16::tiles::Tiles;
use std::arch::x86_64::*;
use std::ops::Range;

/// Elements of bf16 in a line; keys or dims in a panel.
pub(super) const STEP: usize = 32;
const _: () = assert!(STEP == Q8_BLOCK, "a line has one scale");

/// 64 bytes of f32 or of bf16, aligned to a line of the cache.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [f32; 16]);

/// Keys or values that are bf16 or become it.
#[derive(Clone, Copy)]
pub(super) enum Narrow<'a> {
    Bf16(&'a [Bf16]),
    Q8 { codes: &'a [i8], scales: &'a [Bf16] },
}

impl<'a> Narrow<'a> {
    /// `None` for f32.
    pub(super) fn new(piece: Piece<'a>) -> Option<Self> {
        match piece {
            Piece::F32(_) => None,
            Piece::Bf16(x) => Some(Self::Bf16(x)),
            Piece::Q8 { codes, scales } => Some(Self::Q8 { codes, scales }),
        }
    }

    /// What there is of heads `heads` of all heads in a row, to be asked for.
    pub(super) fn ahead(self, heads: Range<usize>, dim: usize) -> Ahead {
        let elements = heads.start * dim..heads.end * dim;
        // Scales are few and follow each other: the processor sees to them.
        let (lines, step) = match self {
            Self::Bf16(x) => (bytes_of(&x[elements]), 64),
            Self::Q8 { codes, .. } => (bytes_of(&codes[elements]), 32),
        };
        Ahead { next: lines.start, end: lines.end, step }
    }
}

fn bytes_of<T>(x: &[T]) -> Range<*const u8> {
    let Range { start, end } = x.as_ptr_range();
    start.cast()..end.cast()
}

/// Memory that is asked for while something else is packed: a line for each line that becomes full.
pub(super) struct Ahead {
    next: *const u8,
    end: *const u8,
    /// Bytes for each line of bf16 that is packed.
    step: usize,
}

impl Ahead {
    /// Nothing.
    pub(super) fn none() -> Self {
        Self { next: std::ptr::null(), end: std::ptr::null(), step: 0 }
    }

    /// Asks for all of it at once.
    pub(super) fn all(mut self) {
        while self.next < self.end {
            self.advance();
        }
    }

    #[inline(always)]
    fn advance(&mut self) {
        if self.next < self.end {
            prefetch(self.next);
            self.next = self.next.wrapping_add(self.step);
        }
    }
}

/// Which heads are packed: of `n` keys, `stride` heads apart, the first being number `first`.
#[derive(Clone, Copy)]
pub(super) struct Panels {
    pub(super) first: usize,
    pub(super) stride: usize,
    pub(super) n: usize,
    pub(super) dim: usize,
}

impl Panels {
    /// Sums in the order of [`pack_values`] to that of the elements.
    pub(super) fn in_order(lines: &[Line], out: &mut [f32]) {
        for (out, [low, high]) in out.chunks_mut(STEP).zip(lines.as_chunks::<2>().0) {
            for (i, out) in out.iter_mut().enumerate() {
                let half = if i % 8 < 4 { low } else { high };
                *out = half.0[i / 8 * 4 + i % 4];
            }
        }
    }
}

/// The heads of [`Panels`] as pointers to their elements and, for q8, scales.
#[derive(Clone, Copy)]
struct Source<const Q8: bool> {
    elements: *const u8,
    scales: *const Bf16,
    panels: Panels,
}

/// A [`Source`] of either kind.
enum AnySource {
    Bf16(Source<false>),
    Q8(Source<true>),
}

impl AnySource {
    /// # Panics
    ///
    /// If a head is not there.
    fn new(x: Narrow<'_>, panels: Panels) -> Self {
        let Panels { first, stride, n, dim } = panels;
        let (end, blocks) = (first + n.saturating_sub(1) * stride + 1, dim.div_ceil(STEP));
        match x {
            Narrow::Bf16(x) => {
                let elements = x[first * dim..end * dim].as_ptr().cast();
                Self::Bf16(Source { elements, scales: std::ptr::null(), panels })
            }
            Narrow::Q8 { codes, scales } => {
                let elements = codes[first * dim..end * dim].as_ptr().cast();
                let scales = scales[first * blocks..end * blocks].as_ptr();
                Self::Q8(Source { elements, scales, panels })
            }
        }
    }
}

impl<const Q8: bool> Source<Q8> {
    /// Elements `32 step..` of key `key` as bf16, zeros beyond the head.
    ///
    /// # Safety
    ///
    /// * `key < n` and `32 step < dim`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn load(self, key: usize, step: usize) -> __m512i {
        let Panels { stride, dim, .. } = self.panels;
        let at = key * stride * dim + step * STEP;
        let mask = u32::MAX >> (STEP - STEP.min(dim - step * STEP));
        if !Q8 {
            // SAFETY: lanes within the head are read, which is there.
            return unsafe { _mm512_maskz_loadu_epi16(mask, self.elements.add(2 * at).cast()) };
        }
        // SAFETY: as above, and each block has a scale.
        let (low, high, scale) = unsafe {
            let codes = self.elements.add(at).cast::<i8>();
            (
                _mm_maskz_loadu_epi8(mask as u16, codes),
                _mm_maskz_loadu_epi8((mask >> 16) as u16, codes.wrapping_add(16)),
                *self.scales.add(key * stride * dim.div_ceil(STEP) + step),
            )
        };
        let scale = _mm512_set1_ps(bf16_to_f32(scale));
        let low = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(low)), scale);
        let high = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(high)), scale);
        bits(_mm512_cvtne2ps_pbh(high, low))
    }
}

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

/// Packs keys, `[n / 32][dim / 32][16][2][16][2]`: pairs of dim side by side, two lines of 16 keys
/// per pair. Meanwhile asks for what is `ahead`.
///
/// # Panics
///
/// If `out` is too short.
pub(super) fn pack_keys(
    _: Avx512Bf16,
    x: Narrow<'_>,
    panels: Panels,
    ahead: &mut Ahead,
    out: &mut [Line],
) {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    fn inner<const Q8: bool>(x: Source<Q8>, ahead: &mut Ahead, out: &mut [Line]) {
        let Panels { n, dim, .. } = x.panels;
        let steps = dim.div_ceil(STEP);
        for (panel, out) in out.chunks_exact_mut(steps * STEP).take(n.div_ceil(STEP)).enumerate() {
            for (step, out) in out.as_chunks_mut::<STEP>().0.iter_mut().enumerate() {
                for half in 0..2 {
                    let first = panel * STEP + half * 16;
                    let mut rows = [_mm512_setzero_si512(); 16];
                    if first + 16 <= n {
                        for (i, row) in rows.iter_mut().enumerate() {
                            ahead.advance();
                            // SAFETY: 16 keys from the first on are there.
                            *row = unsafe { x.load(first + i, step) };
                        }
                    } else {
                        for (key, row) in (first..n).zip(&mut rows) {
                            ahead.advance();
                            // SAFETY: a key that is there.
                            *row = unsafe { x.load(key, step) };
                        }
                    }
                    for (pair, x) in transpose(rows).into_iter().enumerate() {
                        store(&mut out[2 * pair + half], x);
                    }
                }
            }
        }
    }
    // SAFETY: the token proves that these features are available.
    unsafe {
        match AnySource::new(x, panels) {
            AnySource::Bf16(x) => inner(x, ahead, out),
            AnySource::Q8(x) => inner(x, ahead, out),
        }
    }
}

/// Packs values, `[dim / 32][n / 32][16][2][16][2]`: pairs of keys side by side, two lines of 16 dims
/// per pair. Four dims go to the first line, four to the second, and so on, see
/// [`Panels::in_order`]. Meanwhile asks for what is `ahead`.
///
/// # Panics
///
/// If `out` is too short.
pub(super) fn pack_values(
    _: Avx512Bf16,
    x: Narrow<'_>,
    panels: Panels,
    ahead: &mut Ahead,
    out: &mut [Line],
) {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    fn inner<const Q8: bool>(x: Source<Q8>, ahead: &mut Ahead, out: &mut [Line]) {
        let Panels { n, dim, .. } = x.panels;
        let (steps, pairs) = (dim.div_ceil(STEP), n.div_ceil(STEP) * STEP / 2);
        let out = &mut out.as_chunks_mut::<2>().0[..steps * pairs];
        for pair in 0..pairs {
            for step in 0..steps {
                let mut rows = [_mm512_setzero_si512(); 2];
                if 2 * pair + 1 < n {
                    for (i, row) in rows.iter_mut().enumerate() {
                        ahead.advance();
                        // SAFETY: both are there.
                        *row = unsafe { x.load(2 * pair + i, step) };
                    }
                } else if 2 * pair < n {
                    // SAFETY: the last key.
                    rows[0] = unsafe { x.load(2 * pair, step) };
                }
                let [first, second] = &mut out[step * pairs + pair];
                store(first, _mm512_unpacklo_epi16(rows[0], rows[1]));
                store(second, _mm512_unpackhi_epi16(rows[0], rows[1]));
            }
        }
    }
    // SAFETY: the token proves that these features are available.
    unsafe {
        match AnySource::new(x, panels) {
            AnySource::Bf16(x) => inner(x, ahead, out),
            AnySource::Q8(x) => inner(x, ahead, out),
        }
    }
}

/// Rows of 16 numbers of 32 bits to columns.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(x: [__m512i; 16]) -> [__m512i; 16] {
    let mut pairs = x;
    for (out, x) in pairs.as_chunks_mut::<2>().0.iter_mut().zip(x.as_chunks::<2>().0) {
        *out = [_mm512_unpacklo_epi32(x[0], x[1]), _mm512_unpackhi_epi32(x[0], x[1])];
    }
    // Lane `l` of number `4 g + c`: column `4 l + c` of rows `4 g..4 g + 4`.
    let mut fours = pairs;
    for (out, x) in fours.as_chunks_mut::<4>().0.iter_mut().zip(pairs.as_chunks::<4>().0) {
        *out = [
            _mm512_unpacklo_epi64(x[0], x[2]),
            _mm512_unpackhi_epi64(x[0], x[2]),
            _mm512_unpacklo_epi64(x[1], x[3]),
            _mm512_unpackhi_epi64(x[1], x[3]),
        ];
    }
    let mut out = fours;
    for c in 0..4 {
        let [a, b] = [(fours[c], fours[4 + c]), (fours[8 + c], fours[12 + c])];
        let even = (_mm512_shuffle_i32x4::<0x88>(a.0, a.1), _mm512_shuffle_i32x4::<0x88>(b.0, b.1));
        let odd = (_mm512_shuffle_i32x4::<0xDD>(a.0, a.1), _mm512_shuffle_i32x4::<0xDD>(b.0, b.1));
        out[c] = _mm512_shuffle_i32x4::<0x88>(even.0, even.1);
        out[4 + c] = _mm512_shuffle_i32x4::<0x88>(odd.0, odd.1);
        out[8 + c] = _mm512_shuffle_i32x4::<0xDD>(even.0, even.1);
        out[12 + c] = _mm512_shuffle_i32x4::<0xDD>(odd.0, odd.1);
    }
    out
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

/// `to (+)= A B` with 16 rows of A, or 32 if there are `both` tiles of it, and 32 columns.
///
/// ```text
/// a   [2][steps][16]   b  [steps][32]   to  rows `stride` lines apart, two lines each
/// ```
///
/// # Panics
///
/// If there are not as many lines.
pub(super) fn multiply(
    _: &Tiles,
    a: &[Line],
    both: bool,
    b: &[Line],
    to: &mut [Line],
    stride: usize,
    accumulate: bool,
) {
    let steps = b.len() / STEP;
    assert!(steps > 0 && a.len() == 32 * steps && b.len() == 32 * steps, "lines of A and B");
    let rows = if both { 32 } else { 16 };
    assert!(to.len() >= (rows - 1) * stride + 2, "lines of the result");
    let a_below = a[16 * steps..].as_ptr();
    let (a, b, to, stride) = (a.as_ptr(), b.as_ptr(), to.as_mut_ptr(), 64 * stride);
    let to_below = to.wrapping_byte_add(16 * stride);
    if both {
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
    } else {
        // SAFETY: as above, with one tile of A and 16 rows at most.
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
}
