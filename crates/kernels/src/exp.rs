//! exp on vectors, for softmax, SiLU and the decays of lightning attention.
//!
//! ```text
//! exp(x) = 2^n exp(r)      n = round(x / ln 2),  r = x - n ln 2,  |r| <= 0.35
//! ```
//!
//! `exp(r)` is its Taylor polynomial of degree 7 (remainder below 4e-9 of the value), so the error
//! is that of rounding: at most 2 units in the last place over the whole range (tested).

use crate::Cpu;
use fearless_simd::{dispatch, prelude::*};

/// Below this the result is 0; above [`MAX`] it is `exp(MAX)`: never an infinity, never subnormal.
const MIN: f32 = -87.3;
const MAX: f32 = 88.3;

/// exp of each lane: 0 below -87.3, and exp(88.3) above 88.3.
#[inline(always)]
pub(crate) fn simd_exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    // ln 2 in two parts: the first has few enough bits for `n * LN_2_HIGH` to be exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let splat = |x: f32| S::f32s::splat(simd, x);
    let tiny = x.simd_lt(splat(MIN));
    let x = x.max(splat(MIN)).min(splat(MAX));
    let n = (x * splat(std::f32::consts::LOG2_E)).round_ties_even();
    let r = n.mul_add(splat(-LN_2_HIGH), x);
    let r = n.mul_add(splat(-LN_2_LOW), r);
    let mut y = splat(1.0 / 5040.0);
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        y = y.mul_add(r, splat(c));
    }
    // 2^n from its exponent bits; n is in -126..=127.
    let power = (S::i32s::truncate_from(n) + S::i32s::splat(simd, 127)) << 23;
    let power: S::f32s = power.bitcast();
    tiny.select(splat(0.0), y * power)
}

/// `x[i] = exp(scale * x[i] - shift)`, and the sum over all `i`, in the order of the lanes.
#[inline(always)]
pub(crate) fn simd_exp_sum<S: Simd>(simd: S, x: &mut [f32], scale: f32, shift: f32) -> f32 {
    let lanes = S::f32s::LEN;
    let (scale, shift) = (S::f32s::splat(simd, scale), S::f32s::splat(simd, -shift));
    let mut sum = S::f32s::splat(simd, 0.0);
    let mut chunks = x.chunks_exact_mut(lanes);
    for chunk in &mut chunks {
        let y = simd_exp(simd, S::f32s::from_slice(simd, chunk).mul_add(scale, shift));
        y.store_slice(chunk);
        sum += y;
    }
    let tail = chunks.into_remainder();
    if !tail.is_empty() {
        let mut padded = [f32::NEG_INFINITY; 16];
        padded[..tail.len()].copy_from_slice(tail);
        let y = S::f32s::from_slice(simd, &padded[..lanes]).mul_add(scale, shift);
        let y = simd_exp(simd, y);
        y.store_slice(&mut padded[..lanes]);
        tail.copy_from_slice(&padded[..tail.len()]);
        sum += y;
    }
    sum.reduce_sum()
}

/// `x[i] = exp(x[i])`, 0 below -87.3, and exp(88.3) above 88.3.
pub fn exp(cpu: Cpu, x: &mut [f32]) {
    dispatch!(cpu.level, simd => simd_exp_sum(simd, x, 1.0, 0.0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_within_two_units_in_the_last_place() {
        let inputs: Vec<f32> = (-87_300..88_300).map(|i| i as f32 / 1000.0).collect();
        for cpu in Cpu::variants() {
            let mut got = inputs.clone();
            exp(cpu, &mut got);
            for (x, got) in inputs.iter().zip(got) {
                let want = f64::from(*x).exp();
                let error = ((f64::from(got) - want) / want).abs();
                assert!(error <= 2.4e-7, "exp({x}) = {got}, expected {want}, {cpu}");
            }
        }
    }

    #[test]
    fn the_ends_are_finite_and_tails_are_done() {
        for cpu in Cpu::variants() {
            for len in [0, 1, 7, 8, 9, 17] {
                let mut x = vec![f32::NEG_INFINITY; len];
                exp(cpu, &mut x);
                assert_eq!(x, vec![0.0; len]);
                let mut x = vec![1e30; len];
                exp(cpu, &mut x);
                assert!(x.iter().all(|x| x.is_finite() && *x > 1e38), "{x:?}");
            }
        }
    }
}
