//! Rows of f32 that are the depth of a product, rounded to bf16 in pairs: 32 rows of 16 columns become
//! 16 lines.
//!
//! ```text
//! pairs    [16 pairs of rows][16 columns][2]      what B is made of
//! across   [16 columns][32 rows]                  a tile of A
//! ```

use super::{Line, STEP, TILE_ROWS};
use crate::cpu::Bf16Unit;
use crate::matmul::Mat;

/// Lines of one step.
pub(super) type Block = [Line; TILE_ROWS];

/// Up to 32 rows of up to 16 columns of `x` from `(row, col)` on as pairs of rows, zeros beyond them.
///
/// # Panics
///
/// If `x` has strides between columns.
pub(super) fn pairs(unit: Bf16Unit, x: Mat<'_>, row: usize, col: usize) -> Block {
    assert!(x.col_stride == 1 && row < x.rows && col < x.cols, "({row}, {col}) of {x:?}");
    let (rows, cols) = (STEP.min(x.rows - row), TILE_ROWS.min(x.cols - col));
    let part = &x.data[row * x.row_stride + col..];
    // What the loads below touch; a slice that is too short panics here.
    let part = &part[..(rows - 1) * x.row_stride + cols];
    let mut out = [Line([0; STEP]); TILE_ROWS];
    simd::pairs(unit.avx512(), part, x.row_stride, [rows, cols], &mut out);
    out
}

/// The same as a tile of A: a line for each column.
pub(super) fn across(unit: Bf16Unit, x: Mat<'_>, row: usize, col: usize) -> Block {
    let mut block = pairs(unit, x, row, col);
    simd::transpose(unit.avx512(), &mut block);
    block
}

#[cfg(target_arch = "x86_64")]
mod simd {
    use super::{Block, Line};
    use crate::cpu::Avx512Bf16;
    use std::arch::x86_64::*;

    /// `rows` rows of `cols` columns, `stride` apart.
    pub(super) fn pairs(
        _: Avx512Bf16,
        x: &[f32],
        stride: usize,
        [rows, cols]: [usize; 2],
        out: &mut Block,
    ) {
        #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
        fn inner(x: &[f32], stride: usize, [rows, cols]: [usize; 2], out: &mut Block) {
            assert!(rows > 0 && (rows - 1) * stride + cols <= x.len() && cols <= 16);
            let exists = ((1u32 << cols) - 1) as u16;
            let order: [u16; 32] = std::array::from_fn(|i| (i / 2 + i % 2 * 16) as u16);
            // SAFETY: the size is that of a vector.
            let order = unsafe { _mm512_loadu_si512(order.as_ptr().cast()) };
            let row = |i: usize| {
                if i >= rows {
                    return _mm512_setzero_ps();
                }
                // SAFETY: `cols` lanes of row `i < rows`, which end within `x`.
                unsafe { _mm512_maskz_loadu_ps(exists, x.as_ptr().add(i * stride)) }
            };
            for (pair, Line(line)) in out.iter_mut().enumerate() {
                let both = _mm512_cvtne2ps_pbh(row(2 * pair + 1), row(2 * pair));
                // SAFETY: both are 64 bytes of which any bits are numbers; a line is as long.
                unsafe {
                    let both = _mm512_permutexvar_epi16(
                        order,
                        std::mem::transmute::<__m512bh, __m512i>(both),
                    );
                    _mm512_store_si512(line.as_mut_ptr().cast(), both);
                }
            }
        }

        // SAFETY: the token proves that these features are available.
        unsafe { inner(x, stride, [rows, cols], out) }
    }

    /// The transpose of 16 x 16 pairs.
    pub(super) fn transpose(_: Avx512Bf16, block: &mut Block) {
        #[target_feature(enable = "avx512f")]
        fn inner(block: &mut Block) {
            let at = |i: usize| block[i].0.as_ptr().cast();
            // SAFETY: lines are 64 bytes, aligned to as many.
            let x: [__m512i; 16] = std::array::from_fn(|i| unsafe { _mm512_load_si512(at(i)) });
            // Pairs of rows, then rows in fours: `y[4 i + j]` has columns `j`, `4 + j`, ... of rows
            // `4 i..4 i + 4`.
            let y: [__m512i; 16] = std::array::from_fn(|n| {
                let (i, j) = (n / 4 * 4, n % 4);
                let halves = |a, b| match j < 2 {
                    true => _mm512_unpacklo_epi32(a, b),
                    false => _mm512_unpackhi_epi32(a, b),
                };
                let (low, high) = (halves(x[i], x[i + 1]), halves(x[i + 2], x[i + 3]));
                match j % 2 {
                    0 => _mm512_unpacklo_epi64(low, high),
                    _ => _mm512_unpackhi_epi64(low, high),
                }
            });
            for j in 0..4 {
                // Quarters `q` of fours of rows: column `4 q + j`.
                let (a, b) = (
                    [
                        _mm512_shuffle_i32x4::<0x88>(y[j], y[4 + j]),
                        _mm512_shuffle_i32x4::<0xDD>(y[j], y[4 + j]),
                    ],
                    [
                        _mm512_shuffle_i32x4::<0x88>(y[8 + j], y[12 + j]),
                        _mm512_shuffle_i32x4::<0xDD>(y[8 + j], y[12 + j]),
                    ],
                );
                let columns = [
                    _mm512_shuffle_i32x4::<0x88>(a[0], b[0]),
                    _mm512_shuffle_i32x4::<0x88>(a[1], b[1]),
                    _mm512_shuffle_i32x4::<0xDD>(a[0], b[0]),
                    _mm512_shuffle_i32x4::<0xDD>(a[1], b[1]),
                ];
                for (q, column) in columns.into_iter().enumerate() {
                    // SAFETY: as above.
                    unsafe {
                        _mm512_store_si512(block[4 * q + j].0.as_mut_ptr().cast(), column);
                    }
                }
            }
        }

        // SAFETY: the token proves that the feature is available.
        unsafe { inner(block) }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod simd {
    use super::Block;
    use crate::cpu::Avx512Bf16;

    /// There is no such unit here, as nobody can have the token.
    pub(super) fn pairs(_: Avx512Bf16, _: &[f32], _: usize, _: [usize; 2], _: &mut Block) {
        unreachable!("a unit of x86")
    }

    /// As for [`pairs`].
    pub(super) fn transpose(_: Avx512Bf16, _: &mut Block) {
        unreachable!("a unit of x86")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::half::f32_to_bf16;
    use crate::testing::{execs, random};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_number_is_where_it_belongs(
            [rows, cols, gap] in [1usize..70, 1usize..40, 0usize..3],
            [row, col] in [0usize..70, 0usize..40],
            seed: u64,
        ) {
            let (row, col) = (row % rows, col % cols);
            let stride = cols + gap;
            let data = random(&mut Rng(seed), rows * stride);
            let x = Mat::new(&data, rows, cols, stride, 1);
            let want = |i: usize, j: usize| match row + i < rows && col + j < cols {
                true => f32_to_bf16(data[(row + i) * stride + col + j]),
                false => 0,
            };
            for unit in execs().into_iter().filter_map(|exec| exec.cpu.bf16) {
                let (pairs, across) = (pairs(unit, x, row, col), across(unit, x, row, col));
                for (i, j) in (0..STEP).flat_map(|i| (0..TILE_ROWS).map(move |j| (i, j))) {
                    prop_assert_eq!(pairs[i / 2].0[2 * j + i % 2], want(i, j));
                    prop_assert_eq!(across[j].0[i], want(i, j));
                }
            }
        }
    }
}
