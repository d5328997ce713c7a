//! In what form keys and values are kept, and where each element lies.
//!
//! ```text
//! type  an element
//! f32   x
//! bf16  x, to nearest, ties to even
//! q8    d q, q i8: up to 32 elements of a head that follow each other share d, a bf16
//! ```
//!
//! The scale of q8 is `max |x| / 127` rounded up to bf16, so codes end at 127 and an element is off
//! by at most half a scale: `max |x| / 252` of its block, see [`Q8_ERROR`]. bf16 has the range of
//! f32, so nothing overflows and a shift widens a scale; f16 would keep three bits more, which buy
//! less than a hundredth of the error. A head whose width is no multiple of 32 ends in a
//! shorter block. A block with a number that is not finite has the scale NaN: it does not go unseen.
//!
//! Keys and values lie as the second operands of the two products want them, in blocks of 32 keys
//! and 32 elements of a head, so that nothing is packed when they are read. Keys are columns of the
//! one product, values rows of the other:
//!
//! ```text
//!        keys                          values
//! f32    [32 elements][32 keys]        [32 keys][32 elements]
//! bf16   [16][32 keys][2 elements]     [16][32 elements][2 keys]
//! q8     the same, codes, then the scales of [32 keys]
//! ```
//!
//! A tile is 128 keys of one head, its keys, then its values; a page has all tiles of one head after
//! the other, and so all that one row of queries reads is in one piece:
//!
//! ```text
//! tile   [4 x 32 keys][head_dim / 32] blocks of keys, [head_dim / 32][4 x 32 keys] of values
//! page   [kv_heads][PAGE_TOKENS / 128] tiles
//! ```
//!
//! Numbers have the byte order of the machine. A head is padded with zeros to whole blocks, and
//! tokens that are not there yet are zeros.

use super::Attention;
use super::pages::{KvPages, Line, PAGE_TOKENS, elements, elements_mut};
use crate::half::{Bf16, bf16_to_f32, f32_to_bf16};

/// Elements that share a scale in q8.
pub const Q8_BLOCK: usize = 32;
/// An element of q8 is off by at most this share of the largest magnitude of its block, half a scale
/// of `(1 + 2^-7) / 127`. Blocks of less than 2^-119 may become zeros.
pub const Q8_ERROR: f32 = 1.0 / 252.0;
/// Keys of a block, and elements of a head.
pub(super) const BLOCK: usize = 32;
/// Keys per tile: 128 keys of 128 elements take a quarter of a 256 KiB L2.
pub(super) const TILE_KEYS: usize = 128;
/// Blocks of keys in a tile.
pub(super) const TILE_BLOCKS: usize = TILE_KEYS / BLOCK;

const _: () = assert!(BLOCK == Q8_BLOCK, "a block has one scale per key");

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

    /// Bytes of one head of one token, keys or values, padded to whole blocks; saturates.
    pub fn head_bytes(self, head_dim: usize) -> usize {
        let of_block = self.block_lines() * size_of::<Line>() / BLOCK;
        head_dim.div_ceil(BLOCK).saturating_mul(of_block)
    }

    /// Bytes of a page: [`PAGE_TOKENS`] tokens, keys and values; saturates.
    pub fn page_bytes(self, kv_heads: usize, head_dim: usize) -> usize {
        let factors = [kv_heads, 2 * PAGE_TOKENS];
        factors.into_iter().fold(self.head_bytes(head_dim), usize::saturating_mul)
    }

    /// Lines of a block.
    pub(super) const fn block_lines(self) -> usize {
        match self {
            Self::F32 => 64,
            Self::Bf16 => 32,
            Self::Q8 => 17,
        }
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

    /// All keys and all values as f32, `[keys, kv_heads, head_dim]`: what attention is over.
    pub fn widen(self) -> [Vec<f32>; 2] {
        match self {
            Self::Rows { k, v } => [k, v].map(<[f32]>::to_vec),
            Self::Pages(pages) => pages.widen(),
        }
    }
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Keys,
    Values,
}

impl Part {
    /// First line of the block in its tile with key `key` of the tile and elements `32 step..` of
    /// `steps` steps.
    pub(super) fn block(self, kind: KvType, key: usize, step: usize, steps: usize) -> usize {
        let block = match self {
            Self::Keys => key / BLOCK * steps + step,
            Self::Values => (steps + step) * TILE_BLOCKS + key / BLOCK,
        };
        block * kind.block_lines()
    }

    /// Place of an element in a block where pairs lie together, or none do.
    fn place(self, key: usize, element: usize, pairs: bool) -> usize {
        let (row, column) = match self {
            Self::Keys => (element, key),
            Self::Values => (key, element),
        };
        if pairs { (row / 2 * BLOCK + column) * 2 + row % 2 } else { row * BLOCK + column }
    }
}

/// Where the scales of a block of q8 begin, counted in scales.
pub(super) const SCALES: usize = BLOCK * BLOCK / size_of::<Bf16>();

/// Writes up to 32 elements of key `key` of a block.
pub(super) fn write(kind: KvType, part: Part, block: &mut [Line], key: usize, x: &[f32]) {
    match kind {
        KvType::F32 => {
            let out = &mut elements_mut::<f32>(block)[..BLOCK * BLOCK];
            for (i, &x) in x.iter().enumerate() {
                out[part.place(key, i, false)] = x;
            }
        }
        KvType::Bf16 => {
            let out = &mut elements_mut::<Bf16>(block)[..BLOCK * BLOCK];
            for (i, &x) in x.iter().enumerate() {
                out[part.place(key, i, true)] = f32_to_bf16(x);
            }
        }
        KvType::Q8 => {
            let mut codes = [0; BLOCK];
            let scale = quantize_block(x, &mut codes[..x.len()]);
            let out = &mut elements_mut::<i8>(block)[..BLOCK * BLOCK];
            for (i, &code) in codes[..x.len()].iter().enumerate() {
                out[part.place(key, i, true)] = code;
            }
            elements_mut::<Bf16>(block)[SCALES + key] = scale;
        }
    }
}

/// Reads as many elements of key `key` of a block as there is room for.
pub(super) fn read(kind: KvType, part: Part, block: &[Line], key: usize, out: &mut [f32]) {
    for (i, out) in out.iter_mut().enumerate() {
        *out = match kind {
            KvType::F32 => elements::<f32>(block)[part.place(key, i, false)],
            KvType::Bf16 => bf16_to_f32(elements(block)[part.place(key, i, true)]),
            KvType::Q8 => {
                let code = elements::<i8>(block)[part.place(key, i, true)];
                bf16_to_f32(elements(block)[SCALES + key]) * f32::from(code)
            }
        };
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
