//! One token of one head, with the sums that a block would make of it.
//!
//! ```text
//! [p | o] = q^T [K^T | S]
//! o = exp(-slope (i + 1)) o + sum_(j <= i) exp(-slope (i - j)) p_j v_j
//! ```
//!
//! Memory-bound: 4 head_dim (head_dim + 32) bytes are read for q, and the rows of V so far; written
//! are a column and a row, and S once in 32 tokens.

use super::BLOCK;
use super::block::{Decays, advance};
use super::state::HeadSizes;
use crate::Cpu;
use crate::lanes::store;
use fearless_simd::{dispatch, prelude::*};

/// Brings a head's part of a state from `place` tokens in its block to one more, and writes
/// `out: [head_dim]`.
pub(super) fn token(
    cpu: Cpu,
    qkv: [&[f32]; 3],
    place: usize,
    decays: &Decays,
    sizes: HeadSizes,
    state: &mut [f32],
    out: &mut [f32],
) {
    dispatch!(cpu.level, simd => simd_token(simd, qkv, place, decays, sizes, state, out));
}

/// Sums of some panels: each has `VECTORS` vectors.
type Sums<S, const PANELS: usize, const VECTORS: usize> = [[<S as Simd>::f32s; VECTORS]; PANELS];

#[inline(always)]
fn simd_token<S: Simd>(
    simd: S,
    [q, k, v]: [&[f32]; 3],
    place: usize,
    decays: &Decays,
    sizes: HeadSizes,
    state: &mut [f32],
    out: &mut [f32],
) {
    let (keys_and_s, values) = sizes.split(state);
    values[place * sizes.width..][..v.len()].copy_from_slice(v);
    // As many columns side by side as have their sums in the registers, those of K^T first; 32 are a
    // panel.
    let token = Token { q, k, place, decays, sizes, keys_and_s, values };
    let mut scores = [0.0; BLOCK];
    let mut first = 0;
    while first < sizes.stride / BLOCK {
        let left = sizes.stride / BLOCK - first;
        first += match (S::f32s::LEN, left) {
            (16, 5..) => token.panels::<S, 5, 2>(simd, first, &mut scores, out),
            (16, 4) => token.panels::<S, 4, 2>(simd, first, &mut scores, out),
            (16, 3) => token.panels::<S, 3, 2>(simd, first, &mut scores, out),
            (16, 2) => token.panels::<S, 2, 2>(simd, first, &mut scores, out),
            (16, _) => token.panels::<S, 1, 2>(simd, first, &mut scores, out),
            (8, 3..) => token.panels::<S, 3, 4>(simd, first, &mut scores, out),
            (8, 2) => token.panels::<S, 2, 4>(simd, first, &mut scores, out),
            (8, _) => token.panels::<S, 1, 4>(simd, first, &mut scores, out),
            _ => token.panels::<S, 1, 8>(simd, first, &mut scores, out),
        };
    }
    // Only now, for the lines of these rows are near.
    for (row, &k) in keys_and_s.chunks_exact_mut(sizes.stride).zip(k) {
        row[place] = k;
    }
    if place + 1 == BLOCK {
        advance(simd, sizes, decays, state);
    }
}

/// A token whose value is in the state, and whose key is not yet.
#[derive(Clone, Copy)]
struct Token<'a> {
    q: &'a [f32],
    k: &'a [f32],
    place: usize,
    decays: &'a Decays,
    sizes: HeadSizes,
    keys_and_s: &'a [f32],
    values: &'a [f32],
}

impl Token<'_> {
    /// Scores if `first` is 0, the panel of K^T, and outputs from panels of S; returns `PANELS`.
    #[inline(always)]
    fn panels<S: Simd, const PANELS: usize, const VECTORS: usize>(
        self,
        simd: S,
        first: usize,
        scores: &mut [f32; BLOCK],
        out: &mut [f32],
    ) -> usize {
        let HeadSizes { width, stride, .. } = self.sizes;
        let (lanes, place) = (S::f32s::LEN, self.place);
        let mut sums: Sums<S, PANELS, VECTORS> = zeros(simd);
        let mut own = S::f32s::splat(simd, 0.0);
        let columns = first * BLOCK..(first + PANELS) * BLOCK;
        let rows = self.keys_and_s.chunks_exact(stride).map(|row| &row[columns.clone()]);
        for ((&q, &k), row) in self.q.iter().zip(self.k).zip(rows) {
            let q = S::f32s::splat(simd, q);
            add_row::<S, PANELS, VECTORS>(simd, &mut sums, q, row);
            if first == 0 {
                own = q.mul_add(S::f32s::splat(simd, k), own);
            }
        }
        if first == 0 {
            for (sum, scores) in sums[0].iter().zip(scores.chunks_exact_mut(lanes)) {
                sum.store_slice(scores);
            }
            scores[place] = own.as_slice()[0];
            for (j, score) in scores[..=place].iter_mut().enumerate() {
                *score *= self.decays.at(place - j);
            }
        }
        let decay = S::f32s::splat(simd, self.decays.at(place + 1));
        for (i, sums) in sums.into_iter().enumerate() {
            let Some(col) = ((first + i) * BLOCK).checked_sub(BLOCK) else { continue };
            let mut sums = [sums.map(|sum| sum * decay)];
            let rows = self.values.chunks_exact(width).map(|row| &row[col..col + BLOCK]);
            for (&score, row) in scores[..=place].iter().zip(rows) {
                add_row::<S, 1, VECTORS>(simd, &mut sums, S::f32s::splat(simd, score), row);
            }
            for (i, &sum) in sums.as_flattened().iter().enumerate() {
                if let Some(out) = out.get_mut(col + i * lanes..) {
                    // A block adds zeros for later tokens, which make -0 of a sum to 0.
                    store::<S>(sum + S::f32s::splat(simd, 0.0), out);
                }
            }
        }
        PANELS
    }
}

#[inline(always)]
fn zeros<S: Simd, const PANELS: usize, const VECTORS: usize>(simd: S) -> Sums<S, PANELS, VECTORS> {
    [[S::f32s::splat(simd, 0.0); VECTORS]; PANELS]
}

/// Adds `factor` times a row to `sums`.
#[inline(always)]
fn add_row<S: Simd, const PANELS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut Sums<S, PANELS, VECTORS>,
    factor: S::f32s,
    row: &[f32],
) {
    let parts = row[..PANELS * VECTORS * S::f32s::LEN].chunks_exact(S::f32s::LEN);
    for (sum, x) in sums.as_flattened_mut().iter_mut().zip(parts) {
        *sum = factor.mul_add(S::f32s::from_slice(simd, x), *sum);
    }
}
