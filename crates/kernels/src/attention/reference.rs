//! The definition: a whole row of scores, in f64.

use super::Attention;

/// As [`super::attention`], in f64.
pub fn reference(
    shape: &Attention,
    q: &[f64],
    positions: &[usize],
    scales: &[f32],
    k: &[f64],
    v: &[f64],
    out: &mut [f64],
) {
    let Attention { heads, kv_heads, head_dim } = *shape;
    for (row, &position) in positions.iter().enumerate() {
        for head in 0..heads {
            let at = (row * heads + head) * head_dim;
            let of_key = |j: usize| (j * kv_heads + head * kv_heads / heads) * head_dim;
            let scores: Vec<f64> = (0..=position)
                .map(|j| {
                    let (q, k) = (&q[at..at + head_dim], &k[of_key(j)..]);
                    f64::from(scales[row]) * q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>()
                })
                .collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
            let out = &mut out[at..at + head_dim];
            out.fill(0.0);
            for (j, score) in scores.iter().enumerate() {
                let weight = (score - max).exp() / sum;
                out.iter_mut().zip(&v[of_key(j)..]).for_each(|(out, v)| *out += weight * v);
            }
        }
    }
}
