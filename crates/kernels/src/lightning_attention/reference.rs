//! The definition: one token at a time, in f64.

use super::Lightning;

/// The recurrence over one sequence: `qkv: [tokens, heads, 3, head_dim]`,
/// `state: [heads, head_dim, head_dim]` in and out, `out: [tokens, heads, head_dim]`.
pub fn reference(
    shape: &Lightning,
    slopes: &[f32],
    qkv: &[f64],
    state: &mut [f64],
    out: &mut [f64],
) {
    let dim = shape.head_dim;
    let tokens = qkv.chunks_exact(shape.qkv_width()).zip(out.chunks_exact_mut(shape.heads * dim));
    for (qkv, out) in tokens {
        for (head, (qkv, out)) in
            qkv.chunks_exact(3 * dim).zip(out.chunks_exact_mut(dim)).enumerate()
        {
            let (q, k, v) = (&qkv[..dim], &qkv[dim..2 * dim], &qkv[2 * dim..]);
            let state = &mut state[head * dim * dim..][..dim * dim];
            let decay = (-f64::from(slopes[head])).exp();
            out.fill(0.0);
            for i in 0..dim {
                for j in 0..dim {
                    state[i * dim + j] = decay * state[i * dim + j] + k[i] * v[j];
                    out[j] += q[i] * state[i * dim + j];
                }
            }
        }
    }
}
