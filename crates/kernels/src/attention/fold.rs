//! Results over runs of keys, folded in the order of the keys: the same operations whether a task
//! goes on from run to run or results of several tasks are put together.

use crate::Cpu;
use fearless_simd::{Simd, dispatch};

/// What is known of one row and head after some runs.
pub(super) struct Folded<'a> {
    /// Maximum of the scores, and sum of the weights relative to it.
    pub(super) stats: &'a mut (f32, f32),
    /// `[head_dim]`, values times weights.
    pub(super) o: &'a mut [f32],
}

/// What a row starts from: it has seen no key.
pub(super) const NOTHING: (f32, f32) = (f32::NEG_INFINITY, 0.0);

impl Folded<'_> {
    /// Adds the next run.
    pub(super) fn add(&mut self, cpu: Cpu, stats: (f32, f32), o: &[f32]) {
        // Nothing of this run is visible.
        if stats.0 == f32::NEG_INFINITY {
            return;
        }
        let (max, sum) = self.stats;
        let new = max.max(stats.0);
        let factors = [(*max - new).exp(), (stats.0 - new).exp()];
        *sum = *sum * factors[0] + stats.1 * factors[1];
        *max = new;
        dispatch!(cpu.level, simd => simd_add(simd, self.o, o, factors));
    }

    /// Writes the result and returns the logarithm of the sum of exponentials.
    pub(super) fn finish(&self, out: &mut [f32]) -> f32 {
        let (max, sum) = *self.stats;
        out.iter_mut().zip(&*self.o).for_each(|(out, o)| *out = o / sum);
        max + sum.ln()
    }
}

#[inline(always)]
fn simd_add<S: Simd>(_: S, total: &mut [f32], o: &[f32], [old, own]: [f32; 2]) {
    for (total, o) in total.iter_mut().zip(o) {
        *total = *total * old + o * own;
    }
}
