//! Products split over threads: once per call, whatever the number of matrices.

use super::blocks::block_product;
use super::{BLOCK_ROWS, Mat, MatMut, PanelsRef, TILE_ROWS, bf16, int8};
use crate::Exec;
use crate::threads::SharedMut;
use std::ops::Range;

/// Fewer rows per thread than a block are split by columns: each task with all rows reads its share of B
/// once, each with a few of them all of B.
const MIN_ROWS_PER_TASK: usize = BLOCK_ROWS;
/// Tasks for each thread: a few, so that a slow one does not hold up the others.
const TASKS_PER_THREAD: usize = 4;

/// Rows of A and C, and what these are multiplied with.
#[derive(Clone)]
pub(super) struct Run<'a> {
    pub(super) rows: Range<usize>,
    pub(super) b: PanelsRef<'a>,
}

/// C (+)= A B for each run, of which none is empty. They are in order and do not overlap.
///
/// # Panics
///
/// If the shapes disagree or the runs are of different kinds.
#[track_caller]
pub(super) fn product(exec: &Exec, a: Mat<'_>, runs: &[Run<'_>], c: MatMut<'_>, accumulate: bool) {
    assert_eq!(c.rows, a.rows, "rows of c");
    assert!(runs.iter().all(|run| c.cols == run.b.n), "columns of c");
    let Some(first) = runs.first() else { return };
    let (stride, k) = (c.row_stride, first.b.k);
    if let Some((unit, _)) = first.b.for_unit(exec.cpu) {
        let runs = runs.iter().map(|run| {
            let (_, b) = run.b.for_unit(exec.cpu).expect("matrices of one kind");
            (run.rows.clone(), b)
        });
        let (c, runs) = (c.data.as_mut_ptr(), runs.collect::<Vec<_>>());
        // SAFETY: `c` has the rows of `a` and the columns of each `b`, and is borrowed mutably.
        unsafe { bf16::product(exec, unit, a, &runs, c, stride, accumulate) };
        return;
    }
    if first.b.for_int8(exec.cpu).is_some() {
        let runs = runs.iter().map(|run| {
            let b = run.b.for_int8(exec.cpu).expect("matrices of one kind");
            (run.rows.clone(), b)
        });
        let (c, runs) = (c.data.as_mut_ptr(), runs.collect::<Vec<_>>());
        // SAFETY: as above.
        unsafe { int8::product(exec, a, &runs, c, stride, accumulate) };
        return;
    }
    let out = SharedMut(c.data.as_mut_ptr());
    let multiply = |run: &Run<'_>, rows: Range<usize>, cols: Range<usize>| {
        let a = a.row_range(rows.start, rows.len());
        let c = out.at(rows.start * stride);
        // SAFETY: `c` has the rows of `a` and the columns of `b`, and is borrowed mutably; no two
        // tasks have a row and a column in common.
        unsafe { block_product(exec.cpu, a, run.b, cols, c, stride, accumulate) };
    };
    let threads = exec.threads.num_threads();
    let rows: usize = runs.iter().map(|run| run.rows.len()).sum();
    // Below this, handing out tasks costs more than it gains.
    let small = 2 * rows * c.cols * k < 50_000;
    if threads == 1 || small {
        for run in runs {
            multiply(run, run.rows.clone(), 0..run.b.n);
        }
        return;
    }
    let mut tasks = Vec::new();
    for run in runs {
        let all = run.rows.clone();
        let share = (TASKS_PER_THREAD * threads * all.len()).div_ceil(rows);
        if all.len() >= threads * MIN_ROWS_PER_TASK {
            let size = all.len().div_ceil(share).max(MIN_ROWS_PER_TASK);
            let size = size.next_multiple_of(TILE_ROWS);
            let rows = all.clone().step_by(size).map(|first| first..all.end.min(first + size));
            tasks.extend(rows.map(|rows| (run, rows, 0..run.b.n)));
        } else {
            // Each of these copies all of a transposed A.
            let least = if a.is_transposed() { 2 } else { 1 };
            let size = run.b.n.div_ceil(run.b.width).div_ceil(share).max(least) * run.b.width;
            let cols = (0..run.b.n).step_by(size).map(|first| first..run.b.n.min(first + size));
            tasks.extend(cols.map(|cols| (run, all.clone(), cols)));
        }
    }
    exec.threads.run(tasks.len(), |task| {
        let (run, rows, cols) = &tasks[task];
        multiply(run, rows.clone(), cols.clone());
    });
}
