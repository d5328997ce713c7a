//! Products with bf16 weights on units that multiply bf16 by bf16 and add up in f32.
//!
//! ```text
//! C[i][j] (+)= sum_k bf16(A[i][k]) B[k][j]
//! ```
//!
//! A is rounded to bf16 in flight, to nearest, ties to even; subnormal inputs and sums count as
//! zero, as the units have it. Each element of C is one chain over steps of [`STEP`] elements of
//! `k`; within a step the order is the unit's. Neither depends on the number of rows or threads, so
//! a row gives the same bits alone and in a batch.
//!
//! ```text
//! B  [n / 32][k / 2][2][16][2]       pairs of k side by side, two lines per pair and panel
//! A  [m / 16][k / 32][16][32]        rounded, tiles of 16 rows, a line per row and step
//! ```
//!
//! Both are padded with zeros to whole lines, which start at multiples of 64 bytes: a tile of
//! either is read line by line. A block of rows stays in the second-level cache while the panels
//! pass by, and a part of a panel in the first while the rows do.

mod avx512;
pub(crate) mod tiles;

use super::Mat;
use crate::cpu::Bf16Unit;
use crate::half::{Bf16, bf16_to_f32};
use crate::threads::SharedMut;
use crate::{Buffers, Exec, memory};
use std::ops::Range;

/// Elements of `k` in a line of A.
pub(super) const STEP: usize = 32;
/// Columns of a panel: two lines of f32.
pub(super) const WIDTH: usize = 32;
/// Rows of a tile.
const TILE_ROWS: usize = 16;
/// Steps of a panel that are multiplied at once: 16 KiB, which stay in a L1 of 48 KiB while as much
/// of A passes by; with 32 KiB of each, tiles lose a fifth.
const BLOCK_STEPS: usize = 8;
/// Lines of A in a block of rows: 512 KiB, a quarter of the L2 of the first CPUs with tiles; twice
/// as many lose a tenth beside other processes.
const BLOCK_LINES: usize = 8 << 10;
/// Rows of a block at most.
const MAX_ROWS: usize = 1024;
/// Fewer lines of A than this are rounded by the caller alone.
const MIN_ROUNDED: usize = 512;
/// Tasks for each thread: a few, so that a slow one does not hold up the others.
const TASKS_PER_THREAD: usize = 4;

/// 64 bytes of bf16, aligned to a line of the cache.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [Bf16; STEP]);

/// 64 bytes of f32.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Sums([f32; 16]);

/// A panel of sums of one tile of rows twice: where edges are computed whole.
type Edge = [[Sums; 2]; 2 * TILE_ROWS];

/// B in the layout above.
#[derive(Clone, Copy)]
pub(super) struct Pairs<'a> {
    pub(super) lines: &'a [Line],
    pub(super) k: usize,
    pub(super) n: usize,
}

/// Rows of A in the layout above.
#[derive(Clone, Copy)]
struct Rounded<'a> {
    lines: &'a [Line],
    rows: usize,
}

/// Sums `[rows, 32]` in memory, their rows `stride` apart.
#[derive(Clone, Copy)]
struct Place {
    data: *mut f32,
    stride: usize,
}

/// What a unit does at once: up to two tiles of rows times a part of a panel.
#[derive(Clone, Copy)]
struct Task<'a> {
    /// Lines of the first tile, from the first step on, 16 per step.
    a: &'a [Line],
    /// Those of the second.
    below: Option<&'a [Line]>,
    /// 32 lines per step.
    b: &'a [Line],
    /// Rows of the first tile that are computed; 16 if there is a second.
    rows: usize,
    /// Sums to begin with, or zeros.
    from: Option<Place>,
    to: Place,
    /// B is read once and comes from memory.
    streamed: bool,
}

/// `steps` steps of products and sums in registers, nothing else: the limit of a unit.
pub(crate) fn chains(unit: Bf16Unit, steps: usize) {
    match unit {
        Bf16Unit::Dot(token) => avx512::chains(token, steps),
        Bf16Unit::Tiles(token) => tiles::Tiles::new(token, TILE_ROWS).chains(steps),
    }
}

/// Flops in a step of [`chains`].
pub(crate) fn flops_per_step(unit: Bf16Unit) -> usize {
    match unit {
        Bf16Unit::Dot(_) => avx512::CHAINS * 2 * STEP,
        Bf16Unit::Tiles(_) => 4 * 2 * TILE_ROWS * TILE_ROWS * STEP,
    }
}

/// `k` in steps.
fn steps(k: usize) -> usize {
    k.div_ceil(STEP)
}

/// Packs a weight `[n, k]`.
pub(super) fn pack_weight(weight: &[Bf16], n: usize, k: usize) -> Vec<Line> {
    let per_panel = steps(k) * STEP;
    let mut lines = memory::filled(Line([0; STEP]), n.div_ceil(WIDTH) * per_panel);
    if k == 0 {
        return lines;
    }
    for (panel, rows) in lines.chunks_exact_mut(per_panel).zip(weight.chunks(WIDTH * k)) {
        // A line of each row after the other: all that is written meanwhile is 2 KiB.
        for (step, block) in panel.chunks_exact_mut(STEP).enumerate() {
            for (j, row) in rows.chunks_exact(k).enumerate() {
                let (half, lane) = (j / 16, j % 16 * 2);
                let row = &row[step * STEP..k.min((step + 1) * STEP)];
                for (pair, x) in block.chunks_exact_mut(2).zip(row.chunks(2)) {
                    pair[half].0[lane..lane + x.len()].copy_from_slice(x);
                }
            }
        }
    }
    lines
}

/// Packs B `[k, n]`.
pub(super) fn pack_rows(b: &[Bf16], k: usize, n: usize) -> Vec<Line> {
    let per_panel = steps(k) * STEP;
    let mut lines = memory::filled(Line([0; STEP]), n.div_ceil(WIDTH) * per_panel);
    if k == 0 || n == 0 {
        return lines;
    }
    let missing = vec![0; n];
    for (pair, rows) in b.chunks(2 * n).enumerate() {
        let even = rows[..n].chunks(16);
        let odd = rows.get(n..).filter(|odd| !odd.is_empty()).unwrap_or(&missing).chunks(16);
        for (half, (even, odd)) in even.zip(odd).enumerate() {
            let line = &mut lines[half / 2 * per_panel + 2 * pair + half % 2].0;
            for (out, (&even, &odd)) in line.chunks_exact_mut(2).zip(even.iter().zip(odd)) {
                out[0] = even;
                out[1] = odd;
            }
        }
    }
    lines
}

/// `depth` rows of a panel from row `first_k` on as f32, `[depth, 32]`: what levels and arithmetics
/// without the unit multiply.
pub(super) fn widen(b: Pairs<'_>, panel: usize, first_k: usize, out: &mut [f32]) {
    let lines = &b.lines[panel * steps(b.k) * STEP..];
    for (k, out) in out.chunks_exact_mut(WIDTH).enumerate() {
        let k = first_k + k;
        for (half, out) in out.chunks_exact_mut(16).enumerate() {
            let line = &lines[k / 2 * 2 + half].0;
            for (j, out) in out.iter_mut().enumerate() {
                *out = bf16_to_f32(line[2 * j + k % 2]);
            }
        }
    }
}

/// Rows of A and C that are multiplied while their rounded form is in the cache.
struct Block<'a> {
    rows: Range<usize>,
    b: Pairs<'a>,
    /// Where the rounded rows begin, in lines.
    start: usize,
}

/// C (+)= A B for runs of rows, each with its B, on all threads.
///
/// Rows are taken in blocks, and blocks in waves: all threads round the rows of a wave, then they
/// share its panels, so that each panel is read once per wave, not once per thread.
///
/// # Safety
///
/// * `c` points to `a.rows` rows, `stride` apart, of `n` elements that nobody else uses; no two
///   runs have a row in common, and every `b` has the same `k` and `n`.
pub(super) unsafe fn product(
    exec: &Exec,
    unit: Bf16Unit,
    a: Mat<'_>,
    runs: &[(Range<usize>, Pairs<'_>)],
    c: *mut f32,
    stride: usize,
    accumulate: bool,
) {
    let Some((_, Pairs { k, n, .. })) = runs.first() else { return };
    let (steps, panels) = (steps(*k), n.div_ceil(WIDTH));
    let threads = exec.threads.num_threads();
    let rows: usize = runs.iter().map(|(rows, _)| rows.len()).sum();
    // Below this, handing out tasks costs more than it gains.
    let small = threads == 1 || 2 * rows * n * k < 200_000;
    let most = (BLOCK_LINES / steps.max(1)).min(MAX_ROWS) / (2 * TILE_ROWS) * (2 * TILE_ROWS);
    let most = most.max(4 * TILE_ROWS);
    let c = SharedMut(c);
    for wave in waves(runs, most, steps) {
        let lines = wave.last().map_or(0, |last| last.start + lines_of(last.rows.len(), steps));
        with_lines(&exec.buffers, lines, |lines| {
            // SAFETY: both are 64 bytes with the same alignment, and any bits are numbers of either.
            let lines = unsafe {
                std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast::<Line>(), lines.len())
            };
            let tiles: Vec<_> =
                wave.iter().flat_map(|block| tiles_of(block.rows.clone())).collect();
            let per_task = match small || lines.len() < MIN_ROUNDED {
                true => tiles.len(),
                false => exec.threads.rows_per_task(tiles.len(), 1),
            };
            exec.threads.for_each_chunk(
                lines,
                (per_task * TILE_ROWS * steps).max(1),
                |task, lines| {
                    let tiles = &tiles[task * per_task..];
                    for (rows, lines) in tiles.iter().zip(lines.chunks_exact_mut(TILE_ROWS * steps))
                    {
                        round_rows(unit, a.row_range(rows.start, rows.len()), lines);
                    }
                },
            );
            let mut tasks = Vec::new();
            let total = wave.iter().map(|block| block.rows.len()).sum::<usize>();
            for block in &wave {
                let share = match small {
                    true => 1,
                    false => (TASKS_PER_THREAD * threads * block.rows.len()).div_ceil(total),
                };
                let size = panels.div_ceil(share).max(1);
                let parts = (0..panels).step_by(size).map(|first| first..panels.min(first + size));
                tasks.extend(parts.map(|panels| (block, panels)));
            }
            let lines = &*lines;
            let multiply = |task: usize| {
                let (block_rows, panels) = &tasks[task];
                let rows = &block_rows.rows;
                let lines = &lines[block_rows.start..][..lines_of(rows.len(), steps)];
                let a = Rounded { lines, rows: rows.len() };
                let c = c.at(rows.start * stride);
                // SAFETY: tasks write different rows or columns of `c`, which the caller vouches
                // for.
                unsafe {
                    let (b, panels) = (block_rows.b, panels.clone());
                    block(&exec.buffers, unit, a, b, panels, c, stride, accumulate);
                }
            };
            match small {
                true => (0..tasks.len()).for_each(multiply),
                false => exec.threads.run(tasks.len(), multiply),
            }
        });
    }
}

/// Runs cut into blocks of at most `most` rows, as even as tiles allow, and these gathered.
fn waves<'a>(runs: &[(Range<usize>, Pairs<'a>)], most: usize, steps: usize) -> Vec<Vec<Block<'a>>> {
    let (mut waves, mut end) = (Vec::<Vec<Block<'a>>>::new(), usize::MAX);
    for (all, b) in runs.iter().filter(|(all, _)| !all.is_empty()) {
        let size = all.len().div_ceil(all.len().div_ceil(most)).next_multiple_of(2 * TILE_ROWS);
        for first in all.clone().step_by(size) {
            let rows = first..all.end.min(first + size);
            let lines = lines_of(rows.len(), steps);
            if end.saturating_add(lines) > BLOCK_LINES {
                waves.push(Vec::new());
                end = 0;
            }
            let wave = waves.last_mut().expect("pushed above");
            wave.push(Block { rows, b: *b, start: end });
            end += lines;
        }
    }
    waves
}

/// Lines of `rows` rows, rounded.
fn lines_of(rows: usize, steps: usize) -> usize {
    rows.next_multiple_of(TILE_ROWS) * steps
}

/// Rows in tiles; the last may have fewer.
fn tiles_of(rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    rows.clone().step_by(TILE_ROWS).map(move |first| first..rows.end.min(first + TILE_ROWS))
}

/// C (+)= A B on the calling thread, for columns of whole panels.
///
/// # Safety
///
/// As for [`product`].
pub(super) unsafe fn serial(
    unit: Bf16Unit,
    a: Mat<'_>,
    b: Pairs<'_>,
    c: *mut f32,
    stride: usize,
    accumulate: bool,
) {
    let buffers = Buffers::default();
    with_rounded(&buffers, unit, a, |a| {
        // SAFETY: the caller's promise, passed on.
        unsafe { block(&buffers, unit, a, b, 0..b.n.div_ceil(WIDTH), c, stride, accumulate) };
    });
}

/// Calls `f` with `len` lines, which hold arbitrary numbers.
fn with_lines<R>(buffers: &Buffers, len: usize, f: impl FnOnce(&mut [Sums]) -> R) -> R {
    let mut buffer = buffers.take((len + 1) * 16);
    // SAFETY: lines are f32 and nothing else, and any f32 is one.
    let (_, lines, _) = unsafe { buffer.align_to_mut::<Sums>() };
    let result = f(&mut lines[..len]);
    buffers.give(buffer);
    result
}

/// Calls `f` with A rounded and in tiles.
fn with_rounded<R>(
    buffers: &Buffers,
    unit: Bf16Unit,
    a: Mat<'_>,
    f: impl FnOnce(Rounded<'_>) -> R,
) -> R {
    let steps = steps(a.cols);
    with_lines(buffers, a.rows.div_ceil(TILE_ROWS) * TILE_ROWS * steps, |lines| {
        // SAFETY: both are 64 bytes with the same alignment, and any bits are numbers of either.
        let lines = unsafe {
            std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast::<Line>(), lines.len())
        };
        if steps > 0 {
            for (tile, lines) in lines.chunks_exact_mut(TILE_ROWS * steps).enumerate() {
                let first = tile * TILE_ROWS;
                let rows = TILE_ROWS.min(a.rows - first);
                round_rows(unit, a.row_range(first, rows), lines);
            }
        }
        f(Rounded { lines, rows: a.rows })
    })
}

/// Up to 16 rows of A into a tile per step; rows that are missing are zeros.
fn round_rows(unit: Bf16Unit, a: Mat<'_>, lines: &mut [Line]) {
    let mut gathered = [0.0; TILE_ROWS * STEP];
    for (step, tile) in lines.chunks_exact_mut(TILE_ROWS).enumerate() {
        let k = step * STEP;
        let len = STEP.min(a.cols - k);
        tile[a.rows..].fill(Line([0; STEP]));
        let start = k * a.col_stride;
        if a.col_stride == 1 {
            avx512::round(unit.avx512(), &a.data[start..], a.row_stride, len, &mut tile[..a.rows]);
        } else {
            for j in 0..len {
                for i in 0..a.rows {
                    gathered[i * STEP + j] = a.data[start + i * a.row_stride + j * a.col_stride];
                }
            }
            avx512::round(unit.avx512(), &gathered, STEP, len, &mut tile[..a.rows]);
        }
    }
}

/// All rows of A times some panels.
///
/// # Safety
///
/// * `c` points to `a.rows` rows, `stride` apart, of at least as many elements as the panels have
///   columns up to their end, and nobody else uses those columns.
#[expect(clippy::too_many_arguments, reason = "operands, and where to")]
unsafe fn block(
    buffers: &Buffers,
    unit: Bf16Unit,
    a: Rounded<'_>,
    b: Pairs<'_>,
    panels: Range<usize>,
    c: *mut f32,
    stride: usize,
    accumulate: bool,
) {
    let steps = steps(b.k);
    let pair = 2 * TILE_ROWS;
    if steps == 0 {
        if !accumulate {
            let (start, end) = (panels.start * WIDTH, b.n.min(panels.end * WIDTH));
            for i in 0..a.rows {
                let row = c.wrapping_add(i * stride + start);
                // SAFETY: row `i`, the columns of the panels.
                unsafe { std::slice::from_raw_parts_mut(row, end - start) }.fill(0.0);
            }
        }
        return;
    }
    let blocks = steps.div_ceil(BLOCK_STEPS);
    let kept = if blocks > 1 { a.rows.next_multiple_of(pair) * 2 } else { 0 };
    let shaped = match unit {
        Bf16Unit::Tiles(token) => Some(tiles::Tiles::new(token, a.rows.clamp(1, TILE_ROWS))),
        Bf16Unit::Dot(_) => None,
    };
    let mut edge: Edge = [[Sums([0.0; 16]); 2]; 2 * TILE_ROWS];
    let edge = edge.as_mut_ptr().cast::<f32>();
    with_lines(buffers, kept, |kept| {
        let kept = kept.as_mut_ptr().cast::<f32>();
        for panel in panels {
            let columns = WIDTH.min(b.n - panel * WIDTH);
            let b = &b.lines[panel * steps * STEP..(panel + 1) * steps * STEP];
            for i in 0..blocks {
                let part = i * BLOCK_STEPS..steps.min((i + 1) * BLOCK_STEPS);
                for first in (0..a.rows).step_by(pair) {
                    let rows = pair.min(a.rows - first);
                    let tile = |first: usize| {
                        let start = (first / TILE_ROWS * steps + part.start) * TILE_ROWS;
                        &a.lines[start..start + part.len() * TILE_ROWS]
                    };
                    let below = (rows > TILE_ROWS).then(|| tile(first + TILE_ROWS));
                    let computed = match below {
                        Some(_) => pair,
                        None => a.rows.min(TILE_ROWS),
                    };
                    let whole = columns == WIDTH && rows == computed;
                    let at = c.wrapping_add(first * stride + panel * WIDTH);
                    let kept = Place { data: kept.wrapping_add(first * WIDTH), stride: WIDTH };
                    let place = match whole {
                        true => Place { data: at, stride },
                        false => Place { data: edge, stride: WIDTH },
                    };
                    let from = if i > 0 { Some(kept) } else { accumulate.then_some(place) };
                    let to = if i + 1 < blocks { kept } else { place };
                    if a.rows > pair {
                        // What comes next of B: this share of it.
                        let next = b[part.end * STEP..].as_ptr();
                        let lines = BLOCK_STEPS * STEP;
                        let share = first * lines / a.rows..(first + rows) * lines / a.rows;
                        share.for_each(|line| avx512::prefetch(next.wrapping_add(line)));
                        if i + 1 == blocks && columns == WIDTH {
                            for row in 0..rows {
                                avx512::prefetch_to_write(at.wrapping_add(row * stride + WIDTH));
                                avx512::prefetch_to_write(at.wrapping_add(row * stride + 48));
                            }
                        }
                    }
                    let task = Task {
                        a: tile(first),
                        below,
                        b: &b[part.start * STEP..part.end * STEP],
                        rows: computed.min(TILE_ROWS),
                        from,
                        to,
                        streamed: a.rows <= pair,
                    };
                    // SAFETY: `place` is rows and columns of `c` that the caller vouches for, if
                    // they are as many as are computed, or else `edge`; `kept` has lines for all
                    // rows.
                    unsafe {
                        if !whole && i == 0 && accumulate {
                            copy(at, stride, edge, WIDTH, rows, columns);
                        }
                        match (unit, &shaped) {
                            (_, Some(tiles)) => tiles.multiply(task),
                            (unit, None) => avx512::multiply(unit.avx512(), task),
                        }
                        if !whole && i + 1 == blocks {
                            copy(edge, WIDTH, at, stride, rows, columns);
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
    rows: usize,
    columns: usize,
) {
    for i in 0..rows {
        // SAFETY: the caller's promise.
        unsafe {
            std::ptr::copy_nonoverlapping(
                from.add(i * from_stride),
                to.add(i * to_stride),
                columns,
            );
        }
    }
}
