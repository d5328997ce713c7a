//! The unit of levels without instructions of their own: plain loops.

use super::{BLOCK, Task, WIDTH};
use crate::Cpu;
use fearless_simd::{dispatch, prelude::*};

/// See [`Task`].
///
/// # Safety
///
/// * `task.to` has `task.rows` rows of 32 elements that nobody else uses.
pub(super) unsafe fn multiply(cpu: Cpu, task: Task<'_>) {
    for row in 0..task.rows {
        // SAFETY: a row that the caller vouches for.
        let sums = unsafe {
            std::slice::from_raw_parts_mut(task.to.data.add(row * task.to.stride), WIDTH)
        };
        if !task.accumulate {
            sums.fill(0.0);
        }
        dispatch!(cpu.level, simd => simd_row(simd, task, row, sums));
    }
}

#[inline(always)]
fn simd_row<S: Simd>(_: S, task: Task<'_>, row: usize, sums: &mut [f32]) {
    let number = |line: &[u8; 64], i: usize| {
        f32::from_le_bytes([line[4 * i], line[4 * i + 1], line[4 * i + 2], line[4 * i + 3]])
    };
    for (a, b) in task.a.iter().zip(task.b) {
        let p = &a[row / 2].0[row % 2 * BLOCK..][..BLOCK];
        let mut dots = [0i32; WIDTH];
        for (quad, p) in p.chunks_exact(4).enumerate() {
            for (j, dot) in dots.iter_mut().enumerate() {
                let q = &b[4 + 2 * quad + j / 16].0[j % 16 * 4..][..4];
                for (p, q) in p.iter().zip(q) {
                    *dot += i32::from(p.cast_signed()) * i32::from(q.cast_signed());
                }
            }
        }
        let (t, u) = (number(&a[8].0, row), number(&a[9].0, row));
        for (j, (sum, dot)) in sums.iter_mut().zip(dots).enumerate() {
            let s = number(&b[j / 16].0, j % 16);
            *sum = (dot as f32 * s).mul_add(t, *sum);
            if task.minima {
                let m = number(&b[2 + j / 16].0, j % 16);
                *sum = m.mul_add(u, *sum);
            }
        }
    }
}
