//! Products whose depth is the rows of both sides: gradients of weights.
//!
//! ```text
//! C[i][j] = sum_p bf16(A[p][i]) bf16(B[p][j])        A: [depth, m], B: [depth, n], C: [m, n]
//! ```
//!
//! All threads round a wave of rows of both, then they share the rows and panels of C.

use super::{
    Line, Pairs, Rounded, STEP, TASKS_PER_THREAD, TILE_ROWS, To, WAVE_LINES, WIDTH, block, cut,
    lines_of, pack, pieces, steps,
};
use crate::Exec;
use crate::cpu::Bf16Unit;
use crate::matmul::Mat;
use crate::matmul::lines::with_lines;
use crate::threads::SharedMut;

/// Steps that a task rounds: what it reads of a row is read once, and tasks are long enough.
const STEPS_PER_TASK: usize = 4;

/// C = A^T B; rows of C are `stride` apart.
///
/// # Safety
///
/// * `c` points to `a.cols` rows of `b.cols` elements that nobody else uses.
pub(in crate::matmul) unsafe fn product(
    exec: &Exec,
    unit: Bf16Unit,
    a: Mat<'_>,
    b: Mat<'_>,
    c: *mut f32,
    stride: usize,
) {
    let (m, n) = (a.cols, b.cols);
    let (tiles, panels) = (m.div_ceil(TILE_ROWS), n.div_ceil(WIDTH));
    if tiles == 0 || panels == 0 {
        return;
    }
    let per_step = tiles * TILE_ROWS + panels * STEP;
    let most = (WAVE_LINES / per_step).max(STEPS_PER_TASK) * STEP;
    let threads = exec.threads.num_threads();
    let small = threads == 1 || 2 * m * n * a.rows < 200_000;
    let c = SharedMut(c);
    for (wave, rows) in pieces(0..a.rows, most, STEP).enumerate() {
        let (depth, steps) = (rows.len(), steps(rows.len()));
        let (a, b) = (a.row_range(rows.start, depth), b.row_range(rows.start, depth));
        with_lines(&exec.buffers, per_step * steps, |lines: &mut [Line]| {
            let (of_a, of_b) = lines.split_at_mut(tiles * TILE_ROWS * steps);
            let to = [SharedMut(of_a.as_mut_ptr()), SharedMut(of_b.as_mut_ptr())];
            let round = |task: usize| {
                for step in task * STEPS_PER_TASK..steps.min((task + 1) * STEPS_PER_TASK) {
                    // SAFETY: the lines of this step of each tile and panel are this task's alone.
                    unsafe { round_step(unit, a, b, step, &to) };
                }
            };
            let tasks = steps.div_ceil(STEPS_PER_TASK);
            match small {
                true => (0..tasks).for_each(round),
                false => exec.threads.run(tasks, round),
            }
            let (of_a, of_b) = (&*of_a, &*of_b);
            let parts = if small { 1 } else { TASKS_PER_THREAD * threads };
            let tasks = cut(unit, m, panels, steps, parts);
            let multiply = |task: usize| {
                let (rows, panels) = &tasks[task];
                let first = rows.start * steps;
                let lines = &of_a[first..first + lines_of(rows.len(), steps)];
                let a = Rounded { lines, rows: rows.len() };
                let b = Pairs { lines: of_b, k: depth, n, per_panel: steps * STEP };
                let c = c.at(rows.start * stride);
                let to = To { c, stride, accumulate: wave > 0 };
                // SAFETY: tasks write different rows or columns of `c`, which the caller vouches
                // for.
                unsafe { block(&exec.buffers, unit, a, b, panels.clone(), to, &[]) };
            };
            match small {
                true => (0..tasks.len()).for_each(multiply),
                false => exec.threads.run(tasks.len(), multiply),
            }
        });
    }
}

/// Rounds rows of `step` of both sides.
///
/// # Safety
///
/// * There are lines of as many steps for each tile of A and each panel of B, and nobody else uses
///   those of this step.
unsafe fn round_step(
    unit: Bf16Unit,
    a: Mat<'_>,
    b: Mat<'_>,
    step: usize,
    to: &[SharedMut<Line>; 2],
) {
    let (row, steps) = (step * STEP, steps(a.rows));
    let [to_a, to_b] = to;
    for col in (0..a.cols).step_by(TILE_ROWS) {
        let tile = pack::across(unit, a, row, col);
        // SAFETY: the tile of this step, see above.
        unsafe { to_a.at(col * steps + step * TILE_ROWS).cast::<pack::Block>().write(tile) };
    }
    for col in (0..b.cols.next_multiple_of(WIDTH)).step_by(WIDTH / 2) {
        let pairs = match col < b.cols {
            true => pack::pairs(unit, b, row, col),
            false => [Line([0; STEP]); TILE_ROWS],
        };
        let first = col / WIDTH * steps * STEP + step * STEP + col % WIDTH / (WIDTH / 2);
        for (pair, line) in pairs.into_iter().enumerate() {
            // SAFETY: a line of this step of the panel, see above.
            unsafe { to_b.at(first + 2 * pair).write(line) };
        }
    }
}
