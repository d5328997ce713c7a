//! The block form in f64, token by token, for [`Arithmetic::F64`](crate::Arithmetic::F64). S is kept as
//! two f32, so it is as good as f64 and does not depend on pieces; what comes out is f32.

use super::state::HeadSizes;
use super::{BLOCK, HeadRows};
use std::ops::Range;

/// Reads the tokens `rows`, the first of which has `past` before it, brings a head's part of the state
/// and the low part of its S up to date and calls `emit(token, o)` with each output `[head_dim]`.
pub(super) fn tokens(
    head: HeadRows<'_>,
    rows: Range<usize>,
    past: usize,
    sizes: HeadSizes,
    (state, low): (&mut [f32], &mut [f32]),
    mut emit: impl FnMut(usize, &[f32]),
) {
    let HeadSizes { dim, width, stride, .. } = sizes;
    let decay = |distance: usize| (-f64::from(head.slope) * distance as f64).exp();
    let decays: Vec<f64> = (0..=BLOCK).map(decay).collect();
    let (keys_and_s, values) = sizes.split(state);
    let (k_at, s_at) = (|d, j| d * stride + j, |d, c| d * stride + BLOCK + c);
    let v_at = |j, c| j * width + c;
    let mut out = vec![0.0; dim];
    for (i, token) in rows.enumerate() {
        let place = (past + i) % BLOCK;
        let [q, k, v] = head.token(token);
        for d in 0..dim {
            keys_and_s[k_at(d, place)] = k[d];
            values[v_at(place, d)] = v[d];
        }
        let dot = |column: &dyn Fn(usize) -> f64| {
            let terms = q.iter().enumerate();
            terms.map(|(d, &q)| f64::from(q) * column(d)).sum::<f64>()
        };
        let score = |j: usize| decays[place - j] * dot(&|d| keys_and_s[k_at(d, j)].into());
        let scores: Vec<f64> = (0..=place).map(score).collect();
        for (c, out) in out.iter_mut().enumerate() {
            let s = |d: usize| f64::from(keys_and_s[s_at(d, c)]) + f64::from(low[d * dim + c]);
            let before = decays[place + 1] * dot(&s);
            let terms = scores.iter().enumerate();
            let within: f64 = terms.map(|(j, p)| p * f64::from(values[v_at(j, c)])).sum();
            *out = (before + within) as f32;
        }
        emit(token, &out);
        if place + 1 < BLOCK {
            continue;
        }
        for d in 0..dim {
            for c in 0..dim {
                let term = |j: usize| {
                    let kv = f64::from(keys_and_s[k_at(d, j)]) * f64::from(values[v_at(j, c)]);
                    decays[BLOCK - 1 - j] * kv
                };
                let new: f64 = (0..BLOCK).map(term).sum();
                let (kept, low) = (&mut keys_and_s[s_at(d, c)], &mut low[d * dim + c]);
                let s = decays[BLOCK] * (f64::from(*kept) + f64::from(*low)) + new;
                *kept = s as f32;
                *low = (s - f64::from(*kept)) as f32;
            }
        }
    }
}
