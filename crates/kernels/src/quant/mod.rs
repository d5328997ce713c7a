//! Block formats of GGUF files: runs of numbers that share a scale.
//!
//! ```text
//! format  elements  bytes  a block, in order                                     x =
//! Q8_0          32     34  d f16, q i8[32]                                       d q
//! Q4_0          32     18  d f16, q u4[32]                                       d (q - 8)
//! Q4_K         256    144  d f16, m f16, s u6[8], t u6[8], q u4[256]             d s q - m t
//! Q5_K         256    176  d f16, m f16, s u6[8], t u6[8], high u1[256], q u4[256]   d s q - m t
//! Q6_K         256    210  q low u4[256], q high u2[256], s i8[16], d f16        d s (q - 32)
//! ```
//!
//! Numbers are little endian; how the small ones are packed stands where they are unpacked. The
//! layouts are those of ggml's `ggml-common.h`; `fixtures/gguf` holds blocks with what the Python
//! package `gguf` makes of them, and a test compares bit for bit.
//!
//! Q8_0 and Q4_0 are also written, with the rounding of the same package. What a block cannot hold
//! is refused: numbers that are not finite, and such that the scale is no f16. A scale that is
//! below the f16s makes a block of zeros.

mod k;
#[cfg(test)]
mod tests;

use crate::half::{f16_to_f32, f32_to_f16};
pub(crate) use k::scale_and_offset;

/// A block format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 8 bits and a scale for 32 elements.
    Q8_0,
    /// 4 bits and a scale for 32 elements.
    Q4_0,
    /// 4 bits, 8 scales and offsets of 6 bits and one of each for them, for 256 elements.
    Q4K,
    /// As [`Q4K`](Self::Q4K), with 5 bits.
    Q5K,
    /// 6 bits, 16 scales of 8 bits and one for them, for 256 elements.
    Q6K,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 5] = [Self::Q8_0, Self::Q4_0, Self::Q4K, Self::Q5K, Self::Q6K];

    /// As the files' tools spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// Elements of a block.
    pub fn block_len(self) -> usize {
        match self {
            Self::Q8_0 | Self::Q4_0 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }
}

/// A number that a block cannot hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unrepresentable {
    /// Where it is.
    pub index: usize,
    /// Which it is: NaN, infinite, or too large for a scale in f16.
    pub value: f32,
}

/// Writes the numbers of `blocks` to `out`. Every bit pattern is read: a scale that is NaN or
/// infinite gives numbers that are not finite.
///
/// # Panics
///
/// If `out` is not whole blocks, or `blocks` are not as many.
pub fn dequantize(format: Format, blocks: &[u8], out: &mut [f32]) {
    check_len(format, out.len(), blocks.len());
    let pairs =
        blocks.chunks_exact(format.block_bytes()).zip(out.chunks_exact_mut(format.block_len()));
    for (block, out) in pairs {
        match format {
            Format::Q8_0 => dequantize_q8_0(block, out),
            Format::Q4_0 => dequantize_q4_0(block, out),
            Format::Q4K => k::dequantize_q4(block, out),
            Format::Q5K => k::dequantize_q5(block, out),
            Format::Q6K => k::dequantize_q6(block, out),
        }
    }
}

/// Writes the blocks of Q8_0 that are nearest to `x` to `blocks`: an element is off by half a
/// scale, `max |x| / 254`, and by what the scale loses in f16, at most `max |x| / 2048`, or
/// `127 / 2^25` where the scale is subnormal.
///
/// # Errors
///
/// Names the first number that a block cannot hold; `blocks` is then written in part.
///
/// # Panics
///
/// If `x` is not whole blocks, or `blocks` are not as many.
pub fn quantize_q8_0(x: &[f32], blocks: &mut [u8]) -> Result<(), Unrepresentable> {
    check_len(Format::Q8_0, x.len(), blocks.len());
    for (i, (x, block)) in x.chunks_exact(32).zip(blocks.chunks_exact_mut(34)).enumerate() {
        let d = x[largest(i * 32, x)?].abs() / 127.0;
        let scale = scale_of(i * 32, x, d)?;
        let inverse = if scale == 0 { 0.0 } else { 1.0 / d };
        block[..2].copy_from_slice(&scale.to_le_bytes());
        for (q, x) in block[2..].iter_mut().zip(x) {
            *q = ((x * inverse).round() as i8).cast_unsigned();
        }
    }
    Ok(())
}

/// Writes the blocks of Q4_0 for `x` to `blocks`: the scale is such that the number of the largest
/// magnitude, with its sign, is `-8 d`; so an element is off by at most a scale, `max |x| / 8`, and
/// by what the scale loses in f16.
///
/// # Errors
///
/// Names the first number that a block cannot hold; `blocks` is then written in part.
///
/// # Panics
///
/// If `x` is not whole blocks, or `blocks` are not as many.
pub fn quantize_q4_0(x: &[f32], blocks: &mut [u8]) -> Result<(), Unrepresentable> {
    check_len(Format::Q4_0, x.len(), blocks.len());
    for (i, (x, block)) in x.chunks_exact(32).zip(blocks.chunks_exact_mut(18)).enumerate() {
        let d = x[largest(i * 32, x)?] / -8.0;
        let scale = scale_of(i * 32, x, d)?;
        let inverse = if scale & 0x7FFF == 0 { 0.0 } else { 1.0 / d };
        block[..2].copy_from_slice(&scale.to_le_bytes());
        // In f64 there is one rounding, as with a fused multiply-add.
        let nibble = |x: f32| (f64::from(x) * f64::from(inverse) + 8.5).clamp(0.0, 15.0) as u8;
        for (j, q) in block[2..].iter_mut().enumerate() {
            *q = nibble(x[j]) | nibble(x[j + 16]) << 4;
        }
    }
    Ok(())
}

#[track_caller]
fn check_len(format: Format, elements: usize, bytes: usize) {
    let (len, block) = (format.block_len(), format.block_bytes());
    assert!(elements.is_multiple_of(len), "{elements} elements of {}", format.name());
    assert_eq!(bytes, elements / len * block, "bytes of {elements} elements of {}", format.name());
}

/// Where in the block at `start` the first number of the largest magnitude is, if all are finite.
fn largest(start: usize, x: &[f32]) -> Result<usize, Unrepresentable> {
    let mut at = 0;
    for (i, &value) in x.iter().enumerate() {
        if !value.is_finite() {
            return Err(Unrepresentable { index: start + i, value });
        }
        if value.abs() > x[at].abs() {
            at = i;
        }
    }
    Ok(at)
}

/// `d` as f16, if that is finite.
fn scale_of(start: usize, x: &[f32], d: f32) -> Result<u16, Unrepresentable> {
    let scale = f32_to_f16(d);
    if f16_to_f32(scale).is_finite() {
        return Ok(scale);
    }
    let at = largest(start, x)?;
    Err(Unrepresentable { index: start + at, value: x[at] })
}

/// The f16 at `at`.
fn f16_at(block: &[u8], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([block[at], block[at + 1]]))
}

fn dequantize_q8_0(block: &[u8], out: &mut [f32]) {
    let d = f16_at(block, 0);
    for (out, q) in out.iter_mut().zip(&block[2..]) {
        *out = d * f32::from(q.cast_signed());
    }
}

/// Byte `j` has element `j` in its low half and element `j + 16` in its high one.
fn dequantize_q4_0(block: &[u8], out: &mut [f32]) {
    let d = f16_at(block, 0);
    for (j, q) in block[2..].iter().enumerate() {
        out[j] = d * (f32::from(q & 15) - 8.0);
        out[j + 16] = d * (f32::from(q >> 4) - 8.0);
    }
}
