//! Products with weights in blocks of 8 or 4 bits: integers within a block, f32 from block to block.
//!
//! ```text
//! C[i][j] (+)= sum over blocks b of 32 k:  f(dot_b s_b) t_b - m_b u_b
//!   dot_b = sum_k p[i][k] q[j][k]             i32, exact
//!   t_b, p: A[i] in block b as t p, t = max |A[i]| / 127, p rounded to nearest, ties to even
//!   s_b, q, m_b: W[j] in block b as s q - m   (crate::quant); m is 0 but for Q4_K
//!   u_b = t_b sum_k p[i][k]
//! ```
//!
//! From block to block it is one chain of fused multiply-adds in the order of `k`, with `f(dot s)` and
//! `u` rounded to f32 before. All else is exact, so **every level gives the same bits**, for any number
//! of rows and threads, as long as scales are finite.
//!
//! ```text
//! W  [n / 32][k / 32][lines]      a panel of 32 columns, block by block, as `pack` has it: 17 lines
//!                                 of 64 bytes for Q8_0, 9 for Q4_0, 9 1/4 for Q4_K
//! A  [m / 16][k / 32][10]         tiles of 16 rows: 8 lines of p, `[16][32]`, one of t, one of sums
//! ```
//!
//! A part of a panel is unpacked to bytes, multiplied with all rows, and forgotten: what comes from
//! memory is as small as in the file. How fast that is on which unit stands in `docs/perf/LOG.md`.

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod few;
mod pack;
mod portable;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tiles;

use super::Mat;
use super::lines::{Lines, with_lines};
use crate::cpu::Int8Unit;
use crate::quant::Format;
use crate::threads::SharedMut;
use crate::{Buffers, Cpu, Exec};
use std::ops::Range;

pub(super) use pack::{bytes, pack, widen};

/// Elements of `k` that share a scale.
pub(crate) const BLOCK: usize = 32;
/// Columns of a panel.
pub(super) const WIDTH: usize = 32;
/// 1.5 x 2^23, and what it is as bits: an integer below 2^22 added to these bits gives the f32 that is
/// as much larger, which saves AVX-512 a conversion ([`avx512`]).
const INTEGERS: f32 = 12_582_912.0;
/// Rows of a tile of A.
const TILE_ROWS: usize = 16;
/// Fewer rows than this are faster as vectors than as tiles of AMX.
const MIN_TILE_ROWS: usize = 8;
/// Lines of a tile of A in one block: numbers, scales, sums.
const TILE_LINES: usize = TILE_ROWS * BLOCK / 64 + 2;
/// The line of scales, and the one of what sums begin with.
const SCALES: usize = TILE_LINES - 2;
const STARTS: usize = TILE_LINES - 1;
/// Blocks that are unpacked at once: 20 KiB, which stay in the first-level cache while rows pass by.
const PART: usize = 16;
/// Lines of a block once unpacked: f32 scales, f32 minima, quads of bytes.
const UNPACKED: usize = 2 + 2 + 16;
/// Bytes of A in a block of rows: what stays in the second-level cache while panels pass by.
const ROWS_BYTES: usize = 384 << 10;

/// 64 bytes, aligned to a line of the cache.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u8; 64]);

// SAFETY: 64 bytes, aligned to as many.
unsafe impl Lines for Line {}

impl Line {
    const ZERO: Self = Self([0; 64]);
}

/// A weight `[n, k]` in the layout above.
#[derive(Clone, Copy)]
pub(super) struct Blocks<'a> {
    pub(super) lines: &'a [Line],
    pub(super) format: Format,
    pub(super) n: usize,
    pub(super) k: usize,
}

/// What multiplies `rows` rows: one tile register for one row would be mostly empty.
fn unit(cpu: Cpu, rows: usize) -> Option<Int8Unit> {
    match cpu.int8 {
        Some(Int8Unit::Tiles(token)) if rows < MIN_TILE_ROWS => Some(Int8Unit::Vnni(token.vnni())),
        unit => unit,
    }
}

/// What each byte of an unpacked weight is more than the number it stands for: one operand of the
/// dot products of AVX-512 VNNI has no sign.
fn bias(unit: Option<Int8Unit>, format: Format) -> i32 {
    match (unit, format) {
        (Some(Int8Unit::Vnni(_)), Format::Q8_0) => 128,
        (Some(Int8Unit::Vnni(_)), Format::Q4_0) => 8,
        _ => 0,
    }
}

/// Whether blocks have a minimum that is taken off.
fn has_minima(format: Format) -> bool {
    format == Format::Q4K
}

/// Sums `[rows, 32]` in memory, their rows `stride` apart.
#[derive(Clone, Copy)]
struct Place {
    data: *mut f32,
    stride: usize,
}

/// What a unit does at once: a tile of rows times a part of a panel.
#[derive(Clone, Copy)]
struct Task<'a> {
    /// The tile's lines for the blocks of the part.
    a: &'a [[Line; TILE_LINES]],
    /// As many unpacked blocks.
    b: &'a [[Line; UNPACKED]],
    /// Rows of the tile that there are.
    rows: usize,
    /// Whether what is unpacked has minima.
    minima: bool,
    /// Whether to begin with the sums that are there, or with zeros.
    accumulate: bool,
    to: Place,
}

/// `steps` steps of products and sums in registers, nothing else: the limit of a unit.
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "units are x86's"))]
pub(crate) fn chains(unit: Int8Unit, steps: usize) {
    #[cfg(target_arch = "x86_64")]
    match unit {
        Int8Unit::Avx2(token) => avx2::chains(token, steps),
        Int8Unit::Vnni(token) => avx512::chains(token, steps),
        Int8Unit::Tiles(token) => tiles::chains(token, steps),
    }
}

/// Operations in a step of [`chains`], two per product.
pub(crate) fn operations_per_step(unit: Int8Unit) -> usize {
    match unit {
        Int8Unit::Avx2(_) => CHAINS * 2 * 32,
        Int8Unit::Vnni(_) => CHAINS * 2 * 64,
        Int8Unit::Tiles(_) => 4 * 2 * 16 * 16 * 64,
    }
}

/// Vectors of sums in [`chains`], of units that have vectors: enough for two instructions per cycle
/// of latency 5.
const CHAINS: usize = 12;

/// Rows of A and C, and what these are multiplied with.
pub(super) type Run<'a> = (Range<usize>, Blocks<'a>);

/// Tasks for each thread where panels are split: a few, so that a slow one does not hold up others.
const TASKS_PER_THREAD: usize = 4;

/// C (+)= A W^T for each run, on all threads: a run is split by rows if it
/// has enough of them, by panels otherwise. Weights are of one format and shape; no run is empty if
/// A is not.
///
/// # Safety
///
/// * `c` points to `a.rows` rows, `stride` apart, of `n` elements that nobody else uses, and runs
///   do not overlap.
pub(super) unsafe fn product(
    exec: &Exec,
    a: Mat<'_>,
    runs: &[Run<'_>],
    c: *mut f32,
    stride: usize,
    accumulate: bool,
) {
    let Some((_, w)) = runs.first() else { return };
    if a.rows == 0 {
        return;
    }
    let (blocks, panels, threads) = (w.k / BLOCK, w.n.div_ceil(WIDTH), exec.threads.num_threads());
    let rows: usize = runs.iter().map(|(rows, _)| rows.len()).sum();
    let most = (ROWS_BYTES / (blocks * TILE_LINES * 64).max(1)).max(4);
    let mut tiles = Vec::new();
    let mut tasks = Vec::new();
    for (run, (all, _)) in runs.iter().enumerate() {
        let first = tiles.len();
        let starts = all.clone().step_by(TILE_ROWS);
        tiles.extend(starts.map(|start| start..all.end.min(start + TILE_ROWS)));
        let own = first..tiles.len();
        if all.len() >= 4 * TILE_ROWS * threads {
            let size = most.min(own.len().div_ceil(threads));
            let parts = own.clone().step_by(size).map(|first| first..own.end.min(first + size));
            tasks.extend(parts.map(|part| (run, part, 0..panels)));
        } else {
            let share = (TASKS_PER_THREAD * threads * all.len()).div_ceil(rows);
            let size = panels.div_ceil(share).max(1);
            let parts = (0..panels).step_by(size).map(|first| first..panels.min(first + size));
            tasks.extend(parts.map(|part| (run, own.clone(), part)));
        }
    }
    // Few rows in all: in one run each may be a tile of AMX that is nearly empty.
    let unit = unit(exec.cpu, rows.div_ceil(runs.len()));
    let start = (bias(unit, w.format), has_minima(w.format));
    let c = SharedMut(c);
    with_lines(&exec.buffers, tiles.len() * blocks, |lines: &mut [[Line; TILE_LINES]]| {
        if blocks > 0 {
            exec.threads.for_each_chunk(lines, blocks, |tile, lines| {
                let rows = &tiles[tile];
                activations::quantize(exec.cpu, a.row_range(rows.start, rows.len()), start, lines);
            });
        }
        let lines = &*lines;
        exec.threads.run(tasks.len(), |task| {
            let (run, part, panels) = &tasks[task];
            let w = runs[*run].1;
            let lines = &lines[part.start * blocks..part.end * blocks];
            let rows = tiles[part.start].start..tiles[part.end - 1].end;
            let c = c.at(rows.start * stride);
            // SAFETY: tasks write different rows or columns of `c`, which the caller vouches for.
            unsafe {
                let rows = (lines, rows.len());
                block(exec, unit, rows, w, panels.clone(), (c, stride), accumulate);
            }
        });
    });
}

/// C (+)= A W^T on the calling thread.
///
/// # Safety
///
/// As for [`product`].
pub(super) unsafe fn serial(
    cpu: Cpu,
    a: Mat<'_>,
    w: Blocks<'_>,
    c: *mut f32,
    stride: usize,
    accumulate: bool,
) {
    let exec = Exec { cpu, threads: crate::Threads::new(1), buffers: Buffers::default() };
    // SAFETY: the caller's promise, passed on.
    unsafe { product(&exec, a, &[(0..a.rows, w)], c, stride, accumulate) }
}

/// Rows of A times some panels.
///
/// # Safety
///
/// * `c` points to as many rows, `stride` apart, of at least as many elements as the panels have
///   columns up to their end, and nobody else uses those columns.
unsafe fn block(
    exec: &Exec,
    unit: Option<Int8Unit>,
    (tiles, rows): (&[[Line; TILE_LINES]], usize),
    w: Blocks<'_>,
    panels: Range<usize>,
    (c, stride): (*mut f32, usize),
    accumulate: bool,
) {
    #[cfg(target_arch = "x86_64")]
    if let Some(Int8Unit::Vnni(token)) = unit
        && rows <= few::MAX_ROWS
    {
        // SAFETY: the caller's promise, passed on.
        unsafe { few::multiply(token, (tiles, rows), w, panels, (c, stride), accumulate) };
        return;
    }
    let blocks = w.k / BLOCK;
    let mut edge = [[0.0f32; WIDTH]; TILE_ROWS];
    let bias = bias(unit, w.format) as u8;
    let unit = Unit::new(exec.cpu, unit);
    with_lines(&exec.buffers, PART, |unpacked: &mut [[Line; UNPACKED]]| {
        for panel in panels {
            let columns = WIDTH.min(w.n - panel * WIDTH);
            let at = |tile: usize| c.wrapping_add(tile * TILE_ROWS * stride + panel * WIDTH);
            for first in (0..blocks.max(1)).step_by(PART) {
                let part = first..blocks.min(first + PART);
                let unpacked = &mut unpacked[..part.len()];
                pack::unpack(exec.cpu, w, panel, part.clone(), bias, unpacked);
                for tile in 0..rows.div_ceil(TILE_ROWS) {
                    let rows = TILE_ROWS.min(rows - tile * TILE_ROWS);
                    let whole = columns == WIDTH;
                    let edge = edge.as_mut_ptr().cast();
                    let to = match whole {
                        true => Place { data: at(tile), stride },
                        false => Place { data: edge, stride: WIDTH },
                    };
                    let accumulate = accumulate || first > 0;
                    let start = tile * blocks;
                    let a = &tiles[start + part.start..start + part.end];
                    let minima = has_minima(w.format);
                    let task = Task { a, b: unpacked, rows, minima, accumulate, to };
                    // SAFETY: `to` is rows and columns of `c` that the caller vouches for, or else
                    // `edge`, which has as many.
                    unsafe {
                        if !whole && accumulate {
                            copy(at(tile), stride, edge, WIDTH, [rows, columns]);
                        }
                        unit.multiply(task);
                        if !whole {
                            copy(edge, WIDTH, at(tile), stride, [rows, columns]);
                        }
                    }
                }
            }
        }
    });
}

/// Copies `columns` elements of each of `rows` rows.
///
/// # Safety
///
/// * Both places have these rows and columns and do not overlap.
unsafe fn copy(
    from: *const f32,
    from_stride: usize,
    to: *mut f32,
    to_stride: usize,
    [rows, columns]: [usize; 2],
) {
    for i in 0..rows {
        // SAFETY: the caller's promise.
        unsafe {
            let (from, to) = (from.add(i * from_stride), to.add(i * to_stride));
            std::ptr::copy_nonoverlapping(from, to, columns);
        }
    }
}

/// What multiplies, on this thread.
enum Unit {
    Portable(Cpu),
    #[cfg(target_arch = "x86_64")]
    Avx2(crate::cpu::Avx2),
    #[cfg(target_arch = "x86_64")]
    Vnni(crate::cpu::Avx512Vnni),
    #[cfg(target_arch = "x86_64")]
    Tiles(tiles::Tiles),
}

impl Unit {
    fn new(cpu: Cpu, unit: Option<Int8Unit>) -> Self {
        match unit {
            #[cfg(target_arch = "x86_64")]
            Some(Int8Unit::Avx2(token)) => Self::Avx2(token),
            #[cfg(target_arch = "x86_64")]
            Some(Int8Unit::Vnni(token)) => Self::Vnni(token),
            #[cfg(target_arch = "x86_64")]
            Some(Int8Unit::Tiles(token)) => Self::Tiles(tiles::Tiles::new(token)),
            #[cfg(not(target_arch = "x86_64"))]
            Some(_) => Self::Portable(cpu),
            None => Self::Portable(cpu),
        }
    }

    /// See [`Task`].
    ///
    /// # Safety
    ///
    /// * `task.to` has `task.rows` rows of 32 elements that nobody else uses.
    unsafe fn multiply(&self, task: Task<'_>) {
        assert_eq!(task.a.len(), task.b.len(), "blocks of A and of the weight");
        assert!(task.rows <= TILE_ROWS, "rows of a tile");
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match self {
                Self::Portable(cpu) => portable::multiply(*cpu, task),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2(token) => avx2::multiply(*token, task),
                #[cfg(target_arch = "x86_64")]
                Self::Vnni(token) => avx512::multiply(*token, task),
                #[cfg(target_arch = "x86_64")]
                Self::Tiles(tiles) => tiles.multiply(task),
            }
        }
    }
}
