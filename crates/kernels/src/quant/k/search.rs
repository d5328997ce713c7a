//! Blocks of Q4_K for given numbers.
//!
//! ```text
//! minimize  sum_j sum_i (d s_j q_ij - m t_j - x_ij)^2      q in 0..16; s, t in 0..64; d, m f16
//! ```
//!
//! What a product loses is in proportion to this sum if nothing is known of its other operand, so
//! all numbers have the same weight. The sum is made small by turns, each of which keeps what it
//! had if it finds nothing better:
//!
//! 1. for each run alone, several widths of a step, the numbers rounded to it, and for these the
//!    scale and the offset with the least squares; then rounding and fitting once more;
//! 2. `d` with whole `s_j`, and `m` with whole `t_j`, near those scales and offsets;
//! 3. `s_j` and its neighbours, each with the best `t_j` and numbers rounded anew;
//! 4. `d` and `m` with the least squares for all that, and 3 again.
//!
//! Sums are of eight lanes in a fixed order and nothing is fused, so all machines write the same.

use crate::half::{f16_to_f32, f32_to_f16};
use std::array::from_fn;

type Run = [f32; 32];

const LANES: usize = 8;
/// The widths of a step that are tried are the range of a run divided by these: with less than 15
/// not all `q` are used, with more the ends are cut off. Sixteen of them made the error on normal
/// numbers 0.2 % smaller, six 0.6 % larger, each at 2 ns per number (`docs/gguf.md` has the machine).
const STEPS: [f32; 10] = [12.0, 12.75, 13.25, 13.75, 14.25, 14.75, 15.0, 15.5, 16.0, 16.75];

/// A run's scale and offset, not rounded yet.
#[derive(Clone, Copy, Debug)]
struct Fit {
    scale: f32,
    offset: f32,
    error: f32,
    /// The sum of `q^2`: what an error of the scale costs.
    squares: f32,
}

/// A block without its `q`, which are the nearest ones.
#[derive(Clone, Copy, Debug)]
struct Choice {
    d: f32,
    m: f32,
    s: [u8; 8],
    t: [u8; 8],
    error: f32,
}

/// Writes the block; `None` if its numbers, which are finite, need scales that are no f16.
pub(in crate::quant) fn quantize_q4(x: &[f32], largest: f32, block: &mut [u8]) -> Option<()> {
    let runs: [&Run; 8] = from_fn(|j| x[j * 32..].first_chunk().expect("a block has 8 runs"));
    // Squares of more would not be finite.
    if largest.abs() > f16_to_f32(0x7BFF) * 63.0 * 15.0 {
        return None;
    }
    let fits = runs.map(fit);
    let (d, s) = share(fits.map(|fit| fit.scale), fits.map(|fit| fit.squares))?;
    let (m, t) = share(fits.map(|fit| fit.offset), [32.0; 8])?;
    let found = Choice { d, m, s, t, error: 0.0 }.nearest(runs);
    // A second time gained less than 0.1 % of the error.
    let again = found.refitted(runs).map(|choice| choice.nearest(runs));
    let better = again.filter(|again| again.error < found.error);
    better.unwrap_or(found).write(runs, block);
    Some(())
}

/// `q` for a scale and an offset: rounded to even at ties.
#[inline(always)]
fn round(x: &Run, scale: f32, offset: f32) -> Run {
    /// Adding and subtracting it rounds numbers below 2^22.
    const WHOLE: f32 = 1.5 * (1 << 23) as f32;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let mut q = [0.0; 32];
    for (q, x) in q.iter_mut().zip(x) {
        let steps = (x + offset) * inverse;
        let steps = if steps > 0.0 { steps } else { 0.0 };
        let steps = if steps < 15.0 { steps } else { 15.0 };
        *q = steps + WHOLE - WHOLE;
    }
    q
}

/// The sum of the terms of a run.
#[inline(always)]
fn sum(mut term: impl FnMut(usize) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    for start in (0..32).step_by(LANES) {
        for (l, lane) in lanes.iter_mut().enumerate() {
            *lane += term(start + l);
        }
    }
    let half: [f32; 4] = from_fn(|l| lanes[l] + lanes[l + 4]);
    (half[0] + half[2]) + (half[1] + half[3])
}

/// The squared error of a run.
#[inline(always)]
fn error_of(x: &Run, q: &Run, scale: f32, offset: f32) -> f32 {
    sum(|i| {
        let off = scale * q[i] - offset - x[i];
        off * off
    })
}

/// The best of several scales and offsets of a run.
fn fit(x: &Run) -> Fit {
    let low = x.iter().fold(0f32, |low, &x| if x < low { x } else { low });
    let high = x.iter().fold(f32::MIN, |high, &x| if x > high { x } else { high });
    let range = high - low;
    if range <= 0.0 {
        return Fit { scale: 0.0, offset: -low, error: 0.0, squares: 0.0 };
    }
    let y: Run = from_fn(|i| x[i] - low);
    let run = Above { y: &y, low, sum: sum(|i| y[i]), squares: sum(|i| y[i] * y[i]) };
    let mut best = Fit { scale: range / 15.0, offset: -low, error: f32::INFINITY, squares: 0.0 };
    for steps in STEPS {
        run.least_squares(range / steps, -low, &mut best);
    }
    run.least_squares(best.scale, best.offset, &mut best);
    best
}

/// A run above its least number.
struct Above<'a> {
    y: &'a Run,
    /// At most 0.
    low: f32,
    sum: f32,
    squares: f32,
}

impl Above<'_> {
    /// Rounds to a scale and an offset, and replaces `best` with those that fit the rounded numbers
    /// if they are better.
    #[inline(always)]
    fn least_squares(&self, scale: f32, offset: f32, best: &mut Fit) {
        let q = round(self.y, scale, offset + self.low);
        let (linear, squares) = (sum(|i| q[i]), sum(|i| q[i] * q[i]));
        let product = sum(|i| q[i] * self.y[i]);
        let spread = 32.0 * squares - linear * linear;
        // Of y, where that of x is larger by -low.
        let (mut scale, mut offset) = (0.0, self.low - 1.0);
        if spread > 0.0 {
            scale = (32.0 * product - linear * self.sum) / spread;
            offset = (scale * linear - self.sum) / 32.0;
        }
        // Where the sums are least, the error is a right angle to what is fitted.
        let mut error = self.squares - scale * product + offset * self.sum;
        if offset < self.low {
            // No offset of x, so its y has this one.
            offset = self.low;
            scale = if squares > 0.0 { (product + self.low * linear) / squares } else { 0.0 };
            error = error_of(self.y, &q, scale, offset);
        }
        if error < best.error {
            *best = Fit { scale, offset: offset - self.low, error, squares };
        }
    }
}

/// An f16 and whole multiples of it near eight numbers that are not negative, an error of each of
/// which costs its weight; `None` if it would not be finite.
fn share(values: [f32; 8], weights: [f32; 8]) -> Option<(f32, [u8; 8])> {
    let largest = values.into_iter().fold(0f32, f32::max);
    if largest <= 0.0 {
        return Some((0.0, [0; 8]));
    }
    let mut best = (f32::INFINITY, 0.0);
    for most in 32..64u8 {
        // The least f16 stands for those that would be 0.
        let unit = f16_to_f32(f32_to_f16(largest / f32::from(most)).max(1));
        if !unit.is_finite() {
            continue;
        }
        let cost = |(&value, weight): (&f32, f32)| {
            let off = f32::from(multiple(value, unit)) * unit - value;
            weight * off * off
        };
        let cost = values.iter().zip(weights).map(cost).sum();
        if cost < best.0 {
            best = (cost, unit);
        }
    }
    let (_, unit) = best;
    (unit > 0.0).then(|| (unit, values.map(|value| multiple(value, unit))))
}

/// The nearest multiple of `unit` to `value`, neither of them negative.
fn multiple(value: f32, unit: f32) -> u8 {
    (value / unit + 0.5).min(63.0) as u8
}

impl Choice {
    fn scale(&self, j: usize) -> f32 {
        self.d * f32::from(self.s[j])
    }

    fn offset(&self, j: usize) -> f32 {
        self.m * f32::from(self.t[j])
    }

    /// With the best of each run's scale and its neighbours, and the best offset with it.
    fn nearest(mut self, runs: [&Run; 8]) -> Self {
        self.error = 0.0;
        for (j, x) in runs.into_iter().enumerate() {
            let all = sum(|i| x[i]);
            let mut best = (f32::INFINITY, self.s[j], self.t[j]);
            let mut consider = |s: u8, t: u8| {
                let (scale, offset) = (self.d * f32::from(s), self.m * f32::from(t));
                let q = round(x, scale, offset);
                let error = error_of(x, &q, scale, offset);
                if error < best.0 {
                    best = (error, s, t);
                }
                q
            };
            for s in self.s[j].saturating_sub(1)..=(self.s[j] + 1).min(63) {
                let q = consider(s, self.t[j]);
                if self.m > 0.0 {
                    let offset = (self.d * f32::from(s) * sum(|i| q[i]) - all) / 32.0;
                    let t = multiple(offset.max(0.0), self.m);
                    if t != self.t[j] {
                        consider(s, t);
                    }
                }
            }
            let (error, s, t) = best;
            (self.s[j], self.t[j]) = (s, t);
            self.error += error;
        }
        self
    }

    /// With `d` and `m` that fit the rest best; `None` if they are no f16 or there is no one best.
    fn refitted(self, runs: [&Run; 8]) -> Option<Self> {
        // Of a = s q, b = t and x.
        let (mut aa, mut ab, mut bb, mut ax, mut bx) = (0f64, 0f64, 0f64, 0f64, 0f64);
        for (j, x) in runs.into_iter().enumerate() {
            let q = round(x, self.scale(j), self.offset(j));
            let (s, t) = (f64::from(self.s[j]), f64::from(self.t[j]));
            aa += s * s * f64::from(sum(|i| q[i] * q[i]));
            ab += s * t * f64::from(sum(|i| q[i]));
            bb += t * t * 32.0;
            ax += s * f64::from(sum(|i| q[i] * x[i]));
            bx += t * f64::from(sum(|i| x[i]));
        }
        let spread = aa * bb - ab * ab;
        let (d, m) = if spread > 1e-9 * aa * bb {
            ((ax * bb - bx * ab) / spread, (ax * ab - bx * aa) / spread)
        } else if bb == 0.0 && aa > 0.0 {
            (ax / aa, f64::from(self.m))
        } else {
            return None;
        };
        let [d, m] = [d, m].map(|x| f16_to_f32(f32_to_f16(x as f32)));
        let fits = |x: f32| x.is_finite() && x >= 0.0;
        (fits(d) && fits(m)).then_some(Self { d, m, ..self })
    }

    fn write(&self, runs: [&Run; 8], block: &mut [u8]) {
        let (head, low) = block.split_at_mut(16);
        head[..2].copy_from_slice(&f32_to_f16(self.d).to_le_bytes());
        head[2..4].copy_from_slice(&f32_to_f16(self.m).to_le_bytes());
        super::pack_scales(&self.s, &self.t, &mut head[4..]);
        for (pair, bytes) in low.chunks_exact_mut(32).enumerate() {
            let [even, odd] =
                [2 * pair, 2 * pair + 1].map(|j| round(runs[j], self.scale(j), self.offset(j)));
            for (l, byte) in bytes.iter_mut().enumerate() {
                *byte = even[l] as u8 | (odd[l] as u8) << 4;
            }
        }
    }
}
