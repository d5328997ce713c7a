//! Products on the unit of AVX-512 BF16: a block of rows stays in the second-level cache while the
//! panels pass by, and a part of a panel in the first while the rows do.

use super::{Line, Pairs, Rounded, STEP, Sums, TILE_ROWS, To, WIDTH, avx512, steps};
use crate::Buffers;
use crate::cpu::Avx512Bf16;
use crate::lanes::{prefetch, prefetch_to_write};
use crate::matmul::lines::with_lines;
use std::ops::Range;

/// Steps of a panel that are multiplied at once: 16 KiB, which stay in a L1 of 48 KiB while as much
/// of A passes by.
const BLOCK_STEPS: usize = 8;
/// Lines of A that are worked on at once: 512 KiB, a quarter of the L2 of the first CPUs with tiles;
/// twice as many lose a tenth beside other processes.
pub(super) const BLOCK_LINES: usize = 8 << 10;

/// A panel of sums of one tile of rows twice: where edges are computed whole.
type Edge = [[Sums; 2]; 2 * TILE_ROWS];

/// Sums `[rows, 32]` in memory, their rows `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) data: *mut f32,
    pub(super) stride: usize,
}

/// What a unit does at once: up to two tiles of rows times a part of a panel.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    /// Lines of the first tile, from the first step on, 16 per step.
    pub(super) a: &'a [Line],
    /// Those of the second.
    pub(super) below: Option<&'a [Line]>,
    /// 32 lines per step.
    pub(super) b: &'a [Line],
    /// Rows of the first tile that are computed; 16 if there is a second.
    pub(super) rows: usize,
    /// Sums to begin with, or zeros.
    pub(super) from: Option<Place>,
    pub(super) to: Place,
    /// B is read once and comes from memory.
    pub(super) streamed: bool,
}

/// All rows of A times some panels.
///
/// # Safety
///
/// As for [`super::block`].
pub(super) unsafe fn block(
    buffers: &Buffers,
    token: Avx512Bf16,
    a: Rounded<'_>,
    b: Pairs<'_>,
    panels: Range<usize>,
    to: To,
) {
    let (steps, pair) = (steps(b.k), 2 * TILE_ROWS);
    let To { c, stride, accumulate } = to;
    let blocks = steps.div_ceil(BLOCK_STEPS);
    let kept = if blocks > 1 { a.rows.next_multiple_of(pair) * 2 } else { 0 };
    let mut edge: Edge = [[Sums([0.0; 16]); 2]; 2 * TILE_ROWS];
    let edge = edge.as_mut_ptr().cast::<f32>();
    with_lines(buffers, kept, |kept: &mut [Line]| {
        let kept = kept.as_mut_ptr().cast::<f32>();
        for panel in panels {
            let columns = WIDTH.min(b.n - panel * WIDTH);
            let b = b.steps(panel, 0..steps);
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
                        share.for_each(|line| prefetch(next.wrapping_add(line)));
                        if i + 1 == blocks && columns == WIDTH {
                            for row in 0..rows {
                                prefetch_to_write(at.wrapping_add(row * stride + WIDTH));
                                prefetch_to_write(at.wrapping_add(row * stride + 48));
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
                        avx512::multiply(token, task);
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
