//! The formats whose blocks of 256 have smaller ones within, which share their own scales.

mod search;

pub(super) use search::quantize_q4;

use super::f16_at;

/// Scale and offset `j` of 8, of 6 bits each, in 12 bytes: the low bits of bytes 0 to 3 are scales
/// 0 to 3 and those of bytes 4 to 7 are offsets 0 to 3; bytes 8 to 11 have the low 4 bits of scales
/// and offsets 4 to 7, whose high 2 bits are on top of those of 0 to 3.
pub(crate) fn scale_and_offset(packed: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        let both = packed[j + 4];
        ((both & 15) | (packed[j - 4] >> 6 << 4), (both >> 4) | (packed[j] >> 6 << 4))
    }
}

/// Packs scales and offsets so that [`scale_and_offset`] reads them.
fn pack_scales(scales: &[u8; 8], offsets: &[u8; 8], packed: &mut [u8]) {
    for j in 0..4 {
        packed[j] = scales[j] | scales[j + 4] >> 4 << 6;
        packed[j + 4] = offsets[j] | offsets[j + 4] >> 4 << 6;
        packed[j + 8] = scales[j + 4] & 15 | (offsets[j + 4] & 15) << 4;
    }
}

/// Runs of 32: byte `l` of 32 has element `l` of an even run in its low half, and that of the odd
/// run behind it in its high one.
pub(super) fn dequantize_q4(block: &[u8], out: &mut [f32]) {
    let (packed, low) = (&block[4..16], &block[16..]);
    runs(block, packed, out, |j, l| low[j / 2 * 32 + l] >> (j % 2 * 4) & 15);
}

/// As Q4_K, and bit `j` of byte `l` of another 32 is the highest of element `l` in run `j`.
pub(super) fn dequantize_q5(block: &[u8], out: &mut [f32]) {
    let (packed, high, low) = (&block[4..16], &block[16..48], &block[48..]);
    runs(block, packed, out, |j, l| {
        (low[j / 2 * 32 + l] >> (j % 2 * 4) & 15) | (high[l] >> j & 1) << 4
    });
}

/// Eight runs of 32, each with its scale and offset; `q(j, l)` is element `l` of run `j`.
fn runs(block: &[u8], packed: &[u8], out: &mut [f32], q: impl Fn(usize, usize) -> u8) {
    let (d, m) = (f16_at(block, 0), f16_at(block, 2));
    for (j, run) in out.chunks_exact_mut(32).enumerate() {
        let (scale, offset) = scale_and_offset(packed, j);
        let (scale, offset) = (d * f32::from(scale), m * f32::from(offset));
        for (l, out) in run.iter_mut().enumerate() {
            *out = scale * f32::from(q(j, l)) - offset;
        }
    }
}

/// Two halves of four runs of 32. Run `r` of a half has its low bits in 32 of the half's 64 bytes,
/// the odd runs in the second 32, and runs 2 and 3 in the high halves of the bytes; its high bits
/// are bits `2 r` and `2 r + 1` of the half's 32 other bytes. A scale is for 16 elements.
pub(super) fn dequantize_q6(block: &[u8], out: &mut [f32]) {
    let (low, rest) = block.split_at(128);
    let (high, rest) = rest.split_at(64);
    let d = f16_at(rest, 16);
    for (i, out) in out.iter_mut().enumerate() {
        let (half, r, l) = (i / 128, i / 32 % 4, i % 32);
        let low = low[half * 64 + r % 2 * 32 + l] >> (r / 2 * 4) & 15;
        let high = high[half * 32 + l] >> (2 * r) & 3;
        let scale = d * f32::from(rest[i / 16].cast_signed());
        *out = scale * (f32::from(low | high << 4) - 32.0);
    }
}
