//! Matrix product: f32, or bf16 weights with f32 accumulation.
//!
//! ```text
//! C[i][j] (+)= sum_k A[i][k] B[k][j]        A: [m, k], B: [k, n], C: [m, n]
//! ```
//!
//! Compute-bound for large `m` (`2 m n k` flops), memory-bound for `m = 1`.
//!
//! B is packed into panels of two vectors' width, `[n / width][k][width]`, so that the inner loop
//! reads it in order; a tile of `TILE_ROWS` rows of C stays in registers. Every element of C is
//! one chain of fused multiply-adds in the order of `k`, whatever the shape, the blocking and the
//! number of threads: a row gives the same bits alone and in a batch. With [`Arithmetic::F64`] the chain
//! is one of f64 sums, in the same order.

#![expect(unsafe_code, reason = "the inner loop reads A without bounds checks")]

use crate::half::{Bf16, bf16_to_f32};
use crate::threads::SharedMut;
use crate::{Arithmetic, Cpu, Exec};
use fearless_simd::{dispatch, prelude::*};

/// Rows of C in registers: 6 x 2 vectors fill 12 of AVX2's 16 registers.
const TILE_ROWS: usize = 6;
/// Depth of a block: a panel of 256 x 16 f32 takes half of a 32 KiB L1.
const BLOCK_K: usize = 256;
/// Rows of a block: 96 x 256 f32 take a fifth of a 512 KiB L2.
const BLOCK_ROWS: usize = 16 * TILE_ROWS;
/// Fewer rows than this are split over threads by columns.
const MIN_ROWS_PER_TASK: usize = 4 * TILE_ROWS;

/// The elements of a matrix.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// f32.
    F32(&'a [f32]),
    /// bf16 bits; products accumulate in f32.
    Bf16(&'a [Bf16]),
}

impl Elements<'_> {
    fn len(self) -> usize {
        match self {
            Self::F32(x) => x.len(),
            Self::Bf16(x) => x.len(),
        }
    }

    /// Elements `range` only.
    ///
    /// # Panics
    ///
    /// If the range is out of bounds.
    pub fn slice(self, range: std::ops::Range<usize>) -> Self {
        match self {
            Self::F32(x) => Self::F32(&x[range]),
            Self::Bf16(x) => Self::Bf16(&x[range]),
        }
    }
}

impl<'a> From<&'a [f32]> for Elements<'a> {
    fn from(x: &'a [f32]) -> Self {
        Self::F32(x)
    }
}

impl<'a> From<&'a Vec<f32>> for Elements<'a> {
    fn from(x: &'a Vec<f32>) -> Self {
        Self::F32(x)
    }
}

impl<'a> From<&'a [Bf16]> for Elements<'a> {
    fn from(x: &'a [Bf16]) -> Self {
        Self::Bf16(x)
    }
}

/// A read-only matrix of f32, `[rows, cols]`; element `(i, j)` is at
/// `i * row_stride + j * col_stride`.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

/// A matrix to be written, `[rows, cols]`, its rows `row_stride` apart.
#[derive(Debug)]
pub struct MatMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

/// Working memory of [`serial`]; keep one per task.
#[derive(Debug, Default)]
pub struct Scratch {
    packed: Vec<f32>,
}

impl<'a> Mat<'a> {
    /// A view with any strides.
    ///
    /// # Panics
    ///
    /// If the last element is outside `data`.
    #[track_caller]
    pub fn new(
        data: &'a [f32],
        rows: usize,
        cols: usize,
        row_stride: usize,
        col_stride: usize,
    ) -> Self {
        if rows > 0 && cols > 0 {
            let last = (rows - 1) * row_stride + (cols - 1) * col_stride;
            assert!(
                last < data.len(),
                "a [{rows}, {cols}] matrix with strides {row_stride}, {col_stride} \
                 needs {} elements, has {}",
                last + 1,
                data.len()
            );
        }
        Self { data, rows, cols, row_stride, col_stride }
    }

    /// All of `data` as a row-major matrix.
    ///
    /// # Panics
    ///
    /// If `data` is not `rows * cols` long.
    #[track_caller]
    pub fn row_major(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "[{rows}, {cols}]");
        Self::new(data, rows, cols, cols, 1)
    }

    /// The transposed view.
    pub fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    /// Number of rows.
    pub fn rows(self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(self) -> usize {
        self.cols
    }

    /// Rows `first..first + n`.
    fn row_range(self, first: usize, n: usize) -> Self {
        let offset = if n == 0 || self.cols == 0 { 0 } else { first * self.row_stride };
        Self { data: &self.data[offset..], rows: n, ..self }
    }
}

impl<'a> MatMut<'a> {
    /// A view of row-major data whose rows are `row_stride >= cols` apart.
    ///
    /// # Panics
    ///
    /// If rows overlap or the last element is outside `data`.
    #[track_caller]
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        if rows > 0 && cols > 0 {
            assert!(rows == 1 || row_stride >= cols, "rows overlap");
            assert!((rows - 1) * row_stride + cols <= data.len(), "[{rows}, {cols}] does not fit");
        }
        Self { data, rows, cols, row_stride }
    }

    /// All of `data` as a row-major matrix.
    ///
    /// # Panics
    ///
    /// If `data` is not `rows * cols` long.
    #[track_caller]
    pub fn row_major(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "[{rows}, {cols}]");
        Self::new(data, rows, cols, cols)
    }
}

/// A right-hand side in the layout of the inner loop, packed once and multiplied often.
#[derive(Clone, Debug)]
pub struct Packed {
    panels: Panels,
    k: usize,
    n: usize,
    width: usize,
}

#[derive(Clone, Debug)]
enum Panels {
    F32(Vec<f32>),
    Bf16(Vec<Bf16>),
}

impl Packed {
    /// Packs a weight `[n, k]`, row-major, as checkpoints store it; the product is `x W^T`.
    ///
    /// # Panics
    ///
    /// If the length is not `n * k`.
    #[track_caller]
    pub fn from_weight(cpu: Cpu, weight: Elements<'_>, n: usize, k: usize) -> Self {
        assert_eq!(weight.len(), n * k, "weight must be [{n}, {k}]");
        let width = panel_width(cpu);
        let panels = match weight {
            Elements::F32(w) => Panels::F32(pack_weight(w, n, k, width)),
            Elements::Bf16(w) => Panels::Bf16(pack_weight(w, n, k, width)),
        };
        Self { panels, k, n, width }
    }

    /// Depth of the product: columns of A.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of the product.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        match &self.panels {
            Panels::F32(x) => size_of_val(&x[..]),
            Panels::Bf16(x) => size_of_val(&x[..]),
        }
    }

    fn view(&self) -> PanelsRef<'_> {
        let panels = match &self.panels {
            Panels::F32(x) => Elements::F32(x),
            Panels::Bf16(x) => Elements::Bf16(x),
        };
        PanelsRef { panels, k: self.k, n: self.n, width: self.width }
    }
}

/// The transpose of `weight: [n, k]` as panels `[n / width][k][width]`, the last padded with zeros.
fn pack_weight<T: Copy + Default>(weight: &[T], n: usize, k: usize, width: usize) -> Vec<T> {
    let mut panels = vec![T::default(); n.div_ceil(width) * k * width];
    if k == 0 {
        return panels;
    }
    for (panel, rows) in panels.chunks_exact_mut(k * width).zip(weight.chunks(width * k)) {
        for (j, row) in rows.chunks_exact(k).enumerate() {
            for (dst, &x) in panel[j..].iter_mut().step_by(width).zip(row) {
                *dst = x;
            }
        }
    }
    panels
}

/// C (+)= A B with A: `[m, k]`, B: `[k, n]`; `accumulate` adds to what C holds.
///
/// Packs B in each call: for weights that are used often see [`matmul_packed`].
///
/// # Panics
///
/// If the shapes disagree.
#[track_caller]
pub fn matmul(exec: &Exec, a: Mat<'_>, b: Mat<'_>, c: MatMut<'_>, accumulate: bool) {
    assert_eq!(a.cols, b.rows, "a is [{}, {}], b [{}, {}]", a.rows, a.cols, b.rows, b.cols);
    let width = panel_width(exec.cpu);
    let num_panels = b.cols.div_ceil(width);
    let mut packed = exec.buffers.take(num_panels * b.rows * width);
    if b.rows > 0 {
        exec.threads.for_each_chunk(&mut packed, b.rows * width, |panel, out| {
            dispatch!(exec.cpu.level, simd => pack_panel(simd, b, panel * width, 0, out));
        });
    }
    let panels = PanelsRef { panels: Elements::F32(&packed), k: b.rows, n: b.cols, width };
    product(exec, a, panels, c, accumulate);
    exec.buffers.give(packed);
}

/// C (+)= A B with a packed B.
///
/// # Panics
///
/// If the shapes disagree, or B was packed for another CPU level.
#[track_caller]
pub fn matmul_packed(exec: &Exec, a: Mat<'_>, b: &Packed, c: MatMut<'_>, accumulate: bool) {
    assert_eq!(a.cols, b.k, "a is [{}, {}], b [{}, {}]", a.rows, a.cols, b.k, b.n);
    assert_eq!(b.width, panel_width(exec.cpu), "packed for another CPU level");
    product(exec, a, b.view(), c, accumulate);
}

/// [`matmul`] on the calling thread, for use inside a task.
///
/// # Panics
///
/// If the shapes disagree.
#[track_caller]
pub fn serial(
    cpu: Cpu,
    a: Mat<'_>,
    b: Mat<'_>,
    c: MatMut<'_>,
    accumulate: bool,
    scratch: &mut Scratch,
) {
    assert_eq!(a.cols, b.rows, "a is [{}, {}], b [{}, {}]", a.rows, a.cols, b.rows, b.cols);
    assert_eq!((c.rows, c.cols), (a.rows, b.cols), "shape of c");
    dispatch!(cpu.level, simd => simd_serial(simd, cpu.arithmetic, a, b, c, accumulate, scratch));
}

/// [`matmul_packed`] on the calling thread, for use inside a task.
///
/// # Panics
///
/// If the shapes disagree, or B was packed for another CPU level.
#[track_caller]
pub fn serial_packed(cpu: Cpu, a: Mat<'_>, b: &Packed, c: MatMut<'_>, accumulate: bool) {
    assert_eq!(a.cols, b.k, "a is [{}, {}], b [{}, {}]", a.rows, a.cols, b.k, b.n);
    assert_eq!((c.rows, c.cols), (a.rows, b.n), "shape of c");
    assert_eq!(b.width, panel_width(cpu), "packed for another CPU level");
    let panels = b.view();
    let cols = 0..panels.n;
    // SAFETY: `c` has the rows of `a` and the columns of `b`, and is borrowed mutably.
    unsafe { block_product(cpu, a, panels, cols, c.data.as_mut_ptr(), c.row_stride, accumulate) };
}

/// The definition: plain loops, f64 accumulation. B and C are row-major.
pub fn reference(a: &[f32], b: &[f32], c: &mut [f32], k: usize, n: usize) {
    for (row, c) in c.chunks_exact_mut(n.max(1)).enumerate() {
        for (j, c) in c.iter_mut().enumerate() {
            let terms = (0..k).map(|i| f64::from(a[row * k + i]) * f64::from(b[i * n + j]));
            *c = terms.sum::<f64>() as f32;
        }
    }
}

/// Columns of a panel: two vectors.
fn panel_width(cpu: Cpu) -> usize {
    #[inline(always)]
    fn width<S: Simd>(_: S) -> usize {
        2 * S::f32s::LEN
    }
    dispatch!(cpu.level, simd => width(simd))
}

#[derive(Clone, Copy)]
struct PanelsRef<'a> {
    /// `[n / width][k][width]`.
    panels: Elements<'a>,
    k: usize,
    n: usize,
    width: usize,
}

/// Splits C over threads: by rows if there are enough of them, by panels otherwise.
fn product(exec: &Exec, a: Mat<'_>, b: PanelsRef<'_>, c: MatMut<'_>, accumulate: bool) {
    assert_eq!((c.rows, c.cols), (a.rows, b.n), "shape of c");
    let stride = c.row_stride;
    let out = SharedMut(c.data.as_mut_ptr());
    let threads = exec.threads.num_threads();
    let flops = 2 * a.rows * b.n * b.k;
    // Below this, handing out tasks costs more than it gains.
    let small = flops < 50_000;
    if threads == 1 || small {
        // SAFETY: as in `serial_packed`.
        unsafe { block_product(exec.cpu, a, b, 0..b.n, out.at(0), stride, accumulate) };
    } else if a.rows >= threads * MIN_ROWS_PER_TASK {
        let rows = exec.threads.rows_per_task(a.rows, MIN_ROWS_PER_TASK);
        let rows = rows.next_multiple_of(TILE_ROWS);
        exec.threads.run(a.rows.div_ceil(rows), |task| {
            let first = task * rows;
            let a = a.row_range(first, rows.min(a.rows - first));
            // SAFETY: tasks write different rows of `c`, which is borrowed mutably.
            unsafe {
                let c = out.at(first * stride);
                block_product(exec.cpu, a, b, 0..b.n, c, stride, accumulate);
            }
        });
    } else {
        let panels = exec.threads.rows_per_task(b.n.div_ceil(b.width), 1);
        exec.threads.run(b.n.div_ceil(panels * b.width), |task| {
            let first = task * panels * b.width;
            let cols = first..b.n.min(first + panels * b.width);
            // SAFETY: tasks write different columns of `c`, which is borrowed mutably.
            unsafe { block_product(exec.cpu, a, b, cols, out.at(0), stride, accumulate) };
        });
    }
}

/// The product for columns `cols` of C, which start at a panel.
///
/// # Safety
///
/// * `c` points to `a.rows` rows, `stride` apart, of at least `cols.end` elements, and nobody else
///   uses columns `cols` of them.
unsafe fn block_product(
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
                    Elements::F32(x) => &x[start..start + depth * width],
                    Elements::Bf16(x) => {
                        let wide = &mut widened[..depth * width];
                        for (wide, &x) in wide.iter_mut().zip(&x[start..start + depth * width]) {
                            *wide = bf16_to_f32(x);
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
fn pack_panel<S: Simd>(_: S, b: Mat<'_>, first_col: usize, first_k: usize, out: &mut [f32]) {
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
fn simd_serial<S: Simd>(
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
    let panels = PanelsRef { panels: Elements::F32(packed), k: b.rows, n: b.cols, width };
    // SAFETY: `serial` checked that `c` is `[a.rows, b.cols]`; it is borrowed mutably.
    unsafe {
        let (data, stride) = (c.data.as_mut_ptr(), c.row_stride);
        simd_block_product(simd, arithmetic, a, panels, 0..b.cols, data, stride, accumulate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::half::f32_to_bf16;
    use crate::testing::{assert_close, execs, random};
    use crate::{Rng, Threads};
    use proptest::prelude::*;

    fn transposed(x: &[f32], rows: usize, cols: usize) -> Vec<f32> {
        (0..rows * cols).map(|i| x[i % rows * cols + i / rows]).collect()
    }

    fn check(m: usize, k: usize, n: usize, seed: u64) {
        let mut rng = Rng(seed);
        let (a, b) = (random(&mut rng, m * k), random(&mut rng, k * n));
        let (at, bt) = (transposed(&a, m, k), transposed(&b, k, n));
        let initial = random(&mut rng, m * n);
        let mut want = vec![f32::NAN; m * n];
        reference(&a, &b, &mut want, k, n);
        let summed: Vec<f32> = want.iter().zip(&initial).map(|(x, y)| x + y).collect();
        for exec in execs() {
            let what = format!("[{m}, {k}] x [{k}, {n}], {exec:?}");
            let lhs = [Mat::row_major(&a, m, k), Mat::row_major(&at, k, m).t()];
            let rhs = [Mat::row_major(&b, k, n), Mat::row_major(&bt, n, k).t()];
            let packed = Packed::from_weight(exec.cpu, (&bt).into(), n, k);
            let mut bits: Option<Vec<f32>> = None;
            let mut same = |what: &str, got: Vec<f32>| {
                assert_close(what, &want, &got, 1e-5);
                let first = bits.get_or_insert_with(|| got.clone());
                assert_eq!(*first, got, "{what}: other bits");
            };
            for a in lhs {
                for b in rhs {
                    let mut got = vec![f32::NAN; m * n];
                    matmul(&exec, a, b, MatMut::row_major(&mut got, m, n), false);
                    same(&what, got);
                    let mut got = vec![f32::NAN; m * n];
                    let c = MatMut::row_major(&mut got, m, n);
                    serial(exec.cpu, a, b, c, false, &mut Scratch::default());
                    same(&what, got);
                    let mut got = initial.clone();
                    matmul(&exec, a, b, MatMut::row_major(&mut got, m, n), true);
                    assert_close(&what, &summed, &got, 1e-5);
                }
                let mut got = vec![f32::NAN; m * n];
                matmul_packed(&exec, a, &packed, MatMut::row_major(&mut got, m, n), false);
                same(&what, got);
                let mut got = vec![f32::NAN; m * n];
                let c = MatMut::row_major(&mut got, m, n);
                serial_packed(exec.cpu, a, &packed, c, false);
                same(&what, got);
            }
        }
    }

    #[test]
    fn awkward_shapes() {
        for (m, k, n) in [
            (0, 3, 3),
            (3, 0, 3),
            (3, 3, 0),
            (1, 1, 1),
            (1, 63, 1000),
            (6, 16, 16),
            (7, 17, 33),
            (5, 256, 15),
            (97, 257, 31),
            (200, 513, 40),
            (64, 64, 64),
        ] {
            check(m, k, n, 1);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn every_level_and_layout_matches_reference(
            m in 1usize..60, k in 1usize..80, n in 1usize..70, seed in any::<u64>(),
        ) {
            check(m, k, n, seed);
        }
    }

    /// Rows of a batch have the bits that they have alone: what makes batching invisible.
    #[test]
    fn a_row_alone_equals_the_row_in_a_batch() {
        let (m, k, n) = (301, 300, 50);
        let mut rng = Rng(3);
        let (a, w) = (random(&mut rng, m * k), random(&mut rng, n * k));
        for exec in execs() {
            let packed = Packed::from_weight(exec.cpu, (&w).into(), n, k);
            let mut all = vec![f32::NAN; m * n];
            let c = MatMut::row_major(&mut all, m, n);
            matmul_packed(&exec, Mat::row_major(&a, m, k), &packed, c, false);
            for (row, want) in a.chunks_exact(k).zip(all.chunks_exact(n)) {
                let mut got = vec![f32::NAN; n];
                let c = MatMut::row_major(&mut got, 1, n);
                matmul_packed(&exec, Mat::row_major(row, 1, k), &packed, c, false);
                assert_eq!(want, got);
            }
        }
    }

    /// Sums in f64 round once: the result is the nearest f32, the same at every level.
    #[test]
    fn f64_arithmetic_is_the_reference_to_the_bit() {
        for (m, k, n) in [(1, 1, 1), (7, 100, 33), (40, 256, 17)] {
            let mut rng = Rng(6);
            let (a, b) = (random(&mut rng, m * k), random(&mut rng, k * n));
            let mut want = vec![f32::NAN; m * n];
            reference(&a, &b, &mut want, k, n);
            for mut exec in execs() {
                exec.cpu.arithmetic = Arithmetic::F64;
                let (a, b) = (Mat::row_major(&a, m, k), Mat::row_major(&b, k, n));
                let mut got = vec![f32::NAN; m * n];
                matmul(&exec, a, b, MatMut::row_major(&mut got, m, n), false);
                assert_eq!(want, got, "{exec:?}");
                let c = MatMut::row_major(&mut got, m, n);
                serial(exec.cpu, a, b, c, true, &mut Scratch::default());
                let twice: Vec<f32> = want.iter().map(|x| 2.0 * x).collect();
                assert_close("accumulated", &twice, &got, 1e-7);
            }
        }
    }

    #[test]
    fn bf16_weights_are_exactly_their_f32_values() {
        let (m, k, n) = (9, 70, 37);
        let mut rng = Rng(5);
        let (a, w) = (random(&mut rng, m * k), random(&mut rng, n * k));
        let bits: Vec<Bf16> = w.iter().map(|&x| f32_to_bf16(x)).collect();
        let rounded: Vec<f32> = bits.iter().map(|&x| bf16_to_f32(x)).collect();
        for exec in execs() {
            let [wide, narrow] = [Elements::F32(&rounded), Elements::Bf16(&bits)].map(|w| {
                let packed = Packed::from_weight(exec.cpu, w, n, k);
                let mut c = vec![f32::NAN; m * n];
                let out = MatMut::row_major(&mut c, m, n);
                matmul_packed(&exec, Mat::row_major(&a, m, k), &packed, out, false);
                c
            });
            assert_eq!(wide, narrow);
        }
    }

    #[test]
    fn strided_output_leaves_the_gaps_alone() {
        let exec = Exec { threads: Threads::new(2), ..Exec::new(1) };
        let mut c = vec![7.0; 3 * 5];
        let (a, b) = ([1.0; 6], [1.0; 8]);
        let out = MatMut::new(&mut c, 3, 4, 5);
        matmul(&exec, Mat::row_major(&a, 3, 2), Mat::row_major(&b, 2, 4), out, false);
        for row in c.chunks_exact(5) {
            assert_eq!(row, [2.0, 2.0, 2.0, 2.0, 7.0]);
        }
    }
}
