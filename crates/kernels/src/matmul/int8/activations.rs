//! Rows of A as blocks of 8 bits.

use super::super::Mat;
use super::{BLOCK, INTEGERS, Line, SCALES, STARTS, TILE_LINES, TILE_ROWS};
use crate::Cpu;
use fearless_simd::{dispatch, prelude::*};

/// Up to 16 rows of A into a tile, `[k / 32]`; rows that are missing are zeros. The last line of a
/// block has what AVX-512 begins with in each row: [`INTEGERS`] and `-bias` times the sum of the row's
/// integers; or, where the weight has minima, minus the sum of its numbers.
pub(super) fn quantize(
    cpu: Cpu,
    a: Mat<'_>,
    (bias, minima): (i32, bool),
    tile: &mut [[Line; TILE_LINES]],
) {
    if a.rows < TILE_ROWS {
        tile.fill([Line::ZERO; TILE_LINES]);
    }
    for row in 0..a.rows {
        let mut gathered = Vec::new();
        let start = row * a.row_stride;
        let x = if a.col_stride == 1 {
            &a.data[start..start + a.cols]
        } else {
            gathered.extend(a.data[start..].iter().step_by(a.col_stride).take(a.cols));
            &gathered
        };
        dispatch!(cpu.level, simd => simd_row(simd, x, row, (bias, minima), tile));
    }
}

#[inline(always)]
fn simd_row<S: Simd>(
    simd: S,
    x: &[f32],
    row: usize,
    (bias, minima): (i32, bool),
    tile: &mut [[Line; TILE_LINES]],
) {
    for (lines, x) in tile.iter_mut().zip(x.as_chunks::<BLOCK>().0) {
        let q = &mut lines[row / 2].0.as_chunks_mut::<BLOCK>().0[row % 2];
        let (scale, sum) = simd_block(simd, x, q);
        let start = match minima {
            true => (-(scale * sum as f32)).to_bits(),
            false => INTEGERS.to_bits().wrapping_add_signed(-bias * sum),
        };
        lines[SCALES].0.as_chunks_mut::<4>().0[row] = scale.to_le_bytes();
        lines[STARTS].0.as_chunks_mut::<4>().0[row] = start.to_le_bytes();
    }
}

/// One block: its scale and the sum of its integers. A block with a number that is not finite has a
/// scale that is not, and a block of numbers too small for an inverse is zeros.
#[inline(always)]
fn simd_block<S: Simd>(_: S, x: &[f32; BLOCK], q: &mut [u8; BLOCK]) -> (f32, i32) {
    // As integers, so that NaN counts as the largest.
    let most = x.iter().fold(0, |most: u32, x| most.max(x.to_bits() & 0x7FFF_FFFF));
    let most = f32::from_bits(most);
    let inverse = 127.0 / most;
    if !(most.is_finite() && inverse.is_finite()) {
        q.fill(0);
        return (if most.is_finite() { 0.0 } else { f32::NAN }, 0);
    }
    let mut sum = 0;
    for (q, x) in q.iter_mut().zip(x) {
        // An f32 below 2^22 is rounded to an integer, to nearest, ties to even, in the low bits.
        let rounded = (x * inverse + INTEGERS).to_bits() as u8;
        *q = rounded;
        sum += i32::from(rounded.cast_signed());
    }
    (most / 127.0, sum)
}
