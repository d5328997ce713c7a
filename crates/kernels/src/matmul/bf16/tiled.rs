//! Products on the unit of AMX. What memory does, measured (docs/perf/LOG.md, 2026-11-26), decides
//! how:
//!
//! * Sums that leave the tiles and come back cost as much as four steps, and twice that if they were
//!   gone from the first-level cache. So a chain of [`PART_STEPS`] starts at zero, its sums go to a
//!   place that stays in that cache, and vectors add them to where they belong while the tiles
//!   multiply what comes next.
//! * A part of 32 rows of A, 32 KiB, stays in the first-level cache while the panels of a task pass
//!   by, which come from the second and are kept out of the first (`tileloaddt1`).
//! * Rows are the outer loop, so that C is written along its rows: a column of panels would hit the
//!   same few sets of the caches again and again.

use super::tiles::{Pending, Tiles};
use super::{Line, Pairs, Rounded, STEP, Sums, TILE_ROWS, To, WIDTH, steps};
use crate::Buffers;
use crate::cpu::AmxBf16;
use crate::matmul::lines::with_lines;
use std::ops::Range;

/// Steps of a chain: 512 elements of `k`.
pub(super) const PART_STEPS: usize = 16;
/// Rows that are multiplied at once.
const PAIR: usize = 2 * TILE_ROWS;
/// Steps after which all rows of A pass by again, so that enough panels fit in the cache however
/// deep they are.
const BLOCK_STEPS: usize = 2 * PART_STEPS;
/// Lines of B that stay in the second-level cache while all rows of A pass by: 768 KiB of 2 MiB, so
/// that the next ones fit too.
const BLOCK_LINES: usize = 12 << 10;

const LINE_BYTES: usize = size_of::<Line>();

/// Sums of a pair of tiles and a panel.
type Block = [[Sums; 2]; PAIR];

static ZEROS: [Sums; 2] = [Sums([0.0; 16]); 2];

/// Panels that stay in the cache.
pub(super) fn panels_at_once(steps: usize) -> usize {
    BLOCK_LINES / (steps.clamp(1, BLOCK_STEPS) * STEP)
}

/// See [`super::block`].
///
/// # Safety
///
/// As there.
pub(super) unsafe fn block(
    buffers: &Buffers,
    token: AmxBf16,
    a: Rounded<'_>,
    b: Pairs<'_>,
    panels: Range<usize>,
    to: To,
    next: &[Line],
) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match a.rows {
            ..=TILE_ROWS => few(token, a, b, panels, to),
            _ => many(buffers, token, a, b, panels, to, next),
        }
    }
}

/// At most 16 rows, for which each panel is read once and comes from memory.
///
/// # Safety
///
/// As for [`super::block`].
unsafe fn few(token: AmxBf16, a: Rounded<'_>, b: Pairs<'_>, panels: Range<usize>, to: To) {
    let steps = steps(b.k);
    let tiles = Tiles::new(token, a.rows.max(1));
    let mut sums = [[[0.0; WIDTH]; TILE_ROWS]; 2];
    let [sums, part] = &mut sums;
    for panel in panels {
        let columns = WIDTH.min(b.n - panel * WIDTH);
        let at = |i: usize| to.c.wrapping_add(i * to.stride + panel * WIDTH);
        for (i, sums) in sums[..a.rows].iter_mut().enumerate() {
            sums.fill(0.0);
            if to.accumulate {
                // SAFETY: row `i`, columns of the panel.
                let c = unsafe { std::slice::from_raw_parts(at(i), columns) };
                sums[..columns].copy_from_slice(c);
            }
        }
        for first in (0..steps).step_by(PART_STEPS) {
            let range = first..steps.min(first + PART_STEPS);
            let a_part = &a.lines[range.start * TILE_ROWS..range.end * TILE_ROWS];
            let b_part = b.steps(panel, range);
            // SAFETY: `part` has 16 rows of 32.
            unsafe { tiles.single(a_part, b_part, part.as_mut_ptr().cast()) };
            for (sums, part) in sums[..a.rows].iter_mut().zip(&*part) {
                sums.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
            }
        }
        for (i, sums) in sums[..a.rows].iter().enumerate() {
            // SAFETY: as above, and nobody else uses them.
            let c = unsafe { std::slice::from_raw_parts_mut(at(i), columns) };
            c.copy_from_slice(&sums[..columns]);
        }
    }
}

/// More rows.
///
/// # Safety
///
/// As for [`super::block`].
unsafe fn many(
    buffers: &Buffers,
    token: AmxBf16,
    a: Rounded<'_>,
    b: Pairs<'_>,
    panels: Range<usize>,
    to: To,
    next: &[Line],
) {
    let steps = steps(b.k);
    let tiles = Tiles::new(token, TILE_ROWS);
    let mut hot: [Block; 2] = [[[Sums([0.0; 16]); 2]; PAIR]; 2];
    let hot = hot.as_mut_ptr();
    let kept = if steps > PART_STEPS { panels.len() * size_of::<Block>() / LINE_BYTES } else { 0 };
    let pairs = a.rows.div_ceil(PAIR);
    with_lines(buffers, kept, |kept: &mut [Line]| {
        let kept = kept.as_mut_ptr().cast::<Block>();
        let mut pending = Pending::none();
        let mut calls = 0;
        for block in (0..steps).step_by(BLOCK_STEPS) {
            let block = block..steps.min(block + BLOCK_STEPS);
            // What is read after this block: of each panel the next steps, or of the next panels the
            // first ones.
            let after = |i: usize| -> &[Line] {
                if block.end < steps {
                    let end = steps.min(block.end + BLOCK_STEPS);
                    return b.steps(panels.start + i, block.end..end);
                }
                let first = i * steps * STEP;
                let end = next.len().min(first + BLOCK_STEPS.min(steps) * STEP);
                next.get(first..end).unwrap_or(&[])
            };
            let passes = pairs * block.len().div_ceil(PART_STEPS);
            let mut pass = 0;
            for pair in 0..pairs {
                let rows = PAIR.min(a.rows - pair * PAIR);
                for part in block.clone().step_by(PART_STEPS) {
                    let part = part..block.end.min(part + PART_STEPS);
                    let tile = |i: usize| {
                        let start = (i * steps + part.start) * TILE_ROWS;
                        &a.lines[start..start + part.len() * TILE_ROWS]
                    };
                    for panel in panels.clone() {
                        let i = panel - panels.start;
                        let b_part = b.steps(panel, part.clone());
                        let sums = hot.wrapping_add(calls % 2).cast::<f32>();
                        calls += 1;
                        // SAFETY: `sums` is a block, and another one than `pending` has; tiles have
                        // 16 rows.
                        unsafe {
                            if rows > TILE_ROWS {
                                let a = [tile(2 * pair), tile(2 * pair + 1)];
                                let ahead = share(after(i), pass, passes);
                                tiles.pair(a, b_part, sums, &mut pending, ahead);
                            } else {
                                tiles.single(tile(2 * pair), b_part, sums);
                            }
                            pending.finish(token);
                        }
                        let columns = WIDTH.min(b.n - panel * WIDTH);
                        let c = to.c.wrapping_add(pair * PAIR * to.stride + panel * WIDTH);
                        let kept = (kept.wrapping_add(i).cast::<f32>(), WIDTH);
                        let (add, add_stride) = match part.start {
                            0 if !to.accumulate => (ZEROS.as_ptr().cast::<f32>().cast_mut(), 0),
                            first if first == block.start => (c, to.stride),
                            _ => kept,
                        };
                        let last = part.end == block.end;
                        let (to, to_stride) = if last { (c, to.stride) } else { kept };
                        pending = Pending { sums, add, add_stride, to, to_stride, rows };
                        if columns < WIDTH {
                            // SAFETY: all three have `rows` rows of as many columns.
                            unsafe { pending.finish_edge(columns) };
                        }
                    }
                    pass += 1;
                }
            }
        }
        // SAFETY: the last block of sums, and rows that the caller vouches for.
        unsafe { pending.finish(token) };
    });
}

/// The `i`-th of `count` even parts of `lines`.
fn share(lines: &[Line], i: usize, count: usize) -> &[Line] {
    let size = lines.len().div_ceil(count);
    let start = lines.len().min(i * size);
    &lines[start..lines.len().min(start + size)]
}
