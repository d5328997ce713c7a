//! The inner loops: blocks of C, tiles in registers, panels of B.

use super::{
    BLOCK_K, BLOCK_ROWS, Halves, Mat, MatMut, PanelElements, PanelsRef, Scratch, TILE_ROWS, bf16,
    int8,
};
use crate::lanes::prefetch;
use crate::{Arithmetic, Cpu};
use fearless_simd::{dispatch, prelude::*};

/// Elements between what is read of a streamed panel and what is asked for: 16 KiB, as measured for
/// decode over a long KV (docs/perf/LOG.md, 2026-11-26).
const AHEAD: usize = 4 << 10;
/// Elements of a panel in a line of the cache; all have four bytes.
const LINE: usize = 16;

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

/// An element of a panel in memory.
pub(super) trait Element: Copy {
    /// Elements of a row of a panel, for vectors of `lanes`.
    fn per_row(lanes: usize) -> usize;

    /// A row as f32.
    fn widen<S: Simd>(simd: S, row: &[Self]) -> [S::f32s; 2];
}

impl Element for f32 {
    #[inline(always)]
    fn per_row(lanes: usize) -> usize {
        2 * lanes
    }

    #[inline(always)]
    fn widen<S: Simd>(simd: S, row: &[Self]) -> [S::f32s; 2] {
        let (first, second) = row.split_at(S::f32s::LEN);
        [S::f32s::from_slice(simd, first), S::f32s::from_slice(simd, second)]
    }
}

impl Element for Halves {
    #[inline(always)]
    fn per_row(lanes: usize) -> usize {
        lanes
    }

    #[inline(always)]
    fn widen<S: Simd>(simd: S, row: &[Self]) -> [S::f32s; 2] {
        let both = S::u32s::from_slice(simd, row);
        [(both << 16).bitcast(), (both & S::u32s::splat(simd, 0xFFFF_0000)).bitcast()]
    }
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
    if a.cols == 0 && !accumulate {
        for i in 0..a.rows {
            // SAFETY: within the rows that the caller vouches for.
            unsafe { std::slice::from_raw_parts_mut(c.add(i * stride + cols.start), cols.len()) }
                .fill(0.0);
        }
    }
    // A few rows read every panel once and from end to end. Sums in f64 are rounded at the end of
    // each block, so their blocks are the same for every number of rows.
    let streamed = a.rows <= TILE_ROWS
        && arithmetic == Arithmetic::F32
        && matches!(b.panels, PanelElements::F32(_) | PanelElements::Bf16(_));
    let block_k = if streamed { a.cols.max(1) } else { BLOCK_K };
    for first_row in (0..a.rows).step_by(BLOCK_ROWS) {
        let rows = BLOCK_ROWS.min(a.rows - first_row);
        for first_k in (0..a.cols).step_by(block_k) {
            let depth = block_k.min(a.cols - first_k);
            let block = Mat {
                data: &a.data[first_row * a.row_stride + first_k * a.col_stride..],
                rows,
                cols: depth,
                ..a
            };
            for col in cols.clone().step_by(width) {
                let start = col / width * b.k + first_k;
                let n = width.min(cols.end - col);
                // SAFETY: rows `first_row..` and columns `col..col + n`, which the caller owns.
                unsafe {
                    let c = c.add(first_row * stride + col);
                    let to = To { c, stride, n, accumulate: accumulate || first_k > 0 };
                    match b.panels {
                        PanelElements::F32(x) => {
                            let panel = &x[start * width..][..depth * width];
                            rows_of(simd, arithmetic, block, panel, to, streamed);
                        }
                        PanelElements::Bf16(x) => {
                            let panel = &x[start * width / 2..][..depth * width / 2];
                            rows_of(simd, arithmetic, block, panel, to, streamed);
                        }
                        PanelElements::Pairs(pairs) => {
                            let wide = &mut widened[..depth * width];
                            bf16::widen(pairs, col / width, first_k, wide);
                            rows_of(simd, arithmetic, block, &*wide, to, streamed);
                        }
                        PanelElements::Blocks(blocks) => {
                            let wide = &mut widened[..depth * width];
                            int8::widen(blocks, col, first_k, wide, width);
                            rows_of(simd, arithmetic, block, &*wide, to, streamed);
                        }
                    }
                }
            }
        }
    }
}

/// Columns of C that one panel computes.
#[derive(Clone, Copy)]
struct To {
    /// The first row; those after it are `stride` apart.
    c: *mut f32,
    stride: usize,
    n: usize,
    accumulate: bool,
}

/// One panel times all rows of a block.
///
/// # Safety
///
/// * `to.c` points to `a.rows` rows, `to.stride` apart, of at least `to.n` elements that nobody
///   else uses.
#[inline(always)]
unsafe fn rows_of<S: Simd, T: Element>(
    simd: S,
    arithmetic: Arithmetic,
    a: Mat<'_>,
    panel: &[T],
    to: To,
    streamed: bool,
) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match arithmetic {
            Arithmetic::F32 => simd_rows(simd, a, panel, to, streamed),
            Arithmetic::F64 => wide_rows(simd, a, panel, to),
        }
    }
}

/// See [`rows_of`].
///
/// # Safety
///
/// As there.
#[inline(always)]
unsafe fn simd_rows<S: Simd, T: Element>(simd: S, a: Mat<'_>, panel: &[T], to: To, streamed: bool) {
    for i in (0..a.rows).step_by(TILE_ROWS) {
        let tile = a.row_range(i, TILE_ROWS.min(a.rows - i));
        let to = To { c: to.c.wrapping_add(i * to.stride), ..to };
        // SAFETY: the tile's rows are among those the caller vouches for.
        unsafe {
            match tile.rows {
                1 => simd_tile::<S, T, 1>(simd, tile, panel, to, streamed),
                2 => simd_tile::<S, T, 2>(simd, tile, panel, to, streamed),
                3 => simd_tile::<S, T, 3>(simd, tile, panel, to, streamed),
                4 => simd_tile::<S, T, 4>(simd, tile, panel, to, streamed),
                5 => simd_tile::<S, T, 5>(simd, tile, panel, to, streamed),
                _ => simd_tile::<S, T, TILE_ROWS>(simd, tile, panel, to, streamed),
            }
        }
    }
}

/// `ROWS` rows of A times one panel, the results in registers all along. A panel that is
/// `streamed` comes from memory, and what lies [`AHEAD`] of it is asked for.
///
/// # Safety
///
/// As for [`rows_of`], with `ROWS` rows.
#[inline(always)]
unsafe fn simd_tile<S: Simd, T: Element, const ROWS: usize>(
    simd: S,
    a: Mat<'_>,
    panel: &[T],
    to: To,
    streamed: bool,
) {
    let To { c, stride, n, accumulate } = to;
    let lanes = S::f32s::LEN;
    let (width, per_row) = (2 * lanes, T::per_row(lanes));
    assert!(a.rows == ROWS && a.cols * per_row == panel.len() && n <= width);
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
    for (k, b) in panel.chunks_exact(per_row).enumerate() {
        if streamed {
            for line in 0..per_row.div_ceil(LINE) {
                prefetch(b[line * LINE..].as_ptr().wrapping_add(AHEAD));
            }
        }
        let [b0, b1] = T::widen(simd, b);
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
/// As for [`rows_of`].
#[inline(always)]
unsafe fn wide_rows<S: Simd, T: Element>(simd: S, a: Mat<'_>, panel: &[T], to: To) {
    let To { c, stride, n, accumulate } = to;
    let lanes = S::f32s::LEN;
    let width = 2 * lanes;
    for i in 0..a.rows {
        // SAFETY: row `i` of those the caller vouches for, `n` elements of it.
        let row = unsafe { std::slice::from_raw_parts_mut(c.add(i * stride), n) };
        let (mut sums, mut wide) = ([0.0f64; 32], [0.0f32; 32]);
        if accumulate {
            sums.iter_mut().zip(&*row).for_each(|(sum, c)| *sum = f64::from(*c));
        }
        for (k, b) in panel.chunks_exact(T::per_row(lanes)).enumerate() {
            let [b0, b1] = T::widen(simd, b);
            b0.store_slice(&mut wide[..lanes]);
            b1.store_slice(&mut wide[lanes..width]);
            let x = f64::from(a.data[i * a.row_stride + k * a.col_stride]);
            for (sum, b) in sums[..width].iter_mut().zip(&wide) {
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
