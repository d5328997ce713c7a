//! How far one model's guesses are from another's.
//!
//! ```text
//! perplexity = exp(mean of -ln q(token | those before))
//! KL         = mean of sum over v of p(v) ln(p(v) / q(v))      p: what is compared with, q: what is
//! top-1      = share of positions where p and q have their largest at the same token
//! ```

/// Sums over positions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Agreement {
    loss: f64,
    kl: f64,
    same: usize,
    positions: usize,
}

impl Agreement {
    /// Counts one position: logits `[vocab_size]` of both, and the token that follows.
    pub(super) fn add(&mut self, q: &[f32], p: &[f32], next: u32) {
        let (q, p) = (log_softmax(q), log_softmax(p));
        self.loss -= q[next as usize];
        self.kl += p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
        self.same += usize::from(largest(&p) == largest(&q));
        self.positions += 1;
    }

    pub(super) fn positions(&self) -> usize {
        self.positions
    }

    pub(super) fn perplexity(&self) -> f64 {
        (self.loss / self.positions as f64).exp()
    }

    pub(super) fn kl(&self) -> f64 {
        self.kl / self.positions as f64
    }

    pub(super) fn same_top_1(&self) -> f64 {
        self.same as f64 / self.positions as f64
    }
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|x| (f64::from(*x) - most).exp()).sum();
    logits.iter().map(|x| f64::from(*x) - most - sum.ln()).collect()
}

fn largest(x: &[f64]) -> Option<usize> {
    (0..x.len()).max_by(|&a, &b| x[a].total_cmp(&x[b]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one() {
        let p = log_softmax(&[1.0, 2.0, -1000.0, 88.0, 88.0]);
        assert!((p.iter().map(|p| p.exp()).sum::<f64>() - 1.0).abs() < 1e-12);
        assert!((p[3] - 0.5f64.ln()).abs() < 1e-9, "{p:?}");
    }

    /// A coin that is fair, and one that is not: numbers from the definition.
    #[test]
    fn sums_are_those_of_the_definition() {
        let mut sums = Agreement::default();
        let unfair = [0.2f32.ln(), 0.8f32.ln()];
        sums.add(&unfair, &[0.0, 0.0], 1);
        let kl = 0.5 * (0.5f64 / 0.2).ln() + 0.5 * (0.5f64 / 0.8).ln();
        assert!((sums.kl() - kl).abs() < 1e-6, "{sums:?}");
        assert!((sums.perplexity() - 1.0 / 0.8).abs() < 1e-6, "{sums:?}");
        sums.add(&[1.0, 0.0], &unfair, 0);
        assert_eq!((sums.same_top_1(), sums.positions()), (0.5, 2));
    }
}
