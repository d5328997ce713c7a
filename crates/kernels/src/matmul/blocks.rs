//! The inner loops: blocks of C, tiles in registers, panels of B.

use super::lines::{from_line, with_room};
use super::{
    BLOCK_K, BLOCK_ROWS, Halves, Mat, MatMut, PanelElements, PanelsRef, Scratch, TILE_ROWS,
    WIDE_TILE_ROWS, bf16, int8,
};
use crate::lanes::{prefetch, prefetch_to_write};
use crate::{Arithmetic, Cpu};
use fearless_simd::{dispatch, prelude::*};
use std::mem::MaybeUninit;

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

/// From the start of a line of the cache on.
#[repr(align(64))]
struct Aligned<T>(T);

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
    let Aligned(widened) = &mut Aligned([0.0f32; BLOCK_K * 32]);
    let mut packed: PackedRows = [const { MaybeUninit::uninit() }; _];
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
    // Where one block is all, a copy costs more than it gains (docs/perf/LOG.md, 2026-11-27).
    let packs =
        !streamed && arithmetic == Arithmetic::F32 && a.cols > BLOCK_K && cols.len() > width;
    for first_row in (0..a.rows).step_by(BLOCK_ROWS) {
        let rows_in_block = BLOCK_ROWS.min(a.rows - first_row);
        for first_k in (0..a.cols).step_by(block_k) {
            let depth = block_k.min(a.cols - first_k);
            let block = Mat {
                data: &a.data[first_row * a.row_stride + first_k * a.col_stride..],
                rows: rows_in_block,
                cols: depth,
                ..a
            };
            let rows = match packs {
                true => pack_rows(simd, block, &mut packed),
                false => Rows { a: block, layout: Layout::Strided },
            };
            let next = match first_k + depth < a.cols {
                true => (first_row, first_k + depth),
                false => (first_row + rows_in_block, 0),
            };
            for col in cols.clone().step_by(width) {
                if packs {
                    ask_for(a, next, depth, (col - cols.start) / width, cols.len().div_ceil(width));
                }
                let start = col / width * b.k + first_k;
                let n = width.min(cols.end - col);
                // SAFETY: rows `first_row..` and columns `col..col + n`, which the caller owns.
                unsafe {
                    let c = c.add(first_row * stride + col);
                    let to = To { c, stride, n, accumulate: accumulate || first_k > 0 };
                    // Tiles are inlined and large, so panels of all kinds share one call of them. A streamed
                    // one in bf16 is a tile, widened in registers.
                    let wide = &mut widened[..if streamed { 0 } else { depth * width }];
                    let panel = match b.panels {
                        PanelElements::F32(x) => &x[start * width..][..depth * width],
                        PanelElements::Bf16(x) => {
                            let panel = &x[start * width / 2..][..depth * width / 2];
                            if streamed {
                                tile_of(simd, block, Layout::Strided, panel, to, true);
                                continue;
                            }
                            widen(simd, panel, wide);
                            wide
                        }
                        PanelElements::Rows(b) => {
                            pack_panel(simd, b, col, first_k, wide);
                            wide
                        }
                        PanelElements::Pairs(pairs) => {
                            bf16::widen(pairs, col / width, first_k, wide);
                            wide
                        }
                        PanelElements::Blocks(blocks) => {
                            int8::widen(blocks, col, first_k, wide, width);
                            wide
                        }
                    };
                    match arithmetic {
                        Arithmetic::F32 => simd_rows(simd, rows, panel, to, streamed),
                        Arithmetic::F64 => wide_rows(simd, block, panel, to),
                    }
                }
            }
        }
    }
}

/// A part of a panel as f32, for many rows.
#[inline(always)]
fn widen<S: Simd>(simd: S, panel: &[Halves], out: &mut [f32]) {
    let lanes = S::f32s::LEN;
    for (out, row) in out.chunks_exact_mut(2 * lanes).zip(panel.chunks_exact(lanes)) {
        let [first, second] = Halves::widen(simd, row);
        first.store_slice(&mut out[..lanes]);
        second.store_slice(&mut out[lanes..]);
    }
}

/// A block of A in memory of its own.
type PackedRows = [MaybeUninit<f32>; BLOCK_ROWS * PACKED_STRIDE];
/// Between rows of a packed block, the depth of a block and a line: a power of two apart they would
/// drive each other and the panel out of the first-level cache.
const PACKED_STRIDE: usize = BLOCK_K + LINE;

/// How the elements of a block of A lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Layout {
    /// As [`Mat`] says.
    Strided,
    /// Packed, rows [`PACKED_STRIDE`] apart.
    Rows,
    /// Packed, `[tile][k][row]`: what is read at once lies together, and a transposed A is copied in
    /// runs.
    Tiles,
}

/// A block of A.
#[derive(Clone, Copy)]
struct Rows<'a> {
    a: Mat<'a>,
    layout: Layout,
}

impl<'a> Rows<'a> {
    /// Rows from `first` on, which are a tile.
    #[inline(always)]
    fn tile(self, first: usize, rows: usize) -> Mat<'a> {
        match self.layout {
            Layout::Tiles => {
                let data = &self.a.data[tile_start(first, self.a.cols)..];
                Mat::new(data, rows, self.a.cols, 1, rows)
            }
            Layout::Strided | Layout::Rows => self.a.row_range(first, rows),
        }
    }
}

/// Rows of the tile that begins where `left` rows are left: of packed ones with as many sums as there
/// are registers, and where fewer are left, with as many as the narrowest level has.
#[inline(always)]
fn tile_rows<S: Simd>(_: S, left: usize, layout: Layout) -> usize {
    let wide = layout != Layout::Strided && S::f32s::LEN == 16 && left >= WIDE_TILE_ROWS;
    if wide { WIDE_TILE_ROWS } else { left.min(TILE_ROWS) }
}

/// A copy of a block of A.
#[inline(always)]
fn pack_rows<'a, S: Simd>(simd: S, a: Mat<'_>, out: &'a mut PackedRows) -> Rows<'a> {
    if a.is_transposed() {
        pack_tiles(simd, a, out);
        // SAFETY: all elements of the tiles have been written, and so have those between them.
        let data = unsafe { out[..tile_start(a.rows, a.cols)].assume_init_ref() };
        return Rows { a: Mat { data, ..a }, layout: Layout::Tiles };
    }
    let rows = out.as_chunks_mut::<PACKED_STRIDE>().0;
    for (i, out) in rows[..a.rows].iter_mut().enumerate() {
        let row = &a.data[i * a.row_stride..];
        let (out, rest) = out.split_at_mut(a.cols);
        if a.col_stride == 1 {
            out.write_copy_of_slice(&row[..a.cols]);
        } else {
            for (out, x) in out.iter_mut().zip(row.iter().step_by(a.col_stride)) {
                out.write(*x);
            }
        }
        rest.fill(MaybeUninit::new(0.0));
    }
    // SAFETY: all elements of these rows have been written.
    let data = unsafe { out[..a.rows * PACKED_STRIDE].assume_init_ref() };
    let a = Mat { data, row_stride: PACKED_STRIDE, col_stride: 1, ..a };
    Rows { a, layout: Layout::Rows }
}

/// Where the tile whose first row is `first` begins among packed ones: after those before it and a line
/// for each, since a power of two apart they would drive each other out of the cache.
fn tile_start(first: usize, depth: usize) -> usize {
    first * depth + first / TILE_ROWS * LINE
}

/// Tiles of a transposed A, which is read in the order of memory.
#[inline(always)]
fn pack_tiles<S: Simd>(simd: S, a: Mat<'_>, out: &mut PackedRows) {
    let mut whole = 0;
    if tile_rows(simd, a.rows, Layout::Tiles) == WIDE_TILE_ROWS {
        whole = pack_columns::<WIDE_TILE_ROWS>(a, whole, out);
    }
    whole = pack_columns::<TILE_ROWS>(a, whole, out);
    let rest = a.rows - whole;
    for k in 0..a.cols {
        let column = &a.data[k * a.col_stride + whole..][..rest];
        out[tile_start(whole, a.cols) + k * rest..][..rest].write_copy_of_slice(column);
    }
}

/// As many tiles of `ROWS` rows as there are from row `first` on; the row after them.
#[inline(always)]
fn pack_columns<const ROWS: usize>(a: Mat<'_>, first: usize, out: &mut PackedRows) -> usize {
    let end = first + (a.rows - first) / ROWS * ROWS;
    for k in 0..a.cols {
        let column = &a.data[k * a.col_stride + first..][..end - first];
        for (tile, rows) in column.as_chunks::<ROWS>().0.iter().enumerate() {
            let start = tile_start(first + tile * ROWS, a.cols) + k * ROWS;
            out[start..start + ROWS].write_copy_of_slice(rows);
        }
    }
    for next in (first + ROWS..=end).step_by(ROWS) {
        let gap = ROWS / TILE_ROWS * LINE;
        let start = tile_start(next, a.cols);
        out[start - gap..start].fill(MaybeUninit::new(0.0));
    }
    end
}

/// Asks for a share of the block that is packed next, so that it comes while this one is multiplied.
#[inline(always)]
fn ask_for(
    a: Mat<'_>,
    (first_row, first_k): (usize, usize),
    depth: usize,
    part: usize,
    parts: usize,
) {
    if a.col_stride != 1 {
        return;
    }
    let rows = BLOCK_ROWS.min(a.rows.saturating_sub(first_row));
    for row in rows * part / parts..rows * (part + 1) / parts {
        let start = a.data.as_ptr().wrapping_add((first_row + row) * a.row_stride + first_k);
        for x in (0..depth).step_by(LINE) {
            prefetch(start.wrapping_add(x));
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
unsafe fn simd_rows<S: Simd>(simd: S, rows: Rows<'_>, panel: &[f32], to: To, streamed: bool) {
    let mut first = 0;
    while first < rows.a.rows {
        let tile = rows.tile(first, tile_rows(simd, rows.a.rows - first, rows.layout));
        let to = To { c: to.c.wrapping_add(first * to.stride), ..to };
        if rows.layout != Layout::Strided {
            // The first tile asks for its own lines, too late.
            let ahead = if first == 0 { 0 } else { tile.rows };
            for i in ahead..2 * tile.rows {
                let row = to.c.wrapping_add(i * to.stride);
                for line in (0..2 * S::f32s::LEN).step_by(LINE) {
                    prefetch_to_write(row.wrapping_add(line));
                }
            }
        }
        // SAFETY: the tile's rows are among those the caller vouches for.
        unsafe {
            tile_of(simd, tile, rows.layout, panel, to, streamed);
        }
        first += tile.rows;
    }
}

/// [`Layout`]s that the compiler knows.
const STRIDED: u8 = 0;
const IN_ROWS: u8 = 1;
const IN_TILES: u8 = 2;

/// A tile of as many rows as it has; the few of the last one may lie anyhow.
///
/// # Safety
///
/// As for [`simd_rows`], with the rows of the tile.
#[inline(always)]
unsafe fn tile_of<S: Simd, T: Element>(
    simd: S,
    tile: Mat<'_>,
    layout: Layout,
    panel: &[T],
    to: To,
    streamed: bool,
) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match (tile.rows, layout) {
            (1, _) => simd_tile::<S, T, 1, STRIDED>(simd, tile, panel, to, streamed),
            (2, _) => simd_tile::<S, T, 2, STRIDED>(simd, tile, panel, to, streamed),
            (3, _) => simd_tile::<S, T, 3, STRIDED>(simd, tile, panel, to, streamed),
            (4, _) => simd_tile::<S, T, 4, STRIDED>(simd, tile, panel, to, streamed),
            (5, _) => simd_tile::<S, T, 5, STRIDED>(simd, tile, panel, to, streamed),
            (TILE_ROWS, Layout::Strided) => {
                simd_tile::<S, T, TILE_ROWS, STRIDED>(simd, tile, panel, to, streamed);
            }
            (TILE_ROWS, Layout::Rows) => {
                simd_tile::<S, T, TILE_ROWS, IN_ROWS>(simd, tile, panel, to, false);
            }
            (TILE_ROWS, Layout::Tiles) => {
                simd_tile::<S, T, TILE_ROWS, IN_TILES>(simd, tile, panel, to, false);
            }
            // Levels with fewer registers have no such tiles, nor have rows that are not packed.
            (WIDE_TILE_ROWS, Layout::Rows) if S::f32s::LEN == 16 => {
                simd_tile::<S, T, WIDE_TILE_ROWS, IN_ROWS>(simd, tile, panel, to, false);
            }
            (WIDE_TILE_ROWS, Layout::Tiles) if S::f32s::LEN == 16 => {
                simd_tile::<S, T, WIDE_TILE_ROWS, IN_TILES>(simd, tile, panel, to, false);
            }
            (rows, _) => unreachable!("tiles of {rows} rows"),
        }
    }
}

/// `ROWS` rows of A times one panel, the results in registers all along. A panel that is
/// `streamed` comes from memory, and what lies [`AHEAD`] of it is asked for.
///
/// # Safety
///
/// As for [`simd_rows`], with `ROWS` rows.
#[inline(always)]
unsafe fn simd_tile<S: Simd, T: Element, const ROWS: usize, const LAYOUT: u8>(
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
    let (row_stride, col_stride) = match LAYOUT {
        IN_ROWS => (PACKED_STRIDE, 1),
        IN_TILES => (1, ROWS),
        _ => (a.row_stride, a.col_stride),
    };
    assert!(row_stride == a.row_stride && col_stride == a.col_stride, "rows lie otherwise");
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
            let x = unsafe { *base.add(i * row_stride + k * col_stride) };
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
unsafe fn wide_rows<S: Simd>(_: S, a: Mat<'_>, panel: &[f32], to: To) {
    let To { c, stride, n, accumulate } = to;
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
    if scratch.packed.len() < with_room(size) {
        scratch.packed.resize(with_room(size), 0.0);
    }
    let packed = from_line(&mut scratch.packed, size);
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
