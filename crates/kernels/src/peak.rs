//! What this machine can do at most, so that a kernel's speed can be given as a share of it.
//!
//! ```text
//! arithmetic: a_i = a_i x + y in registers, nothing else         2 flops per lane
//! bf16:       a_i = a_i + x y, x and y in bf16, in registers     2 flops per product
//! int8:       a_i = a_i + x y, x and y in 8 bits, in registers    2 operations per product
//! memory:     the sum of an array that no cache holds            4 bytes per element
//! ```
//!
//! All are the best of some samples, for a limit is what nothing disturbs. Levels without fused
//! multiply-add take two instructions for it, so their limit is lower by more than their width.

use crate::matmul::{bf16, int8};
use crate::{Exec, memory};
use fearless_simd::{dispatch, prelude::*};
use std::hint::black_box;
use std::time::Instant;

/// Chains of dependent operations: 2 per cycle of latency 4 need 8, and 12 with both constants
/// still fit the 16 registers of AVX2.
const CHAINS: usize = 12;
/// Steps of each chain per sample: about a millisecond.
const STEPS: usize = 400_000;
/// Steps of chains of a unit for bf16, which do up to 64 times as much.
const UNIT_STEPS: usize = 25_000;
/// Elements of the array: 256 MiB, more than the third-level cache that one core can fill.
const ELEMENTS: usize = 64 << 20;
/// Elements per task: 1 MiB.
const PIECE: usize = 256 << 10;

/// What bounds an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Multiplications and additions of f32 per second.
    F32,
    /// Products of bf16 with sums in f32 per second, two flops each: those of the level's unit, and of
    /// f32 where it has none, which is what weights in bf16 get there.
    Bf16,
    /// Products of 8 bits with sums in 32 per second, two operations each: those of the unit of
    /// [`Cpu::int8`](crate::Cpu::int8), and flops of f32 where there is none, since plain loops have no
    /// limit of their own.
    Int8,
    /// Bytes read from memory per second.
    Memory,
}

impl Limit {
    /// What all threads together do per second: the best of as many samples as a machine that others
    /// use too may need, a twentieth of a second of them.
    pub fn per_second(self, exec: &Exec) -> f64 {
        let samples = if self == Self::Memory { 5 } else { 40 };
        self.per_second_now(exec, samples)
    }

    /// The best of some samples, each a millisecond or two, of memory ten: what can be reached at this
    /// moment, which is to be compared with what is reached right before or after.
    pub fn per_second_now(self, exec: &Exec, samples: usize) -> f64 {
        let num_threads = exec.threads.num_threads();
        let per_task = |amount: usize, task: &(dyn Fn() + Sync)| {
            let seconds = best(samples, || exec.threads.run(num_threads, |_| task()));
            (num_threads * amount) as f64 / seconds
        };
        match self {
            Self::Bf16 if let Some(unit) = exec.cpu.bf16 => {
                let amount = UNIT_STEPS * bf16::flops_per_step(unit);
                per_task(amount, &|| bf16::chains(unit, UNIT_STEPS))
            }
            Self::Int8 if let Some(unit) = exec.cpu.int8 => {
                let amount = UNIT_STEPS * int8::operations_per_step(unit);
                per_task(amount, &|| int8::chains(unit, UNIT_STEPS))
            }
            Self::F32 | Self::Bf16 | Self::Int8 => {
                let amount = STEPS * dispatch!(exec.cpu.level, simd => flops_per_step(simd));
                per_task(amount, &|| {
                    black_box(dispatch!(exec.cpu.level, simd => simd_chains(simd, STEPS)));
                })
            }
            Self::Memory => read_bytes_per_second(exec, samples),
        }
    }
}

fn read_bytes_per_second(exec: &Exec, samples: usize) -> f64 {
    // Zeros would all be one page of the system.
    let x = memory::filled(1.0f32, ELEMENTS);
    let seconds = best(samples, || {
        exec.threads.run(ELEMENTS.div_ceil(PIECE), |task| {
            let piece = &x[task * PIECE..ELEMENTS.min((task + 1) * PIECE)];
            black_box(dispatch!(exec.cpu.level, simd => simd_sum(simd, piece)));
        });
    });
    size_of_val(&x[..]) as f64 / seconds
}

/// Seconds of the fastest of `samples` calls.
fn best(samples: usize, mut f: impl FnMut()) -> f64 {
    let mut seconds = f64::INFINITY;
    for _ in 0..samples {
        let start = Instant::now();
        f();
        seconds = seconds.min(start.elapsed().as_secs_f64());
    }
    seconds
}

#[inline(always)]
fn flops_per_step<S: Simd>(_: S) -> usize {
    2 * CHAINS * S::f32s::LEN
}

/// `a = a x + y` again and again; all chains tend to 1, so no number is ever subnormal.
#[inline(always)]
fn simd_chains<S: Simd>(simd: S, steps: usize) -> f32 {
    let x = S::f32s::splat(simd, black_box(0.5));
    let y = S::f32s::splat(simd, black_box(0.5));
    // Different starts, or the chains would be one.
    let mut chains: [S::f32s; CHAINS] =
        std::array::from_fn(|i| S::f32s::splat(simd, black_box(i as f32)));
    for _ in 0..steps {
        for a in &mut chains {
            *a = a.mul_add(x, y);
        }
    }
    chains.into_iter().map(|a| a.reduce_sum()).sum()
}

/// The sum of `x`, in several chains, the elements beyond the last whole group left out.
#[inline(always)]
fn simd_sum<S: Simd>(simd: S, x: &[f32]) -> f32 {
    const VECTORS: usize = 8;
    let lanes = S::f32s::LEN;
    let mut sums = [S::f32s::splat(simd, 0.0); VECTORS];
    for group in x.chunks_exact(VECTORS * lanes) {
        for (sum, x) in sums.iter_mut().zip(group.chunks_exact(lanes)) {
            *sum += S::f32s::from_slice(simd, x);
        }
    }
    sums.into_iter().map(|sum| sum.reduce_sum()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::execs;

    /// The work is done at every level: chains end at their fixed point, sums are complete.
    #[test]
    fn every_level_does_the_work() {
        for exec in execs() {
            let end = dispatch!(exec.cpu.level, simd => simd_chains(simd, 100));
            let lanes = dispatch!(exec.cpu.level, simd => flops_per_step(simd)) / 2;
            assert_eq!(end, lanes as f32, "{exec:?}");
            let sum = dispatch!(exec.cpu.level, simd => simd_sum(simd, &[1.0; 1024]));
            assert_eq!(sum, 1024.0, "{exec:?}");
        }
    }
}
