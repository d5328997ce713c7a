//! The inner loops: blocks of C, tiles in registers, panels of B.

use super::{
    BLOCK_K, BLOCK_ROWS, Mat, MatMut, PanelElements, PanelsRef, Scratch, TILE_ROWS, bf16, int8,
};
use crate::half::bf16_to_f32;
use crate::{Arithmetic, Cpu};
use fearless_simd::{dispatch, prelude::*};

/// The product for columns `cols` of C, which start at a panel.
///
/// # Safety
///
/// * `c` points to `a.rows` rows, `stride` apart, of at least `cols.end` elements, and nobody else
///   uses columns `cols` of them.
pub(super) unsafe fn block_product(
    cpu: Cpu,
    a: Mat<'_>,
    b: PanelsRef<'_>,
    cols: std::ops::Range<usize>,
    c: *mut f32,
    stride: usize,
    accumulate: bool,
) {
    // SAFETY: the caller's promise, passed on.
    dispatch!(cpu.level, simd => unsafe {
        simd_block_product(simd, cpu.arithmetic, a, b, cols, c, stride, accumulate);
    });
}

/// # Safety
///
/// As for [`block_product`].
#[expect(clippy::too_many_arguments, reason = "operands, and how to compute")]
#[inline(always)]
unsafe fn simd_block_product<S: Simd>(
    simd: S,
    arithmetic: Arithmetic,
    a: Mat<'_>,
    b: PanelsRef<'_>,
    cols: std::ops::Range<usize>,
    c: *mut f32,
    stride: usize,
    accumulate: bool,
) {
    let width = 2 * S::f32s::LEN;
    debug_assert_eq!(b.width, width);
    let mut widened = [0.0f32; BLOCK_K * 32];
    if b.k == 0 && !accumulate {
        for i in 0..a.rows {
            // SAFETY: within the rows that the caller vouches for.
            unsafe { std::slice::from_raw_parts_mut(c.add(i * stride + cols.start), cols.len()) }
                .fill(0.0);
        }
    }
    for first_row in (0..a.rows).step_by(BLOCK_ROWS) {
        let rows = BLOCK_ROWS.min(a.rows - first_row);
        for first_k in (0..b.k).step_by(BLOCK_K) {
            let depth = BLOCK_K.min(b.k - first_k);
            let block = Mat {
                data: &a.data[first_row * a.row_stride + first_k * a.col_stride..],
                rows,
                cols: depth,
                ..a
            };
            for col in cols.clone().step_by(width) {
                let start = (col / width * b.k + first_k) * width;
                let panel = match b.panels {
                    PanelElements::F32(x) => &x[start..start + depth * width],
                    PanelElements::Bf16(x) => {
                        let wide = &mut widened[..depth * width];
                        for (wide, &x) in wide.iter_mut().zip(&x[start..start + depth * width]) {
                            *wide = bf16_to_f32(x);
                        }
                        &*wide
                    }
                    PanelElements::Pairs(pairs) => {
                        let wide = &mut widened[..depth * width];
                        bf16::widen(pairs, col / width, first_k, wide);
                        &*wide
                    }
                    PanelElements::Blocks(blocks) => {
                        let wide = &mut widened[..depth * width];
                        for (i, wide) in wide.iter_mut().enumerate() {
                            let (k, j) = (first_k + i / width, col + i % width);
                            *wide = if j < blocks.n { int8::value(blocks, j, k) } else { 0.0 };
                        }
                        &*wide
                    }
                };
                let n = width.min(cols.end - col);
                // SAFETY: rows `first_row..` and columns `col..col + n`, which the caller owns.
                unsafe {
                    let c = c.add(first_row * stride + col);
                    let accumulate = accumulate || first_k > 0;
                    match arithmetic {
                        Arithmetic::F32 => simd_rows(simd, block, panel, c, stride, n, accumulate),
                        Arithmetic::F64 => wide_rows(simd, block, panel, c, stride, n, accumulate),
                    }
                }
            }
        }
    }
}

/// One panel times all rows of a block.
///
/// # Safety
///
/// * `c` points to `a.rows` rows, `stride` apart, of at least `n` elements that nobody else uses.
#[inline(always)]
unsafe fn simd_rows<S: Simd>(
    simd: S,
    a: Mat<'_>,
    panel: &[f32],
    c: *mut f32,
    stride: usize,
    n: usize,
    accumulate: bool,
) {
    for i in (0..a.rows).step_by(TILE_ROWS) {
        let tile = a.row_range(i, TILE_ROWS.min(a.rows - i));
        let c = c.wrapping_add(i * stride);
        // SAFETY: the tile's rows are among those the caller vouches for.
        unsafe {
            match tile.rows {
                1 => simd_tile::<S, 1>(simd, tile, panel, c, stride, n, accumulate),
                2 => simd_tile::<S, 2>(simd, tile, panel, c, stride, n, accumulate),
                3 => simd_tile::<S, 3>(simd, tile, panel, c, stride, n, accumulate),
                4 => simd_tile::<S, 4>(simd, tile, panel, c, stride, n, accumulate),
                5 => simd_tile::<S, 5>(simd, tile, panel, c, stride, n, accumulate),
                _ => simd_tile::<S, TILE_ROWS>(simd, tile, panel, c, stride, n, accumulate),
            }
        }
    }
}

/// `ROWS` rows of A times one panel, the results in registers all along.
///
/// # Safety
///
/// As for [`simd_rows`], with `ROWS` rows.
#[inline(always)]
unsafe fn simd_tile<S: Simd, const ROWS: usize>(
    simd: S,
    a: Mat<'_>,
    panel: &[f32],
    c: *mut f32,
    stride: usize,
    n: usize,
    accumulate: bool,
) {
    let lanes = S::f32s::LEN;
    let width = 2 * lanes;
    assert!(a.rows == ROWS && a.cols * width == panel.len() && n <= width);
    let mut acc = [[S::f32s::splat(simd, 0.0); 2]; ROWS];
    let mut edge = [0.0f32; 64];
    if accumulate {
        for (i, acc) in acc.iter_mut().enumerate() {
            // SAFETY: row `i` of the tile has `n` elements.
            let row = unsafe { std::slice::from_raw_parts(c.add(i * stride), n) };
            let row = if n == width {
                row
            } else {
                edge[..n].copy_from_slice(row);
                &edge[..width]
            };
            acc[0] = S::f32s::from_slice(simd, &row[..lanes]);
            acc[1] = S::f32s::from_slice(simd, &row[lanes..width]);
        }
    }
    let base = a.data.as_ptr();
    for (k, b) in panel.chunks_exact(width).enumerate() {
        let b0 = S::f32s::from_slice(simd, &b[..lanes]);
        let b1 = S::f32s::from_slice(simd, &b[lanes..]);
        for (i, acc) in acc.iter_mut().enumerate() {
            // SAFETY: `Mat` guarantees that element (i, k) exists, and `k < a.cols`, `i < a.rows`
            // by the assertion above.
            let x = unsafe { *base.add(i * a.row_stride + k * a.col_stride) };
            let x = S::f32s::splat(simd, x);
            acc[0] = x.mul_add(b0, acc[0]);
            acc[1] = x.mul_add(b1, acc[1]);
        }
    }
    for (i, acc) in acc.iter().enumerate() {
        // SAFETY: row `i` of the tile has `n` elements.
        let row = unsafe { std::slice::from_raw_parts_mut(c.add(i * stride), n) };
        if n == width {
            acc[0].store_slice(&mut row[..lanes]);
            acc[1].store_slice(&mut row[lanes..width]);
        } else {
            acc[0].store_slice(&mut edge[..lanes]);
            acc[1].store_slice(&mut edge[lanes..width]);
            row.copy_from_slice(&edge[..n]);
        }
    }
}

/// [`simd_rows`] with sums in f64, where the product of two f32 is exact.
///
/// # Safety
///
/// As for [`simd_rows`].
#[inline(always)]
unsafe fn wide_rows<S: Simd>(
    _: S,
    a: Mat<'_>,
    panel: &[f32],
    c: *mut f32,
    stride: usize,
    n: usize,
    accumulate: bool,
) {
    let width = 2 * S::f32s::LEN;
    for i in 0..a.rows {
        // SAFETY: row `i` of those the caller vouches for, `n` elements of it.
        let row = unsafe { std::slice::from_raw_parts_mut(c.add(i * stride), n) };
        let mut sums = [0.0f64; 32];
        if accumulate {
            sums.iter_mut().zip(&*row).for_each(|(sum, c)| *sum = f64::from(*c));
        }
        for (k, b) in panel.chunks_exact(width).enumerate() {
            let x = f64::from(a.data[i * a.row_stride + k * a.col_stride]);
            for (sum, b) in sums[..width].iter_mut().zip(b) {
                *sum += x * f64::from(*b);
            }
        }
        row.iter_mut().zip(&sums).for_each(|(c, sum)| *c = *sum as f32);
    }
}

/// Columns `first_col..` and rows `first_k..` of B into `out: [depth, width]`, zeros beyond it.
#[inline(always)]
pub(super) fn pack_panel<S: Simd>(
    _: S,
    b: Mat<'_>,
    first_col: usize,
    first_k: usize,
    out: &mut [f32],
) {
    let width = 2 * S::f32s::LEN;
    let n = width.min(b.cols - first_col);
    let start = first_k * b.row_stride + first_col * b.col_stride;
    let source = &b.data[start..];
    if b.col_stride == 1 && n == width {
        for (k, out) in out.chunks_exact_mut(width).enumerate() {
            out.copy_from_slice(&source[k * b.row_stride..][..width]);
        }
    } else if b.row_stride == 1 {
        let depth = out.len() / width;
        if n < width {
            out.fill(0.0);
        }
        for j in 0..n {
            let column = &source[j * b.col_stride..][..depth];
            for (out, &x) in out.chunks_exact_mut(width).zip(column) {
                out[j] = x;
            }
        }
    } else {
        for (k, out) in out.chunks_exact_mut(width).enumerate() {
            out[n..].fill(0.0);
            for (j, out) in out[..n].iter_mut().enumerate() {
                *out = source[k * b.row_stride + j * b.col_stride];
            }
        }
    }
}

#[inline(always)]
pub(super) fn simd_serial<S: Simd>(
    simd: S,
    arithmetic: Arithmetic,
    a: Mat<'_>,
    b: Mat<'_>,
    c: MatMut<'_>,
    accumulate: bool,
    scratch: &mut Scratch,
) {
    let width = 2 * S::f32s::LEN;
    let num_panels = b.cols.div_ceil(width);
    let size = num_panels * b.rows * width;
    if scratch.packed.len() < size {
        scratch.packed.resize(size, 0.0);
    }
    let packed = &mut scratch.packed[..size];
    if b.rows > 0 {
        for (panel, out) in packed.chunks_exact_mut(b.rows * width).enumerate() {
            pack_panel(simd, b, panel * width, 0, out);
        }
    }
    let panels = PanelsRef { panels: PanelElements::F32(packed), k: b.rows, n: b.cols, width };
    // SAFETY: `serial` checked that `c` is `[a.rows, b.cols]`; it is borrowed mutably.
    unsafe {
        let (data, stride) = (c.data.as_mut_ptr(), c.row_stride);
        simd_block_product(simd, arithmetic, a, panels, 0..b.cols, data, stride, accumulate);
    }
}
