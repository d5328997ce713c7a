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
//! number of threads: a row gives the same bits alone and in a batch. With
//! [`Arithmetic::F64`] the chain
//! is one of f64 sums, in the same order.
//!
//! bf16 weights meet f32 activations in one of two ways, which the level decides
//! ([`Cpu::bf16`]): without a unit for it the weights are widened, and activations stay f32; on
//! `avx512_bf16` and `amx_bf16` the activations are rounded to bf16 in flight, and `k` is summed in
//! the order of the unit (`matmul/bf16`), again the same for every number of rows. f32 weights never go
//! there, nor does arithmetic in f64.
//!
//! Weights in blocks of 8 or 4 bits meet activations in blocks of 8 bits (`matmul/int8`), with the
//! same bits on every level; in f64 they are widened.

#![expect(unsafe_code, reason = "the inner loop reads A without bounds checks")]

#[cfg(target_arch = "x86_64")]
mod amx;
pub(crate) mod bf16;
mod blocks;
pub(crate) mod int8;
mod lines;
mod split;
#[cfg(test)]
mod tests;

use crate::cpu::Bf16Unit;
use crate::half::{Bf16, bf16_to_f32};
use crate::memory::Kept;
use crate::quant::Format;
use crate::{Arithmetic, Buffers, Cpu, Exec, Threads};
use blocks::{block_product, pack_panel, simd_serial};
use fearless_simd::{dispatch, prelude::*};
use lines::with_floats;
use split::{Run, product};
use std::borrow::Cow;
use std::iter::StepBy;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::slice::IterMut;

/// Rows of C in registers: 6 x 2 vectors fill 12 of AVX2's 16 registers.
const TILE_ROWS: usize = 6;
/// And where there are 32 registers and enough rows: 12 x 2 vectors fill 24 of AVX-512's.
const WIDE_TILE_ROWS: usize = 2 * TILE_ROWS;
/// Depth of a block: a panel of 256 x 16 f32 takes half of a 32 KiB L1.
const BLOCK_K: usize = 256;
/// Most rows of a gradient for which B is not packed as a whole.
const UNPACKED_ROWS: usize = 1024;
/// Rows of a block: 96 x 256 f32 take a fifth of a 512 KiB L2.
const BLOCK_ROWS: usize = 16 * TILE_ROWS;

/// The elements of a matrix.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// f32.
    F32(&'a [f32]),
    /// bf16 bits; products accumulate in f32.
    Bf16(&'a [Bf16]),
}

impl<'a> Elements<'a> {
    pub(crate) fn len(self) -> usize {
        match self {
            Self::F32(x) => x.len(),
            Self::Bf16(x) => x.len(),
        }
    }

    /// All of them as f32.
    pub(crate) fn to_f32(self) -> Cow<'a, [f32]> {
        match self {
            Self::F32(x) => x.into(),
            Self::Bf16(x) => x.iter().map(|x| bf16_to_f32(*x)).collect(),
        }
    }

    /// Elements `range` only.
    ///
    /// # Panics
    ///
    /// If the range is out of bounds.
    pub fn slice(self, range: Range<usize>) -> Self {
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

    /// Whether columns lie together and rows do not.
    fn is_transposed(self) -> bool {
        self.row_stride == 1 && self.col_stride != 1
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

/// A right-hand side in the layout of the inner loop, packed once and multiplied often. With bf16
/// elements, what is multiplied with it is rounded to bf16 where [`Cpu::bf16`] says so.
#[derive(Clone, Debug)]
pub struct Packed {
    panels: Panels,
    k: usize,
    n: usize,
    width: usize,
}

#[derive(Clone, Debug)]
enum Panels {
    F32(Kept<f32>),
    Bf16(Kept<Halves>),
    Pairs(Vec<bf16::Line>),
    Blocks(Kept<int8::Line>, Format),
}

/// Two bf16 of a row of a panel: a column of its first vector below, that of the second above, so
/// that a vector of these becomes two of f32 without moving lanes.
type Halves = u32;

impl Packed {
    /// Packs a weight `[n, k]` of whole blocks of Q8_0, Q4_0 or Q4_K.
    ///
    /// # Panics
    ///
    /// If `blocks` are not `n` rows of `k` elements, or the format is another.
    #[track_caller]
    pub fn from_blocks(exec: &Exec, format: Format, blocks: &[u8], n: usize, k: usize) -> Self {
        let lines = int8::pack(exec, format, blocks, n, k);
        Self { panels: Panels::Blocks(lines, format), k, n, width: panel_width(exec.cpu) }
    }

    /// Memory that a weight `[n, k]` in blocks of `format` takes once packed.
    ///
    /// # Panics
    ///
    /// If the format is not one that is multiplied.
    pub fn bytes_of_blocks(format: Format, n: usize, k: usize) -> usize {
        int8::bytes(format, n, k)
    }

    /// Packs a weight `[n, k]`, row-major, as checkpoints store it; the product is `x W^T`.
    ///
    /// # Panics
    ///
    /// If the length is not `n * k`.
    #[track_caller]
    pub fn from_weight(exec: &Exec, weight: Elements<'_>, n: usize, k: usize) -> Self {
        Self::pack(exec, exec.cpu, weight, [n, k])
    }

    /// [`from_weight`](Self::from_weight) for products that are f32 whatever the weight's elements
    /// are: bf16 takes half the memory and is widened in flight, to the bits that the same weight
    /// in f32 gives.
    ///
    /// # Panics
    ///
    /// If the length is not `n * k`.
    #[track_caller]
    pub fn from_weight_exact(exec: &Exec, weight: Elements<'_>, n: usize, k: usize) -> Self {
        Self::pack(exec, Cpu { bf16: None, ..exec.cpu }, weight, [n, k])
    }

    /// Packs for `cpu` with the threads of `exec`, a panel for each task: they are the first to touch its
    /// memory, which costs more than to write it.
    #[track_caller]
    fn pack(exec: &Exec, cpu: Cpu, weight: Elements<'_>, [n, k]: [usize; 2]) -> Self {
        assert_eq!(weight.len(), n * k, "weight must be [{n}, {k}]");
        let (threads, width) = (&exec.threads, panel_width(cpu));
        let panels = match weight {
            Elements::F32(w) => Panels::F32(pack_weight(threads, w, [n, k], width)),
            Elements::Bf16(w) if cpu.bf16.is_some() => {
                Panels::Pairs(bf16::pack_weight(threads, w, n, k))
            }
            Elements::Bf16(w) => Panels::Bf16(pack_halves(threads, w, [n, k], width)),
        };
        Self { panels, k, n, width }
    }

    /// Packs B `[k, n]`, row-major: what [`from_weight`](Self::from_weight) does with its transpose.
    ///
    /// # Panics
    ///
    /// If the length is not `k * n`.
    #[track_caller]
    pub fn from_rows(cpu: Cpu, b: Elements<'_>, k: usize, n: usize) -> Self {
        assert_eq!(b.len(), k * n, "b must be [{k}, {n}]");
        let width = panel_width(cpu);
        let panels = match b {
            Elements::F32(b) => Panels::F32(pack_rows(b, k, n, width)),
            Elements::Bf16(b) if cpu.bf16.is_some() => Panels::Pairs(bf16::pack_rows(b, k, n)),
            Elements::Bf16(b) => Panels::Bf16(halves(&pack_rows(b, k, n, width), width)),
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
            Panels::Pairs(x) => size_of_val(&x[..]),
            Panels::Blocks(x, _) => size_of_val(&x[..]),
        }
    }

    fn view(&self) -> PanelsRef<'_> {
        let panels = match &self.panels {
            Panels::F32(x) => PanelElements::F32(x),
            Panels::Bf16(x) => PanelElements::Bf16(x),
            Panels::Pairs(lines) => PanelElements::Pairs(bf16::Pairs::new(lines, self.k, self.n)),
            Panels::Blocks(lines, format) => {
                PanelElements::Blocks(int8::Blocks { lines, format: *format, n: self.n, k: self.k })
            }
        };
        PanelsRef { panels, k: self.k, n: self.n, width: self.width }
    }
}

impl Packed {
    /// [`part`](Self::part) of weights in bf16, at most.
    pub(crate) const BF16_PART: usize = bf16::STEP;

    /// Rows of B from which `serial_part` can start: multiples of this. `None` for weights in blocks.
    pub(crate) fn part(&self) -> Option<usize> {
        match self.panels {
            Panels::F32(_) | Panels::Bf16(_) => Some(1),
            Panels::Pairs(_) => Some(bf16::STEP),
            Panels::Blocks(..) => None,
        }
    }

    /// Rows `rows` of B, which start and end at multiples of [`part`](Self::part).
    fn view_part(&self, rows: Range<usize>) -> PanelsRef<'_> {
        let part = self.part().expect("a weight in blocks has no parts");
        let fits = rows.end <= self.k && rows.start <= rows.end;
        let fits = fits && [rows.start, rows.end].iter().all(|row| row.is_multiple_of(part));
        assert!(fits, "rows {rows:?} of {}, in steps of {part}", self.k);
        let all = self.view();
        let panels = match all.panels {
            PanelElements::F32(x) => PanelElements::F32(&x[rows.start * all.width..]),
            PanelElements::Bf16(x) => PanelElements::Bf16(&x[rows.start * all.width / 2..]),
            PanelElements::Pairs(pairs) => PanelElements::Pairs(pairs.part(rows)),
            other @ (PanelElements::Blocks(_) | PanelElements::Rows(_)) => other,
        };
        PanelsRef { panels, ..all }
    }
}

/// Rows of panels that are packed before the next column: what is written meanwhile stays in the
/// first-level cache.
const PACKED_ROWS: usize = 64;

/// The transpose of `weight: [n, k]` as panels `[n / width][k][width]`, the last padded with zeros.
fn pack_weight(threads: &Threads, weight: &[f32], [n, k]: [usize; 2], width: usize) -> Kept<f32> {
    pack_panels(threads, n.div_ceil(width), k, width, |panel, lane, rows, places| {
        let x = column_of(weight, [n, k], panel * width + lane, rows);
        places.zip(x).for_each(|(to, x)| _ = to.write(*x));
    })
}

/// The same with rows as pairs of columns.
fn pack_halves(
    threads: &Threads,
    weight: &[Bf16],
    [n, k]: [usize; 2],
    width: usize,
) -> Kept<Halves> {
    let half = width / 2;
    pack_panels(threads, n.div_ceil(width), k, half, |panel, lane, rows, places| {
        let [low, high] = [lane, lane + half]
            .map(|lane| column_of(weight, [n, k], panel * width + lane, rows.clone()));
        for (to, (&low, &high)) in places.zip(low.iter().zip(high)) {
            to.write(u32::from(low) | u32::from(high) << 16);
        }
    })
}

/// Where some rows of a lane of a panel go.
type Places<'a, T> = StepBy<IterMut<'a, MaybeUninit<T>>>;

/// `count` panels `[k][lanes]`, of which `write(panel, lane, rows, places)` writes some rows of a lane.
fn pack_panels<T: Copy + Send>(
    threads: &Threads,
    count: usize,
    k: usize,
    lanes: usize,
    write: impl Fn(usize, usize, Range<usize>, Places<'_, T>) + Sync,
) -> Kept<T> {
    Kept::write(count * k * lanes, |fresh| {
        if fresh.is_empty() {
            return;
        }
        threads.for_each_chunk(fresh, k * lanes, |panel, out| {
            for (first, out) in out.chunks_mut(PACKED_ROWS * lanes).enumerate() {
                let rows = first * PACKED_ROWS..k.min((first + 1) * PACKED_ROWS);
                for lane in 0..lanes {
                    write(panel, lane, rows.clone(), out[lane..].iter_mut().step_by(lanes));
                }
            }
        });
    })
}

/// At most [`PACKED_ROWS`] rows of a column of the transpose of `weight: [n, k]`, zeros beyond the last.
fn column_of<T: Zero>(weight: &[T], [n, k]: [usize; 2], column: usize, rows: Range<usize>) -> &[T] {
    match column < n {
        true => &weight[column * k..][..k][rows],
        false => &T::ZEROS[..rows.len()],
    }
}

/// Elements that panels are padded with.
trait Zero: Sized + 'static {
    const ZEROS: &'static [Self; PACKED_ROWS];
}

impl Zero for f32 {
    const ZEROS: &'static [Self; PACKED_ROWS] = &[0.0; PACKED_ROWS];
}

impl Zero for Bf16 {
    const ZEROS: &'static [Self; PACKED_ROWS] = &[0; PACKED_ROWS];
}

/// `b: [k, n]` as panels of the same kind.
fn pack_rows<T: Copy + Default>(b: &[T], k: usize, n: usize, width: usize) -> Kept<T> {
    let mut panels = Kept::new(T::default(), n.div_ceil(width) * k * width);
    if n == 0 {
        return panels;
    }
    for (i, row) in b.chunks_exact(n).enumerate() {
        for (panel, part) in row.chunks(width).enumerate() {
            panels[(panel * k + i) * width..][..part.len()].copy_from_slice(part);
        }
    }
    panels
}

/// Rows of panels as pairs of columns.
fn halves(panels: &[Bf16], width: usize) -> Kept<Halves> {
    let mut halves = Kept::new(0, panels.len() / 2);
    for (row, out) in panels.chunks_exact(width).zip(halves.chunks_exact_mut(width / 2)) {
        let (low, high) = row.split_at(width / 2);
        for ((out, &low), &high) in out.iter_mut().zip(low).zip(high) {
            *out = u32::from(low) | u32::from(high) << 16;
        }
    }
    halves
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
    with_floats(&exec.buffers, num_panels * b.rows * width, |packed| {
        if b.rows > 0 {
            exec.threads.for_each_chunk(packed, b.rows * width, |panel, out| {
                dispatch!(exec.cpu.level, simd => pack_panel(simd, b, panel * width, 0, out));
            });
        }
        let panels = PanelsRef { panels: PanelElements::F32(packed), k: b.rows, n: b.cols, width };
        product(exec, a, &[Run { rows: 0..a.rows, b: panels }], c, accumulate);
    });
}

/// C = A^T B with A: `[depth, m]`, B: `[depth, n]`, both row-major: the gradient of a weight. Rounds both to
/// bf16 where [`Cpu::bf16`] says so and `in_bf16` allows it.
///
/// # Panics
///
/// If the shapes disagree.
#[track_caller]
pub fn transposed(exec: &Exec, a: Mat<'_>, b: Mat<'_>, c: MatMut<'_>, in_bf16: bool) {
    assert_eq!(a.rows, b.rows, "a is [{}, {}], b [{}, {}]", a.rows, a.cols, b.rows, b.cols);
    assert_eq!((c.rows, c.cols), (a.cols, b.cols), "shape of c");
    match (exec.cpu.bf16, exec.cpu.arithmetic) {
        (Some(unit), Arithmetic::F32) if in_bf16 && a.rows > 0 => {
            let (data, stride) = (c.data.as_mut_ptr(), c.row_stride);
            // SAFETY: `c` has the columns of `a` and of `b`, and is borrowed mutably.
            unsafe { bf16::transposed_product(exec, unit, a, b, data, stride) };
        }
        // Few rows of C do not repay a copy of all of B: parts of it are copied next to where they are
        // multiplied.
        _ if a.cols <= UNPACKED_ROWS => {
            let panels = PanelElements::Rows(b);
            let b = PanelsRef { panels, k: b.rows, n: b.cols, width: panel_width(exec.cpu) };
            product(exec, a.t(), &[Run { rows: 0..a.cols, b }], c, false);
        }
        _ => matmul(exec, a.t(), b, c, false),
    }
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
    product(exec, a, &[Run { rows: 0..a.rows, b: b.view() }], c, accumulate);
}

/// One product per run of rows, as experts want it: rows `runs[e]` of C are those of A times the
/// `e`-th of `b`, all of them in one split over the threads. Rows of no run stay as they are.
///
/// # Panics
///
/// If the shapes disagree, runs overlap or are not in order, a B was packed for another CPU level,
/// or they are of different kinds.
#[track_caller]
pub fn grouped(exec: &Exec, a: Mat<'_>, b: &[Packed], runs: &[Range<usize>], c: MatMut<'_>) {
    assert_eq!(b.len(), runs.len(), "one run of rows for each matrix");
    let mut end = 0;
    let runs = b.iter().zip(runs).map(|(b, rows)| {
        assert!(end <= rows.start && rows.start <= rows.end, "rows {rows:?} after {end}");
        end = rows.end;
        assert_eq!((b.k, b.n), (a.cols, c.cols), "a is [{}, {}], c has {}", a.rows, a.cols, c.cols);
        assert_eq!(b.width, panel_width(exec.cpu), "packed for another CPU level");
        Run { rows: rows.clone(), b: b.view() }
    });
    let runs: Vec<_> = runs.filter(|run| !run.rows.is_empty()).collect();
    assert!(end <= a.rows, "rows up to {end} of {}", a.rows);
    product(exec, a, &runs, c, false);
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
    if let Some((unit, b)) = panels.for_unit(cpu) {
        // SAFETY: as below.
        unsafe {
            let (buffers, data) = (Buffers::default(), c.data.as_mut_ptr());
            bf16::serial(&buffers, unit, a, b, data, c.row_stride, accumulate);
        }
        return;
    }
    if let Some(b) = panels.for_int8(cpu) {
        // SAFETY: as below.
        unsafe { int8::serial(cpu, a, b, c.data.as_mut_ptr(), c.row_stride, accumulate) };
        return;
    }
    let cols = 0..panels.n;
    // SAFETY: `c` has the rows of `a` and the columns of `b`, and is borrowed mutably.
    unsafe { block_product(cpu, a, panels, cols, c.data.as_mut_ptr(), c.row_stride, accumulate) };
}

/// [`serial_packed`] with rows `first..first + a.cols()` of B only: sums of many such products are
/// one with all rows, to the bit where elements of B are f32.
///
/// # Panics
///
/// If the shapes disagree, B was packed for another CPU level, or the rows are not whole
/// [parts](Packed::part).
#[track_caller]
pub(crate) fn serial_part(
    exec: &Exec,
    a: Mat<'_>,
    b: &Packed,
    first: usize,
    c: MatMut<'_>,
    accumulate: bool,
) {
    let panels = b.view_part(first..first + a.cols);
    assert_eq!((c.rows, c.cols), (a.rows, b.n), "shape of c");
    assert_eq!(b.width, panel_width(exec.cpu), "packed for another CPU level");
    let (data, stride) = (c.data.as_mut_ptr(), c.row_stride);
    // SAFETY: `c` has the rows of `a` and the columns of `b`, and is borrowed mutably.
    unsafe {
        match panels.for_unit(exec.cpu) {
            Some((unit, b)) => {
                bf16::serial(&exec.buffers, unit, a, b, data, stride, accumulate);
            }
            None => block_product(exec.cpu, a, panels, 0..b.n, data, stride, accumulate),
        }
    }
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
    panels: PanelElements<'a>,
    /// Rows of a panel in memory, of which a product may use fewer.
    k: usize,
    n: usize,
    width: usize,
}

#[derive(Clone, Copy)]
enum PanelElements<'a> {
    /// `[n / width][k][width]`.
    F32(&'a [f32]),
    /// `[n / width][k][width / 2]`.
    Bf16(&'a [Halves]),
    /// Not packed yet.
    Rows(Mat<'a>),
    /// As a unit for bf16 wants them, for levels that have one.
    Pairs(bf16::Pairs<'a>),
    /// For integers.
    Blocks(int8::Blocks<'a>),
}

impl<'a> PanelsRef<'a> {
    /// The unit that multiplies these panels, if it is one of bf16.
    fn for_unit(self, cpu: Cpu) -> Option<(Bf16Unit, bf16::Pairs<'a>)> {
        match (self.panels, cpu.bf16, cpu.arithmetic) {
            (PanelElements::Pairs(pairs), Some(unit), Arithmetic::F32) => Some((unit, pairs)),
            _ => None,
        }
    }

    /// The blocks, if they are multiplied as such.
    fn for_int8(self, cpu: Cpu) -> Option<int8::Blocks<'a>> {
        match (self.panels, cpu.arithmetic) {
            (PanelElements::Blocks(blocks), Arithmetic::F32) => Some(blocks),
            _ => None,
        }
    }
}
