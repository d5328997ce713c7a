//! Choosing the next token from logits.
//!
//! ```text
//! temperature -> top-k -> softmax -> top-p -> min-p -> draw
//! ```
//!
//! The order is that of the transformers library. Everything is f32 except the sums; the
//! vocabulary is sorted only if a filter needs it.

use crate::Rng;

/// How to choose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the best.
    pub temperature: f32,
    /// Only the best so many; 0 for all.
    pub top_k: usize,
    /// Only the best that together have this probability; 1 for all.
    pub top_p: f32,
    /// Only those with this share of the best one's probability; 0 for all.
    pub min_p: f32,
}

impl Sampling {
    /// Always the best.
    pub const GREEDY: Self = Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0 };
}

/// The id with the highest logit, the lowest id among equals; a NaN never wins against a number.
///
/// # Panics
///
/// If there are no logits.
#[track_caller]
pub fn argmax(logits: &[f32]) -> u32 {
    assert!(!logits.is_empty(), "no logits");
    let mut best = 0;
    for (id, &x) in logits.iter().enumerate() {
        if x > logits[best] || (logits[best].is_nan() && !x.is_nan()) {
            best = id;
        }
    }
    best as u32
}

/// An id drawn from `logits: [vocab]`; logits of minus infinity or NaN are never drawn.
///
/// # Panics
///
/// If there are no logits.
#[track_caller]
pub fn sample(logits: &[f32], sampling: &Sampling, rng: &mut Rng) -> u32 {
    let best = argmax(logits);
    let max = logits[best as usize];
    if sampling.temperature <= 0.0 || !max.is_finite() {
        return best;
    }
    let weight = |x: f32| f64::from((x - max) / sampling.temperature).exp();
    let mut kept: Vec<(u32, f64)> = (0..).zip(logits.iter().map(|&x| weight(x))).collect();
    kept.retain(|&(_, weight)| weight > 0.0); // also drops NaN
    if sampling.top_k > 0 || sampling.top_p < 1.0 {
        // A stable sort: among equals the lowest id first.
        kept.sort_by(|a, b| b.1.total_cmp(&a.1));
        if sampling.top_k > 0 {
            kept.truncate(sampling.top_k);
        }
        let total: f64 = kept.iter().map(|k| k.1).sum();
        let mut sum = 0.0;
        let enough = kept.iter().position(|&(_, weight)| {
            sum += weight;
            sum >= f64::from(sampling.top_p) * total
        });
        kept.truncate(enough.map_or(kept.len(), |last| last + 1));
    }
    // The best has weight 1.
    kept.retain(|&(_, weight)| weight >= f64::from(sampling.min_p));
    let total: f64 = kept.iter().map(|k| k.1).sum();
    let mut left = f64::from(rng.unit()) * total;
    for &(id, weight) in &kept {
        left -= weight;
        if left < 0.0 {
            return id;
        }
    }
    kept.last().map_or(best, |&(id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Sampling = Sampling { temperature: 1.0, ..Sampling::GREEDY };

    fn shares(logits: &[f32], sampling: Sampling) -> Vec<f64> {
        let mut counts = vec![0.0; logits.len()];
        let mut rng = Rng(11);
        for _ in 0..20_000 {
            counts[sample(logits, &sampling, &mut rng) as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    #[track_caller]
    fn assert_shares(want: &[f64], got: &[f64]) {
        // Five standard deviations of a share of one half.
        let near = want.iter().zip(got).all(|(w, g)| (w - g).abs() < 0.018);
        assert!(near, "expected {want:?}, found {got:?}");
    }

    #[test]
    fn greedy_takes_the_lowest_of_the_best() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(argmax(&[f32::NAN, -1.0, f32::NAN]), 1);
        assert_eq!(argmax(&[f32::NAN, f32::NAN]), 0);
        assert_eq!(sample(&[0.0, 2.0, 1.0], &Sampling::GREEDY, &mut Rng(1)), 1);
    }

    #[test]
    fn shares_follow_the_probabilities() {
        let logits = [4.0f32.ln(), 3.0f32.ln(), 2.0f32.ln(), 1.0f32.ln(), f32::NEG_INFINITY];
        assert_shares(&[0.4, 0.3, 0.2, 0.1, 0.0], &shares(&logits, ALL));
        let hot = Sampling { temperature: 0.5, ..ALL };
        let squares = [16.0 / 30.0, 9.0 / 30.0, 4.0 / 30.0, 1.0 / 30.0, 0.0];
        assert_shares(&squares, &shares(&logits, hot));
        let two = Sampling { top_k: 2, ..ALL };
        assert_shares(&[4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0, 0.0], &shares(&logits, two));
        let mass = Sampling { top_p: 0.69, ..ALL };
        assert_shares(&[4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0, 0.0], &shares(&logits, mass));
        let floor = Sampling { min_p: 0.45, ..ALL };
        assert_shares(&[4.0 / 9.0, 3.0 / 9.0, 2.0 / 9.0, 0.0, 0.0], &shares(&logits, floor));
    }

    #[test]
    fn nothing_finite_still_gives_an_id() {
        let sampling = Sampling { top_p: 0.0, min_p: 1.0, ..ALL };
        assert_eq!(sample(&[f32::NAN, f32::NAN], &sampling, &mut Rng(1)), 0);
        assert_eq!(sample(&[f32::NEG_INFINITY; 3], &sampling, &mut Rng(1)), 0);
        assert_eq!(sample(&[1.0, f32::NAN, 2.0], &sampling, &mut Rng(1)), 2);
    }
}
