//! Rows of A as blocks of 8 bits.

use super::super::Mat;
use super::{BLOCK, Line, TILE_LINES, TILE_ROWS, bias, has_minima};
use crate::Cpu;
use crate::quant::Format;
use fearless_simd::{dispatch, prelude::*};

/// Adding it rounds an f32 below 2^22 to an integer, to nearest, ties to even, which is then in the
/// low bits.
const ROUND: f32 = 12_582_912.0;

/// Up to 16 rows of A into a tile, `[k / 32]`; rows that are missing are zeros. The last line of a
/// block has what the unit begins with in each row: `-bias` times the sum of the row's integers, or
/// minus the sum of its numbers where the weight of `format` has minima.
pub(super) fn quantize(cpu: Cpu, a: Mat<'_>, format: Format, tile: &mut [[Line; TILE_LINES]]) {
    let (bias, minima) = (bias(cpu.int8, format), has_minima(format));
    let mut gathered = [0.0; BLOCK];
    for (b, lines) in tile.iter_mut().enumerate() {
        lines.fill(Line::ZERO);
        for row in 0..a.rows {
            let start = row * a.row_stride + b * BLOCK * a.col_stride;
            let x = if a.col_stride == 1 {
                a.data[start..].first_chunk::<BLOCK>()
            } else {
                let x = a.data[start..].iter().step_by(a.col_stride);
                gathered.iter_mut().zip(x).for_each(|(out, x)| *out = *x);
                Some(&gathered)
            };
            let Some(x) = x else { unreachable!("columns are whole blocks") };
            let (q, lines) = lines.split_at_mut(TILE_ROWS * BLOCK / 64);
            let q = &mut q[row / 2].0[row % 2 * BLOCK..][..BLOCK];
            let Some(q) = q.first_chunk_mut() else { unreachable!("half a line") };
            let (scale, sum) = dispatch!(cpu.level, simd => simd_block(simd, x, q));
            let start = match minima {
                true => (-(scale * sum as f32)).to_bits(),
                false => (-bias * sum).cast_unsigned(),
            };
            lines[0].0[4 * row..][..4].copy_from_slice(&scale.to_le_bytes());
            lines[1].0[4 * row..][..4].copy_from_slice(&start.to_le_bytes());
        }
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
        let rounded = (x * inverse + ROUND).to_bits() as u8;
        *q = rounded;
        sum += i32::from(rounded.cast_signed());
    }
    (most / 127.0, sum)
}
