//! A few tokens of one head, with the sums that a block would make of them.
//!
//! ```text
//! [p | o] = q^T [K^T | S]
//! o = exp(-slope (i + 1)) o + sum_(j <= i) exp(-slope (i - j)) p_j v_j
//! ```
//!
//! Memory-bound: 4 head_dim (head_dim + 32) bytes are read for q, and the rows of V so far; written
//! are a column and a row, and S once in 32 tokens. Up to four tokens share what is read.

use super::BLOCK;
use super::block::{Decays, advance};
use super::state::HeadSizes;
use crate::Cpu;
use crate::lanes::store;
use fearless_simd::{dispatch, prelude::*};

/// Most tokens that are read at once.
pub(super) const MOST: usize = 4;

/// A key is written this many rows before it is read, so that nobody waits for it, and not earlier, so
/// that memory is gone through once.
const AHEAD: usize = 16;

/// q, k and v of a token, each `[head_dim]`.
pub(super) type Qkv<'a> = [&'a [f32]; 3];

/// Brings a head's part of a state from `place` tokens in its block to some more, at most [`MOST`] and
/// none of the next block, and writes the output of each, `[head_dim]`.
pub(super) fn tokens(
    cpu: Cpu,
    tokens: &[Qkv<'_>],
    place: usize,
    decays: &Decays,
    sizes: HeadSizes,
    state: &mut [f32],
    out: &mut [&mut [f32]],
) {
    dispatch!(cpu.level, simd => match *tokens {
        [a] => simd_tokens(simd, [a], place, decays, sizes, state, out),
        [a, b] => simd_tokens(simd, [a, b], place, decays, sizes, state, out),
        [a, b, c] => simd_tokens(simd, [a, b, c], place, decays, sizes, state, out),
        [a, b, c, d] => simd_tokens(simd, [a, b, c, d], place, decays, sizes, state, out),
        _ => panic!("{} tokens at once", tokens.len()),
    });
}

/// Sums of some panels: each has `VECTORS` vectors.
type Sums<S, const PANELS: usize, const VECTORS: usize> = [[<S as Simd>::f32s; VECTORS]; PANELS];

#[inline(always)]
fn simd_tokens<S: Simd, const TOKENS: usize>(
    simd: S,
    qkv: [Qkv<'_>; TOKENS],
    place: usize,
    decays: &Decays,
    sizes: HeadSizes,
    state: &mut [f32],
    out: &mut [&mut [f32]],
) {
    let (keys_and_s, values) = sizes.split(state);
    for (row, [_, _, v]) in values.chunks_exact_mut(sizes.width).skip(place).zip(qkv) {
        row[..v.len()].copy_from_slice(v);
    }
    // As many columns side by side as have their sums in the registers, those of K^T first; 32 are a
    // panel.
    let mut tokens = Tokens { qkv, place, decays, sizes, keys_and_s, values };
    let scores = &mut [[0.0; BLOCK]; TOKENS];
    let mut first = 0;
    while first < sizes.stride / BLOCK {
        let left = sizes.stride / BLOCK - first;
        first += match (S::f32s::LEN, TOKENS, left) {
            (16, 1 | 2, 5..) => tokens.panels::<S, 5, 2>(simd, first, scores, out),
            (16, 1 | 2, 4) => tokens.panels::<S, 4, 2>(simd, first, scores, out),
            (16, _, 3..) => tokens.panels::<S, 3, 2>(simd, first, scores, out),
            (16, _, 2) => tokens.panels::<S, 2, 2>(simd, first, scores, out),
            (16, _, _) => tokens.panels::<S, 1, 2>(simd, first, scores, out),
            (8, 1, 3..) => tokens.panels::<S, 3, 4>(simd, first, scores, out),
            (8, 1, 2) => tokens.panels::<S, 2, 4>(simd, first, scores, out),
            (8, _, _) => tokens.panels::<S, 1, 4>(simd, first, scores, out),
            _ => tokens.panels::<S, 1, 8>(simd, first, scores, out),
        };
    }
    if place + TOKENS == BLOCK {
        advance(simd, sizes, decays, state);
    }
}

/// Tokens whose values are in the state, and whose keys get there with the first panel.
struct Tokens<'a, const TOKENS: usize> {
    qkv: [Qkv<'a>; TOKENS],
    place: usize,
    decays: &'a Decays,
    sizes: HeadSizes,
    keys_and_s: &'a mut [f32],
    values: &'a [f32],
}

impl<const TOKENS: usize> Tokens<'_, TOKENS> {
    /// Scores if `first` is 0, the panel of K^T, and outputs from panels of S; returns `PANELS`.
    #[inline(always)]
    fn panels<S: Simd, const PANELS: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
        first: usize,
        scores: &mut [[f32; BLOCK]; TOKENS],
        out: &mut [&mut [f32]],
    ) -> usize {
        let (lanes, width) = (S::f32s::LEN, self.sizes.width);
        let sums = self.products::<S, PANELS, VECTORS>(simd, first);
        for (i, (sums, scores)) in sums.into_iter().zip(scores).enumerate() {
            let place = self.place + i;
            if first == 0 {
                for (sum, scores) in sums[0].iter().zip(scores.chunks_exact_mut(lanes)) {
                    sum.store_slice(scores);
                }
                for (j, score) in scores[..=place].iter_mut().enumerate() {
                    *score *= self.decays.at(place - j);
                }
            }
            let decay = S::f32s::splat(simd, self.decays.at(place + 1));
            for (panel, sums) in sums.into_iter().enumerate() {
                let Some(col) = ((first + panel) * BLOCK).checked_sub(BLOCK) else { continue };
                let mut sums = [sums.map(|sum| sum * decay)];
                let rows = self.values.chunks_exact(width).map(|row| &row[col..col + BLOCK]);
                for (&score, row) in scores[..=place].iter().zip(rows) {
                    add_row::<S, 1, VECTORS>(simd, &mut sums, S::f32s::splat(simd, score), row);
                }
                for (part, &sum) in sums.as_flattened().iter().enumerate() {
                    if let Some(out) = out[i].get_mut(col + part * lanes..) {
                        // A block adds zeros for later tokens, which make -0 of a sum to 0.
                        store::<S>(sum + S::f32s::splat(simd, 0.0), out);
                    }
                }
            }
        }
        PANELS
    }

    /// q of each token times some panels; if `first` is 0, keys are written on the way.
    #[inline(always)]
    fn products<S: Simd, const PANELS: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
        first: usize,
    ) -> [Sums<S, PANELS, VECTORS>; TOKENS] {
        let HeadSizes { dim, stride, .. } = self.sizes;
        let [q, k] = [0, 1].map(|part| self.qkv.map(|token| &token[part][..dim]));
        let write = |row: &mut [f32], d: usize| {
            for (key, k) in row[self.place..].iter_mut().zip(k) {
                *key = k[d];
            }
        };
        let (mut rows, col) = (&mut self.keys_and_s[..dim * stride], first * BLOCK);
        if first == 0 {
            for (d, row) in rows.chunks_exact_mut(stride).take(AHEAD).enumerate() {
                write(row, d);
            }
        }
        let mut sums = [[[S::f32s::splat(simd, 0.0); VECTORS]; PANELS]; TOKENS];
        for d in 0..dim {
            if first == 0 && d + AHEAD < dim {
                write(&mut rows[AHEAD * stride..], d + AHEAD);
            }
            let (row, later) = rows.split_at_mut(stride);
            for (sums, q) in sums.iter_mut().zip(q) {
                add_row::<S, PANELS, VECTORS>(simd, sums, S::f32s::splat(simd, q[d]), &row[col..]);
            }
            rows = later;
        }
        sums
    }
}

/// Adds `factor` times the first elements of a row to `sums`.
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
