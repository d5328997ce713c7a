//! How keys and values are kept: as they are, in half, or in a quarter and a bit.
//!
//! ```text
//! type  bytes of a head       an element
//! f32   4 head_dim            x
//! bf16  2 head_dim            x, to nearest, ties to even
//! q8    head_dim + 2 blocks   d q, q i8: a block of up to 32 elements shares d, a bf16
//! ```
//!
//! The scale of q8 is `max |x| / 127` rounded up to bf16, so codes end at 127 and an element is off
//! by at most half a scale: `max |x| / 252` of its block, see [`Q8_ERROR`]. bf16 has the range of
//! f32, so nothing overflows and a shift widens a scale; f16 would keep three bits more, which buy
//! less than a hundredth of the error. A head whose width is no multiple of 32 ends in a
//! shorter block. A block with a number that is not finite has the scale NaN: it does not go unseen.

use super::Attention;
use super::pages::{KvPages, PAGE_TOKENS, Part};
use crate::half::{Bf16, bf16_to_f32, f32_to_bf16};
use crate::lanes;
use fearless_simd::Simd;

/// Elements that share a scale in q8.
pub const Q8_BLOCK: usize = 32;
/// An element of q8 is off by at most this share of the largest magnitude of its block, half a scale
/// of `(1 + 2^-7) / 127`. Blocks of less than 2^-119 may become zeros.
pub const Q8_ERROR: f32 = 1.0 / 252.0;

/// In what form keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvType {
    /// f32, exact.
    F32,
    /// bf16, half of it.
    Bf16,
    /// Codes of 8 bits and a scale for 32 of them, 27 % of it.
    Q8,
}

impl KvType {
    /// All types, the most precise first.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Q8];

    /// `f32`, `bf16` or `q8`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Q8 => "q8",
        }
    }

    /// Bytes of one head of one token, keys or values; saturates.
    pub fn head_bytes(self, head_dim: usize) -> usize {
        match self {
            Self::F32 => head_dim.saturating_mul(4),
            Self::Bf16 => head_dim.saturating_mul(2),
            Self::Q8 => head_dim.saturating_add(head_dim.div_ceil(Q8_BLOCK).saturating_mul(2)),
        }
    }

    /// Bytes of a page: [`PAGE_TOKENS`] tokens, keys and values; saturates.
    pub fn page_bytes(self, kv_heads: usize, head_dim: usize) -> usize {
        let factors = [kv_heads, 2 * PAGE_TOKENS];
        factors.into_iter().fold(self.head_bytes(head_dim), usize::saturating_mul)
    }
}

/// Keys and values of a sequence, as attention is given them.
#[derive(Clone, Copy, Debug)]
pub enum Kv<'a> {
    /// f32 one after the other, `[keys, kv_heads, head_dim]`: those of a batch in training.
    Rows {
        /// Keys.
        k: &'a [f32],
        /// Values.
        v: &'a [f32],
    },
    /// Pages that sequences may share.
    Pages(&'a KvPages),
}

impl<'a> Kv<'a> {
    /// In what form these are.
    pub fn kind(self) -> KvType {
        match self {
            Self::Rows { .. } => KvType::F32,
            Self::Pages(pages) => pages.kind(),
        }
    }

    /// Number of keys.
    ///
    /// # Panics
    ///
    /// If they are not as `shape` says.
    #[track_caller]
    pub(super) fn keys(self, shape: &Attention) -> usize {
        match self {
            Self::Rows { k, v } => {
                assert_eq!(k.len(), v.len(), "k and v");
                k.len() / (shape.kv_heads * shape.head_dim).max(1)
            }
            Self::Pages(pages) => {
                let kept = (pages.kv_heads(), pages.head_dim());
                assert_eq!(kept, (shape.kv_heads, shape.head_dim), "heads of what is kept");
                pages.tokens()
            }
        }
    }

    /// The keys.
    pub(super) fn k(self) -> Side<'a> {
        Side { kv: self, part: Part::Keys }
    }

    /// The values.
    pub(super) fn v(self) -> Side<'a> {
        Side { kv: self, part: Part::Values }
    }

    /// All keys and all values as f32, `[keys, kv_heads, head_dim]`: what attention is over.
    pub fn widen(self) -> [Vec<f32>; 2] {
        match self {
            Self::Rows { k, v } => [k, v].map(<[f32]>::to_vec),
            Self::Pages(pages) => {
                let (heads, dim) = (pages.kv_heads(), pages.head_dim());
                [Part::Keys, Part::Values].map(|part| {
                    let mut out = vec![0.0; pages.tokens() * heads * dim];
                    let page_len = (PAGE_TOKENS * heads * dim).max(1);
                    for (page, out) in out.chunks_mut(page_len).enumerate() {
                        let piece = pages.piece(page, part);
                        let heads = out.chunks_exact_mut(dim).enumerate();
                        heads.for_each(|(head, out)| piece.widen_head(head, out));
                    }
                    out
                })
            }
        }
    }
}

/// The keys or the values of a [`Kv`].
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    kv: Kv<'a>,
    part: Part,
}

impl<'a> Side<'a> {
    /// What lies in one piece with key `key`, and the number of its first key.
    #[inline(always)]
    pub(super) fn piece(self, key: usize) -> (Piece<'a>, usize) {
        match (self.kv, self.part) {
            (Kv::Rows { k, .. }, Part::Keys) => (Piece::F32(k), 0),
            (Kv::Rows { v, .. }, Part::Values) => (Piece::F32(v), 0),
            (Kv::Pages(pages), part) => {
                let page = key / PAGE_TOKENS;
                (pages.piece(page, part), page * PAGE_TOKENS)
            }
        }
    }
}

/// Keys or values in one piece of memory, `[keys, kv_heads, head_dim]`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece<'a> {
    /// f32.
    F32(&'a [f32]),
    /// bf16 bits.
    Bf16(&'a [Bf16]),
    /// Blocks that share a scale.
    Q8 {
        /// `[keys, kv_heads, head_dim]`.
        codes: &'a [i8],
        /// `[keys, kv_heads, head_dim / 32]`, rounded up.
        scales: &'a [Bf16],
    },
}

impl Piece<'_> {
    /// Writes head `head` of all heads in a row, `out: [head_dim]`, as f32.
    #[inline(always)]
    pub(super) fn widen_head(self, head: usize, out: &mut [f32]) {
        let dim = out.len();
        let range = head * dim..(head + 1) * dim;
        match self {
            Self::F32(x) => out.copy_from_slice(&x[range]),
            Self::Bf16(x) => {
                for (out, &x) in out.iter_mut().zip(&x[range]) {
                    *out = bf16_to_f32(x);
                }
            }
            Self::Q8 { codes, scales } => {
                let blocks = dim.div_ceil(Q8_BLOCK);
                let scales = &scales[head * blocks..(head + 1) * blocks];
                let blocks = out.chunks_mut(Q8_BLOCK).zip(codes[range].chunks(Q8_BLOCK));
                for ((out, codes), &scale) in blocks.zip(scales) {
                    let scale = bf16_to_f32(scale);
                    for (out, &code) in out.iter_mut().zip(codes) {
                        *out = scale * f32::from(code);
                    }
                }
            }
        }
    }

    /// Asks for what lies `ahead` bytes behind head `head` of all heads in a row.
    #[inline(always)]
    pub(super) fn prefetch_head(self, head: usize, dim: usize, ahead: usize) {
        let (start, bytes) = match self {
            Self::F32(x) => (x[head * dim..].as_ptr().cast::<u8>(), 4 * dim),
            Self::Bf16(x) => (x[head * dim..].as_ptr().cast(), 2 * dim),
            // Scales are few and follow each other: the processor sees to them.
            Self::Q8 { codes, .. } => (codes[head * dim..].as_ptr().cast(), dim),
        };
        for line in (0..bytes).step_by(64) {
            lanes::prefetch(start.wrapping_add(ahead + line));
        }
    }
}

/// To bf16. The level's instructions come from the function that this one becomes part of.
#[inline(always)]
pub(super) fn round<S: Simd>(_: S, x: &[f32], out: &mut [Bf16]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = f32_to_bf16(x);
    }
}

/// To q8.
#[inline(always)]
pub(super) fn quantize<S: Simd>(
    _: S,
    head_dim: usize,
    x: &[f32],
    codes: &mut [i8],
    scales: &mut [Bf16],
) {
    if head_dim == 0 {
        return;
    }
    let blocks = head_dim.div_ceil(Q8_BLOCK);
    let heads = x.chunks_exact(head_dim).zip(codes.chunks_exact_mut(head_dim));
    for ((x, codes), scales) in heads.zip(scales.chunks_exact_mut(blocks)) {
        let blocks = x.chunks(Q8_BLOCK).zip(codes.chunks_mut(Q8_BLOCK));
        for ((x, codes), scale) in blocks.zip(scales) {
            *scale = quantize_block(x, codes);
        }
    }
}

/// Writes the codes of a block and returns its scale.
#[inline(always)]
fn quantize_block(x: &[f32], codes: &mut [i8]) -> Bf16 {
    // Added to a small number, it leaves the nearest integer, ties to even, in the lowest bits.
    const TO_INTEGER: f32 = 12_582_912.0;
    // Bits of magnitudes are in the order of the magnitudes, and what is not finite is above.
    let mut max = 0;
    for x in x {
        max = max.max(x.to_bits() & 0x7FFF_FFFF);
    }
    let max = f32::from_bits(max);
    if !max.is_finite() {
        codes.fill(0);
        return f32_to_bf16(f32::NAN);
    }
    let scale = ((max / 127.0).to_bits() + 0xFFFF) >> 16;
    let inverse = 1.0 / f32::from_bits(scale << 16);
    if !inverse.is_normal() {
        // Nothing there, or so little that the inverse has no f32.
        codes.fill(0);
        return 0;
    }
    for (code, x) in codes.iter_mut().zip(x) {
        *code = (x * inverse + TO_INTEGER).to_bits() as i8;
    }
    scale as Bf16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::half::round_to_bf16;
    use crate::testing::{execs, random};
    use crate::{Exec, Rng};

    /// Some heads of keys as they are kept.
    fn kept(exec: &Exec, kind: KvType, head_dim: usize, x: &[f32]) -> Vec<f32> {
        let mut pages = KvPages::new(kind, 1, head_dim);
        pages.append(exec, x, x);
        let [k, v] = pages.view().widen();
        assert!(k.iter().zip(&v).all(|(k, v)| k.to_bits() == v.to_bits()));
        k
    }

    /// Every element of every block, over widths that end within a block and magnitudes from the
    /// smallest to the largest.
    #[test]
    fn errors_are_within_what_the_format_says() {
        for exec in execs() {
            for head_dim in [1, 5, 31, 32, 33, 50, 64, 100, 128] {
                for exponent in [-118, -100, -20, 0, 3, 90, 127] {
                    let mut x = random(&mut Rng(head_dim as u64), 7 * head_dim);
                    x.iter_mut().for_each(|x| *x *= 2f32.powi(exponent));
                    let q8 = kept(&exec, KvType::Q8, head_dim, &x);
                    let bf16 = kept(&exec, KvType::Bf16, head_dim, &x);
                    let heads = x.chunks(head_dim).enumerate();
                    for (head, x) in heads {
                        for (block, x) in x.chunks(Q8_BLOCK).enumerate() {
                            let at = head * head_dim + block * Q8_BLOCK;
                            let max = x.iter().fold(0.0f32, |max, x| max.max(x.abs()));
                            for ((x, q8), bf16) in x.iter().zip(&q8[at..]).zip(&bf16[at..]) {
                                // The difference is rounded, too.
                                let least = 2f32.powi(-119);
                                let share = if max < least { 1.0 } else { Q8_ERROR };
                                let allowed = max * share * 1.000_001;
                                let error = (q8 - x).abs();
                                assert!(error <= allowed, "{x} of {max} became {q8}, {exec:?}");
                                assert_eq!(*bf16, round_to_bf16(*x));
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn zeros_stay_and_what_is_not_finite_is_seen() {
        for exec in execs() {
            let tiny = f32::MIN_POSITIVE / 4.0;
            let x =
                [0.0, -0.0, 0.0, tiny, -tiny, tiny, 1.0, f32::INFINITY, 2.0, 1.0, f32::NAN, 0.0];
            let got = kept(&exec, KvType::Q8, 3, &x);
            assert_eq!(got[..6], [0.0; 6]);
            assert!(got[6..].iter().all(|x| x.is_nan()), "{got:?}");
        }
    }
}
