//! From logits to a token: what is left out, and the draw among the rest.

use super::{Sampling, Unsampled, finite_best};
use std::cmp::Ordering;

/// A token and its weight: its probability over that of the best.
type Candidate = (u32, f64);

/// A token by `logits: [vocab]`.
pub(super) fn pick(logits: &[f32], sampling: &Sampling, unit: f64) -> Result<u32, Unsampled> {
    let best = finite_best(logits)?;
    if sampling.temperature <= 0.0 {
        return Ok(best);
    }
    let max = f64::from(logits[best as usize]);
    let temperature = f64::from(sampling.temperature);
    let weight = |x: f32| ((f64::from(x) - max) / temperature).exp();
    let mut kept: Vec<Candidate> = (0..).zip(logits.iter().map(|&x| weight(x))).collect();
    kept.retain(|&(_, weight)| weight > 0.0);
    if sampling.top_k > 0 && sampling.top_k < kept.len() {
        kept.select_nth_unstable_by(sampling.top_k - 1, best_first);
        kept.truncate(sampling.top_k);
    }
    if sampling.top_p < 1.0 {
        top_p(&mut kept, f64::from(sampling.top_p));
    }
    // The best has weight 1.
    kept.retain(|&(_, weight)| weight >= f64::from(sampling.min_p));
    // In one order, whatever the filters did.
    kept.sort_unstable_by_key(|&(id, _)| id);
    Ok(draw(&kept, unit).unwrap_or(best))
}

fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// Leaves the fewest best ones that together have the share `p`, and one at least.
fn top_p(kept: &mut Vec<Candidate>, p: f64) {
    let total: f64 = kept.iter().map(|k| k.1).sum();
    // Few are nearly always enough, so few are sorted: those within ever wider reach of the best.
    for reach in [1e-2, 1e-4] {
        let near = kept.iter().map(|k| k.1).filter(|&weight| weight >= reach);
        // A little more than enough, as sums in another order differ in their last bits.
        if near.sum::<f64>() > p * total * (1.0 + 1e-9) {
            kept.retain(|&(_, weight)| weight >= reach);
            break;
        }
    }
    kept.sort_unstable_by(best_first);
    let mut sum = 0.0;
    let enough = kept.iter().position(|&(_, weight)| {
        sum += weight;
        sum >= p * total
    });
    kept.truncate(enough.map_or(kept.len(), |last| last + 1));
}

/// One of them by their weights.
fn draw(kept: &[Candidate], unit: f64) -> Option<u32> {
    let total: f64 = kept.iter().map(|k| k.1).sum();
    let mut left = unit * total;
    for &(id, weight) in kept {
        left -= weight;
        if left < 0.0 {
            return Some(id);
        }
    }
    // Rounding may leave a rest.
    kept.last().map(|k| k.0)
}
