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

use crate::Cpu;
use crate::half::{Bf16, bf16_to_f32, f32_to_bf16};
use crate::lanes;
use fearless_simd::{Simd, dispatch};

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
}

/// Keys or values, `[keys, kv_heads, head_dim]`.
#[derive(Clone, Copy, Debug)]
pub enum Kv<'a> {
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

impl<'a> From<&'a [f32]> for Kv<'a> {
    fn from(x: &'a [f32]) -> Self {
        Self::F32(x)
    }
}

impl<'a> From<&'a Vec<f32>> for Kv<'a> {
    fn from(x: &'a Vec<f32>) -> Self {
        Self::F32(x)
    }
}

impl Kv<'_> {
    /// In what form these are.
    pub fn kind(self) -> KvType {
        match self {
            Self::F32(_) => KvType::F32,
            Self::Bf16(_) => KvType::Bf16,
            Self::Q8 { .. } => KvType::Q8,
        }
    }

    /// Elements.
    pub(super) fn len(self) -> usize {
        match self {
            Self::F32(x) => x.len(),
            Self::Bf16(x) => x.len(),
            Self::Q8 { codes, .. } => codes.len(),
        }
    }

    /// Checks that there is a scale for each block of heads of `head_dim`.
    #[track_caller]
    pub(super) fn check(self, head_dim: usize) {
        if let Self::Q8 { codes, scales } = self {
            let blocks = codes.len() / head_dim.max(1) * head_dim.div_ceil(Q8_BLOCK);
            assert_eq!(scales.len(), blocks, "scales of heads of {head_dim}");
        }
    }

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

    /// All elements as f32: the values that attention is over, `[keys, kv_heads, head_dim]`.
    pub fn widen(self, head_dim: usize) -> Vec<f32> {
        let mut out = vec![0.0; self.len()];
        if head_dim > 0 {
            let heads = out.chunks_exact_mut(head_dim).enumerate();
            heads.for_each(|(head, out)| self.widen_head(head, out));
        }
        out
    }
}

/// Keys or values of a sequence, `[tokens, kv_heads, head_dim]`, that grow with it; what is appended
/// is converted once.
#[derive(Clone, Debug)]
pub struct KvRows {
    head_dim: usize,
    data: Data,
}

#[derive(Clone, Debug)]
enum Data {
    F32(Vec<f32>),
    Bf16(Vec<Bf16>),
    Q8 { codes: Vec<i8>, scales: Vec<Bf16> },
}

impl KvRows {
    /// None yet, with room for `heads` heads of `head_dim` elements: those of all tokens together.
    pub fn new(kind: KvType, head_dim: usize, heads: usize) -> Self {
        let len = heads * head_dim;
        let data = match kind {
            KvType::F32 => Data::F32(Vec::with_capacity(len)),
            KvType::Bf16 => Data::Bf16(Vec::with_capacity(len)),
            KvType::Q8 => Data::Q8 {
                codes: Vec::with_capacity(len),
                scales: Vec::with_capacity(heads * head_dim.div_ceil(Q8_BLOCK)),
            },
        };
        Self { head_dim, data }
    }

    /// All of them.
    pub fn view(&self) -> Kv<'_> {
        match &self.data {
            Data::F32(x) => Kv::F32(x),
            Data::Bf16(x) => Kv::Bf16(x),
            Data::Q8 { codes, scales } => Kv::Q8 { codes, scales },
        }
    }

    /// Heads of all tokens together.
    pub fn heads(&self) -> usize {
        self.view().len() / self.head_dim.max(1)
    }

    /// Bytes of them, room for more not counted.
    pub fn bytes(&self) -> usize {
        match self.view() {
            Kv::F32(x) => size_of_val(x),
            Kv::Bf16(x) => size_of_val(x),
            Kv::Q8 { codes, scales } => size_of_val(codes) + size_of_val(scales),
        }
    }

    /// Appends `x: [tokens, kv_heads, head_dim]`.
    ///
    /// # Panics
    ///
    /// If these are not whole heads.
    #[track_caller]
    pub fn append(&mut self, cpu: Cpu, x: &[f32]) {
        let dim = self.head_dim;
        assert!(x.len().is_multiple_of(dim.max(1)), "{} elements, heads of {dim}", x.len());
        match &mut self.data {
            Data::F32(data) => data.extend_from_slice(x),
            Data::Bf16(data) => {
                let start = data.len();
                data.resize(start + x.len(), 0);
                dispatch!(cpu.level, simd => round(simd, x, &mut data[start..]));
            }
            Data::Q8 { codes, scales } => {
                let (start, first) = (codes.len(), scales.len());
                codes.resize(start + x.len(), 0);
                scales.resize(first + x.len() / dim.max(1) * dim.div_ceil(Q8_BLOCK), 0);
                let (codes, scales) = (&mut codes[start..], &mut scales[first..]);
                dispatch!(cpu.level, simd => quantize(simd, dim, x, codes, scales));
            }
        }
    }

    /// Leaves the first `heads` heads.
    pub fn truncate(&mut self, heads: usize) {
        let dim = self.head_dim;
        match &mut self.data {
            Data::F32(x) => x.truncate(heads * dim),
            Data::Bf16(x) => x.truncate(heads * dim),
            Data::Q8 { codes, scales } => {
                codes.truncate(heads * dim);
                scales.truncate(heads * dim.div_ceil(Q8_BLOCK));
            }
        }
    }
}

/// To bf16. The level's instructions come from the function that this one becomes part of.
#[inline(always)]
fn round<S: Simd>(_: S, x: &[f32], out: &mut [Bf16]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = f32_to_bf16(x);
    }
}

/// To q8.
#[inline(always)]
fn quantize<S: Simd>(_: S, head_dim: usize, x: &[f32], codes: &mut [i8], scales: &mut [Bf16]) {
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
    use crate::Rng;
    use crate::half::round_to_bf16;
    use crate::testing::random;

    fn appended(cpu: Cpu, kind: KvType, head_dim: usize, x: &[f32]) -> KvRows {
        let mut rows = KvRows::new(kind, head_dim, x.len() / head_dim);
        rows.append(cpu, x);
        rows
    }

    /// Every element of every block, over widths that end within a block and magnitudes from the
    /// smallest to the largest.
    #[test]
    fn errors_are_within_what_the_format_says() {
        for cpu in Cpu::variants() {
            for head_dim in [1, 5, 31, 32, 33, 50, 64, 100, 128] {
                for exponent in [-118, -100, -20, 0, 3, 90, 127] {
                    let mut x = random(&mut Rng(head_dim as u64), 7 * head_dim);
                    x.iter_mut().for_each(|x| *x *= 2f32.powi(exponent));
                    let q8 = appended(cpu, KvType::Q8, head_dim, &x).view().widen(head_dim);
                    let bf16 = appended(cpu, KvType::Bf16, head_dim, &x).view().widen(head_dim);
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
                                assert!(error <= allowed, "{x} of {max} became {q8}, {cpu}");
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
        for cpu in Cpu::variants() {
            let tiny = f32::MIN_POSITIVE / 4.0;
            let x =
                [0.0, -0.0, 0.0, tiny, -tiny, tiny, 1.0, f32::INFINITY, 2.0, 1.0, f32::NAN, 0.0];
            let got = appended(cpu, KvType::Q8, 3, &x).view().widen(3);
            assert_eq!(got[..6], [0.0; 6]);
            assert!(got[6..].iter().all(|x| x.is_nan()), "{got:?}");
        }
    }

    #[test]
    fn rows_grow_shrink_and_have_the_bytes_they_say() {
        let (cpu, dim) = (Cpu::detect(), 50);
        let x = random(&mut Rng(1), 12 * dim);
        for kind in KvType::ALL {
            let whole = appended(cpu, kind, dim, &x);
            assert_eq!((whole.heads(), whole.bytes()), (12, 12 * kind.head_bytes(dim)));
            let mut rows = appended(cpu, kind, dim, &x[..8 * dim]);
            rows.truncate(5);
            assert_eq!(rows.bytes(), 5 * kind.head_bytes(dim));
            rows.append(cpu, &x[5 * dim..]);
            assert_eq!(whole.view().widen(dim), rows.view().widen(dim));
        }
    }
}
