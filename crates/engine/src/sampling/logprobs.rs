//! How likely tokens are.

use crate::event::TokenLogprobs;

/// Of token `id` and the `num_top` likeliest, by `logits: [vocab]`, which are finite or minus infinity.
pub(crate) fn logprobs(logits: &[f32], id: u32, num_top: usize) -> TokenLogprobs {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
    let logprob = |x: f32| (f64::from(x - max) - sum.ln()) as f32;
    let better = |a: &u32, b: &u32| {
        let [x, y] = [a, b].map(|&id| logits[id as usize]);
        y.total_cmp(&x).then(a.cmp(b))
    };
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let num_top = num_top.min(ids.len());
    if num_top > 0 {
        ids.select_nth_unstable_by(num_top - 1, better);
    }
    ids.truncate(num_top);
    ids.sort_unstable_by(better);
    let top = ids.into_iter().map(|id| (id, logprob(logits[id as usize]))).collect();
    TokenLogprobs { id, logprob: logprob(logits[id as usize]), top }
}
