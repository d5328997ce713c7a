//! One token of one head, with the sums that a block would make of it.
//!
//! ```text
//! [p | o] = q^T [K^T | S]                        all panels side by side, row by row
//! o = exp(-slope (i + 1)) o + sum_(j <= i) exp(-slope (i - j)) p_j v_j
//! ```
//!
//! Memory-bound: 4 head_dim (head_dim + 32) bytes are read for q, and the rows of V so far; written
//! are a column and a row, and S once in 32 tokens.

use super::BLOCK;
use super::block::{Decays, advance};
use super::state::HeadSizes;
use crate::Cpu;
use crate::lanes::{prefetch, store};
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
    remember([k, v], place, sizes, state);
    // As many panels side by side as have their sums in the registers, that of K^T first.
    let token = Token { q, place, decays, sizes, state };
    let mut scores = [0.0; BLOCK];
    let mut first = 0;
    while first <= sizes.panels {
        let left = sizes.panels + 1 - first;
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
    if place + 1 == BLOCK {
        advance(simd, sizes, decays, state);
    }
}

/// Writes a key and a value to their place.
#[inline(always)]
pub(super) fn remember([k, v]: [&[f32]; 2], place: usize, sizes: HeadSizes, state: &mut [f32]) {
    let [kt, _, values] = sizes.split(state);
    for (column, &k) in kt.chunks_exact_mut(BLOCK).zip(k) {
        column[place] = k;
    }
    for (panel, v) in values.chunks_exact_mut(BLOCK * BLOCK).zip(v.chunks(BLOCK)) {
        panel[place * BLOCK..][..v.len()].copy_from_slice(v);
    }
}

/// A token whose key and value are in the state.
#[derive(Clone, Copy)]
struct Token<'a> {
    q: &'a [f32],
    place: usize,
    decays: &'a Decays,
    sizes: HeadSizes,
    state: &'a [f32],
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
        let (len, place) = (self.sizes.panel(), self.place);
        let panel = |i: usize| &self.state[(first + i) * len..][..len];
        let ahead = self.sizes.len();
        let sums = product::<S, PANELS, VECTORS>(simd, self.q, std::array::from_fn(panel), ahead);
        let s_panels = if first == 0 {
            let lanes = S::f32s::LEN;
            for (sum, scores) in sums[0].iter().zip(scores.chunks_exact_mut(lanes)) {
                sum.store_slice(scores);
            }
            for (j, score) in scores[..=place].iter_mut().enumerate() {
                *score *= self.decays.at(place - j);
            }
            1..PANELS
        } else {
            0..PANELS
        };
        let decay = S::f32s::splat(simd, self.decays.at(place + 1));
        let values = &self.state[(self.sizes.panels + 1) * len..];
        for i in s_panels {
            let col = (first + i - 1) * BLOCK;
            let values = &values[col * BLOCK..][..(place + 1) * BLOCK];
            let sums = within::<S, VECTORS>(simd, sums[i].map(|sum| sum * decay), scores, values);
            for (i, sum) in sums.into_iter().enumerate() {
                if let Some(out) = out.get_mut(col + i * S::f32s::LEN..) {
                    store::<S>(sum, out);
                }
            }
        }
        PANELS
    }
}

/// `q` times each of the panels, whose rows are in step; asks for what is `ahead` of each row.
#[inline(always)]
fn product<S: Simd, const PANELS: usize, const VECTORS: usize>(
    simd: S,
    q: &[f32],
    panels: [&[f32]; PANELS],
    ahead: usize,
) -> Sums<S, PANELS, VECTORS> {
    let lanes = S::f32s::LEN;
    let panels = panels.map(|panel| &panel[..q.len() * BLOCK]);
    let mut sums = [[S::f32s::splat(simd, 0.0); VECTORS]; PANELS];
    for (d, &q) in q.iter().enumerate() {
        let q = S::f32s::splat(simd, q);
        for (sums, panel) in sums.iter_mut().zip(panels) {
            let row = &panel[d * BLOCK..][..BLOCK];
            for line in row.chunks_exact(16) {
                prefetch(line.as_ptr().wrapping_add(ahead));
            }
            for (sum, x) in sums.iter_mut().zip(row.chunks_exact(lanes)) {
                *sum = q.mul_add(S::f32s::from_slice(simd, x), *sum);
            }
        }
    }
    sums
}

/// `sums` and what the block's tokens so far say: their scores times their rows of a panel of V.
#[inline(always)]
fn within<S: Simd, const VECTORS: usize>(
    simd: S,
    mut sums: [S::f32s; VECTORS],
    scores: &[f32; BLOCK],
    values: &[f32],
) -> [S::f32s; VECTORS] {
    for (&score, row) in scores.iter().zip(values.chunks_exact(BLOCK)) {
        let score = S::f32s::splat(simd, score);
        for (sum, v) in sums.iter_mut().zip(row.chunks_exact(S::f32s::LEN)) {
            *sum = score.mul_add(S::f32s::from_slice(simd, v), *sum);
        }
    }
    // A block adds zeros for later tokens, which make -0 of a sum to 0.
    sums.map(|sum| sum + S::f32s::splat(simd, 0.0))
}
