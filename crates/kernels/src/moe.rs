//! Mixture of experts: the router, and the grouping of tokens by expert.
//!
//! ```text
//! p = softmax(logits)          chosen = the k largest of p, the lowest index among equals
//! weight_e = p_e / sum of p over chosen                          (= softmax over the chosen logits)
//! out = sum over chosen of weight_e expert_e(x)
//! balance = E sum_e f_e mean(p_e)      f_e: share of the assignments that expert e gets; >= 1
//! ```
//!
//! Each pair of a token and one of its experts is a slot, `token * k + i`. Slots are sorted by
//! expert, so that every expert multiplies one run of rows; a token's results are summed in the
//! order of its slots, whatever the grouping. Balance loss: arXiv:2101.03961, equation 4.

use crate::Exec;

/// Which experts each token goes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Routing {
    /// Experts per token.
    pub k: usize,
    /// `[tokens, k]`, by falling probability.
    pub experts: Vec<u32>,
    /// `[tokens, k]`, each row sums to 1.
    pub weights: Vec<f32>,
}

/// Picks the `k` best experts of each row of `logits: [tokens, num_experts]`.
///
/// # Panics
///
/// If `k` is 0 or above `num_experts`.
#[track_caller]
pub fn route(logits: &[f32], num_experts: usize, k: usize) -> Routing {
    assert!(k > 0 && k <= num_experts, "{k} of {num_experts} experts");
    let tokens = logits.len() / num_experts;
    let mut experts = Vec::with_capacity(tokens * k);
    let mut weights = Vec::with_capacity(tokens * k);
    for row in logits.chunks_exact(num_experts) {
        let first = experts.len();
        for _ in 0..k {
            let free = (0..num_experts as u32).filter(|e| !experts[first..].contains(e));
            // A NaN never wins against a number; `reduce` keeps the first among equals.
            let best = free.reduce(|a, b| {
                let (x, y) = (row[a as usize], row[b as usize]);
                if y > x || (x.is_nan() && !y.is_nan()) { b } else { a }
            });
            experts.extend(best);
        }
        let max = row[experts[first] as usize];
        let exps = experts[first..].iter().map(|&e| (row[e as usize] - max).exp());
        weights.extend(exps);
        let sum: f32 = weights[first..].iter().sum();
        weights[first..].iter_mut().for_each(|w| *w /= sum);
    }
    Routing { k, experts, weights }
}

/// Adds to `grad_logits: [tokens, num_experts]` what `grad_weights: [tokens, k]` means for it.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn route_backward(
    routing: &Routing,
    num_experts: usize,
    grad_weights: &[f32],
    grad_logits: &mut [f32],
) {
    let k = routing.k;
    assert_eq!(grad_weights.len(), routing.weights.len(), "grad_weights must be [tokens, k]");
    assert_eq!(grad_logits.len() * k, grad_weights.len() * num_experts, "grad_logits");
    for (((grad_logits, experts), weights), grad) in grad_logits
        .chunks_exact_mut(num_experts)
        .zip(routing.experts.chunks_exact(k))
        .zip(routing.weights.chunks_exact(k))
        .zip(grad_weights.chunks_exact(k))
    {
        let mean: f32 = weights.iter().zip(grad).map(|(w, g)| w * g).sum();
        for ((&e, w), g) in experts.iter().zip(weights).zip(grad) {
            grad_logits[e as usize] += w * (g - mean);
        }
    }
}

/// The balance loss of one batch, and its gradient `[tokens, num_experts]`.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn balance_loss(logits: &[f32], num_experts: usize, routing: &Routing) -> (f32, Vec<f32>) {
    let tokens = logits.len() / num_experts;
    assert_eq!(routing.experts.len(), tokens * routing.k, "routing of other logits");
    let mut share = vec![0.0f64; num_experts];
    let slots = routing.experts.len().max(1) as f64;
    routing.experts.iter().for_each(|&e| share[e as usize] += 1.0 / slots);
    let factor = num_experts as f64 / tokens.max(1) as f64;
    let mut loss = 0.0;
    let mut grad = Vec::with_capacity(logits.len());
    for row in logits.chunks_exact(num_experts) {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut p: Vec<f64> = row.iter().map(|&x| f64::from(x - max).exp()).collect();
        let sum: f64 = p.iter().sum();
        p.iter_mut().for_each(|p| *p /= sum);
        let mean: f64 = p.iter().zip(&share).map(|(p, f)| p * f).sum();
        loss += factor * mean;
        grad.extend(p.iter().zip(&share).map(|(p, f)| (factor * p * (f - mean)) as f32));
    }
    (loss as f32, grad)
}

/// Slots sorted by expert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    k: usize,
    /// Slot at each place.
    slots: Vec<u32>,
    /// Place of each slot.
    places: Vec<u32>,
    offsets: Vec<usize>,
}

impl Groups {
    /// Sorts the slots of `routing`; those of one expert stay in order.
    pub fn new(routing: &Routing, num_experts: usize) -> Self {
        let mut offsets = vec![0; num_experts + 1];
        routing.experts.iter().for_each(|&e| offsets[e as usize + 1] += 1);
        for e in 0..num_experts {
            offsets[e + 1] += offsets[e];
        }
        let mut next = offsets.clone();
        let mut slots = vec![0; routing.experts.len()];
        let mut places = vec![0; routing.experts.len()];
        for (slot, &e) in routing.experts.iter().enumerate() {
            let place = next[e as usize];
            next[e as usize] += 1;
            slots[place] = slot as u32;
            places[slot] = place as u32;
        }
        Self { k: routing.k, slots, places, offsets }
    }

    /// Places of the slots of `expert`.
    pub fn range(&self, expert: usize) -> std::ops::Range<usize> {
        self.offsets[expert]..self.offsets[expert + 1]
    }

    /// Number of slots.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Copies each slot's token, `x: [tokens, dim]`, to the slot's place in `out: [slots, dim]`.
    ///
    /// # Panics
    ///
    /// If lengths disagree.
    #[track_caller]
    pub fn gather(&self, exec: &Exec, x: &[f32], dim: usize, out: &mut [f32]) {
        assert_eq!((x.len() * self.k, out.len()), (self.len() * dim, self.len() * dim), "gather");
        let rows = exec.threads.rows_per_task(self.len(), 64);
        exec.threads.for_each_chunk(out, rows * dim, |task, out| {
            for (slot, out) in self.slots[task * rows..].iter().zip(out.chunks_exact_mut(dim)) {
                out.copy_from_slice(&x[*slot as usize / self.k * dim..][..dim]);
            }
        });
    }

    /// Sums each token's results, `y: [slots, dim]` by place, into `out: [tokens, dim]`, times
    /// `weights: [tokens, k]` if given. Without weights this is also the derivative of
    /// [`gather`](Self::gather).
    ///
    /// # Panics
    ///
    /// If lengths disagree.
    #[track_caller]
    pub fn combine(
        &self,
        exec: &Exec,
        y: &[f32],
        weights: Option<&[f32]>,
        dim: usize,
        out: &mut [f32],
    ) {
        assert_eq!((y.len(), out.len() * self.k), (self.len() * dim, self.len() * dim), "combine");
        let rows = exec.threads.rows_per_task(self.len() / self.k, 64);
        exec.threads.for_each_chunk(out, rows * dim, |task, out| {
            for (i, out) in out.chunks_exact_mut(dim).enumerate() {
                let first = (task * rows + i) * self.k;
                for slot in first..first + self.k {
                    let y = &y[self.places[slot] as usize * dim..][..dim];
                    let weight = weights.map_or(1.0, |w| w[slot]);
                    if slot == first {
                        out.iter_mut().zip(y).for_each(|(out, y)| *out = weight * y);
                    } else {
                        out.iter_mut().zip(y).for_each(|(out, y)| *out += weight * y);
                    }
                }
            }
        });
    }

    /// The derivative of [`combine`](Self::combine) with weights: from `grad: [tokens, dim]` to
    /// `grad_y: [slots, dim]` and `grad_weights: [tokens, k]`, both written.
    ///
    /// # Panics
    ///
    /// If lengths disagree.
    #[expect(clippy::too_many_arguments, reason = "each is one array of the operation")]
    #[track_caller]
    pub fn combine_backward(
        &self,
        exec: &Exec,
        y: &[f32],
        weights: &[f32],
        dim: usize,
        grad: &[f32],
        grad_y: &mut [f32],
        grad_weights: &mut [f32],
    ) {
        assert_eq!((y.len(), grad_y.len()), (self.len() * dim, self.len() * dim), "y");
        assert_eq!(grad_weights.len(), self.len(), "grad_weights must be [tokens, k]");
        let rows = exec.threads.rows_per_task(self.len(), 64);
        exec.threads.for_each_chunk(grad_y, rows * dim, |task, grad_y| {
            for (slot, grad_y) in self.slots[task * rows..].iter().zip(grad_y.chunks_exact_mut(dim))
            {
                let slot = *slot as usize;
                let grad = &grad[slot / self.k * dim..][..dim];
                grad_y.iter_mut().zip(grad).for_each(|(gy, g)| *gy = weights[slot] * g);
            }
        });
        exec.threads.for_each_chunk(grad_weights, rows, |task, grad_weights| {
            for (i, grad_weight) in grad_weights.iter_mut().enumerate() {
                let slot = task * rows + i;
                let y = &y[self.places[slot] as usize * dim..][..dim];
                let grad = &grad[slot / self.k * dim..][..dim];
                *grad_weight = y.iter().zip(grad).map(|(y, g)| y * g).sum();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::testing::{assert_close, assert_gradient, execs, random};

    #[test]
    fn the_best_are_chosen_and_the_lowest_index_among_equals() {
        let routing = route(&[0.0, 2.0, 2.0, 1.0, 5.0, 5.0, 5.0, 5.0], 4, 2);
        assert_eq!(routing.experts, [1, 2, 0, 1]);
        assert_eq!(routing.weights, [0.5; 4]);
        let nan = f32::NAN;
        assert_eq!(route(&[nan, 1.0, 3.0], 3, 2).experts, [2, 1]);
        assert_eq!(route(&[nan; 3], 3, 3).experts, [0, 1, 2]);
        assert_eq!(route(&[], 3, 1).experts, []);
    }

    /// Renormalized top-k of the softmax over all experts, as checkpoints' own code writes it.
    fn weights_reference(logits: &[f64], experts: &[u32]) -> Vec<f64> {
        let all: f64 = logits.iter().map(|x| x.exp()).sum();
        let p = |e: &u32| logits[*e as usize].exp() / all;
        let sum: f64 = experts.iter().map(p).sum();
        experts.iter().map(|e| p(e) / sum).collect()
    }

    #[test]
    fn weights_and_their_gradient() {
        let (tokens, num_experts, k) = (5, 7, 3);
        let mut rng = Rng(2);
        let logits = random(&mut rng, tokens * num_experts);
        let routing = route(&logits, num_experts, k);
        let rows = |logits: &[f64]| -> Vec<f64> {
            logits
                .chunks_exact(num_experts)
                .zip(routing.experts.chunks_exact(k))
                .flat_map(|(row, experts)| weights_reference(row, experts))
                .collect()
        };
        let wide: Vec<f64> = logits.iter().map(|&x| f64::from(x)).collect();
        let want: Vec<f32> = rows(&wide).iter().map(|&x| x as f32).collect();
        assert_close("weights", &want, &routing.weights, 1e-6);
        let grad = random(&mut rng, tokens * k);
        let mut got = vec![0.0; logits.len()];
        route_backward(&routing, num_experts, &grad, &mut got);
        let loss = |logits: &[f64]| {
            rows(logits).iter().zip(&grad).map(|(w, g)| w * f64::from(*g)).sum::<f64>()
        };
        assert_gradient("route", &logits, &got, loss, 1e-4);
    }

    #[test]
    fn balance_is_one_when_even_and_grows_when_not() {
        let even = [9.0, 0.0, 0.0, 9.0];
        let (loss, _) = balance_loss(&even, 2, &route(&even, 2, 1));
        assert!((loss - 1.0).abs() < 1e-3, "{loss}");
        let all_to_one = [9.0, 0.0, 9.0, 0.0];
        let (loss, _) = balance_loss(&all_to_one, 2, &route(&all_to_one, 2, 1));
        assert!(loss > 1.9, "{loss}");
    }

    #[test]
    fn balance_gradient() {
        let (tokens, num_experts) = (6, 4);
        let logits = random(&mut Rng(3), tokens * num_experts);
        let routing = route(&logits, num_experts, 2);
        let (_, grad) = balance_loss(&logits, num_experts, &routing);
        let loss = |logits: &[f64]| {
            (0..num_experts)
                .map(|e| {
                    let count = routing.experts.iter().filter(|&&x| x as usize == e).count();
                    let mean = logits.chunks_exact(num_experts).map(|row| {
                        row[e].exp() / row.iter().map(|x| x.exp()).sum::<f64>() / tokens as f64
                    });
                    num_experts as f64 * count as f64 / (2 * tokens) as f64 * mean.sum::<f64>()
                })
                .sum()
        };
        assert_gradient("balance", &logits, &grad, loss, 1e-4);
    }

    #[test]
    fn grouping_brings_every_slot_there_and_back() {
        for (tokens, num_experts, k, dim) in
            [(0, 3, 1, 4), (1, 1, 1, 1), (37, 5, 2, 3), (300, 4, 4, 9)]
        {
            let mut rng = Rng(tokens as u64);
            let routing = route(&random(&mut rng, tokens * num_experts), num_experts, k);
            let groups = Groups::new(&routing, num_experts);
            let x = random(&mut rng, tokens * dim);
            for exec in execs() {
                let mut rows = vec![f32::NAN; groups.len() * dim];
                groups.gather(&exec, &x, dim, &mut rows);
                for e in 0..num_experts {
                    for place in groups.range(e) {
                        let slot = groups.slots[place] as usize;
                        assert_eq!(routing.experts[slot] as usize, e);
                        assert_eq!(rows[place * dim..][..dim], x[slot / k * dim..][..dim]);
                    }
                }
                // Weights of a token sum to 1, so it gets itself back.
                let mut out = vec![f32::NAN; x.len()];
                groups.combine(&exec, &rows, Some(&routing.weights), dim, &mut out);
                assert_close("combine", &x, &out, 1e-6);
            }
        }
    }

    #[test]
    fn combine_gradients() {
        let (tokens, num_experts, k, dim) = (4, 3, 2, 3);
        let mut rng = Rng(8);
        let routing = route(&random(&mut rng, tokens * num_experts), num_experts, k);
        let groups = Groups::new(&routing, num_experts);
        let y = random(&mut rng, groups.len() * dim);
        let grad = random(&mut rng, tokens * dim);
        let loss = |y: &[f64], weights: &[f64]| -> f64 {
            (0..tokens * k)
                .map(|slot| {
                    let y = &y[groups.places[slot] as usize * dim..][..dim];
                    let grad = &grad[slot / k * dim..][..dim];
                    weights[slot] * y.iter().zip(grad).map(|(y, g)| y * f64::from(*g)).sum::<f64>()
                })
                .sum()
        };
        let wide = |x: &[f32]| -> Vec<f64> { x.iter().map(|&x| f64::from(x)).collect() };
        for exec in execs() {
            let mut grad_y = vec![f32::NAN; y.len()];
            let mut grad_weights = vec![f32::NAN; tokens * k];
            let weights = &routing.weights;
            groups.combine_backward(&exec, &y, weights, dim, &grad, &mut grad_y, &mut grad_weights);
            assert_gradient("y", &y, &grad_y, |y| loss(y, &wide(weights)), 1e-4);
            assert_gradient("weights", weights, &grad_weights, |w| loss(&wide(&y), w), 1e-4);
        }
    }
}
