//! The layout of weights: from the blocks of a file to panels, and from a part of a panel to bytes.
//!
//! ```text
//! Q8_0, Q4_0  block: scales f16[32], then quads
//! Q4_K        8 blocks: d f16[32], m f16[32], then for each: s u8[32], t u8[32], then quads
//! quads       Q8_0: line 2 i + h has 4 numbers of each of 16 columns from 16 h on, from k = 4 i on
//!             Q4_0, Q4_K: its bytes have those in their low halves, and k + 16 in the high ones
//! ```

use super::{BLOCK, Blocks, Line, UNPACKED, WIDTH};
use crate::lanes::prefetch;
use crate::memory::Kept;
use crate::quant::{Format, scale_and_offset};
use crate::{Cpu, Exec};
use fearless_simd::{dispatch, prelude::*};
use std::mem::MaybeUninit;
use std::ops::Range;

/// How far ahead of its use the weight is asked for, in lines: 16 KiB, as for a long KV
/// (docs/perf/LOG.md, 2026-11-26).
pub(super) const AHEAD: usize = 256;

/// Blocks of 32 that have something in common, and the lines of that.
fn group(format: Format) -> (usize, usize) {
    match format {
        Format::Q4K => (8, 2),
        _ => (1, 0),
    }
}

/// Lines of one block: scales and quads.
pub(super) fn block_lines(format: Format) -> usize {
    match format {
        Format::Q8_0 => 17,
        Format::Q4_0 | Format::Q4K => 9,
        Format::Q5K | Format::Q6K => panic!("{} is not multiplied", format.name()),
    }
}

/// Lines of a panel for `k` elements of a column.
fn panel_lines(format: Format, k: usize) -> usize {
    let (blocks, common) = group(format);
    k / BLOCK * block_lines(format) + k / BLOCK / blocks * common
}

/// Bytes of a packed weight `[n, k]`.
pub(in super::super) fn bytes(format: Format, n: usize, k: usize) -> usize {
    n.div_ceil(WIDTH) * panel_lines(format, k) * size_of::<Line>()
}

/// Where block `b` of a panel begins, and what it has in common with others.
pub(super) fn places(format: Format, b: usize) -> (usize, usize) {
    let (blocks, common) = group(format);
    let start = b / blocks * (blocks * block_lines(format) + common);
    (start + common + b % blocks * block_lines(format), start)
}

/// Packs a weight `[n, k]` in blocks of Q8_0, Q4_0 or Q4_K.
///
/// # Panics
///
/// If `bytes` are not `n` rows of whole blocks, or the format is another.
#[track_caller]
pub(in super::super) fn pack(
    exec: &Exec,
    format: Format,
    bytes: &[u8],
    n: usize,
    k: usize,
) -> Kept<Line> {
    assert!(k.is_multiple_of(format.block_len()), "rows of {k} elements of {}", format.name());
    let row_bytes = k / format.block_len() * format.block_bytes();
    assert_eq!(bytes.len(), n * row_bytes, "bytes of [{n}, {k}] in {}", format.name());
    let per_panel = panel_lines(format, k);
    Kept::write(n.div_ceil(WIDTH) * per_panel, |fresh| {
        if fresh.is_empty() {
            return;
        }
        exec.threads.for_each_chunk(fresh, per_panel, |panel, lines| {
            // The last panel may have fewer columns. Memory is touched here first, by all threads.
            lines.fill(MaybeUninit::new(Line::ZERO));
            // SAFETY: all of them have been written.
            let lines = unsafe { lines.assume_init_mut() };
            let rows = &bytes[panel * WIDTH * row_bytes..n.min((panel + 1) * WIDTH) * row_bytes];
            // Block by block: all that is written meanwhile is 5 KiB.
            for b in 0..k / format.block_len() {
                for (j, row) in rows.chunks_exact(row_bytes).enumerate() {
                    let block = &row[b * format.block_bytes()..][..format.block_bytes()];
                    pack_block(format, block, b, j, lines);
                }
            }
        });
    })
}

/// Column `j` of a panel in the blocks of one block of the file.
fn pack_block(format: Format, block: &[u8], b: usize, j: usize, panel: &mut [Line]) {
    match format {
        Format::Q8_0 | Format::Q4_0 => {
            let (start, _) = places(format, b);
            panel[start].0[2 * j..][..2].copy_from_slice(&block[..2]);
            let quads = block[2..].as_chunks::<4>().0;
            for (to, quad) in column(&mut panel[start + 1..][..2 * quads.len()], j).zip(quads) {
                *to = *quad;
            }
        }
        Format::Q4K => {
            let (scales, low) = (&block[4..16], &block[16..]);
            let (_, common) = places(format, 8 * b);
            panel[common].0[2 * j..][..2].copy_from_slice(&block[..2]);
            panel[common + 1].0[2 * j..][..2].copy_from_slice(&block[2..4]);
            for run in 0..8 {
                let (start, _) = places(format, 8 * b + run);
                let (scale, offset) = scale_and_offset(scales, run);
                (panel[start].0[j], panel[start].0[32 + j]) = (scale, offset);
                let low = &low[run / 2 * 32..][..32];
                let (first, second) = low.as_chunks::<4>().0.split_at(4);
                let quads = first.iter().zip(second);
                for (to, (first, second)) in column(&mut panel[start + 1..][..8], j).zip(quads) {
                    *to = std::array::from_fn(|x| match run % 2 {
                        0 => first[x] & 15 | second[x] << 4,
                        _ => first[x] >> 4 | second[x] & 0xF0,
                    });
                }
            }
        }
        Format::Q5K | Format::Q6K => panic!("{} is not multiplied", format.name()),
    }
}

/// The quads of column `j` in the lines of a block.
fn column(lines: &mut [Line], j: usize) -> impl Iterator<Item = &mut [u8; 4]> {
    let (half, lane) = (j / 16, j % 16);
    let pairs = lines.as_chunks_mut::<2>().0.iter_mut();
    pairs.map(move |pair| &mut pair[half].0.as_chunks_mut::<4>().0[lane])
}

/// The lines of a panel.
pub(super) fn panel<'a>(w: Blocks<'a>, panel: usize) -> &'a [Line] {
    let per_panel = panel_lines(w.format, w.k);
    &w.lines[panel * per_panel..(panel + 1) * per_panel]
}

/// Blocks `part` of a panel as f32 scales and minima and as bytes, each more by `bias`.
pub(super) fn unpack(
    cpu: Cpu,
    w: Blocks<'_>,
    panel: usize,
    part: Range<usize>,
    bias: u8,
    out: &mut [[Line; UNPACKED]],
) {
    let panel = self::panel(w, panel);
    dispatch!(cpu.level, simd => simd_unpack(simd, w.format, panel, part, bias, out));
}

#[inline(always)]
fn simd_unpack<S: Simd>(
    simd: S,
    format: Format,
    panel: &[Line],
    part: Range<usize>,
    bias: u8,
    out: &mut [[Line; UNPACKED]],
) {
    for (b, out) in part.zip(out) {
        let (start, common) = places(format, b);
        let block = &panel[start..start + block_lines(format)];
        // Weights are read in order, but faster than the CPU would foresee.
        block.iter().for_each(|line| prefetch(std::ptr::from_ref(line).wrapping_add(AHEAD)));
        match format {
            Format::Q8_0 => simd_q8_0(simd, block, bias, out),
            Format::Q4_0 => simd_q4_0(simd, block, bias, out),
            _ => simd_q4_k(simd, &panel[common..common + 2], block, out),
        }
    }
}

#[inline(always)]
fn simd_q8_0<S: Simd>(_: S, block: &[Line], bias: u8, out: &mut [Line; UNPACKED]) {
    let scales = halves(&block[0].0);
    put(&mut out[..2], &scales);
    for (out, line) in out[4..].iter_mut().zip(&block[1..]) {
        for (out, x) in out.0.iter_mut().zip(&line.0) {
            *out = x.wrapping_add(bias);
        }
    }
}

#[inline(always)]
fn simd_q4_0<S: Simd>(_: S, block: &[Line], bias: u8, out: &mut [Line; UNPACKED]) {
    let scales = halves(&block[0].0);
    put(&mut out[..2], &scales);
    nibbles(&block[1..], bias.wrapping_sub(8), &mut out[4..]);
}

#[inline(always)]
fn simd_q4_k<S: Simd>(_: S, common: &[Line], block: &[Line], out: &mut [Line; UNPACKED]) {
    let (mut d, mut m) = (halves(&common[0].0), halves(&common[1].0));
    let (scales, offsets) = block[0].0.split_at(WIDTH);
    for j in 0..WIDTH {
        d[j] *= f32::from(scales[j]);
        m[j] *= f32::from(offsets[j]);
    }
    put(&mut out[..2], &d);
    put(&mut out[2..4], &m);
    nibbles(&block[1..], 0, &mut out[4..]);
}

#[inline(always)]
fn nibbles(packed: &[Line], more: u8, out: &mut [Line]) {
    let (low, high) = out.split_at_mut(8);
    for ((line, low), high) in packed.iter().zip(low).zip(high) {
        for ((x, low), high) in line.0.iter().zip(&mut low.0).zip(&mut high.0) {
            *low = (x & 15).wrapping_add(more);
            *high = (x >> 4).wrapping_add(more);
        }
    }
}

/// Numbers to two lines.
#[inline(always)]
fn put(lines: &mut [Line], x: &[f32; WIDTH]) {
    for (line, x) in lines.iter_mut().zip(x.as_chunks::<16>().0) {
        for (out, x) in line.0.as_chunks_mut::<4>().0.iter_mut().zip(x) {
            *out = x.to_le_bytes();
        }
    }
}

/// 32 numbers of f16.
#[inline(always)]
fn halves(line: &[u8; 64]) -> [f32; WIDTH] {
    let mut out = [0.0; WIDTH];
    for (out, bytes) in out.iter_mut().zip(line.as_chunks::<2>().0) {
        *out = half(u16::from_le_bytes(*bytes));
    }
    out
}

/// What `crate::half::f16_to_f32` does, without branches, so that it is done for 16 at a time, and
/// without subnormal f32, which a thread may be told to take for zeros.
#[inline(always)]
pub(super) fn half(x: u16) -> f32 {
    let sign = u32::from(x & 0x8000) << 16;
    let rest = u32::from(x & 0x7FFF) << 13;
    let normal = rest + 0x3800_0000;
    let subnormal = (f32::from_bits(rest + 0x3880_0000) - f32::from_bits(0x3880_0000)).to_bits();
    let infinite = rest | 0x7F80_0000;
    let finite = if rest < 0x0080_0000 { subnormal } else { normal };
    f32::from_bits(sign | if rest < 0x0F80_0000 { finite } else { infinite })
}

/// Rows `first_k..` of columns `first..first + width` as f32, `[rows, width]`; zeros for columns
/// that there are not.
pub(in super::super) fn widen(
    w: Blocks<'_>,
    first: usize,
    first_k: usize,
    out: &mut [f32],
    width: usize,
) {
    for (i, out) in out.iter_mut().enumerate() {
        let (j, k) = (first + i % width, first_k + i / width);
        *out = if j < w.n { value(w, j, k) } else { 0.0 };
    }
}

/// Element `(j, k)` of the weight.
pub(super) fn value(w: Blocks<'_>, j: usize, k: usize) -> f32 {
    let panel = panel(w, j / WIDTH);
    let (start, common) = places(w.format, k / BLOCK);
    let (j, k) = (j % WIDTH, k % BLOCK);
    let f16 = |line: usize| {
        let bytes = &panel[line].0[2 * j..];
        half(u16::from_le_bytes([bytes[0], bytes[1]]))
    };
    let byte = |quad: usize| panel[start + 1 + 2 * quad + j / 16].0[j % 16 * 4 + k % 4];
    let nibble = || byte(k / 4 % 4) >> (k / 16 * 4) & 15;
    match w.format {
        Format::Q8_0 => f16(start) * f32::from(byte(k / 4).cast_signed()),
        Format::Q4_0 => f16(start) * (f32::from(nibble()) - 8.0),
        _ => {
            let scale = f16(common) * f32::from(panel[start].0[j]);
            let offset = f16(common + 1) * f32::from(panel[start].0[32 + j]);
            scale * f32::from(nibble()) - offset
        }
    }
}
