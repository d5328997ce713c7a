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
//! Q8_0 and Q4_0 are also written, with the rounding of the same package, and Q4_K with a search of
//! our own. What a block cannot hold is refused: numbers that are not finite, and such that the
//! scale is no f16. Numbers for which all scales are below the f16s become zeros.
//!
//! All of this is plain loops over lanes: the same bytes on every machine.

mod k;
#[cfg(test)]
mod tests;

use crate::Threads;
use crate::half::{f16_to_f32, f32_to_f16};
pub(crate) use k::scale_and_offset;
use std::sync::{Mutex, PoisonError};

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

    /// Whether [`quantize`] writes it.
    pub fn is_written(self) -> bool {
        matches!(self, Self::Q8_0 | Self::Q4_0 | Self::Q4K)
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

/// Writes the blocks of `format` for `x` to `blocks`.
///
/// * Q8_0: an element is off by half a scale, `max |x| / 254`, and by what the scale loses in f16,
///   at most `max |x| / 2048`, or `127 / 2^25` where the scale is subnormal.
/// * Q4_0: the scale is such that the number of the largest magnitude, with its sign, is `-8 d`; so
///   an element is off by at most a scale, `max |x| / 8`, and by what the scale loses in f16.
/// * Q4_K: scales and offsets are searched for so that the sum of squared errors is small.
///
/// # Errors
///
/// Names the first block's number that it cannot hold; `blocks` are then written in part.
///
/// # Panics
///
/// If `format` is one that is only read (its [`is_written`](Format::is_written) is false), `x` is
/// not whole blocks, or `blocks` are not as many.
pub fn quantize(format: Format, x: &[f32], blocks: &mut [u8]) -> Result<(), Unrepresentable> {
    check_len(format, x.len(), blocks.len());
    let quantize = match format {
        Format::Q8_0 => quantize_q8_0,
        Format::Q4_0 => quantize_q4_0,
        Format::Q4K => k::quantize_q4,
        Format::Q5K | Format::Q6K => panic!("{} is only read", format.name()),
    };
    let (len, bytes) = (format.block_len(), format.block_bytes());
    for (i, (x, block)) in x.chunks_exact(len).zip(blocks.chunks_exact_mut(bytes)).enumerate() {
        let at = largest(x).map_err(|at| Unrepresentable { index: i * len + at, value: x[at] })?;
        let held = quantize(x, x[at], block);
        held.ok_or(Unrepresentable { index: i * len + at, value: x[at] })?;
    }
    Ok(())
}

#[track_caller]
fn check_len(format: Format, elements: usize, bytes: usize) {
    let (len, block) = (format.block_len(), format.block_bytes());
    assert!(elements.is_multiple_of(len), "{elements} elements of {}", format.name());
    assert_eq!(bytes, elements / len * block, "bytes of {elements} elements of {}", format.name());
}

/// [`quantize`] on several threads: the same bytes.
///
/// # Errors
///
/// As [`quantize`]: the first number of all.
///
/// # Panics
///
/// As [`quantize`].
pub fn quantize_threaded(
    threads: &Threads,
    format: Format,
    x: &[f32],
    blocks: &mut [u8],
) -> Result<(), Unrepresentable> {
    /// Enough for a task to outweigh its start, also with the fastest format.
    const LEAST: usize = 1 << 14;
    check_len(format, x.len(), blocks.len());
    let (len, bytes) = (format.block_len(), format.block_bytes());
    let num_blocks = threads.rows_per_task(x.len() / len, LEAST / len);
    let failed = Mutex::new(None::<Unrepresentable>);
    threads.for_each_chunk(blocks, num_blocks * bytes, |i, blocks| {
        let start = i * num_blocks * len;
        let x = &x[start..][..blocks.len() / bytes * len];
        let Err(error) = quantize(format, x, blocks) else { return };
        let error = Unrepresentable { index: start + error.index, ..error };
        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_none_or(|first| error.index < first.index) {
            *failed = Some(error);
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.map_or(Ok(()), Err)
}

/// Where the first number of the largest magnitude is, or the first that is not finite.
fn largest(x: &[f32]) -> Result<usize, usize> {
    // Bits of magnitudes are in the order of magnitudes, with infinity and NaN at the end.
    let magnitude = |x: &f32| x.to_bits() & 0x7FFF_FFFF;
    let most = x.iter().map(magnitude).fold(0, u32::max);
    let first = |found: &dyn Fn(&f32) -> bool| x.iter().position(found).unwrap_or(0);
    if most < f32::INFINITY.to_bits() {
        return Ok(first(&|x| magnitude(x) == most));
    }
    Err(first(&|x| !x.is_finite()))
}

/// `d` as f16, if that is finite.
fn scale_of(d: f32) -> Option<u16> {
    let scale = f32_to_f16(d);
    f16_to_f32(scale).is_finite().then_some(scale)
}

/// Writes a block whose number of the largest magnitude is `largest`, if its scale is an f16.
fn quantize_q8_0(x: &[f32], largest: f32, block: &mut [u8]) -> Option<()> {
    let d = largest.abs() / 127.0;
    let scale = scale_of(d)?;
    let inverse = if scale == 0 { 0.0 } else { 1.0 / d };
    block[..2].copy_from_slice(&scale.to_le_bytes());
    for (q, x) in block[2..].iter_mut().zip(x) {
        // Halves away from zero, as `f32::round`, for which SSE2 has no instruction.
        let steps = x * inverse;
        let whole = steps as i32;
        let rest = steps - whole as f32;
        *q = (whole + i32::from(rest >= 0.5) - i32::from(rest <= -0.5)) as u8;
    }
    Some(())
}

/// The same.
fn quantize_q4_0(x: &[f32], largest: f32, block: &mut [u8]) -> Option<()> {
    let d = largest / -8.0;
    let scale = scale_of(d)?;
    let inverse = if scale & 0x7FFF == 0 { 0.0 } else { 1.0 / d };
    block[..2].copy_from_slice(&scale.to_le_bytes());
    // In f64 there is one rounding, as with a fused multiply-add.
    let nibble = |x: f32| (f64::from(x) * f64::from(inverse) + 8.5).clamp(0.0, 15.0) as u8;
    for (j, q) in block[2..].iter_mut().enumerate() {
        *q = nibble(x[j]) | nibble(x[j + 16]) << 4;
    }
    Some(())
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
