//! Products with bf16 weights on units that multiply bf16 by bf16 and add up in f32.
//!
//! ```text
//! C[i][j] (+)= sum_k bf16(A[i][k]) B[k][j]
//! ```
//!
//! A is rounded to bf16 in flight, to nearest, ties to even; subnormal inputs and sums count as
//! zero, as the units have it. Each element of C is one chain over steps of [`STEP`] elements of
//! `k`, on tiles one for each [`tiled::PART_STEPS`] of them, which are then added up in order;
//! within a step the order is the unit's. None depends on the number of rows or threads, so a row
//! gives the same bits alone and in a batch.
//!
//! ```text
//! B  [n / 32][k / 2][2][16][2]       pairs of k side by side, two lines per pair and panel
//! A  [m / 16][k / 32][16][32]        rounded, tiles of 16 rows, a line per row and step
//! ```
//!
//! Both are padded with zeros to whole lines, which start at multiples of 64 bytes: a tile of
//! either is read line by line.

mod avx512;
pub(crate) mod correlate;
mod dot;
mod pack;
mod tiled;
pub(crate) mod tiles;
mod transposed;

use super::Mat;
use super::lines::{Lines, with_lines};
use crate::cpu::Bf16Unit;
use crate::half::{Bf16, bf16_to_f32};
use crate::threads::SharedMut;
use crate::{Buffers, Exec, Threads, memory};
use std::ops::Range;
pub(super) use transposed::product as transposed_product;

/// Elements of `k` in a line of A.
pub(super) const STEP: usize = 32;
/// Columns of a panel: two lines of f32.
pub(super) const WIDTH: usize = 32;
/// Rows of a tile.
const TILE_ROWS: usize = 16;
/// Lines of A that are rounded at once: 4 MiB, which the third-level cache holds.
const WAVE_LINES: usize = 64 << 10;
/// Fewer lines of A than this are rounded by the caller alone.
const MIN_ROUNDED: usize = 512;
/// Fewer rows than this are not cut off for a task of their own.
const MIN_ROWS: usize = 4 * 2 * TILE_ROWS;
/// Tasks for each thread: a few, so that a slow one does not hold up the others.
const TASKS_PER_THREAD: usize = 4;

/// 64 bytes of bf16, aligned to a line of the cache.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [Bf16; STEP]);

// SAFETY: 64 bytes, aligned to as many, and any bits are numbers.
unsafe impl Lines for Line {}

/// 64 bytes of f32.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Sums([f32; 16]);

/// B in the layout above.
#[derive(Clone, Copy)]
pub(super) struct Pairs<'a> {
    lines: &'a [Line],
    k: usize,
    n: usize,
    /// Lines from one panel to the next.
    per_panel: usize,
}

impl<'a> Pairs<'a> {
    /// All of a packed B.
    pub(super) fn new(lines: &'a [Line], k: usize, n: usize) -> Self {
        Self { lines, k, n, per_panel: steps(k) * STEP }
    }

    /// Some rows of it, which start at a step.
    pub(super) fn part(self, rows: Range<usize>) -> Self {
        Self { lines: &self.lines[rows.start / STEP * STEP..], k: rows.len(), ..self }
    }

    /// Lines of steps `range` of panel `panel`.
    fn steps(&self, panel: usize, range: Range<usize>) -> &'a [Line] {
        let first = panel * self.per_panel;
        &self.lines[first + range.start * STEP..first + range.end * STEP]
    }
}

/// Rows of A in the layout above.
#[derive(Clone, Copy)]
struct Rounded<'a> {
    lines: &'a [Line],
    rows: usize,
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
pub(super) fn pack_weight(threads: &Threads, weight: &[Bf16], n: usize, k: usize) -> Vec<Line> {
    let per_panel = steps(k) * STEP;
    let mut lines = memory::filled(Line([0; STEP]), n.div_ceil(WIDTH) * per_panel);
    if k == 0 {
        return lines;
    }
    threads.for_each_chunk(&mut lines, per_panel, |panel, lines| {
        let rows = &weight[panel * WIDTH * k..n.min((panel + 1) * WIDTH) * k];
        // A line of each row after the other: all that is written meanwhile is 2 KiB.
        for (step, block) in lines.chunks_exact_mut(STEP).enumerate() {
            for (j, row) in rows.chunks_exact(k).enumerate() {
                let (half, lane) = (j / 16, j % 16 * 2);
                let row = &row[step * STEP..k.min((step + 1) * STEP)];
                for (pair, x) in block.chunks_exact_mut(2).zip(row.chunks(2)) {
                    pair[half].0[lane..lane + x.len()].copy_from_slice(x);
                }
            }
        }
    });
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
    let lines = &b.lines[panel * b.per_panel..];
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

/// Rows of A and C that are rounded at once, and what they are multiplied with.
struct Block<'a> {
    rows: Range<usize>,
    b: Pairs<'a>,
    /// Where the rounded rows begin, in lines.
    start: usize,
}

/// Where products go.
#[derive(Clone, Copy)]
struct To {
    /// The first row; the others are `stride` apart.
    c: *mut f32,
    stride: usize,
    /// Whether what is there is added to.
    accumulate: bool,
}

/// C (+)= A B for runs of rows, each with its B, on all threads.
///
/// All threads round the rows of a wave, then they share its rows and panels.
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
    let c = SharedMut(c);
    for wave in waves(runs, steps) {
        let lines = wave.last().map_or(0, |last| last.start + lines_of(last.rows.len(), steps));
        with_lines(&exec.buffers, lines, |lines| {
            round(exec, unit, a, &wave, small, lines);
            let rows: usize = wave.iter().map(|block| block.rows.len()).sum();
            let mut tasks = Vec::new();
            for block in &wave {
                let parts = match small {
                    true => 1,
                    false => (TASKS_PER_THREAD * threads * block.rows.len()).div_ceil(rows),
                };
                let cuts = cut(unit, block.rows.len(), panels, steps, parts);
                tasks.extend(cuts.into_iter().map(|(rows, panels)| (block, rows, panels)));
            }
            let lines = &*lines;
            // The panels of a task, and what the same thread will most likely read after it.
            let panels_of = |task: usize| -> &[Line] {
                tasks.get(task).map_or(&[], |(block, _, panels)| {
                    &block.b.lines[panels.start * steps * STEP..panels.end * steps * STEP]
                })
            };
            let multiply = |task: usize| {
                let (whole, rows, panels) = &tasks[task];
                let first = whole.start + rows.start / TILE_ROWS * TILE_ROWS * steps;
                let a = Rounded {
                    lines: &lines[first..first + lines_of(rows.len(), steps)],
                    rows: rows.len(),
                };
                let c = c.at((whole.rows.start + rows.start) * stride);
                let (to, next) = (To { c, stride, accumulate }, panels_of(task + threads));
                // SAFETY: tasks write different rows or columns of `c`, which the caller vouches
                // for.
                unsafe { block(&exec.buffers, unit, a, whole.b, panels.clone(), to, next) };
            };
            match small {
                true => (0..tasks.len()).for_each(multiply),
                false => exec.threads.run(tasks.len(), multiply),
            }
        });
    }
}

/// Runs cut into blocks that are rounded at once, and these gathered.
fn waves<'a>(runs: &[(Range<usize>, Pairs<'a>)], steps: usize) -> Vec<Vec<Block<'a>>> {
    let most = WAVE_LINES / steps.max(1) / (2 * TILE_ROWS) * (2 * TILE_ROWS);
    let most = most.max(2 * TILE_ROWS);
    let (mut waves, mut end) = (Vec::<Vec<Block<'a>>>::new(), usize::MAX);
    for (all, b) in runs.iter().filter(|(all, _)| !all.is_empty()) {
        for rows in pieces(all.clone(), most, 2 * TILE_ROWS) {
            let lines = lines_of(rows.len(), steps);
            if end.saturating_add(lines) > WAVE_LINES {
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

/// Into what tasks `rows` rows and `panels` panels are cut, `parts` at least if there is so much
/// work: ranges of rows within the block, which start at a tile, and of panels.
fn cut(
    unit: Bf16Unit,
    rows: usize,
    panels: usize,
    steps: usize,
    parts: usize,
) -> Vec<(Range<usize>, Range<usize>)> {
    if rows == 0 || panels == 0 {
        return Vec::new();
    }
    let (most_panels, most_rows) = match unit {
        Bf16Unit::Tiles(_) if rows > TILE_ROWS => (tiled::panels_at_once(steps), rows),
        Bf16Unit::Tiles(_) => (panels, rows),
        Bf16Unit::Dot(_) => (panels, (dot::BLOCK_LINES / steps.max(1)).max(MIN_ROWS)),
    };
    // Rows are cut only where the panels of a task are used often all the same.
    let by_rows = match rows >= 2 * MIN_ROWS {
        true => parts.div_ceil(panels.div_ceil(most_panels)).min(rows / MIN_ROWS),
        false => 1,
    };
    let most_rows = rows.div_ceil(by_rows.max(1)).min(most_rows);
    let most_panels = panels.div_ceil(parts.div_ceil(rows.div_ceil(most_rows))).min(most_panels);
    let columns = pieces(0..panels, most_panels, 1);
    let cuts = columns.flat_map(|panels| {
        pieces(0..rows, most_rows, 2 * TILE_ROWS).map(move |rows| (rows, panels.clone()))
    });
    cuts.collect()
}

/// `all` in pieces of at most `most`, as even as multiples of `unit` allow.
fn pieces(all: Range<usize>, most: usize, unit: usize) -> impl Iterator<Item = Range<usize>> {
    let count = all.len().div_ceil(most.max(1)).max(1);
    let size = all.len().div_ceil(count).next_multiple_of(unit).max(1);
    all.clone().step_by(size).map(move |first| first..all.end.min(first + size))
}

/// The rows of a wave into lines.
fn round(
    exec: &Exec,
    unit: Bf16Unit,
    a: Mat<'_>,
    wave: &[Block<'_>],
    small: bool,
    lines: &mut [Line],
) {
    let per_tile = TILE_ROWS * steps(a.cols);
    if per_tile == 0 {
        return;
    }
    let tiles = wave.iter().flat_map(|block| pieces(block.rows.clone(), TILE_ROWS, TILE_ROWS));
    let tiles: Vec<_> = tiles.collect();
    let per_task = match small || lines.len() < MIN_ROUNDED {
        true => tiles.len(),
        false => exec.threads.rows_per_task(tiles.len(), 1),
    };
    exec.threads.for_each_chunk(lines, per_task * per_tile, |task, lines| {
        let tiles = &tiles[task * per_task..];
        for (rows, lines) in tiles.iter().zip(lines.chunks_exact_mut(per_tile)) {
            round_rows(unit, a.row_range(rows.start, rows.len()), lines);
        }
    });
}

/// Lines of `rows` rows, rounded.
fn lines_of(rows: usize, steps: usize) -> usize {
    rows.next_multiple_of(TILE_ROWS) * steps
}

/// C (+)= A B on the calling thread, for columns of whole panels.
///
/// # Safety
///
/// As for [`product`].
pub(super) unsafe fn serial(
    buffers: &Buffers,
    unit: Bf16Unit,
    a: Mat<'_>,
    b: Pairs<'_>,
    c: *mut f32,
    stride: usize,
    accumulate: bool,
) {
    let steps = steps(b.k);
    with_lines(buffers, lines_of(a.rows, steps), |lines| {
        let tiles = pieces(0..a.rows, TILE_ROWS, TILE_ROWS);
        for (rows, lines) in tiles.zip(lines.chunks_exact_mut((TILE_ROWS * steps).max(1))) {
            round_rows(unit, a.row_range(rows.start, rows.len()), lines);
        }
        let lines = &*lines;
        for (rows, panels) in cut(unit, a.rows, b.n.div_ceil(WIDTH), steps, 1) {
            let first = rows.start / TILE_ROWS * TILE_ROWS * steps;
            let lines = &lines[first..first + lines_of(rows.len(), steps)];
            let a = Rounded { lines, rows: rows.len() };
            let to = To { c: c.wrapping_add(rows.start * stride), stride, accumulate };
            // SAFETY: the caller's promise, passed on.
            unsafe { block(buffers, unit, a, b, panels, to, &[]) };
        }
    });
}

/// All rows of A times some panels; `next` is what will be read after them.
///
/// # Safety
///
/// * `to` has `a.rows` rows of at least as many elements as the panels have columns up to their
///   end, and nobody else uses those columns.
unsafe fn block(
    buffers: &Buffers,
    unit: Bf16Unit,
    a: Rounded<'_>,
    b: Pairs<'_>,
    panels: Range<usize>,
    to: To,
    next: &[Line],
) {
    if b.k == 0 {
        let (start, end) = (panels.start * WIDTH, b.n.min(panels.end * WIDTH));
        for i in (0..a.rows).filter(|_| !to.accumulate) {
            let row = to.c.wrapping_add(i * to.stride + start);
            // SAFETY: row `i`, the columns of the panels.
            unsafe { std::slice::from_raw_parts_mut(row, end - start) }.fill(0.0);
        }
        return;
    }
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match unit {
            Bf16Unit::Tiles(token) => tiled::block(buffers, token, a, b, panels, to, next),
            Bf16Unit::Dot(token) => dot::block(buffers, token, a, b, panels, to),
        }
    }
}

/// Up to 16 rows of A into a tile per step; rows that are missing are zeros.
fn round_rows(unit: Bf16Unit, a: Mat<'_>, lines: &mut [Line]) {
    if a.rows < TILE_ROWS {
        lines.chunks_exact_mut(TILE_ROWS).for_each(|tile| tile[a.rows..].fill(Line([0; STEP])));
    }
    if a.col_stride == 1 {
        for i in 0..a.rows {
            let row = &a.data[i * a.row_stride..][..a.cols];
            avx512::round(unit.avx512(), row, lines[i..].iter_mut().step_by(TILE_ROWS));
        }
        return;
    }
    if a.row_stride == 1 {
        let across = a.t();
        for (step, tile) in lines.chunks_exact_mut(TILE_ROWS).enumerate() {
            tile.copy_from_slice(&pack::across(unit, across, step * STEP, 0));
        }
        return;
    }
    let mut gathered = [[0.0; STEP]; TILE_ROWS];
    for (step, tile) in lines.chunks_exact_mut(TILE_ROWS).enumerate() {
        let k = step * STEP;
        let len = STEP.min(a.cols - k);
        let start = k * a.col_stride;
        for j in 0..len {
            for (i, row) in gathered[..a.rows].iter_mut().enumerate() {
                row[j] = a.data[start + i * a.row_stride + j * a.col_stride];
            }
        }
        for (line, row) in tile.iter_mut().zip(&gathered[..a.rows]) {
            avx512::round(unit.avx512(), &row[..len], [line].into_iter());
        }
    }
}
